"""Sphinx extension: names and roles that the theme and Sphinx leave out of the pages.

A reader who listens to a page hears these.  What needs only a style stands in
`_static/custom.css`; what follows from the width of a window, in `_static/scrollable.js`.
"""

from bs4 import BeautifulSoup
from sphinx.application import Sphinx

__all__ = ["named_toggles", "setup", "sound_roles"]


def named_toggles(contents: str) -> str:
    """The list of contents with a name for each button that opens the sections of a chapter.

    Parameters
    ----------
    contents : str
        HTML, as the theme writes it.

    Returns
    -------
    str
    """
    soup = BeautifulSoup(contents, "html.parser")
    for summary in soup.select("li > details > summary"):
        chapter = summary.find_parent("li").find("a").get_text()
        summary["aria-label"] = f"Sections of {chapter}"
    return str(soup)


def sound_roles(body: str) -> str:
    """The text of a page with entries of the bibliography that are items of their list.

    Sphinx gives them the role ``doc-biblioentry``, which is deprecated and no item of a list.
    """
    return body.replace('role="doc-biblioentry"', 'role="listitem"')


def complete_page(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Complete the text and the contents of a page that is about to be written."""
    if app.builder.format != "html":
        return
    if "body" in context:
        context["body"] = sound_roles(context["body"])
    if theirs := context.get("generate_toctree_html"):

        def generate_toctree_html(kind: str, **settings):
            contents = theirs(kind, **settings)
            return named_toggles(str(contents)) if kind == "sidebar" else contents

        context["generate_toctree_html"] = generate_toctree_html


def setup(app: Sphinx) -> dict[str, object]:
    """Register the step with Sphinx."""
    app.connect("html-page-context", complete_page, priority=900)  # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}
