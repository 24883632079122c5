"""The page `rerun` says what happens: its cluster lines run, its quoted outputs are real."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack, redirect_stdout, suppress

import matplotlib
import numpy as np
import pandas as pd
import pytest

from dlnlib.modes import learning_time
from dlnlib.random_matrix import spike_forward
from dlnlib.studies import read_table, sweep
from dlnlib.tasks import linear_task, spiked_teacher
from tools.bless import CHAPTERS, chapter_cells, record_path

PAGE = CHAPTERS / "rerun.md"


@pytest.fixture(autouse=True)
def style_of_its_own():
    """The cells set the style of all figures."""
    with matplotlib.rc_context():
        yield


def cell_with(text, chapter=PAGE):
    """The one code cell of a chapter that holds a text."""
    (cell,) = [cell.source for cell in chapter_cells(chapter) if text in cell.source]
    return cell


def block(language, text):
    """The one block of the page in a language that holds a text."""
    blocks = re.findall(
        rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S
    )
    (found,) = [block for block in blocks if text in block]
    return found


@pytest.mark.parametrize("own", [True, False], ids=["scheduler", "this machine"])
def test_the_lines_for_a_cluster_make_the_same_table(own, tmp_path):
    distributed = pytest.importorskip("distributed")
    study = [cell_with("import joblib"), cell_with("def step_length"), block("python", "Client")]
    (tmp_path / "study.py").write_text("\n\n".join(study), encoding="utf-8")
    with ExitStack() as stack:
        taken = stack.enter_context(socket.socket())
        with suppress(OSError):  # somebody has it, which is as good
            taken.bind(("", 8787))
            taken.listen()
        settings = os.environ | {"MPLBACKEND": "agg"}
        if own:
            options = {"threads_per_worker": 1, "dashboard_address": ":0"}
            cluster = distributed.LocalCluster(n_workers=2, processes=True, **options)
            address = stack.enter_context(cluster).scheduler_address
            settings["DASK_SCHEDULER_ADDRESS"] = address
        command = [sys.executable, "study.py"]
        run = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "20/20" in run.stderr
    assert ("8787 is already in use" in run.stderr) is not own
    names = {}
    exec("\n\n".join(study[:2]), names)
    serial = sweep(names["step_length"], names["GRID"], seed=7)
    pd.testing.assert_frame_equal(read_table(tmp_path / "step.sqlite"), serial)


def table_of_the_introduction(seed):
    """What the introduction shows of its modes with another seed, as text."""
    parts = ("import numpy", "import pandas", "spiked_teacher(", "table =")
    code = "\n".join(cell_with(part, CHAPTERS / "intro.md") for part in parts)
    changed = code.replace("default_rng(1)", f"default_rng({seed})")
    assert (changed == code) is (seed == 1)
    names = {}
    exec(changed, names)
    return str(names["table"])


def test_the_quoted_outputs_are_those_of_the_tests():
    quoted = block("text", "default_rng").splitlines()
    message = (CHAPTERS.parent / "tests/book/test_records.py").read_text(encoding="utf-8")
    assert quoted[0].removeprefix("the code of intro.md ").removesuffix(":") in message
    assert quoted[2].removeprefix("-") in cell_with("spiked_teacher(", CHAPTERS / "intro.md")
    assert quoted[2].replace("(1)", "(5)").replace("-", "+", 1) == quoted[3]
    before, after = block("text", "strongest noise").splitlines()
    stored = record_path(CHAPTERS / "intro.md").read_text(encoding="utf-8")
    assert before.removeprefix("-").strip() in stored
    for line, seed in ((before, 1), (after, 5)):
        assert json.loads(line[1:].strip(" ,")) in table_of_the_introduction(seed)


@pytest.mark.parametrize("noise", [0.4, 0.8, 1.1])
def test_order_of_events_stays_over_seeds(noise):
    # The sizes that random matrix theory gives, and no seed far from them.
    limits = [spike_forward(s, noise=noise)[0] for s in (6.0, 3.0)]
    for seed in range(100, 120):
        rng = np.random.default_rng(seed)
        task = spiked_teacher(60, 60, [6.0, 6.0, 3.0, 3.0], noise=noise, rng=rng)
        assert task.modes.s[:4] == pytest.approx(np.repeat(limits, 2), rel=0.12)
        half = learning_time(task.modes.s[:5], 1e-4)
        assert half[1] < half[2] < half[3] < half[4]


def test_transposed_square_data_pass_unseen_as_the_page_says():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 30, 30))
    assert linear_task(x.T, y).sigma.shape == linear_task(x, y).sigma.shape == (30, 29)


FIRST, LAST = "def own_task", "StoppingWindow("  # the cells that take a reader's files


def page_on(x, y, seed=0):
    """Names that the cells of the page leave after they took two arrays, and what they print."""
    sources = [cell.source for cell in chapter_cells(PAGE)]
    first, load, last = (sources.index(cell_with(part)) for part in (FIRST, "np.load", LAST))
    names = {"x": x, "y": y, "rng": np.random.default_rng(seed)}
    setting = cell_with("def intro_run").split("def ")[0]
    sources[load] = sources[load].partition("\n")[2]  # all but the line that loads
    with redirect_stdout(io.StringIO()) as out:
        exec("\n".join([cell_with("import joblib"), setting, *sources[first : last + 2]]), names)
    return names, out.getvalue()


def sorted_classes(sizes, scales, rng, gap=4.0):
    """Rows class by class, inputs of several scales, one of them constant; one-hot labels."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.standard_normal((len(labels), len(scales)))
    x[:, : len(sizes)] += gap * np.eye(len(sizes))[labels]
    return np.column_stack([x * scales, np.full(len(x), 3.0)]), np.eye(len(sizes))[labels]


@pytest.mark.parametrize("sizes", [[59, 71, 48], [60, 60, 60, 60, 60]])
@pytest.mark.parametrize("seed", range(3))
def test_sorted_classes_in_mixed_units(sizes, seed):
    rng = np.random.default_rng(seed)
    x, y = sorted_classes(sizes, np.logspace(-5, 3, 13), rng)
    names, _ = page_on(x, y)
    assert names["r"] == names["n_signal"] == len(sizes) - 1  # a null mode is no noise
    assert names["window"].holds
    assert names["window"].t_memorisation == np.inf
    held = names["task"].y_test
    assert len(np.unique(held.round(6), axis=0)) == len(sizes)
    again, _ = page_on(x * np.logspace(3, -5, 14), y * 1e6)
    np.testing.assert_allclose(again["s"], names["s"], rtol=1e-6)
    assert again["window"].t_opt == pytest.approx(names["window"].t_opt, rel=1e-3)


def test_two_classes_or_one_output_are_one_mode_without_entropy():
    rng = np.random.default_rng(0)
    x, y = sorted_classes([212, 357], np.logspace(-3, 3, 30), rng)
    column = (x[:, :10] / x[:, :10].std(axis=0) @ rng.standard_normal(10))[:, None]
    for outputs in (y, column + rng.standard_normal(column.shape)):
        names, out = page_on(x, outputs)
        assert (names["entropy"] == 0).all()
        assert "H = 0 at all times" in out
        assert names["window"].t_opt > 0


def test_outputs_of_several_units_count_alike():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 6))
    y = x[:, :4] + rng.standard_normal((300, 4))
    names, _ = page_on(x, y)
    other, _ = page_on(x, y * [1e-8, 1, 1e3, 1e9] + [1, 0, -5, 1e9])
    np.testing.assert_allclose(other["s"], names["s"], rtol=1e-5)


def test_outputs_without_relation_have_no_signal():
    rng = np.random.default_rng(2)
    found = [page_on(*rng.standard_normal((2, 150, 5)), seed)[0]["n_signal"] for seed in range(10)]
    assert sorted(found)[6] == 0  # one shuffle in 21 is the largest of all


@pytest.mark.parametrize(("rows", "columns"), [(20, 30), (100, 784), (60, 39), (4, 3)])
def test_as_many_directions_as_rows_are_refused(rows, columns):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, columns)), rng.standard_normal((rows, 3))
    with pytest.raises(ValueError, match="spectrum blind: take more rows, or fewer inputs"):
        page_on(x, y)
    # blind indeed: other inputs give the same singular values
    kept = round(rows * 2 / 3)
    spectra = [linear_task(z[:kept], y[:kept]).modes.s for z in (x, x[::-1] ** 3)]
    np.testing.assert_allclose(*spectra, rtol=1e-6, atol=1e-9)


def test_outputs_that_never_change_are_named():
    rng = np.random.default_rng(0)
    x, y = sorted_classes([60, 60, 1], np.ones(5), rng)
    seen = 0
    for seed in range(12):  # the row of the third class is trained on, or held out
        try:
            page_on(x, y, seed)
        except ValueError as error:
            assert "columns [2] of y are constant in the training rows" in str(error)
            seen += 1
    assert 0 < seen < 12
    total = rng.dirichlet(np.ones(7), len(x)).sum(axis=1)  # one, up to rounding
    assert np.ptp(total) > 0
    for constant in (0.0, 0.1, -1e50, total):
        with pytest.raises(ValueError, match=r"columns \[0\] of y are constant"):
            page_on(x, np.column_stack([constant + np.zeros(len(x)), y[:, :2]]))
    small = 1e9 + x[:, :2]  # a spread of 1e-9 of the size is one
    assert page_on(x, small)[0]["r"] == 2


def test_lists_and_data_frames_are_taken_as_arrays_are():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((90, 4))
    y = x[:, :2] + rng.standard_normal((90, 2))
    _, out = page_on(x, y)
    for other in ([x.tolist(), y.tolist()], [pd.DataFrame(x, range(5, 95)), pd.DataFrame(y)]):
        assert page_on(*other)[1] == out
    with pytest.raises(ValueError, match="objects"):
        page_on(x.astype(object), y)


def test_many_rows():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50_000, 30))
    names, _ = page_on(x, x[:, :2] @ rng.standard_normal((2, 4)) + rng.standard_normal((50_000, 4)))
    assert names["n_signal"] == 2
    assert names["window"].holds


def test_shuffled_outputs_find_the_signal_of_other_data():
    parts = ("scratch =", "def own_task", "np.load", "shuffled =")
    lines = "\n".join(map(cell_with, parts))
    for seed in range(20, 24):
        names = {}
        start = cell_with("import joblib") + "\n" + cell_with("def intro_run").split("def ")[0]
        with redirect_stdout(io.StringIO()):
            exec(start + lines.replace("default_rng(8)", f"default_rng({seed})"), names)
        assert names["n_signal"] == 2
        names["scratch"].cleanup()
