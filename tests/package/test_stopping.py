"""The stopping window: compiled search against dense grids and integrated trajectories."""

import math
import tracemalloc

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import brentq, minimize_scalar

from dlnlib.entropy import energy_shares, entropy_rate, spectral_entropy
from dlnlib.modes import growth_rate, learning_time, mode_strength
from dlnlib.modes.clock import decay_clock, rise_clock
from dlnlib.stopping import (
    StoppingWindow,
    excess_error,
    memorisation_time,
    mode_window,
    spiked_draws,
    spiked_spectra,
    two_level_window,
)
from dlnlib.stopping.mode_tables import _clock_tables
from dlnlib.tasks import Task, spiked_teacher, teacher_targets

DEPTHS = [2, 3, 4, math.inf]
STARTS = [1e-12, 1e-6, 1e-3, 0.1, 0.7, 5.0]
TWO_LEVELS = np.repeat([3.0, 1.0], [2, 10]), np.repeat([2.7, 0.0], [2, 10])


def spectrum(seed, spikes, size=40, noise=1.0):
    rng = np.random.default_rng(seed)
    return next(spiked_spectra(1, size, size, spikes, noise=noise, rng=rng))


def dense_times(s, a0, depth, points=2_000):
    """Times at which each mode passes many levels, so that no transition falls between two."""
    levels = np.linspace(-12, 12, 41)
    times = [np.zeros(1)]
    for one in s[(s > 1.01 * a0) & (s > 1e-3 * s.max())]:
        fractions = 1 / (1 + np.exp(-levels))
        reached = fractions * one > 1.001 * a0
        times += [learning_time([one], a0, f, depth=depth) for f in fractions[reached]]
    last = max(2.0, np.concatenate(times).max())
    times.append(np.geomspace(1e-3 * last / 50, 3 * last, points))
    return np.sort(np.concatenate(times))


def curves(t, s, m, a0, depth):
    a = mode_strength(t, s, a0, depth=depth)
    return spectral_entropy(a), excess_error(a, m)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("a0", STARTS)
@pytest.mark.parametrize("spikes", [[2.0], [0.6], [4.0, 1.5], [5.0, 3.0, 1.2]], ids=str)
def test_minima_are_global(depth, a0, spikes):
    """No time of a dense grid has a lower entropy or error than the window says."""
    s, m = spectrum(len(spikes), spikes, size=15)
    window = mode_window(s, m, a0, noise_modes=len(spikes), depth=depth)
    h, e = curves(dense_times(s, a0, depth), s, m, a0, depth)
    ends = [spectral_entropy(s), excess_error(s, m)]
    for time, least, end, scale in zip(
        (window.t_star, window.t_opt), (h, e), ends, (1e-9, 1e-9), strict=True
    ):
        which = 0 if least is h else 1
        found = end if math.isinf(time) else curves([time], s, m, a0, depth)[which][0]
        assert found <= least.min() + scale * np.abs(least).max()


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("seed", range(3))
def test_minima_are_refined(depth, seed):
    """Both rates vanish there, far below what any grid gives."""
    s, m = spectrum(seed, [2.5])
    window = mode_window(s, m, 1e-4, noise_modes=1, depth=depth)
    for time, least_error in ((window.t_star, False), (window.t_opt, True)):
        a = mode_strength([time], s, 1e-4, depth=depth)
        g = growth_rate(a, s, depth=depth)
        rate = (2 * (a - m) * a * g).sum() if least_error else entropy_rate(a, g)[0]
        assert abs(rate) < 1e-7


@pytest.mark.parametrize("depth", [2, 3, math.inf])
def test_against_an_integrated_trajectory(depth):
    """Neither the closed forms nor the search: ODE solver and scalar minimiser."""
    s, m = spectrum(5, [3.0], size=12)
    a0 = 0.02
    factor, power = (1.0, 2.0) if depth == math.inf else (depth, 2 - 2 / depth)
    window = mode_window(s, m, a0, noise_modes=1, depth=depth)
    run = solve_ivp(
        lambda _, a: factor * a**power * (s - a),
        (0, 3 * window.t_star),
        np.full(12, a0),
        rtol=1e-10,
        atol=1e-13,
        dense_output=True,
    ).sol
    for time, cost in (
        (window.t_star, lambda t: float(spectral_entropy(run(t)))),
        (window.t_opt, lambda t: float(excess_error(run(t), m))),
    ):
        best = minimize_scalar(
            cost, bounds=(0.5 * time, 1.5 * time), method="bounded", options={"xatol": 1e-9}
        )
        assert best.x == pytest.approx(time, rel=2e-5)


@settings(max_examples=40)
@given(
    st.floats(0.05, 0.9),
    st.floats(0.3, 0.99),
    st.integers(1, 5),
    st.integers(1, 50),
    st.floats(1e-12, 0.3),
)
def test_two_levels_by_root_finding(ratio, shrink, r, many, start):
    s, n = 3.0, 3.0 * ratio
    a0 = start * n
    modes = np.repeat([s, n], [r, many])
    m = np.repeat([shrink * s, 0.0], [r, many])
    window = mode_window(modes, m, a0, noise_modes=r)

    def gap(t):
        strong, weak = mode_strength([t], [s, n], a0)[0]
        return strong - weak - (s - n)

    expected = brentq(gap, 0, learning_time([n], a0, 0.99)[0], xtol=1e-13)
    assert window.t_star == pytest.approx(expected, rel=1e-9)
    best, *beside = excess_error(
        [mode_strength([window.t_opt * f], modes, a0)[0] for f in (1, 0.99, 1.01)], m
    )
    assert best <= min(beside) + 1e-12


@pytest.mark.parametrize(("s", "m", "n"), [(3.0, 2.7, 1.0), (2.5, 1.5, 2.0), (4.0, 3.9, 0.5)])
def test_two_level_window(s, m, n):
    """The closed forms are the limit of small starts."""
    modes, targets = np.repeat([s, n], [2, 3]), np.repeat([m, 0.0], [2, 3])
    gaps = []
    for a0 in (1e-10, 1e-20, 1e-40):
        closed = two_level_window(s, m, n, a0)
        exact = mode_window(modes, targets, a0, noise_modes=2)
        gaps.append([exact.t_star - closed.t_star, exact.t_opt - closed.t_opt])
        assert exact.t_memorisation == pytest.approx(closed.t_memorisation, rel=1e-12)
    assert (np.abs(gaps[0]) >= np.abs(gaps[-1]) - 1e-12).all()
    assert np.abs(gaps[-1]).max() < 5 * 1e-40 ** (1 - n / s) ** 1 + 1e-9
    many = two_level_window([s, s + 1], [m, m], n, 1e-3, tau=2.0)
    assert many.t_star.shape == (2,)
    assert many.t_star[0] == pytest.approx(2 * two_level_window(s, m, n, 1e-3).t_star)


def test_two_level_window_at_its_ends():
    assert two_level_window(2.0, 0.0, 2.0, 1e-3).t_opt == 0
    assert two_level_window(2.0, 0.0, 2.0, 1e-3).t_star == 0
    for bad in ((1.0, 0.5, 2.0, 1e-3), (3.0, 3.0, 1.0, 1e-3), (3.0, 2.0, 1.0, 0.6)):
        with pytest.raises(ValueError, match=r"must be (at least|below)"):
            two_level_window(*bad)


def test_the_numbers_of_the_two_level_example():
    s, m = TWO_LEVELS
    two, three = (mode_window(s, m, 1e-3, noise_modes=2, depth=depth) for depth in (2, 3))
    assert (round(two.t_star, 4), round(two.t_opt, 4)) == (1.4544, 1.6975)
    assert (round(three.t_star, 3), round(three.t_opt, 3)) == (3.413, 3.325)
    assert two.holds
    assert not three.holds


@pytest.mark.parametrize("depth", DEPTHS)
def test_windows_at_the_ends_of_time(depth):
    s, m = TWO_LEVELS
    nothing = mode_window(s, np.zeros(12), 1e-3, noise_modes=2, depth=depth)
    assert nothing.t_opt == 0
    everything = mode_window(s, s, 1e-3, noise_modes=12, depth=depth)
    assert everything.t_opt == math.inf
    assert everything.t_memorisation == math.inf
    above = mode_window(s, m, 1.5, noise_modes=2, depth=depth)
    assert above.t_star == math.inf
    assert above.t_memorisation == 0
    flat = mode_window([1.0, 1.0], [1.0, 1.0], 1.0, noise_modes=2, depth=depth)
    assert flat.t_star == 0
    zeros = mode_window([3.0, 1.0, 0.0], [2.0, 0.0, 0.0], 1e-3, noise_modes=1, depth=depth)
    assert 0 < zeros.t_star < math.inf
    assert 0 < zeros.t_opt < math.inf


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("a0", [1e-9, 1e-3, 0.3])
def test_memorisation_time(depth, a0):
    s, m = spectrum(3, [2.5], size=12)
    half = memorisation_time(s, a0, noise_modes=1, depth=depth)
    assert half == pytest.approx(learning_time(s[1:2], a0, depth=depth)[0], rel=1e-9)
    late = memorisation_time(s, a0, noise_modes=1, depth=depth, variant="share", level=0.3)

    def share(t):
        return energy_shares(mode_strength([t], s, a0, depth=depth))[0, 1:].sum()

    grid = dense_times(s, a0, depth)
    noise = energy_shares(mode_strength(grid, s, a0, depth=depth))[:, 1:].sum(axis=1)
    if (noise > 0.3).all():
        assert late == 0
    else:
        assert share(late) == pytest.approx(0.3, abs=1e-6)
        assert (noise[grid > late * (1 + 1e-9)] > 0.3).all()
    window = mode_window(s, m, a0, noise_modes=1, depth=depth, variant="share", level=0.3)
    assert window.t_memorisation == late


def test_noise_that_stays_below_its_level_is_never_memorised():
    s = np.repeat([3.0, 0.01], [2, 10])
    assert memorisation_time(s, 1e-4, noise_modes=2, variant="share") == math.inf
    assert memorisation_time(s, 1e-4, noise_modes=12) == math.inf
    assert 0 < memorisation_time(s, 1e-4, noise_modes=2) < math.inf


@pytest.mark.parametrize("depth", [2, 3])
def test_symmetries(depth):
    s, m = spectrum(1, [2.5, 1.5])
    noise = np.arange(40) >= 2
    plain = mode_window(s, m, 1e-3, noise_modes=2, depth=depth)
    order = np.random.default_rng(0).permutation(40)
    shuffled = mode_window(s[order], m[order], 1e-3, noise_modes=noise[order], depth=depth)
    slow = mode_window(s, m, 1e-3, noise_modes=2, depth=depth, tau=3.0)
    large = mode_window(2 * s, 2 * m, 2e-3, noise_modes=2, depth=depth)
    each = mode_window(s, m, np.full(40, 1e-3), noise_modes=2, depth=depth)
    for name in ("t_star", "t_opt", "t_memorisation"):
        time = getattr(plain, name)
        assert getattr(shuffled, name) == pytest.approx(time, rel=1e-8)
        assert getattr(slow, name) == pytest.approx(3 * time, rel=1e-8)
        assert getattr(large, name) == pytest.approx(time / 2 ** (2 - 2 / depth), rel=1e-8)
        assert getattr(each, name) == time


def test_many_spectra_are_each_one_spectrum():
    pairs = [spectrum(seed, [2.0]) for seed in range(6)]
    s, m = (np.array(x) for x in zip(*pairs, strict=True))
    many = mode_window(s, m, 1e-3, noise_modes=1)
    single = [mode_window(*pair, 1e-3, noise_modes=1) for pair in pairs]
    for name in ("t_star", "t_opt", "t_memorisation"):
        np.testing.assert_array_equal(getattr(many, name), [getattr(w, name) for w in single])
    np.testing.assert_array_equal(many.holds, [w.holds for w in single])
    assert isinstance(single[0].holds, bool)


def test_holds():
    assert StoppingWindow(1.0, 1.0, 2.0).holds
    assert not StoppingWindow(1.0, 0.9, 2.0).holds
    assert not StoppingWindow(1.0, 2.1, 2.0).holds
    assert StoppingWindow(1.0, math.inf, math.inf).holds


def test_excess_error():
    rng = np.random.default_rng(0)
    task = spiked_teacher(7, 5, [3.0, 1.0], noise=0.5, rng=rng)
    u, v, m = task.modes.u, task.modes.v, teacher_targets(task)
    a = rng.uniform(0, 3, size=(4, 5))
    plain = [((u * row @ v.T - task.teacher) ** 2).sum() for row in a]
    energy = (task.teacher**2).sum()
    np.testing.assert_allclose(excess_error(a, m, energy=energy), plain, rtol=1e-12)
    np.testing.assert_allclose(m, np.diag(u.T @ task.teacher @ v), atol=1e-13)
    with pytest.raises(ValueError, match="one target per mode"):
        excess_error(a, m[:3])
    with pytest.raises(ValueError, match="no teacher"):
        teacher_targets(Task(sigma=np.eye(2)))


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
def test_spiked_spectra(shape):
    """The same distribution as a teacher with random directions, and an exact sum rule."""
    rng = np.random.default_rng(2)
    ours = np.array(list(spiked_spectra(150, *shape, [3.0, 2.5], noise=0.8, rng=rng)))
    tasks = [spiked_teacher(*shape, [3.0, 2.5], noise=0.8, rng=rng) for _ in range(150)]
    plain = np.array([(task.modes.s, teacher_targets(task)) for task in tasks])
    error = np.sqrt((ours.var(axis=0) + plain.var(axis=0)) / 150)
    assert (np.abs(ours.mean(axis=0) - plain.mean(axis=0)) < 5 * error).all()
    whole = [(s * m).sum() for s, m in ours]  # = tr(Sigma^T W*), of mean |W*|^2
    spread = 0.8 / np.sqrt(shape[1]) * np.hypot(3.0, 2.5)
    assert abs(np.mean(whole) - 3.0**2 - 2.5**2) < 5 * spread / np.sqrt(150)
    assert np.std(whole) == pytest.approx(spread, rel=0.3)


def test_spiked_draws():
    t, starts, depths = np.linspace(0, 6, 40), [1e-3, 0.1], [2, 3]
    made = spiked_draws(
        5, 20, 30, [2.5], starts, noise=1.0, depth=depths, t=t, rng=np.random.default_rng(4)
    )
    spectra = list(spiked_spectra(5, 20, 30, [2.5], noise=1.0, rng=np.random.default_rng(4)))
    for j, a0 in enumerate(starts):
        for k, depth in enumerate(depths):
            single = [mode_window(s, m, a0, noise_modes=1, depth=depth) for s, m in spectra]
            for name in ("t_star", "t_opt", "t_memorisation"):
                expected = [getattr(window, name) for window in single]
                np.testing.assert_array_equal(getattr(made.window, name)[:, j, k], expected)
            h, e = np.transpose([curves(t, s, m, a0, depth) for s, m in spectra], (1, 0, 2))
            np.testing.assert_allclose(made.entropy[j, k], h.mean(axis=0), atol=1e-8)
            np.testing.assert_allclose(made.test_error[j, k], e.mean(axis=0) + 2.5**2, atol=1e-7)
            np.testing.assert_allclose(made.entropy_sd[j, k], h.std(axis=0, ddof=1), atol=1e-8)
            np.testing.assert_allclose(made.test_error_sd[j, k], e.std(axis=0, ddof=1), atol=1e-7)


def test_memory_does_not_grow_with_the_number_of_draws():
    def peak(draws):
        tracemalloc.start()
        rng = np.random.default_rng(0)
        made = spiked_draws(draws, 40, 40, [2.0], 1e-3, noise=1.0, t=np.linspace(0, 5, 50), rng=rng)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top - 3 * made.window.t_star.nbytes

    peak(2)
    few, many = peak(100), peak(400)
    assert many - few < 300 * 40 * 40 * 8 / 10  # a tenth of a matrix for each draw more


def test_bad_inputs_are_refused():
    s, m = TWO_LEVELS
    for options, match in (
        ({"noise_modes": 13}, "noise_modes"),
        ({"noise_modes": 2.0}, "noise_modes"),
        ({"noise_modes": np.ones(3, dtype=bool)}, "boolean mask"),
        ({"noise_modes": 2, "variant": "third"}, "variant"),
        ({"noise_modes": 2, "level": 1.5}, "share of the energy"),
        ({"noise_modes": 2, "depth": 1}, "depth"),
    ):
        with pytest.raises(ValueError, match=match):
            mode_window(s, m, 1e-3, **options)
    with pytest.raises(ValueError, match="a0"):
        mode_window(s, m, 0.0, noise_modes=2)
    with pytest.raises(ValueError, match="a0 must be one number or one per mode: got 3"):
        mode_window(s, m, np.full(3, 0.1), noise_modes=2)
    with pytest.raises(ValueError, match="negative"):
        mode_window(-s, m, 1e-3, noise_modes=2)
    with pytest.raises(ValueError, match="shape"):
        mode_window(s, m[:4], 1e-3, noise_modes=2)
    with pytest.raises(ValueError, match="at most"):
        spiked_spectra(1, 2, 3, [1.0] * 3, noise=1.0, rng=np.random.default_rng(0))


@settings(max_examples=100)
@given(
    st.lists(
        st.one_of(st.floats(1e-3, 5), st.sampled_from([0.0, 1.0, 3.0])), min_size=2, max_size=8
    ),
    st.sampled_from(DEPTHS),
    st.booleans(),
    st.data(),
)
def test_random_spectra(levels, depth, equal, data):
    """Ties, zeros, any targets, any starts: no lower entropy or error on a dense grid."""
    s = np.array(levels)
    assume(s.max() > 0)
    count = 1 if equal else s.size
    a0 = 10.0 ** np.array(data.draw(st.lists(st.floats(-9, 0.8), min_size=count, max_size=count)))
    shares = data.draw(st.lists(st.floats(-1, 1.5), min_size=s.size, max_size=s.size))
    m = np.round(shares, 9) * s  # one below 1e-150 throughout is refused
    window = mode_window(s, m, a0, noise_modes=1, depth=depth)
    finite = [x for x in (window.t_star, window.t_opt) if 0 < x < math.inf]
    near = [x * np.linspace(0.5, 2, 300) for x in finite]
    t = np.sort(np.concatenate([[0.0], np.geomspace(1e-4, 1e10, 3000), *near]))
    h, e = curves(t, s, m, a0, depth)
    ends = spectral_entropy(s), excess_error(s, m)
    for time, which, grid in ((window.t_star, 0, h), (window.t_opt, 1, e)):
        found = ends[which]
        if time < math.inf:
            found = curves([time], s, m, a0, depth)[which][0]
        assert found <= min(grid.min(), ends[which]) + 1e-9 * (1 + np.abs(grid).max())


def shallow_minimum(s, n, r, nu, a0):
    """Root of a_s - a_n = s - n in 60 digits, and by how much H is below its end there."""
    s, n, a0 = mp.mpf(s), mp.mpf(n), mp.mpf(a0)

    def strengths(t):
        return [one / (1 + (one / a0 - 1) * mp.e ** (-2 * one * t)) for one in (s, n)]

    def entropy(strong, weak):
        whole = r * strong**2 + nu * weak**2
        shares = ((r, strong**2 / whole), (nu, weak**2 / whole))
        return -sum(count * p * mp.log(p) for count, p in shares)

    def lead(t):
        strong, weak = strengths(t)
        return (n - weak) - (s - strong)

    guess = mp.log((s - a0) / (n - a0)) / (2 * (s - n))
    t = mp.findroot(lead, (guess / 4, 2 * guess), solver="bisect", maxsteps=250, verify=False)
    return float(t), float(entropy(*strengths(t)) - entropy(s, n))


SHALLOW = [
    *((3.0, 1.0, 2, 10, 1 - close) for close in (0.1, 1e-2, 1e-4, 1e-6, 1e-8)),
    *((3.0, 2.0, 1, 50, 2 - close) for close in (0.2, 2e-2, 2e-3, 2e-4)),
    *((12.552, 12.464, 254, 24, a0) for a0 in (10.168, 11.5, 12.0)),
]


@pytest.mark.parametrize("case", SHALLOW, ids=str)
def test_a_shallow_minimum_is_found(case):
    """From starts close below the noise H dips when all modes have nearly reached their ends."""
    s, n, r, nu, a0 = case
    with mp.workdps(60):
        exact, dip = shallow_minimum(*case)
    window = mode_window(np.repeat([s, n], [r, nu]), np.zeros(r + nu), a0, noise_modes=r)
    assert dip < 0
    assert window.t_star == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
    "case",
    [(3.0, 2.0, 2, 10, 2 - 2e-6), (3.0, 2.0, 2, 10, 2 - 2e-8), (9.0, 8.9, 50, 9, 8.7)],
    ids=str,
)
def test_a_minimum_below_rounding_counts_as_infinitely_late(case):
    s, n, r, nu, a0 = case
    with mp.workdps(60):
        exact, dip = shallow_minimum(*case)
    assert -1e-16 < dip < 0 < exact < 10
    window = mode_window(np.repeat([s, n], [r, nu]), np.zeros(r + nu), a0, noise_modes=r)
    assert window.t_star == math.inf


def test_a_minimum_among_the_last_digits_is_found():
    """E passes its minimum by 4e-7 of itself when every mode has nearly reached its end."""
    s, m = [3.5, 3.5, 2.5, 2.5, 2.5, 1.5], [3.5, 0.0, 2.5, 2.5, 0.0, 1.5]
    a0 = [5.6e-6, 7.1e-6, 5.5e-5, 5.7e-6, 6.12, 1.92]
    window = mode_window(s, m, a0, noise_modes=6)
    assert 3.5 < window.t_opt < 4.5
    assert curves([window.t_opt], np.array(s), m, a0, 2)[1][0] < excess_error(s, m) - 1e-6


@pytest.mark.parametrize("depth", [3, 4, math.inf])
def test_a_wait_beyond_the_digits_of_time_is_refused(depth):
    s, m = TWO_LEVELS
    power = 1 if depth == math.inf else 1 - 2 / depth
    with pytest.raises(ValueError, match="too small at depth"):
        mode_window(s, m, 1e-15 ** (1 / power), noise_modes=2, depth=depth)
    early = mode_window(s, m, 1e-11 ** (1 / power), noise_modes=2, depth=depth)
    assert early.t_opt < early.t_star < early.t_memorisation < math.inf


# Found by changing the package a little and asking whether a test notices: `make mutants`.


@pytest.mark.parametrize("depth", [2, 3, math.inf])
@pytest.mark.parametrize("unit", [1e-8, 1e-2, 1e2, 1e8])
def test_the_unit_of_the_map_does_not_matter(depth, unit):
    """With s, m and a0 in other units, all three times go with s^-(2 - 2/L)."""
    s, m = np.array([3.0, 2.5, 1.0, 0.9, 0.8]), np.array([2.7, 2.0, 0.0, 0.1, 0.0])
    for variant in ("half", "share"):
        options = {"noise_modes": 2, "depth": depth, "variant": variant, "level": 0.02}
        one, other = (
            mode_window(u * s, u * m, u * 1e-2, **options, tau=u ** (2 - 2 / depth))
            for u in (1.0, unit)
        )
        for name in ("t_star", "t_opt", "t_memorisation"):
            assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-9)


@pytest.mark.parametrize("depth", [3.0, 5.0, math.inf])
def test_the_tables_invert_the_clocks(depth):
    rise, fall = _clock_tables(depth)
    steps = np.arange(rise.z.size)
    w = rise.first + rise.step * steps
    np.testing.assert_allclose(np.arcsinh(rise_clock(rise.z, depth)), w, rtol=0, atol=1e-10)
    w = fall.first + fall.step * steps
    np.testing.assert_allclose(np.log(decay_clock(fall.z, depth)), w, rtol=0, atol=1e-10)


def test_one_mode_that_waits_too_long_is_enough():
    with pytest.raises(ValueError, match="too small at depth 3"):
        mode_window([3.0, 1.0], [2.7, 0.0], [1e-3, 1e-60], noise_modes=1, depth=3)


def test_two_levels_are_finite():
    with pytest.raises(ValueError, match="s contains NaN or infinity"):
        two_level_window([3.0, math.inf], 2.7, 1.0, 1e-3)


@pytest.mark.parametrize("null", [0.0, 6e-17, 1e-16])
@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("depth", [2, 3])
def test_a_null_mode_is_never_memorised(null, unit, depth):
    s = unit * np.array([2.0, 1.0, null])
    options = {"depth": depth, "a0": 1e-4 * unit}
    assert memorisation_time(s, noise_modes=2, **options) == math.inf
    assert 0 < memorisation_time(s, noise_modes=1, **options) < math.inf


@pytest.mark.parametrize("unit", [1e-2, 1.0, 1e2])
@pytest.mark.parametrize("depth", [2, 3])
def test_noise_counts_from_when_it_exceeds_its_level_for_good(depth, unit):
    """The signal outgrows the first noise mode for a while, until the second one rises."""
    s, a0 = unit * np.array([1.0, 1.0, 2.0]), unit * np.array([1.0, 0.2, 1e-6])
    noise, tau = np.array([True, False, True]), unit ** (2 - 2 / depth)
    late = memorisation_time(
        s, a0, noise_modes=noise, depth=depth, variant="share", level=0.6, tau=tau
    )
    a = mode_strength(late * np.array([0.9, 1.0, 1.1]), s, a0, depth=depth, tau=tau)
    below, level, above = energy_shares(a)[:, noise].sum(axis=1)
    assert below < 0.6 < above
    assert level == pytest.approx(0.6, abs=1e-9)


def test_a_level_that_noise_reaches_in_the_end_alone_is_never_exceeded():
    s, options = [1.0, 1.0], {"noise_modes": 1, "variant": "share"}
    assert memorisation_time(s, [1e-2, 1e-3], level=0.5, **options) == math.inf
    assert memorisation_time(s, [1e-3, 1e-2], level=0.5, **options) == 0
    # a share that falls to one half passes this level when the modes are all but at their ends
    assert memorisation_time(s, [1e-3, 1e-2], level=0.5 + 1e-7, **options) == math.inf


@pytest.mark.parametrize("s", [0.7, 1.1, 1.9])
@pytest.mark.parametrize("apart", [0.01, 0.03, 0.06])
def test_a_start_of_least_error_is_the_best_time(s, apart):
    """Both modes leave the middle of their targets: at t = 0 the rate is rounding alone."""
    targets = [0.1 + apart, 0.1 - apart]
    assert mode_window([s, s], targets, 0.1, noise_modes=1).t_opt == 0


@pytest.mark.parametrize("a0", [1e-299, 1e-200, 1e-140])
def test_draws_from_tiny_starts_have_curves(a0):
    """The squares of such strengths are no numbers any more; H at the start is log of the modes."""
    rng = np.random.default_rng(0)
    draws = spiked_draws(2, 5, 5, [3.0], [a0], noise=0.5, rng=rng, t=[0.0, 1.0, 1e3])
    assert draws.entropy.ravel()[0] == pytest.approx(math.log(5), rel=1e-9)
    assert draws.test_error.ravel()[0] == pytest.approx(9)
    assert 0.1 < draws.entropy.ravel()[-1] < math.log(5)


@pytest.mark.parametrize("a0", [1e-310, 1e80, 1e154, 1e308])
def test_starts_beyond_the_range_of_floats_are_refused(a0):
    for window in (
        lambda: mode_window([3.0, 1.0], [2.0, 0.0], a0, noise_modes=1),
        lambda: spiked_draws(1, 5, 5, [3.0], a0, noise=0.5, rng=np.random.default_rng(0)),
    ):
        with pytest.raises(ValueError, match="a0 must lie between"):
            window()
