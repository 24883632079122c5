"""The chapters keep the form that the tests and the reader rely on."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml
from helpers import ROOT, equation_labels, test_names, test_of, toc_files

from tools.bless import CHAPTERS, chapter_cells, record_path

PAGES = sorted(CHAPTERS.rglob("*.md"))
for_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)


@for_each_page
def test_every_labelled_equation_has_its_test(page):
    labels = equation_labels(page.read_text(encoding="utf-8"))
    assert [label for label in labels if not label.startswith("eq-")] == []
    missing = sorted({test_of(label) for label in labels} - set(test_names()))
    assert not missing, f"labelled equations of {page.name} without a test: {missing}"


def test_equation_labels_are_unique():
    labels = [label for p in PAGES for label in equation_labels(p.read_text(encoding="utf-8"))]
    assert len(labels) == len(set(labels)), sorted(x for x in labels if labels.count(x) > 1)


def test_equation_labels_are_found_in_every_form():
    text = (
        "$$\na\n$$ (eq-a)\n\n```{math}\n:label: eq-b\nb\n```\n\n:::{math}\n:label: eq-c\nc\n:::\n"
    )
    text += "\\begin{align}\\label{eq-d}\n\\end{align}\n:::{prf:theorem} T\n:label: thm-e\n:::\n"
    assert sorted(equation_labels(text)) == ["eq-a", "eq-b", "eq-c", "eq-d"]


@for_each_page
def test_every_figure_has_name_caption_and_alternative_text(page):
    for cell in chapter_cells(page):
        if "plt.show()" not in cell.source:
            continue
        given = cell.metadata.get("mystnb", {})
        figure, image = given.get("figure", {}), given.get("image", {})
        assert figure.get("name", "").startswith("fig-"), cell.source
        assert len(figure.get("caption", "")) > 40, "a caption stands alone"
        assert len(image.get("alt", "")) > 20, "the text says what the figure shows"
        assert "set_title" not in cell.source, "the caption is the title"


def numbers(text: str) -> list[str]:
    return re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?", text)


@for_each_page
def test_decimals_of_alternative_texts_are_in_the_code_or_its_outputs(page):
    """Up to rounding: what is said to who cannot see the figure is printed or asserted."""
    cells = chapter_cells(page)
    if not cells:
        return
    record = nbformat.read(record_path(page), as_version=4)
    known = [float(x) for cell in record.cells for x in numbers(cell.source)]
    for output in (output for cell in record.cells for output in cell.outputs):
        shown = output.get("text", "") or output.get("data", {}).get("text/plain", "")
        known += [float(x) for x in numbers(shown)]
    for cell in cells:
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        for said in (x for x in numbers(alt) if "." in x):
            step = 10.0 ** -len(said.split(".")[1])
            near = [x for x in known if abs(x - float(said)) <= 0.5001 * step]
            assert near, f"{said} is neither in the code of {page.name} nor printed"


@for_each_page
def test_chapter_starts_with_a_label_and_a_title(page):
    text = re.sub(r"\A---\n.*?\n---\n", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert re.match(r"\s*\([\w-]+\)=\n# \S", text), "start with (label)= and # Title"


@for_each_page
def test_rows_of_a_table_have_the_columns_of_its_head(page):
    # A bar in a formula splits the cell: write \lvert or \mid there.
    text = page.read_text(encoding="utf-8")
    for table in re.findall(r"^(?:\|.*\|\n)+", text, re.MULTILINE):
        bars = [len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()]
        wrong = [row for row, n in zip(table.splitlines(), bars, strict=True) if n != bars[0]]
        assert not wrong, wrong


# ---- what readers of a chapter can rely on ----

FRONT_AND_BACK = (
    "intro story rerun glossary notation results errata status bibliography api".split()
)
CHAPTERS_TO_READ = [
    page for page in PAGES if page.parent == CHAPTERS and page.stem not in FRONT_AND_BACK
]
for_each_chapter = pytest.mark.parametrize("page", CHAPTERS_TO_READ, ids=lambda path: path.stem)


def minutes(text: str) -> float:
    """How long a page takes: 100 words a minute, and half a minute a formula or a figure."""
    figures = len(re.findall(r"name: fig-", text))
    formulas = text.count("$$") / 2 + text.count("```{math}")
    words = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    words = re.sub(r"^(`{3,})\{code-cell\}.*?^\1\s*$", "", words, flags=re.DOTALL | re.MULTILINE)
    words = re.sub(r"\$\$.*?\$\$", " x ", words, flags=re.DOTALL)
    for aside in (r"`[^`]*`", r"\$[^$]*\$"):
        words = re.sub(aside, " x ", words)
    return len(re.findall(r"[A-Za-z]{2,}", words)) / 100 + 0.5 * (formulas + figures)


def test_minutes_count_words_formulas_and_figures():
    head = "---\nname: value\n---\n"
    cell = "```{code-cell} ipython3\nname: fig-a\nmany words of code\n```\n"
    prose = "Two words, a $x \\text{formula}$ and `some code`.\n\n$$\na = \\log b\n$$\n\n"
    assert minutes(head + prose + cell) == pytest.approx(3 / 100 + 0.5 * 2)


@for_each_chapter
def test_a_chapter_says_what_to_know_and_how_long_it_takes(page):
    text = page.read_text(encoding="utf-8")
    box = re.search(
        r"^(:{3,}|`{3,})\{admonition\} Before you read\n:class: before\n(.*?)^\1$",
        text,
        re.DOTALL | re.MULTILINE,
    )
    assert box, "the box `Before you read` with `:class: before` is missing"
    said = re.search(r"About (\d+) minutes", box[2])
    assert said, "the box says no `About N minutes`"
    assert abs(int(said[1]) - minutes(text)) <= 5, f"it takes {minutes(text):.0f} minutes"


@for_each_chapter
def test_a_chapter_ends_with_three_takeaways_and_exercises(page):
    parts = re.split(r"^## (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    titles = [title.strip() for title in parts[1::2]]
    assert titles.count("Takeaways") == titles.count("Exercises") == 1, titles
    assert titles.index("Takeaways") < titles.index("Exercises")
    takeaways = parts[2 * titles.index("Takeaways") + 2]
    assert len(re.findall(r"^(?:[-*]|\d+\.) ", takeaways, re.MULTILINE)) == 3


@for_each_chapter
def test_a_picture_comes_before_the_first_theorem(page):
    text = page.read_text(encoding="utf-8")
    figure, theorem = text.find("name: fig-"), text.find("{prf:theorem}")
    assert theorem < 0 or 0 <= figure < theorem


def test_contents_and_chapters_agree():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = toc_files(contents)
    assert len(listed) == len(set(listed))
    missing = [name for name in listed if not Path(ROOT, f"{name}.md").exists()]
    assert not missing, f"_toc.yml lists pages that do not exist: {missing}"
    assert {page.relative_to(ROOT).with_suffix("").as_posix() for page in PAGES} == set(listed)


def test_notation_tables_point_into_the_chapters_they_name():
    defined = {
        label: page.name
        for page in PAGES
        for label in re.findall(
            r"^\s*:label:\s*(\S+)", page.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    tables = re.split(
        r"^## ", Path(CHAPTERS, "notation.md").read_text(encoding="utf-8"), flags=re.M
    )
    for table in (part for part in tables if re.match(r".*\n+Chapters?: ", part)):
        named = set(re.findall(r"\]\((\w+\.md)\)", table))
        cells = re.findall(r"^  - \{(?:eq|prf:ref)\}`([\w-]+)`", table, re.MULTILINE)
        outside = [label for label in cells if defined.get(label) not in named]
        assert cells and not outside, f"not in {sorted(named)}: {outside}"
