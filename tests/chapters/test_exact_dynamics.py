"""Claims of the chapter on exact dynamics: random starts and depth."""

import math

import numpy as np
import pytest
from helpers import effective_starts, growing_parts, random_modes
from scipy.stats import chi2, kstest

from dlnlib.flow import (
    aligned_weights,
    balanced_weights,
    exact_flow,
    gaussian_weights,
    gradient_flow,
)
from dlnlib.modes import growth_rate, learning_time, mode_strength
from dlnlib.tasks import svd_modes


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def modes(rng):
    return random_modes([3.0, 2.0, 1.0], 8, 5, rng)


def logistic(t, s, starts):
    """Logistic modes; a start of zero stays there."""
    a = np.zeros((t.size, s.size))
    a[:, starts > 0] = mode_strength(t, s[starts > 0], starts[starts > 0])
    return a


def powers(weights, modes, scales):
    """Power of the scale with which the error of every mode falls, and its size at the end."""
    gap = []
    for scale in scales:
        start = [scale * w for w in weights]
        t = np.linspace(0, (1.5 * math.log(1 / scale) + 8) / modes.s[-1], 4000)
        a = exact_flow(t, start, modes.matrix()).mode_strength(modes)
        gap.append(np.abs(a - logistic(t, modes.s, effective_starts(start, modes))).max(axis=0))
    return np.log(gap[0] / gap[1]) / np.log(scales[0] / scales[1]), gap[1]


def test_note_times_are_those_of_the_whole_rise():
    """The source note's time to s/2, log(s/eps)/s, is where the mode stands near s - eps."""
    s, eps = 2.0, 1e-4
    reached = mode_strength(math.log(s / eps) / s, s, eps)[0, 0]
    assert s - reached == pytest.approx(eps, rel=1e-3)
    assert learning_time(s, eps)[0] == pytest.approx(math.log(s / eps - 1) / (2 * s))
    rest = learning_time(s, s / 2, (s - eps) / s)[0]
    assert rest == pytest.approx(learning_time(s, eps)[0])


def test_growing_part(rng, modes):
    """To first order c_k grows as exp(s t) and the difference of encoder and decoder decays."""
    weights = gaussian_weights((8, 6, 5), 1e-6, rng=rng)
    t = np.linspace(0, 2, 5)
    path = gradient_flow(t, weights, modes.matrix(), rtol=1e-11, atol=1e-18)
    first, last = path.weights
    encoder, decoder = first @ modes.v, last.mT @ modes.u
    grow = np.exp(np.multiply.outer(t, modes.s))[:, None, :]
    start = growing_parts(weights, modes)
    np.testing.assert_allclose((encoder + decoder) / np.sqrt(2), start * grow, rtol=1e-6)
    np.testing.assert_allclose(encoder - decoder, (encoder[0] - decoder[0]) / grow, atol=1e-12)
    np.testing.assert_allclose(
        path.mode_strength(modes)[-1], (start**2).sum(axis=0) / 2 * grow[-1, 0] ** 2, rtol=0.1
    )


def test_effective_start(modes):
    """The error falls with the scale at the power of the theorem, and only for Gram-Schmidt."""
    scales = [1e-3, 1e-4]
    gap, plain = np.zeros((2, 2, 8, 3))
    for seed in range(8):
        weights = balanced_weights((8, 6, 5), 1.0, rng=np.random.default_rng(seed))
        for i, scale in enumerate(scales):
            start = [scale * w for w in weights]
            t = np.linspace(0, 1.6 * learning_time(1.0, scale**2)[0], 800)
            a = exact_flow(t, start, modes.matrix()).mode_strength(modes)
            theory = mode_strength(t, modes.s, effective_starts(start, modes))
            gap[i, seed] = np.abs(a - theory).max(axis=0)
            own = (growing_parts(start, modes) ** 2).sum(axis=0) / 2
            plain[i, seed] = np.abs(a - mode_strength(t, modes.s, own)).max(axis=0)
    power = np.log10(np.median(gap[0], axis=0) / np.median(gap[1], axis=0))
    np.testing.assert_allclose(power, [2 / 3, 2 / 3, 1], atol=0.12)
    stays = np.median(plain[1] / plain[0], axis=0)
    assert (stays[1:] > 0.95).all()
    np.testing.assert_allclose(plain[:, :, 0], gap[:, :, 0])


SPECTRA = [
    ([3.0, 2.8, 1.0], [2 / 15, 2 / 15, 9 / 7], (1e-12, 1e-16)),
    ([2.0, 1.5, 1.2, 0.4], [0.5, 0.4, 0.4, 4 / 3], (1e-4, 1e-6)),
    ([4.0, 3.0, 1.2, 0.8], [0.5, 0.5, 2 / 3, 2 / 3], (1e-5, 1e-7)),
]


@pytest.mark.parametrize(("s", "exponents", "scales"), SPECTRA)
@pytest.mark.parametrize("extra", [-1, 0, 3, 14])
def test_effective_start_at_any_hidden_width(s, exponents, scales, extra):
    """Fewer hidden units than modes, as many, or more: the bound holds, the last mode may miss."""
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        modes = random_modes(s, 8, 6, rng)
        weights = balanced_weights((8, len(s) + extra, 6), 1.0, rng=rng)
        power, gap = powers(weights, modes, scales)
        exact = gap < 1e-12  # rounding, not the theorem, sets the power there
        assert (power > np.array(exponents) - 0.08)[~exact].all()
        assert (effective_starts(weights, modes)[-1] == 0) == (extra < 0)
        found.append(np.where(exact, exponents, power))
    np.testing.assert_allclose(np.median(found, axis=0), exponents, atol=0.15)


def test_effective_start_beside_a_tie(rng):
    """Modes that tie are left out, their neighbour is not."""
    modes = random_modes([3.0, 2.0, 2.0, 1.0], 8, 6, rng)
    weights = balanced_weights((8, 5, 6), 1.0, rng=rng)
    power, _ = powers(weights, modes, (1e-6, 1e-8))
    np.testing.assert_allclose(power, [2 / 3, 0, 0, 1], atol=0.03)


def test_effective_start_of_a_single_mode(rng):
    """Power two with a logarithm, from the rows that neither grow nor decay."""
    modes = random_modes([3.0], 8, 6, rng)
    power, _ = powers(balanced_weights((8, 3, 6), 1.0, rng=rng), modes, (1e-4, 1e-5))
    assert 1.8 < power[0] < 2


def test_effective_start_of_unbalanced_gaussian_weights(rng, modes):
    gap = []
    for _ in range(10):
        weights = gaussian_weights((8, 6, 5), 1e-4, rng=rng)
        t = np.linspace(0, 1.4 * learning_time(1.0, 1e-8)[0], 300)
        a = gradient_flow(t, weights, modes.matrix()).mode_strength(modes)
        theory = mode_strength(t, modes.s, effective_starts(weights, modes))
        gap.append(np.abs(a - theory).max(axis=0))
    assert (np.median(gap, axis=0) < [2e-3, 2e-3, 2e-4]).all()


def test_effective_starts_of_gaussian_weights_are_chi_square(rng, modes):
    draws = [
        effective_starts(gaussian_weights((8, 6, 5), 0.1, rng=rng), modes) for _ in range(1500)
    ]
    for k, starts in enumerate(np.transpose(draws)):
        assert kstest(2 * starts / 0.1**2, chi2(6 - k).cdf).pvalue > 1e-3


@pytest.mark.parametrize("depth", [3, 4, 8, 33, math.inf])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_deep_learning_time(depth, fraction):
    """The leading power of the start, at any fraction and any s."""
    p = 1 - 2 / depth
    a0, s = 1e-6 ** (1 / p), np.array([3.0, 1.0, 0.2])
    leading = a0**-p / ((1 if depth == math.inf else depth - 2) * s)
    tau = 2.5
    times = learning_time(s, a0, fraction, tau=tau, depth=depth)
    np.testing.assert_allclose(times, tau * leading, rtol=1e-3)
    rise = [
        np.diff([learning_time(1.0, x, f, depth=depth)[0] for f in (0.1, 0.9)])
        for x in (1e-2, 1e-3)
    ]
    np.testing.assert_allclose(rise[0], rise[1], rtol=1e-9)


@pytest.mark.parametrize("depth", [2, 3, 4, 8, math.inf])
@pytest.mark.parametrize("slow", [0.3, 1.0, 2.0])
def test_slow_mode(depth, slow):
    """What the slow mode has gained when the fast one is half learned."""
    p = 1 - 2 / depth
    a0 = 1e-10 if depth == 2 else 1e-5 ** (1 / p)
    gain = mode_strength(learning_time(3.0, a0, depth=depth), slow, a0, depth=depth)[0, 0] / a0
    limit = (3.0 / a0) ** (slow / 3) if depth == 2 else (1 - slow / 3) ** (-1 / p)
    assert gain == pytest.approx(limit, rel=2e-3)


def test_ratio_of_learning_times_has_the_same_limit_at_every_depth():
    for depth, a0, close in [(2, 1e-300, 2e-3), (3, 1e-12, 1e-3), (math.inf, 1e-6, 1e-3)]:
        fast, slow = learning_time([3.0, 1.0], a0, depth=depth)
        assert slow / fast == pytest.approx(3, rel=close)


@pytest.mark.parametrize("depth", [3, 4])
def test_small_deep_modes_wait_at_their_start(depth):
    """No linear phase: at a -> 0 the relative rate vanishes for L > 2, and is 2 s for L = 2."""
    assert growth_rate(1e-12, 1.0, depth=depth) < 1e-3
    assert growth_rate(1e-12, 1.0) == pytest.approx(2)
    pair = svd_modes(np.diag([3.0, 1.0]))
    weights = aligned_weights(pair, 1e-2, depth=depth)
    t = [learning_time(3.0, 1e-2, depth=depth)[0]]
    a = gradient_flow(t, weights, pair.matrix(), rtol=1e-11).mode_strength(pair)[0]
    np.testing.assert_allclose(a[0], 1.5, rtol=1e-7)
    assert a[1] < 0.03
