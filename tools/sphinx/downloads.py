"""Sphinx extension: the download button of a chapter also offers its executed notebook.

The theme shows a notebook only beside buttons that lead to another host, and the notebooks that
myst-nb writes, and the theme copies, lack the outputs of chapters that it found in the cache.
"""

from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from sphinx.application import Sphinx


def offer_notebook(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Put the executed notebook of a page beside its source, and tell the theme."""
    executed = getattr(app.env, "nb_metadata", {}).get(page, {}).get("exec_data")
    if app.builder.name != "html" or not executed:
        return
    written = Path(app.outdir).parent / "jupyter_execute" / f"{page}.ipynb"
    cache = get_cache(app.config.nb_execution_cache_path)
    notebook = nbformat.read(written, as_version=nbformat.NO_CONVERT)
    if executed["succeeded"]:
        _, notebook = cache.merge_match_into_notebook(notebook)
    copy = Path(app.outdir) / "_sources" / f"{page}.ipynb"
    copy.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, copy)
    context["ipynb_source"] = f"{page}.ipynb"


def setup(app: Sphinx) -> dict[str, object]:
    """Register the step with Sphinx, before the theme's buttons and after its copy (501)."""
    app.connect("html-page-context", offer_notebook)
    app.connect("html-page-context", offer_notebook, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
