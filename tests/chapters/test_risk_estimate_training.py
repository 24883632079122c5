"""Real training in the chapter on the estimate of the risk: its claims over seeds and tables."""

import numpy as np
import pytest

from dlnlib.flow import gaussian_weights, gradient_flow
from dlnlib.stopping import probe_degrees_of_freedom
from dlnlib.studies import read_table
from dlnlib.studies.regret_probe import reml_time
from dlnlib.tasks import digits_task
from tools.bless import CHAPTERS


def table(name):
    return read_table(CHAPTERS / "tables" / f"regret_{name}.csv")


def cell(found, rule, **where):
    """Rows of a rule in the cells with some parameters."""
    rows = found[found.rule == rule]
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return rows


def digits_run(seed):
    """The example of the chapter: times, Stein's estimate, held-out error."""
    rng = np.random.default_rng(seed)
    task = digits_task(n_train=150, rng=rng, wrong_labels=0.4)
    x, y, t = task.x, task.y, np.linspace(0, 40, 161)
    start = gaussian_weights((x.shape[1], 32, 10), 0.01, rng=rng)

    def maps(y):
        return gradient_flow(t, start, y.T @ x / len(x), rtol=1e-6).product

    w = maps(y)
    fitted = x @ w.mT
    df = probe_degrees_of_freedom(lambda z: x @ maps(z).mT, y, rng=rng, fitted=fitted)
    variance = ((y - x @ task.sigma.T) ** 2).sum() / ((len(x) - 1 - x.shape[1]) * 10)
    estimate = ((fitted - y) ** 2).sum(axis=(1, 2)) + 2 * variance * df
    return estimate, task.test_loss(w), df, x.shape[1]


def test_probe_df():
    """On digits over seeds: df from nought to that of least squares, and its stop near the best."""
    costs = []
    for seed in range(6):
        estimate, error, df, directions = digits_run(seed)
        costs.append(error[estimate.argmin()] / error.min())
        assert df[0] == pytest.approx(0, abs=1)
        assert df[-1] == pytest.approx(10 * directions, rel=0.15)
    assert np.median(costs) < 1.04
    assert max(costs) < 1.3


@pytest.mark.parametrize("seed", range(3))
def test_reml_stop(seed):
    """The time at which losses and rates are uncorrelated, found on a grid."""
    rng = np.random.default_rng(seed)
    rates = rng.exponential(size=200)
    energies = np.exp(1.2 * rates) * rng.standard_normal(200) ** 2
    t = np.linspace(0, 4, 4001)
    losses = energies * np.exp(-np.outer(t, rates))
    gap = losses @ rates / losses.sum(axis=1) - rates.mean()
    assert (np.diff(gap) < 0).all()  # so that there is one such time
    assert reml_time(rates, energies) == pytest.approx(t[np.argmax(gap <= 0)], abs=2e-3)


@pytest.mark.parametrize("seed", range(4))
def test_few_whitened_images_do_not_know_how_long_the_others_are(seed):
    task = digits_task(n_train=150, rng=np.random.default_rng(seed))
    length = (task.x_test**2).sum(axis=1) / task.x.shape[1]
    assert ((task.x**2).sum(axis=1) / task.x.shape[1]).mean() == pytest.approx(1)
    assert length.mean() > 1.7 > np.median(length)


@pytest.mark.parametrize("share", [0.4, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_wrong_labels_ask_for_a_smaller_network(seed, share):
    """Labels of the kind that training and splits read are predicted best at an earlier time."""
    rng = np.random.default_rng(seed)
    task = digits_task(n_train=600, rng=rng, wrong_labels=share)
    t = np.linspace(0, 60, 121)
    start = gaussian_weights((task.x.shape[1], 32, 10), 0.01, rng=rng)
    w = gradient_flow(t, start, task.sigma, rtol=1e-6).product
    noisy = ((task.x_test @ w.mT - (1 - share) * task.y_test) ** 2).sum(axis=(1, 2))
    true = task.test_loss(w)
    assert t[noisy.argmin()] < 0.85 * t[true.argmin()]
    assert true[noisy.argmin()] > 1.005 * true.min()


def test_claims_of_the_tables_on_minibatches():
    sgd = table("probe_sgd")
    assert (sgd.draws >= 200).all()
    assert (cell(sgd, "risk_1").to_retrained_high < 1).sum() >= 3
    assert (cell(sgd, "target").regret < 1.1).all()
    assert (cell(sgd, "risk_1").regret < 1.16).all()
    assert cell(sgd, "lazy_oracle", signal=3.0).regret.item() > 2
    own = cell(sgd, "reml").regret.to_numpy() / cell(sgd, "lazy_oracle").regret
    assert (own < 1.06).all()


def test_claims_of_the_tables_on_kinks_and_interpolation():
    sets = table("probe_regression")
    patients = {"data": "diabetes", "network": "relu", "samples": 60}
    risk = {s: cell(sets, "risk_1", step=s, **patients).regret.item() for s in (1e-4, 0.01, 0.1)}
    assert risk[1e-4] > 1.3 > 1.1 > risk[0.01] > risk[0.1]
    for where in (patients, {"data": "linnerud", "network": "relu"}):
        both = [cell(sets, rule, step=0.1, **where).regret.item() for rule in ("risk_4", "gcv_4")]
        assert both[0] < both[1]


def test_claims_of_the_tables_on_digits():
    digits = table("probe_digits")
    assert (digits.splits >= 40).all()
    white = {"samples": 150, "wrong_labels": 0.0, "inputs": "white"}
    lost = [cell(digits, f"risk_{count}", **white) for count in (1, 4)]
    assert all(row.to_retrained_low.item() > 1 for row in lost)
    assert abs(lost[0].regret.item() / lost[1].regret.item() - 1) < 0.02  # no matter of scatter
    noisy = digits[(digits.samples == 600) & (digits.wrong_labels > 0)]
    end = cell(noisy, "end_of_run").regret.to_numpy()
    for rule in ("risk_4", "validation_folds", "validation_retrained"):
        assert (end < cell(noisy, rule).regret.to_numpy()).all()


def test_claims_of_the_table_on_leave_one_out():
    rows = table("leave_one_out")
    many = {"layers": 1, "ratio": 1.5, "signal": 8.0}
    gcv, loo = (
        cell(rows, r, **many).set_index("samples").estimate for r in ("gcv", "leave_one_out")
    )
    assert (gcv > 1.08).all()
    assert abs(loo.loc[240] - 1) < 0.05
    wide = rows[(rows.ratio == 3.0) & (rows.signal == 8.0)]
    assert (cell(wide, "gcv").estimate > 1.3).all()
    assert (np.abs(np.log(cell(rows, "leave_one_out").estimate)) < 0.12).all()
