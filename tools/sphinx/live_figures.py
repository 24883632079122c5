"""Sphinx extension: the scripts of live figures, on the pages that have one and in their order.

Jupyter Book puts every script and style of `_static`, at any depth and in the order of the file
system, on every page.  Those of `_static/live` are taken out of that list, the others sorted.
"""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
STATIC = Path("_static")
LIVE = "live/"
CLASS = "live-"
LAST = 900  # after the styles and scripts of every page


def leave_out(app: Sphinx, config: Config) -> None:
    """Keep what Jupyter Book has found outside of `_static/live`, by name."""
    for files in (config.html_css_files, config.html_js_files):
        files[:] = sorted(name for name in files if not name.startswith(LIVE))


def live_names(doctree: nodes.document | None) -> list[str]:
    """The live figures of a page, by their class; none on a page without a source."""
    figures = doctree.findall(nodes.figure) if doctree else ()
    classes = (name for figure in figures for name in figure["classes"])
    return sorted({name.removeprefix(CLASS) for name in classes if name.startswith(CLASS)})


def add_scripts(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    """Load drawing, models and definitions, then the script that puts the figures in place."""
    names = live_names(doctree)
    if not names:
        return
    folder = Path(app.srcdir) / STATIC
    models = sorted((folder / LIVE / "models").glob("*.js"))
    figures = [folder / LIVE / "figures" / f"{name}.js" for name in names]
    for path in figures:
        if not path.is_file():
            where = path.relative_to(app.srcdir)
            LOGGER.warning(f"no such live figure: {where}", location=page)
    app.add_css_file(f"{LIVE}live.css", priority=LAST)
    for path in [folder / LIVE / "plot.js", *models, *figures, folder / LIVE / "figure.js"]:
        app.add_js_file(path.relative_to(folder).as_posix(), priority=LAST)


def setup(app: Sphinx) -> dict[str, object]:
    """Register the steps with Sphinx."""
    app.connect("config-inited", leave_out)
    app.connect("html-page-context", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
