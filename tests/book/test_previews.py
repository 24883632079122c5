"""What a preview shows of a page, and what the list of symbols takes from the notation."""

import pytest
from docutils import nodes
from docutils.utils import new_document
from sphinx.addnodes import pending_xref

from tools.sphinx.previews import previews
from tools.sphinx.symbols import meanings, plain, read_rows

EQUATION = (
    '<div class="math notranslate nohighlight" id="equation-eq-a"><span class="eqno">(7)'
    '<a class="headerlink" href="#equation-eq-a">#</a></span>\\[a &lt; b\\]</div>'
)
THEOREM = (
    '<div class="proof theorem admonition" id="thm-a">'
    '<p class="admonition-title"><span class="caption-number">Theorem 3 </span> (Name)</p>'
    '<section class="theorem-content" id="proof-content"><p>By <a href="b.html">b</a>'
    ' <span class="symbol symbol-2"><span class="math">\\(L\\)</span></span>.</p></section></div>'
)
WORDS = (
    '<dl><dt id="term-a">a<a class="headerlink" href="#term-a">#</a></dt>'
    '<dt id="term-b">b</dt><dd><p>Both.</p></dd></dl>'
)
FIGURE = (
    '<figure id="fig-a"><img src="a.svg" alt="A."><figcaption><p>'
    '<span class="caption-number">Fig. 2 </span><span class="caption-text">All of it.</span>'
    '<a class="headerlink" href="#fig-a">#</a></p></figcaption></figure>'
)
CITATION = (
    '<div class="citation" id="id4"><span class="label">[<a href="#id1">1</a>]</span>'
    '<p>Saxe. <a href="https://doi.org/1">doi</a>.</p></div>'
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            EQUATION,
            {
                "equation-eq-a": '<p class="preview-head">Equation (7)</p>'
                '<div class="math">\\[a &lt; b\\]</div>'
            },
        ),
        (
            THEOREM,
            {
                "thm-a": '<p class="preview-head"><span class="caption-number">Theorem 3 </span> '
                '(Name)</p><div class="theorem-content"><p>By b <span class="math">\\(L\\)</span>.'
                "</p></div>"
            },
        ),
        (
            WORDS,
            {
                "term-a": '<p class="preview-head">a</p><p>Both.</p>',
                "term-b": '<p class="preview-head">b</p><p>Both.</p>',
            },
        ),
        (FIGURE, {"fig-a": '<p class="preview-head">Fig. 2</p><p>All of it.</p>'}),
        (CITATION, {"id4": "<p>Saxe. doi.</p>"}),
        ("<p id='x'>text</p>" + '<div class="proof admonition" id="proof"><p>P</p></div>', {}),
    ],
)
def test_a_preview_is_the_part_without_its_links(body, expected):
    assert dict(previews(body)) == expected


def cell(*formulas: str, text: str = "") -> nodes.entry:
    return nodes.entry("", nodes.paragraph("", text, *(nodes.math(f, f) for f in formulas)))


def section(name: str, pages: list[str], rows: list[list[str]]) -> nodes.section:
    links = [pending_xref(refdomain="doc", reftarget=page) for page in pages]
    body = nodes.tbody()
    for symbols in rows:
        body += nodes.row("", cell(*symbols), cell(text="what it is"), cell(), cell())
    table = nodes.table("", nodes.tgroup("", body, cols=4))
    return nodes.section("", nodes.title(), nodes.paragraph("", "", *links), table, ids=[name])


@pytest.fixture
def notation():
    several = nodes.section("", nodes.title(), ids=["letters-with-several-meanings"])
    several += nodes.paragraph("", "", nodes.math("d", "d"))
    book = new_document("notation")
    book += section("the-network-and-its-data", ["one"], [["L"], [r"W = W_L  \cdots"], ["d"]])
    book += section("digits", ["two"], [["C"], ["q", "r"], ["q"]])
    book += section("when-to-stop", ["two", "three"], [["L"], ["n"]])
    book += several
    return read_rows(book)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("one", {"L": 0, "W": 1, r"W = W_L \cdots": 1, "d": 2}),
        # Its own L; W from elsewhere; not d, which has several meanings, nor q, which has two here.
        ("two", {"C": 3, "r": 4, "L": 6, "n": 7, "W": 1, r"W = W_L \cdots": 1}),
        ("three", {"L": 6, "n": 7, "W": 1, r"W = W_L \cdots": 1}),
        # Not L, which has two meanings, nor what belongs to other chapters.
        ("four", {"W": 1, r"W = W_L \cdots": 1}),
    ],
)
def test_a_symbol_means_what_the_table_of_its_chapter_says(notation, page, expected):
    assert {symbol: row.number for symbol, row in meanings(page, *notation).items()} == expected


def test_blanks_of_a_formula_do_not_matter():
    assert plain(" t_{ 1}\n + \\dot  a ") == plain("t_{1} + \\dot a")
