"""The page `rerun` says what happens: its cluster lines run, its quoted outputs are real."""

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout

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


def test_the_lines_for_a_cluster_make_the_same_table(tmp_path):
    distributed = pytest.importorskip("distributed")
    study = [cell_with("import joblib"), cell_with("def step_length"), block("python", "dask")]
    (tmp_path / "study.py").write_text("\n\n".join(study), encoding="utf-8")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        address = {"DASK_SCHEDULER_ADDRESS": cluster.scheduler_address, "MPLBACKEND": "agg"}
        command = [sys.executable, "study.py"]
        run = subprocess.run(
            command, cwd=tmp_path, env=os.environ | address, capture_output=True, text=True
        )
    assert run.returncode == 0, run.stderr
    assert "20/20" in run.stderr
    names = {}
    exec("\n\n".join(study[:2]), names)
    serial = sweep(names["step_length"], names["GRID"], seed=7)
    pd.testing.assert_frame_equal(read_table(tmp_path / "step.csv"), serial)


def table_of_the_introduction(seed):
    """What the introduction shows of its modes with another seed, as text."""
    parts = ("import numpy", "spiked_teacher(", "table =")
    code = "\n".join(cell_with(part, CHAPTERS / "intro.md") for part in parts)
    changed = code.replace("default_rng(1)", f"default_rng({seed})")
    assert (changed == code) is (seed == 1)
    names = {}
    exec(changed, names)
    return str(names["table"])


def test_the_quoted_outputs_are_those_of_the_tests():
    quoted = block("text", "default_rng").splitlines()
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


def test_shuffled_outputs_find_the_signal_of_other_data():
    lines = cell_with("scratch =") + "\n" + cell_with("np.load") + "\n" + cell_with("shuffled =")
    for seed in range(20, 24):
        names = {}
        start = cell_with("import joblib") + "\n" + cell_with("def intro_run").split("def ")[0]
        with redirect_stdout(io.StringIO()):
            exec(start + lines.replace("default_rng(8)", f"default_rng({seed})"), names)
        assert names["n_signal"] == 2
        names["scratch"].cleanup()
