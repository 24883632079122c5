"""Folded cells that follow each other."""

import pytest
from docutils import nodes

from tools.sphinx.cells import join_folds


def cell(code: str, fold: str | None, shown: str = "") -> nodes.container:
    """A cell of code, folded or not, that may show something."""
    source = nodes.container(
        "", nodes.literal_block(code, code), nb_element="cell_code_source", classes=["cell_input"]
    )
    whole = nodes.container("", source, nb_element="cell_code", classes=["cell"])
    if fold:
        whole["hide_mode"] = fold
    if shown:
        whole += nodes.container("", nodes.paragraph("", shown), nb_element="cell_code_output")
    return whole


def joined(*parts: nodes.Node) -> list[str]:
    page = nodes.section("", *parts)
    join_folds(page)
    return [" ".join(part.astext().split()) for part in page]


def test_code_that_shows_nothing_joins_the_fold_behind_it():
    cells = [cell("one", "input"), cell("two", "input"), cell("three", "input", "picture")]
    assert joined(*cells) == ["one two three picture"]
    assert len(cells[-1][0]) == 3  # blocks of code before the picture


@pytest.mark.parametrize(("first", "second"), [("input", "all"), ("all", "input")])
def test_it_joins_either_fold(first, second):
    assert joined(cell("one", first), cell("two", second, "2")) == ["one two 2"]


def test_whole_cells_join_with_what_they_show():
    assert joined(cell("one", "all", "1"), cell("two", "all", "2")) == ["one 1 two 2"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (cell("one", "input", "picture"), cell("two", "input")),
        (cell("one", "input"), cell("two", None)),
        (cell("one", None), cell("two", "input")),
        (cell("one", "all", "1"), cell("two", "input")),
        (cell("one", "output"), cell("two", "output")),
    ],
)
def test_other_cells_stay(first, second):
    assert len(joined(first, second)) == 2


def test_words_between_two_folds_keep_them_apart():
    between = nodes.paragraph("", "words")
    assert len(joined(cell("one", "input"), between, cell("two", "input"))) == 3
