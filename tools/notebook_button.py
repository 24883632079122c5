"""Sphinx extension: the download button of a chapter also offers its executed notebook.

The theme shows a notebook only beside buttons that lead to another host, which this book has not.
"""

import shutil
from pathlib import Path

from sphinx.application import Sphinx

__all__ = ["offer_notebook", "setup"]


def offer_notebook(
    app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object
) -> None:
    """Copy the executed notebook of a page beside its source, and tell the theme.

    Parameters
    ----------
    app : Sphinx
    pagename : str
    templatename : str
    context : dict
        Of the page template; the theme reads ``ipynb_source``.
    doctree : object
    """
    executed = Path(app.outdir).parent / "jupyter_execute" / f"{pagename}.ipynb"
    if app.builder.name != "html" or doctree is None or not executed.is_file():
        return
    copy = Path(app.outdir) / "_sources" / f"{pagename}.ipynb"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(executed, copy)
    context["ipynb_source"] = f"{pagename}.ipynb"


def setup(app: Sphinx) -> dict[str, object]:
    """Register the step with Sphinx; the theme makes its buttons at priority 501."""
    app.connect("html-page-context", offer_notebook)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
