"""The labelled equations and the claims of chapters/stopping_window.md."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from dlnlib.entropy import energy_shares
from dlnlib.modes import growth_rate, learning_time, mode_strength
from dlnlib.random_matrix import (
    bulk_edge,
    bulk_quantiles,
    detection_threshold,
    optimal_shrinker,
    spike_forward,
    typical_spectrum,
)
from dlnlib.stopping import (
    excess_error,
    mode_window,
    spiked_draws,
    spiked_spectra,
    two_level_window,
)
from dlnlib.tasks import spiked_teacher, teacher_targets

# Ratios n / s and m / s, start over n, numbers of signal and of noise modes.
TWO_LEVELS = (
    st.floats(0.05, 0.95),
    st.floats(0.05, 0.98),
    st.floats(1e-8, 0.99),
    st.integers(1, 20),
    st.integers(1, 200),
)


def two_levels(s, m, n, r, nu):
    return np.repeat([s, n], [r, nu]), np.repeat([m, 0.0], [r, nu])


def strength(time, s, a0, depth=2):
    return mode_strength([time], s, a0, depth=depth)[0]


def test_mode_error():
    task = spiked_teacher(12, 9, [3.0, 1.5], noise=0.7, rng=np.random.default_rng(1))
    u, v = task.modes.u, task.modes.v
    for time in (0.5, 1.0, 3.0):
        a = strength(time, task.modes.s, 1e-2)
        error = ((u * a @ v.T - task.teacher) ** 2).sum()
        ours = excess_error(a, teacher_targets(task), energy=(task.teacher**2).sum())
        assert ours == pytest.approx(error, rel=1e-12)


@settings(max_examples=50)
@given(*TWO_LEVELS)
def test_error_rate(ratio, shrink, start, r, nu):
    n, m, a0 = 3 * ratio, 3 * shrink, start * 3 * ratio
    for time in (0.1, 0.7, 2.0):
        strong, weak = strength(time, [3.0, n], a0)
        harm, gain = nu * weak**2 * (n - weak), r * strong * (m - strong) * (3 - strong)
        g = growth_rate([strong, weak], [3.0, n])
        slope = 2 * r * (strong - m) * strong * g[0] + 2 * nu * weak**2 * g[1]
        assert 4 * (harm - gain) == pytest.approx(slope, rel=1e-9, abs=1e-12)


@settings(max_examples=150)
@given(*TWO_LEVELS)
def test_window_test(ratio, shrink, start, r, nu):
    n, m = 3 * ratio, 3 * shrink
    a0 = start * n
    assume(r * (m - a0) * (3 - a0) > nu * a0 * (n - a0) * (1 + 1e-9))
    s, targets = two_levels(3.0, m, n, r, nu)
    window = mode_window(s, targets, a0, noise_modes=r)
    strong, weak = strength(window.t_star, [3.0, n], a0)
    gain, harm = r * strong * (m - strong), nu * weak**2
    assume(abs(gain - harm) > 1e-6 * (abs(gain) + harm))
    assert (window.t_star < window.t_opt) == (gain > harm)
    assert (harm / (r * strong**2) < m / strong - 1) == (gain > harm)
    # one minimum: E falls before it and rises after it
    t = window.t_opt * np.linspace(0.01, 3, 400)
    a = mode_strength(t, [3.0, n], a0)
    rate = nu * a[:, 1] ** 2 * (n - a[:, 1]) - r * a[:, 0] * (m - a[:, 0]) * (3 - a[:, 0])
    seen = np.abs(t / window.t_opt - 1) > 1e-6
    assert (rate[seen & (t < window.t_opt)] < 1e-15).all()
    assert (rate[seen & (t > window.t_opt)] > -1e-15).all()


@settings(max_examples=50)
@given(st.floats(0.05, 0.9), st.floats(0.05, 0.98), st.integers(1, 5), st.integers(1, 30))
def test_window_times(ratio, shrink, r, nu):
    s, n, m = 3.0, 3 * ratio, 3 * shrink
    width = np.log(m * n / ((s - m) * (s - n))) / (2 * s)
    assume(min(m, s - n) > 0.05)
    closed = two_level_window(s, m, n, 1e-12)
    assert closed.t_opt - closed.t_star == pytest.approx(width, abs=1e-9)
    assume(abs(m + n - s) > 1e-3)
    assert (width >= 0) == (s - m <= n)
    exact = mode_window(*two_levels(s, m, n, r, nu), 1e-100, noise_modes=r)
    assert exact.t_opt - exact.t_star == pytest.approx(width, abs=1e-6)
    assert exact.t_opt <= exact.t_memorisation
    assert exact.holds == (s - m <= n)


@settings(max_examples=100)
@given(
    st.floats(0.15, 0.95),
    st.floats(0.3, 0.98),
    st.floats(-8, -0.31),
    st.integers(1, 5),
    st.integers(0, 20),
)
def test_many_noise_modes_keep_the_right_half(ratio, shrink, exponent, r, more):
    n, m, nu = 3 * ratio, 3 * shrink, math.ceil(32 / 27 * r / ratio**3) + more
    a0 = n * 10**exponent  # below n/2
    assume(r * (m - a0) * (3 - a0) > nu * a0 * (n - a0))  # E falls at first
    window = mode_window(*two_levels(3.0, m, n, r, nu), a0, noise_modes=r)
    assert window.t_opt <= window.t_memorisation


@settings(max_examples=50)
@given(*TWO_LEVELS, st.sampled_from([2, 3, 4]))
def test_energy_ratio_at_the_best_time(ratio, shrink, start, r, nu, depth):
    n, m, a0 = 3 * ratio, 3 * shrink, start * 3 * ratio
    s, targets = two_levels(3.0, m, n, r, nu)
    window = mode_window(s, targets, a0, noise_modes=r, depth=depth)
    assume(0 < window.t_opt)
    strong, weak = strength(window.t_opt, [3.0, n], a0, depth)
    assume(m - strong > 1e-4 and n - weak > 1e-4)
    stated = (m - strong) * (3 - strong) / (strong * (n - weak))
    stated *= (strong / weak) ** (1 - 2 / depth)
    assert nu * weak**2 / (r * strong**2) == pytest.approx(stated, rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_window_shrinkage(seed):
    """Any spectrum, small starts; the later modes may be worth learning or not."""
    rng = np.random.default_rng(seed)
    s = np.sort(rng.uniform(0.2, 3, 6))[::-1] + 0.3 * np.arange(6)[::-1]
    for late in (0.0, 0.95):
        m = s * np.r_[rng.uniform(0.2, 0.99), np.full(5, late)]
        a0 = 1e-250
        window = mode_window(s, m, a0, noise_modes=1)
        assert strength(window.t_star, s, a0)[0] == pytest.approx(s[0] - s[1], abs=1e-3)
        if late:
            assert window.t_star < 0.9 * window.t_opt
        else:
            assert strength(window.t_opt, s, a0)[0] == pytest.approx(m[0], abs=1e-6)
            assert (window.t_star < window.t_opt) == (s[0] - m[0] < s[1])
    nothing = mode_window(s, -0.1 * s, 1e-250, noise_modes=1)
    assert nothing.t_opt == 0


@pytest.mark.parametrize("seed", range(4))
def test_window_shrinkage_from_multiples_of_one_start(seed):
    rng = np.random.default_rng(seed)
    s = np.array([4.0, 2.5, 1.5, 0.7])
    start = 1e-90 * 10 ** rng.uniform(-1, 1, 4)
    for target in (3.0, 1.0):
        window = mode_window(s, [target, 0, 0, 0], start, noise_modes=1)
        at_star, at_opt = (strength(t, s, start)[0] for t in (window.t_star, window.t_opt))
        assert at_star == pytest.approx(1.5, abs=1e-3)
        assert at_opt == pytest.approx(target, abs=1e-3)
        assert (window.t_star < window.t_opt) == (4 - target < 2.5)


def test_entropy_minimum_and_best_time_on_draws():
    rng = np.random.default_rng(8)
    for s0 in (2.0, 3.0, 4.0):
        s, m = next(spiked_spectra(1, 150, 150, [s0], noise=1.0, rng=rng))
        window = mode_window(s, m, 1e-40, noise_modes=1)
        early, best = (strength(t, s, 1e-40)[0] for t in (window.t_star, window.t_opt))
        assert early == pytest.approx(s[0] - s[1], abs=0.06)
        assert early == pytest.approx(s[0] - bulk_edge(), abs=0.3)
        assert best == pytest.approx(m[0], abs=0.03)
        assert best == pytest.approx(optimal_shrinker(s[0]), abs=0.3)


@given(st.floats(0.05, 20), st.floats(1.001, 10), st.floats(0.1, 3))
def test_spike_observed(aspect, factor, noise):
    s0 = factor * detection_threshold(noise=noise, aspect=aspect)
    s, m = spike_forward(s0, noise=noise, aspect=aspect)
    assert s**2 == pytest.approx((s0**2 + noise**2) * (s0**2 + aspect * noise**2) / s0**2)
    assert m == pytest.approx((s0**4 - aspect * noise**4) / (s0**2 * s), rel=1e-6)


@given(st.floats(0.01, 50), st.floats(0.05, 20), st.floats(0.1, 3))
def test_spike_gap(aspect, factor, noise):
    assume(abs(factor - 1) > 1e-3)
    s0 = factor * detection_threshold(noise=noise, aspect=aspect)
    s, m = spike_forward(s0, noise=noise, aspect=aspect)
    edge = bulk_edge(noise=noise, aspect=aspect)
    if factor > 1:
        assert s - m < edge
    else:
        assert s - m == pytest.approx(edge)
    # the formulas continued below the threshold would put s - m above the edge
    x, q = factor**2 * math.sqrt(aspect), math.sqrt(aspect)
    gap = (1 + aspect + 2 * aspect / x) / math.sqrt((x + 1) * (x + aspect) / x)
    assert (gap < 1 + q) == (factor > 1)


@pytest.mark.parametrize("shape", [(60, 60), (40, 160), (160, 40)])
@pytest.mark.parametrize("seed", range(2))
def test_left_half_and_detection_threshold(shape, seed):
    """The smallest starts, random draws: the window turns on at the threshold."""
    rng, edge = np.random.default_rng(seed), detection_threshold(aspect=shape[0] / shape[1])
    shares = []
    for factor in (0.5, 1.5):
        holds, limit = [], []
        for s, m in spiked_spectra(30, *shape, [factor * edge], noise=1.0, rng=rng):
            window = mode_window(s, m, 1e-250, noise_modes=1)
            holds.append(window.t_star <= window.t_opt)
            limit.append(s[0] - m[0] < s[1])
        assert np.mean(np.array(holds) == limit) > 0.85  # 1e-250 is no limit where s_1 - s_2 ~ 0
        shares.append(np.mean(limit))
    assert shares[0] < 0.3
    assert shares[1] > 0.85


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("a0", [1e-8, 1e-5, 1e-3])
def test_boundary_of_the_phase_diagram(a0, seed):
    """Most draws are inside just above the predicted boundary, most are outside just below."""

    def lead(s0):
        window = mode_window(*typical_spectrum(s0, 100), a0, noise_modes=1)
        return window.t_opt - min(window.t_star, 1e9)

    boundary = brentq(lead, 1.001, 9)
    rng = np.random.default_rng(seed)
    below, above = (
        spiked_draws(25, 100, 100, [boundary + side], a0, noise=1.0, rng=rng).window
        for side in (-0.25, 0.25)
    )
    assert below.holds.mean() < 0.4
    assert above.holds.mean() > 0.6
    assert (below.t_opt <= below.t_memorisation).all()
    assert (above.t_opt <= above.t_memorisation).all()


@pytest.mark.parametrize("seed", range(3))
def test_one_per_cent_needs_a_small_start(seed):
    rng = np.random.default_rng(seed)
    made = spiked_draws(
        15, 100, 100, [3.0], [1e-8, 1e-2], noise=1.0, rng=rng, variant="share"
    ).window
    inside = (made.t_opt <= made.t_memorisation)[:, :, 0].mean(axis=0)
    assert inside[0] > 0.8
    assert inside[1] == 0


@pytest.mark.parametrize("depth", [3, 4, 5, 10, math.inf])
@pytest.mark.parametrize(("n", "m"), [(1.0, 2.7), (2.0, 1.0), (0.3, 2.9)])
def test_deep_window(depth, n, m):
    power = 1.0 if depth == math.inf else 1 - 2 / depth
    s, targets = two_levels(3.0, m, n, 2, 10)
    lack, gap = [], []
    # deeper networks wait a0^-power, known to 16 digits only
    for a0 in (1e-5, 1e-6, 1e-7):
        window = mode_window(s, targets, a0, noise_modes=2, depth=depth)
        assert window.t_opt < window.t_star < window.t_memorisation
        strong, weak = strength(window.t_star, [3.0, n], a0, depth)
        lack.append((3 - strong) / (n * 3 / (3 - n) * (a0 / 3) ** power))
        gap.append(window.t_star - window.t_opt)
        fuel = weak**-power / a0**-power
        excess = np.subtract(
            *excess_error(
                [strength(t, s, a0, depth) for t in (window.t_star, window.t_opt)], targets
            )
        )
    assert lack[-1] == pytest.approx(1, abs=0.12)
    assert abs(lack[-1] - 1) <= abs(lack[0] - 1) + 1e-3
    assert fuel == pytest.approx(1 - n / 3, abs=0.12)
    assert excess == pytest.approx(2 * (3 - m) ** 2, rel=0.1)
    per_fold = power * math.log(10) / (9 if depth == math.inf else depth * 3 ** (1 + power))
    np.testing.assert_allclose(np.diff(gap), per_fold, rtol=0.15)


def test_two_layers_are_not_reversed():
    s, m = two_levels(3.0, 2.7, 1.0, 2, 10)
    for a0 in (1e-3, 1e-9, 1e-30):
        assert mode_window(s, m, a0, noise_modes=2).holds
        deep = mode_window(s, m, a0, noise_modes=2, depth=3)
        assert deep.t_opt < deep.t_star < deep.t_memorisation < math.inf


@pytest.mark.parametrize("seed", range(3))
def test_cost_of_the_entropy_minimum(seed):
    """(m + n - s)^2 with two layers, (s - m)^2 with more: equal at twice the threshold."""
    rng = np.random.default_rng(seed)
    for s0 in (1.5, 3.0, 6.0):
        spike, costs = spike_forward(s0), {}
        for depth, a0 in ((2, 1e-40), (3, 1e-12)):
            found = []
            for s, m in spiked_spectra(5, 120, 120, [s0], noise=1.0, rng=rng):
                window = mode_window(s, m, a0, noise_modes=1, depth=depth)
                a = [strength(t, s, a0, depth) for t in (window.t_star, window.t_opt)]
                found.append(np.divide(*excess_error(a, m, energy=s0**2)))
            costs[depth] = np.mean(found)
        early, late = spike.m + 2 - spike.s, spike.s - spike.m
        least = s0**2 - spike.m**2
        assert costs[2] == pytest.approx(1 + early**2 / least, rel=0.3)
        assert costs[3] == pytest.approx(1 + late**2 / least, rel=0.3)
        assert (costs[2] > costs[3]) == (s0 > 2)
    spike = spike_forward(2.0)
    assert spike.m + 2 - spike.s == pytest.approx(spike.s - spike.m)


def unequal(factors, m, a0, depth=2):
    """Window, strengths at t*, and E(t*) over the error of the zero map; ten noise modes of 1."""
    r = len(factors)
    s, targets = two_levels(3.0, m, 1.0, r, 10)
    start = a0 * np.r_[factors, np.ones(10)]
    window = mode_window(s, targets, start, noise_modes=r, depth=depth)
    a = strength(window.t_star, s, start, depth)
    return window, a[:r], excess_error(a, targets, energy=r * m**2) / (r * m**2)


@pytest.mark.parametrize("m", [2.7, 1.8])  # s - m below and above n
@pytest.mark.parametrize("factors", [[2.0, 1.0], [1.0, 3.0, 5.0], [10.0, 1.0, 1.0]])
def test_unequal_starts_stop_near_the_zero_map(factors, m):
    errors, times = [], []
    for a0 in (1e-4, 1e-8, 1e-12):
        window, _, error = unequal(factors, m, a0)
        assert window.holds
        errors.append(error)
        times.append([window.t_star, window.t_opt])
    assert (np.diff(errors) > 0).all()
    assert errors[-1] > 1 - 1e-4
    orders = np.diff(times, axis=0)[-1] / np.log(1e4)
    np.testing.assert_allclose(orders, [1 / 14, 1 / 6], rtol=0.05)  # 1 / (6s - 4n), 1 / 2s
    window, _, error = unequal(np.ones(len(factors)), m, 1e-12)
    assert window.holds == (3 - m < 1)
    assert error < 0.2


@pytest.mark.parametrize("depth", [3, 4, 8])
def test_unequal_starts_undo_the_reversal(depth):
    """The mode ahead is learned alone: the left half holds, and the others are missing."""
    for factors in ([2.0, 1.0], [3.0, 1.0, 1.0]):
        window, (first, second, *_), error = unequal(factors, 2.7, 1e-5, depth)
        assert window.t_star < window.t_opt
        assert second < 0.1 < 2.7 < first
        assert error == pytest.approx(1 - 1 / len(factors), abs=0.02)
        window, *_ = unequal(np.ones(len(factors)), 2.7, 1e-5, depth)
        assert window.t_star > window.t_opt


def gallery(levels, targets, counts, noisy, a0, depth=2):
    s, m = (np.repeat(np.array(x, dtype=float), counts) for x in (levels, targets))
    window = mode_window(s, m, a0, noise_modes=np.repeat(noisy, counts) > 0, depth=depth)
    a = [strength(t, s, a0, depth) for t in (window.t_star, window.t_opt)]
    cost = -np.diff(excess_error(a, m))[0] / (m**2).sum()
    return window.t_star <= window.t_opt, window.t_opt <= window.t_memorisation, cost


@pytest.mark.parametrize("a0", [0.2, 0.25, 0.3])
def test_failure_large_start(a0):
    assert not gallery([3, 1], [2.7, 0], [2, 10], [0, 1], a0)[0]
    assert gallery([3, 1], [2.7, 0], [2, 10], [0, 1], 1e-4)[0]


@pytest.mark.parametrize("many", [1_000, 4_000])
def test_failure_many_noise_modes(many):
    assert not gallery([3, 1], [2.7, 0], [2, many], [0, 1], 1e-2)[0]
    assert gallery([3, 1], [2.7, 0], [2, many], [0, 1], 1e-5)[0]  # a smaller start mends it


def test_failure_hidden_signal():
    for a0 in (1e-4, 1e-12, 1e-100):  # no start mends s - m > n
        assert not gallery([3, 1], [1.8, 0], [2, 10], [0, 1], a0)[0]


def test_failure_several_levels():
    """The window holds, and its left end has learned one spike of five."""
    left, right, cost = gallery([6, 3, 1], [5.8, 2.7, 0], [1, 4, 10], [0, 0, 1], 1e-4)
    assert left
    assert right
    assert cost > 0.4


def test_failure_strong_noise():
    case = [3, 2, 1], [2.7, 0, 0.9], [2, 1, 9], [0, 1, 0]
    for a0 in (1e-4, 1e-12):
        left, right, _ = gallery(*case, a0)
        assert left
        assert not right
    # worth it because 9 x 0.9^2 exceeds 2 x 0.3^2 + 2^2; with two late modes it is not
    assert all(gallery([3, 2, 1], [2.7, 0, 0.9], [2, 1, 2], [0, 1, 0], 1e-4)[:2])


def test_failure_few_noise_modes():
    left, right, _ = gallery([3, 2.9], [2.9, 0], [20, 1], [0, 1], 0.1)
    assert left
    assert not right
    assert gallery([3, 2.9], [2.9, 0], [20, 30], [0, 1], 0.1)[1]


def test_failure_three_layers():
    left, right, _ = gallery([3, 1], [2.7, 0], [2, 10], [0, 1], 1e-4, depth=3)
    assert not left
    assert right


@pytest.mark.parametrize("seed", range(3))
def test_failure_weak_signal(seed):
    """Above the threshold, yet not inside the window from an ordinary start."""
    rng = np.random.default_rng(seed)
    made = spiked_draws(20, 100, 100, [1.4], [1e-40, 1e-3], noise=1.0, rng=rng).window
    left = (made.t_star <= made.t_opt)[:, :, 0].mean(axis=0)
    assert left[0] > 0.7
    assert left[1] == 0


def live_window(s0, size, a0, depth=2):
    """What the live figure shows: two equal spikes, noise modes with target zero."""
    spike = spike_forward(s0)
    s = np.r_[spike.s, spike.s, bulk_quantiles(size - 2)]
    m = np.r_[spike.m, spike.m, np.zeros(size - 2)]
    return mode_window(s, m, a0, noise_modes=2, depth=depth)


def test_what_the_live_figure_shows():
    """The numbers in the text beside it."""
    for a0, boundary in ((1e-3, 1.8), (1e-8, 1.2)):
        assert live_window(boundary + 0.05, 100, a0).holds
        below = live_window(boundary - 0.05, 100, a0)
        assert below.t_opt < below.t_star
    for a0 in (1e-3, 1e-5, 1e-8):
        deep = live_window(3.0, 100, a0, depth=3)
        assert deep.t_opt < deep.t_star < deep.t_memorisation
        many = live_window(3.0, 10_000, a0)
        assert (many.t_star <= many.t_opt) == (a0 < 1e-3)


@given(st.floats(1.01, 10))
def test_width_of_the_window(s0):
    spike = spike_forward(s0)
    window = two_level_window(spike.s, spike.m, 2.0, 1e-9)
    width = np.log(s0 * (s0 + 1) / (s0 - 1)) / (2 * spike.s)
    assert window.t_opt - window.t_star == pytest.approx(width, rel=1e-6)


@given(st.floats(1.5, 4), st.floats(0.5, 0.95))
def test_worth_of_a_second_spike(first, ratio):
    second = 1 + (first - 1) * ratio
    gain, price = second - 1 / second, 2 / first
    assume(abs(gain - price) > 0.02 and second > 1.1)
    (s1, s2), (m1, m2) = spike_forward([first, second])
    assume(s1 - s2 > 0.05 and s2 > 2.01)
    spectrum = [s1, s2, 1.99]
    window = mode_window(spectrum, [m1, m2, 0.0], 1e-300, noise_modes=2)
    assert (strength(window.t_opt, spectrum, 1e-300)[1] > 0.1) == (gain > price)


def test_half_time_is_where_the_leading_noise_mode_is_half_learned():
    s, m = two_levels(3.0, 2.7, 1.0, 2, 10)
    for depth in (2, 3):
        window = mode_window(s, m, 1e-3, noise_modes=2, depth=depth)
        assert window.t_memorisation == pytest.approx(learning_time([1.0], 1e-3, depth=depth)[0])
    share = mode_window(s, m, 1e-3, noise_modes=2, variant="share")
    a = mode_strength([share.t_memorisation], s, 1e-3)
    assert energy_shares(a)[0, 2:].sum() == pytest.approx(0.01, abs=1e-6)
