"""The labelled equations and claims of the chapter on the setting.

Each is tested on shapes that the chapter does not use, by a route of its own: samples instead of
correlations, differences instead of formulas, one layout of the arrays instead of the other.
"""

from functools import reduce

import numpy as np
import pytest
from helpers import correlations, interference, random_samples, velocities
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.stats import ortho_group

from dlnlib.flow import (
    aligned_weights,
    balance,
    gaussian_weights,
    gradient_descent,
    gradient_flow,
    product,
)
from dlnlib.modes import mode_strength
from dlnlib.tasks import Task, linear_task, svd_modes, whiten

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 5)


def sample_loss(x, y, weights):
    """The loss as a mean over samples, one at a time; also for complex weights."""
    w = reduce(lambda below, layer: layer @ below, weights)
    return sum(((yy - w @ xx) ** 2).sum() for xx, yy in zip(x, y, strict=True)) / (2 * len(x))


def task_and_start(seed, n_in=3, hidden=6, n_out=5, scale=0.1):
    rng = np.random.default_rng(seed)
    sigma = np.linalg.qr(rng.standard_normal((n_out, n_in)))[0] * [3.0, 1.5, 0.6]
    sigma = sigma @ ortho_group.rvs(n_in, random_state=rng)
    return sigma, gaussian_weights((n_in, hidden, n_out), scale, rng=rng)


@given(n_in=SIZES, n_out=SIZES, seed=SEEDS)
def test_correlations(n_in, n_out, seed):
    rng = np.random.default_rng(seed)
    x, y = random_samples(n_in, n_out, rng)
    sigma_yx, _ = correlations(x, y)
    assert sigma_yx.shape == (n_out, n_in)
    outer = np.mean([np.outer(yy, xx) for xx, yy in zip(x, y, strict=True)], axis=0)
    np.testing.assert_allclose(sigma_yx, outer, atol=1e-12)
    task = linear_task(x, y)
    white, _ = whiten(x)
    np.testing.assert_allclose(task.sigma, correlations(white, y)[0], atol=1e-10)
    np.testing.assert_allclose(correlations(white, y)[1], np.eye(white.shape[1]), atol=1e-10)


@given(n_in=SIZES, n_out=SIZES, seed=SEEDS)
def test_loss(n_in, n_out, seed):
    rng = np.random.default_rng(seed)
    x, y = random_samples(n_in, n_out, rng)
    w = rng.standard_normal((n_out, n_in))
    sigma_yx, sigma_xx = correlations(x, y)
    moments = (
        np.trace(y.T @ y / len(y)) / 2 - np.trace(w.T @ sigma_yx) + np.trace(w @ sigma_xx @ w.T) / 2
    )
    assert sample_loss(x, y, [w]) == pytest.approx(moments, rel=1e-10)
    task = Task(sigma=sigma_yx, x=x, y=y)
    assert float(task.loss(w)) == pytest.approx(moments, rel=1e-10)


@pytest.mark.parametrize("widths", [(3, 2, 4), (4, 5, 2, 3), (2, 3, 3, 3, 1)])
def test_gradient(widths):
    rng = np.random.default_rng(7)
    x, y = random_samples(widths[0], widths[-1], rng)
    sigma_yx, sigma_xx = correlations(x, y)
    weights = gaussian_weights(widths, 0.7, rng=rng)
    uphill = [-v for v in velocities(weights, sigma_yx, sigma_xx=sigma_xx)]
    for layer, slope in enumerate(uphill):
        for place in np.ndindex(slope.shape):
            moved = [w.astype(complex) for w in weights]
            moved[layer][place] += 1e-30j
            partial = sample_loss(x, y, moved).imag / 1e-30
            assert slope[place] == pytest.approx(partial, rel=1e-10, abs=1e-12)


def test_gradient_flow():
    """The flow against an integration of the two-layer equations, on the samples, whitened."""
    rng = np.random.default_rng(3)
    raw, y = random_samples(3, 4, rng)
    x, _ = whiten(raw)
    w1, w2 = gaussian_weights((3, 2, 4), 0.3, rng=rng)
    tau, times = 2.5, np.linspace(0, 6, 4)

    def velocity(_, flat):
        first, second = flat[:6].reshape(2, 3), flat[6:].reshape(4, 2)
        error = y - x @ (second @ first).T
        return np.concatenate(
            [(second.T @ error.T @ x).ravel(), (error.T @ x @ first.T).ravel()]
        ) / (tau * len(x))

    flat = np.concatenate([w1.ravel(), w2.ravel()])
    path = solve_ivp(velocity, (0, 6), flat, "DOP853", times, rtol=1e-11, atol=1e-13).y
    flow = gradient_flow(times, [w1, w2], correlations(x, y)[0], tau=tau)
    np.testing.assert_allclose(flow.weights[0].reshape(4, -1), path[:6].T, atol=1e-7)
    np.testing.assert_allclose(flow.weights[1].reshape(4, -1), path[6:].T, atol=1e-7)


def test_step_size_is_time():
    sigma, start = task_and_start(11)
    flow = gradient_flow([0.0, 3.0], start, sigma, tau=1.0).product[-1]
    gaps = [
        np.linalg.norm(gradient_descent([0, round(3 / lr)], start, sigma, lr=lr).product[-1] - flow)
        for lr in (2e-3, 1e-3)
    ]
    assert gaps[1] < 0.01
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("widths", [(3, 4, 2), (4, 3, 5, 2), (2, 4, 4, 4, 3)])
@pytest.mark.parametrize("white", [True, False])
def test_balance(widths, white):
    rng = np.random.default_rng(5)
    x, y = random_samples(widths[0], widths[-1], rng)
    sigma_yx, sigma_xx = correlations(x, y)
    start = gaussian_weights(widths, 0.5, rng=rng)
    options = {} if white else {"sigma_xx": sigma_xx}
    for w, v, w_up, v_up in zip(
        start[:-1],
        velocities(start, sigma_yx, **options)[:-1],
        start[1:],
        velocities(start, sigma_yx, **options)[1:],
        strict=True,
    ):
        np.testing.assert_allclose(w_up.T @ v_up, v @ w.T, atol=1e-12)
    path = gradient_flow([0.0, 1.0, 4.0], start, sigma_yx, **options)
    for b in balance(path.weights):
        np.testing.assert_allclose(b, np.broadcast_to(b[0], b.shape), atol=1e-7)


def test_balance_under_gradient_descent_drifts_with_the_step_size():
    sigma, start = task_and_start(1)

    def drift(lr):
        (b,) = balance(gradient_descent([0, round(4 / lr)], start, sigma, lr=lr).weights)
        return np.linalg.norm(b[1] - b[0])

    assert drift(4e-3) / drift(2e-3) == pytest.approx(2, rel=0.05)


@given(n_in=SIZES, n_out=SIZES, seed=SEEDS)
def test_singular_modes(n_in, n_out, seed):
    sigma = np.random.default_rng(seed).standard_normal((n_out, n_in))
    modes = svd_modes(sigma)
    assert modes.s.size == min(n_in, n_out)
    assert (np.diff(modes.s) <= 0).all()
    assert modes.s.min() >= 0
    rebuilt = sum(s * np.outer(u, v) for u, s, v in zip(modes.u.T, modes.s, modes.v.T, strict=True))
    np.testing.assert_allclose(rebuilt, sigma, atol=1e-12)
    # the squares of s by another route: the eigenvalues of Sigma^T Sigma
    squares = np.sort(np.linalg.eigvalsh(sigma.T @ sigma))[::-1][: modes.s.size]
    np.testing.assert_allclose(modes.s**2, squares, atol=1e-10)


def test_mode_strength():
    sigma, start = task_and_start(2)
    modes = svd_modes(sigma)
    path = gradient_flow([0.0, 2.0, 30.0], start, sigma)
    strengths = [
        [u @ w @ v for u, v in zip(modes.u.T, modes.v.T, strict=True)] for w in path.product
    ]
    np.testing.assert_allclose(path.mode_strength(modes), strengths, atol=1e-12)
    np.testing.assert_allclose(strengths[-1], modes.s, atol=1e-6)


@pytest.mark.parametrize(("n_in", "n_out"), [(3, 5), (5, 3), (4, 4)])
def test_rotated_flow(n_in, n_out):
    rng = np.random.default_rng(9)
    sigma = rng.standard_normal((n_out, n_in))
    u, s, vt = np.linalg.svd(sigma)
    target = np.zeros((n_out, n_in))
    np.fill_diagonal(target, s)
    r = ortho_group.rvs(6, random_state=rng)
    inner, outer = gaussian_weights((n_in, 6, n_out), 0.2, rng=rng)
    asked = [0, 10, 1000]
    virtual = gradient_descent(asked, [inner, outer], target, lr=0.01).weights
    real = gradient_descent(asked, [r @ inner @ vt, u @ outer @ r.T], sigma, lr=0.01).weights
    np.testing.assert_allclose(r.T @ real[0] @ vt.T, virtual[0], atol=1e-10)
    np.testing.assert_allclose(u.T @ real[1] @ r, virtual[1], atol=1e-10)


def test_virtual_network_at_any_depth():
    """One rotation for each hidden layer."""
    rng = np.random.default_rng(10)
    sigma = rng.standard_normal((5, 3))
    u, s, vt = np.linalg.svd(sigma)
    target = np.zeros(sigma.shape)
    np.fill_diagonal(target, s)
    inner = gaussian_weights((3, 4, 6, 5), 0.4, rng=rng)
    turns = [vt.T, *(ortho_group.rvs(n, random_state=rng) for n in (4, 6)), u]
    outer = [up @ w @ down.T for w, down, up in zip(inner, turns[:-1], turns[1:], strict=True)]
    virtual = gradient_descent([0, 10, 500], inner, target, lr=0.01).weights
    real = gradient_descent([0, 10, 500], outer, sigma, lr=0.01).weights
    for w, seen, down, up in zip(real, virtual, turns[:-1], turns[1:], strict=True):
        np.testing.assert_allclose(up.T @ w @ down, seen, atol=1e-10)


@given(seed=SEEDS, scale=st.floats(1e-3, 30))
def test_layers_grow_at_most_linearly(seed, scale):
    """No start runs away in finite time: d|W_l|^2/dt <= |Sigma|^2 / 2."""
    rng = np.random.default_rng(seed)
    sigma = rng.standard_normal((4, 3))
    weights = gaussian_weights((3, 2, 5, 4), scale, rng=rng)
    rate = 2 * np.trace(product(weights).T @ (sigma - product(weights)))
    for w, v in zip(weights, velocities(weights, sigma), strict=True):
        # the step leaves a rounding error of the size of the weights times the velocity
        error = 1e-12 * (1 + np.linalg.norm(v) ** 2 + np.linalg.norm(w) ** 2)
        assert 2 * np.sum(w * v) == pytest.approx(rate, rel=1e-9, abs=error)
    assert rate <= (sigma**2).sum() / 2


def test_one_correlation_one_trajectory():
    """Two data sets, trained on as samples: the gradients agree at every point of weight space."""
    rng = np.random.default_rng(21)
    sigma = rng.standard_normal((4, 3))
    weights = gaussian_weights((3, 5, 4), 0.8, rng=rng)
    found = []
    for n_samples in (20, 90):
        x, _ = whiten(rng.exponential(size=(n_samples, 3)))
        noise = rng.standard_normal((n_samples, 4)) * n_samples
        y = x @ sigma.T + noise - x @ (x.T @ noise) / n_samples
        error = y - x @ product(weights).T
        found.append(
            [
                weights[1].T @ error.T @ x / n_samples,
                error.T @ (x @ weights[0].T) / n_samples,
            ]
        )
    for first, second, ours in zip(*found, velocities(weights, sigma), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-10)
        np.testing.assert_allclose(first, ours, atol=1e-10)


def test_inputs_that_are_not_white_couple_the_modes():
    sigma, _ = task_and_start(4)
    modes = svd_modes(sigma)
    start, times = aligned_weights(modes, 0.05), np.linspace(0, 20, 5)
    coloured = np.eye(3) + 0.4 * (np.ones((3, 3)) - np.eye(3))
    assert np.abs(interference(gradient_flow(times, start, sigma).product, modes)).max() < 1e-9
    path = gradient_flow(times, start, sigma, sigma_xx=coloured)
    assert np.abs(interference(path.product, modes)).max() > 0.1
    np.testing.assert_allclose(path.product[-1] @ coloured, sigma, atol=1e-3)


def test_inputs_with_the_same_axes_do_not_couple_the_modes():
    sigma, _ = task_and_start(6)
    modes = svd_modes(sigma)
    spread, times = np.array([0.4, 1.3, 2.0]), np.linspace(0, 20, 5)
    commuting = (modes.v * spread) @ modes.v.T
    path = gradient_flow(
        times, aligned_weights(modes, 0.05), sigma, sigma_xx=commuting, rtol=1e-12, atol=1e-14
    )
    expected = mode_strength(times, modes.s, 0.05 * spread) / spread
    np.testing.assert_allclose(path.mode_strength(modes), expected, atol=1e-9)
    assert np.abs(interference(path.product, modes)).max() < 1e-8


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_units_of_the_outputs(depth):
    sigma, _ = task_and_start(8)
    start = gaussian_weights((3, *[4] * (depth - 1), 5), 0.6, rng=np.random.default_rng(8))
    times, c = np.linspace(0, 3, 4), 2.0
    scaled = [c ** (1 / depth) * w for w in start]
    before = gradient_flow(times, start, sigma).product
    after = gradient_flow(times / c ** (2 - 2 / depth), scaled, c * sigma).product
    np.testing.assert_allclose(after, c * before, atol=1e-6)
