"""Mode strengths: closed forms against integration, limits, extremes, bad input."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from dlnlib.modes import growth_rate, learning_time, mode_strength
from dlnlib.modes.clock import _newton

DEPTHS = [2, 3, 4, 5, 8, 33, math.inf]
STARTS = [(1.0, 1e-3), (2.5, 1e-2), (1.0, 0.999), (1.0, 1.5), (3.0, 40.0), (1e-3, 1.0), (0.0, 0.5)]


def integrated(t, s, a0, depth, tau=1.0):
    """The mode equation in log a, by Runge-Kutta at 1e-13."""

    def velocity(_, log_a):
        a = np.exp(log_a)
        if depth == math.inf:
            return a * (s - a) / tau
        return depth * a ** (1 - 2 / depth) * (s - a) / tau

    path = solve_ivp(
        velocity, (0, t[-1]), [math.log(a0)], "DOP853", t_eval=t, rtol=3e-14, atol=1e-14
    )
    return np.exp(path.y[0])


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("s", "a0"), STARTS)
def test_closed_form_against_integration(depth, s, a0):
    t = np.linspace(0, 12 if a0 > s / 2 else 2.5 * learning_time(s, a0, depth=depth)[0], 50)
    exact = mode_strength(t, s, a0, depth=depth)
    assert exact.shape == (50, 1)
    np.testing.assert_allclose(exact[:, 0], integrated(t, s, a0, depth), rtol=1e-10)


@pytest.mark.parametrize("depth", DEPTHS)
def test_tau_rescales_time(depth):
    t = np.linspace(0, 5, 20)
    slow = mode_strength(2.5 * t, [2.0, 1.0], 0.1, tau=2.5, depth=depth)
    np.testing.assert_allclose(slow, mode_strength(t, [2.0, 1.0], 0.1, depth=depth), rtol=1e-12)


@pytest.mark.parametrize("t", [np.linspace(0, 20, 1001), np.geomspace(1e-3, 20, 1001)])
def test_fast_path_against_plain_expression(t):
    """Even grids use products of exponentials, others do not: both equal the plain formula."""
    s, a0 = np.linspace(0.1, 3, 40), 1e-3
    plain = s / (1 + (s / a0 - 1) * np.exp(-2 * s * t[:, None]))
    np.testing.assert_allclose(mode_strength(t, s, a0), plain, rtol=1e-13)


def test_threads_do_not_change_a_digit(monkeypatch):
    t, s = np.linspace(0, 10, 700), np.linspace(0.1, 3, 30)
    alone = mode_strength(t, s, 1e-3)
    monkeypatch.setattr("dlnlib._compiled._THREADED", 1)
    assert (mode_strength(t, s, 1e-3) == alone).all()


def test_logistic_extremes():
    """Any t up to 1e6/s, any a0 down to 1e-300, s = 0, equal s: exact and without a warning."""
    for s in (1e-3, 1.0, 1e10):
        half = learning_time(s, 1e-300)[0]
        a = mode_strength([0, half, 1e6 / s], s, 1e-300)[:, 0]
        np.testing.assert_allclose(a, [1e-300, s / 2, s], rtol=1e-12)
    np.testing.assert_allclose(mode_strength([0, 3.0], 0, 0.5)[:, 0], [0.5, 0.5 / 4], rtol=1e-15)
    a = mode_strength(np.linspace(0, 9, 5), [2.0, 2.0, 2.0], 1e-2)
    assert (a == a[:, :1]).all()
    assert (mode_strength([0, 1, 50], 2.0, 2.0) == 2.0).all()


def test_logistic_is_continuous_in_s_at_zero():
    """No cancellation where s is tiny against a0."""
    t = np.linspace(0, 10, 7)
    tiny = mode_strength(t, [0.0, 1e-300, 1e-18, 1e-12], 0.5)
    np.testing.assert_allclose(tiny[:, 1:3], tiny[:, [0, 0]], rtol=1e-15)
    np.testing.assert_allclose(tiny[:, 3], tiny[:, 0], rtol=1e-10)


@pytest.mark.parametrize("depth", [3, 4, math.inf])
def test_deep_extremes(depth):
    t = learning_time(1.0, 1e-30, depth=depth)[0] * np.array([0, 0.5, 1 + 1e-9, 1e3])
    a = mode_strength(t, 1.0, 1e-30, depth=depth)[:, 0]
    np.testing.assert_allclose(a[[0, 3]], [1e-30, 1.0], rtol=1e-12)
    assert a[0] < a[1] < a[2]
    zero = mode_strength([0.0, 1e3], [0.0, 1e-200], 2.0, depth=depth)
    np.testing.assert_allclose(zero[:, 1], zero[:, 0], rtol=1e-14)


def test_mixed_modes_are_solved_each_on_its_own():
    """Rising, resting, decaying and zero modes in one call."""
    t, s, a0 = np.linspace(0, 4, 9), np.array([3, 1, 0.2, 0]), np.array([0.1, 1, 2, 0.3])
    for depth in DEPTHS:
        together = mode_strength(t, s, a0, depth=depth)
        alone = [mode_strength(t, s[k], a0[k], depth=depth)[:, 0] for k in range(4)]
        np.testing.assert_allclose(together.T, alone, rtol=1e-13)


def test_broadcasting():
    assert mode_strength(1.0, [1.0, 2.0], [0.1, 0.2]).shape == (1, 2)
    assert mode_strength([0, 1], 1.0, [0.1, 0.2, 0.3]).shape == (2, 3)
    assert learning_time(1.0, [0.1, 0.2]).shape == (2,)
    assert growth_rate(np.ones((5, 3)), [1.0, 2.0, 3.0]).shape == (5, 3)


@pytest.mark.parametrize("depth", DEPTHS)
def test_growth_rate_is_the_log_derivative(depth):
    t, s, h = np.linspace(0.1, 3, 30), np.array([2.0, 1.0]), 1e-5
    near = [np.log(mode_strength(t + d, s, 0.1, tau=1.3, depth=depth)) for d in (-h, h)]
    rate = growth_rate(mode_strength(t, s, 0.1, tau=1.3, depth=depth), s, tau=1.3, depth=depth)
    np.testing.assert_allclose((near[1] - near[0]) / (2 * h), rate, rtol=1e-7, atol=1e-9)


def test_growth_rate_limits():
    assert growth_rate(0.0, 3.0) == 6.0  # two layers: 2 s / tau at small a
    assert growth_rate(0.0, 3.0, depth=3) == 0.0  # deeper: small modes do not grow
    assert growth_rate(3.0, 3.0, depth=4) == 0.0


@given(
    s=st.floats(0.01, 50),
    ratio=st.floats(1e-12, 0.4),
    fraction=st.floats(0.45, 0.999),
    depth=st.sampled_from([2, 3, 4, 7, math.inf]),
)
def test_learning_time_inverts_the_trajectory(s, ratio, fraction, depth):
    a0 = ratio * s
    t = learning_time(s, a0, fraction, depth=depth)
    # the time itself is known to a relative 1e-16, which moves a by g t times as much
    blur = 1e-14 * (1 + growth_rate(fraction * s, s, depth=depth) * t[0])
    reached = mode_strength(t, s, a0, depth=depth)[0, 0]
    assert reached == pytest.approx(fraction * s, rel=float(blur))


@given(
    s=st.floats(0, 20),
    a0=st.floats(1e-9, 30),
    depth=st.sampled_from([2, 3, 5, math.inf]),
    tau=st.floats(0.1, 10),
)
def test_a_mode_moves_monotonically_towards_s(s, a0, depth, tau):
    a = mode_strength(np.linspace(0, 30, 40), s, a0, tau=tau, depth=depth)[:, 0]
    slack = 1e-11 * a.max()
    assert a[0] == pytest.approx(a0, rel=1e-9)
    assert (np.diff(a) * np.sign(s - a0) >= -slack).all()
    assert a.min() >= min(s, a0) - slack
    assert a.max() <= max(s, a0) + slack


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, math.nan], 1, 0.1), "t contains NaN"),
        (([0, math.inf], 1, 0.1), "t contains NaN or infinity"),
        (([-1, 0], 1, 0.1), "t must not be negative"),
        (([1, 0], 1, 0.1), "sort the times"),
        (([], 1, 0.1), "t must be a number or a non-empty"),
        (([0], -1, 0.1), "move the sign into a singular vector"),
        (([0], math.nan, 0.1), "s contains NaN"),
        (([0], 1, 0), "a0 must be positive: got 0; a=0 is a fixed point"),
        (([0], 1, -0.1), "a0 must be positive"),
        (([0], [1, 2, 3], [0.1, 0.2]), "s has 3 modes and a0 has 2"),
        (([0], [[1, 2]], 0.1), "one-dimensional"),
        (([0], "abc", 0.1), "s must be a rectangular array of real numbers"),
    ],
)
def test_bad_mode_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        mode_strength(*arguments)


@pytest.mark.parametrize("depth", [1, 2.5, 0, -3, math.nan, True])
def test_bad_depth(depth):
    with pytest.raises(ValueError, match="depth must be an integer >= 2"):
        mode_strength([0], 1, 0.1, depth=depth)


@pytest.mark.parametrize("tau", [0, -1, math.nan])
def test_bad_tau(tau):
    with pytest.raises(ValueError, match="tau"):
        mode_strength([0], 1, 0.1, tau=tau)


def test_bad_learning_time():
    with pytest.raises(ValueError, match=r"a0 must lie in \(0, s\): got a0=2 for s=1"):
        learning_time([3, 1], 2)
    for fraction in (0, 1, 0.05, math.nan):
        with pytest.raises(ValueError, match="fraction must lie between a0/s and 1"):
            learning_time(1, 0.1, fraction)


def test_bad_growth_rate():
    with pytest.raises(ValueError, match="a has"):
        growth_rate(np.ones((5, 3)), [1.0, 2.0])
    with pytest.raises(ValueError, match="a must not be negative"):
        growth_rate([-1.0], 1.0)


# Found by changing the package a little and asking whether a test notices: `make mutants`.


@pytest.mark.parametrize("depth", [3, 5, math.inf])
def test_the_unit_of_time_at_any_strength(depth):
    """A mode with s = 0, one above its end and one below, on an uneven grid."""
    t, s, a0 = np.array([0.0, 0.3, 2.0, 50.0]), [0.0, 1.0, 3.0], [0.5, 2.0, 0.1]
    slow = mode_strength(3 * t, s, a0, tau=3.0, depth=depth)
    np.testing.assert_allclose(slow, mode_strength(t, s, a0, depth=depth), rtol=1e-11)


def test_newton_says_when_it_fails():
    """One entry that never settles is a failure; steps of the size of rounding are not."""
    far = np.array([10.0, -10.0, 0.0])
    with pytest.raises(RuntimeError, match="did not converge"):
        _newton(far.copy(), lambda z: np.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(_newton(far.copy(), lambda z: 5e-12 * np.ones(3)), far, atol=1e-9)


@pytest.mark.parametrize("depth", [3, 4, math.inf])
def test_a_mode_far_above_its_end_decays_as_if_that_were_zero(depth):
    t, s, a0 = np.linspace(0, 3, 7), [1e-60, 1e-30, 1e-20], np.array([1e-3, 1.0, 4.0])
    layers, power = (1, 2) if depth == math.inf else (depth, 2 - 2 / depth)
    expected = a0 * (1 + power * layers * a0**power * t[:, None]) ** (-1 / power)
    np.testing.assert_allclose(mode_strength(t, s, a0, depth=depth), expected, rtol=1e-11)


@pytest.mark.parametrize("a0", [1e3, 1e100, 1e308])
def test_a_huge_start_is_forgotten_at_once(a0):
    found = mode_strength([1.0], [3.0, 0.5, 0.0], a0)[0]
    expected = [3 / (1 - np.exp(-6)), 0.5 / (1 - np.exp(-1)), 0.5]  # as a0 grows beyond all bounds
    np.testing.assert_allclose(found, expected, rtol=2e-3)


# Weight decay: s - gamma takes the place of s.

DECAYED = [
    (2.0, 0.5, 1e-3),
    (2.0, 0.5, 4.0),
    (2.0, 0.5, 1.5),
    (1.0, 1.0, 0.3),
    (0.5, 2.0, 0.3),
    (0.5, 0.500001, 1e-6),
    (0.0, 0.4, 3.0),
    (0.0, 3.0, 50.0),
]


@pytest.mark.parametrize("tau", [1.0, 0.4])
@pytest.mark.parametrize(("s", "decay", "a0"), DECAYED)
def test_decay_against_integration_of_the_weights(s, decay, a0, tau):
    """The two weights of a mode with their own decay, a mode above, at and below it."""

    def velocity(_, w):
        error = s - w[0] * w[1]
        return np.array([w[1], w[0]]) * error / tau - decay * w / tau

    t = np.linspace(0, 6, 40)
    start = [math.sqrt(a0)] * 2
    path = solve_ivp(velocity, (0, 6), start, "DOP853", t_eval=t, rtol=1e-13, atol=1e-18)
    exact = mode_strength(t, s, a0, tau=tau, decay=decay)[:, 0]
    np.testing.assert_allclose(exact, path.y[0] * path.y[1], rtol=1e-9, atol=1e-16)


@given(
    s=st.floats(0, 5),
    decay=st.floats(0, 5),
    log_a0=st.floats(-300, 300),
    t=st.floats(0, 1e3),
    tau=st.floats(0.1, 10),
)
def test_decay_against_many_digits(s, decay, log_a0, t, tau):
    """The logistic mode at s - gamma, of any sign, in 400 digits."""
    a0 = 10.0**log_a0
    with mpmath.workdps(400):
        end, start = mpmath.mpf(s - decay), mpmath.mpf(a0)
        x = 2 * end * mpmath.mpf(t) / mpmath.mpf(tau)
        gain = mpmath.expm1(x) / end if end else 2 * mpmath.mpf(t) / mpmath.mpf(tau)
        expected = start * mpmath.exp(x) / (1 + start * gain)
        rounded = float(expected)
    found = mode_strength([t], s, a0, tau=tau, decay=decay)[0, 0]
    blur = 1e-12 + 4e-16 * abs(float(x))  # of which x keeps 16 digits
    assert found == pytest.approx(rounded, rel=blur, abs=1e-300)


def test_no_decay_is_the_flow_to_the_bit():
    t, s, a0 = np.linspace(0, 9, 300), np.linspace(0, 3, 30), np.linspace(1e-4, 4, 30)
    for depth in DEPTHS:
        plain = mode_strength(t, s, a0, depth=depth)
        assert (mode_strength(t, s, a0, depth=depth, decay=0.0) == plain).all()
        assert (
            growth_rate(plain, s, depth=depth, decay=0) == growth_rate(plain, s, depth=depth)
        ).all()
        times = learning_time(s[5:], 1e-3, depth=depth)
        assert (learning_time(s[5:], 1e-3, depth=depth, decay=0.0) == times).all()


def test_decay_takes_the_same_from_every_singular_value():
    t, s = np.linspace(0, 5, 50), np.array([3.0, 2.0, 1.0])
    moved = mode_strength(t, s - 0.5, 1e-2)
    np.testing.assert_array_equal(mode_strength(t, s, 1e-2, decay=0.5), moved)
    np.testing.assert_array_equal(
        learning_time(s, 1e-2, 0.3, decay=0.5), learning_time(s - 0.5, 1e-2, 0.3)
    )
    np.testing.assert_allclose(growth_rate(moved, s, decay=0.5), growth_rate(moved, s - 0.5))


@pytest.mark.parametrize("depth", DEPTHS)
def test_growth_rate_with_decay_is_that_of_the_weights(depth):
    """A mode of L equal layers w, a = w^L: d(log a)/dt = L (w^(L-2) (s - a) - gamma)."""
    a = np.array([0.3, 1.0, 2.5])
    found = growth_rate(a, 2.0, tau=0.7, depth=depth, decay=0.2)
    if depth == math.inf:
        expected = (a * (2.0 - a) - 0.2) / 0.7
    else:
        expected = depth * ((a ** (1 / depth)) ** (depth - 2) * (2.0 - a) - 0.2) / 0.7
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_learning_time_with_decay_inverts_the_trajectory():
    for fraction in (0.01, 0.5, 0.99):
        t = learning_time([3.0, 1.0], 1e-3, fraction, tau=2.0, decay=0.7)
        reached = [mode_strength([t[k]], s, 1e-3, tau=2.0, decay=0.7)[0, 0]
                   for k, s in enumerate((3.0, 1.0))]  # fmt: skip
        np.testing.assert_allclose(reached, fraction * np.array([2.3, 0.3]), rtol=1e-12)


def test_bad_decay():
    for call in (
        lambda **more: mode_strength([0, 1], 1.0, 0.1, **more),
        lambda **more: learning_time(1.0, 0.1, **more),
    ):
        with pytest.raises(ValueError, match="decay must not be negative"):
            call(decay=-0.1)
        for depth in (3, math.inf):
            with pytest.raises(ValueError, match=r"two layers only.*gradient_flow"):
                call(decay=0.1, depth=depth)
    with pytest.raises(ValueError, match=r"a0 must lie in \(0, s - decay\): .* decay=-1;"):
        learning_time(1.0, 0.1, decay=2.0)
    with pytest.raises(ValueError, match="decay must not be negative"):
        growth_rate(0.1, 1.0, decay=-1)
