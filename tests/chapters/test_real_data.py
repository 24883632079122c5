"""Labelled equations of the chapter on real images, each by a route of its own."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dlnlib.flow import aligned_weights, gradient_flow
from dlnlib.modes import mode_strength
from dlnlib.tasks import digits_task, linear_task, svd_modes, whiten


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def labelled(rng):
    """Skewed inputs whose mean depends on the label, five unequal classes."""
    labels = rng.choice(5, size=400, p=[0.4, 0.25, 0.15, 0.1, 0.1])
    x = rng.exponential(size=(400, 8)) + rng.standard_normal((5, 8))[labels]
    return x, np.eye(5)[labels]


def test_one_hot_spectrum(labelled):
    x, y = labelled
    task = linear_task(x, y)
    assert np.abs(task.sigma.sum(axis=0)).max() < 1e-12
    assert task.modes.rank == 4
    top = np.linalg.eigvalsh(np.cov(y.T, bias=True))[-1]
    assert task.modes.s[0] ** 2 <= top
    # the bound is sharp: inputs that are the labels reach it, and equal classes reach 1/sqrt(C)
    full = linear_task(y[:, :4], y)
    assert full.modes.s[0] ** 2 == pytest.approx(top)
    equal = np.tile(np.eye(5), (20, 1))
    assert np.allclose(linear_task(equal[:, :4], equal).modes.s[:4], 1 / np.sqrt(5))


def test_digit_image(labelled):
    x, y = labelled
    task, frequency = linear_task(x, y), y.mean(axis=0)
    contrast = [y[:, c] @ x / y[:, c].sum() - x.mean(axis=0) for c in range(5)]
    weighted = (frequency[:, None] * contrast).T @ task.modes.u[:, :4]
    # the image by another route than the chapter's: undo the whitening of a white step along v_k
    _, transform = whiten(x)
    image = np.linalg.pinv(transform.matrix).T @ task.modes.v[:, :4]
    assert np.allclose(task.modes.s[:4] * image, weighted, atol=1e-10)


def overlap_flow(t, s, gram):
    decay = np.diag(np.exp(-s * t))
    return np.linalg.inv(np.diag(1 / s) + decay @ (np.linalg.inv(gram) - np.diag(1 / s)) @ decay)


def test_overlap_flow(rng):
    modes = svd_modes(rng.standard_normal((3, 5)))
    parts = 0.1 * rng.standard_normal((6, 3))
    start = [parts @ modes.v.T / np.sqrt(2), modes.u @ parts.T / np.sqrt(2)]
    gram, times = parts.T @ parts / 2, np.array([0.0, 0.5, 1.0, 2.0, 4.0])
    full = modes.u.T @ gradient_flow(times, start, modes.matrix()).product @ modes.v
    formula = np.array([overlap_flow(t, modes.s, gram) for t in times])
    assert np.abs(full - formula).max() < 1e-8

    s = np.diag(modes.s)

    def rate(_, flat):
        k = flat.reshape(3, 3)
        return (s @ k + k @ s - 2 * k @ k).ravel()

    path = solve_ivp(rate, (0, 4), gram.ravel(), "DOP853", t_eval=times, rtol=1e-11, atol=1e-13)
    assert np.abs(path.y.T.reshape(-1, 3, 3) - formula).max() < 1e-9
    # without overlaps it is one logistic for each mode
    alone = [np.diag(overlap_flow(t, modes.s, np.diag(np.diag(gram)))) for t in times]
    assert np.allclose(alone, mode_strength(times, modes.s, np.diag(gram)))


def test_tied_modes_share_the_mean_of_two_logistics():
    gram, s = 1e-3 * np.array([[1.0, 0.4], [0.4, 1.0]]), np.array([2.0, 2.0])
    for t in (0.5, 1.5, 2.5):
        pair = mode_strength(t, 2.0, np.array([1.4e-3, 0.6e-3]))
        assert np.allclose(np.diag(overlap_flow(t, s, gram)), pair.mean())


def test_held_out_modes(rng, labelled):
    x, y = labelled
    task = linear_task(x[:100], y[:100], x[100:], y[100:])
    u, v = task.modes.u[:, :4], task.modes.v[:, :4]
    q = ((task.x_test @ v) ** 2).mean(axis=0)
    m = ((task.y_test @ u) * (task.x_test @ v)).mean(axis=0)
    zero = task.test_loss(np.zeros_like(task.sigma))
    for a in rng.standard_normal((5, 4)):
        error = zero + (q * a**2 / 2 - m * a).sum()
        assert task.test_loss((u * a) @ v.T) == pytest.approx(error)
    best = task.test_loss((u * (m / q)) @ v.T)
    for step in 0.01 * np.vstack([np.eye(4), -np.eye(4)]):
        assert best < task.test_loss((u * (m / q + step)) @ v.T)
    # on the training set itself q = 1 and m = s
    assert np.allclose(((task.x @ v) ** 2).mean(axis=0), 1)


def test_curved_mode(rng):
    modes = svd_modes(rng.standard_normal((3, 3)))
    curvature, times = np.array([0.5, 2.0, 3.0]), np.linspace(0, 6, 13)
    sigma_xx = (modes.v * curvature) @ modes.v.T
    start = aligned_weights(modes, 0.02)
    flow = gradient_flow(times, start, modes.matrix(), sigma_xx=sigma_xx)
    theory = mode_strength(times, modes.s, 0.02 * curvature) / curvature
    assert np.abs(flow.mode_strength(modes) - theory).max() < 1e-7
    # the rate itself, at the start
    small = gradient_flow([0.0, 1e-5], start, modes.matrix(), sigma_xx=sigma_xx)
    measured = np.diff(small.mode_strength(modes), axis=0)[0] / 1e-5
    assert np.allclose(measured, 2 * 0.02 * (modes.s - curvature * 0.02), rtol=1e-3)


def test_correlated_inputs_raise_the_plateau(rng):
    """The last value of a_k is s_k v_k^T Sigma_xx^-1 v_k, never below s_k / lambda_k."""
    sigma, factor = rng.standard_normal((3, 4)), rng.standard_normal((4, 8))
    sigma_xx, modes = factor @ factor.T / 8, svd_modes(sigma)
    start = [0.1 * rng.standard_normal(shape) for shape in ((5, 4), (3, 5))]
    end = gradient_flow([400.0], start, sigma, sigma_xx=sigma_xx).mode_strength(modes)[0]
    lam = np.sum(modes.v * (sigma_xx @ modes.v), axis=0)
    inverse = np.sum(modes.v * np.linalg.solve(sigma_xx, modes.v), axis=0)
    assert np.allclose(end, modes.s * inverse, rtol=1e-5)
    assert (end > 1.01 * modes.s / lam).all()


@pytest.mark.parametrize(("samples", "inputs"), [(150, 55), (1000, 60), (90, 70)])
def test_random_labels_reach_the_edge_of_two_random_spaces(rng, samples, inputs):
    rest = samples - 1
    edge = (np.sqrt(inputs * (rest - 9)) + np.sqrt(9 * (rest - inputs))) / rest
    x, _ = whiten(rng.standard_normal((samples, inputs)))
    labels = np.eye(10)[np.arange(samples) % 10]
    top = [linear_task(x, rng.permutation(labels)).modes.s[0] for _ in range(20)]
    assert np.mean(top) * np.sqrt(10) == pytest.approx(edge, rel=0.08)


def test_digits_have_nine_modes_in_a_narrow_band():
    for n_train in (150, 1000):
        modes = digits_task(n_train=n_train, rng=np.random.default_rng(0)).modes
        assert modes.rank == 9
        assert modes.s[0] < 2 * modes.s[8]
        assert np.allclose(modes.u[:, 9], 1 / np.sqrt(10))


@pytest.mark.parametrize("seed", [0, 1])
def test_digits_error_of_the_overlaps_falls_with_the_scale_squared(seed):
    task = digits_task(n_train=500, rng=np.random.default_rng(seed))
    u, s, v = task.modes.u[:, :9], task.modes.s[:9], task.modes.v[:, :9]
    streams = np.random.default_rng(100 + seed)
    draw = [streams.standard_normal((32, len(v))), streams.standard_normal((10, 32))]
    error = []
    for scale in (1e-2, 1e-3):
        w1, w2 = (scale * w for w in draw)
        times = np.linspace(0, np.log(1 / scale) / s[8] + 8, 60)
        trained = gradient_flow(times, [w1, w2], task.sigma).mode_strength(task.modes)[:, :9]
        parts = (w1 @ v + w2.T @ u) / 2
        theory = [np.diag(overlap_flow(t, s, parts.T @ parts)) for t in times]
        error.append(np.abs(trained - theory).max())
    assert 30 < error[0] / error[1] < 300
