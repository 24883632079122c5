"""Sphinx extension: names and roles that the theme and Sphinx leave out of the pages.

A reader who listens to a page hears these, and no setting of the theme or of Sphinx adds them.
What needs only a style stands in `_static/custom.css`; what follows from the width of a window, in
`_static/scrollable.js`.
"""

import html
from pathlib import Path

from bs4 import BeautifulSoup
from sphinx.application import Sphinx

REFERENCE = "chapters/api"  # its pages are folded in the contents at the side of all others
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


def named_toggles(contents: str, folded: str = "") -> str:
    """The list of contents with a name for each button that opens the sections of a chapter.

    Sections below the page at the address `folded` are closed.
    """
    soup = BeautifulSoup(contents, "html.parser")
    for summary in soup.select("li > details > summary"):
        chapter = summary.find_parent("li").find("a")
        summary["aria-label"] = f"Sections of {chapter.get_text()}"
        if folded and chapter.get("href") == folded:
            summary.parent.attrs.pop("open", None)
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
        inside = page.startswith(REFERENCE)
        folded = "" if inside else app.builder.get_relative_uri(page, REFERENCE)

        def generate_toctree_html(kind: str, **settings):
            contents = theirs(kind, **settings)
            return named_toggles(str(contents), folded) if kind == "sidebar" else contents

        context["generate_toctree_html"] = generate_toctree_html


def complete_book(app: Sphinx, exception: Exception | None) -> None:
    """Write the front page with its language, and drop the theme's templates from the output."""
    if exception is not None or app.builder.name != "html":
        return
    for template in (Path(app.outdir) / "_static").glob("*webpack-macros.html"):
        template.unlink()
    front = FRONT_PAGE.format(
        language=app.config.language,
        title=html.escape(app.config.html_title),
        address=app.builder.get_target_uri(app.config.root_doc),
    )
    (Path(app.outdir) / "index.html").write_text(front, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, object]:
    """Register the steps with Sphinx."""
    app.connect("html-page-context", complete_page, priority=900)  # after the theme
    app.connect("build-finished", complete_book, priority=900)  # after that of the contents
    return {"parallel_read_safe": True, "parallel_write_safe": True}
