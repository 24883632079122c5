"""Equations of the chapter on the covariance identity, by routes of their own."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.linalg import logm

from dlnlib.entropy import (
    energy_shares,
    entropy_rate,
    entropy_rate_by_mode,
    group_entropy,
    map_entropy,
    map_entropy_rate,
    spectral_entropy,
)
from dlnlib.modes import growth_rate, mode_strength
from dlnlib.tasks import spiked_teacher

pairs = st.integers(2, 9).flatmap(
    lambda n: st.tuples(*(arrays(float, n, elements=st.floats(-4, 4)) for _ in "ag"))
)


def moving_shares(log_a: np.ndarray, g: np.ndarray, power: float = 2) -> np.ndarray:
    """Shares with log a moving at the rate g: the imaginary part is 1e-30 times their rate."""
    p = np.exp(power * (log_a + 1e-30j * g))
    return p / p.sum(axis=-1, keepdims=True)


def covariance(p: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    return p @ ((x - p @ x) * (y - p @ y))


@given(pairs)
def test_share_flow(drawn):
    p = moving_shares(*drawn)
    g = drawn[1]
    expected = 2 * p.real * (g - p.real @ g)
    np.testing.assert_allclose(p.imag / 1e-30, expected, atol=1e-13)


@given(pairs, st.sampled_from([0.5, 1, 2, 3]))
def test_covariance_identity(drawn, power):
    log_a, g = drawn
    p = moving_shares(log_a, g, power)
    slope = -(p * np.log(p)).sum().imag / 1e-30
    shares = p.real
    assert slope == pytest.approx(-power * covariance(shares, g, np.log(shares)), abs=1e-11)
    assert slope == pytest.approx(entropy_rate(np.exp(log_a), g, power=power), abs=1e-11)
    assert entropy_rate(np.exp(log_a), g + 7.5) == pytest.approx(
        entropy_rate(np.exp(log_a), g), abs=1e-10
    )  # a common rate moves nothing


@pytest.mark.parametrize("depth", [2, 3, 4, math.inf])
@pytest.mark.parametrize("seed", range(3))
def test_equal_start_entropy(depth, seed):
    s, a0 = np.random.default_rng(seed).uniform(0.5, 3, 7), 0.1
    g = growth_rate(np.full(7, a0), s, depth=depth)
    assert entropy_rate(np.full(7, a0), g) == pytest.approx(0, abs=1e-14)
    fall = [
        math.log(7) - spectral_entropy(mode_strength([d], s, a0, depth=depth))[0]
        for d in (2e-3, 1e-3)
    ]
    curvature = -2 * (2 * fall[1] / 1e-3**2 - fall[0] / 2e-3**2)  # the third order drops out
    assert curvature == pytest.approx(-4 * np.var(g), rel=1e-3)
    if depth == 2:
        assert -4 * np.var(g) == pytest.approx(-16 * np.var(s))


def turned(rng: np.random.Generator, size: int, columns: int) -> np.ndarray:
    """Orthonormal columns."""
    return np.linalg.qr(rng.normal(size=(size, columns)))[0]


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (1, 4), (4, 1)])
@pytest.mark.parametrize("rank", [1, 2, 7])
def test_matrix_entropy(shape, rank):
    rng = np.random.default_rng(rank)
    w = rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
    rho = w.T @ w / np.trace(w.T @ w)
    p = np.linalg.eigvalsh(rho)
    expected = -sum(x * math.log(x) for x in p if x > 1e-14)
    assert map_entropy(w) == pytest.approx(expected, abs=1e-12)
    left, right = turned(rng, shape[0], shape[0]), turned(rng, shape[1], shape[1])
    assert map_entropy(-3e5 * left @ w @ right.T) == pytest.approx(expected, abs=1e-12)
    assert map_entropy(w.T) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6)])
def test_matrix_entropy_rate(shape):
    """-tr(rho' log rho) by the matrix logarithm, on the side where rho has full rank."""
    rng = np.random.default_rng(sum(shape))
    w, dw = rng.normal(size=(2, *shape))
    x, dx = (w, dw) if shape[0] >= shape[1] else (w.T, dw.T)
    energy, gain = np.trace(x.T @ x), 2 * np.trace(x.T @ dx)
    rho = x.T @ x / energy
    flow = (dx.T @ x + x.T @ dx) / energy - rho * gain / energy
    expected = -np.trace(flow @ logm(rho))
    assert map_entropy_rate(w, dw) == pytest.approx(expected, rel=1e-10)
    low, high = (map_entropy(w + step * dw) for step in (-1e-5, 1e-5))
    assert (high - low) / 2e-5 == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (2, 5)])
@pytest.mark.parametrize("seed", range(20))
def test_energies_of_any_basis_have_at_least_the_entropy(shape, seed):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=shape) * rng.exponential(size=shape[1]) ** 3
    basis = turned(rng, shape[1], shape[1])
    shares = ((w @ basis) ** 2).sum(axis=0)
    assert spectral_entropy(shares, power=1) >= map_entropy(w) - 1e-12


@pytest.mark.parametrize("w", [np.ones((2, 2)), np.diag([1.0, 2.0, 3.0]) + 0.1])
def test_projected_entropy(w):
    """On unit vectors as the modes of the task; it is bounded by H on neither side."""
    shares = np.diag(w) ** 2 / (np.diag(w) ** 2).sum()
    projected = -(shares * np.log(shares)).sum()
    assert spectral_entropy(np.diag(w)) == pytest.approx(projected)
    assert projected > map_entropy(w)
    below = np.array([[1.0, 1.0], [-1.0, 0.0]])
    assert spectral_entropy(np.diag(below)) == 0 < map_entropy(below)
    assert spectral_entropy(np.diag(np.diag(w)).diagonal()) == pytest.approx(
        map_entropy(np.diag(np.diag(w)))
    )  # aligned: the same


@pytest.mark.parametrize("shape", [(3, 3), (8, 8), (9, 4), (4, 9)])
@pytest.mark.parametrize("size", [1e-3, 0.03, 0.2, 1.0])
def test_projection_gap(shape, size):
    rng, many = np.random.default_rng(1), min(shape)
    sharp = 0.0
    for _ in range(200):
        w = np.zeros(shape)
        w[np.arange(many), np.arange(many)] = rng.exponential(size=many) ** 3
        w += size * rng.normal(size=shape) * np.linalg.norm(w) / w.size**0.5
        d = np.diagonal(w)
        root = math.sqrt(1 - (d**2).sum() / (w**2).sum())
        if root <= 1 - 1 / many:
            gap = abs(map_entropy(w) - spectral_entropy(d))
            bound = spectral_entropy([root, 1 - root], power=1) + root * math.log(many - 1)
            sharp = max(sharp, gap / bound)
    assert 0 < sharp <= 1


@given(pairs, st.floats(-3, 3))
def test_entropy_parts(drawn, c):
    log_a, g = drawn
    p = moving_shares(log_a, g)
    shares, flow = p.real, p.imag / 1e-30
    a, rate = np.exp(log_a), entropy_rate(np.exp(log_a), g)
    parts = -flow * (np.log(shares) + c)
    assert parts.sum() == pytest.approx(rate, abs=1e-11)
    np.testing.assert_allclose(entropy_rate_by_mode(a, g), -flow * np.log(shares), atol=1e-12)
    np.testing.assert_allclose(
        entropy_rate_by_mode(a, g, centred=True),
        -flow * (np.log(shares) + spectral_entropy(a)),
        atol=1e-12,
    )
    stored = (p - p * np.log(p)).imag / 1e-30  # the plain part is the rate of p - p log p
    np.testing.assert_allclose(stored, entropy_rate_by_mode(a, g), atol=1e-12)


@given(arrays(float, 6, elements=st.floats(0.01, 10)), st.integers(1, 5))
def test_group_entropy(a, r):
    signal = np.arange(6) < r
    energy, parts = a**2, group_entropy(a, signal)
    share = energy[signal].sum() / energy.sum()
    between = -share * math.log(share) - (1 - share) * math.log1p(-share)
    within = share * spectral_entropy(a[signal]) + (1 - share) * spectral_entropy(a[~signal])
    assert between + within == pytest.approx(spectral_entropy(a), abs=1e-9)
    assert parts.between == pytest.approx(between, abs=1e-9)
    assert parts.share == pytest.approx(share)


@given(arrays(float, 6, elements=st.floats(-3, 3)), st.floats(0.2, 3))
def test_entropy_power(log_a, q):
    a, step = np.exp(log_a), 1e-30j
    p = np.exp((q + step) * log_a)
    p = p / p.sum()
    slope = -(p * np.log(p)).sum().imag / 1e-30
    assert slope == pytest.approx(-q * covariance(p.real, log_a, log_a), abs=1e-12)
    assert spectral_entropy(a, power=1) >= spectral_entropy(a) - 1e-12


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.2, 4))
def test_entropy_of_two_modes_falls_where_the_stronger_grows_faster(lead, faster, power):
    assume(abs(lead) > 0.1 and abs(faster) > 0.1)
    rate = entropy_rate([math.exp(lead), 1.0], [faster, 0.0], power=power)
    assert rate * lead * faster < 0


@given(pairs, st.integers(0, 8))
def test_growth_of_a_mode_raises_the_entropy_below_one_over_the_effective_number(drawn, k):
    a = np.exp(drawn[0])
    k %= a.size
    p, h = energy_shares(a)[k], spectral_entropy(a)
    alone = entropy_rate(a, np.eye(a.size)[k])
    assert alone == pytest.approx(2 * p * (-math.log(p) - h), abs=1e-12)


def test_weight_of_a_share_is_largest_at_one_over_e_to_one_plus_the_entropy():
    p = np.linspace(1e-5, 1, 100_000)
    for h in (0.0, 0.5, 2.0):  # h = 0: the bare term p |log p|
        weight = -p * (np.log(p) + h)
        assert p[weight.argmax()] == pytest.approx(math.exp(-1 - h), abs=2e-5)
        assert ((weight > 1e-12) == (p < math.exp(-h) - 1e-12)).all()


@given(pairs)
def test_participation_ratio(drawn):
    p, g = moving_shares(*drawn), drawn[1]
    slope = -np.log((p**2).sum()).imag / 1e-30
    q = p.real
    assert slope == pytest.approx(-4 / (q @ q) * covariance(q, g, q), abs=1e-11)


@pytest.mark.parametrize("seed", range(5))
def test_story_of_the_noisy_teacher(seed):
    """What the figures show does not hang on the draw of the noise."""
    task = spiked_teacher(30, 30, [4.0, 2.0], noise=0.4, rng=np.random.default_rng(100 + seed))
    s, t = task.modes.s, np.geomspace(0.05, 10, 1201)
    a = mode_strength(t, s, 1e-3)
    g, p, h = growth_rate(a, s), energy_shares(a), spectral_entropy(a)
    rate, lowest = entropy_rate(a, g), h.argmin()
    assert (rate[:lowest] < 0).all()
    assert (rate[lowest + 1 :] > 0).all()
    early = np.searchsorted(t, 0.2)
    assert (np.argsort(p[early]) == np.argsort(g[early])).all()  # large growth, large share
    assert g[lowest, 0] == pytest.approx(g[lowest, 1], rel=0.1)  # the two signals, nearly one rate
    part = [entropy_rate_by_mode(a, g, centred=c)[early, 0] for c in (False, True)]
    assert part[1] < 0 < part[0]


def test_sliders_do_what_the_text_says():
    t = np.linspace(0, 8, 801)

    def entropy(second, noise_modes, a0):
        s = np.r_[3.0, second, np.full(noise_modes, 0.7)]
        return spectral_entropy(mode_strength(t, s, a0))

    equal = entropy(3.0, 10, 1e-3)
    assert math.log(2) < equal.min() < math.log(2) + 0.01
    assert entropy(3.0, 100, 1e-2).min() > equal.min() + 0.1
    first_rise = slice(np.searchsorted(t, 1.7), np.searchsorted(t, 2.5))
    assert np.ptp(equal[first_rise]) < 0.1 < np.ptp(entropy(1.5, 10, 1e-3)[first_rise])
