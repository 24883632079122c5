"""Sweeps: the same table however it is made, and nothing lost or repeated after a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
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
    one, other = tmp_path / "one.sqlite", tmp_path / "other.sqlite"
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
    pd.testing.assert_frame_equal(read_table(one), table)
    pd.testing.assert_frame_equal(read_table(other), table)


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


def cells_in(path):
    with suppress(OSError, ValueError):
        return len(read_table(path)["index"].unique())
    return 0


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_kill_neither_loses_nor_repeats_finished_cells(jobs, tmp_path):
    script, path, marks = tmp_path / "slow.py", tmp_path / "table.sqlite", tmp_path / "marks"
    script.write_text(SLOW, encoding="utf-8")
    marks.mkdir()
    command = [sys.executable, str(script), str(marks), str(path), str(jobs)]
    running = subprocess.Popen(command, start_new_session=True)
    try:
        wait_for(lambda: cells_in(path) >= 5)
        running.send_signal(signal.SIGKILL)
        running.wait()
    finally:
        if jobs > 1:  # the workers outlive their parent
            os.killpg(running.pid, signal.SIGKILL)
    finished, before = read_table(path), counts(marks)
    done = set(finished["index"])
    assert 5 <= len(done) < 30
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


def counted(index, marks, rng):
    tempfile.mkstemp(dir=marks, prefix=f"{index}-")
    return {"value": rng.normal()}


def test_a_larger_grid_runs_only_what_is_new(tmp_path):
    path, marks = tmp_path / "table.sqlite", tmp_path / "marks"
    marks.mkdir()
    grid = {"index": [1, 2, 4], "marks": str(marks)}
    part = sweep(counted, grid, seed=0, path=path)
    more = sweep(counted, {**grid, "index": range(5)}, seed=0, path=path)
    assert counts(marks) == dict.fromkeys(range(5), 1)
    assert more[more["index"].isin([1, 2, 4])].value.tolist() == part.value.tolist()
    assert len(sweep(counted, {**grid, "index": 4}, seed=0, path=path)) == 1
    assert read_table(path)["index"].tolist() == [4, 0, 1, 2, 3], "what is not asked for stays"


def test_a_dask_cluster_makes_the_same_table(tmp_path):
    distributed = pytest.importorskip("distributed")
    serial = sweep(experiment, GRID, seed=3, path=tmp_path / "serial.sqlite")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        assert len(client.scheduler_info()["workers"]) == 2
        table = sweep(experiment, GRID, seed=3, path=tmp_path / "dask.sqlite")
    pd.testing.assert_frame_equal(table, serial)
    pd.testing.assert_frame_equal(read_table(tmp_path / "dask.sqlite"), serial)


def test_progress_goes_to_stderr_when_asked(capfd):
    sweep(single, GRID, seed=0)
    assert capfd.readouterr() == ("", "")
    sweep(single, GRID, seed=0, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "6/6" in err


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failing_cell_is_named_and_the_others_stay(jobs, tmp_path):
    path = tmp_path / "table.sqlite"
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
        ({"signal": [1, 1], "kind": "thin"}, "comes twice"),
        ({"signal": float("nan"), "kind": "thin"}, "NaN"),
        ({"signal": None, "kind": "thin"}, "number or a word"),
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
    path = tmp_path / "table.sqlite"
    sweep(experiment, GRID, seed=0, path=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        change(path)
    assert path.read_bytes() == before


def test_a_file_of_another_version_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "table.sqlite"
    sweep(experiment, GRID, seed=0, path=path)
    monkeypatch.setattr("dlnlib.studies.sweeps.__version__", "9.9")
    with pytest.raises(ValueError, match=r"its version is dlnlib .*, not dlnlib 9\.9"):
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


SAME = {"x": ["None", "nan", "007", "1", "True", "", 'a\n\n# b, "c"', 1, True, 7, 2**60, 2**60 + 1]}
SAME["x"] += [10**40, -0.0, 0, 0.5, np.float32(0.1), float("inf"), "é\ud800"]


def tell(x, rng):
    return {"back": x, "kind": type(x).__name__, "draw": rng.random()}


def test_values_keep_their_type_and_digits(tmp_path):
    path = tmp_path / "table.sqlite"
    given = [x.item() if isinstance(x, np.generic) else x for x in SAME["x"]]
    table = sweep(tell, SAME, seed=0, path=path)
    again = sweep(tell, SAME, seed=0, path=path)
    for found in (table, again, read_table(path)):
        assert list(map(repr, found.x)) == list(map(repr, found.back)) == list(map(repr, given))
        assert found.kind.tolist() == [type(x).__name__ for x in given]
    assert table.draw.nunique() == len(given)
    mixed = sweep(tell, {"x": [1, 1.0]}, seed=0, path=path)
    assert list(map(repr, mixed.x)) == ["1", "1.0"]
    assert mixed.kind.tolist() == ["int", "float"]


@pytest.mark.parametrize("large", [2**53, 2**60, 2**63, 10**30])
def test_neighbouring_integers_are_two_cells(large, tmp_path):
    path = tmp_path / "table.sqlite"
    for x in (large, large + 1):
        assert sweep(tell, {"x": x}, seed=0, path=path).x.tolist() == [x]
    assert read_table(path).draw.nunique() == 2
    for given in ([large + 1, 0.5], [large + 1, 0.5, 2]):
        assert sweep(tell, {"x": given}, seed=0).x.tolist() == given


def test_streams_are_those_of_the_first_version():
    cell = {"signal": 1, "spikes": "one", "a0": 1e-6, "wide": True, "noise": 0.0}
    assert cell_rng(41, cell).integers(1000, size=3).tolist() == [126, 370, 507]


@pytest.mark.parametrize("value", [None, 1j, (1, 2), b"x", np.datetime64("2020"), {"a": 1}])
def test_other_values_are_refused(value):
    with pytest.raises(ValueError, match="number or a word"):
        sweep(tell, {"x": [value]}, seed=0)
    with pytest.raises(RuntimeError, match="number or a word"):
        sweep(lambda x, rng: {"back": value}, {"x": 1}, seed=0)


def test_names_of_columns_are_words():
    with pytest.raises(RuntimeError, match="must be a word"):
        sweep(lambda x, rng: {1: 2.0}, {"x": 1}, seed=0)
    with pytest.raises(ValueError, match="must be a word"):
        sweep(lambda rng, **cell: {"a": 2.0}, {1: 2.0}, seed=0)
    odd = {"a\nb": [1], "c, d": "#"}
    table = sweep(lambda rng, **cell: {"e\n\n": 1.0}, odd, seed=0)
    assert list(table.columns) == ["a\nb", "c, d", "e\n\n"]


def scaled(x, rng, by=1.0):
    return {"value": float(np.sum(by) * x)}


def closed(by):
    return lambda x, rng: {"value": float(np.sum(by) * x)}


def with_default(by):
    def scaled(x, rng, by=by):
        return {"value": float(np.sum(by) * x)}

    return scaled


def reading(by):
    """Functions of one name, whose module has a constant and a helper of its own."""
    module = types.ModuleType("study")
    lines = [f"BY = {by!r}", "def helper(x): return BY * x"]
    lines += ["def value(x, rng): return {'value': helper(x)}"]
    exec("\n".join(lines), module.__dict__)
    return module.value


long_array = np.arange(5000.0)
changed_within = np.where(np.arange(5000) == 2500, 0, long_array)


@pytest.mark.parametrize(
    ("one", "other", "named"),
    [
        (lambda x, rng: {"value": x}, lambda x, rng: {"value": 2 * x}, "code"),
        (closed(1), closed(2), "closed-over value by is 1, not 2"),
        (closed(1), closed(1.0), "closed-over value by is 1, not 1.0"),
        (closed(long_array), closed(changed_within), "closed-over value by is ndarray"),
        (closed([[1], [2]]), closed([[1], [3]]), "closed-over value by is list"),
        (closed(pd.Series([1])), closed(pd.Series([2])), "closed-over value by is Series"),
        (with_default(1), with_default("1"), "default of by is 1, not '1'"),
        (partial(scaled, by=long_array), partial(scaled, by=changed_within), "argument by"),
        (partial(scaled, by=1), scaled, "argument by is 1, not None"),
        (partial(scaled, by=2**60), partial(scaled, by=2**60 + 1), "argument by"),
        (reading(1), reading(2), "global helper"),
    ],
)
def test_another_function_is_refused(one, other, named, tmp_path):
    path, grid = tmp_path / "table.sqlite", {"x": [1, 2]}
    table = sweep(one, grid, seed=0, path=path)
    pd.testing.assert_frame_equal(sweep(one, grid, seed=0, path=path), table)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"another sweep: its .*{named}"):
        sweep(other, grid, seed=0, path=path)
    assert path.read_bytes() == before


SCRIPT = """
import math, sys
from dlnlib.studies import sweep

class Rule:
    words = {"one", "two", "three", "four"}
    def __init__(self, by): self.by = by
    def __call__(self, x, rng):
        return {"value": self.by * x * (x in {0, 1, 2}) * math.pi * len(self.words)}

sweep(Rule(3), {"x": [1, 2]}, seed=0, path=sys.argv[1])
"""


def test_the_same_function_is_known_again_in_another_process(tmp_path):
    script, path = tmp_path / "script.py", tmp_path / "table.sqlite"
    text = SCRIPT
    for start in ("1", "2", "3"):  # the order within sets
        script.write_text(text, encoding="utf-8")
        command = [sys.executable, str(script), str(path)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": start})
        text = "# a comment more\n" + text
    script.write_text(text.replace("Rule(3)", "Rule(4)"), encoding="utf-8")
    run = subprocess.run(command, capture_output=True, text=True)
    assert "holds the results of another sweep: its object is Rule" in run.stderr


def test_what_cannot_be_compared_is_refused_before_anything_is_written(tmp_path):
    lock, path = threading.Lock(), tmp_path / "table.sqlite"

    def locked(x, rng):
        with lock:
            return {"value": 1}

    with pytest.raises(ValueError, match=r"closed-over value lock .* make it inside the function"):
        sweep(locked, {"x": 1}, seed=0, path=path)
    assert not path.exists()


def test_sweeps_at_once_lose_nothing(tmp_path):
    path = tmp_path / "table.sqlite"

    def half(cells):
        sweep(tell, {"x": cells}, seed=0, path=path)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(half, [range(10), range(10, 20), range(5, 15), range(20)]))
    assert sorted(read_table(path).x) == list(range(20))
    pd.testing.assert_frame_equal(
        sweep(tell, {"x": range(20)}, seed=0, path=path), sweep(tell, {"x": range(20)}, seed=0)
    )


def test_processes_at_once_lose_nothing(tmp_path):
    script, path = tmp_path / "slow.py", tmp_path / "table.sqlite"
    script.write_text(SLOW, encoding="utf-8")
    command = [sys.executable, str(script), str(tmp_path), str(path)]
    running = [subprocess.Popen([*command, jobs]) for jobs in ("1", "1", "2")]
    assert [process.wait() for process in running] == [0, 0, 0]
    table = read_table(path)
    assert table["index"].tolist() == [i for i in range(30) for _ in "ab"]
    streams = [cell_rng(1, {"index": i, "marks": str(tmp_path)}) for i in range(30)]
    assert table.value.tolist() == [rng.normal() for rng in streams for _ in "ab"]


@pytest.mark.parametrize("text", [b"my own notes\n", b"\xef\xbb\xbf", b"# seed: 0\nx,y\n1,2\n"])
def test_a_file_of_another_kind_is_refused_and_kept(text, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=r"notes.txt is no file of a sweep.*another path"):
        sweep(tell, {"x": 1}, seed=0, path=path)
    assert path.read_bytes() == text


def test_another_database_is_refused_and_kept(tmp_path):
    path = tmp_path / "mine.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="holds other tables"):
        sweep(tell, {"x": 1}, seed=0, path=path)
    with pytest.raises(ValueError, match="holds other tables"):
        read_table(path)
    assert path.read_bytes() == before


def test_a_damaged_file_is_refused_or_unharmed(tmp_path):
    path = tmp_path / "table.sqlite"
    table = sweep(experiment, GRID, seed=0, path=path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    changes = [whole[:cut] for cut in rng.integers(1, len(whole), 20)]
    used = np.flatnonzero(np.frombuffer(whole, dtype=np.uint8))
    for at in rng.choice(used, 60):
        changes.append(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    changes += [b"\xef\xbb\xbf" + whole, whole.replace(b"\n", b"\r\n")]
    refused = 0
    for change in changes:
        path.write_bytes(change)
        try:
            pd.testing.assert_frame_equal(sweep(experiment, GRID, seed=0, path=path), table)
        except (ValueError, OSError) as error:
            assert path.name in str(error)
            refused += 1
    assert refused > 20


FULL = """
import resource, sys
from dlnlib.studies import sweep

def long(x, rng):
    return {"word": "x" * 20_000}

sweep(long, {"x": [0]}, seed=0, path=sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sweep(long, {"x": range(20)}, seed=0, path=sys.argv[1])
"""


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path):
    pytest.importorskip("resource")
    script, path = tmp_path / "full.py", tmp_path / "table.sqlite"
    script.write_text(FULL, encoding="utf-8")
    run = subprocess.run([sys.executable, script, path], capture_output=True, text=True)
    assert "the cells that it holds stay: make room" in run.stderr
    kept = read_table(path)
    assert kept.x.tolist() == list(range(len(kept)))
    assert 1 <= len(kept) < 20
    assert set(kept.word) == {"x" * 20_000}


# Found by changing the package a little and asking whether a test notices: `make mutants`.


def area(width, height, *, rng):
    return {"area": width * height}


def test_a_function_with_a_parameter_given():
    table = sweep(partial(area, height=3), {"width": [1, 2]}, seed=0)
    assert table["area"].tolist() == [3, 6]
