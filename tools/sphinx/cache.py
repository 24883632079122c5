"""Sphinx extension: chapters run again when the package changes, all that have changed at once.

jupyter-cache knows a chapter by its code cells alone.  Results also depend on `dlnlib`, on the
tables beside the chapters and on the locked versions; their digest names the folder of the cache,
for which myst-nb has no setting.  Sphinx reads one page after another, and myst-nb runs a chapter
when its page is read; here the executor of jupyter-cache runs them on all cores first.
"""

import hashlib
import logging
import shutil
import sys
from pathlib import Path

from jupyter_cache import get_cache
from jupyter_cache.executors import load_executor
from myst_nb.core.read import create_nb_reader
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment

TABLES = {".csv", ".json", ".npy", ".npz", ".txt"}  # results that a chapter may read


def content_digest(root: Path) -> str:
    """Digest of all that a chapter's results depend on, besides the chapter itself."""
    package = (p for p in (root / "dlnlib").rglob("*") if "__pycache__" not in p.parts)
    tables = (p for p in (root / "chapters").rglob("*") if p.suffix in TABLES)
    files = sorted(p for p in (*package, *tables, root / "requirements.txt") if p.is_file())
    return files_digest(root, files, f"python {sys.version_info[:2]}")


def files_digest(root: Path, files: list[Path], start: str) -> str:
    """Sixteen hexadecimal digits that change with a text, and with names and contents of files."""
    digest = hashlib.sha256(start.encode())
    for path in files:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def key_the_cache(app: Sphinx, config: Config) -> None:
    """Name the folder of the cache after the digest, and drop the folders of earlier digests."""
    digest = content_digest(Path(app.srcdir))
    caches = Path(app.outdir).parent / ".jupyter_cache"
    config.nb_execution_cache_path = str(caches / digest)
    # A value of rebuild type "env" that changes makes Sphinx read every page again.
    config.dlnlib_digest = digest
    for old in caches.glob("*"):
        if old.name != digest:
            shutil.rmtree(old) if old.is_dir() else old.unlink()


def run_chapters(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Run what the cache does not hold; one that fails is left to myst-nb, for its report."""
    config = env.mystnb_config
    if config.execution_mode != "cache":
        return
    cache = get_cache(config.execution_cache_path)
    chapters = []
    for path in map(env.doc2path, docnames):
        text = Path(path).read_text(encoding="utf-8")
        if reader := create_nb_reader(path, env.myst_config, config, text):
            cache.add_nb_to_project(path, read_data=reader.read_fmt)
            chapters.append(path)
    if chapters:
        logger = logging.getLogger(__name__)
        logger.setLevel(logging.INFO)  # name the chapters as they run
        executor = load_executor("local-parallel", cache, logger)
        executor.run_and_cache(filter_uris=chapters, timeout=config.execution_timeout)


def setup(app: Sphinx) -> dict[str, object]:
    """Register the steps with Sphinx."""
    app.add_config_value("dlnlib_digest", "", "env")
    app.connect("config-inited", key_the_cache)
    app.connect("env-before-read-docs", run_chapters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
