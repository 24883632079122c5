"""`python -m tools.asserts` finds what nothing can break, and spares what can."""

import textwrap

import pytest
from helpers import PAGE, ROOT

from tools.asserts import asserted, judge, kept
from tools.bless import CHAPTERS, chapters

SETUP = """\
import numpy as np
from dlnlib.modes import mode_strength
from dlnlib.studies.tables import as_frame, grid_cells
from dlnlib.tasks import spiked_teacher
```

```{code-cell} ipython3
s = np.array([3.0, 2.0, 1.0])
a = mode_strength(np.linspace(0, 4, 41), s, 1e-3)
p = a**2 / (a**2).sum(axis=1, keepdims=True)
task = spiked_teacher(8, 8, [5.0], noise=1.0, rng=np.random.default_rng(1))
"""


@pytest.fixture
def found(tmp_path):
    """What the tool finds on a page of the cell above and these assertions."""

    def search(code: str) -> list[str]:
        page = tmp_path / "page.md"
        page.write_text(PAGE % (SETUP + textwrap.dedent(code), ""))
        verdict = judge(page)
        assert verdict.complete
        assert verdict.parts == asserted(page)
        return verdict.never_false

    return search


@pytest.mark.parametrize(
    "planted",
    [
        "assert abs(p[5].round(2).sum() - 1) < 0.011",  # shares add up to one
        "assert np.all(p >= 0)",  # squares
        "assert len(a) == 41 or a[-1, 0] > 2.9",  # switched off
        "for row in p: assert np.isclose(row.sum(), 1)",
        "def check(x): assert np.ptp(x) >= 0\ncheck(a)",
        "for row in p[:0]: assert row.sum() > 2",  # never asked
    ],
)
def test_an_assertion_that_holds_by_construction_is_found(found, planted):
    (part,) = found(planted)
    assert part in planted


@pytest.mark.parametrize(
    "sound",
    [
        "assert a[-1, 0] > 2.9",
        "assert np.isclose(a[-1], s, atol=0.1).all()",
        "assert (np.diff(a, axis=0) > 0).all()",
        "assert task.modes.s[0] > 4.5",
        "assert 2.9 < a[-1, 0] < 3.1",
        "assert a[0, 0] == 1e-3 and a[-1, 2] > 0.5",
        "assert np.allclose(mode_strength(4.0, s, 1e-3), mode_strength(4.0, s, 1e-3))",
        "grid = grid_cells({'q': [1, 2], 'k': [1, 2]})\nassert len(grid) == 4",
        "assert as_frame([{'x': 4}], {}).x.max() < 5",
        "n = 40\nassert np.random.default_rng(0).random(n).max() > 0.9",
        "rng = np.random.default_rng(0)\nassert rng.random() > 0.6",
    ],
)
def test_an_assertion_of_a_result_is_spared(found, sound):
    assert found(sound) == []


def test_names_of_the_page_are_its_own(found):
    assert found("note = parts = cell = space = a[-1]\nassert note[0] > 2.9") == []


def test_of_a_compound_assertion_only_the_part_is_found(found):
    assert found("assert p.min() >= 0 and a[-1, 0] > 2.9") == ["p.min() >= 0"]


def test_of_two_assertions_in_the_same_words_the_weak_one_is_found(found):
    code = "for x in {}: assert x.min() >= 0"
    assert found(code.format("p") + "\n" + code.format("[a[-1] - 0.9]")) == ["x.min() >= 0"]


def test_a_cell_that_fails_breaks_no_assertion_after_it(found):
    code = """\
    if a[-1, 0] < 2.99 or a[-1, 0] > 3.01:
        raise ValueError
    q = p[5]
    assert q.size == 3
    """
    assert found(code) == ["q.size == 3"]


@pytest.mark.parametrize("name", kept())
def test_what_is_kept_is_asserted_and_has_a_reason(name):
    assert name in {path.stem for path in chapters()}
    page = asserted(CHAPTERS / f"{name}.md")
    for part, reason in kept()[name].items():
        assert part in page, "no longer in the chapter"
        assert len(reason.split()) > 3


def test_the_makefile_names_the_tool():
    assert "tools.asserts $(CHAPTER)" in (ROOT / "Makefile").read_text(encoding="utf-8")
