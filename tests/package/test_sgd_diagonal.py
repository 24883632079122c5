"""Diagonal linear networks: training against plain loops, exact bits, where a run ends."""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import hyperbolic_entropy
from scipy.optimize import brentq, minimize

from dlnlib.sgd import (
    basis_pursuit,
    constant,
    diagonal_flow,
    diagonal_jacobian,
    implicit_bias,
    sparse_regression,
    stability_threshold,
    stationary_covariance,
    step_decay,
    train_diagonal,
)

BITS = ["0x1.c56afc1b45624p-2", "0x1.4d992add8e74ap-1", "-0x1.fc641d929f257p-8"]


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def task():
    return sparse_regression(12, 30, 3, n_test=40, rng=generator(5))


def scalar_run(x, y, indices, lr, u, v):
    """SGD in Python floats, sums in the documented order: eight lanes, then a fixed tree."""
    u, v, rows = list(u), list(v), [list(map(float, row)) for row in x]
    for i, size in zip(indices, lr, strict=True):
        s = [0.0] * 8
        for j, value in enumerate(rows[i]):
            s[j % 8] += u[j] * v[j] * value
        sums = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
        scale = float(size) * (sums - float(y[i]))
        for j, value in enumerate(rows[i]):
            step, before = scale * value, u[j]
            u[j], v[j] = before - step * v[j], v[j] - step * before
    return np.array(u), np.array(v)


def test_bits_are_those_of_a_scalar_loop(task):
    """No reordered sum, no fused operation: equality to the last bit at a chaotic step size."""
    lr = constant(0.3, 200)
    indices = generator(4).integers(12, size=200)
    runs = train_diagonal(task.x, task.y, lr, order=indices)
    u, v = scalar_run(task.x, task.y, indices, lr, np.full(30, 0.1), np.zeros(30))
    assert runs.u[0, -1].tolist() == u.tolist()
    assert runs.v[0, -1].tolist() == v.tolist()


def test_bits_are_pinned():
    """The same on every machine; the inputs avoid the mathematical library."""
    rng = generator(2)
    x, teacher = rng.integers(-8, 9, size=(10, 20)) / 4, np.zeros(20)
    teacher[:2] = 0.5, 0.75
    y = x[:, 0] * teacher[0] + x[:, 1] * teacher[1]
    runs = train_diagonal(x, y, constant(0.2, 1000), rng=generator(3))
    beta = runs.beta[0, -1]
    assert [value.hex() for value in beta[:3].tolist()] == BITS


@pytest.mark.parametrize("batch", [1, 3, None])
@pytest.mark.parametrize("label_noise", [0.0, 0.3])
def test_training_is_the_plain_loop(task, batch, label_noise):
    lr, rng = step_decay(0.05, 60, at=0.5, by=3), generator(7)
    given = {"batch": batch, "label_noise": label_noise, "u0": 0.2, "v0": 0.05}
    runs = train_diagonal(task.x, task.y, lr, rng=rng, runs=2, **given)
    for run, stream in enumerate(generator(7).spawn(2)):
        index, label = stream.spawn(2)
        shape = (60, batch or 12)
        rows = np.tile(np.arange(12), (60, 1)) if batch is None else index.integers(12, size=shape)
        noise = label_noise * label.standard_normal(shape) if label_noise else np.zeros(shape)
        u, v = np.full(30, 0.2), np.full(30, 0.05)
        for size, chosen, error in zip(lr, rows, noise, strict=True):
            r = task.x[chosen] @ (u * v) - task.y[chosen] - error
            g = task.x[chosen].T @ r / len(chosen)
            u, v = u - size * g * v, v - size * g * u
        np.testing.assert_allclose(runs.u[run, -1], u, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(runs.v[run, -1], v, rtol=1e-11, atol=1e-13)


def test_general_and_fast_path_agree_to_the_bit(task):
    """Tracking goes through the path for any batch."""
    lr = constant(0.3, 500)
    fast = train_diagonal(task.x, task.y, lr, rng=generator(1), label_noise=0.1)
    general = train_diagonal(task.x, task.y, lr, rng=generator(1), label_noise=0.1, track=True)
    assert (fast.u == general.u).all()
    assert fast.alpha_squared is None


def test_records_and_number_of_runs_change_nothing(task):
    lr, options = constant(0.2, 70_000), {"label_noise": 0.1}
    one = train_diagonal(task.x, task.y, lr, rng=generator(3), **options)
    many = train_diagonal(
        task.x, task.y, lr, rng=generator(3), runs=3, record=[0, 7, 66_000, 70_000], **options
    )
    assert (one.u[0, -1] == many.u[0, -1]).all()
    assert not (many.u[0, -1] == many.u[1, -1]).all()
    assert many.beta.shape == (3, 4, 30)
    assert (many.u[:, 0] == 0.1).all()
    last = train_diagonal(task.x, task.y, lr[:7], rng=generator(3), runs=3, **options)
    assert (last.u[:, -1] == many.u[:, 1]).all()


def test_runs_from_several_threads(task):
    def run(seed):
        return train_diagonal(task.x, task.y, constant(0.2, 2000), rng=generator(seed), runs=4).u

    with ThreadPoolExecutor(4) as pool:
        for seed, u in enumerate(pool.map(run, range(4))):
            assert (u == run(seed)).all()


def test_divergence_is_a_result(task):
    lr = constant(0.9, 3000)
    runs = train_diagonal(task.x, task.y, lr, rng=generator(4), runs=4, record=[0, 1, 3000])
    assert runs.diverged.all()
    assert (runs.diverged_at > 0).all()
    assert np.isnan(runs.u[:, -1]).all()
    again = train_diagonal(task.x, task.y, lr, rng=generator(4), runs=4)
    assert (again.diverged_at == runs.diverged_at).all()
    assert runs.survivors().u.shape == (0, 3, 30)
    first = int(runs.diverged_at[0])
    before = train_diagonal(task.x, task.y, lr[:first], rng=generator(4))
    assert not before.diverged.any()
    assert np.abs(task.x @ before.beta[0, -1] - task.y).max() > 1e7


def test_order_says_which_samples_are_used(task):
    lr, order = constant(0.1, 60), generator(3).integers(12, size=(2, 60))
    runs = train_diagonal(task.x, task.y, lr, order=order, runs=2, track=True)
    each = [train_diagonal(task.x, task.y, lr, order=row, batch=None) for row in order]
    np.testing.assert_array_equal(runs.u, [one.u[0] for one in each])
    noisy = train_diagonal(
        task.x, task.y, lr, order=order[0], label_noise=0.1, runs=2, rng=generator(1)
    )
    assert (noisy.u[0, -1] != noisy.u[1, -1]).any()
    with pytest.raises(ValueError, match="one integer per iteration"):
        train_diagonal(task.x, task.y, lr, order=order[0, 1:])
    with pytest.raises(ValueError, match=r"order must lie in 0 \.\.\. 11"):
        train_diagonal(task.x, task.y, lr, order=order[0] + 1)


def test_survivors_have_no_nan(task):
    lr = constant(0.4, 3000)
    runs = train_diagonal(task.x, task.y, lr, rng=generator(4), runs=30, track=True)
    kept = runs.survivors()
    assert 0 < len(kept.u) < 30
    assert len(kept.u) == (~runs.diverged).sum() == len(kept.alpha_squared)
    assert np.isfinite(kept.u).all()
    assert np.isfinite(kept.loss(task.x, task.y)).all()


@pytest.mark.parametrize("batch", [1, 4, None])
def test_difference_of_squares_is_shrunk_exactly(task, batch):
    """(u^2 - v^2) <- (u^2 - v^2) (1 - s^2) at every step, and hence over a run."""
    lr = constant(0.1, 400)
    runs = train_diagonal(
        task.x, task.y, lr, rng=generator(1), batch=batch, record=np.arange(401), track=True
    )
    squares = (runs.u - runs.v) * (runs.u + runs.v)
    assert (np.diff(np.abs(squares), axis=1) <= 1e-17).all()
    np.testing.assert_allclose(squares[:, -1], runs.alpha_squared, rtol=1e-10)
    if batch is None:
        residuals = runs.beta[0] @ task.x.T - task.y
        step = 0.1 * residuals @ task.x / 12
        factors = squares[0, 1:] / squares[0, :-1]
        np.testing.assert_allclose(factors, 1 - step[:-1] ** 2, rtol=1e-11)


def test_flow_keeps_the_difference_of_squares(task):
    flow = diagonal_flow([0.0, 1.0, 10.0], task.x, task.y, u0=np.linspace(0.1, 0.5, 30), v0=-0.2)
    squares = flow.u**2 - flow.v**2
    np.testing.assert_allclose(squares[0], np.tile(squares[0, 0], (3, 1)), atol=1e-15)
    np.testing.assert_allclose(flow.u[0, 0], np.linspace(0.1, 0.5, 30), rtol=1e-14)


def test_descent_tends_to_the_flow_at_first_order(task):
    flow = diagonal_flow([2.0], task.x, task.y, u0=0.3).beta[0, -1]
    gaps = []
    for steps in (200, 400):
        runs = train_diagonal(task.x, task.y, constant(2 / steps, steps), u0=0.3, batch=None)
        gaps.append(np.abs(runs.beta[0, -1] - flow).max())
    assert math.log2(gaps[0] / gaps[1]) == pytest.approx(1, abs=0.05)


def test_loss_and_jacobian(task):
    flow = diagonal_flow([0.0, 3.0], task.x, task.y)
    residual = task.x_test @ flow.beta[0, 1] - task.y_test
    assert flow.loss(task.x_test, task.y_test)[0, 1] == pytest.approx((residual**2).sum() / 80)
    u, v = flow.u[0], flow.v[0]
    jacobian, h = diagonal_jacobian(task.x, u, v), 1e-30
    assert jacobian.shape == (2, 12, 60)
    for j in range(30):
        turned = np.zeros(30, dtype=complex)
        turned[j] = 1j * h
        for weights, column in (((u + turned) * v, j), (u * (v + turned), 30 + j)):
            slope = np.imag(weights @ task.x.T) / h
            np.testing.assert_allclose(jacobian[..., column], slope, atol=1e-15)


def test_potential_has_the_angle_as_gradient():
    """The slope of the potential is z = asinh(2 beta / alpha^2) / 2."""
    beta, alpha_squared = np.array([-2.0, 0.3, 1e-3, 0.0]), np.array([0.01, 0.2, 1e-6, 3.0])
    for j in range(4):
        change = np.eye(4)[j] * 1e-5 * max(abs(beta[j]), 1)
        up, down = (hyperbolic_entropy(beta + s * change, alpha_squared) for s in (1, -1))
        slope = (up - down) / (2 * change[j])
        assert slope == pytest.approx(np.arcsinh(2 * beta[j] / alpha_squared[j]) / 2, rel=1e-3)


def test_potential_tends_to_l1_and_l2():
    beta = np.array([0.5, -2.0, 0.0])
    wide = hyperbolic_entropy(beta, 1e6)
    assert wide == pytest.approx((beta**2).sum() / (2 * 1e6), rel=1e-6)
    small = hyperbolic_entropy(beta, 1e-300) / (math.log(1e300) / 2)
    assert small == pytest.approx(2.5, rel=0.01)
    assert hyperbolic_entropy(np.zeros((2, 3)), 1e-5).tolist() == [0, 0]


@pytest.mark.parametrize(("alpha", "time"), [(0.03, 1e4), (0.5, 500.0), (2.0, 50.0)])
def test_flow_ends_at_the_implicit_bias(task, alpha, time):
    limit = implicit_bias(task.x, task.y, alpha**2)
    np.testing.assert_allclose(task.x @ limit, task.y, atol=1e-12)
    flow = diagonal_flow([time], task.x, task.y, u0=alpha)
    np.testing.assert_allclose(flow.beta[0, -1], limit, atol=1e-6)


def test_implicit_bias_is_the_constrained_minimum():
    """Against a general solver for the divergence from a shifted start."""
    rng = generator(11)
    x, y = rng.standard_normal((3, 6)), rng.standard_normal(3)
    alpha_squared, shift = rng.uniform(0.1, 1, 6), 0.3 * rng.standard_normal(6)

    def divergence(beta):
        return hyperbolic_entropy(beta, alpha_squared) - shift @ beta

    found = minimize(
        divergence,
        np.linalg.lstsq(x, y, rcond=None)[0],
        constraints={"type": "eq", "fun": lambda beta: x @ beta - y},
        tol=1e-14,
        options={"maxiter": 1000},
    )
    beta = implicit_bias(x, y, alpha_squared, shift)
    assert divergence(beta) == pytest.approx(found.fun, abs=1e-9)
    np.testing.assert_allclose(beta, found.x, atol=1e-4)


def test_limits_of_the_implicit_bias(task):
    wide, tiny = implicit_bias(task.x, task.y, 1e4), implicit_bias(task.x, task.y, 1e-150)
    np.testing.assert_allclose(wide, np.linalg.pinv(task.x) @ task.y, atol=1e-6)
    pursuit = basis_pursuit(task.x, task.y)
    np.testing.assert_allclose(tiny, pursuit, atol=1e-9)
    np.testing.assert_allclose(pursuit, task.teacher, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("batch", [1, None])
def test_end_of_a_run_is_predicted_from_its_gradients(task, seed, batch):
    """Even et al. 2023: the limit of (S)GD with finite steps."""
    runs = train_diagonal(
        task.x, task.y, constant(0.2, 60_000), rng=generator(seed), batch=batch, track=True
    )
    end = runs.beta[0, -1]
    predicted = implicit_bias(task.x, task.y, runs.alpha_squared[0], runs.shift[0])
    gap = np.abs(task.x @ end - task.y).max()
    assert gap < 1e-6
    np.testing.assert_allclose(end, predicted, atol=1e-9 + 20 * gap)
    flow = implicit_bias(task.x, task.y, 0.01)
    assert np.abs(end - flow).max() > 1e-3


@pytest.mark.parametrize(("label", "u0", "sign"), [(1.0, [1.0], 1), (-1.0, [1.0], -1)])
def test_tracking_survives_a_step_of_exactly_one(label, u0, sign):
    """Then u + v or u - v is zero for ever: no error, but an infinite shift."""
    runs = train_diagonal([[1.0]], [label], [1.0], u0=u0, batch=None, track=True)
    assert runs.alpha_squared.tolist() == [[0.0]]
    assert runs.shift.tolist() == [[sign * np.inf]]
    assert runs.u[0, -1, 0] == sign * runs.v[0, -1, 0] == 1


def test_tracked_start_of_general_weights(task):
    """beta = alpha^2 sinh(2 z) / 2 at the start too, with z the first shift."""
    u0, v0 = generator(1).standard_normal((2, 30))
    runs = train_diagonal(task.x, task.y, [1e-12], u0=u0, v0=v0, batch=None, track=True)
    beta = runs.alpha_squared[0] * np.sinh(2 * runs.shift[0]) / 2
    swapped = np.abs(u0) < np.abs(v0)  # then w and w' have opposite signs, and beta uses |w|
    np.testing.assert_allclose(beta, u0 * v0, rtol=1e-8)
    assert swapped.any()


@pytest.mark.parametrize("shape", [(5, 3), (4, 6), (1, 2)])
def test_stability_threshold_is_that_of_the_second_moments(shape):
    """The map of the second moments of the residuals, written out, has radius one there."""
    rows = generator(3).standard_normal(shape)
    n, gram = len(rows), rows @ rows.T
    threshold = stability_threshold(rows)

    def radius(lr):
        step = [np.eye(n) - lr * np.outer(gram[:, i], np.eye(n)[i]) for i in range(n)]
        moments = np.mean([np.kron(s, s) for s in step], axis=0)
        span = np.linalg.svd(gram)[0][:, : np.linalg.matrix_rank(gram)]
        both = np.kron(span, span)  # residuals move in the span of the Jacobian only
        return np.abs(np.linalg.eigvals(both.T @ moments @ both)).max()

    assert radius(0.99 * threshold) < 1 < radius(1.01 * threshold)
    assert radius(threshold) == pytest.approx(1, abs=1e-8)


def test_stability_threshold_bounds():
    rows = generator(4).standard_normal((6, 4))
    assert stability_threshold(3 * rows) == pytest.approx(stability_threshold(rows) / 9)
    descent = 2 * len(rows) / np.linalg.eigvalsh(rows @ rows.T)[-1]
    assert 2 / (rows**2).sum(axis=1).max() <= stability_threshold(rows) <= descent


@pytest.mark.parametrize("shape", [(5, 3), (4, 6)])
@pytest.mark.parametrize("part", [0.1, 0.9])
def test_stationary_covariance_is_a_fixed_point_of_sgd(shape, part):
    """The mean over samples of a step with a noisy label, written out, leaves it as it is."""
    rows, q = generator(6).standard_normal(shape), 0.3
    lr = part * stability_threshold(rows)
    covariance, squares = stationary_covariance(rows, lr, label_noise=q)
    stepped = []
    for a in rows:
        kept = np.eye(shape[1]) - lr * np.outer(a, a)
        stepped.append(kept @ covariance @ kept.T + (lr * q) ** 2 * np.outer(a, a))
    np.testing.assert_allclose(np.mean(stepped, axis=0), covariance, atol=1e-13)
    np.testing.assert_allclose(squares, (rows @ covariance * rows).sum(axis=1) + q**2)
    off = np.eye(shape[1]) - np.linalg.pinv(rows) @ rows
    assert np.abs(off @ covariance).max() < 1e-14


def test_sparse_regression():
    task = sparse_regression(50, 20, 4, n_test=30, rng=generator(1))
    assert (task.x.shape, task.x_test.shape) == ((50, 20), (30, 20))
    assert (task.teacher[:4] > 0).all()
    assert not task.teacher[4:].any()
    assert np.linalg.norm(task.teacher) == pytest.approx(1)
    np.testing.assert_allclose(task.y, task.x @ task.teacher, atol=1e-14)
    np.testing.assert_allclose(task.y_test, task.x_test @ task.teacher, atol=1e-14)
    assert np.abs(task.x.std() - 1) < 0.1
    assert (task.x * 2**32 % 1 == 0).all()
    np.testing.assert_allclose(task.x, generator(1).standard_normal((50, 20)), atol=2**-33)


X, Y, LR = [[1.0, 2.0], [0.0, 1.0]], [1.0, 2.0], [0.1, 0.1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train_diagonal(X, [1.0], LR, batch=None), "one label per row"),
        (lambda: train_diagonal(X, Y, 0.1, batch=None), "one step size per iteration"),
        (lambda: train_diagonal(X, Y, [0.0], batch=None), "does not descend"),
        (lambda: train_diagonal(X, Y, LR), "rng is needed"),
        (lambda: train_diagonal(X, Y, LR, batch=None, label_noise=1.0), "rng is needed"),
        (lambda: train_diagonal(X, Y, LR, batch=0, rng=generator()), "None for all samples"),
        (lambda: train_diagonal(X, Y, LR, u0=[1.0] * 3, batch=None), "one per column"),
        (lambda: train_diagonal(X, Y, LR, batch=None, record=[0, 3]), "at most 2"),
        (lambda: train_diagonal(X, Y, LR, batch=None, record=[0.5]), "whole numbers"),
        (lambda: train_diagonal(X, Y, LR, batch=None, record=[1, 1]), "different"),
        (lambda: train_diagonal(X, Y, LR, batch=None, runs=0), "runs must be"),
        (lambda: train_diagonal(X, Y, LR, batch=None, label_noise=-1), "must not be negative"),
        (lambda: sparse_regression(3, 4, 5, rng=generator()), "at most d = 4"),
        (lambda: sparse_regression(0, 4, 1, rng=generator()), "n must be"),
        (lambda: diagonal_jacobian(X, [1.0], [1.0, 2.0, 3.0]), "one weight per column"),
        (lambda: implicit_bias(X, [1.0], 1.0), "one label per row"),
        (lambda: implicit_bias([[1.0, 1.0]] * 2, [1.0, 2.0], 1.0), "linearly independent"),
        (lambda: basis_pursuit([[1.0, 1.0]] * 2, [1.0, 2.0]), "no solution"),
        (lambda: diagonal_flow([1.0, 0.0], X, Y), "must not decrease"),
        (lambda: stability_threshold([[0.0]]), "jacobian is zero"),
        (lambda: stationary_covariance([[0.0]], 0.1, label_noise=1.0), "jacobian is zero"),
        (lambda: stationary_covariance([[1.0]], 2.0, label_noise=1.0), "below the stability"),
        (lambda: stationary_covariance([[1.0]], 0.0, label_noise=1.0), "must be positive"),
    ],
)
def test_bad_inputs(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_combinations_of_scalar_and_vector_starts():
    for u0, v0 in itertools.product([0.1, [0.1, 0.1]], [0.0, [0.0, 0.0]]):
        runs = train_diagonal(X, Y, LR, u0=u0, v0=v0, batch=None)
        assert runs.beta[0, -1].shape == (2,)


# Found by changing the package a little and asking whether a test notices: `make mutants`.


def test_least_norms_with_a_label_of_zero_and_a_negative_weight():
    """One equation per coordinate, and a column that nothing needs."""
    x, y = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]], [0.0, -3.0]
    np.testing.assert_allclose(basis_pursuit(x, y), [0.0, -1.5, 0.0], atol=1e-12)
    np.testing.assert_allclose(implicit_bias(x, y, 1e-3), [0.0, -1.5, 0.0], atol=1e-12)


def test_implicit_bias_where_a_whole_step_leads_too_far():
    """One equation, whose multiplier root finding gives as well."""
    x, y, alpha_squared, shift = np.array([2.0, -1.0]), -5.0, [0.1, 1.0], [-4.0, 1.0]

    def beta(multiplier):
        return alpha_squared * np.sinh(2 * (multiplier * x + shift)) / 2

    multiplier = brentq(lambda mu: x @ beta(mu) - y, -10, 10, xtol=1e-14)
    found = implicit_bias(x[None], [y], alpha_squared, shift)
    np.testing.assert_allclose(found, beta(multiplier), rtol=1e-9)
