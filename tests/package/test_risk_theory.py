"""The theorems of the risk estimate by routes of their own: many draws, and large matrices."""

import math

import numpy as np
import pytest
from scipy.special import gammaln

from dlnlib.modes import learning_time, mode_sensitivity, mode_strength
from dlnlib.random_matrix import optimal_shrinker, spike_forward
from dlnlib.stopping import degrees_of_freedom, plugin_error, risk_estimate

DRAWS, BATCH = 120_000, 20_000


def mean_length(d: int) -> float:
    """Of a standard normal vector of d entries."""
    return math.sqrt(2) * math.exp(gammaln((d + 1) / 2) - gammaln(d / 2))


def eigenvalues(s, f, slope, shape):
    """Of the derivative of the map, for each row of s: modes, further entries, pairs."""
    j, k = np.triu_indices(s.shape[1], 1)
    return np.concatenate(
        [
            slope,
            np.repeat(f / s, abs(shape[0] - shape[1]), axis=1),
            (f[:, j] - f[:, k]) / (s[:, j] - s[:, k]),
            (f[:, j] + f[:, k]) / (s[:, j] + s[:, k]),
        ],
        axis=1,
    )


def modes_at(s, t, a0):
    """Strengths and slopes of two layers for an array of singular values."""
    flat = s.ravel()
    f, slope = mode_strength([t], flat, a0)[0], mode_sensitivity([t], flat, a0)[0]
    return f.reshape(s.shape), slope.reshape(s.shape)


def draws(teacher, t, a0, rng, noise=1.0):
    """SURE less error less its constant, its expected square, and the least singular value."""
    shape = teacher.shape
    variance, found = noise**2 / shape[1], []
    for _ in range(DRAWS // BATCH):
        added = math.sqrt(variance) * rng.standard_normal((BATCH, *shape))
        u, s, v = np.linalg.svd(teacher + added, full_matrices=False)
        f, slope = modes_at(s, t, a0)
        rates = eigenvalues(s, f, slope, shape)
        overlap = np.einsum("nik,nk,nkj,nij->n", u, f, v, added)
        gap = 2 * (variance * rates.sum(axis=1) - overlap)
        size = 4 * variance * (f**2).sum(axis=1) + 4 * variance**2 * (rates**2).sum(axis=1)
        found.append([gap, size, s[:, -1]])
    return np.concatenate(found, axis=1)


def within(values, exact, errors=4.5):
    return abs(values.mean() - exact) < errors * values.std() / math.sqrt(values.size)


@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (3, 3), (2, 3)])
def test_eigenvalues_add_up_to_the_degrees_of_freedom(shape):
    """So that what the other tests draw by thousands is what the package returns."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        s = np.linalg.svd(rng.standard_normal(shape), compute_uv=False)
        f, slope = modes_at(s[None], 0.7, 0.2)
        total = eigenvalues(s[None], f, slope, shape).sum()
        assert degrees_of_freedom([0.7], s, 0.2, shape=shape)[0] == pytest.approx(total)


@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (2, 3), (3, 5)])
def test_estimate_has_no_bias_where_shapes_differ(shape):
    teacher = np.zeros(shape)
    teacher[0, 0] = 1.0
    gap, size, _ = draws(teacher, 0.6, 0.3, np.random.default_rng(1))
    assert within(gap, 0.0)
    if abs(shape[0] - shape[1]) > 1:  # else the square has no mean
        assert within(gap**2 - size, 0.0)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("strength", [0.0, 0.8])
def test_bias_and_size_of_square_shapes(d, strength):
    """The bias is the jump of the map where the determinant is zero; its square is in the size."""
    t, a0, variance = 0.3, 0.5, 1 / d
    teacher = strength * np.eye(d)
    gap, size, least = draws(teacher, t, a0, np.random.default_rng(d))
    jump = 2 * variance * a0 / (1 + 2 * a0 * t)
    bound = jump * mean_length(d) / math.sqrt(variance)
    if strength == 0:
        assert within(gap, -bound)
        assert bound <= 2 * a0 / (1 + 2 * a0 * t)
    else:
        near = 0.05  # the density of the least singular value is even, hence flat to first order
        density = (least < near).mean() / near
        error = gap.std() / math.sqrt(gap.size) + jump * math.sqrt(density / near / gap.size)
        assert abs(gap.mean() + jump * density) < 4.5 * error + 0.01
        assert -bound < gap.mean() < 0
    assert within(gap**2 - size, 0.0)


def test_heavy_tail_of_shapes_that_differ_by_one():
    """P(df > y) falls as y^-2: the square of the estimate has no mean."""
    rng = np.random.default_rng(4)
    s = np.linalg.norm(rng.standard_normal((400_000, 2)), axis=1)  # 1 x 2: one singular value
    f, slope = modes_at(s[:, None], 0.5, 0.5)
    df = eigenvalues(s[:, None], f, slope, (1, 2)).sum(axis=1)
    tail = [(df > y).mean() * y**2 for y in (5, 20)]
    start = 0.5 / (1 + 2 * 0.5 * 0.5)
    assert tail == pytest.approx([start**2 / 2] * 2, rel=0.35)  # s has density s near 0


def spiked(shape, s0, rng):
    sigma = rng.standard_normal(shape) / math.sqrt(shape[1])
    sigma[0, 0] += s0
    u, s, v = np.linalg.svd(sigma, full_matrices=False)
    return s, s0 * u[0] * v[:, 0]


def gap_over_time(t, s, m, a0, shape):
    """SURE less error less its constant, from the package: 2 v df - 2 <W, N>."""
    df = degrees_of_freedom(t, s, a0, shape=shape)
    return 2 * df / shape[1] - 2 * mode_strength(t, s, a0) @ (s - m)


@pytest.mark.parametrize("aspect", [0.5, 1.0])
def test_gap_falls_with_the_size_until_noise_is_learned(aspect):
    """Standard deviation d^-1/2 at the rise of the spike, sqrt(8 c) at the end, whatever d."""
    sizes, early, late = (24, 96), [], []
    for d in sizes:
        shape = (round(aspect * d), d)
        gaps = np.array(
            [
                gap_over_time([1.6, 60.0], *spiked(shape, 2.0, rng), 1e-4, shape)
                for rng in np.random.default_rng(d).spawn(300)
            ]
        )
        sd = gaps.std(axis=0)
        early.append(sd[0])
        late.append(sd[1])
    slope = math.log(early[1] / early[0]) / math.log(sizes[1] / sizes[0])
    assert slope == pytest.approx(-0.5, abs=0.17)
    assert late == pytest.approx([math.sqrt(8 * aspect)] * 2, rel=0.2)


@pytest.mark.parametrize("depth", [2, 3, math.inf])
def test_plugin_stop_is_bounded_in_every_draw(depth):
    shape, a0, s0 = (60, 60), 1e-3, 2.0
    end = 3 * learning_time([2.0], a0, 0.9, depth=depth)[0]
    t = np.linspace(0, end, 1500)
    for rng in np.random.default_rng(2).spawn(10):
        s, m = spiked(shape, s0, rng)
        a = mode_strength(t, s, a0, depth=depth)
        error = (a**2 - 2 * a * m).sum(axis=1) + s0**2
        stop = plugin_error(t, s, a0, shape=shape, noise=1.0, depth=depth).argmin()
        far = np.linalg.norm(optimal_shrinker(s) - m)
        assert math.sqrt(error[stop]) <= math.sqrt(error.min()) + 2 * far


@pytest.mark.parametrize(("s0", "expected"), [(1.5, 1.446), (3.0, 1.235)])
def test_abrupt_rise_hides_the_minimum_from_the_estimate(s0, expected):
    """Three layers from 1e-12: SURE stops before or after the rise, the plug-in in it."""
    shape, a0, cost = (64, 64), 1e-12, []
    s, m = map(float, spike_forward(s0))
    limit = s0**2 if s > 2 * m else s0**2 - m**2 + (s - m) ** 2
    assert limit / (s0**2 - m**2) == pytest.approx(expected, abs=2e-3)
    level = np.linspace(0.01, 0.999, 200)
    for rng in np.random.default_rng(3).spawn(60):
        s, m = spiked(shape, s0, rng)
        rise = [learning_time(s[0], a0, x, depth=3)[0] for x in level]
        t = np.unique(np.concatenate([[0.0, 0.9 * rise[0]], rise]))
        a = mode_strength(t, s, a0, depth=3)
        error = (a**2 - 2 * a * m).sum(axis=1) + s0**2
        settings = {"shape": shape, "noise": 1.0, "depth": 3}
        sure = risk_estimate(t, s, a0, **settings).argmin()
        plugin = plugin_error(t, s, a0, **settings).argmin()
        cost.append(error[[sure, plugin]] / error.min())
    sure, plugin = np.exp(np.log(cost).mean(axis=0))
    assert sure == pytest.approx(expected, abs=0.1)
    assert plugin < 1.06


def test_targets_of_the_bulk_vanish_together():
    """|m|^2 over the bulk is of order 1/d, and so is (m_1 - m(s_1))^2."""
    means = []
    for d in (50, 200):
        found = [spiked((d, d), 2.0, rng) for rng in np.random.default_rng(d).spawn(60)]
        means.append(np.mean([((m - optimal_shrinker(s)) ** 2).sum() for s, m in found]))
    assert math.log(means[0] / means[1]) / math.log(4) == pytest.approx(1.0, abs=0.35)


def test_kurtosis_of_the_noise():
    """Double exponential noise, 30 x 60: the bias is the integral over the bulk."""
    shape, t, a0, aspect = (30, 60), 2.5, 1e-3, 0.5
    theta = (np.arange(2000) + 0.5) * math.pi / 2000
    x = np.sqrt(1 + aspect + 2 * math.sqrt(aspect) * np.cos(theta))
    ratio = mode_strength([t], x, a0)[0] / x
    area = (ratio * np.sin(theta) * np.sin(2 * theta)).mean() * math.pi
    expected = -4 * 3 / math.pi * math.sqrt(aspect) * area
    gaps, rng = [], np.random.default_rng(5)
    for _ in range(600):
        added = rng.laplace(size=shape) / math.sqrt(2 * shape[1])
        s = np.linalg.svd(added, compute_uv=False)  # no teacher: m = 0
        gaps.append(gap_over_time([t], s, np.zeros_like(s), a0, shape)[0])
    assert expected == pytest.approx(-0.883, abs=2e-3)
    assert within(np.array(gaps), expected)
