"""The labelled equations and the claims of chapters/three_phases.md."""

from itertools import pairwise

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from dlnlib.entropy import (
    energy_shares,
    entropy_rate,
    entropy_rate_by_mode,
    group_entropy,
    map_entropy,
    spectral_entropy,
)
from dlnlib.flow import gaussian_weights, gradient_flow
from dlnlib.modes import growth_rate, learning_time, mode_strength
from dlnlib.stopping import mode_window
from dlnlib.tasks import tree_spectrum

# Ratio n / s of the two levels, start over n, numbers of signal and of noise modes.
TWO_LEVELS = (st.floats(0.05, 0.9), st.floats(1e-6, 0.95), st.integers(1, 5), st.integers(1, 50))


def two_levels(ratio, r, noise):
    return np.repeat([3.0, 3.0 * ratio], [r, noise])


def closed_form(s, n, a0):
    return np.log((s / a0 - 1) * (s / n - 1)) / (2 * s)


def minimum_time(s, n, a0):
    """Root of a_s - a_n = s - n."""

    def gap(t):
        weak, strong = mode_strength([t], [n, s], a0)[0]
        return strong - weak - (s - n)

    low = high = max(closed_form(s, n, a0), 0)
    while gap(high) <= 0:
        high += 0.1 / s
    return brentq(gap, low, high, xtol=1e-15)


def crossing_fraction(s, n, a0, depth):
    """a_s / s where the growth rates of signal and noise agree."""

    def lead(fraction):
        a = mode_strength(learning_time([s], a0, fraction, depth=depth), [s, n], a0, depth=depth)
        return np.diff(growth_rate(a, [s, n], depth=depth))[0, 0]

    return brentq(lead, 0.3, 1 - 1e-7)


@given(st.lists(st.floats(0.1, 5), min_size=2, max_size=6), st.floats(0.1, 3))
def test_race(s, t):
    s = np.array(s)
    p = energy_shares(np.exp(2 * (s - s.max()) * t))
    variance = p @ (s - p @ s) ** 2
    a = mode_strength([t], s, 1e-120)  # so small that no mode feels its target
    assert entropy_rate(a, growth_rate(a, s))[0] == pytest.approx(-16 * t * variance, abs=1e-9)
    top = np.isclose(s, s.max(), rtol=0, atol=0)
    others = s[~top]
    if others.size == 0 or others.max() < s.max() - 0.1:
        late = spectral_entropy(np.exp(2 * (s - s.max()) * 300))
        assert late == pytest.approx(np.log(top.sum()), abs=1e-9)


@given(*TWO_LEVELS, st.sampled_from([2, 3, 4, np.inf]))
def test_two_level_rate(ratio, start, r, noise, depth):
    s = two_levels(ratio, r, noise)
    t = np.array([0.3, 1.0, 2.0])
    a = mode_strength(t, s, start * s[-1], depth=depth)
    g, p = growth_rate(a, s, depth=depth), energy_shares(a)
    share = p[:, :r].sum(axis=1)
    gap = (g[:, 0] - g[:, -1]) * (np.log(p[:, 0]) - np.log(p[:, -1]))
    expected = -2 * share * p[:, r:].sum(axis=1) * gap
    np.testing.assert_allclose(entropy_rate(a, g), expected, rtol=1e-8, atol=1e-12)


@given(*TWO_LEVELS)
def test_one_minimum(ratio, start, r, noise):
    s = two_levels(ratio, r, noise)
    a0 = start * s[-1]
    t_star = minimum_time(s[0], s[-1], a0)
    t = t_star * np.linspace(0.02, 3, 200)
    t = t[np.abs(t / t_star - 1) > 1e-3]
    a = mode_strength(t, s, a0)
    rate = entropy_rate(a, growth_rate(a, s))
    seen = np.abs(rate) > 1e-12  # far from the minimum the rate may fade below rounding
    np.testing.assert_array_equal(rate[seen] > 0, t[seen] > t_star)
    strong, weak = mode_strength([t_star], s[[0, -1]], a0)[0]
    assert strong - weak == pytest.approx(s[0] - s[-1], rel=1e-9)
    assert weak < s[-1]


@given(st.floats(0.05, 0.9), st.floats(1.0, 6.0), st.integers(1, 5), st.integers(1, 50))
def test_no_minimum_from_a_start_above_the_noise(ratio, start, r, noise):
    s = two_levels(ratio, r, noise)
    t = np.linspace(0.01, 3, 100)
    a = mode_strength(t, s, start * s[-1])
    rate = entropy_rate(a, growth_rate(a, s))
    assert (rate[np.abs(rate) > 1e-12] < 0).all()


def test_crossing():
    time, tau, s, n = sp.symbols("t tau s n", positive=True)
    a_s, a_n = (sp.Function(name)(time) for name in ("a_s", "a_n"))
    flow = {
        a_s.diff(time): 2 * a_s * (s - a_s) / tau,
        a_n.diff(time): 2 * a_n * (n - a_n) / tau,
    }
    slope = tau * (a_s - a_n - (s - n)).diff(time).subs(flow)
    gap = slope.subs(a_s, a_n + s - n) - 2 * (s - n) * (n - a_n)
    assert sp.expand(gap) == 0
    wrong = slope.subs(a_s, a_n + s - n) - 2 * (s - n) * (n + a_n)
    assert sp.expand(wrong) != 0


@given(st.floats(0.05, 0.9), st.floats(1e-9, 0.5))
def test_minimum_time(ratio, start):
    s, n = 3.0, 3.0 * ratio
    a0 = start * n
    exact = minimum_time(s, n, a0)
    delta = mode_strength([exact], [n], a0)[0, 0]
    with_noise = np.log((s / a0 - 1) * (s - n + delta) / (n - delta)) / (2 * s)
    assert exact == pytest.approx(with_noise, rel=1e-8)
    assert exact >= closed_form(s, n, a0) - 1e-12


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.8])
def test_minimum_time_converges_at_its_order(ratio):
    s, n, starts = 3.0, 3.0 * ratio, np.array([1e-7, 1e-8])
    lag = [minimum_time(s, n, a0) - closed_form(s, n, a0) for a0 in starts]
    order = np.log(lag[0] / lag[1]) / np.log(10)
    assert order == pytest.approx(1 - ratio, abs=0.02)
    delta = starts * (s / starts * (s / n - 1)) ** (n / s)
    np.testing.assert_allclose(lag, delta / (2 * n * (s - n)), rtol=0.03)
    h = [
        spectral_entropy(mode_strength([minimum_time(s, n, a0)], two_levels(ratio, 2, 10), a0))[0]
        for a0 in (*starts, 1e-30)
    ]
    assert h[0] > h[1] > h[2] > np.log(2) - 1e-12
    assert h[2] == pytest.approx(np.log(2), abs=1e-3)


def test_signal_saturates_at_the_minimum_of_deep_networks_only():
    starts = (1e-2, 1e-4, 1e-6)
    two, three, four = (
        np.array([crossing_fraction(3, 1, a0, depth) for a0 in starts]) for depth in (2, 3, 4)
    )
    assert (np.diff(two) < 0).all()
    assert two[-1] == pytest.approx(2 / 3, abs=1e-3)
    for deep in (three, four):
        assert (np.diff(deep) > 0).all()
        assert deep[-1] > 0.99


def test_stages_by_an_independent_integration():
    """The minimum of H from the mode equations, integrated without the closed forms."""
    s = two_levels(1 / 3, 2, 10)
    run = solve_ivp(
        lambda _, a: 2 * a * (s - a),
        (0, 4),
        np.full(12, 1e-3),
        t_eval=np.linspace(0, 4, 40_001),
        rtol=1e-11,
        atol=1e-14,
    )
    lowest = run.t[spectral_entropy(run.y.T).argmin()]
    assert lowest == pytest.approx(minimum_time(3, 1, 1e-3), abs=2e-4)


@given(
    st.lists(st.tuples(st.floats(1.3, 3.0), st.integers(1, 6)), min_size=2, max_size=4),
)
def test_staircase_limit(levels):
    ratios, counts = zip(*levels, strict=True)
    s = 3.0 / np.cumprod([1.0, *ratios[1:]])
    strengths, a0 = np.repeat(s, counts), 1e-250
    between = np.append((1 / s[:-1] + 1 / s[1:]) / 2, 1.3 / s[-1])
    c = np.append(0.7 / s[0], between)
    h = spectral_entropy(mode_strength(c * np.log(1 / a0) / 2, strengths, a0))
    learned = [spectral_entropy(strengths[strengths * x > 1]) for x in between]
    assert h[0] == pytest.approx(np.log(counts[0]), abs=1e-6)
    np.testing.assert_allclose(h[1:], learned, atol=1e-6)
    assert (np.diff(learned) > 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_unequal_starts_change_only_the_first_rest_of_the_staircase(seed):
    s, counts, a0 = np.array([3.0, 1.5, 0.6]), [3, 2, 4], 1e-250
    strengths = np.repeat(s, counts)
    factors = 10 ** np.random.default_rng(seed).uniform(-1, 1, strengths.size)
    c = np.array([0.7 / 3, 0.5, 1.1, 2.5])
    h = spectral_entropy(mode_strength(c * np.log(1 / a0) / 2, strengths, a0 * factors))
    learned = [spectral_entropy(strengths[strengths * x > 1]) for x in c[1:]]
    np.testing.assert_allclose(h, [spectral_entropy(factors[:3]), *learned], atol=1e-6)
    assert h[0] < np.log(3) - 0.01


def test_first_rest_begins_before_anything_is_learned():
    values, counts = tree_spectrum(3, 2, flip=0.05)
    steps = np.append(np.sqrt(values / 8), 0.08)
    strengths, t = np.repeat(steps, [*counts, 24]), np.linspace(0, 20, 4001)
    first = []
    for a0 in (1e-6, 1e-9, 1e-12):
        a = mode_strength(t, strengths, a0)
        low = (spectral_entropy(a) < 0.05).argmax()
        assert low > 0
        assert a[low, 0] < 1e-3 * steps[0]
        first.append(t[low])
    assert np.ptp(first) < 0.02  # while learning itself is delayed by log(1/a0)


def sign_changes(levels, counts, a0, depth):
    """Of dH/dt, for levels with multiplicities."""
    end = 3 * learning_time(levels[-1:], a0, 0.9, depth=depth)[0]
    a = mode_strength(np.geomspace(1e-4, end, 600), levels, a0, depth=depth)
    energy, g = counts * a**2, growth_rate(a, levels, depth=depth)
    p = energy / energy.sum(axis=1, keepdims=True)
    move = p * (g - (p * g).sum(axis=1, keepdims=True))
    rate = -(move * np.log(p / counts)).sum(axis=1)
    return np.count_nonzero(np.diff(np.sign(rate[np.abs(rate) > 1e-8])))


def test_two_layers_can_turn_more_than_once():
    levels = np.array([5, 2, 0.5])
    assert sign_changes(levels, np.array([1, 1000, 20_000]), 0.01, depth=2) == 3
    assert sign_changes(levels, np.array([1, 1000, 20_000]), 1e-3, depth=2) == 1


def test_three_layers_can_turn_more_than_once():
    levels, counts = np.array([2.096, 0.871, 0.393, 0.26, 0.103]), [2, 112, 5, 947, 100]
    assert sign_changes(levels, np.array(counts), 0.0612, depth=3) == 3


@given(*TWO_LEVELS)
def test_exercises(ratio, start, r, noise):
    s, n = 3.0, 3.0 * ratio
    strong, weak = mode_strength([minimum_time(s, n, start * n)], [s, n], start * n)[0]
    many = r * (s - n + weak) ** 2 / weak**2
    assert r * strong**2 == pytest.approx(many * weak**2, rel=1e-6)
    end = spectral_entropy(two_levels(ratio, r, noise)) - np.log(r)
    noise_share = noise * n**2 / (r * s**2 + noise * n**2)
    by_hand = np.log1p(noise * n**2 / (r * s**2)) - noise_share * np.log(n**2 / s**2)
    assert end == pytest.approx(by_hand, abs=1e-9)


def test_one_entropy_two_errors():
    t, s = np.linspace(0, 8, 801), two_levels(1 / 3, 2, 10)
    a = mode_strength(t, s, 1e-3)
    after = t > minimum_time(3, 1, 1e-3)
    as_signal, as_noise = (
        ((a - teacher) ** 2).sum(axis=1)[after] for teacher in (s, np.where(s == 3, s, 0.0))
    )
    assert (np.diff(as_signal) < 0).all()
    assert as_noise[-1] > 100 * as_noise.min()
    assert (np.diff(spectral_entropy(a)[after]) > 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_group_rate(seed):
    rng = np.random.default_rng(seed)
    s, signal = rng.uniform(0.3, 3, 12), np.arange(12) < 4
    t, step = rng.uniform(0.3, 3, 20), 1e-5
    t.sort()

    def state(t):
        a = mode_strength(t, s, 1e-3)
        return a, group_entropy(a, signal)

    (_, before), (a, now), (_, later) = state(t - step), state(t), state(t + step)

    def slope(name):
        return (getattr(later, name) - getattr(before, name)) / (2 * step)

    share = now.share
    exchange = slope("share") * (now.signal - now.noise - np.log(share / (1 - share)))
    parts = share * slope("signal") + (1 - share) * slope("noise") + exchange
    np.testing.assert_allclose(parts, entropy_rate(a, growth_rate(a, s)), rtol=1e-5, atol=1e-7)


def test_late_signal_and_noise_are_told_apart():
    values, counts = tree_spectrum(3, 2, flip=0.05)
    steps, a0 = np.append(np.sqrt(values / 8), 0.08), 1e-8
    strengths, signal = np.repeat(steps, [*counts, 24]), np.arange(32) < 8
    half = learning_time(steps, a0)
    cuts = [half[0] + 1, *(half[1:-1] + half[2:]) / 2, 2 * half[-1]]
    for i, (start, end) in enumerate(pairwise(cuts)):
        t = np.linspace(start, end, 4001)
        a = mode_strength(t, strengths, a0)
        groups, rise = group_entropy(a, signal), np.diff(spectral_entropy(a[[0, -1]]))[0]
        inside = np.trapezoid(groups.share, groups.signal) / rise  # integral of P dH_s
        single = np.trapezoid(entropy_rate_by_mode(a, growth_rate(a, strengths)), t, axis=0)
        assert rise > 0.3
        if i < 3:
            assert inside > 0.98
            assert single[signal].sum() / rise > 0.98
        else:
            assert abs(inside) < 0.02
            assert single[~signal].sum() / rise > 1


def group_parts(a):
    """Energy, mean strength, 8 Cov(a, log a) and entropy within a group."""
    p, log = energy_shares(a), np.log(a)
    mean = p @ a
    return (a**2).sum(), mean, 8 * (p @ ((a - mean) * log)), spectral_entropy(a)


def slope_of_entropy(t, s, n, signal, noise):
    """dH/dt by groups: no cancellation, however small the starts."""
    e_s, a_s, rise_s, h_s = group_parts(mode_strength([t], s, signal)[0])
    e_n, a_n, rise_n, h_n = group_parts(mode_strength([t], n, noise)[0])
    p, q = e_s / (e_s + e_n), e_n / (e_s + e_n)
    lead = (s - a_s) - (n - a_n)
    return p * rise_s + q * rise_n + 4 * p * q * lead * (h_s - h_n - np.log(e_s / e_n))


@pytest.mark.parametrize(("s", "n"), [(3.0, 1.0), (3.0, 2.0), (1.0, 0.2)])
@pytest.mark.parametrize("ratios", [[1.0, 2.0], [1.0, 0.3, 0.1]])
def test_unequal_starts(s, n, ratios):
    turns, logs, noise = [], [], np.linspace(0.5, 1.5, 10)
    for a0 in (1e-40, 1e-60):
        groups = s, n, a0 * np.array(ratios), a0 * noise
        ends = np.log(1 / a0) * np.array([0.5 / (6 * s - 4 * n), 1 / (2 * s)])
        turns.append(brentq(slope_of_entropy, *ends, args=groups))
        logs.append(np.log(1 / a0))
    order = np.diff(turns)[0] / np.diff(logs)[0]
    assert order * (6 * s - 4 * n) == pytest.approx(1, abs=0.02)
    assert mode_strength(turns[-1:], s, groups[2])[0].max() < 1e-3 * s


def weaker_parts(a, g, r):
    """The terms of dH/dt, for r equal modes in front and weaker ones behind."""
    p = energy_shares(a)
    lead = g[:, r:] - (p * g).sum(axis=1, keepdims=True)
    return 2 * p[:, r:] * lead * np.log(p[:, :1] / p[:, r:])


def any_starts(seed, r, a0):
    """Modes of strength 3 from a0; weaker ones, two of them the strongest, from anywhere."""
    rng = np.random.default_rng(seed)
    s = np.r_[np.full(r, 3.0), [1.5, 1.5], rng.uniform(0.2, 1.2, 6)]
    return s, a0 * np.r_[np.ones(r), 10 ** rng.uniform(-1, 1, 8)]


@pytest.mark.parametrize("r", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_weaker_modes(seed, r):
    s, starts = any_starts(seed, r, 1e-2)
    a = mode_strength(np.linspace(0, 4, 50), s, starts)
    g = growth_rate(a, s)
    np.testing.assert_allclose(weaker_parts(a, g, r).sum(axis=1), entropy_rate(a, g), atol=1e-12)
    starts[0] *= 2  # one start of the signal is another: the other modes are not all that counts
    a = mode_strength(np.linspace(0, 4, 50), s, starts)
    if r > 1:
        g = growth_rate(a, s)
        assert np.abs(weaker_parts(a, g, r).sum(axis=1) - entropy_rate(a, g)).max() > 0.01


@pytest.mark.parametrize("r", [1, 2, 5])
@pytest.mark.parametrize("seed", range(5))
def test_signal_start(seed, r):
    """H falls to a_s = s - n and rises from there, from a share of the noise to a learned mode."""
    a0, eta = 1e-60, 0.02
    s, starts = any_starts(seed, r, a0)
    below, middle, above = (learning_time([3.0], a0, (1.5 + off) / 3)[0] for off in (-eta, 0, eta))
    early = np.linspace(0.02 * below, below, 300)
    a = mode_strength(early, s, starts)
    small = 1 - energy_shares(a)[:, :r].sum(axis=1) < 0.01
    assert small[50:].all()
    assert (weaker_parts(a, growth_rate(a, s), r).sum(axis=1)[small] < 0).all()
    a = mode_strength(np.linspace(above, 0.8 * learning_time([1.5], a0)[0], 300), s, starts)
    assert (weaker_parts(a, growth_rate(a, s), r).sum(axis=1) > 0).all()
    at = mode_strength([middle], s, starts)
    assert spectral_entropy(at)[0] == pytest.approx(np.log(r), abs=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_one_signal_mode_may_start_anywhere(seed):
    off = []
    for a0 in (1e-6, 1e-60):
        s, starts = any_starts(seed, 1, a0)
        t_star = mode_window(s, s, starts, noise_modes=1).t_star
        off.append(mode_strength([t_star], s, starts)[0, 0] - 1.5)
        limit = np.log(3 / a0 * (3 / 1.5 - 1)) / 6
        assert t_star == pytest.approx(limit, abs=0.1 if a0 > 1e-9 else 1e-3)
    assert abs(off[1]) < 1e-3 < off[0]


@pytest.mark.parametrize(("s", "n"), [(3.0, 1.0), (2.0, 1.0), (2.0, 0.5)])
def test_random_starts_turn_in_two_ways(s, n):
    """From random weights t* stays, or moves by 1 / (4s - 2n) per unit of log(1/a0)."""
    found, unit = [], 4 * s - 2 * n
    for scale in (1e-6, 1e-9):  # below, the dip of H is lost in rounding
        t = np.linspace(0.1, 1.3, 300) * np.log(1 / scale**2) / unit
        draws = (
            gaussian_weights([8, 16, 8], scale, rng=np.random.default_rng(seed))
            for seed in range(16)
        )
        sigma = np.diag(np.repeat([s, n], [2, 6]))
        maps = (gradient_flow(t, draw, sigma, rtol=1e-7, atol=0).product for draw in draws)
        found.append([t[map_entropy(path).argmin()] for path in maps])
    order = np.diff(found, axis=0)[0] / np.log(1e6) * unit
    stays, moves = np.abs(order) < 0.1, np.abs(order - 1) < 0.1
    assert stays.sum() >= 1
    assert moves.sum() >= 12
    assert (stays | moves).sum() >= 14


@pytest.mark.parametrize("scale", [1e-3, 1e-6])
def test_one_signal_mode_keeps_its_minimum_from_random_weights(scale):
    sigma, a0 = np.diag([3.0] + [1.5] * 7), 16 * scale**2 / 2
    limit = np.log(3 / a0 * (3 / 1.5 - 1)) / 6
    for seed in range(8):
        start = gaussian_weights([8, 16, 8], scale, rng=np.random.default_rng(seed))
        t = np.linspace(0.3, 1.3, 500) * limit
        path = gradient_flow(t, start, sigma, rtol=1e-8, atol=0).product
        lowest = map_entropy(path).argmin()
        assert t[lowest] == pytest.approx(limit, abs=0.2)
        assert np.linalg.norm(path[lowest], 2) == pytest.approx(1.5, abs=0.07)
