"""The labelled equations and the claims of chapters/large_dimension.md."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import entr

from dlnlib.entropy import spectral_entropy
from dlnlib.modes import growth_rate, mode_strength
from dlnlib.random_matrix import (
    bulk_density,
    bulk_edge,
    bulk_target,
    critical_dimension,
    infinite_network,
    sharp_critical_dimension,
    spike_forward,
)

# A quarter circle, x = 2 sin(angle): nodes and weights without the package's quadrature.
ANGLE = (np.arange(800) + 0.5) * np.pi / 1600
X, RHO = 2 * np.sin(ANGLE), 4 * np.cos(ANGLE) ** 2 / np.pi * (np.pi / 1600)
SEEDS = pytest.mark.parametrize("seed", range(5))


def noise_functions(t, a0):
    """q and h of a square bulk."""
    energy = mode_strength(t, X, a0) ** 2
    q = energy @ RHO
    shares = energy / q[:, None]
    return q, entr(shares) @ RHO


def pieces(t, s0, a0):
    """a_s, m, q, h, fit of the bulk, and the rate of that fit."""
    s, m = (float(x) for x in spike_forward(s0))
    a = mode_strength(t, X, a0)
    target = bulk_target(X, s0) * RHO / bulk_density(X)
    rate = (a * growth_rate(a, X)) @ target
    return mode_strength(t, s, a0)[:, 0], m, *noise_functions(t, a0), a @ target, rate


def entropy(d, a_s, q, h):
    p = a_s**2 / (a_s**2 + d * q)
    return entr(p) + entr(1 - p) + (1 - p) * (np.log(d) + h)


def draw(d, s0, rng):
    """Singular values and targets of a square task, without the package's."""
    sigma = rng.standard_normal((d, d)) / np.sqrt(d)
    sigma[0, 0] += s0
    u, s, vt = np.linalg.svd(sigma)
    return s, s0 * u[0] * vt[:, 0]


def turns(h):
    slopes = np.diff(h)
    return np.count_nonzero(slopes[1:] * slopes[:-1] < 0)


# --- one network for every size ---


@pytest.mark.parametrize("a0", [1e-1, 1e-3])
def test_noise_functions(a0):
    t = np.linspace(0, 4, 81)
    q, h = noise_functions(t, a0)
    modes = 10**9  # so that what is of order one does not count
    noise = infinite_network(t, [], a0, modes=modes)
    np.testing.assert_allclose(noise.test_error / modes, q, rtol=1e-6)
    np.testing.assert_allclose(noise.entropy - np.log(modes), h, atol=1e-6)
    assert (h <= 1e-12).all()
    assert h[0] == pytest.approx(0, abs=1e-9)
    assert q[0] == pytest.approx(a0**2)
    # Against many explicit modes at the quantiles of the bulk.
    d = 4000
    cdf = (2 * ANGLE + np.sin(2 * ANGLE)) / np.pi
    x = np.interp((np.arange(d) + 0.5) / d, cdf, X)
    explicit = spectral_entropy(mode_strength(t, x, a0))
    np.testing.assert_allclose(explicit - np.log(d), h, atol=3e-3)


def test_infinite_entropy():
    """Against the entropy of one signal mode and explicit noise modes."""
    d, s, a0, t = 4000, 2.5, 1e-2, np.linspace(0, 4, 81)
    cdf = (2 * ANGLE + np.sin(2 * ANGLE)) / np.pi
    x = np.interp((np.arange(d) + 0.5) / d, cdf, X)
    explicit = spectral_entropy(mode_strength(t, np.append(s, x), a0))
    a_s = mode_strength(t, s, a0)[:, 0]
    np.testing.assert_allclose(entropy(d, a_s, *noise_functions(t, a0)), explicit, atol=3e-3)
    package = infinite_network(t, 2.0, a0, modes=d).entropy
    np.testing.assert_allclose(package, explicit, atol=5e-3)


@pytest.mark.parametrize("s0", [0.8, 2.0])
def test_bulk_target(s0):
    """Sums over the bulk of draws; the equation itself is tested in test_random_matrix."""
    weight = bulk_target(X, s0) * RHO / bulk_density(X)
    spike = spike_forward(s0)
    share = min(1, s0**-4)  # of what the network gains at the start; all below the threshold
    assert weight @ X == pytest.approx(share * s0**2, rel=1e-4)
    assert spike.m * spike.s + weight @ X == pytest.approx(s0**2, rel=1e-4)
    sums = []
    for seed in range(40):
        s, m = draw(150, s0, np.random.default_rng(seed))
        first = int(s0 > 1)
        sums.append([m[first:] @ s[first:] ** k for k in (1, 3)])
    expected = [weight @ X, weight @ X**3]
    spread = np.std(sums, axis=0, ddof=1) / np.sqrt(len(sums))
    assert (np.abs(np.mean(sums, axis=0) - expected) < 4 * spread + 0.02).all()


@SEEDS
def test_infinite_error(seed):
    d, s0, a0, t = 300, 2.0, 1e-2, np.linspace(0.1, 4, 40)
    a_s, m, q, _, fit, _ = pieces(t, s0, a0)
    theory = s0**2 + a_s**2 - 2 * m * a_s + d * q - 2 * fit
    package = infinite_network(t, s0, a0, modes=d).test_error
    # The package adds the order-one change of the bulk: about one mode, from its edge.
    edge = mode_strength(t, 2.0, a0)[:, 0] ** 2
    assert (np.abs(theory - package) < edge + 1e-9).all()
    rng, errors = np.random.default_rng(seed), []
    for _ in range(6):
        s, targets = draw(d, s0, rng)
        a = mode_strength(t, s, a0)
        errors.append((a**2).sum(axis=1) - 2 * a @ targets + s0**2)
    spread = np.std(errors, axis=0, ddof=1)
    assert (np.abs(np.mean(errors, axis=0) - package) < 2.5 * spread).all()


@SEEDS
def test_draws_of_the_chapter_agree_within_their_spread(seed):
    """The first cell, with other seeds and fewer sizes."""
    rng, t, s0, a0 = np.random.default_rng(100 + seed), np.linspace(0, 4, 101), 2.0, 1e-2
    for d in (30, 120):
        found = []
        for _ in range(12):
            s, m = draw(d, s0, rng)
            a = mode_strength(t, s, a0)
            found.append([spectral_entropy(a), (a**2).sum(axis=1) - 2 * a @ m + s0**2])
        theory = infinite_network(t, s0, a0, modes=d)
        gap = np.mean(found, axis=0)[:, 1:] - [theory.entropy[1:], theory.test_error[1:]]
        assert np.abs(gap / np.std(found, axis=0, ddof=1)[:, 1:]).max() < 1.5


def test_with_the_changes_of_order_one_the_average_is_exact_to_a_tenth_of_the_spread():
    """Many draws of a small network; the density alone, at the same size, is off by much more."""
    rng, t, s0, a0, d = np.random.default_rng(5), np.linspace(0.1, 4, 40), 2.0, 1e-2, 60
    found = []
    for _ in range(400):
        s, m = draw(d, s0, rng)
        a = mode_strength(t, s, a0)
        found.append([spectral_entropy(a), (a**2).sum(axis=1) - 2 * a @ m + s0**2])
    mean, spread = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
    package = infinite_network(t, s0, a0, modes=d)
    a_s, m, q, h, fit, _ = pieces(t, s0, a0)
    leading = [entropy(d, a_s, q, h), s0**2 + a_s**2 - 2 * m * a_s + d * q - 2 * fit]
    good = np.abs((mean - [package.entropy, package.test_error]) / spread).max(axis=1)
    plain = np.abs((mean - leading) / spread).max(axis=1)
    assert (good < 0.25).all()
    assert (plain > 2 * good).all()


@pytest.mark.parametrize("d", [30, 60])
@pytest.mark.parametrize("s0", [1.2, 2.0])
@pytest.mark.parametrize("a0", [1e-1, 1e-2])
def test_the_published_error_is_further_from_draws(d, s0, a0):
    """Lampinen and Ganguli's formula has d - 1 noise modes that see nothing of the teacher."""
    rng, t, found = np.random.default_rng(d), np.linspace(0.02, 4, 80), []
    for _ in range(150):
        s, m = draw(d, s0, rng)
        a = mode_strength(t, s, a0)
        found.append((a**2).sum(axis=1) - 2 * a @ m + s0**2)
    mean = np.mean(found, axis=0)
    a_s, m, q, _, _, _ = pieces(t, s0, a0)
    published = s0**2 + a_s**2 - 2 * m * a_s + (d - 1) * q
    package = infinite_network(t, s0, a0, modes=d).test_error
    ours, theirs = (np.abs(x / mean - 1).max() for x in (package, published))
    assert ours < 0.04
    assert theirs > max(2 * ours, 0.02)


# --- the critical dimension ---


def test_edge_estimate():
    s, n, a0 = 4.0, 2.0, 1e-8
    t = np.log(s / a0) / (2 * s)
    signal, noise = mode_strength([t], [s, n], a0)[0]
    assert critical_dimension(s, n, a0) == pytest.approx((s / noise) ** 2, rel=1e-3)
    assert signal == pytest.approx(s / 2, rel=1e-3)
    for a0 in (1e-2, 1e-8, 1e-32):
        assert sharp_critical_dimension(s, a0) > 2 * critical_dimension(s, n, a0)


@given(st.floats(1.2, 6.0), st.floats(-5, -1), st.floats(0.5, 8))
@settings(max_examples=25)
def test_critical_share(s0, log_start, log_d):
    a0, d = 10**log_start, 10**log_d
    s = float(spike_forward(s0).s)
    t = np.linspace(0, np.log(1 / a0) + 2, 1201)
    q, a_s = noise_functions(t, a0)[0], mode_strength(t, s, a0)[:, 0]
    share = a_s**2 / (a_s**2 + d * q)
    d_c = float(sharp_critical_dimension(s, a0))
    assert share.max() == pytest.approx(1 / (1 + d / d_c), rel=1e-3)
    assert share.argmax() == (a_s**2 / q).argmax()


@pytest.mark.parametrize("s0", [1.5, 2.0, 5.0])
@pytest.mark.parametrize("a0", [1e-2, 1e-5])
def test_critical_time(s0, a0):
    s = float(spike_forward(s0).s)
    t = np.linspace(0, np.log(1 / a0), 4001)
    a, a_s = mode_strength(t, X, a0), mode_strength(t, s, a0)[:, 0]
    q = a**2 @ RHO
    i = (a_s**2 / q).argmax()
    lack = (a[i] ** 2 * (X - a[i])) @ RHO / q[i]
    assert s - a_s[i] == pytest.approx(lack, abs=5e-3)
    assert s - a_s[i] < 2  # less than the edge, so later than the soft threshold


@pytest.mark.parametrize(("s", "aspect"), [(2.5, 1.0), (4.0, 1.0), (3.0, 0.25), (4.0, 3.0)])
def test_sharp_critical(s, aspect):
    n = bulk_edge(aspect=aspect)
    near = n * (1 - 1e-7)
    kappa = float(bulk_density(near, aspect=aspect)) / np.sqrt(n - near)
    if aspect == 1:
        assert kappa == pytest.approx(2 / np.pi, rel=1e-6)
    ratios = []
    for a0 in (1e-4, 1e-16, 1e-64):
        growth = s / a0 * (s / n - 1)
        alpha, t_c = a0 * growth ** (n / s), np.log(growth) / (2 * s)
        limit = ((s - n) / alpha) ** 2 * 2 * (4 * t_c) ** 1.5 / (np.sqrt(np.pi) * kappa)
        ratios.append(limit / float(sharp_critical_dimension(s, a0, aspect=aspect)))
    errors = np.abs(np.subtract(ratios, 1))
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 0.015


@pytest.mark.parametrize(("s", "a0"), [(2.5, 1e-8), (4.0, 1e-4)])
def test_a_shift_of_the_signal_changes_the_critical_dimension_exponentially(s, a0):
    """By exp(4 t_c (n/s) shift), to leading order for small starts."""
    slopes = []
    for start in (a0, a0**4):
        t = np.linspace(0, np.log(1 / start), 8001)
        t_c = t[(mode_strength(t, s, start)[:, 0] ** 2 / noise_functions(t, start)[0]).argmax()]
        low, high = sharp_critical_dimension([s - 0.01, s + 0.01], start)
        slopes.append(np.log(high / low) / 0.02 / (4 * t_c * 2 / s))
    assert abs(slopes[1] - 1) < min(abs(slopes[0] - 1), 0.15)


@SEEDS
@pytest.mark.parametrize(("s0", "a0"), [(2.0, 1e-1), (2.0, 1e-2), (3.0, 3e-2)])
def test_the_collapse_holds_for_other_seeds(seed, s0, a0):
    rng, s = np.random.default_rng(seed), float(spike_forward(s0).s)
    d_c, t = float(sharp_critical_dimension(s, a0)), np.linspace(0, 1.4 * np.log(s / a0) / s, 100)
    ratios = []
    for d in (32, 64, 128):
        sigma = rng.standard_normal((8, d, d)) / np.sqrt(d)
        sigma[:, 0, 0] += s0
        values = np.linalg.svd(sigma, compute_uv=False)
        energy = np.array([mode_strength(t, one, a0) for one in values]) ** 2
        share = (energy[:, :, 0] / energy.sum(axis=2)).max(axis=1)
        ratios.append((1 / np.median(share) - 1) * d_c / d)
    assert 0.5 < np.median(ratios) < 2


# --- the order of the limits ---


@pytest.mark.parametrize("s0", [1.5, 2.0, 5.0])
def test_order_of_limits(s0):
    s = float(spike_forward(s0).s)
    gamma_c, below, above = 2 * (1 - 2 / s), [], []
    for a0 in (1e-8, 1e-32, 1e-128):
        t = np.linspace(0, np.log(1 / a0), 1500)
        q, h = noise_functions(t, a0)
        assert -h.min() < 1.5 * np.log(1 + np.log(1 / a0)) + 1  # h = O(log log 1/a0)
        a_s = mode_strength(t, s, a0)[:, 0]
        for gamma, found in ((gamma_c / 2, below), (gamma_c + 0.3, above)):
            d = a0**-gamma
            found.append(entropy(d, a_s, q, h).min() / np.log(d))
    assert (np.diff(below) <= 0).all() and below[-1] < 0.02
    assert (np.diff(above) > 0).all() and above[-1] > 0.93


def test_snr_exponent():
    x = np.linspace(1, 50, 200)
    for noise in (0.5, 2.0):
        s = spike_forward(noise * x, noise=noise).s
        exponent = 2 * (1 - bulk_edge(noise=noise) / s)
        np.testing.assert_allclose(exponent, 2 * (x - 1) ** 2 / (x**2 + 1), atol=1e-12)
        assert (np.diff(exponent) > 0).all()
    sharp = sharp_critical_dimension(spike_forward([1.1, 1.5, 2.0, 3.0, 6.0]).s, 1e-2)
    assert (np.diff(sharp) > 0).all()


# --- beyond the critical dimension ---


def test_lost_cascade():
    a0, t = 1e-2, np.linspace(0, 4, 4001)
    q, h = noise_functions(t, a0)
    lowest = t[h.argmin()]
    assert 0 < h.argmin() < t.size - 1
    assert turns(h) == 1
    for s0 in (2.0, 5.0):
        a_s = mode_strength(t, spike_forward(s0).s, a0)[:, 0]
        d_c, gaps, times = (a_s**2 / q).max(), [], []
        for ratio in (1e2, 1e4, 1e6):
            found = entropy(ratio * d_c, a_s, q, h)
            gaps.append(np.abs(found - np.log(ratio * d_c) - h).max())
            times.append(abs(t[found.argmin()] - lowest))
        assert (np.diff(gaps) < 0).all() and gaps[-1] < 1e-4
        assert times[-1] <= 1e-3


@pytest.mark.parametrize("s0", [2.0, 5.0])
def test_signal_dip(s0):
    t = np.linspace(0, 2, 4001)
    q, h = noise_functions(t, 1e-2)
    a_s = mode_strength(t, spike_forward(s0).s, 1e-2)[:, 0]
    d_c, i = (a_s**2 / q).max(), (a_s**2 / q).argmax()
    errors = []
    for epsilon in (1e-2, 1e-3):
        dip = entropy(d_c / epsilon, a_s, q, h)[i] - np.log(d_c / epsilon) - h[i]
        errors.append(abs(dip + epsilon * (np.log(d_c) - 1 + h[i])))
        assert errors[-1] < 2 * epsilon**2 * np.log(d_c)
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.1)


def test_lost_dimension():
    """Where the least entropy passes from the signal to the noise, at a jump."""
    a0, t = 1e-2, np.linspace(0, 2.2, 2201)
    q, h = noise_functions(t, a0)
    for s0 in (4.0, 5.0, 6.0):
        a_s = mode_strength(t, spike_forward(s0).s, a0)[:, 0]
        i, d_c = (a_s**2 / q).argmax(), (a_s**2 / q).max()
        estimate = (np.log(d_c) - 1 + h[i]) / (h[i] - h.min())
        ratios = np.geomspace(1, 100, 201)
        times = np.array([t[entropy(x * d_c, a_s, q, h).argmin()] for x in ratios])
        middle = (t[i] + t[h.argmin()]) / 2
        assert ratios[(times > middle).argmax()] == pytest.approx(estimate, rel=0.35)


def test_the_entropy_minimum_slides_for_a_weak_signal_and_jumps_for_a_strong_one():
    t, ratios = np.linspace(0, 2.2, 2201), np.logspace(-1, 3, 81)
    q, h = noise_functions(t, 1e-2)
    steps = {}
    for s0 in (2.0, 5.0):
        a_s = mode_strength(t, spike_forward(s0).s, 1e-2)[:, 0]
        curves = [entropy(x * (a_s**2 / q).max(), a_s, q, h) for x in ratios]
        steps[s0] = np.abs(np.diff([t[one.argmin()] for one in curves])).max()
    assert steps[2.0] < 0.03
    assert steps[5.0] > 0.4


# --- the window ---


@pytest.mark.parametrize("s0", [1.5, 2.0, 5.0])
@pytest.mark.parametrize("a0", [1e-2, 1e-4])
def test_window_size(s0, a0):
    t = np.linspace(0, np.log(1 / a0), 4001)
    a_s, m, q, h, fit, rate = pieces(t, s0, a0)
    s, ratio = float(spike_forward(s0).s), a_s**2 / q
    i, d_c = ratio.argmax(), ratio.max()
    bound = (m - a_s[i]) / a_s[i] + rate[i] / (2 * (s - a_s[i]) * a_s[i] ** 2)
    for factor, falls in ((0.98, True), (1.02, False)):
        error = a_s**2 - 2 * m * a_s + factor * max(bound, 0) * d_c * q - 2 * fit
        if bound > 0:
            assert (error[i + 1] < error[i - 1]) == falls
    found = entropy(d_c, a_s, q, h)
    assert (found[i + 1] < found[i - 1]) == (h[i + 1] < h[i - 1])


@pytest.mark.parametrize("s0", [2.0, 3.0, 6.0])
def test_window_size_tends_to_its_limit(s0):
    s, m = (float(x) for x in spike_forward(s0))
    assert (m - s + 2) / (s - 2) == pytest.approx(2 / (s0 - 1))
    errors = []
    for a0 in (1e-8, 1e-32, 1e-128):
        # Near t_c; the bulk strengths vanish there, and only a_s is left.
        middle = np.log(s / a0 * (s / 2 - 1)) / (2 * s)
        t = np.linspace(0.9, 1.2, 6001) * middle
        a_s = mode_strength(t, s, a0)[:, 0]
        i = (a_s**2 / noise_functions(t, a0)[0]).argmax()
        errors.append(abs((m - a_s[i]) / a_s[i] - 2 / (s0 - 1)))
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 0.05


@pytest.mark.parametrize(("s0", "slides"), [(2.0, True), (5.0, False)])
def test_untrained(s0, slides):
    a0, t = 1e-2, np.linspace(0, 4, 8001)
    a_s, m, q, _, fit, _ = pieces(t, s0, a0)
    gains = 2 * m * (a_s - a0) - a_s**2 + a0**2 + 2 * (fit - fit[0])
    assert (q[1:] > a0**2).all()
    bound = gains[1:] / (q[1:] - a0**2)
    for d in (0.99 * bound.max(), 1.01 * bound.max()):
        error = a_s**2 - 2 * m * a_s + d * q - 2 * fit
        assert (error.argmin() == 0) == (d > bound.max())
    start = s0**2 / (a0 * (RHO @ X))
    assert bound[0] == pytest.approx(start, rel=0.05)
    # A weak signal gains most at once, nearly; a strong one gains more later.
    assert (bound.max() < 1.01 * start) == slides
    assert (t[bound.argmax()] < 0.1) == slides


# --- exercises ---


@pytest.mark.parametrize("depth", [3, 4])
def test_deep_critical(depth):
    s, power = 4.0, 2 / (1 - 2 / depth)
    mean = RHO @ (1 - X / s) ** -power
    ratios = [
        float(sharp_critical_dimension(s, a0, depth=depth)) * mean * a0**2 / s**2
        for a0 in (1e-2, 1e-4, 1e-6)
    ]
    assert (np.diff(np.abs(np.subtract(ratios, 1))) < 0).all()
    assert ratios[-1] == pytest.approx(1, abs=0.05)


@SEEDS
def test_a_hidden_signal_is_learned_a_little(seed):
    rng, t, s0, d = np.random.default_rng(seed), np.linspace(0, 2, 81), 0.8, 100
    theory = infinite_network(t, s0, 1e-3, modes=d).test_error
    i, found = theory.argmin(), []
    for _ in range(20):
        s, m = draw(d, s0, rng)
        a = mode_strength(t[i : i + 1], s, 1e-3)[0]
        found.append((a**2).sum() - 2 * a @ m + s0**2)
    error = np.std(found, ddof=1) / np.sqrt(20)
    assert np.mean(found) == pytest.approx(theory[i], abs=5 * error)
    assert np.mean(found) < theory[0]
    assert theory[i] < theory[0]
