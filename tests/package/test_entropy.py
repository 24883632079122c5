"""Spectral entropy: values, invariances, the covariance identity, extremes, bad input."""

import math
import warnings

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dlnlib.entropy import (
    effective_modes,
    energy_shares,
    entropy_dynamics,
    entropy_rate,
    entropy_rate_by_mode,
    group_entropy,
    spectral_entropy,
)
from dlnlib.entropy.kernel import _log
from dlnlib.flow import balanced_weights, exact_flow
from dlnlib.modes import growth_rate, mode_strength

strengths = arrays(float, st.integers(1, 12), elements=st.floats(0, 1e3)).filter(np.any)
positive = arrays(float, st.integers(2, 8), elements=st.floats(1e-3, 1e3))
T = np.linspace(0, 8, 161)
S = np.array([3.0, 2.2, 2.2, 0.9, 0.3])


def plain_entropy(a, power=2):
    """The definition, also at complex strengths."""
    p = a**power / (a**power).sum(axis=-1, keepdims=True)
    return -(p * np.log(p)).sum(axis=-1)


def complex_step(a, g, power=2):
    """Derivative of the plain entropy along da/dt = g a, exact to rounding."""
    return plain_entropy(a * (1 + 1e-30j * np.asarray(g)), power).imag / 1e-30


def test_known_values():
    assert spectral_entropy([5.0, 0.0, 0.0]) == 0
    assert not math.copysign(1, spectral_entropy([5.0, 0.0])) < 0
    assert spectral_entropy(np.ones(7)) == pytest.approx(np.log(7), rel=1e-15)
    p = np.array([0.5, 0.25, 0.25])
    assert spectral_entropy(np.sqrt(p)) == pytest.approx(1.5 * np.log(2), rel=1e-15)
    assert spectral_entropy(p, power=1) == pytest.approx(1.5 * np.log(2), rel=1e-15)
    assert spectral_entropy(np.ones((4, 3, 2))).shape == (4, 3)
    assert spectral_entropy(np.ones((0, 3))).shape == (0,)
    assert effective_modes(np.eye(3) + 1e-200) == pytest.approx(1)
    assert effective_modes(np.full((2, 6), 0.1)) == pytest.approx(6)


@given(strengths, st.floats(1e-300, 1e300), st.randoms(use_true_random=False))
def test_invariances(a, scale, random):
    h = float(spectral_entropy(a))
    assert 0 <= h <= np.log(a.size) + 1e-12
    order = random.sample(range(a.size), a.size)
    assert float(spectral_entropy(a[order])) == pytest.approx(h, abs=1e-12)
    small = a / a.max() * min(scale, 1e3)  # scaled down to 1e-300, where a^2 alone is zero
    assert float(spectral_entropy(-small)) == pytest.approx(h, abs=1e-6)
    assert energy_shares(a).sum() == pytest.approx(1)


@given(positive, st.data())
def test_rate_is_the_derivative(a, data):
    """On random positive functions: a complex step through the definition of H."""
    g = data.draw(arrays(float, a.size, elements=st.floats(-5, 5)))
    power = data.draw(st.sampled_from([1, 2, 0.5, 3]))
    rate = entropy_rate(a, g, power=power)
    assert rate == pytest.approx(complex_step(a, g, power), rel=1e-9, abs=1e-11)


@given(positive, st.data())
def test_rate_invariances_and_parts(a, data):
    g = data.draw(arrays(float, a.size, elements=st.floats(-5, 5)))
    rate, parts = entropy_rate(a, g), entropy_rate_by_mode(a, g)
    order = data.draw(st.permutations(range(a.size)))
    shift = data.draw(st.floats(-3, 3))
    np.testing.assert_allclose(entropy_rate_by_mode(a[order], g[order]), parts[order], atol=1e-12)
    np.testing.assert_allclose(entropy_rate(1e-120 * a, g), rate, rtol=1e-9, atol=1e-12)
    # growth that all modes share changes no share
    np.testing.assert_allclose(entropy_rate(a, g + shift), rate, rtol=1e-9, atol=1e-12)
    assert parts.sum() == pytest.approx(float(rate), abs=1e-12)
    centred = entropy_rate_by_mode(a, g, centred=True)
    assert centred.sum() == pytest.approx(float(rate), abs=1e-12)
    # the part of a mode has the sign of the change of its share
    gains = energy_shares(a) * (g - energy_shares(a) @ g)
    assert (parts * gains >= -1e-12).all()


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("depth", [2, 3, 4, math.inf])
def test_covariance_identity_on_trajectories(depth, power):
    """Exact trajectories: against central differences of H over time, at their own order."""
    a = mode_strength(T, S, 1e-2, depth=depth)
    rate = entropy_rate(a, growth_rate(a, S, depth=depth), power=power)
    errors = []
    for step in (1e-2, 1e-3):
        after, before = (
            spectral_entropy(mode_strength(T[5:] + move, S, 1e-2, depth=depth), power=power)
            for move in (step, -step)
        )
        errors.append(np.abs((after - before) / (2 * step) - rate[5:]).max())
    assert errors[1] < 2e-4 * np.abs(rate).max()
    assert errors[1] < errors[0] / 50
    assert complex_step(a, growth_rate(a, S, depth=depth), power) == pytest.approx(rate, abs=1e-12)


def test_covariance_identity_on_full_weights():
    """Singular values of the whole map from a random start, which no aligned mode describes."""
    rng = np.random.default_rng(5)
    sigma = rng.standard_normal((5, 4))
    weights = balanced_weights((4, 6, 5), 0.3, rng=rng)
    times = np.linspace(0.05, 1.5, 30)
    step = 1e-4

    def singular_values(t):
        path = exact_flow(np.concatenate([[0.0], t]), weights, sigma)
        return np.linalg.svd(path.product[1:], compute_uv=False)

    before, a, after = (singular_values(times + move) for move in (-step, 0, step))
    g = (np.log(after) - np.log(before)) / (2 * step)
    slope = (spectral_entropy(after) - spectral_entropy(before)) / (2 * step)
    np.testing.assert_allclose(entropy_rate(a, g), slope, rtol=1e-4, atol=1e-5)


def test_equal_start_departs_at_second_order():
    s, a0 = np.array([3.0, 2.0, 0.5]), 1e-3
    g = growth_rate(np.full(3, a0), s)
    assert abs(entropy_rate(np.full(3, a0), g)) < 1e-15
    t = np.array([1e-4])
    h = spectral_entropy(mode_strength(t, s, a0))
    assert (np.log(3) - h[0]) / t[0] ** 2 == pytest.approx(2 * g.var(), rel=1e-3)


def test_parts_add_up_over_time_whatever_the_path():
    """The part of a mode over an interval is the change of p - p log p."""
    t = np.linspace(0, 8, 8001)
    a = mode_strength(t, S, 1e-2)
    parts = entropy_rate_by_mode(a, growth_rate(a, S))
    p = energy_shares(a)
    change = (p - p * np.log(p))[-1] - (p - p * np.log(p))[0]
    np.testing.assert_allclose(np.trapezoid(parts, t, axis=0), change, atol=1e-5)


def test_entropy_dynamics_is_the_three_together():
    rng = np.random.default_rng(3)
    a, g = rng.random((4, 5, 6)), rng.normal(size=(4, 5, 6))
    for centred in (False, True):
        together = entropy_dynamics(a, g, centred=centred)
        np.testing.assert_array_equal(together.entropy, spectral_entropy(a))
        np.testing.assert_allclose(together.rate, entropy_rate(a, g), rtol=1e-12)
        np.testing.assert_array_equal(together.by_mode, entropy_rate_by_mode(a, g, centred=centred))


@pytest.mark.parametrize("shape", [(1000, 7), (30, 7000)])
def test_threads_do_not_change_a_digit(monkeypatch, shape):
    rng = np.random.default_rng(4)
    a, g = rng.random(shape), rng.normal(size=shape)
    whole = entropy_dynamics(a, g)
    monkeypatch.setattr("dlnlib.entropy.spectral._BLOCK", 500)
    alone = entropy_dynamics(a, g)
    monkeypatch.setattr("dlnlib._compiled._THREADED", 1)
    threaded = entropy_dynamics(a, g)
    for name in ("entropy", "rate", "by_mode"):
        assert (getattr(threaded, name) == getattr(alone, name)).all()
        np.testing.assert_allclose(getattr(alone, name), getattr(whole, name), atol=1e-13)


def test_any_kind_of_array():
    """Rows that are no rows in memory, arrays that cannot be written, integers, one mode."""
    rng = np.random.default_rng(6)
    a, g = rng.integers(1, 9, (5, 4)), rng.normal(size=(5, 4))
    expected = entropy_dynamics(a.astype(float), g)
    wide = np.repeat(a, 2, axis=1)
    fixed = a.astype(float)
    fixed.flags.writeable = False
    for same in (wide[:, ::2], np.asfortranarray(a), fixed, a.astype(np.float32), a.tolist(), -a):
        result = entropy_dynamics(same, np.asfortranarray(g))
        np.testing.assert_array_equal(result.by_mode, expected.by_mode)
        np.testing.assert_array_equal(result.entropy, expected.entropy)
    one = entropy_dynamics(a[:, :1], g[:, :1])
    assert (one.entropy == 0).all() and (one.rate == 0).all() and (one.by_mode == 0).all()
    np.testing.assert_array_equal(entropy_dynamics(a[0], g[0]).by_mode, expected.by_mode[0])


def test_logarithm_to_the_last_digit():
    rng = np.random.default_rng(7)
    u = rng.random((4, 300))
    near_cut = np.sqrt(0.5) * (1 + u[3] / 99)  # where the exponent changes
    for x in np.concatenate([u[0], 10 ** (-307 * u[1]), 1 - 10 ** (-16 * u[2]), near_cut]):
        with mpmath.workdps(40):
            exact = mpmath.log(float(x))
            assert abs(mpmath.mpf(_log(x)) - exact) <= np.spacing(abs(float(exact)))
    assert _log(1.0) == 0 and math.isfinite(_log(0.0))


def test_the_settings_of_numpy_are_given_back():
    before = np.geterr(), np.getbufsize()
    entropy_dynamics([1.0, 0.0], [1.0, 2.0])
    assert (np.geterr(), np.getbufsize()) == before


@pytest.mark.parametrize("e", [1e-3, 1e-10, 1e-75, 1e-120, 1e-150])
@pytest.mark.parametrize("scale", [1.0, 1e-140, 1e140])
def test_shares_down_to_1e_minus_300(e, scale):
    """One mode of strength e beside a leader: every result to its own relative precision."""
    q = e**2 / (1 + e**2)
    h = math.log1p(e**2) - q * 2 * math.log(e)
    a, g = scale * np.array([e, 1.0, 0.0]), np.array([3.0, 1.0, 7.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = entropy_dynamics(a, g)
    assert float(result.entropy) == pytest.approx(h, rel=1e-13)
    rate = -2 * q * (1 - q) * (3 - 1) * 2 * math.log(e)
    assert float(result.rate) == pytest.approx(rate, rel=1e-13)
    flux = 2 * q * (1 - q) * 2  # gained by the small mode, lost by the leader
    log_q = 2 * math.log(e) - math.log1p(e**2)
    parts = [-flux * log_q, -flux * math.log1p(e**2), 0]
    np.testing.assert_allclose(result.by_mode, parts, rtol=1e-13)
    between = group_entropy(a, [False, True, True])
    assert float(between.between) == pytest.approx(h, rel=1e-13)


@given(strengths, st.data())
def test_group_entropy(a, data):
    mask = data.draw(arrays(bool, a.size))
    parts = group_entropy(a, mask)
    total = parts.between + parts.share * parts.signal + (1 - parts.share) * parts.noise
    assert float(total) == pytest.approx(float(parts.total), abs=1e-10)
    assert float(parts.total) == float(spectral_entropy(a))
    assert 0 <= parts.between <= np.log(2) + 1e-12
    for inside, group in ((parts.signal, a[mask]), (parts.noise, a[~mask])):
        expected = float(spectral_entropy(group)) if group.any() else 0
        assert float(inside) == pytest.approx(expected, abs=1e-12)


def test_group_entropy_over_time():
    a = mode_strength(T, S, 1e-3)
    parts = group_entropy(a, S > 1)
    assert parts.share.shape == parts.between.shape == T.shape
    np.testing.assert_allclose(parts.share, energy_shares(a)[:, :3].sum(axis=1), rtol=1e-12)
    assert parts.share[0] == pytest.approx(3 / 5)
    np.testing.assert_allclose(group_entropy(a, S > 9).noise, parts.total, rtol=1e-12)
    silent = group_entropy([0.0, 0.0, 2.0, 1.0], [True, True, False, False])
    assert silent.share == silent.signal == silent.between == 0
    assert silent.noise == silent.total


def test_bad_entropy_input():
    with pytest.raises(ValueError, match="all modes are zero"):
        spectral_entropy([[1.0, 0.0], [0.0, 0.0]])
    for bad in (np.inf, np.nan):
        for call in (spectral_entropy, energy_shares, effective_modes):
            with pytest.raises(ValueError, match="a contains NaN or infinity"):
                call([1.0, bad])
        for g in ([1.0, bad, 2.0], [bad, 1.0, 2.0], [1.0, 2.0, bad]):
            with pytest.raises(ValueError, match="g contains NaN or infinity"):
                entropy_rate([1.0, 2.0, 0.0], g)
    with pytest.raises(ValueError, match=r"one growth rate per mode strength: got shape \(2,\)"):
        entropy_rate(np.ones((4, 2)), np.ones(2))
    with pytest.raises(ValueError, match="at least one mode"):
        spectral_entropy(np.ones((4, 0)))
    with pytest.raises(ValueError, match="power must be positive"):
        entropy_rate_by_mode([1.0, 2.0], [1.0, 2.0], power=0)
    late = np.ones((3000, 400))  # more than one thread
    for bad, wrong in ((np.nan, "a contains NaN"), (0, "all modes are zero")):
        late[-1] = bad
        with pytest.raises(ValueError, match=wrong):
            spectral_entropy(late)
    for alone, wrong in (([np.nan], "a contains"), ([-np.inf], "a contains"), ([0.0], "all modes")):
        with pytest.raises(ValueError, match=wrong):
            spectral_entropy(alone)
    with pytest.raises(ValueError, match="g contains NaN"):
        entropy_rate([1.0], [np.inf])
    for mask in ([True], [1, 0], [[True, False]]):
        with pytest.raises(ValueError, match="boolean mask over the 2 modes"):
            group_entropy([1.0, 2.0], mask)


# Found by changing the package a little and asking whether a test notices: `make mutants`.


def test_energies_and_surprise_unless_told_otherwise():
    a, g = [3.0, 2.0, 0.5], [1.0, -0.5, 2.0]
    for function in (energy_shares, spectral_entropy, effective_modes):
        np.testing.assert_array_equal(function(a), function(a, power=2))
    np.testing.assert_array_equal(entropy_rate(a, g), entropy_rate(a, g, power=2))
    expected = entropy_rate_by_mode(a, g, power=2, centred=False)
    np.testing.assert_array_equal(entropy_rate_by_mode(a, g), expected)
    np.testing.assert_array_equal(entropy_dynamics(a, g).by_mode, expected)
    mask = [True, False, False]
    assert group_entropy(a, mask).share == group_entropy(a, mask, power=2).share
