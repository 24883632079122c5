"""Spiked matrices and the infinite network: against resolvents, quadrature and simulation."""

from functools import cache

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from dlnlib.entropy import spectral_entropy
from dlnlib.modes import mode_strength
from dlnlib.random_matrix import (
    bulk_density,
    bulk_edge,
    bulk_quantiles,
    bulk_target,
    critical_dimension,
    detection_threshold,
    infinite_network,
    optimal_shrinker,
    sharp_critical_dimension,
    spike_forward,
    typical_spectrum,
)
from dlnlib.random_matrix.bulk import bulk_measure, bulk_nodes
from dlnlib.stopping import spiked_spectra
from dlnlib.tasks import spiked_teacher

ASPECTS = [0.25, 0.9, 1.0, 3.0]
MODEL = (st.floats(0.1, 3.0), st.floats(0.1, 10.0))  # noise, aspect
for_each_aspect = pytest.mark.parametrize("aspect", ASPECTS)


def edges(noise, aspect):
    return noise * abs(1 - np.sqrt(aspect)), noise * (1 + np.sqrt(aspect))


def integral(density, noise, aspect):
    """Integral over the bulk, by x = middle - half cos(phi): both edges become smooth."""
    low, high = edges(noise, aspect)

    def integrand(phi):
        x = (low + high) / 2 - (high - low) / 2 * np.cos(phi)
        return density(x) * (high - low) / 2 * np.sin(phi)

    return quad(integrand, 0, np.pi, limit=400)[0]


def resolvents(z, noise, aspect):
    """Normalised traces of z / (z^2 - N N^T) and z / (z^2 - N^T N), from the density alone."""

    def trace(x):
        return float(bulk_density(x, noise=noise, aspect=aspect)) * z / (z**2 - x**2)

    nonzero, share = integral(trace, noise, aspect), min(1, aspect)
    return (
        share / aspect * nonzero + (1 - share / aspect) / z,
        share * nonzero + (1 - share) / z,
    )


def d_transform(z, noise, aspect):
    return np.prod(resolvents(z, noise, aspect))


# --- the spike ---


@for_each_aspect
@pytest.mark.parametrize("factor", [1.1, 1.7, 4.0])
def test_spike_by_the_resolvents_of_the_bulk(aspect, factor):
    """A spike stands where D = 1/s0^2; the squared overlaps in m are -2 g(s) / (s0^2 D'(s))."""
    noise = 0.8
    s0 = factor * detection_threshold(noise=noise, aspect=aspect)
    s, m = spike_forward(s0, noise=noise, aspect=aspect)
    assert d_transform(float(s), noise, aspect) == pytest.approx(1 / s0**2, rel=1e-8)
    step = 1e-4 * float(s)
    values = [d_transform(float(s) + k * step, noise, aspect) for k in (-2, -1, 1, 2)]
    slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    left, right = (-2 * g / (s0**2 * slope) for g in resolvents(float(s), noise, aspect))
    assert m == pytest.approx(s0 * np.sqrt(left * right), rel=1e-5)


def test_spike_and_shrinker_are_one_formula():
    s0, n, c = sp.symbols("s0 n c", positive=True)
    square = (s0**2 + n**2) * (s0**2 + c * n**2) / s0**2
    target = (s0**4 - c * n**4) / s0**2  # times s
    shrunk = (square - (1 + c) * n**2) ** 2 - 4 * c * n**4
    assert sp.simplify(shrunk - target**2) == 0
    edge = sp.expand(square.subs(s0, n * c ** sp.Rational(1, 4)) - n**2 * (1 + sp.sqrt(c)) ** 2)
    assert sp.simplify(edge) == 0


@given(*MODEL, st.floats(0.01, 30))
def test_invariants_of_the_spike(noise, aspect, factor):
    model = {"noise": noise, "aspect": aspect}
    s0 = factor * detection_threshold(**model)
    s, m = (float(x) for x in spike_forward(s0, **model))
    edge = bulk_edge(**model)
    assert 0 <= m <= s0 * (1 + 1e-12) and s >= edge * (1 - 1e-12)
    assert float(optimal_shrinker(s, **model)) == pytest.approx(m, rel=1e-6, abs=1e-6 * noise)
    assert s - m <= edge * (1 + 1e-12)
    # A transpose changes nothing, with the noise counted per input.
    turned = {"noise": noise * np.sqrt(aspect), "aspect": 1 / aspect}
    again = spike_forward(s0, **turned)
    assert [float(x) for x in again] == pytest.approx([s, m], rel=1e-6, abs=1e-7 * noise)
    assert bulk_edge(**turned) == pytest.approx(edge)


@for_each_aspect
def test_the_soft_threshold_lies_below_the_shrinker_and_meets_it_at_the_edge_only(aspect):
    edge = bulk_edge(aspect=aspect)
    s = edge * (1 + np.logspace(-8, 3, 200))
    gap = optimal_shrinker(s, aspect=aspect) - (s - edge)
    assert (gap > 0).all()
    assert gap[0] < 1e-3 * edge
    assert optimal_shrinker([edge, edge / 2], aspect=aspect).tolist() == [0, 0]


def test_limits_of_the_spike():
    assert [x.tolist() for x in spike_forward([0.0, 0.3, 2.0], noise=0)] == [[0, 0.3, 2]] * 2
    for aspect in ASPECTS:
        threshold = detection_threshold(aspect=aspect)
        around = threshold * np.array([0.0, 0.5, 1.0, 1 + 1e-9])
        s, m = spike_forward(around, aspect=aspect)
        np.testing.assert_allclose(s, bulk_edge(aspect=aspect), rtol=1e-12)
        np.testing.assert_allclose(m, 0, atol=1e-8)
        far = spike_forward(1e200, aspect=aspect)
        assert far.s == far.m == 1e200
    assert spike_forward([[1.0, 2.0, 3.0]]).s.shape == (1, 3)


@pytest.mark.parametrize(("n_out", "n_in"), [(300, 300), (120, 300), (300, 120)])
def test_spike_in_simulation(n_out, n_in):
    aspect, noise, strengths = n_out / n_in, 0.7, [2.5, 1.5]
    found = []
    for seed in range(12):
        task = spiked_teacher(n_out, n_in, strengths, noise=noise, rng=np.random.default_rng(seed))
        modes = task.modes
        m = np.einsum("ik,ij,jk->k", modes.u[:, :2], task.teacher, modes.v[:, :2])
        found.append([modes.s[:2], m])
        assert modes.s[2] == pytest.approx(bulk_edge(noise=noise, aspect=aspect), rel=0.05)
    mean, spread = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(12)
    theory = np.array(spike_forward(strengths, noise=noise, aspect=aspect))
    # The sampling error, and a bias of relative order 1/d.
    assert (np.abs(mean - theory) < 4 * spread + 5 / 300 * theory).all()


# --- the bulk ---


@for_each_aspect
def test_the_density_integrates_to_one_and_has_the_moments_of_the_noise(aspect):
    noise = 0.6
    moments = [
        integral(lambda x, k=k: x**k * bulk_density(x, noise=noise, aspect=aspect), noise, aspect)
        for k in (0, 2, 4)
    ]
    wide = max(1, aspect)  # mean of s^2 over K modes: n_out n_in noise^2 / n_in / K
    exact = [1, noise**2 * wide, noise**4 * wide * (1 + aspect)]
    assert moments == pytest.approx(exact, rel=1e-6)
    low, high = edges(noise, aspect)
    beyond = [high * 1.001, high * 9] + [low * 0.999, 0.0] * (aspect != 1)
    assert not bulk_density(beyond, noise=noise, aspect=aspect).any()
    assert not bulk_target(beyond, 1.0, noise=noise, aspect=aspect).any()


def test_the_square_bulk_is_a_quarter_circle():
    x = np.linspace(0, 2, 50)
    np.testing.assert_allclose(bulk_density(x), np.sqrt(4 - x**2) / np.pi, atol=1e-12)


@given(*MODEL, st.floats(0.01, 0.99), st.floats(0.1, 3))
def test_a_transpose_has_the_same_bulk(noise, aspect, where, s0):
    low, high = edges(noise, aspect)
    x = low + where * (high - low)
    turned = {"noise": noise * np.sqrt(aspect), "aspect": 1 / aspect}
    for density in (bulk_density, lambda x, **model: bulk_target(x, s0 * noise, **model)):
        one = float(density(x, noise=noise, aspect=aspect))
        assert one == pytest.approx(float(density(x, **turned)), rel=1e-6, abs=1e-6)


@for_each_aspect
@pytest.mark.parametrize("factor", [0.4, 0.95, 1.05, 2.5])
def test_spike_and_bulk_share_the_teacher(aspect, factor):
    """m s + integral of x: the trace of Sigma^T W*, which is s0^2 on average."""
    noise = 1.3
    s0 = factor * detection_threshold(noise=noise, aspect=aspect)
    s, m = spike_forward(s0, noise=noise, aspect=aspect)
    seen = integral(lambda x: x * bulk_target(x, s0, noise=noise, aspect=aspect), noise, aspect)
    assert m * s + seen == pytest.approx(s0**2, rel=1e-6)


@for_each_aspect
@pytest.mark.parametrize("factor", [0.4, 0.95, 1.05, 2.5])
def test_the_target_has_the_resolvent_of_the_spike(aspect, factor):
    """The sum of m_k s_k / (z^2 - s_k^2) is s0^2 D / (1 - s0^2 D), D from the density alone."""
    noise = 1.0
    s0 = factor * detection_threshold(aspect=aspect)
    s, m = (float(x) for x in spike_forward(s0, aspect=aspect))
    for z in (1.3 * s, 3 * s):
        d = d_transform(z, noise, aspect)
        bulk = integral(
            lambda x, z=z: x / (z**2 - x**2) * bulk_target(x, s0, aspect=aspect), noise, aspect
        )
        expected = s0**2 * d / (1 - s0**2 * d)
        assert m * s / (z**2 - s**2) + bulk == pytest.approx(expected, rel=1e-6)


def test_the_target_is_the_jump_of_the_resolvent():
    """-(2/pi) Im[s0^2 D / (1 - s0^2 D)] just above the axis, in 30 digits."""
    mp.mp.dps = 30
    noise, aspect, s0 = 0.9, 0.4, 0.7
    low, high = edges(noise, aspect)
    for x in np.linspace(low, high, 7)[1:-1]:
        z = mp.mpc(float(x), mp.mpf(10) ** -25)
        q = z**2 - (1 + mp.mpf(aspect)) * mp.mpf(noise) ** 2
        level = 2 * mp.sqrt(mp.mpf(aspect)) * mp.mpf(noise) ** 2
        # The branch that decays: a product of roots, each cut along the bulk only.
        d = 2 * (q - mp.sqrt(q - level) * mp.sqrt(q + level)) / level**2
        jump = -2 / mp.pi * mp.im(s0**2 * d / (1 - s0**2 * d))
        value = float(bulk_target(x, s0, noise=noise, aspect=aspect))
        assert value == pytest.approx(float(jump), rel=1e-9)


@for_each_aspect
def test_no_noise_and_no_spike_leave_no_target(aspect):
    x = np.linspace(*edges(1.0, aspect), 20)
    assert not bulk_target(x, 0.0, aspect=aspect).any()
    both = bulk_target(x, [0.5, 3.0], aspect=aspect)
    apart = bulk_target(x, 0.5, aspect=aspect) + bulk_target(x, 3.0, aspect=aspect)
    np.testing.assert_allclose(both, apart)


# --- quadrature of the bulk ---


@for_each_aspect
@pytest.mark.parametrize("factor", [0.0, 0.4, 1 - 1e-7, 1.0, 1 + 1e-7, 1.2, 3.0])
def test_the_measure_counts_every_mode_once(aspect, factor):
    noise = 1.7
    threshold = detection_threshold(noise=noise, aspect=aspect)
    s0 = factor * threshold
    bulk, seen = bulk_measure(200, np.array([s0]), noise, aspect), s0 > threshold
    assert bulk.count.sum() == pytest.approx(200 - seen, rel=1e-12)
    s, m = spike_forward(s0, noise=noise, aspect=aspect)
    assert bulk.target @ bulk.x + s * m == pytest.approx(s0**2, rel=1e-6, abs=1e-12)
    # The mean of |Sigma|^2 is s0^2 + n_out noise^2, exactly and at any size.
    energy = bulk.count @ bulk.x**2 + seen * s**2
    assert energy == pytest.approx(s0**2 + 200 * max(1, aspect) * noise**2, rel=1e-9)


@pytest.mark.parametrize(("n_out", "n_in"), [(30, 30), (12, 48), (40, 25)])
def test_the_measure_has_the_moments_of_real_noise(n_out, n_in):
    """Means of the traces of (N N^T)^k in a real Wishart matrix: leading and next order."""
    c, modes = n_out / n_in, min(n_out, n_in)
    bulk = bulk_measure(modes, np.zeros(0), 1.0, c)
    exact = [
        n_out,
        n_out * (1 + c) + c,
        n_out * (1 + 3 * c + c**2) + 3 * c * (1 + c),  # and 4 c / n_in at the next order
    ]
    assert [bulk.count @ bulk.x**k for k in (2, 4, 6)] == pytest.approx(exact, rel=1e-9)


@for_each_aspect
def test_nodes_integrate_like_the_density(aspect):
    x, weight = bulk_nodes(1.0, aspect)
    for f in (np.exp, lambda x: 1 / (1 + np.exp(20 * (1 - x)))):
        exact = integral(lambda x, f=f: f(x) * bulk_density(x, aspect=aspect), 1.0, aspect)
        assert weight @ f(x) == pytest.approx(exact, rel=1e-7)


def test_noise_free_bulk_is_a_point():
    bulk = bulk_measure(30, np.array([2.0]), 0.0, 1.0)
    assert not bulk.x.any() and not bulk.target.any()
    assert bulk.count.sum() == pytest.approx(29)


# --- critical dimensions ---


def test_critical_dimension_is_the_edge_estimate():
    s, n, a0 = 3.0, 2.0, 1e-3
    t = np.log(s / a0) / (2 * s)
    grown = a0 * np.exp(2 * n * t)
    assert critical_dimension(s, n, a0) == pytest.approx((s / grown) ** 2)
    assert critical_dimension(s, s, a0) == 1
    assert critical_dimension(s, 0, a0) == pytest.approx((s / a0) ** 2)
    assert critical_dimension([[2.5], [4.0]], 2.0, [1e-2, 1e-4, 1e-6]).shape == (2, 3)
    assert critical_dimension(3.0, 0.1, 1e-300) == np.inf


@pytest.mark.parametrize("depth", [2, 3, np.inf])
def test_sharp_critical_dimension_bounds_the_signal_share(depth):
    """The share is at most 1 / (1 + d / d_c) at any d, and attains it."""
    s0, a0 = 2.5, 1e-2
    sharp = float(sharp_critical_dimension(spike_forward(s0).s, a0, depth=depth))
    end = {2: 3.0, 3: 8.0, np.inf: 45.0}[depth]
    t = np.linspace(0, end, 2001)
    x, weight = bulk_nodes(1.0, 1.0)
    signal = mode_strength(t, spike_forward(s0).s, a0, depth=depth)[:, 0]
    ratio = signal**2 / (mode_strength(t, x, a0, depth=depth) ** 2 @ weight)
    assert ratio.max() == pytest.approx(sharp, rel=1e-3)
    assert ratio.max() <= sharp * (1 + 1e-9)
    for d in (10**3, 10**5):
        share = infinite_network(t, s0, a0, modes=d, depth=depth).signal_share.max()
        assert share == pytest.approx(1 / (1 + d / sharp), rel=3 / min(d, sharp))


def test_sharp_critical_dimension_by_plain_quadrature():
    s, a0 = 2.5, 1e-3
    t, phi = np.linspace(0.5, 2.5, 401), np.linspace(0, np.pi, 4001)
    x = 2 * np.sin(phi / 2)  # a quarter circle: its density is uniform up to cos(phi/2)
    energy = np.trapezoid(mode_strength(t, x, a0) ** 2 * 2 * np.cos(phi / 2) ** 2 / np.pi, phi)
    ratio = mode_strength(t, s, a0)[:, 0] ** 2 / energy
    assert ratio.max() == pytest.approx(float(sharp_critical_dimension(s, a0)), rel=1e-4)


def test_from_a_large_start_the_signal_share_is_largest_at_the_end():
    """Then d_c = s^2 / noise^2: the bulk is learned as slowly as its weakest modes."""
    assert float(sharp_critical_dimension(2.5, 1.5)) == pytest.approx(2.5**2, rel=1e-3)
    wide = float(sharp_critical_dimension(4.0, 1.7, noise=1.2, aspect=0.25))
    assert wide == pytest.approx((4.0 / 1.2) ** 2, rel=1e-3)
    x, weight = bulk_nodes(1.0, 1.0)
    a = mode_strength(np.linspace(0, 500, 2001), np.append(x, 2.5), 1.5)
    assert (a[:, -1] ** 2 / (a[:, :-1] ** 2 @ weight)).max() <= 2.5**2 * (1 + 1e-3)


def test_sharp_critical_dimension_broadcasts_and_scales():
    table = sharp_critical_dimension([[2.5], [4.0]], [1e-2, 1e-3])
    assert table.shape == (2, 2)
    assert (np.diff(table, axis=0) > 0).all() and (np.diff(table, axis=1) > 0).all()
    # In units of the noise: s, a0 and the noise may be scaled together.
    scaled = sharp_critical_dimension([[5.0], [8.0]], [2e-2, 2e-3], noise=2.0)
    np.testing.assert_allclose(scaled, table, rtol=1e-6)
    # A transpose has the same modes.
    one = sharp_critical_dimension(3.0, 1e-2, noise=1.0, aspect=0.25)
    assert one == pytest.approx(
        float(sharp_critical_dimension(3.0, 1e-2, noise=0.5, aspect=4.0)), rel=1e-6
    )


# --- the infinite network ---

T = np.array([0.1, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 12.0, 40.0])
A0 = 1e-3


@cache
def simulate(n_out, n_in, s0, draws):
    """H(t) and E(t) of every draw, each (draws, T)."""
    entropy, error = [], []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        teacher = np.zeros((n_out, n_in))
        teacher[0, 0] = s0  # Gaussian noise looks the same in any basis
        noise = rng.standard_normal(teacher.shape) / np.sqrt(n_in)
        u, s, vt = np.linalg.svd(teacher + noise, full_matrices=False)
        a = mode_strength(T, s, A0)
        entropy.append(spectral_entropy(a))
        error.append((a**2).sum(axis=1) - 2 * a @ (s0 * u[0] * vt[:, 0]) + s0**2)
    return np.array(entropy), np.array(error)


def deviation(draws, theory):
    """In standard errors of the mean."""
    return (draws.mean(axis=0) - theory) / (draws.std(axis=0, ddof=1) / np.sqrt(len(draws)))


@pytest.mark.parametrize(("n_out", "n_in"), [(400, 400), (200, 400)])
@pytest.mark.parametrize("s0", [0.7, 1.3, 2.0])
def test_infinite_network_agrees_with_simulation(n_out, n_in, s0):
    aspect = n_out / n_in
    entropy, error = simulate(n_out, n_in, s0, 10)
    theory = infinite_network(T, s0, A0, modes=min(n_out, n_in), aspect=aspect)
    assert np.abs(deviation(entropy, theory.entropy)).max() < 4
    assert np.abs(deviation(error, theory.test_error)).max() < 4


@pytest.mark.parametrize(("n_out", "n_in"), [(400, 400), (200, 400)])
@pytest.mark.parametrize("s0", [0.7, 1.3, 2.0])
def test_without_the_targets_of_the_bulk_the_error_is_wrong(n_out, n_in, s0):
    error = simulate(n_out, n_in, s0, 10)[1]
    theory = infinite_network(T, s0, A0, modes=min(n_out, n_in), aspect=n_out / n_in)
    without = deviation(error, theory.test_error + 2 * theory.bulk_fit)
    assert without[0] < -8  # it promises too large an error, from the start


def test_infinite_network_with_several_spikes():
    """One hidden, two detached, wide: the spikes add in the bulk."""
    strengths, errors = [3.0, 2.0, 0.8], []
    theory = infinite_network(T, strengths, A0, modes=150, aspect=0.5)
    for seed in range(12):
        task = spiked_teacher(150, 300, strengths, noise=1.0, rng=np.random.default_rng(seed))
        modes = task.modes
        a = mode_strength(T, modes.s, A0)
        m = np.einsum("ik,ij,jk->k", modes.u, task.teacher, modes.v, optimize=True)
        errors.append((a**2).sum(axis=1) - 2 * a @ m + np.sum(np.square(strengths)))
    assert np.abs(deviation(np.array(errors), theory.test_error)).max() < 4


@pytest.mark.parametrize("s0", [0.5, 1 - 1e-9, 1.0, 1 + 1e-9, 2.0, [2.0, 3.0], []])
def test_infinite_network_at_both_ends_of_time(s0):
    found = infinite_network([0, 1e4], s0, A0, modes=100)
    sizes = np.sort(np.atleast_1d(s0))
    assert found.entropy[0] == pytest.approx(np.log(100), rel=1e-9)
    assert found.signal_share[0] == pytest.approx((sizes > 1).sum() / 100)
    # All of Sigma is learned; its noise is the error.
    assert found.test_error[1] == pytest.approx(100, rel=1e-3)
    assert found.t.tolist() == [0, 1e4]


def test_infinite_network_is_continuous_at_the_threshold():
    below, at, above = (infinite_network(T, s0, A0, modes=300) for s0 in (1 - 1e-7, 1.0, 1 + 1e-7))
    for name in ("entropy", "test_error", "bulk_fit"):
        values = [getattr(x, name) for x in (below, at, above)]
        np.testing.assert_allclose(values[0], values[1], rtol=1e-5)
        np.testing.assert_allclose(values[2], values[1], rtol=1e-5)


def test_noise_free_network_learns_the_teacher():
    found = infinite_network([0, 20], [2.0, 3.0], A0, modes=50, noise=0)
    assert found.test_error[1] == pytest.approx(48 * mode_strength([20], 0, A0)[0, 0] ** 2)
    assert found.signal_share[1] == pytest.approx(1, abs=1e-4)
    assert not found.bulk_fit.any()


def test_time_constant_depth_and_transpose():
    plain = infinite_network(T, 2.0, A0, modes=100, aspect=0.5)
    slow = infinite_network(3 * T, 2.0, A0, modes=100, aspect=0.5, tau=3.0)
    turned = infinite_network(T, 2.0, A0, modes=100, noise=np.sqrt(0.5), aspect=2.0)
    for name in ("entropy", "test_error", "signal_share"):
        for other in (slow, turned):
            np.testing.assert_allclose(getattr(other, name), getattr(plain, name), rtol=1e-7)
    deep = infinite_network([0, 1e9], 2.0, A0, modes=100, depth=3)
    assert deep.entropy[0] == pytest.approx(np.log(100))
    assert deep.test_error[1] == pytest.approx(100, rel=1e-3)


def test_tiny_starts_do_not_underflow():
    found = infinite_network([0, 50, 120, 500], 2.0, 1e-200, modes=100)
    assert np.isfinite(found.entropy).all() and np.isfinite(found.test_error).all()
    assert found.entropy[0] == pytest.approx(np.log(100))
    assert np.isfinite(sharp_critical_dimension(2.5, 1e-200))


# --- bad input ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spike_forward(np.nan), "s0 contains NaN"),
        (lambda: spike_forward([1.0, -0.1]), "s0 must not be negative.*teacher"),
        (lambda: spike_forward(1.0, noise=-1.0), "noise must not be negative.*deviation"),
        (lambda: spike_forward(1.0, noise=np.nan), "noise contains NaN"),
        (lambda: spike_forward(1.0, aspect=0.0), "aspect must be positive.*n_out / n_in"),
        (lambda: bulk_edge(aspect=-2.0), "aspect must be positive"),
        (lambda: detection_threshold(aspect=np.inf), "aspect contains NaN or infinity"),
        (lambda: bulk_density(1.0, noise=0.0), "noise must be positive.*single point"),
        (lambda: bulk_density(-1.0), "x must not be negative"),
        (lambda: bulk_target(1.0, -1.0), "s0 must not be negative"),
        (lambda: bulk_target(1.0, 1.0, noise=0.0), "noise must be positive"),
        (lambda: optimal_shrinker([np.nan]), "s contains NaN"),
        (lambda: optimal_shrinker(-1.0), "s must not be negative.*sign"),
        (lambda: critical_dimension(1.0, 2.0, 0.1), "must not exceed s.*told from noise"),
        (lambda: critical_dimension(1.0, 0.5, 2.0), "must not exceed s"),
        (lambda: critical_dimension(1.0, 0.5, 0.0), "a0 must be positive"),
        (lambda: sharp_critical_dimension(1.0, 0.1), "s must reach the bulk edge 2"),
        (lambda: sharp_critical_dimension(3.0, 2.5), "a0 must lie between 0 and the bulk edge 2"),
        (lambda: sharp_critical_dimension(3.0, 0.0), "a0 must lie between 0 and the bulk edge 2"),
        (lambda: sharp_critical_dimension(3.0, 0.1, noise=0.0), "noise must be positive"),
        (lambda: infinite_network([0, 1], 2.0, 0.1, modes=1), "modes must be an integer >= 2"),
        (lambda: infinite_network([0, 1], 2.0, 0.0, modes=9), "a0 must be positive"),
        (lambda: infinite_network([0, 1], -2.0, 0.1, modes=9), "strengths must not be negative"),
        (lambda: infinite_network([1, 0], 2.0, 0.1, modes=9), "t must not decrease"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("aspect", [0.3, 1.0, 2.5])
def test_quantiles_of_the_bulk(aspect):
    x = bulk_quantiles(40, noise=0.7, aspect=aspect)
    edge = bulk_edge(noise=0.7, aspect=aspect)
    for k in (0, 7, 20, 39):
        share = quad(lambda z: bulk_density(z, noise=0.7, aspect=aspect), x[k], edge)[0]
        assert share == pytest.approx((k + 0.5) / 40, abs=2e-4)
    with pytest.raises(ValueError, match="counts modes"):
        bulk_quantiles(0)


@pytest.mark.parametrize("s0", [0.6, 1.5, 3.0])
def test_typical_spectrum_holds_the_whole_teacher(s0):
    """The sum of m s is s0^2, and the spectrum is that of draws, on average."""
    s, m = typical_spectrum(s0, 400, aspect=0.5)
    assert s.size == m.size == 400
    assert m @ s == pytest.approx(s0**2, rel=2e-3)
    drawn = next(spiked_spectra(1, 400, 800, [s0], noise=1.0, rng=np.random.default_rng(1)))[0]
    assert np.abs(drawn - s).mean() < 0.02


# Found by changing the package a little and asking whether a test notices: `make mutants`.


def test_a_signal_at_the_edge_is_allowed():
    at, above = sharp_critical_dimension([2.0, 2.0 + 1e-9], 1e-2)
    np.testing.assert_allclose(at, above, rtol=1e-6)
    with pytest.raises(ValueError, match="must reach the bulk edge 2"):
        sharp_critical_dimension(2.0 - 1e-9, 1e-2)
