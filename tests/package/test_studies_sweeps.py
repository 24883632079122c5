"""Sweeps: the same table however it is made, and nothing lost or repeated after a kill."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest

from dlnlib.studies import cell_rng, grid_cells, read_table, sweep

GRID = {"signal": [1, 2.5, 4.0], "kind": ["thin", "wide"]}

# A sweep that leaves one mark per execution of a cell.
SLOW = """
import os, sys, tempfile, time
from dlnlib.studies import sweep

def slow(index, marks, rng):
    tempfile.mkstemp(dir=marks, prefix=f"{index}-")
    time.sleep(0.03)
    return [{"part": part, "value": rng.normal()} for part in ("left", "right")]

if __name__ == "__main__":
    marks, path, jobs = sys.argv[1:]
    sweep(slow, {"index": range(30), "marks": marks}, seed=1, path=path, n_jobs=int(jobs))
"""


def experiment(signal, kind, rng):
    value = signal * rng.standard_normal()
    return [{"rule": rule, "value": value, "wide": kind == "wide"} for rule in ("early", "late")]


def single(signal, kind, rng):
    return {"value": rng.standard_normal(), "count": len(kind)}


def fails(signal, kind, rng):
    if kind == "wide":
        raise ArithmeticError("no root")
    return {"value": signal}


def counts(marks):
    names = [path.name.split("-")[0] for path in marks.iterdir()]
    return {int(name): names.count(name) for name in set(names)}


def test_table_is_typed_and_in_the_order_of_the_grid():
    table = sweep(experiment, GRID, seed=0)
    assert list(table.columns) == ["signal", "kind", "rule", "value", "wide"]
    assert table.signal.tolist() == [1.0] * 4 + [2.5] * 4 + [4.0] * 4
    assert table.kind.tolist() == ["thin", "thin", "wide", "wide"] * 3
    assert table.value.dtype == float
    assert table.wide.dtype == bool
    assert table.attrs["function"].endswith("experiment")
    assert table.attrs["seed"] == "0"


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("function", [experiment, single])
def test_same_table_from_any_number_of_processes_order_and_grid(function, jobs, tmp_path):
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    table = sweep(function, GRID, seed=7, path=one)
    cells = grid_cells(GRID)
    backwards = sweep(function, cells[::-1], seed=7, n_jobs=jobs)
    pd.testing.assert_frame_equal(sweep(function, GRID, seed=7, path=other, n_jobs=jobs), table)
    columns = list(table.columns)
    both = (x.sort_values(columns).reset_index(drop=True) for x in (backwards, table))
    pd.testing.assert_frame_equal(*both)
    for cell in cells:
        alone = sweep(function, [cell], seed=7)
        found = table[(table.signal == cell["signal"]) & (table.kind == cell["kind"])]
        assert alone.value.tolist() == found.value.tolist()
    assert one.read_bytes() == other.read_bytes()
    pd.testing.assert_frame_equal(read_table(one), table)
    pd.testing.assert_frame_equal(pd.read_csv(one, comment="#"), table, rtol=1e-15)


def test_streams_depend_on_seed_and_parameters_alone():
    def draw(seed, **cell):
        return cell_rng(seed, cell).random()

    assert draw(0, a=1, b="x") == draw(0, b="x", a=1.0) == draw(0, a=np.int64(1), b="x")
    draws = [draw(0, a=1), draw(1, a=1), draw(0, a=2), draw(0, b=1), draw(0, a=1, b=1)]
    assert len(set(draws)) == len(draws)
    # neighbouring cells do not share numbers
    rows = np.array([cell_rng(0, {"a": a}).standard_normal(400) for a in range(20)])
    assert np.abs(np.corrcoef(rows) - np.eye(20)).max() < 0.25


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the sweep made no progress"
        time.sleep(0.005)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_kill_neither_loses_nor_repeats_finished_cells(jobs, tmp_path):
    script, path, marks = tmp_path / "slow.py", tmp_path / "table.csv", tmp_path / "marks"
    script.write_text(SLOW, encoding="utf-8")
    marks.mkdir()
    command = [sys.executable, str(script), str(marks), str(path), str(jobs)]
    running = subprocess.Popen(command, start_new_session=True)
    try:
        wait_for(lambda: path.exists() and path.read_text(encoding="utf-8").count("\n\n") >= 5)
        running.send_signal(signal.SIGKILL)
        running.wait()
    finally:
        if jobs > 1:  # the workers outlive their parent
            os.killpg(running.pid, signal.SIGKILL)
    finished, before = read_table(path), counts(marks)
    done = set(finished["index"])
    assert 5 <= len(done) < 30
    with path.open("a", encoding="utf-8") as stream:  # as if the kill had met a write
        stream.write(f"29,{marks},left,0.123")
    subprocess.run(command, check=True)
    table, after = read_table(path), counts(marks)
    assert table["index"].tolist() == [i for i in range(30) for _ in "ab"]
    assert table.part.tolist() == ["left", "right"] * 30
    assert {i: after[i] for i in done} == dict.fromkeys(done, 1)
    # what was under way was not finished, and only that is run again
    assert {i for i, times in after.items() if times > 1} <= set(before) - done
    assert set(after) == set(range(30))
    # the numbers are those of a sweep that nothing interrupted
    streams = [cell_rng(1, {"index": i, "marks": str(marks)}) for i in range(30)]
    assert table.value.tolist() == [rng.normal() for rng in streams for _ in "ab"]


@pytest.mark.parametrize("cut", [1, 2, 10, 30, 45])
def test_a_half_written_cell_is_dropped_and_made_again(cut, tmp_path):
    path = tmp_path / "table.csv"
    table = sweep(experiment, GRID, seed=0, path=path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert len(read_table(path)) == 10
    pd.testing.assert_frame_equal(sweep(experiment, GRID, seed=0, path=path), table)
    assert path.read_bytes() == whole


def test_a_larger_grid_runs_only_what_is_new(tmp_path):
    path = tmp_path / "table.csv"
    part = sweep(experiment, GRID, seed=0, path=path)
    path.write_text(path.read_text(encoding="utf-8").replace("early", "known"), encoding="utf-8")
    more = sweep(experiment, {**GRID, "signal": [0.5, 1, 2.5, 4]}, seed=0, path=path)
    assert (more.rule == "known").sum() == 6
    assert more[more.signal > 0.5].value.tolist() == part.value.tolist()
    few = sweep(experiment, {**GRID, "signal": 4}, seed=0, path=path)
    assert len(few) == 4
    assert len(read_table(path)) == 16, "what is not asked for stays"


def test_a_dask_cluster_makes_the_same_table(tmp_path):
    distributed = pytest.importorskip("distributed")
    serial = sweep(experiment, GRID, seed=3, path=tmp_path / "serial.csv")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        assert len(client.scheduler_info()["workers"]) == 2
        table = sweep(experiment, GRID, seed=3, path=tmp_path / "dask.csv")
    pd.testing.assert_frame_equal(table, serial)
    assert (tmp_path / "dask.csv").read_bytes() == (tmp_path / "serial.csv").read_bytes()


def test_progress_goes_to_stderr_when_asked(capfd):
    sweep(single, GRID, seed=0)
    assert capfd.readouterr() == ("", "")
    sweep(single, GRID, seed=0, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "6/6" in err


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failing_cell_is_named_and_the_others_stay(jobs, tmp_path):
    path = tmp_path / "table.csv"
    with pytest.raises(RuntimeError, match=r"3 cells failed.*'kind': 'wide'.*no root"):
        sweep(fails, GRID, seed=0, path=path, n_jobs=jobs)
    assert set(read_table(path).kind) == {"thin"}
    assert len(read_table(path)) == 3


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({}, "no cells"),
        ([], "no cells"),
        ({"signal": [], "kind": "thin"}, "no cells"),
        ({"signal": 1}, "does not fit"),
        ({**GRID, "colour": 1}, "colour"),
        ({"signal": [1, 1.0], "kind": "thin"}, "comes twice"),
        ({"signal": float("nan"), "kind": "thin"}, "NaN"),
        ({"signal": None, "kind": "thin"}, "number or a word"),
        ({"signal": 1, "kind": "two\nlines"}, "printable"),
        ([{"signal": 1, "kind": "thin"}, {"signal": 1}], "same parameters"),
    ],
)
def test_bad_grids(grid, message):
    with pytest.raises(ValueError, match=message):
        sweep(experiment, grid, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: sweep(experiment, GRID, seed=1, path=path), "seed is 0, not 1"),
        (lambda path: sweep(single, GRID, seed=0, path=path), "function is .*experiment, not"),
        (
            lambda path: sweep(experiment, {"kind": "thin", "signal": 1}, seed=0, path=path),
            "parameters",
        ),
    ],
)
def test_a_file_of_another_sweep_is_refused(change, message, tmp_path):
    path = tmp_path / "table.csv"
    sweep(experiment, GRID, seed=0, path=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        change(path)
    assert path.read_bytes() == before


def test_a_file_of_another_version_or_kind_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    sweep(experiment, GRID, seed=0, path=path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("version: dlnlib ", "version: dlnlib 9."), encoding="utf-8")
    with pytest.raises(ValueError, match="its version is"):
        sweep(experiment, GRID, seed=0, path=path)
    path.write_text("my own notes\n", encoding="utf-8")
    with pytest.raises(ValueError, match="another sweep"):
        sweep(experiment, GRID, seed=0, path=path)
    with pytest.raises(ValueError, match="no finished cell"):
        read_table(path)
    path.write_text(text.replace("late", "late,late"), encoding="utf-8")
    with pytest.raises(ValueError, match="no table of a sweep"):
        sweep(experiment, GRID, seed=0, path=path)


def test_bad_seeds():
    with pytest.raises(ValueError, match="seed must be"):
        sweep(experiment, GRID, seed=-1)


@pytest.mark.parametrize(
    "result", [[], 3.0, {"value": [1, 2]}, {"value": None}, {"signal": 1.0}, [{"a": 1}, {"b": 1}]]
)
def test_results_that_fit_no_table(result):
    with pytest.raises(RuntimeError, match="failed"):
        sweep(lambda signal, kind, rng: result, GRID, seed=0)


def test_a_function_that_cannot_travel():
    lock = threading.Lock()

    def locked(signal, kind, rng):
        with lock:
            return {"value": 1}

    assert len(sweep(locked, GRID, seed=0)) == 6
    with pytest.raises(ValueError, match="cannot be sent to another process"):
        sweep(locked, GRID, seed=0, n_jobs=2)


# Found by changing the package a little and asking whether a test notices: `make mutants`.


def area(width, height, *, rng):
    return {"area": width * height}


def test_a_function_with_a_parameter_given():
    table = sweep(partial(area, height=3), {"width": [1, 2]}, seed=0)
    assert table["area"].tolist() == [3, 6]
    assert "area(height=3)" in table.attrs["function"]
