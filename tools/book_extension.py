"""Sphinx extension of the book: re-execution when the package changes, and mathematics offline.

jupyter-cache knows a chapter by its code cells alone.
A chapter's results also depend on `dlnlib`, on the tables beside the chapters, and on the locked
versions; their digest names the cache folder, so that any change there executes the book again.
"""

import hashlib
import html
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import myst_nb.core.render
from nbformat import NotebookNode, from_dict
from sphinx.application import Sphinx
from sphinx.config import Config

__all__ = ["content_digest", "merged_streams", "setup"]

TABLES = {".csv", ".json", ".npy", ".npz", ".txt"}  # results that a chapter may read
MATHJAX_SCRIPT = "tex-chtml-full.js"
MATHJAX_FONTS = "output/chtml/fonts/woff-v2"
FRONT_PAGE = """<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={address}">
<title>{title}</title>
</head>
<body><p><a href="{address}">{title}</a></p></body>
</html>
"""


def content_digest(root: Path) -> str:
    """Digest of all that a chapter's results depend on, besides the chapter itself.

    Parameters
    ----------
    root : Path
        The folder that holds `dlnlib`, `chapters` and `requirements.txt`.

    Returns
    -------
    str
        Sixteen hexadecimal digits.
    """
    package = (p for p in (root / "dlnlib").rglob("*") if "__pycache__" not in p.parts)
    tables = (p for p in (root / "chapters").rglob("*") if p.suffix in TABLES)
    files = sorted(p for p in (*package, *tables, root / "requirements.txt") if p.is_file())
    digest = hashlib.sha256(f"python {sys.version_info[:2]}".encode())
    for path in files:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def key_the_cache(app: Sphinx, config: Config) -> None:
    """Name the cache folder after the digest, and drop the folders of earlier digests."""
    digest = content_digest(Path(app.srcdir))
    caches = Path(app.outdir).parent / ".jupyter_cache"
    config.nb_execution_cache_path = str(caches / digest)
    # A value of rebuild type "env" that changes makes Sphinx read every page again.
    config.dlnlib_digest = digest
    for old in caches.glob("*"):
        if old.name != digest:
            shutil.rmtree(old) if old.is_dir() else old.unlink()


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    """Copy the one script and the fonts of MathJax that the pages load (2 MB of 24)."""
    if exception is not None or app.builder.name != "html":
        return
    source = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    shutil.copytree(source / MATHJAX_FONTS, target / MATHJAX_FONTS, dirs_exist_ok=True)
    shutil.copy2(source / MATHJAX_SCRIPT, target / MATHJAX_SCRIPT)


def tidy_pages(app: Sphinx, exception: Exception | None) -> None:
    """Write the front page in full, and drop the theme's page templates from the output."""
    if exception is not None or app.builder.name != "html":
        return
    for template in (Path(app.outdir) / "_static").glob("*webpack-macros.html"):
        template.unlink()
    page = FRONT_PAGE.format(
        language=app.config.language,
        title=html.escape(app.config.html_title),
        address=app.builder.get_target_uri(app.config.root_doc),
    )
    (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")


def merged_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs with one stream of each name, its pieces joined to the letter.

    How a kernel cuts its stream into messages changes from run to run.  The function of myst-nb
    that this one replaces ends each piece with one line break, so that an empty line at a cut is
    lost, and a line that is printed in two parts may be broken.

    Parameters
    ----------
    outputs : list of NotebookNode
        Of one cell.

    Returns
    -------
    list of NotebookNode
    """
    merged, streams = [], {}
    for output in map(from_dict, outputs):
        name = output.get("name")
        if name in streams:
            streams[name].text += output.text
            continue
        merged.append(output)
        if output.output_type == "stream":
            streams[name] = output
    return merged


def setup(app: Sphinx) -> dict[str, object]:
    """Register the steps with Sphinx."""
    myst_nb.core.render.coalesce_streams = merged_streams
    app.add_config_value("dlnlib_digest", "", "env")
    app.connect("config-inited", key_the_cache)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", tidy_pages, priority=900)  # after the extension of the contents
    return {"parallel_read_safe": True, "parallel_write_safe": True}
