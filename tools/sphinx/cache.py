"""Sphinx extension: chapters run again when the package changes, all that have changed at once.

jupyter-cache knows a chapter by its code cells alone.  Results also depend on `dlnlib`, on the
tables beside the chapters, on the installed versions and the settings of numerical code; their
digest names the folder of the cache, for which myst-nb has no setting.  Sphinx reads one page after
another, and myst-nb runs a chapter when its page is read; here the executor of jupyter-cache runs
them on all cores first.  At the end, results that hold an error, a traceback or no picture fail
the build, and are not kept.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from jupyter_cache import get_cache
from jupyter_cache.base import JupyterCacheAbstract
from jupyter_cache.executors import load_executor
from myst_nb.core.read import create_nb_reader
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util.logging import getLogger

from tools.environment import installed, settle
from tools.outputs import notebook_problems

TABLES = {".csv", ".json", ".npy", ".npz", ".txt"}  # results that a chapter may read


def content_digest(root: Path, shell: Mapping[str, str] = os.environ) -> str:
    """Digest of all that a chapter's results depend on, besides the chapter itself."""
    package = (p for p in (root / "dlnlib").rglob("*") if "__pycache__" not in p.parts)
    tables = (p for p in (root / "chapters").rglob("*") if p.suffix in TABLES)
    files = sorted(p for p in (*package, *tables, root / "requirements.txt") if p.is_file())
    return files_digest(root, files, installed(shell))


def files_digest(root: Path, files: list[Path], start: str) -> str:
    """Sixteen hexadecimal digits that change with a text, and with names and contents of files."""
    digest = hashlib.sha256(start.encode())
    for path in files:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def key_the_cache(app: Sphinx, config: Config) -> None:
    """Name the folder of the cache after the digest, and drop the folders of earlier digests."""
    settle(Path(app.srcdir))
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
    chapters, notebooks = [], {}
    for name in docnames:
        path = env.doc2path(name)
        text = Path(path).read_text(encoding="utf-8")
        if reader := create_nb_reader(path, env.myst_config, config, text):
            cache.add_nb_to_project(path, read_data=reader.read_fmt)
            chapters.append(path)
            notebooks[name] = reader.read(text)
    app.connect("build-finished", partial(drop_faulty, cache=cache, notebooks=notebooks))
    if chapters:
        logger = logging.getLogger(__name__)
        logger.setLevel(logging.INFO)  # name the chapters as they run
        executor = load_executor("local-parallel", cache, logger)
        executor.run_and_cache(filter_uris=chapters, timeout=config.execution_timeout)


def drop_faulty(
    app: Sphinx, error: Exception | None, *, cache: JupyterCacheAbstract, notebooks: dict
) -> None:
    """Warn of each result with a fault, and drop it; read all pages again after any warning."""
    for name, notebook in notebooks.items():
        with suppress(KeyError):  # its execution failed, which myst-nb has reported
            key, executed = cache.merge_match_into_notebook(notebook)
            problems = notebook_problems(executed)
            for problem in problems:
                getLogger(__name__).warning(problem, location=name)
            if problems:
                cache.remove_cache(key)
    if error or app._warncount:
        (Path(app.doctreedir) / "environment.pickle").unlink(missing_ok=True)


def setup(app: Sphinx) -> dict[str, object]:
    """Register the steps with Sphinx."""
    app.add_config_value("dlnlib_digest", "", "env")
    app.connect("config-inited", key_the_cache)
    app.connect("env-before-read-docs", run_chapters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
