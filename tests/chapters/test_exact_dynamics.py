"""Claims of the chapter on exact dynamics: random starts, depth, the solution in matrices."""

import math

import mpmath as mp
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import chi2, kstest

from dlnlib.flow import (
    aligned_weights,
    balance,
    balanced_weights,
    exact_flow,
    gaussian_weights,
    gradient_flow,
)
from dlnlib.modes import growth_rate, learning_time, mode_strength
from dlnlib.tasks import Modes, svd_modes

STRENGTHS = np.array([3.0, 2.0, 1.0])


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def modes(rng):
    u, v = (np.linalg.qr(rng.standard_normal((n, 3)))[0] for n in (5, 8))
    return Modes(u, STRENGTHS, v)


def growing(weights, modes):
    """The growing parts c_k as columns."""
    return (weights[0] @ modes.v + weights[1].T @ modes.u) / np.sqrt(2)


def effective(weights, modes):
    left, triangle = np.zeros(modes.s.size), np.linalg.qr(growing(weights, modes))[1]
    left[: len(triangle)] = np.diag(triangle)
    return left**2 / 2


def logistic(t, s, starts):
    """Logistic modes; a start of zero stays there."""
    a = np.zeros((t.size, s.size))
    a[:, starts > 0] = mode_strength(t, s[starts > 0], starts[starts > 0])
    return a


def task(s, n_in, n_out, rng):
    u, v = (np.linalg.qr(rng.standard_normal((n, len(s))))[0] for n in (n_out, n_in))
    return Modes(u, np.array(s), v)


def powers(weights, modes, scales):
    """Power of the scale with which the error of every mode falls, and its size at the end."""
    gap = []
    for scale in scales:
        start = [scale * w for w in weights]
        t = np.linspace(0, (1.5 * math.log(1 / scale) + 8) / modes.s[-1], 4000)
        a = exact_flow(t, start, modes.matrix()).mode_strength(modes)
        gap.append(np.abs(a - logistic(t, modes.s, effective(start, modes))).max(axis=0))
    return np.log(gap[0] / gap[1]) / np.log(scales[0] / scales[1]), gap[1]


def stacked(weights):
    return np.vstack([weights[0].T, weights[1]])


def riccati_matrix(sigma, lam):
    n_out, n_in = sigma.shape
    return np.block([[-lam / 2 * np.eye(n_in), sigma.T], [sigma, lam / 2 * np.eye(n_out)]])


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
    start = growing(weights, modes)
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
            theory = mode_strength(t, modes.s, effective(start, modes))
            gap[i, seed] = np.abs(a - theory).max(axis=0)
            own = (growing(start, modes) ** 2).sum(axis=0) / 2
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
        modes = task(s, 8, 6, rng)
        weights = balanced_weights((8, len(s) + extra, 6), 1.0, rng=rng)
        power, gap = powers(weights, modes, scales)
        exact = gap < 1e-12  # rounding, not the theorem, sets the power there
        assert (power > np.array(exponents) - 0.08)[~exact].all()
        assert (effective(weights, modes)[-1] == 0) == (extra < 0)
        found.append(np.where(exact, exponents, power))
    np.testing.assert_allclose(np.median(found, axis=0), exponents, atol=0.15)


def test_effective_start_beside_a_tie(rng):
    """Modes that tie are left out, their neighbour is not."""
    modes = task([3.0, 2.0, 2.0, 1.0], 8, 6, rng)
    weights = balanced_weights((8, 5, 6), 1.0, rng=rng)
    power, _ = powers(weights, modes, (1e-6, 1e-8))
    np.testing.assert_allclose(power, [2 / 3, 0, 0, 1], atol=0.03)


def test_effective_start_of_a_single_mode(rng):
    """Power two with a logarithm, from the rows that neither grow nor decay."""
    modes = task([3.0], 8, 6, rng)
    power, _ = powers(balanced_weights((8, 3, 6), 1.0, rng=rng), modes, (1e-4, 1e-5))
    assert 1.8 < power[0] < 2


def test_moving_start(rng, modes):
    """With the start that moves the logistic is exact, up to the decaying part of the weights."""
    weights = balanced_weights((8, 2, 5), 0.3, rng=rng)
    c = growing(weights, modes)
    d = (weights[0] @ modes.v - weights[1].T @ modes.u) / np.sqrt(2)
    null_in = weights[0] - weights[0] @ modes.v @ modes.v.T
    null_out = weights[1].T - weights[1].T @ modes.u @ modes.u.T
    for t in (0.3, 1.0, 2.5):
        big, small = np.expm1(2 * modes.s * t), -np.expm1(-2 * modes.s * t)
        rest = (d * small / (2 * modes.s)) @ d.T + t * (null_in @ null_in.T + null_out @ null_out.T)
        metric = np.eye(2) + rest
        bracket = np.linalg.inv(metric + (c * big / (2 * modes.s)) @ c.T)
        a = exact_flow([t], weights, modes.matrix()).mode_strength(modes)[0]
        for k, s in enumerate(modes.s):
            others = np.delete(c, k, axis=1)
            penalty = np.diag(np.delete(2 * modes.s / big, k))
            solve = np.linalg.inv(metric)
            b = np.linalg.solve(others.T @ solve @ others + penalty, others.T @ solve @ c[:, k])
            residual = c[:, k] - others @ b
            moving = (residual @ solve @ residual + b @ penalty @ b) / 2
            decayed = math.exp(-2 * s * t) * d[:, k] @ bracket @ d[:, k] / 2
            expected = mode_strength(t, s, moving)[0, 0] - decayed
            assert a[k] == pytest.approx(expected, abs=1e-12)


def test_effective_start_of_unbalanced_gaussian_weights(rng, modes):
    gap = []
    for _ in range(10):
        weights = gaussian_weights((8, 6, 5), 1e-4, rng=rng)
        t = np.linspace(0, 1.4 * learning_time(1.0, 1e-8)[0], 300)
        a = gradient_flow(t, weights, modes.matrix()).mode_strength(modes)
        theory = mode_strength(t, modes.s, effective(weights, modes))
        gap.append(np.abs(a - theory).max(axis=0))
    assert (np.median(gap, axis=0) < [2e-3, 2e-3, 2e-4]).all()


def test_effective_starts_of_gaussian_weights_are_chi_square(rng, modes):
    draws = [effective(gaussian_weights((8, 6, 5), 0.1, rng=rng), modes) for _ in range(1500)]
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


CASES = [
    ((4, 4, 4), 0.0),
    ((5, 5, 5), 0.0),
    ((7, 3, 5), 0.0),
    ((3, 6, 4), 0.0),
    ((4, 4, 6), 0.7),
    ((6, 3, 4), -0.4),
]


@pytest.mark.parametrize(("widths", "lam"), CASES)
def test_riccati(rng, widths, lam):
    """The product rule on gradient flow gives the right side, at the start and later."""
    sigma = rng.standard_normal(widths[::-2])
    weights = balanced_weights(widths, 0.6, rng=rng, balance=lam)
    f = riccati_matrix(sigma, lam)
    path = gradient_flow([0.0, 0.4], weights, sigma, rtol=1e-12, atol=1e-14)
    for w1, w2 in zip(*path.weights, strict=True):
        error = sigma - w2 @ w1
        q, velocity = stacked([w1, w2]), stacked([w2.T @ error, error @ w1.T])
        np.testing.assert_allclose(velocity, f @ q - q @ q.T @ q / 2, atol=1e-9)
        x = q @ q.T
        rate = velocity @ q.T + q @ velocity.T
        np.testing.assert_allclose(rate, f @ x + x @ f - x @ x, atol=1e-9)


@pytest.mark.parametrize(("widths", "lam"), CASES)
def test_riccati_solution(rng, widths, lam):
    """The formula as printed, with its integral by a block exponential, at short times."""
    sigma = rng.standard_normal(widths[::-2])
    if widths == (5, 5, 5):  # F is singular where sigma is, even when square
        sigma[4] = sigma[:4].sum(axis=0)
    weights = balanced_weights(widths, 0.3, rng=rng, balance=lam)
    if widths == (4, 4, 4):
        sigma[0] *= np.sign(np.linalg.det(sigma) * np.linalg.det(weights[1] @ weights[0]))
    f, q, t = riccati_matrix(sigma, lam), stacked(weights), 0.8
    n = len(f)
    integral = expm(t * np.block([[2 * f, np.eye(n)], [np.zeros((n, 2 * n))]]))[:n, n:]
    grown = expm(f * t) @ q
    x = grown @ np.linalg.solve(np.eye(widths[1]) + q.T @ integral @ q, grown.T)
    path = exact_flow([t], weights, sigma)
    blocks = [[path.hidden_gram[0], path.product[0].T], [path.product[0], path.output_gram[0]]]
    np.testing.assert_allclose(np.block(blocks), x, atol=1e-10)


def test_literal_formula_loses_its_digits(rng):
    """In doubles the printed formula fails once its identity is rounded away; ours does not."""
    sigma, weights = rng.standard_normal((5, 5)), balanced_weights((5, 5, 5), 0.1, rng=rng)
    sigma[0] *= np.sign(np.linalg.det(sigma) * np.linalg.det(weights[1] @ weights[0]))
    f, q = riccati_matrix(sigma, 0.0), stacked(weights)
    s, start = svd_modes(sigma).s, effective(weights, svd_modes(sigma))
    gone = learning_time(s[0], start[0])[0] + math.log(2**52) / (2 * s[0])
    times = gone * np.array([0.1, 0.6, 1.2])

    def literal(t, f, q, expm, inv, eye):
        grown, undone = expm(f * t), inv(f)
        bracket = eye(5) + q.T @ (grown @ undone @ grown - undone) @ q / 2
        return grown @ q @ inv(bracket) @ q.T @ grown

    with mp.workdps(100):
        digits = [
            literal(t, mp.matrix(f), mp.matrix(q), mp.expm, mp.inverse, mp.eye) for t in times
        ]
    truth = np.array([np.array(m.tolist(), dtype=float)[5:, :5] for m in digits])
    naive = np.array([literal(t, f, q, expm, np.linalg.pinv, np.eye)[5:, :5] for t in times])
    lost = np.abs(naive - truth).max(axis=(1, 2))
    assert lost[0] < 1e-12
    assert 1e-12 < lost[1] < 1e-4
    assert lost[2] > 0.01
    np.testing.assert_allclose(exact_flow(times, weights, sigma).product, truth, atol=1e-13)


@pytest.mark.parametrize("hidden", [3, 5])
def test_determinant_keeps_its_sign(rng, hidden):
    """Along a balanced square flow the determinant of the map never vanishes."""
    for seed in range(6):
        weights = balanced_weights((3, hidden, 3), 0.4, rng=np.random.default_rng(seed))
        maps = gradient_flow(np.linspace(0, 12, 60), weights, rng.standard_normal((3, 3))).product
        signs = np.sign(np.linalg.det(maps))
        assert (signs == signs[0]).all()


@pytest.mark.parametrize("hidden", [4, 7])
def test_a_wrong_determinant_is_a_missing_growing_part(rng, hidden):
    weights = balanced_weights((4, hidden, 4), 0.2, rng=rng)
    sigma = rng.standard_normal((4, 4))
    sigma[0] *= -np.sign(np.linalg.det(sigma) * np.linalg.det(weights[1] @ weights[0]))
    assert np.abs(balance(weights)).max() < 1e-15
    starts = effective(weights, svd_modes(sigma))
    assert starts[-1] < 1e-28 < 1e-4 < starts[:-1].min()


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
