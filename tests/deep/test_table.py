"""A sample of the committed table is made again: the first epochs of one of its runs."""

import numpy as np
import pytest
from helpers import ROOT

from dlnlib.deep import planned_runs, run_rows, training
from dlnlib.deep.command import TABLE, machine, options_of
from dlnlib.deep.experiments import PARAMETERS, run_table
from dlnlib.studies.tables import read_csv
from dlnlib.studies.trials import PLANNED, PLANNED_DEEP

PUBLISHED = read_csv(ROOT / TABLE)
LAST = 2  # the second measured epoch
# Another processor rounds otherwise, and 30 steps carry it on: float32 for bfloat16 stays within a
# fourth of this, another trial does not.
LOOSE = {"_error": 0.02, "_rank": 10, "_modes": 0.4, "_modes1": 5}


class Stopped(Exception):
    """Carries the rows of a run that was stopped."""


def rows_until(run, last, folder, monkeypatch):
    """Rows of a run that is stopped when it keeps those of an epoch."""

    def keep(_path, _network, _optimiser, rows):
        if rows[-1]["epoch"] == last:
            raise Stopped(rows)

    monkeypatch.setattr(training, "_keep", keep)
    with pytest.raises(Stopped) as stop:
        run_rows(run, folder)
    return stop.value.args[0]


def tolerance(column):
    """Of one column; shares and coefficients lie between 0 and 1."""
    return next((value for name, value in LOOSE.items() if column.endswith(name)), 0.01)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Rows of DenseNet-22-12 on digits, small step, trial 0: made again, and of the book."""
    run = planned_runs("digits", 22, **options_of("digits", 22))[0]
    with pytest.MonkeyPatch.context() as patch:
        rows = rows_until(run, LAST, tmp_path_factory.mktemp("runs"), patch)
    mine = run_table([run], [rows])
    book = PUBLISHED[(PUBLISHED[PARAMETERS] == mine.loc[0, PARAMETERS]).all(axis=1)]
    return mine, book[book["epoch"] <= LAST].reset_index(drop=True)


def test_first_rows_of_a_run_are_those_of_the_book(pair):
    mine, book = pair
    assert mine["epoch"].tolist() == book["epoch"].tolist() == [0, LAST]
    assert [*mine.columns, "machine"] == list(book.columns)
    numbers = mine.columns.drop(PARAMETERS)
    for column in numbers:
        np.testing.assert_allclose(
            mine[column], book[column], rtol=0, atol=tolerance(column), err_msg=column
        )
    if PUBLISHED.attrs[f"machine {book.loc[0, 'machine']}"] == machine():
        for column in numbers:
            np.testing.assert_array_equal(mine[column], book[column], err_msg=column)


def test_the_tolerance_tells_trials_apart():
    """Another start is not within it, so a table of other runs would be noticed."""
    few = PUBLISHED[(PUBLISHED["data"] == "mnist5k") & (PUBLISHED["epoch"] <= 2)]
    few = few[few["schedule"] == "0.05, constant"].set_index(["trial", "epoch"])
    one, two = few.loc[0], few.loc[1]
    columns = few.columns.drop([c for c in PARAMETERS if c != "trial"] + ["machine"])
    far = [c for c in columns if (one[c] - two[c]).abs().max() > tolerance(c)]
    assert {"loss", "train_loss", "test_loss", "block3_modes", "block4_modes1"} <= set(far)


def test_every_schedule_of_the_table_is_planned():
    """And a trial is complete with as many schedules as a plan has."""
    keys = ["data", "depth", "setting"]
    for (data, depth, setting), rows in PUBLISHED.groupby(keys):
        options = options_of(data, depth)
        runs = planned_runs(data, depth, settings=[setting], **options)
        assert set(rows["schedule"]) <= {run.schedule for run in runs}
        assert (rows[["epochs", "batch"]] == [options["epochs"], options["batch"]]).all(axis=None)
    for setting in PLANNED:
        assert len(planned_runs("digits", 40, settings=[setting])) == PLANNED_DEEP
    counts = {s: len(planned_runs("mnist5k", 22, settings=[s])) for s in PLANNED}
    assert counts == PLANNED == {"basic": 8, "full": 6}
