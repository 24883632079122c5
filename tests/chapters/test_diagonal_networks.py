"""Claims of the chapter on diagonal networks: shrinkage, where runs end, threshold, entropy."""

import math

import numpy as np
import pytest
from helpers import hyperbolic_entropy
from scipy.linalg import expm
from scipy.stats import binomtest

from dlnlib.entropy import energy_shares, spectral_entropy
from dlnlib.sgd import (
    SparseTask,
    basis_pursuit,
    constant,
    diagonal_flow,
    diagonal_jacobian,
    implicit_bias,
    sparse_regression,
    stability_threshold,
    step_decay,
    train_diagonal,
)


def generator(seed):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def task():
    return sparse_regression(30, 60, 4, rng=generator(1))


def own_threshold(task):
    """At the teacher, with balanced weights."""
    weight = np.sqrt(np.abs(task.teacher))
    return stability_threshold(diagonal_jacobian(task.x, weight, weight))


def published_task(n=80, d=200):
    """Data of the public code, from NumPy's generator of old, without the package."""
    normal = np.random.RandomState(0).standard_normal
    x, x_test, teacher = (
        np.round(normal(shape) * 2.0**32) / 2.0**32 for shape in ((n, d), (1000, d), 20)
    )
    beta = np.zeros(d)
    beta[:20] = np.abs(teacher) / math.sqrt(math.fsum(teacher**2))
    y, y_test = (sum(inputs[:, j] * beta[j] for j in range(20)) for inputs in (x, x_test))
    return SparseTask(x, y, x_test, y_test, beta)


def test_exact_shrinkage():
    """One plain step of SGD, in exact rational numbers."""
    from fractions import Fraction

    rng = generator(3)
    u, v, x = ([Fraction(int(k), 16) for k in rng.integers(-20, 20, 5)] for _ in range(3))
    residual = sum(a * b * c for a, b, c in zip(u, v, x, strict=True)) - Fraction(1, 3)
    for a, b, c in zip(u, v, x, strict=True):
        s = Fraction(1, 4) * residual * c
        after = (a - s * b) ** 2 - (b - s * a) ** 2
        assert after == (a**2 - b**2) * (1 - s**2)


@pytest.mark.parametrize("seed", range(3))
def test_only_steps_beyond_root_two_can_undo_it(task, seed):
    """|u^2 - v^2| falls at every step with |s| < sqrt(2), and grows at the others."""
    lr = 0.8 * own_threshold(task)
    runs = train_diagonal(
        task.x, task.y, constant(lr, 400), rng=generator(seed), record=range(401), label_noise=0.5
    )
    stream = generator(seed).spawn(1)[0]
    index, noise = stream.spawn(2)
    rows, errors = index.integers(30, size=400), 0.5 * noise.standard_normal(400)
    beta = runs.beta[0, :-1]
    residual = (task.x[rows] * beta).sum(axis=1) - task.y[rows] - errors
    s = lr * residual[:, None] * task.x[rows]
    squares = np.abs((runs.u - runs.v) * (runs.u + runs.v))[0]
    moved = np.diff(squares, axis=0)
    clear = np.abs(moved) > 1e-14
    assert (moved[clear & (np.abs(s) < math.sqrt(2))] < 0).all()
    assert (moved[clear & (np.abs(s) > math.sqrt(2))] > 0).all()
    assert clear.mean() > 0.3


def test_hyperbolic_entropy():
    """As written in the chapter, beside the form that does not cancel."""
    rng = generator(4)
    beta, alpha = rng.standard_normal(7), rng.uniform(0.2, 2, 7)
    written = (
        beta * np.arcsinh(2 * beta / alpha**2) - np.sqrt(beta**2 + alpha**4 / 4) + alpha**2 / 2
    ).sum() / 2
    assert hyperbolic_entropy(beta, alpha**2) == pytest.approx(written, rel=1e-12)


@pytest.mark.parametrize("batch", [1, 5, None])
def test_effective_initialisation(task, batch):
    """Both sums by a plain loop over the gradients, and the limit that follows from them."""
    lr, rows = 0.6 * own_threshold(task), np.arange(30)
    u, v = np.full(60, 0.1), np.full(60, 0.02)
    gain, shift, rng = np.zeros(60), np.log(0.12 / 0.08) / 2 * np.ones(60), generator(6)
    for _ in range(30_000):
        chosen = rows if batch is None else rng.integers(30, size=batch)
        s = lr * (task.x[chosen] @ (u * v) - task.y[chosen]) @ task.x[chosen] / len(chosen)
        gain += np.log(np.abs(1 - s**2))
        shift += np.log(np.abs((1 - s) / (1 + s))) / 2 + s
        u, v = u - s * v, v - s * u
    alpha_squared = (0.1**2 - 0.02**2) * np.exp(gain)
    gap = np.abs(task.x @ (u * v) - task.y).max()
    assert gap < 1e-5
    predicted = implicit_bias(task.x, task.y, alpha_squared, shift)
    np.testing.assert_allclose(u * v, predicted, atol=1e-8 + 30 * gap)
    assert np.abs(u * v - implicit_bias(task.x, task.y, 0.0096)).max() > 1e-3


def test_prediction_needs_both_parts(task):
    """Neither the effective initialisation nor the shift alone gives the end of the run."""
    lr = constant(0.8 * own_threshold(task), 30_000)
    runs = train_diagonal(task.x, task.y, lr, rng=generator(2), track=True)
    alpha_squared, shift, end = runs.alpha_squared[0], runs.shift[0], runs.beta[0, -1]
    exact = np.abs(implicit_bias(task.x, task.y, alpha_squared, shift) - end).max()
    alone = [
        np.abs(implicit_bias(task.x, task.y, *given) - end).max()
        for given in ((alpha_squared, 0.0), (0.01, shift))
    ]
    assert min(alone) > 20 * exact


def test_stability_threshold():
    """The integral of the chapter, by quadrature with matrix exponentials."""
    rows = generator(5).standard_normal((5, 3))
    gram, knots = rows.T @ rows, np.polynomial.legendre.leggauss(60)
    times, weights = 4 * (knots[0] + 1), 4 * knots[1]
    squares = [(rows @ expm(-t * gram) @ rows.T) ** 2 for t in times]
    matrix = np.tensordot(weights, squares, axes=1)
    assert np.linalg.eigvalsh(gram)[0] > 0.5  # so that the integral ends before the last knot
    assert stability_threshold(rows) == pytest.approx(1 / np.linalg.eigvalsh(matrix)[-1], rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_loss_settles_below_the_threshold_and_stabilises_above(seed):
    """With 20 coordinates in the teacher; with few, single runs can settle above it too."""
    task = sparse_regression(80, 200, 20, n_test=1, rng=generator(seed + 10))
    edge, late, levels = own_threshold(task), range(18_000, 20_001, 100), []
    for ratio in (0.85, 1.1):
        lr = constant(round(ratio * edge, 4), 20_000)
        runs = train_diagonal(task.x, task.y, lr, runs=6, rng=generator(seed), record=late)
        loss = np.where(runs.diverged[:, None], np.inf, runs.loss(task.x, task.y))
        levels.append(np.median(loss))
    assert levels[0] < 1e-5
    assert levels[1] > 1e-3


def test_most_data_sets_have_a_smaller_threshold_than_the_published():
    thresholds = [
        own_threshold(sparse_regression(80, 200, 20, n_test=1, rng=rng))
        for rng in generator(0).spawn(30)
    ]
    published = own_threshold(published_task())
    assert 0.25 < published < 0.282
    assert published == pytest.approx(0.2642, abs=1e-4)
    assert np.mean(np.array(thresholds) < published) > 0.8


@pytest.mark.parametrize("seed", range(3))
def test_longer_large_steps_leave_fewer_coordinates(seed):
    """On one stream, in units of the threshold; runs are the same until the step is divided."""
    task = sparse_regression(80, 200, 20, n_test=1, rng=generator(seed + 20))
    steps, edge = 40_000, own_threshold(task)
    counts, lost = [], []
    for at in (0.1, 0.3, 0.5):
        lr = step_decay(round(1.06 * edge, 4), steps, at=at, by=3)
        runs = train_diagonal(task.x, task.y, lr, runs=10, rng=generator(seed))
        counts.append((np.abs(runs.survivors().beta[:, -1]) > 1e-15).sum(axis=1).mean())
        lost.append(runs.diverged)
    assert (lost[0] <= lost[1]).all()
    assert (lost[1] <= lost[2]).all()
    assert counts[0] > counts[1] > counts[2]


PRINTED = 99_599
SCHEDULES = {"10 %": (0.1, 4.8), "50 %": (0.5, 1.5), "10 %, same": (0.1, 1.5)}


def published_schedule(name, steps=100_001):
    """The step is divided after it was taken, as in the public code."""
    (at, by), lr = SCHEDULES[name], np.full(steps, 0.282)
    lr[int(at * 100_001) + 1 :] /= by
    return lr


def held_out(task, beta):
    return ((beta @ task.x_test.T - task.y_test) ** 2).mean(axis=-1) / 2


def test_the_published_small_step_run():
    """By the loop of the public code on rounded data, and by the package: seven digits."""
    task, order = published_task(), np.random.RandomState(1)
    u, v, taken = 0.1 * np.ones(200), np.zeros(200), []
    for _ in range(PRINTED):
        i = order.randint(80)
        step = 0.25 * (task.x[i] @ (u * v) - task.y[i]) * task.x[i]
        u, v = u - step * v, v - step * u
        taken.append(i)
    runs = train_diagonal(task.x, task.y, constant(0.25, PRINTED), order=taken)
    for beta in (u * v, runs.beta[0, -1]):
        assert held_out(task, beta) == pytest.approx(0.003528621943603826, rel=2e-7)
        loss = ((task.x @ beta - task.y) ** 2).sum() / 160
        assert loss == pytest.approx(1.4216162873995314e-06, rel=2e-7)


def test_published_gradient_descent():
    task = published_task(40, 100)
    runs = train_diagonal(task.x, task.y, constant(2.0, PRINTED), batch=None)
    assert held_out(task, runs.beta[0, -1]) == pytest.approx(0.16824144824688485, rel=1e-7)


def test_rounding_decides_at_the_large_step_and_not_at_the_small():
    task, order = published_task(), np.random.RandomState(1).randint(80, size=100_001)
    spread = {}
    for lr in (0.25, 0.282):
        ends = [
            train_diagonal(
                task.x, task.y, constant(lr, 20_000), u0=0.1 * (1 + k * 1e-15), order=order[:20_000]
            ).beta[0, -1]
            for k in range(5)
        ]
        spread[lr] = np.ptp(ends, axis=0).max()
    assert spread[0.25] < 1e-12
    assert not spread[0.282] < 0.01  # a copy may diverge: NaN


def test_whether_longer_is_better_depends_on_the_streams():
    """Of 400 streams more than half end lower with the 50 % schedule, and far from all do."""
    task = published_task()
    short, long = (
        held_out(
            task,
            train_diagonal(
                task.x, task.y, published_schedule(name), runs=400, rng=generator(1),
                record=[PRINTED],
            ).beta[:, 0],
        )
        for name in ("10 %", "50 %")
    )  # fmt: skip
    logs = np.log(short / long)
    logs = logs[~np.isnan(logs)]
    assert logs.size > 150
    wins = binomtest(int((logs > 0).sum()), logs.size).proportion_ci()
    assert 0.5 < wins.low < wins.high < 0.75
    assert 1 < np.exp(np.median(logs)) < 2  # published: 4.3


def test_a_long_phase_needs_time_after_it():
    """With one divisor the longer schedule loses at the published end, and wins later."""
    task, looks = published_task(), [PRINTED, 500_000]
    ends = {}
    for name in SCHEDULES:
        lr = published_schedule(name, 500_000)
        runs = train_diagonal(task.x, task.y, lr, runs=40, rng=generator(2), record=looks)
        ends[name] = held_out(task, runs.beta)
    long = ends["50 %"]
    stays = ~np.isnan(long[:, 0])
    assert stays.sum() > 10
    same, published = ends["10 %, same"], ends["10 %"]
    assert (long < same)[stays, 0].mean() < 0.2
    assert (long < same)[stays, 1].mean() > 0.8
    assert np.median((published / long)[stays, 1]) > 10
    assert long[stays, 1].max() < 1e-5  # on the way to the teacher


def test_more_data_sets_gain_from_longer_schedules():
    """At the published ratio to the threshold, one run each."""
    logs = []
    for stream in generator(3).spawn(80):
        task = sparse_regression(80, 200, 20, rng=stream)
        scale = own_threshold(task) / 0.2642
        ends = [
            train_diagonal(
                task.x, task.y, scale * published_schedule(name), rng=generator(4), record=[PRINTED]
            ).beta[0, 0]
            for name in ("10 %", "50 %")
        ]
        logs.append(np.log(np.divide(*(held_out(task, beta) for beta in ends))))
    logs = np.array(logs)[~np.isnan(logs)]
    assert logs.size > 40
    assert 0.5 < (logs > 0).mean() < 0.85
    assert 1 < np.exp(np.median(logs)) < 3


def test_large_steps_hurt_gradient_descent_and_help_sgd():
    """At 90 % of their largest stable steps, on most data sets; descent shrinks on the support."""
    worse, ratios = [], []
    for seed in range(8):
        task = sparse_regression(40, 100, 20, rng=generator(500 + seed))
        weight = np.sqrt(task.teacher)
        edge = 80 / np.linalg.norm(diagonal_jacobian(task.x, weight, weight), 2) ** 2
        flow = implicit_bias(task.x, task.y, 0.01)
        for lr, batch in ((0.9 * edge, None), (0.9 * own_threshold(task), 1)):
            runs = train_diagonal(
                task.x, task.y, constant(lr, 10_000), batch=batch, rng=generator(1), track=True
            )
            error, calm = (
                ((task.x_test @ beta - task.y_test) ** 2).sum() for beta in (runs.beta[0, -1], flow)
            )
            worse.append(error > calm)
            lost = -np.log(runs.alpha_squared[0] / 0.01)
            ratios.append(np.median(lost[:20]) / np.median(lost[20:]))
    assert np.sum(worse[::2]) >= 6
    assert np.sum(worse[1::2]) <= 3
    assert np.median(ratios[::2]) > 1.5
    assert 0.7 < np.median(ratios[1::2]) < 1.4


def test_entropy_grouping():
    """The identity, and the bound on what coordinates off the support can add."""
    rng = generator(7)
    beta = np.abs(rng.standard_normal((50, 30))) * np.geomspace(1, 1e-3, 30)
    off = energy_shares(beta)[:, 5:].sum(axis=1)
    mixing = -off * np.log(off) - (1 - off) * np.log1p(-off)
    grouped = (
        mixing + (1 - off) * spectral_entropy(beta[:, :5]) + off * spectral_entropy(beta[:, 5:])
    )
    np.testing.assert_allclose(spectral_entropy(beta), grouped, rtol=1e-12)
    added = spectral_entropy(beta) - (1 - off) * spectral_entropy(beta[:, :5])
    assert (added <= mixing + off * math.log(25) + 1e-12).all()


def test_entropy_is_blind_to_small_coordinates():
    """A hundred and eighty coordinates at 1e-4 move H by less than 1e-4, and l0 by 180."""
    teacher = np.zeros(200)
    teacher[:20] = np.abs(generator(8).standard_normal(20))
    teacher /= np.linalg.norm(teacher)
    dense = teacher + 1e-4 * (teacher == 0)
    assert abs(spectral_entropy(dense) - spectral_entropy(teacher)) < 1e-4
    assert (np.abs(dense) > 1e-50).sum() - (np.abs(teacher) > 1e-50).sum() == 180


def test_anchors_of_the_published_data(task):
    """l1 minimisation recovers the teacher, flow from small weights comes close."""
    np.testing.assert_allclose(basis_pursuit(task.x, task.y), task.teacher, atol=1e-9)
    errors = [
        np.linalg.norm(implicit_bias(task.x, task.y, alpha**2) - task.teacher)
        for alpha in (10.0, 0.1, 1e-3, 1e-6)
    ]
    assert (np.diff(errors) < 0).all()
    flow = diagonal_flow([2000.0], task.x, task.y).beta[0, -1]
    assert np.linalg.norm(flow - task.teacher) == pytest.approx(errors[1], rel=1e-2)
