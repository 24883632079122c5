"""Sphinx extension of the PDF: the book on paper, and the link to it from the pages.

The pages need no LaTeX.  They link to a PDF only if `make pdf` has made one of the same sources.
"""

import hashlib
import shutil
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx_external_toc.api import SiteMap

from tools.pdf.pages import (
    chapters_in_a_row,
    fit_tables,
    free_images,
    is_left_out,
    set_derivations,
    set_solutions,
    set_statements,
    set_tables,
    show_only_open_code,
    soften_names,
)
from tools.sphinx.cache import content_digest, files_digest

PDF_NAME = "one-scalar.pdf"
DIGEST_SUFFIX = ".digest"
SOURCES = (
    "chapters/*.md",
    "_config.yml",
    "_toc.yml",
    "references.bib",
    "CITATION.cff",
    "tools/pdf/*",
    "tools/sphinx/*.py",
)


def source_digest(root: Path) -> str:
    """Digest of all that the PDF depends on."""
    files = sorted(path for pattern in SOURCES for path in root.glob(pattern) if path.is_file())
    # without the shell's settings: a PDF is made by make alone, which fixes them
    return files_digest(root, files, content_digest(root, shell={}))


def note_sources(pdf: Path, digest: str) -> None:
    """Write beside a PDF of which sources it was made."""
    pdf.with_name(pdf.name + DIGEST_SUFFIX).write_text(f"{digest}\n", encoding="utf-8")


def current_pdf(root: Path, build: Path) -> Path | None:
    """Find the PDF in the build folder, if it was made of the sources as they are now."""
    pdf = build / PDF_NAME
    noted = pdf.with_name(PDF_NAME + DIGEST_SUFFIX)
    if not (pdf.is_file() and noted.is_file()):
        return None
    return pdf if noted.read_text(encoding="utf-8").strip() == source_digest(root) else None


def look_for_the_pdf(app: Sphinx, config: Config) -> None:
    """Note whether the pages may link to a PDF."""
    pdf = current_pdf(Path(app.srcdir), Path(app.outdir).parent)
    # A value of rebuild type "html" that changes makes Sphinx write every page again.
    config.pdf_linked = hashlib.sha256(pdf.read_bytes()).hexdigest() if pdf else ""


def leave_out(app: Sphinx, doctree: nodes.document) -> None:
    """Keep the pages of `pdf_exclude` out of the PDF; links to them become plain text."""
    if app.builder.name != "latex":
        return
    for toctree in doctree.findall(addnodes.toctree):
        toctree["caption"] = None  # Sphinx takes the first for the title of the contents
        toctree["includefiles"] = [
            name
            for name in toctree["includefiles"]
            if not is_left_out(name, app.config.pdf_exclude)
        ]


def part_captions(contents: SiteMap) -> dict[str, str]:
    """Captions of the parts in `_toc.yml`, by the first page of each."""
    parts = (part for part in contents.root.subtrees if part.caption and part.items)
    return {str(part.items[0]): part.caption for part in parts}


def arrange(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Turn the pages, put together by the LaTeX builder, into what is printed."""
    if app.builder.name != "latex":
        return

    def number(node: nodes.Element) -> tuple[str, str]:
        page = app.env.proof_list[node["label"]]["docname"]
        found = app.env.toc_fignumbers[page][node["countertype"]][node["ids"][0]]
        return page, ".".join(map(str, found))

    chapters_in_a_row(doctree, part_captions(app.config.external_site_map))
    show_only_open_code(doctree)
    set_derivations(doctree)
    free_images(doctree)
    set_solutions(doctree)
    set_statements(doctree, number)
    set_tables(doctree)
    fit_tables(doctree)
    soften_names(doctree)


def link_the_pdf(
    app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None
) -> None:
    """Tell the template of the side bar where the PDF is."""
    if app.config.pdf_linked:
        context["book_pdf"] = context["pathto"](PDF_NAME, 1)


def offer_the_pdf(
    app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None
) -> None:
    """Offer the PDF among the downloads of each page."""
    for group in context.get("header_buttons", []):
        if "book_pdf" in context and group.get("label") == "download-buttons":
            group["buttons"].append(
                {
                    "type": "link",
                    "url": context["book_pdf"],
                    "text": "book.pdf",
                    "tooltip": "Download the whole book as a PDF",
                    "icon": "fas fa-book",
                    "label": "download-book-button",
                }
            )


def place_the_pdf(app: Sphinx, exception: Exception | None) -> None:
    """Copy the PDF beside the pages that link to it, and remove one that none links to."""
    if exception is not None or app.builder.name != "html":
        return
    target = Path(app.outdir) / PDF_NAME
    target.unlink(missing_ok=True)
    if app.config.pdf_linked:
        shutil.copy2(Path(app.outdir).parent / PDF_NAME, target)


def setup(app: Sphinx) -> dict[str, object]:
    """Register the steps with Sphinx."""
    app.setup_extension("sphinxcontrib.rsvgconverter")  # PDF of SVG, where LaTeX asks for it
    app.add_config_value("pdf_exclude", [], "env")
    app.add_config_value("pdf_linked", "", "html")
    app.connect("config-inited", look_for_the_pdf)
    app.connect("doctree-read", leave_out, priority=900)  # after the contents are in place
    app.connect("doctree-resolved", arrange)
    # The theme drops templates that are empty (500), and makes its buttons (501).
    app.connect("html-page-context", link_the_pdf, priority=400)
    app.connect("html-page-context", offer_the_pdf, priority=600)
    app.connect("build-finished", place_the_pdf)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
