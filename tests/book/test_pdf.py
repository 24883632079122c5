"""The PDF, as far as it needs no LaTeX: what is missing, what is printed, the log, the link."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.utils import new_document
from helpers import ROOT, built, frame
from sphinx import addnodes
from sphinx_external_toc.parsing import parse_toc_yaml
from sphinx_proof.nodes import proof_node, theorem_node

from tools.pdf import needs
from tools.pdf.extension import (
    PDF_NAME,
    current_pdf,
    note_sources,
    part_captions,
    source_digest,
)
from tools.pdf.log import log_problems, page_count
from tools.pdf.look import latex_settings, title_page
from tools.pdf.pages import (
    FIRST_CHAPTER,
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

# What is missing


def test_nothing_is_done_where_latex_is_missing(tmp_path):
    for name in ("Makefile", "tools"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, tmp_path / name)
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("make", "sh"):
        (commands / name).symlink_to(shutil.which(name))
    before = sorted(tmp_path.iterdir())
    result = subprocess.run(
        ["make", "--no-print-directory", "pdf", f"PYTHON={sys.executable}"],
        cwd=tmp_path,
        env={"PATH": str(commands), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    (line,) = [line for line in result.stderr.splitlines() if "apt-get install" in line]
    needed = {*needs.COMMANDS.values(), *needs.TEX_FILES.values()}
    assert needed == set(line.split("--no-install-recommends ")[1].split())
    assert sorted(tmp_path.iterdir()) == before


def test_only_what_is_missing_is_named():
    everything = {**needs.COMMANDS, **needs.TEX_FILES}
    assert needs.missing_packages(lambda name: True, lambda name: True) == {}
    for absent, package in everything.items():
        found = needs.missing_packages(lambda n: n != absent, lambda n: n != absent)  # noqa: B023
        assert found == {absent: package}


def test_the_packages_are_those_that_are_installed_for_publishing():
    workflow = (ROOT / ".github/workflows/publish.yml").read_text(encoding="utf-8")
    for package in {*needs.COMMANDS.values(), *needs.TEX_FILES.values()}:
        assert package in workflow
    assert "make pdf" in workflow


# The log


@pytest.mark.parametrize(
    "line",
    [
        "! Undefined control sequence.",
        "LaTeX Warning: Reference `eq-absent' on page 3 undefined on input line 8.",
        "LaTeX Warning: Citation `absent1999' on page 3 undefined on input line 9.",
        "LaTeX Warning: Label `twice' multiply defined.",
        "LaTeX Warning: Float too large for page by 4.9pt on input line 10.",
        "pdfTeX warning (dest): name{absent} has been referenced but does not exist",
        "Missing character: There is no \u2264 in font t1xtt!",
        r"Overfull \hbox (15.1pt too wide) in paragraph at lines 1--2",
        r"Overfull \vbox (40.0pt too high) has occurred while \output is active",
    ],
)
def test_the_log_reader_sees(line):
    log = f"This is pdfTeX\n{line}\nmore\n{line}\n"
    assert log_problems(log) == [line]


def test_the_log_reader_lets_pass():
    log = r"""Overfull \hbox (14.9pt too wide) in paragraph at lines 1--2
Underfull \hbox (badness 10000) in paragraph at lines 1--2
LaTeX Warning: Reference `eq-a' on page 3 is fine
LaTeX Font Info: Trying to load font information
Output written on one-scalar.pdf (191 pages, 2824007 bytes).
"""
    assert log_problems(log) == []
    assert len(log_problems(log, margin=10)) == 1
    assert page_count(log) == 191
    with pytest.raises(ValueError, match="no PDF"):
        page_count("! Emergency stop.")


# The link


@pytest.fixture
def sources(tmp_path):
    """A book of one page without code, in the frame of the real one."""
    frame(tmp_path)
    for name in ("dlnlib", "_build"):
        (tmp_path / name).mkdir()
    (tmp_path / "dlnlib" / "__init__.py").write_text("")
    (tmp_path / "chapters" / "intro.md").write_text("# A page\n")
    return tmp_path


def make_pdf(sources: Path) -> None:
    """What `make pdf` leaves behind."""
    (sources / "_build" / PDF_NAME).write_bytes(b"%PDF-1.5")
    note_sources(sources / "_build" / PDF_NAME, source_digest(sources))


def test_a_pdf_is_current_until_a_source_changes(sources):
    build = sources / "_build"
    assert current_pdf(sources, build) is None
    (build / PDF_NAME).write_bytes(b"%PDF-1.5")
    assert current_pdf(sources, build) is None  # of unknown sources
    changes = ["chapters/intro.md", "dlnlib/a.py", "chapters/t.csv", "requirements.txt", "_toc.yml"]
    for name in [*changes, "references.bib", "CITATION.cff", "tools/pdf/style.tex"]:
        make_pdf(sources)
        assert current_pdf(sources, build) == build / PDF_NAME
        with (sources / name).open("a") as file:
            file.write("changed")
        assert current_pdf(sources, build) is None, name


def test_the_pages_link_to_a_current_pdf_only(sources):
    make_pdf(sources)
    link, copy = f'href="../{PDF_NAME}"', sources / "_build/html" / PDF_NAME
    assert (built(sources) / "intro.html").read_text().count(
        link
    ) == 2  # in the side bar and among the downloads
    assert copy.read_bytes() == b"%PDF-1.5"
    (sources / "CITATION.cff").write_text("changed: true\n")  # no source of any page
    assert PDF_NAME not in (built(sources) / "intro.html").read_text()
    assert not copy.exists()


# The title page


def test_title_page_has_the_facts():
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    text = title_page(ROOT)
    for fact in (about["title"], about["version"], "CC BY 4.0", "MIT", about["authors"][0]["name"]):
        assert fact in text
    assert text in latex_settings(ROOT)["latex_elements"]["preamble"]


def test_title_page_takes_any_name(tmp_path):
    people = [{"name": "A & B_1"}, {"family-names": "Saxe", "given-names": "A."}]
    about = {"title": "100 %", "authors": people, "version": "1", "date-released": "2026-01-01"}
    about |= {"license": ["MIT"], "abstract": "a\nb", "keywords": ["c", "d"]}
    (tmp_path / "CITATION.cff").write_text(yaml.safe_dump(about))
    (tmp_path / "requirements.txt").write_text("")
    text = title_page(tmp_path)
    assert r"\newcommand{\bookTitle}{100 \%}" in text
    assert r"\newcommand{\bookAuthors}{A \& B\_1, A. Saxe}" in text
    assert r"\newcommand{\bookAbstract}{a b}" in text
    assert r"\newcommand{\bookLicences}{code under MIT}" in text


# What is printed


@pytest.fixture
def document():
    return new_document("book", get_default_settings())


def section(title: str, *content: nodes.Node) -> nodes.section:
    return nodes.section("", nodes.title("", title), *content)


def test_every_page_is_a_chapter(document):
    inner = addnodes.start_of_file("", section("Below"), docname="below")
    first = addnodes.start_of_file("", section("First", inner), docname="first")
    last = addnodes.start_of_file("", section("Last"), docname="last")
    root = section("The book", nodes.paragraph("", "Why."), first, last)
    document += root
    document["docname"] = "intro"
    chapters_in_a_row(document, {"first": "I · Short", "last": "Back"})
    (book,) = document.children
    title, *parts = book.children
    pages = [part for part in parts if isinstance(part, addnodes.start_of_file)]
    order = [part["docname"] if part in pages else part.astext() for part in parts]
    short, back = [[r"\bookpart{", name, "}"] for name in ("I · Short", "Back")]
    assert order == [*short, "intro", "first", "below", *back, "last"]
    assert title.astext() == "The book"
    assert [page["docname"] for page in pages] == ["intro", "first", "below", "last"]
    names = [page[0][0].astext() for page in pages]
    assert names == [FIRST_CHAPTER, "First", "Below", "Last"]
    assert not list(pages[1][0].findall(addnodes.start_of_file))
    assert "Why." in pages[0].astext()


def cell(code: str, output: str, **settings: str) -> nodes.container:
    source = nodes.container("", nodes.literal_block(code, code), nb_element="cell_code_source")
    result = nodes.container("", nodes.literal_block(output, output), nb_element="cell_code_output")
    return nodes.container("", source, result, nb_element="cell_code", **settings)


def test_folded_code_and_imports_are_left_out(document):
    document += cell("plot(x)", "one", hide_mode="input")
    document += cell("solve(x)", "two", hide_mode="all")
    document += cell("import numpy as np\n\nuse_book_style()", "three")
    document += cell("from a import (\n    b,\n)\n\nx = b(1)  # kept\n\n\ny = x", "four")
    document += cell("%magic", "five")
    show_only_open_code(document)
    blocks = [block.astext() for block in document.findall(nodes.literal_block)]
    kept = "x = b(1)  # kept\n\n\ny = x"
    assert blocks == ["one", "solve(x)", "two", "three", kept, "four", "%magic", "five"]
    assert all(b.rawsource == b.astext() for b in document.findall(nodes.literal_block))


def test_solutions_are_open(document):
    text = nodes.paragraph("", "It is two.")
    box = nodes.container("", nodes.rubric("", "Solution"), text, design_component="dropdown")
    document += box
    set_solutions(document)
    assert document.astext().split("\n\n") == [
        r"\begin{bookaside}{Solution}",
        "It is two.",
        r"\end{bookaside}",
    ]


def test_statements_keep_number_title_and_target(document):
    body = nodes.section("", nodes.paragraph("", "So it is."))
    theorem = theorem_node("", nodes.title("", " (A law)"), body, ids=["thm-law"])
    theorem.attributes.update(label="thm-law", realtype="theorem", countertype="theorem")
    proof = nodes.paragraph("", "Proof. By sight.")
    document += [theorem, proof_node("", nodes.admonition("", proof))]
    set_statements(document, lambda node: ("chapters/laws", "7"))
    text = document.astext()
    assert r"\begin{bookstatement}{theorem}{Theorem 7}{" in text
    assert " (A law)" in text
    assert r"\label{\detokenize{chapters/laws:thm-law}}" in text
    assert "So it is." in text
    assert r"\begin{proof}" in text
    assert r"By sight.\qedhere" in text
    assert "Proof." not in text


def test_derivations_become_lines(document):
    rows = r"&\text{1. start}" + " \\\\[4pt]\n" + r"&\qquad a = \frac{b}{c}"
    math = "\\begin{aligned}\n" + rows + "\n\\end{aligned}"
    document += nodes.math_block(math, math, classes=["output", "text_latex"])
    document += nodes.math_block("x", "x", classes=[])
    set_derivations(document)
    derived, plain = document.children
    assert derived.astext().splitlines() == [
        r"\begin{bookderivation}",
        r"\bookstep{\text{1. start}}",
        r"\bookline{a = \frac{b}{c}}",
        r"\end{bookderivation}",
    ]
    assert isinstance(plain, nodes.math_block)


def table(*rows: tuple[str, ...]) -> nodes.table:
    group = nodes.tgroup("", *[nodes.colspec(colwidth=1) for _ in rows[0]], cols=len(rows[0]))
    body = nodes.tbody()
    for row in rows:
        body += nodes.row("", *[nodes.entry("", nodes.paragraph("", text)) for text in row])
    group += body
    return nodes.table("", group, classes=["colwidths-auto"])


def test_wide_tables_get_columns_that_fit(document):
    name = "test_" + "a_rather_long_name_" * 5
    wide, narrow = table(("word " * 40, "Theorem 12", name), ("w", "", "")), table(("a", "b"))
    document += [wide, narrow]
    fit_tables(document)
    prose, reference, code = [spec["colwidth"] for spec in wide.findall(nodes.colspec)]
    assert "colwidths-given" in wide["classes"]
    assert "colwidths-auto" not in wide["classes"]
    assert prose > code > reference > len("Theorem 12")
    assert "colwidths-given" not in narrow["classes"]
    assert all("longtable" in t["classes"] for t in (wide, narrow))


def test_long_names_may_break(document):
    name = "test_ratio_of_times"
    document += [
        nodes.literal("", name),
        nodes.literal("", "short_name"),
        nodes.paragraph("", name),
    ]
    soften_names(document)
    long, short, prose = (node.astext() for node in document.children)
    assert long.split("\u200b") == ["test_", "ratio_", "of_", "times"]
    assert short == "short_name"
    assert prose == name


def test_the_parts_are_those_of_the_contents():
    captions = part_captions(parse_toc_yaml(ROOT / "_toc.yml"))
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    assert list(captions.values()) == [part["caption"] for part in parts]
    assert list(captions) == [part["chapters"][0]["file"] for part in parts]


def test_tables_of_cells_are_set_and_data_is_not_printed(document):
    frame = pd.DataFrame(
        {"one": [1.5, 2.0], "two": ["a", "b"]}, index=pd.Index(["x", "y"], name="of")
    )
    nested = pd.DataFrame({"v": [1, 2, 3]}, index=[["p", "p", "q"], [0, 1, 0]])
    for html in (frame.to_html(), nested.to_html(), '<script type="application/json">{}</script>'):
        document += nodes.raw("", html, format="html")
    document += nodes.raw("", r"\kept", format="latex")
    set_tables(document)
    first, second, kept = document.children
    assert kept.astext() == r"\kept"

    def rows(part: nodes.Element) -> list[list[str]]:
        return [[entry.astext() for entry in row] for row in part.findall(nodes.row)]

    (head,), body = (rows(next(first.findall(kind))) for kind in (nodes.thead, nodes.tbody))
    assert head == ["of", "one", "two"]
    assert body == [["x", "1.5", "a"], ["y", "2.0", "b"]]
    assert rows(second) == [["", "", "v"], ["p", "0", "1"], ["", "1", "2"], ["q", "0", "3"]]


def test_figures_are_printed_in_one_scale(document):
    document += [nodes.image(uri="a.svg", width="100%"), nodes.image(uri="b.svg", width="3cm")]
    free_images(document)
    first, second = document.children
    assert "width" not in first
    assert first["scale"] < 100
    assert second["width"] == "3cm"
    assert "scale" not in second


def test_pages_left_out_are_named_in_one_place():
    settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    patterns = settings["sphinx"]["config"]["pdf_exclude"]
    assert is_left_out("chapters/api", patterns)
    assert not is_left_out("chapters/intro", patterns)
    assert not is_left_out("chapters/bibliography", patterns)
