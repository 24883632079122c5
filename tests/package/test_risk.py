"""The estimates of the test error, by routes of their own."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlnlib.modes import mode_sensitivity, mode_strength
from dlnlib.random_matrix import optimal_shrinker
from dlnlib.stopping import (
    Run,
    cross_validation,
    degrees_of_freedom,
    noise_level,
    plugin_error,
    plugin_minimum,
    risk_estimate,
    spiked_draws,
    spiked_spectra,
    stop_estimates,
)
from dlnlib.tasks import spiked_teacher

DEPTHS = (2, 3, 5, math.inf)


def exact_strength(t, s, a0):
    """Two layers, in the digits of the context."""
    t, s, a0 = mpmath.mpf(t), mpmath.mpf(s), mpmath.mpf(a0)
    return s / (1 + (s / a0 - 1) * mpmath.exp(-2 * s * t))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(
    ("s", "a0"), [(2.0, 1e-3), (1.0, 0.5), (1.0, 0.999), (1.0, 1.0001), (1.0, 1.9), (0.05, 4.0)]
)
def test_sensitivity_is_the_difference_of_strengths(s, a0, depth):
    t, h = np.linspace(0, 12 if depth == 2 or a0 > 0.1 else 200, 40), 1e-4 * s

    def at(x):
        return mode_strength(t, x, a0, depth=depth)

    slope = (8 * (at(s + h) - at(s - h)) - (at(s + 2 * h) - at(s - 2 * h))) / (12 * h)
    found = mode_sensitivity(t, s, a0, depth=depth)
    assert (found >= 0).all()
    np.testing.assert_allclose(found, slope, rtol=1e-7, atol=1e-8 * found.max())


@pytest.mark.parametrize("depth", DEPTHS)
def test_limits_of_the_sensitivity(depth):
    """At a0 = s, at s = 0, at the start, and when the mode is learned."""
    t, power = np.array([0.0, 0.3, 2.0, 1e6]), 2 - 2 / depth
    layers = 1 if depth == math.inf else depth
    decay = layers * 0.7**power * t
    equal = mode_sensitivity(t, 0.7, 0.7, depth=depth)[:, 0]
    np.testing.assert_allclose(equal, -np.expm1(-decay), atol=1e-15)
    fallen = mode_strength(t, 0.0, 0.7, depth=depth)[:, 0] / 0.7
    zero = mode_sensitivity(t, 0.0, 0.7, depth=depth)[:, 0]
    np.testing.assert_allclose(zero, (1 - fallen ** (1 + power)) / (1 + power), atol=1e-14)
    beside = mode_sensitivity(t, 1e-9, 0.7, depth=depth)[:-1, 0]
    np.testing.assert_allclose(beside, zero[:-1], atol=1e-7)
    learned = mode_sensitivity([0.0, 1e9], [0.7, 3.0], 1e-4, depth=depth)
    np.testing.assert_allclose(learned, [[0, 0], [1, 1]], rtol=1e-15)
    assert np.isfinite(mode_sensitivity([0.0, 1e3, 1e300], 0.7, 1e-300, depth=2)).all()


@pytest.mark.parametrize("a0", [1e-12, 1e-3, 0.3, 1.0, 2.0])
def test_sensitivity_of_two_layers_to_all_digits(a0):
    for s in (1e-6, 0.3, 1.0, 1 + 1e-9, 5.0):
        for t in (1e-9, 0.1, 3.0, 20.0):
            with mpmath.workdps(60):
                slope = mpmath.diff(lambda x, t=t: exact_strength(t, x, a0), mpmath.mpf(s))
            assert mode_sensitivity([t], s, a0)[0, 0] == pytest.approx(float(slope), rel=2e-13)


def divergence(sigma, t, a0, depth, step=1e-5):
    """By differences, entry by entry."""

    def entry(i, j, shift):
        moved = sigma.copy()
        moved[i, j] += shift
        u, s, vt = np.linalg.svd(moved, full_matrices=False)
        return (u[i] * mode_strength([t], s, a0, depth=depth)[0]) @ vt[:, j]

    return sum(
        (
            8 * (entry(i, j, step) - entry(i, j, -step))
            - (entry(i, j, 2 * step) - entry(i, j, -2 * step))
        )
        / (12 * step)
        for i in range(sigma.shape[0])
        for j in range(sigma.shape[1])
    )


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("shape", [(3, 3), (4, 6), (6, 4), (1, 5), (1, 1)])
def test_degrees_of_freedom_are_the_divergence_of_the_map(shape, depth):
    sigma = np.random.default_rng(0).standard_normal(shape)
    s = np.linalg.svd(sigma, compute_uv=False)
    for a0, t in ((1e-2, 4.0), (0.5, 1.0), (3.0, 0.3)):
        found = degrees_of_freedom([t], s, a0, shape=shape, depth=depth)[0]
        assert found == pytest.approx(divergence(sigma, t, a0, depth), rel=1e-6)


SPECTRA = {
    "equal": [1.0, 1.0, 1.0, 2.0],
    "rounding": [1.0, 1 + 1e-15, 1 + 1e-13, 2.0],
    "clusters": [1.0, 1 + 1e-9, 1 + 3e-7, 1 + 1e-5, 1 + 1e-4],
    "two scales": [1.0, 1 + 1e-3, 1 + 1e-3 + 1e-12, 3.0],
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("a0", [1e-12, 1e-3, 0.4, 0.9, 1.5])
def test_equal_and_nearly_equal_singular_values(name, a0):
    """Against the formula in 60 digits, in which differences keep what they lose in doubles."""
    s, surplus = SPECTRA[name], 3
    for t in (0.1, 2.0, 9.0, 14.0, 40.0):
        with mpmath.workdps(60):
            values = [mpmath.mpf(x) for x in s]
            f = [exact_strength(t, x, a0) for x in s]
            slope = [mpmath.diff(lambda x, t=t: exact_strength(t, x, a0), x) for x in values]
            total = sum(slope) + surplus * sum(a / x for a, x in zip(f, values, strict=True))
            for k in range(len(s)):
                for j in range(k):
                    gap = values[k] ** 2 - values[j] ** 2
                    quotient = (values[k] * f[k] - values[j] * f[j]) / gap if gap else None
                    total += 2 * quotient if gap else slope[k] + f[k] / values[k]
        found = degrees_of_freedom([t], s, a0, shape=(len(s), len(s) + surplus))[0]
        assert found == pytest.approx(float(total), rel=1e-10)


@settings(max_examples=40)
@given(st.data())
def test_degrees_of_freedom_of_any_spectrum(data):
    """They run from nearly nothing to all parameters, in any order of the spectrum."""
    depth = data.draw(st.sampled_from(DEPTHS))
    s = data.draw(st.lists(st.floats(1e-3, 10), min_size=1, max_size=6))
    shape = (len(s), len(s) + data.draw(st.integers(0, 4)))
    df = degrees_of_freedom([0.0, 3.0, 1e25], s, 1e-9, shape=shape, depth=depth)
    assert 0 <= df[0] < 1e-4
    assert df[2] == pytest.approx(shape[0] * shape[1], rel=1e-9)
    turned = degrees_of_freedom([3.0], s[::-1], 1e-9, shape=shape[::-1], depth=depth)
    assert turned[0] == pytest.approx(df[1], rel=1e-12)


def test_a_mode_costs_its_row_and_its_column():
    """With all others small: n_out + n_in - 1, less what their singular values take away."""
    s = [1.0, *np.linspace(1e-4, 2e-4, 9)]
    df = degrees_of_freedom([40.0], s, 1e-8, shape=(10, 14))[0]
    assert df == pytest.approx(10 + 14 - 1, rel=1e-3)


@pytest.mark.parametrize(("d", "share"), [(1, 0.7979), (3, 0.9213), (100, 0.9975)])
def test_the_correction_of_square_matrices(d, share):
    """2 noise f(0) and a factor below 1; that it is what draws lack is in `test_risk_theory`."""
    s, t, options = np.linspace(1, 2, d), [0.4], {"noise": 0.8, "shape": (d, d)}
    plain, mended = (risk_estimate(t, s, 0.5, **options, corrected=one) for one in (False, True))
    alone = mode_strength(t, 0.0, 0.5)[0]
    assert mended - plain == pytest.approx(2 * 0.8 * share * alone, rel=1e-3)
    flat = options | {"shape": (d, d + 1)}
    assert risk_estimate(t, s, 0.5, **flat, corrected=True) == risk_estimate(t, s, 0.5, **flat)


def test_the_plug_in_error_is_the_distance_to_the_shrunk_matrix():
    task = spiked_teacher(20, 30, [4.0, 2.0], noise=1.0, rng=np.random.default_rng(0))
    modes, t = task.modes, np.linspace(0, 6, 30)
    a = mode_strength(t, modes.s, 1e-4)
    shrunk = optimal_shrinker(modes.s, noise=1.0, aspect=20 / 30)
    distance = ((a - shrunk) ** 2).sum(axis=1)
    found = plugin_error(t, modes.s, 1e-4, shape=(20, 30), noise=1.0)
    constant = np.square(modes.s).sum() - 20 - np.square(shrunk).sum()
    np.testing.assert_allclose(found, distance + constant, atol=1e-10)


def test_all_curves_at_once_are_those_of_the_functions():
    s, t = [3.0, 1.1, 0.7], np.linspace(0, 8, 50)
    for depth in (2, 4):
        options = {"shape": (3, 5), "depth": depth, "tau": 2.0}
        found = stop_estimates(t, s, 1e-3, **options)
        assert found.noise == noise_level(s, shape=(3, 5))
        noise = {"noise": found.noise}
        for name, alone in {
            "degrees_of_freedom": degrees_of_freedom(t, s, 1e-3, **options),
            "risk_estimate": risk_estimate(t, s, 1e-3, **options, **noise),
            "plugin_error": plugin_error(t, s, 1e-3, **options),
            "cross_validation": cross_validation(t, s, 1e-3, **options),
        }.items():
            np.testing.assert_allclose(getattr(found, name), alone, atol=1e-12)
        slow = stop_estimates(2 * t, s, 1e-3, **options | {"tau": 4.0})
        np.testing.assert_allclose(slow.risk_estimate, found.risk_estimate, rtol=1e-9)


def test_generalised_cross_validation_is_held_where_it_says_nothing():
    """Without that its least value is at the end of every long run."""
    rng, t, shape = np.random.default_rng(1), np.linspace(0, 400, 4001), (16, 16)
    s, _ = next(spiked_spectra(1, *shape, [4.0], noise=1.0, rng=rng))
    df = degrees_of_freedom(t, s, 1e-6, shape=shape)
    a = mode_strength(t, s, 1e-6)
    plain = ((a - s) ** 2).sum(axis=1) / np.maximum(1 - df / 256, 1e-12) ** 2
    found = cross_validation(t, s, 1e-6, shape=shape)
    early = df < 128
    np.testing.assert_allclose(found[early], plain[early])
    assert np.ptp(found[~early]) == 0
    assert found.argmin() < early.sum() < plain.argmin()


@pytest.mark.parametrize("shape", [(200, 200), (100, 400), (400, 100)])
def test_the_noise_level_is_found(shape):
    rng = np.random.default_rng(2)
    s = spiked_teacher(*shape, [9.0, 4.0], noise=1.3, rng=rng).modes.s
    assert noise_level(s, shape=shape) == pytest.approx(1.3, rel=0.03)


def test_what_is_refused():
    good = {"t": [0.0, 1.0], "s": [3.0, 1.0], "a0": 0.01, "shape": (2, 3)}
    for change, words in (
        ({"s": [3.0]}, r"all min\(n_out, n_in\) = 2"),
        ({"s": [3.0, 0.0]}, "s has a zero"),
        ({"shape": (2, 2), "s": [0.0, 0.0]}, "s has a zero"),
        ({"shape": (2, 3, 4)}, "got 3 sizes"),
        ({"shape": (2, 0)}, "n_in must be an integer >= 1"),
        ({"a0": 0.0}, "a0 must be positive"),
    ):
        with pytest.raises(ValueError, match=words):
            degrees_of_freedom(**good | change)
    with pytest.raises(ValueError, match="noise must not be negative"):
        risk_estimate(**good, noise=-1.0)


def test_zeros_that_do_no_harm():
    """One zero of a square matrix has a finite divergence; the plug-in needs none."""
    assert np.isfinite(degrees_of_freedom([1.0], [2.0, 0.0], 0.1, shape=(2, 2))).all()
    assert np.isfinite(plugin_error([1.0], [2.0, 0.0], 0.1, shape=(2, 9))).all()


def test_the_estimates_stop_near_the_oracle():
    """One spike of three thresholds, 20 draws: within two per cent on average."""
    t, costs = np.linspace(0, 6, 1201), []
    for s, m in spiked_spectra(20, 60, 60, [3.0], noise=1.0, rng=np.random.default_rng(6)):
        a = mode_strength(t, s, 1e-6)
        error = (a * (a - 2 * m)).sum(axis=1) + 9
        found = stop_estimates(t, s, 1e-6, shape=(60, 60))
        flat = Run(t, 0 * t, 0 * t, error, plugin_error=found.plugin_error)
        stops = plugin_minimum(flat), t[found.risk_estimate.argmin()]
        costs.append([np.interp(stop, t, error) / error.min() for stop in stops])
    assert np.mean(costs, axis=0).max() < 1.03


@pytest.mark.parametrize("depth", [2, 3])
def test_plug_in_stops_of_many_draws(depth):
    """The exact search finds the least point of the sampled curve of each draw."""
    t, options = np.linspace(0, 60 if depth == 3 else 8, 20_001), {"noise": 1.0}
    shape, rng = (20, 30), np.random.default_rng(8)
    found = spiked_draws(3, *shape, [3.0], [1e-2], rng=rng, depth=depth, estimates=True, **options)
    rng = np.random.default_rng(8)
    for i, (s, _) in enumerate(spiked_spectra(3, *shape, [3.0], rng=rng, **options)):
        least = t[plugin_error(t, s, 1e-2, shape=shape, depth=depth).argmin()]
        assert found.t_plugin[i, 0, 0] == pytest.approx(least, abs=2 * (t[1] - t[0]))
    assert spiked_draws(1, *shape, [3.0], 1e-2, rng=rng, **options).t_plugin is None
