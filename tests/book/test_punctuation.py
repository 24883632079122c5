"""Formulas among words, and the signs behind them."""

import pytest
from docutils import nodes

from tools.sphinx.punctuation import keep_per_cent, keep_together


@pytest.mark.parametrize(
    ("behind", "kept", "left"),
    [(", so", ",", " so"), (").", ").", ""), ("-th mode", "-th", " mode"), (" is", None, " is")],
)
@pytest.mark.parametrize("marked", [False, True])
def test_a_formula_keeps_the_signs_behind_it(behind, kept, left, marked):
    formula = nodes.math("", "a")
    box = nodes.inline("", "", formula, classes=["symbol"]) if marked else formula
    line = nodes.paragraph("", "", nodes.Text("Let "), box, nodes.Text(behind))
    keep_together(line)
    assert line.astext() == f"Let a{behind}"
    assert line[-1].astext() == left
    if kept is None:
        assert line[1] is box
    else:
        assert line[1]["classes"] == ["together"]
        assert line[1][0] is box
        assert line[1][1].astext() == kept


def test_a_formula_keeps_the_bracket_before_it():
    line = nodes.paragraph(
        "", "", nodes.Text("a step (“"), nodes.math("", "a"), nodes.Text(") and")
    )
    keep_together(line)
    assert [part.astext() for part in line] == ["a step ", "(“a)", " and"]
    assert line[1]["classes"] == ["together"]
    line = nodes.paragraph("", "", nodes.Text("step ("), nodes.math("", "a"), nodes.Text(" is"))
    keep_together(line)
    assert [part.astext() for part in line] == ["step ", "(a", " is"]


def test_a_formula_at_the_end_of_a_line_stays():
    line = nodes.paragraph("", "", nodes.Text("Let "), nodes.math("", "a"))
    keep_together(line)
    assert [type(part) for part in line] == [nodes.Text, nodes.math]


def test_a_number_keeps_its_sign_of_per_cent():
    pasted, code = nodes.inline("", "12"), nodes.literal("", "5 % 3")
    line = nodes.paragraph("", "", nodes.Text("at 35 %, "), pasted, nodes.Text(" % of 2 %; "), code)
    keep_per_cent(line)
    space = "\N{NO-BREAK SPACE}"
    assert line.astext() == f"at 35{space}%, 12{space}% of 2{space}%; 5 % 3"
