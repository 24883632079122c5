"""Tables of pandas on the pages of the book."""

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from tools.sphinx.tables import set_table, typeset


def heads(frame: pd.DataFrame) -> list[list[str]]:
    """The rows of names of a table on its page."""
    soup = BeautifulSoup(set_table(frame.to_html()), "html.parser")
    return [[cell.get_text() for cell in row.find_all("th")] for row in soup.select("thead tr")]


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame([[1, 2]], pd.Index(["last"], name="rule"), ["mean", "most"])


def test_names_of_rows_and_of_columns_share_a_row(frame):
    assert heads(frame) == [["rule", "mean", "most"]]
    frame.index = pd.MultiIndex.from_tuples([(2, "one")], names=["layers", "spikes"])
    assert heads(frame) == [["layers", "spikes", "mean", "most"]]


def test_the_name_of_the_columns_stands_above_them(frame):
    assert heads(frame.rename_axis(columns="error")) == [["", "error"], ["rule", "mean", "most"]]


def test_groups_of_columns_stay_above_them(frame):
    pair = pd.concat({"two": frame, "three": frame}, axis=1)
    assert heads(pair) == [["", "two", "three"], ["rule", "mean", "most", "mean", "most"]]
    named = pair.rename_axis(columns=["layers", "error"])
    assert heads(named)[-1] == ["rule", "", "", "", ""]  # no room beside "error"


@pytest.mark.parametrize("name", [None, "error"])
def test_a_table_without_names_of_rows_stays(frame, name):
    bare = frame.rename_axis(None).rename_axis(columns=name)
    assert heads(bare) == [[name or "", "mean", "most"]]


def test_numbers_and_rows_stay(frame):
    soup = BeautifulSoup(set_table(frame.to_html()), "html.parser")
    body = [[cell.get_text() for cell in row] for row in soup.select("tbody tr")]
    assert [[text for text in row if text.strip()] for row in body] == [["last", "1", "2"]]
    assert soup.style is None


def test_the_outermost_name_of_each_row_is_marked(frame):
    pairs = pd.MultiIndex.from_product([[2, 3], ["one", "two"]], names=["layers", "spikes"])
    table = pd.DataFrame({"mean": range(4)}, pairs)
    soup = BeautifulSoup(set_table(table.to_html()), "html.parser")
    assert [cell.get_text() for cell in soup.select(".outer")] == ["layers", "2", "3"]


@pytest.mark.parametrize(
    ("plain", "shown"),
    [
        ("log10 plateau", "log<sub>10</sub> plateau"),
        ("1e-06", "10<sup>−6</sup>"),
        ("2.50e+03", "2.50·10<sup>3</sup>"),
        ("1.7e+00", "1.7"),
        ("< 1e-09", "&lt; 10<sup>−9</sup>"),
        ("6.2e-05 to 0.1", "6.2·10<sup>−5</sup> to 0.1"),
        ("10^4 loss", "10<sup>4</sup> loss"),
        ("-0.5", "−0.5"),
        ("-", "-"),
        ("inf", "∞"),
        ("t_opt", "<i>t</i><sub>opt</sub>"),
        ("2 gamma_k", "2 <i>γ</i><sub>k</sub>"),
        ("half time (tau)", "half time (<i>τ</i>)"),
        ("start a0", "start <i>a</i><sub>0</sub>"),
        ("|c_k|^2 / 2", "|<i>c</i><sub>k</sub>|<sup>2</sup> / 2"),
        ("l1 norm", "<i>ℓ</i><sub>1</sub> norm"),
        ("largest a / s", "largest <i>a</i>\N{NO-BREAK SPACE}/\N{NO-BREAK SPACE}<i>s</i>"),
        ("decay / stop", "decay / stop"),
        ("a random start", "a random start"),
        ("s per 1,000 pictures", "s per 1,000 pictures"),
        ("150 x 150", "150 x 150"),
        ("effective_rank", "effective_rank"),
        ("risk_1", "risk_1"),
        ("plug-in, told", '<span class="together">plug-in</span>, told'),
        ("10 %", "10\N{NO-BREAK SPACE}%"),
    ],
)
def test_names_and_numbers_are_set_as_in_a_book(plain, shown):
    assert typeset(plain) == shown
