"""Phases of the entropy: kinds and boundaries on known curves, invariances, who carries a rise."""

import itertools

import numpy as np
import pytest
from scipy.optimize import brentq

from dlnlib.entropy import (
    Phase,
    energy_shares,
    entropy_phases,
    entropy_rate_by_mode,
    mode_phases,
    spectral_entropy,
)
from dlnlib.modes import growth_rate, mode_strength
from dlnlib.tasks import tree_spectrum

FALL, REST, RISE = "concentration", "plateau", "redistribution"


def two_levels(s, n, r, many, a0, t, tau=1.0, **options):
    """Phases of r signal modes and many noise modes from one start."""
    target = np.repeat([s, n], [r, many])
    a = mode_strength(t, target, a0, tau=tau)
    return mode_phases(t, a, signal=target == s, **options)


def minimum(s, n, a0, tau=1.0):
    """Time at which a_s - a_n = s - n, by root finding on the mode strengths."""

    def gap(t):
        noise, signal = mode_strength([t], [n, s], a0, tau=tau)[0]
        return signal - noise - (s - n)

    return brentq(gap, 1e-6 * tau, 5 * tau, xtol=1e-14, rtol=1e-13)


def closed_form(s, n, a0, tau=1.0):
    return tau / (2 * s) * np.log((s / a0 - 1) * (s / n - 1))


def test_two_levels_without_a_plateau_turn_at_the_minimum():
    t = np.linspace(0, 1.8, 4001)
    result = two_levels(3, 2, 2, 10, 1e-3, t)
    assert result.kinds == (FALL, RISE)
    exact = minimum(3, 2, 1e-3)
    assert result.boundaries == pytest.approx([exact], rel=1e-5)
    assert result.t_star == result.phases[0].end == result.phases[1].start
    assert result.phases[0].start == 0 and result.phases[-1].end == t[-1]


@pytest.mark.parametrize("a0", [1e-3, 1e-4, 1e-6])
def test_two_levels_with_a_plateau(a0):
    t = np.linspace(0, 5 + np.log(1 / a0), 6001)
    result = two_levels(3, 1, 2, 10, a0, t)
    assert result.kinds == (FALL, REST, RISE, REST)
    assert result.t_star == pytest.approx(minimum(3, 1, a0), rel=1e-4)
    plateau = result.phases[1]
    assert plateau.start < result.t_star < plateau.end
    assert spectral_entropy([1, 1]) == pytest.approx(
        np.interp(result.t_star, t, result.entropy), abs=0.02
    )
    changes = sum(phase.change for phase in result.phases)
    assert changes == pytest.approx(result.entropy[-1] - result.entropy[0])
    # H is as low as it gets before the signal is learned: concentration is not learning
    assert plateau.start < brentq(lambda x: mode_strength([x], 3, a0)[0, 0] - 1.5, 0, 20)


def test_the_minimum_tends_to_the_closed_form():
    late = [minimum(3, 1, a0) - closed_form(3, 1, a0) for a0 in (1e-3, 1e-5, 1e-7)]
    assert all(x > 0 for x in late)
    np.testing.assert_allclose(np.divide(late[:-1], late[1:]), 100 ** (2 / 3), rtol=0.02)


@pytest.mark.parametrize("n_times", [301, 1001, 5001])
def test_a_finer_grid_sharpens_the_boundaries(n_times):
    found = two_levels(3, 1, 2, 10, 1e-3, np.linspace(0, 8, n_times))
    fine = two_levels(3, 1, 2, 10, 1e-3, np.linspace(0, 8, 40_001))
    assert found.kinds == fine.kinds
    np.testing.assert_allclose(found.boundaries, fine.boundaries, rtol=300 / n_times**2)
    assert found.t_star == pytest.approx(minimum(3, 1, 1e-3), rel=300 / n_times**2)


def test_the_grid_may_be_even_or_geometric():
    even = two_levels(3, 1, 2, 10, 1e-3, np.linspace(0, 8, 4001))
    geometric = two_levels(3, 1, 2, 10, 1e-3, np.geomspace(1e-3, 8, 4001))
    assert even.kinds == geometric.kinds
    np.testing.assert_allclose(even.boundaries, geometric.boundaries, rtol=1e-4)


@pytest.mark.parametrize("c", [1e-6, 0.25, 3.0, 1e8])
def test_rescaled_time_and_entropy(c):
    t = np.linspace(0, 8, 2001)
    one = two_levels(3, 1, 2, 10, 1e-3, t)
    slow = two_levels(3, 1, 2, 10, 1e-3, c * t, tau=c)
    assert slow.kinds == one.kinds
    np.testing.assert_allclose(slow.boundaries, c * one.boundaries, rtol=1e-9)
    assert slow.t_star == pytest.approx(c * one.t_star, rel=1e-9)
    bits = entropy_phases(t, one.entropy / np.log(2) + 7)
    np.testing.assert_allclose(bits.boundaries, one.boundaries, rtol=1e-9)


def test_one_plateau_per_level_of_a_tree():
    values, count = tree_spectrum(3, 2, flip=np.array([0.3, 0.1, 0.02]))
    s = np.repeat(np.sqrt(values / count.sum()), count)
    t = np.linspace(0, 3 * np.log(1e12) / s[-1], 8001)
    result = mode_phases(t, mode_strength(t, s, 1e-12), signal=np.ones(s.size, dtype=bool))
    assert result.kinds == (FALL, REST, *[RISE, REST] * (values.size - 1))
    for level, plateau in enumerate(result.plateaus):
        learned = spectral_entropy(s[: count[: level + 1].sum()])
        middle = np.interp(np.sqrt(plateau.start * plateau.end), t, result.entropy)
        assert middle == pytest.approx(float(learned), abs=0.03)
    rises = [phase for phase in result.phases if phase.kind == RISE]
    assert all(rise.signal == 1 and rise.noise == 0 for rise in rises)  # yet H rises


def test_levels_that_overlap_share_a_plateau():
    # from a larger start the same levels are learned in one go
    t = np.linspace(0, 30, 4001)
    a = mode_strength(t, [3, 2.7, 1, 0.9], 1e-3)
    assert len(mode_phases(t, a).plateaus) == 2


def test_rises_are_shared_out_between_signal_and_noise():
    s, noise = np.array([4.0, 1.0]), np.full(20, 0.2)
    t = np.linspace(0, 60, 20_001)
    target = np.concatenate([s, noise])
    a, signal = mode_strength(t, target, 1e-6), target > 0.5
    result = mode_phases(t, a, signal=signal)
    late_signal, memorisation = (phase for phase in result.phases if phase.kind == RISE)
    assert late_signal.signal == pytest.approx(1, abs=1e-6)
    assert memorisation.noise == pytest.approx(1, abs=1e-6)
    # the same from the attribution, integrated over the rise
    inside = (t >= late_signal.start) & (t <= late_signal.end)
    parts = entropy_rate_by_mode(a, growth_rate(a, target))[inside]
    added = np.maximum(np.trapezoid(parts, t[inside], axis=0), 0)
    assert added[signal].sum() / added.sum() == pytest.approx(late_signal.signal, abs=1e-6)
    assert [p.signal for p in result.phases if p.kind != RISE] == [None] * 4


def test_a_mixed_rise_is_shared_out_by_what_each_mode_adds():
    t = np.linspace(0, 20, 4001)
    target = np.array([4.0, 1.0, 1.0, 1.0])
    a = mode_strength(t, target, 1e-4)
    result = mode_phases(t, a, signal=np.array([True, True, False, False]))
    (rise,) = (phase for phase in result.phases if phase.kind == RISE)
    assert rise.signal == pytest.approx(1 / 3) and rise.noise == pytest.approx(2 / 3)
    assert rise.change > 0
    assert mode_phases(t, a).phases[2] == Phase(RISE, rise.start, rise.end, rise.change)


def test_a_turn_at_the_end_and_other_curves():
    t = np.linspace(0, 5, 501)
    assert entropy_phases(t, 1 - t / 5).kinds == (FALL,)
    assert entropy_phases(t, 1 - t / 5).t_star == 5
    assert entropy_phases(t, t).kinds == (RISE,)
    assert entropy_phases(t, t).t_star == 0
    assert entropy_phases(t, np.full(501, 2.0)).kinds == (REST,)
    assert entropy_phases(t, np.tanh(4 * t)).kinds == (RISE, REST)
    # ripples below the tolerance are no phases, whatever their slope
    ripples = entropy_phases(t, np.tanh(4 * t) + 0.01 * np.sin(20 * t))
    assert ripples.kinds == (RISE, REST)
    wave = entropy_phases(t, np.cos(4 * t))
    assert wave.kinds == (FALL, RISE) * 3 + (FALL,)
    np.testing.assert_allclose(wave.boundaries, np.arange(1, 7) * np.pi / 4, atol=1e-4)


def test_power_chooses_the_shares():
    t = np.linspace(0, 8, 2001)
    a = mode_strength(t, [3.0, 1.0, 1.0], 1e-3)
    by_size = mode_phases(t, a, power=1, signal=np.array([True, False, False]))
    np.testing.assert_array_equal(by_size.entropy, spectral_entropy(a, power=1))
    assert by_size.boundaries[0] > mode_phases(t, a).boundaries[0]
    assert energy_shares(a, power=1)[-1, 0] == pytest.approx(3 / 5, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entropy_phases([0, 1, 1], [1, 2, 3]), "each once"),
        (lambda: entropy_phases([0, 1], [1, 2]), "at least three times"),
        (lambda: entropy_phases([0, 2, 1], [1, 2, 3]), "t must not decrease"),
        (lambda: entropy_phases([0, 1, 2], [1, 2]), "h needs one value per time: got 2 for 3"),
        (lambda: entropy_phases([0, 1, 2], [1, np.nan, 2]), "h contains NaN"),
        (lambda: entropy_phases([0, 1, 2], [1, 2, 3], tol=0), "tol must be positive"),
        (lambda: entropy_phases([0, 1, 2], [1, 2, 3], tol=1), "between 0 and 1"),
        (lambda: mode_phases([0, 1, 2], np.ones((2, 3))), "a must have shape 3 x any"),
        (lambda: mode_phases([0, 1, 2], np.zeros((3, 3))), "all modes are zero"),
        (lambda: mode_phases([0, 1, 2], np.ones((3, 2)), signal=[1, 0]), "boolean mask"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Found by changing the package a little and asking whether a test notices: `make mutants`.


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_the_unit_of_the_entropy_does_not_matter(unit):
    """A fall, a ripple below the tolerance but steep, and a rise."""
    t = np.geomspace(0.01, 100, 4000)
    ripple = 0.03 / (1 + np.exp(-40 * np.log(t / 3)))
    h = 1 / (1 + t**8) + ripple + 1 / (1 + (30 / t) ** 8)
    found, plain = entropy_phases(t, unit * h), entropy_phases(t, h)
    assert found.kinds == plain.kinds == (FALL, REST, RISE, REST)
    np.testing.assert_allclose(found.boundaries, plain.boundaries, rtol=1e-9)


def test_a_short_rest_at_the_end_belongs_to_the_movement():
    t = np.geomspace(0.01, 1.0, 2000)
    for end, rest in ((0.98, ()), (0.8, (REST,))):
        h = np.log(np.maximum(end / t, 1))
        assert entropy_phases(t, h).kinds == (FALL, *rest)


def test_least_entropy_at_an_end_of_the_run():
    """Turns elsewhere on the way are not it."""
    t = np.linspace(2.6, 10, 200)
    waves = t + 2 * np.sin(2 * t)
    assert entropy_phases(t, waves).t_star == t[0]
    assert entropy_phases(t, -waves).t_star == t[-1]


@pytest.mark.parametrize("tol", [0.05, 0.1, 0.2])
def test_a_short_rest_without_a_turn_separates_phases(tol):
    t = np.linspace(0, 100, 500)
    found = mode_phases(t, mode_strength(t, [4.4] + [2.7] * 4 + [0.2] * 2, 0.01), tol=tol)
    assert found.kinds == ("concentration", "redistribution", "plateau")


def test_curves_on_a_coarse_grid_have_phases():
    for h in itertools.product([0.0, 1e-3, 1.0, 8.0, 3e9], repeat=4):
        for t in ([0.0, 1.0, 2.0, 3.0], [1.0, 1.01, 1.02, 1.03], [0.0, 1e-9, 1.0, 1e9]):
            phases = entropy_phases(t, list(h)).phases
            assert phases[0].start == t[0]
            assert phases[-1].end == t[-1]
            assert all(a.end == b.start for a, b in itertools.pairwise(phases))
