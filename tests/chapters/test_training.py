"""The labelled equations and the claims of chapters/training.md."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar

from dlnlib.entropy import entropy_rate, map_entropy, map_entropy_rate, spectral_entropy
from dlnlib.flow import (
    aligned_weights,
    balanced_weights,
    exact_flow,
    gaussian_weights,
    gradient_flow,
    product,
)
from dlnlib.modes import growth_rate, learning_time, mode_strength
from dlnlib.random_matrix import (
    bulk_edge,
    bulk_quantiles,
    detection_threshold,
    optimal_shrinker,
    spike_forward,
)
from dlnlib.stopping import excess_error, noise_level, spiked_spectra
from dlnlib.tasks import svd_modes


def soft(s, decay):
    return np.maximum(np.asarray(s) - decay, 0)


def followed(weights, velocity, t, decay, tau=1.0, rtol=1e-11):
    """Weights under any gradient and decay, by LSODA: an integrator of another family."""
    shapes, cuts = [w.shape for w in weights], np.cumsum([w.size for w in weights])[:-1]

    def layers(flat):
        return [p.reshape(s) for p, s in zip(np.split(flat, cuts), shapes, strict=True)]

    def rate(_, flat):
        push = np.concatenate([v.ravel() for v in velocity(layers(flat))])
        return (push - decay * flat) / tau

    start = np.concatenate([w.ravel() for w in weights])
    path = solve_ivp(rate, (0, t[-1]), start, "LSODA", t_eval=t, rtol=rtol, atol=1e-13)
    return [layers(state) for state in path.y.T]


def descending(slope):
    """The push on every layer, where ``slope(W)`` is minus the gradient by the map."""

    def velocity(weights):
        push, pushes = slope(product(weights)), []
        for i in range(len(weights)):
            above = product(weights[i + 1 :]) if i + 1 < len(weights) else np.eye(len(push))
            below = product(weights[:i]) if i else np.eye(push.shape[1])
            pushes.append(above.T @ push @ below.T)
        return pushes

    return velocity


def imbalance(weights):
    return [outer.T @ outer - inner @ inner.T for inner, outer in pairwise(weights)]


def stacked(weights):
    return np.vstack([weights[0].T, weights[1]])


# Two layers


@pytest.mark.parametrize("seed", range(3))
def test_decay_mode(seed):
    rng = np.random.default_rng(seed)
    task = svd_modes(rng.standard_normal((4, 5)))
    a0, tau, decay = rng.uniform(0.01, 1, 4), rng.uniform(0.5, 2), rng.uniform(0.2, 2)
    t = np.linspace(0, 5, 12)
    start = aligned_weights(task, a0, hidden=6)
    path = followed(start, descending(lambda w: task.matrix() - w), t, decay, tau)
    closed = mode_strength(t, task.s, a0, tau=tau, decay=decay)
    for a, (w1, w2) in zip(closed, path, strict=True):
        # still aligned, with the hidden vectors of the start: the unit vectors
        np.testing.assert_allclose(w1[:4], np.sqrt(a)[:, None] * task.v.T, atol=1e-8)
        np.testing.assert_allclose(w2[:, :4], task.u * np.sqrt(a), atol=1e-8)
    rate = 2 * closed * (task.s - decay - closed) / tau
    ours = closed * growth_rate(closed, task.s, tau=tau, decay=decay)
    np.testing.assert_allclose(ours, rate, rtol=1e-12, atol=1e-14)


@given(
    s=st.floats(0, 3),
    gap=st.floats(1e-3, 3),
    a0=st.floats(1e-6, 5),
    t=st.floats(0, 20),
    tau=st.floats(0.2, 5),
)
def test_decay_dying(s, gap, a0, t, tau):
    x = 2 * gap * t / tau
    assume(x < 600)
    expected = gap / (math.exp(x) * gap / a0 + math.expm1(x))
    found = mode_strength([t], s, a0, tau=tau, decay=s + gap)[0, 0]
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("widths", [(4, 4, 4), (6, 3, 5), (3, 7, 4)])
def test_riccati_with_decay(widths):
    """The equation of a balanced start with F - gamma I; with lambda it fails."""
    rng, decay = np.random.default_rng(1), 0.4
    sigma = rng.standard_normal(widths[::-2])
    n_in, n_out = sigma.shape[::-1]
    f = np.block([[np.zeros((n_in, n_in)), sigma.T], [sigma, np.zeros((n_out, n_out))]])
    f -= decay * np.eye(n_in + n_out)
    t, h = 0.7, 1e-4
    path = gradient_flow(
        [t - h, t, t + h],
        balanced_weights(widths, 0.5, rng=rng),
        sigma,
        decay=decay,
        rtol=1e-12,
        atol=1e-14,
    )
    before, now, after = (
        (q := stacked([w1, w2])) @ q.T for w1, w2 in zip(*path.weights, strict=True)
    )
    expected = f @ now + now @ f - now @ now
    np.testing.assert_allclose((after - before) / (2 * h), expected, atol=1e-6)


def test_effective_start_with_decay():
    """Balanced random weights: the error of the logistic with s - gamma falls as stated."""
    rng, s, decay = np.random.default_rng(2), np.array([4.0, 2.5, 1.0]), 1.2
    modes = svd_modes(np.diag(s))
    end = soft(s, decay)
    exponent = 2 * min(1 - end[1] / end[0], 1 - end[2] / end[1])
    assert end[2] == 0
    unit = balanced_weights((3, 5, 3), 1.0, rng=rng)
    growing = (unit[0] @ modes.v + unit[1].T @ modes.u) / np.sqrt(2)
    left = np.diag(np.linalg.qr(growing)[1]) ** 2 / 2
    t, worst = np.linspace(0, 14, 300), []
    for scale in (1e-3, 1e-5):
        start = [scale * w for w in unit]
        path = gradient_flow(t, start, modes.matrix(), decay=decay, rtol=1e-12, atol=1e-18)
        theory = mode_strength(t, s, scale**2 * left, decay=decay)
        worst.append(np.abs(path.mode_strength(modes) - theory).max(axis=0))
    orders = np.log(np.divide(*worst)) / np.log(100)
    assert (orders[:2] > exponent - 0.1).all()
    assert worst[1][2] < 1e-9


def test_the_clock_spreads():
    for decay in (0.3, 0.8):
        ratio = np.divide(*learning_time([1.0, 3.0], 1e-200, decay=decay))
        assert ratio == pytest.approx((3 - decay) / (1 - decay), rel=0.01)
        assert ratio > 3.1


# The end


@pytest.mark.parametrize("shape", [(3, 3, 3), (4, 6, 5), (5, 5, 3)])
def test_nuclear_norm(shape):
    """Attained by the balanced factors, and by no random ones."""
    n_out, hidden, n_in = shape
    rng = np.random.default_rng(0)
    w = rng.standard_normal((n_out, n_in))
    u, s, vt = np.linalg.svd(w, full_matrices=False)
    best = np.sum((u * np.sqrt(s)) ** 2) / 2 + np.sum((np.sqrt(s)[:, None] * vt) ** 2) / 2
    assert best == pytest.approx(s.sum())
    inner = min(n_out, n_in)
    for _ in range(200):
        turn = rng.standard_normal((inner, hidden))
        w2 = u * np.sqrt(s) @ turn
        w1 = np.linalg.pinv(turn) @ (np.sqrt(s)[:, None] * vt)
        np.testing.assert_allclose(w2 @ w1, w, atol=1e-8)
        assert (np.sum(w1**2) + np.sum(w2**2)) / 2 >= s.sum() - 1e-9


@pytest.mark.parametrize(("shape", "scale"), [((5, 4, 4), 0.02), ((3, 8, 6), 0.3), ((6, 4, 4), 1)])
def test_decay_end(shape, scale):
    """Gaussian starts of any size, with as many hidden units as the smaller side."""
    rng = np.random.default_rng(4)
    sigma = rng.standard_normal((shape[2], shape[0]))
    u, s, vt = np.linalg.svd(sigma, full_matrices=False)
    for decay in ((s[-1] + s[-2]) / 2, (s[0] + s[1]) / 2, 1.1 * s[0]):
        start = gaussian_weights(shape, scale, rng=rng)
        end = gradient_flow([100.0], start, sigma, decay=decay, rtol=1e-7).product[0]
        np.testing.assert_allclose(end, u * soft(s, decay) @ vt, atol=1e-5)


def test_a_bottleneck_keeps_the_strongest():
    """With fewer hidden units than modes the theorem says nothing; the best rank is kept."""
    rng = np.random.default_rng(5)
    sigma = rng.standard_normal((5, 5))
    u, s, vt = np.linalg.svd(sigma)
    start = gaussian_weights((5, 2, 5), 0.1, rng=rng)
    end = gradient_flow([150.0], start, sigma, decay=0.1).product[0]
    np.testing.assert_allclose(end, (u[:, :2] * (s[:2] - 0.1)) @ vt[:2], atol=1e-6)


def test_end_on_other_inputs_and_losses_is_the_convex_minimum():
    """The condition of the nuclear norm: the gradient is gamma U V^T on the kept modes."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((4, 30)) * np.array([2.0, 1.0, 0.7, 0.5])[:, None]
    y = rng.standard_normal((3, 4)) @ x + 0.5 * rng.standard_normal((3, 30))

    def squares(w):
        return (y - w @ x) @ x.T / 30

    def soft_absolute(w):  # the loss sum of log cosh
        return np.tanh(y - w @ x) @ x.T / 30

    for slope in (squares, soft_absolute):
        for decay in (0.1, 0.3):
            start = gaussian_weights((4, 3, 3), 0.5, rng=rng)
            end = product(followed(start, descending(slope), [0.0, 150.0], decay, rtol=1e-8)[-1])
            push = slope(end)
            u, s, vt = np.linalg.svd(end)
            kept = s > 1e-4
            assert 0 < kept.sum() <= 3
            inside = u[:, kept].T @ push @ vt[:3][kept].T
            np.testing.assert_allclose(inside, decay * np.eye(kept.sum()), atol=1e-4)
            assert np.linalg.norm(push, 2) <= decay + 1e-4


# Balance


@pytest.mark.parametrize("depth", [2, 3, 5])
@pytest.mark.parametrize("loss", ["squares", "fourth powers", "crossed entropy"])
def test_decay_balance(depth, loss):
    rng, tau, decay = np.random.default_rng(depth), 0.7, 0.3
    x = rng.standard_normal((4, 25))
    y = rng.standard_normal((3, 4)) @ x
    labels = np.eye(3)[rng.integers(3, size=25)].T

    def slope(w):
        if loss == "squares":
            return (y - w @ x) @ x.T / 25
        if loss == "fourth powers":
            return (y - w @ x) ** 3 @ x.T / 250
        odds = np.exp(w @ x)
        return (labels - odds / odds.sum(axis=0)) @ x.T / 25

    widths = (4, *rng.integers(2, 6, depth - 1).tolist(), 3)
    start = gaussian_weights(widths, 0.6, rng=rng)
    t = np.linspace(0, 4, 5)
    path = followed(start, descending(slope), t, decay, tau)
    assert np.abs(product(path[-1]) - product(start)).max() > 0.01
    for time, weights in zip(t, path, strict=True):
        for now, first in zip(imbalance(weights), imbalance(start), strict=True):
            np.testing.assert_allclose(now, first * np.exp(-2 * decay * time / tau), atol=1e-8)


def test_two_decays_break_the_law_and_multiply():
    """Exercise 2, on matrices: the threshold is the geometric mean."""
    rng = np.random.default_rng(7)
    sigma = rng.standard_normal((4, 4))
    u, s, vt = np.linalg.svd(sigma)
    first, second = 0.2, 0.8

    def velocity(weights):
        pushes = descending(lambda w: sigma - w)(weights)
        return [p - g * w for p, g, w in zip(pushes, (first, second), weights, strict=True)]

    w1, w2 = followed(gaussian_weights((4, 4, 4), 0.3, rng=rng), velocity, [0.0, 100.0], 0.0)[-1]
    np.testing.assert_allclose(w2 @ w1, u * soft(s, 0.4) @ vt, atol=1e-5)
    np.testing.assert_allclose(first * w1 @ w1.T, second * w2.T @ w2, atol=1e-5)
    assert np.linalg.norm(w1) > 1.9 * np.linalg.norm(w2)


# The entropy


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_decay_map(depth):
    """Decay moves the map along itself, so H and the stable rank do not feel it."""
    rng, h, decay, tau = np.random.default_rng(depth), 1e-5, 0.7, 1.3
    sigma = rng.standard_normal((3, 5))
    weights = gaussian_weights((5, *[4] * (depth - 1), 3), 0.7, rng=rng)
    velocity = {}
    for gamma in (0.0, decay):
        steps = [
            [w + sign * h * (p - gamma * w) / tau for w, p in zip(weights, pushes, strict=True)]
            for sign in (-1, 1)
            for pushes in [descending(lambda w: sigma - w)(weights)]
        ]
        velocity[gamma] = (product(steps[1]) - product(steps[0])) / (2 * h)
    w = product(weights)
    np.testing.assert_allclose(velocity[decay], velocity[0] - depth * decay / tau * w, atol=1e-8)
    rates = [map_entropy_rate(w, v) for v in velocity.values()]
    assert rates[0] == pytest.approx(rates[1], abs=1e-7)
    assert abs(rates[0]) > 1e-3
    path = gradient_flow([0.0, h], weights, sigma, decay=decay, tau=tau, rtol=1e-12, atol=1e-14)
    slope = np.diff(map_entropy(path.product))[0] / h
    assert slope == pytest.approx(rates[0], rel=1e-2, abs=1e-3)


@pytest.mark.parametrize("depth", [2, 3, 7, math.inf])
def test_decay_rate(depth):
    rng = np.random.default_rng(1)
    a, s, decay = rng.uniform(0.1, 2, 6), rng.uniform(0.5, 3, 6), 0.4
    layers, power = (1, 1) if depth == math.inf else (depth, 1 - 2 / depth)
    rate = growth_rate(a, s, depth=depth, decay=decay, tau=2.0)
    np.testing.assert_allclose(rate, layers / 2 * (a**power * (s - a) - decay), rtol=1e-12)
    plain = growth_rate(a, s, depth=depth, tau=2.0)
    assert entropy_rate(a, rate) == pytest.approx(float(entropy_rate(a, plain)), rel=1e-12)


def test_covariance_identity_along_a_path_with_decay():
    s, decay, h = np.array([3.0, 2.0, 1.0, 0.3]), 0.6, 1e-5
    for t in (0.3, 1.0, 3.0):
        before, now, after = mode_strength([t - h, t, t + h], s, 1e-2, decay=decay)
        slope = (spectral_entropy(after) - spectral_entropy(before)) / (2 * h)
        rate = entropy_rate(now, growth_rate(now, s, decay=decay))
        assert rate == pytest.approx(float(slope), rel=1e-5, abs=1e-7)


@given(st.lists(st.floats(0.05, 5), min_size=2, max_size=8), st.floats(0, 0.9), st.floats(0, 0.9))
def test_entropy_of_the_end_falls_with_decay(s, first, second):
    low, high = sorted([first * max(s), second * max(s)])
    assert spectral_entropy(soft(s, high)) <= spectral_entropy(soft(s, low)) + 1e-12


# The window


def two_level_path(s, n, r, nu, m, a0, decay, points=6000):
    """H and E over time for r signal and nu noise modes."""
    end = max(s - decay, 0.05)
    t = np.linspace(0, 4 * math.log(s / a0) / end, points)
    a = mode_strength(t, np.repeat([s, n], [r, nu]), a0, decay=decay)
    return t, a, spectral_entropy(a), excess_error(a, np.repeat([m, 0.0], [r, nu]))


@settings(max_examples=40)
@given(
    ratio=st.floats(0.2, 0.9),
    share=st.floats(0, 0.8),
    r=st.integers(1, 4),
    nu=st.integers(1, 20),
    start=st.floats(1e-5, 0.2),
)
def test_one_minimum_of_the_entropy_below_the_noise(ratio, share, r, nu, start):
    s, n = 3.0, 3 * ratio
    decay = share * n
    t, a, h, _ = two_level_path(s, n, r, nu, 2.0, start * (n - decay), decay)
    i = h.argmin()
    assume(0 < i < len(t) - 1)
    gap = a[:, 0] - a[:, -1]
    assert gap[i - 1] - 1e-9 <= s - n <= gap[i + 1] + 1e-9
    assert (np.diff(h[: i + 1]) < 1e-12).all()
    assert (np.diff(h[i:]) > -1e-12).all()
    # the time of the minimum, at s - gamma and n - gamma
    high, low, a0 = s - decay, n - decay, a[0, 0]
    for j, side in ((i - 1, -1), (i + 1, 1)):
        delta = a[j, -1]
        time = math.log((high / a0 - 1) * (s - n + delta) / (low - delta)) / (2 * high)
        assert side * (t[j] - time) > -1e-9


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("m", [1.5, 1.9, 2.1, 2.7])
def test_left_half_does_not_depend_on_decay(decay, m):
    """s - m < n or not, n = 1; the entropy minimum leaves s - n at every decay."""
    _, a, h, e = two_level_path(3.0, 1.0, 1, 10, m, 1e-40, decay, points=200_000)
    assert (h.argmin() < e.argmin()) == (3 - m < 1)
    assert a[h.argmin(), 0] == pytest.approx(2.0, abs=0.01)


@given(
    s=st.lists(st.floats(0.1, 5), min_size=2, max_size=8),
    share=st.floats(0.1, 0.95),
    lack=st.floats(0, 1),
    a0=st.floats(1e-6, 0.9),
    depth_of_noise=st.floats(-1, 0),
)
def test_decay_window(s, share, lack, a0, depth_of_noise):
    """Part 3 and its end: E falls for ever, whatever the modes above and below."""
    s = np.array(s)
    decay = share * s.max()
    above = s > decay
    assume((np.abs(s - decay) > 0.02).all())
    m = np.where(above, s - decay + lack * decay, depth_of_noise)
    start = np.where(above, a0 * soft(s, decay), a0)
    a = mode_strength(np.r_[np.linspace(0, 20, 300), 1e4], s, start, decay=decay)
    e = excess_error(a, m, energy=(m**2).sum() + 1)
    assert (np.diff(e) <= 1e-12).all()
    kept = m[above] ** 2 - (m[above] - s[above] + decay) ** 2
    assert e[-1] == pytest.approx((m**2).sum() + 1 - kept.sum(), abs=1e-6)


@pytest.mark.parametrize("ratio", [1.0, 1.2, 2.0])
def test_entropy_falls_for_ever_above_the_noise(ratio):
    _, a, h, e = two_level_path(3.0, 1.0, 2, 500, 2.7, 1e-3, ratio)
    assert (np.diff(h) <= 1e-12).all()
    assert (np.diff(e) <= 1e-12).all()
    assert a[-1, -1] < 1e-3


def test_without_the_condition_on_the_targets_the_error_rises_again():
    """A decay above the noise and m < s - gamma: too little is taken off."""
    _, _, _, e = two_level_path(3.0, 0.2, 2, 10, 2.0, 1e-3, 0.3)
    assert e[-1] > e.min() + 0.5


def test_a_visible_spike_meets_the_condition():
    for aspect in (0.1, 1.0, 3.0):
        spikes = detection_threshold(aspect=aspect) * np.array([1.01, 1.5, 4.0])
        seen = spike_forward(spikes, aspect=aspect)
        assert (seen.m >= seen.s - bulk_edge(aspect=aspect)).all()


def test_draws_have_no_second_rise():
    rng = np.random.default_rng(11)
    t = np.linspace(0, 40, 400)
    for s, m in spiked_spectra(10, 80, 120, [2.5], noise=1.0, rng=rng):
        a = mode_strength(t, s, 1e-3, decay=s[1])
        e = excess_error(a, m, energy=2.5**2)
        slack = 2 * np.sum(a[0, 1:] * np.abs(m[1:]))
        assert (e - np.minimum.accumulate(e)).max() <= slack
        assert (np.diff(spectral_entropy(a)) < 1e-12).all()


# The critical dimension


@pytest.mark.parametrize("s0", [2.0, 4.0])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.8])
def test_decay_critical(s0, share):
    s, n, logs = float(spike_forward(s0).s), 2.0, []
    decay = share * n
    for a0 in (1e-50, 1e-100):
        t = np.linspace(0, 1.6 * math.log(1 / a0) / (s - decay), 3000)
        noise = mode_strength(t, bulk_quantiles(2000), a0, decay=decay)
        signal = mode_strength(t, s, a0, decay=decay)[:, 0]
        logs.append(math.log((signal**2 / (noise**2).mean(axis=1)).max()))
    slope = (logs[1] - logs[0]) / (50 * math.log(10))
    assert slope == pytest.approx(2 * (s - n) / (s - decay), rel=0.03)


def test_no_critical_dimension_above_the_noise():
    s, t = float(spike_forward(3.0).s), np.array([0.0, 1.0, 3.0, 10.0, 30.0])
    for decay in (2.0, 2.1, 2.5):
        noise = (mode_strength(t, bulk_quantiles(1000), 1e-2, decay=decay) ** 2).mean(axis=1)
        ratio = mode_strength(t, s, 1e-2, decay=decay)[:, 0] ** 2 / noise
        assert (np.diff(ratio) > 0).all()
    assert 1 / (1 + 1e6 / ratio[-1]) > 0.999  # a million noise modes


# Decay or a stop


@pytest.mark.parametrize("s0", [1.5, 3.0, 6.0])
def test_decay_price(s0):
    """In large matrices the best decay comes near the edge, and its error near the price."""
    rng, spike, gaps = np.random.default_rng(12), spike_forward(s0), []
    price = s0**2 - spike.m**2 + (spike.m + 2 - spike.s) ** 2
    for d in (50, 800):
        s, m = next(spiked_spectra(1, d, d, [s0], noise=1.0, rng=rng))
        decays = np.linspace(0.5, 2.5, 400)
        error = excess_error(soft(s, decays[:, None]), m, energy=s0**2)
        gaps.append([decays[error.argmin()], error.min() / price])
    assert gaps[0][0] < gaps[1][0] < 2.05
    assert 0.75 < gaps[1][1] < 1.1
    high = np.linspace(2, 3, 50)
    rising = (spike.m - (spike.s - high)) ** 2
    assert (np.diff(rising[high < spike.s]) > 0).all()


@pytest.mark.parametrize(("first", "second"), [(6.0, 3.0), (4.0, 1.5), (2.0, 1.7)])
def test_decay_with_a_stop_reaches_the_shrinker(first, second):
    """Two spikes and the edge of the noise, from ever smaller starts."""
    (s1, s2), (m1, m2) = (np.array(x) for x in spike_forward([first, second]))
    s, m, lacks = np.array([s1, s2, 2.0]), np.array([m1, m2, 0.0]), []
    decay = s1 - m1
    assert 0 < decay < s2 - m2 < 2
    for power in (50, 200):
        a0 = 10.0**-power
        stop = learning_time(s2, a0, float(m2 / (s2 - decay)), decay=float(decay))
        a = mode_strength(stop, s, a0, decay=float(decay))
        lacks.append(excess_error(a, m, energy=(m**2).sum())[0])
    assert lacks[1] < lacks[0] or lacks[0] < 1e-9
    assert lacks[1] < 0.02
    t = np.linspace(0, 1.05 * learning_time(s2, a0, 0.999)[0], 400_001)
    alone = excess_error(mode_strength(t, s, a0), m, energy=(m**2).sum()).min()
    assert alone == pytest.approx(min((s1 - m1) ** 2, m2**2), rel=0.05, abs=0.02)


def regrets(strengths, draws, seed, d=100, a0=1e-3):
    """Best decay, best stop, best of both, and both by the plug-in, over the shrinker."""
    rng, found = np.random.default_rng(seed), []
    t, decays, energy = np.linspace(0, 6, 201), np.linspace(0, 4, 81), np.square(strengths).sum()
    for s, m in spiked_spectra(draws, d, d, strengths, noise=1.0, rng=rng):
        target = optimal_shrinker(s, noise=noise_level(s, shape=(d, d)))
        both = np.concatenate([mode_strength(t, s, a0, decay=g) for g in decays[:40:2]])
        sets = soft(s, decays[:, None]), both[: t.size], both
        errors = [excess_error(a, m, energy=energy) for a in sets]
        plug = np.square(both - target).sum(axis=1).argmin()
        unit = excess_error(target, m, energy=energy)
        found.append(np.array([*(e.min() for e in errors), errors[-1][plug]]) / unit)
    return np.array(found).T


@pytest.mark.parametrize("seed", [21, 22])
def test_decay_wins_near_the_threshold_and_loses_for_clear_signals(seed):
    for strengths, wins in (([1.5], True), ([3.0], False), ([6.0, 3.0, 1.5], False)):
        decay, stop, both, chosen = regrets(strengths, 12, seed)
        assert ((decay < stop).mean() > 0.9) == wins
        assert (both <= np.minimum(decay, stop) + 0.02).mean() > 0.9
        assert np.exp(np.log(both).mean()) < 1.1
        assert np.exp(np.log(chosen / both).mean()) < 1.05


# Three layers or more


@pytest.mark.parametrize("depth", [3, 4, 6])
def test_decay_deep(depth):
    """The mode equation against trained weights."""
    task, decay = svd_modes(np.diag([2.0, 1.0])), 0.15
    t = np.linspace(0, 4, 9)
    start = aligned_weights(task, 0.3, depth=depth)
    path = followed(start, descending(lambda w: task.matrix() - w), t, decay)

    def rate(_, a):
        return depth * a * (a ** (1 - 2 / depth) * (task.s - a) - decay)

    modes = solve_ivp(rate, (0, 4), [0.3, 0.3], "DOP853", t_eval=t, rtol=1e-12, atol=1e-14)
    found = [task.u.T @ product(w) @ task.v for w in path]
    np.testing.assert_allclose([np.diag(f) for f in found], modes.y.T, atol=1e-7)
    a = np.array([0.4, 1.2])
    np.testing.assert_allclose(
        a * growth_rate(a, task.s, depth=depth, decay=decay), rate(0, a), rtol=1e-12
    )


@given(st.integers(3, 40), st.floats(0.1, 10))
def test_decay_barrier(depth, s):
    p = 1 - 2 / depth
    found = minimize_scalar(
        lambda a: -(a**p) * (s - a), bounds=(0, s), method="bounded", options={"xatol": 1e-12 * s}
    )
    assert -found.fun == pytest.approx(p**p * (s / (1 + p)) ** (1 + p), rel=1e-9)
    assert found.x == pytest.approx(s * (depth - 2) / (2 * (depth - 1)), rel=1e-5)
    a = np.geomspace(1e-12, 1, 400) * s
    for share, sides in ((1.01, 0), (0.99, 2)):
        rate = growth_rate(a[:, None], s, depth=depth, decay=-share * found.fun)
        assert np.count_nonzero(np.diff(np.sign(rate[:, 0]))) == sides


@pytest.mark.parametrize("depth", [3, 4, 8])
def test_decay_barrier_small(depth):
    s, gamma = 2.0, 1e-4
    p = 1 - 2 / depth
    low, high = (gamma / s) ** (depth / (depth - 2)), s - gamma * s**-p
    for root in (low, high):
        sides = growth_rate(np.array([[0.98], [1.02]]) * root, s, depth=depth, decay=gamma)
        if root == low:
            assert sides[0, 0] < 0 < sides[1, 0]
    near = growth_rate(np.array([[high - gamma / 100], [high + gamma / 100]]), s, depth=depth,
                       decay=gamma)  # fmt: skip
    assert near[0, 0] > 0 > near[1, 0]


@pytest.mark.parametrize("depth", [3, 5])
def test_a_mode_is_learned_from_above_the_barrier_only(depth):
    task, decay, a = svd_modes([[1.0]]), 0.1, np.geomspace(1e-9, 1, 100_001)
    rate = growth_rate(a[:, None], 1.0, depth=depth, decay=decay)[:, 0]
    low, high = a[np.flatnonzero(np.diff(np.sign(rate)))]
    for factor, end in ((0.8, 0.0), (1.25, high)):
        start = aligned_weights(task, factor * low, depth=depth)
        path = gradient_flow([300.0], start, [[1.0]], decay=decay)
        assert path.mode_strength(task)[0, 0] == pytest.approx(end, abs=1e-3)


@pytest.mark.parametrize("depth", [3, 4])
@pytest.mark.parametrize("white", [True, False])
def test_decay_collapse(depth, white):
    """Any weights below the bound die; a single aligned mode shows that it is sharp."""
    rng, decay = np.random.default_rng(depth), 0.2
    sigma = rng.standard_normal((4, 5))
    sigma /= np.linalg.norm(sigma, 2)
    x = rng.standard_normal((5, 12))
    spread = None if white else x @ x.T / 12
    bound = decay ** (2 / (depth - 2))
    for _ in range(3):
        start = gaussian_weights((5, *[6] * (depth - 1), 4), 1.0, rng=rng)
        norm = sum(np.sum(w**2) for w in start) / depth
        start = [w * math.sqrt(0.99 * bound / norm) for w in start]
        path = gradient_flow(np.linspace(0, 120, 60), start, sigma, sigma_xx=spread, decay=decay)
        norms = sum(np.sum(w**2, axis=(1, 2)) for w in path.weights)
        assert (np.diff(norms) < 0).all()
        assert norms[-1] < 1e-12
    one, small = svd_modes([[1.0]]), 1e-3
    for factor, learned in ((0.9, False), (1.1, True)):
        norm = factor * small ** (2 / (depth - 2))
        start = aligned_weights(one, norm ** (depth / 2), depth=depth)
        first, second = gradient_flow([0.0, 1.0], start, [[1.0]], decay=small).product[:, 0, 0]
        assert (second > first) == learned


def test_without_decay_the_same_start_learns():
    """The wait is long, but it ends: the barrier is the decay's."""
    assert learning_time(1.0, 1e-3, depth=3)[0] < 20
    task = svd_modes([[1.0]])
    start = aligned_weights(task, 1e-3, depth=3)
    for decay, end in ((0.0, 1.0), (0.11, 0.0)):
        path = gradient_flow([150.0], start, [[1.0]], decay=decay)
        assert path.mode_strength(task)[0, 0] == pytest.approx(end, abs=1e-3)


def test_the_exact_flow_is_without_decay():
    with pytest.raises(TypeError, match="decay"):
        exact_flow([1.0], [np.eye(2), np.eye(2)], np.eye(2), decay=0.1)
