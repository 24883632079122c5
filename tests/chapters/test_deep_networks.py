"""The claims of chapters/deep_networks.md, from its table and its schedules."""

import numpy as np
import pandas as pd
import pytest

from dlnlib.sgd import constant, exponential_warmup, step_decay
from dlnlib.studies import read_table
from tools.bless import CHAPTERS, chapter_cells

TABLE = read_table(CHAPTERS / "tables" / "densenet.csv")
NETWORK = ["data", "depth", "growth", "setting"]
MAIN = TABLE[(TABLE["data"] == "mnist5k") & (TABLE["depth"] == 22) & (TABLE["setting"] == "basic")]
SMALL, MEDIUM, LONG = "0.05, constant", "0.3, constant", "0.75, 50 %"


def cell_with(text):
    """The code of the one cell of the chapter that holds a text."""
    cells = chapter_cells(CHAPTERS / "deep_networks.md")
    (found,) = (cell.source for cell in cells if text in cell.source)
    return found


@pytest.fixture(scope="module")
def helpers():
    """Functions of the chapter."""
    names = {"pd": pd, "np": np}
    exec(cell_with("def anatomy"), names)
    return names


def test_parameters_by_listing_every_layer(helpers):
    """Shapes of all weights, one after the other, and the outputs of blocks 3 and 4."""
    for depth, growth, side, channels in ((22, 12, 14, 1), (40, 12, 32, 3), (10, 4, 8, 1)):
        shapes, width, size, units = [(16, channels, 3, 3)], 16, side, []
        for block in (2, 3, 4):
            for _ in range((depth - 4) // 3):
                shapes += [(width,), (width,), (growth, width, 3, 3)]
                width += growth
            shapes += [(width,), (width,)] + [(width, width, 1, 1)] * (block < 4)
            units.append(width * size * size)
            size //= 2
        shapes += [(10, width), (10,)]
        total = sum(int(np.prod(shape)) for shape in shapes)
        assert helpers["anatomy"](depth, growth, side, channels) == [total, *units[1:]]
    assert helpers["anatomy"](40, 12, 32, 3)[0] == 1_019_722  # as PyTorch counts


def test_step_sizes_of_the_table_are_those_of_the_schedules():
    """The last step of an epoch, from the name of the schedule and the number of steps."""
    for _, run in TABLE[TABLE["n"] > 0].groupby([*NETWORK, "schedule", "trial"]):
        row = run.iloc[0]
        first, share = row["schedule"].split(", ")
        each = int(row["n"] // row["batch"])
        steps = int(row["epochs"]) * each
        if share == "constant":
            lr = constant(float(first), steps)
        else:
            until = int(share.split()[0]) / 100
            lr = (
                exponential_warmup(float(first), steps, until=until)
                if row["setting"] == "basic"
                else step_decay(float(first), steps, at=[until, 0.9], by=[10, 10])
            )
        later = run[run["epoch"] > 0]
        last = lr[later["epoch"] * each - 1]
        np.testing.assert_allclose(later["lr"], last, rtol=1e-4)


def test_trials_are_paired_and_differ():
    """One start for all schedules of a trial, another one for each trial."""
    start = TABLE[TABLE["epoch"] == 0]
    for _, rows in start.groupby(NETWORK):
        measures = ["train_loss", "block3_0.95", "jacobian_modes"]
        assert (rows.groupby("trial")[measures].nunique() == 1).all(axis=None)
        assert len(rows[measures].drop_duplicates()) == rows["trial"].nunique()


def test_every_run_of_the_table_has_its_records():
    """Ten rows from the start to the last epoch, with measures where they are promised."""
    for _, run in TABLE.groupby([*NETWORK, "schedule", "trial"]):
        assert run["epoch"].is_monotonic_increasing
        assert run["epoch"].iloc[0] == 0
        assert run["epoch"].iloc[-1] == run["epochs"].iloc[0]
        assert (
            run[["train_loss", "test_error", "block3_0.95", "block4_0.95"]].notna().all(axis=None)
        )
        ends = run.iloc[[0, -1]]
        assert ends[["jacobian_modes", "block4_0.999", "block4_0.9_scaled"]].notna().all(axis=None)
    for block in ("block3", "block4"):
        values = TABLE[[f"{block}_{rho}" for rho in (0.9, 0.95, 0.99, 0.999)]].dropna()
        assert (np.diff(values, axis=1) >= -1e-6).all()  # a higher threshold merges fewer units


@pytest.fixture(scope="module")
def ends():
    """Last rows of the networks on MNIST, schedules by trials."""
    last = MAIN[MAIN["epoch"] == MAIN["epochs"]]
    return last.pivot(index="schedule", columns="trial")


def test_large_steps_make_features_sparse_and_constant_ones_do_not(ends):
    coefficient = ends["block4_0.95"].dropna(axis=1)
    assert len(coefficient) == 8
    assert (coefficient.loc[LONG] < 0.2).all()
    assert (coefficient.loc[[SMALL, MEDIUM]] > 0.42).all(axis=None)
    for first in (0.3, 0.75):
        longer = coefficient.loc[[f"{first}, {q} %" for q in (10, 30, 50)]]
        assert (longer.diff().dropna() < -0.03).all(axis=None)


def test_the_control_errs_no_more_than_the_sparsest_network(ends):
    """Differences of a test error are read against that of 2,000 pictures."""
    error = ends["test_error"].dropna(axis=1)
    noise = np.sqrt(error.loc[MEDIUM].mean() / 2000)
    assert error.loc[MEDIUM].mean() < error.loc[LONG].mean() + noise
    assert (error.loc[MEDIUM] - error.min() < 3 * noise).all()
    assert error.loc[MEDIUM].mean() < error.loc[SMALL].mean() - noise / 2


def test_the_coefficient_rests_from_six_tenths_of_a_run():
    """It falls while the loss is high, which may outlast the division of the steps."""
    keys = ["schedule", "trial"]
    at = MAIN[MAIN["epoch"] == (0.6 * MAIN["epochs"]).round()].set_index(keys)["block4_0.95"]
    final = MAIN[MAIN["epoch"] == MAIN["epochs"]].set_index(keys)["block4_0.95"]
    change = (final - at).loc[final.index]
    assert change.notna().all()
    assert change.abs().max() < 0.05


def test_dense_means_one_half_after_batch_norm():
    """The share of non-zero units, and the coefficient, of every network at its random start."""
    start = TABLE[TABLE["epoch"] == 0]
    for block in ("block3", "block4"):
        assert start[f"{block}_nonzero"].between(0.42, 0.58).all()
        assert start[f"{block}_0.95"].between(0.4, 0.58).all()
