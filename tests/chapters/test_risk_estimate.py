"""Chapter on the estimate of the test error: its theorems by draws, differences, exact laws."""

import math

import numpy as np
import pandas as pd
import pytest
from helpers import estimate_draws, jacobian, map_eigenvalues, spiked_spectrum, within
from scipy.special import gammaln
from scipy.stats import ncx2

from dlnlib.entropy import spectral_entropy
from dlnlib.modes import learning_time, mode_sensitivity, mode_strength
from dlnlib.random_matrix import optimal_shrinker
from dlnlib.stopping import degrees_of_freedom, plugin_error, risk_estimate
from dlnlib.studies import read_table
from tools.bless import CHAPTERS


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
@pytest.mark.parametrize("depth", [2, 3])
def test_spectral_derivative(shape, depth):
    """The derivative by differences, entry by entry: symmetric, and with these eigenvalues."""
    matrix = np.random.default_rng(0).standard_normal(shape)
    s = np.linalg.svd(matrix, compute_uv=False)
    derivative = jacobian(matrix, 0.7, 0.2, depth=depth)
    assert derivative == pytest.approx(derivative.T, abs=1e-8)
    f = mode_strength([0.7], s, 0.2, depth=depth)
    slope = mode_sensitivity([0.7], s, 0.2, depth=depth)
    expected = np.sort(map_eigenvalues(s[None], f, slope, shape)[0])
    assert np.linalg.eigvalsh(derivative) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (3, 3), (2, 3)])
def test_degrees_of_freedom(shape):
    """The sum of the eigenvalues, for a map that learns, has learned one mode, or everything."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        s = np.linalg.svd(rng.standard_normal(shape), compute_uv=False)
        f, slope = mode_strength([0.7], s, 0.2), mode_sensitivity([0.7], s, 0.2)
        total = map_eigenvalues(s[None], f, slope, shape).sum()
        assert degrees_of_freedom([0.7], s, 0.2, shape=shape)[0] == pytest.approx(total)
    one = [3.0, *np.linspace(1e-3, 2e-3, min(shape) - 1)]
    assert degrees_of_freedom([12.0], one, 1e-8, shape=shape)[0] == pytest.approx(
        sum(shape) - 1, abs=1e-4
    )
    assert degrees_of_freedom([1e6], one, 1e-4, shape=shape)[0] == pytest.approx(math.prod(shape))


@pytest.mark.parametrize("depth", [2, 3, 4, 7])
def test_mode_sensitivity(depth):
    """The formula against differences of the strength, and the function of the package."""
    s, a0, step, t = 1.7, 0.02, 1e-5, np.array([0.1, 1.0, 3.0, 9.0, 60.0])
    a = mode_strength(t, s, a0, depth=depth)[:, 0]
    p = 2 - 2 / depth
    velocity = depth * a**p * (s - a)
    slope = a / s + p * t * velocity / s - (a / a0) ** p * a0 * (s - a) / (s * (s - a0))
    above, below = (mode_strength(t, s + x, a0, depth=depth)[:, 0] for x in (step, -step))
    assert slope == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=1e-8)
    found = mode_sensitivity(t, s, a0, depth=depth)[:, 0]
    assert slope == pytest.approx(found, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("columns", [2, 5])
def test_targets_given_spectrum(columns):
    """One row x with the mean w in its first entry: the law of its length is known exactly.

    There m = w x_1/s, and the mean of x_1 at a given s is w + v d log p/dw.
    """
    w, v, step, s = 1.3, 0.4, 1e-4, np.array([0.3, 0.8, 1.5, 2.5])

    def log_density(s, w):
        return ncx2.logpdf(s**2 / v, columns, w**2 / v) + np.log(2 * s / v)

    by_weight = (log_density(s, w + step) - log_density(s, w - step)) / (2 * step)
    target = w * (w + v * by_weight) / s
    by_length = (log_density(s + step, w) - log_density(s - step, w)) / (2 * step)
    estimate = s - v * (columns - 1) / s + v * by_length
    assert estimate == pytest.approx(target, abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 4), (3, 3)])
def test_targets_given_spectrum_of_several_modes(shape):
    """In weak form: test functions that vanish where values meet, or reach zero."""
    rng, v, draws = np.random.default_rng(1), 0.5, 60_000
    teacher = np.zeros(shape)
    teacher[0, 0], teacher[1, 1] = 1.2, 0.4
    noise = math.sqrt(v) * rng.standard_normal((draws, *shape))
    u, s, w = np.linalg.svd(teacher + noise, full_matrices=False)
    m = np.einsum("nik,ij,nkj->nk", u, teacher, w)
    others = s[:, :, None] ** 2 - s[:, None, :] ** 2
    k = np.arange(s.shape[1])
    others[:, k, k] = np.inf
    estimate = s - v * (2 * (s[:, :, None] / others).sum(axis=2) + abs(np.diff(shape)) / s)
    for i in k:
        weight = s[:, i] * np.prod(np.delete(others[:, i], i, axis=1), axis=1)
        slope = weight / s[:, i] + weight * (2 * s[:, i, None] / np.delete(others[:, i], i, 1)).sum(
            axis=1
        )
        assert within(weight * (m[:, i] - estimate[:, i]) + v * slope, 0.0)


@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (2, 3)])
def test_risk_estimate(shape):
    """No bias where the sides differ; and both lines of the formula differ by a constant."""
    teacher = np.zeros(shape)
    teacher[0, 0] = 1.0
    gap, _, _ = estimate_draws(teacher, 0.6, 0.3, np.random.default_rng(1))
    assert within(gap, 0.0)

    s = np.linalg.svd(np.random.default_rng(2).standard_normal(shape), compute_uv=False)
    t, v, surplus = np.linspace(0, 3, 7), 1 / shape[1], abs(shape[0] - shape[1])
    a, slope = mode_strength(t, s, 0.1), mode_sensitivity(t, s, 0.1)
    pairs = np.array([(x / (x**2 - np.delete(s, k) ** 2)).sum() for k, x in enumerate(s)])
    second = ((a - (s - v * (2 * pairs + surplus / s))) ** 2 + 2 * v * slope).sum(axis=1)
    first = risk_estimate(t, s, 0.1, noise=1.0, shape=shape)
    assert np.ptp(first - second) < 1e-10


def mean_length(d: int) -> float:
    """Of a standard normal vector of d entries."""
    return math.sqrt(2) * math.exp(gammaln((d + 1) / 2) - gammaln(d / 2))


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("strength", [0.0, 0.8])
def test_risk_bias(d, strength):
    """The bias is the jump of the map where the determinant is zero."""
    t, a0, variance = 0.3, 0.5, 1 / d
    teacher = strength * np.eye(d)
    gap, _, least = estimate_draws(teacher, t, a0, np.random.default_rng(d))
    jump = 2 * variance * a0 / (1 + 2 * a0 * t)
    bound = jump * mean_length(d) / math.sqrt(variance)
    if strength == 0:
        assert within(gap, -bound)
    else:
        near = 0.05  # the density of the least singular value is even, hence flat to first order
        density = (least < near).mean() / near
        error = gap.std() / math.sqrt(gap.size) + jump * math.sqrt(density / near / gap.size)
        assert abs(gap.mean() + jump * density) < 4.5 * error + 0.01
        assert -bound < gap.mean() < 0


@pytest.mark.parametrize("d", [1, 2, 4])
def test_risk_bias_bound(d):
    """The density of the least singular value at zero: attained by noise, never passed."""
    rng, near, draws = np.random.default_rng(d), 0.04, 60_000
    assert mean_length(d) <= math.sqrt(d)
    noise = rng.standard_normal((draws, d, d))  # v = 1
    for teacher in (np.zeros((d, d)), np.eye(d), np.diag([2.0] + [0.0] * (d - 1))):
        least = np.linalg.svd(teacher + noise, compute_uv=False)[:, -1]
        density = (least < near).mean() / near
        error = math.sqrt(density / near / draws)
        if not teacher.any():
            assert density == pytest.approx(mean_length(d), abs=4 * error + 0.03)
        assert density < mean_length(d) + 4 * error


def test_targets_of_the_bulk_vanish_together():
    """|m|^2 over the bulk is of order 1/d, and so is (m_1 - m(s_1))^2."""
    means = []
    for d, draws in ((25, 200), (200, 60)):
        found = [spiked_spectrum((d, d), 2.0, x) for x in np.random.default_rng(d).spawn(draws)]
        squares = np.array(
            [[x[0] ** 2, (x[1:] ** 2).sum()] for x in (m - optimal_shrinker(s) for s, m in found)]
        )
        means.append(squares.mean(axis=0))
    assert np.log(means[0] / means[1]) / math.log(8) == pytest.approx([1.0, 1.0], abs=0.3)


@pytest.mark.parametrize("depth", [2, 3, math.inf])
def test_plugin_stop(depth):
    """The bound on the regret, in every draw."""
    shape, a0, s0 = (60, 60), 1e-3, 2.0
    end = 3 * learning_time([2.0], a0, 0.9, depth=depth)[0]
    t = np.linspace(0, end, 500)
    for rng in np.random.default_rng(2).spawn(10):
        s, m = spiked_spectrum(shape, s0, rng)
        a = mode_strength(t, s, a0, depth=depth)
        error = (a**2 - 2 * a * m).sum(axis=1) + s0**2
        stop = plugin_error(t, s, a0, shape=shape, noise=1.0, depth=depth).argmin()
        far = np.linalg.norm(optimal_shrinker(s) - m)
        regret = error[stop] / error.min()
        assert math.sqrt(regret) <= 1 + 2 * far / math.sqrt(error.min())


def test_plugin_stop_of_any_path():
    """Nothing is asked of the path: here, a random walk."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        path = rng.standard_normal((40, 5)).cumsum(axis=0)
        m, mu = rng.standard_normal((2, 5))
        hidden = rng.uniform(0, 2)  # of the teacher, off the modes
        error = ((path - m) ** 2).sum(axis=1) + hidden
        stop = ((path - mu) ** 2).sum(axis=1).argmin()
        far = np.linalg.norm(mu - m)
        assert math.sqrt(error[stop] / error.min()) <= 1 + 2 * far / math.sqrt(error.min())


def test_entropy_lacks():
    """Two teachers, one correlation: the same curves, and no rule that sees them suits both."""
    rng = np.random.default_rng(0)
    u, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    w, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    s, t = np.array([3.0, 1.0, 1.0, 1.0]), np.linspace(0, 8, 4001)
    a, sigma = mode_strength(t, s, 1e-3), u * s @ w.T
    maps, entropy = np.einsum("ik,tk,jk->tij", u, a, w), spectral_entropy(a)
    regrets = []
    for targets in ([2.8, 0.9, 0.9, 0.9], [2.8, 0.0, 0.0, 0.0]):
        teacher = u * targets @ w.T
        seen = np.linalg.svd(teacher + (sigma - teacher), compute_uv=False)
        curve = spectral_entropy(mode_strength(t, seen, 1e-3))
        assert curve == pytest.approx(entropy, abs=1e-9)
        error = ((maps - teacher) ** 2).sum(axis=(1, 2)) + (targets * (s - targets)).sum()
        regrets.append(error / error.min())
    worst = np.maximum(*regrets)
    bound = worst.min()
    assert bound == pytest.approx(1.89, abs=0.01)
    stops = rng.integers(len(t), size=200)  # any rule is one of these times
    assert (worst[stops] >= bound).all()
    at_least_entropy = [regret[entropy.argmin()] for regret in regrets]
    assert at_least_entropy == pytest.approx([4.34, 2.09], abs=0.02)


def estimates_table():
    """Both tables of aligned modes, as the chapter joins them."""
    modes = read_table(CHAPTERS / "tables" / "regret_modes.csv")
    more = read_table(CHAPTERS / "tables" / "regret_estimates.csv")
    assert (modes.draws >= 200).all() and (more.draws >= 200).all()
    return pd.concat([modes.assign(noise="gaussian", judged=1.0), more], ignore_index=True)


def regrets_of(rows, rule):
    cells = ["signal", "spikes", "n_out", "n_in", "a0", "depth", "noise", "judged"]
    return rows[rows.rule == rule].set_index(cells).sort_index()


def test_the_plug_in_beats_a_split_where_the_noise_is_white():
    """What the chapter says of its tables, from the tables alone."""
    rows = estimates_table()
    white = rows[(rows.noise == "gaussian") & (rows.judged == 1) & (rows.signal > 1)]
    plugin, split = (regrets_of(white, rule) for rule in ("plugin_minimum", "validation"))
    assert (plugin.to_split_high < 1).mean() > 0.9
    large = plugin.index.get_level_values("n_in") > 16
    assert not (plugin.to_split_low > 1).any()
    assert plugin.regret[large].max() < 1.1 < split.regret.max()
    deep = white[white.depth > 2]
    known = regrets_of(deep, "risk_minimum").regret
    ours = regrets_of(deep, "plugin_minimum").regret
    assert known.max() > 1.4 > 1.1 > ours[ours.index.get_level_values("n_in") > 16].max()
    averaged = regrets_of(white, "validation_averaged").regret
    assert np.log(averaged).mean() > np.log(plugin.regret).mean()


def test_the_plug_in_fails_where_the_noise_has_a_structure():
    rows = estimates_table()
    rows = rows[(rows.judged == 1) & (rows.spikes == "one") & (rows.a0 == 1e-6)]
    for kind in ("unequal outputs", "unequal inputs", "correlated outputs"):
        part = rows[rows.noise == kind]
        plugin = regrets_of(part, "plugin_minimum")
        assert plugin.regret.max() > 1.3
        assert (plugin.to_split_low > 1).any()
    heavy = regrets_of(rows[rows.noise == "heavy tails"], "plugin_minimum")
    assert (heavy.to_split_low > 1).any() and heavy.regret.max() < 1.6
    signs = regrets_of(rows[rows.noise == "signs"], "plugin_minimum")
    assert signs.regret.max() < 1.1
