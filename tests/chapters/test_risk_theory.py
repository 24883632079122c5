"""Page on how good the estimate of the test error is: many draws, large matrices, other noise."""

import math

import numpy as np
import pytest
from helpers import estimate_draws, jacobian, map_eigenvalues, spiked_spectrum, within

from dlnlib.modes import learning_time, mode_sensitivity, mode_strength
from dlnlib.random_matrix import bulk_edge, spike_forward
from dlnlib.stopping import degrees_of_freedom, risk_estimate, stop_estimates


def gap_over_time(t, s, m, a0, shape):
    """SURE less error less its constant, from the package: 2 v df - 2 <W, N>."""
    df = degrees_of_freedom(t, s, a0, shape=shape)
    return 2 * df / shape[1] - 2 * mode_strength(t, s, a0) @ (s - m)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2)])
@pytest.mark.parametrize("depth", [2, 3])
def test_risk_gap(shape, depth):
    """The difference of estimate and truth is 2 v df - 2 <W, N>, and what does not move."""
    rng, t, v = np.random.default_rng(0), np.linspace(0, 3, 7), 1 / shape[1]
    teacher, noise = rng.standard_normal(shape), math.sqrt(v) * rng.standard_normal(shape)
    u, s, vt = np.linalg.svd(teacher + noise, full_matrices=False)
    settings = {"shape": shape, "depth": depth}
    maps = np.einsum("ik,tk,kj->tij", u, mode_strength(t, s, 0.1, depth=depth), vt)
    error = ((maps - teacher) ** 2).sum(axis=(1, 2))
    constant = 2 * (teacher * noise).sum() + (noise**2).sum() - math.prod(shape) * v
    gap = risk_estimate(t, s, 0.1, noise=1.0, **settings) - error - constant
    overlap = (maps * noise).sum(axis=(1, 2))
    df = degrees_of_freedom(t, s, 0.1, **settings)
    assert gap == pytest.approx(2 * v * df - 2 * overlap, abs=1e-10)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (2, 4), (5, 2)])
@pytest.mark.parametrize("strength", [0.0, 0.8])
def test_risk_gap_size(shape, strength):
    """Also where square maps jump."""
    teacher = strength * np.eye(*shape)
    gap, size, _ = estimate_draws(teacher, 0.3, 0.5, np.random.default_rng(shape[1]))
    assert within(gap**2 - size, 0.0)


def test_heavy_tail_of_shapes_that_differ_by_one():
    """P(df > y) falls as y^-2: the square of the estimate has no mean."""
    rng = np.random.default_rng(4)
    s = np.linalg.norm(rng.standard_normal((250_000, 2)), axis=1)  # 1 x 2: one singular value
    f, slope = mode_strength([0.5], s, 0.5)[0], mode_sensitivity([0.5], s, 0.5)[0]
    df = map_eigenvalues(s[:, None], f[:, None], slope[:, None], (1, 2)).sum(axis=1)
    tail = [(df > y).mean() * y**2 for y in (5, 20)]
    start = 0.5 / (1 + 2 * 0.5 * 0.5)
    assert tail == pytest.approx([start**2 / 2] * 2, rel=0.35)  # s has density s near 0


def test_risk_gap_uniform():
    """The speed of the gap has the size of the theorem, for the speed of the map; its integral."""
    shape, a0, t, draws = (2, 4), 0.2, np.linspace(0, 1.5, 16), 20_000
    rng, v = np.random.default_rng(6), 1 / 4
    noise = math.sqrt(v) * rng.standard_normal((draws, *shape))
    noise[:, 0, 0] += 1.0
    u, s, vt = np.linalg.svd(noise, full_matrices=False)
    noise[:, 0, 0] -= 1.0
    own = np.einsum("nik,nij,nkj->nk", u, noise, vt)
    gaps, speeds = [], []
    for x in t:
        f = mode_strength([x], s.ravel(), a0)[0].reshape(s.shape)
        slope = mode_sensitivity([x], s.ravel(), a0)[0].reshape(s.shape)
        gaps.append(2 * v * map_eigenvalues(s, f, slope, shape).sum(axis=1) - 2 * (f * own).sum(1))
        speed = 2 * f * (s - f)
        rates = map_eigenvalues(s, speed, 2 * slope * (s - f) + 2 * f * (1 - slope), shape)
        moved = 2 * v * rates.sum(axis=1) - 2 * (speed * own).sum(axis=1)
        size = 4 * v * (speed**2).sum(axis=1) + 4 * v**2 * (rates**2).sum(axis=1)
        assert within(moved**2 - size, 0.0)
        speeds.append(math.sqrt(size.mean()))
    gaps = np.array(gaps)
    bound = math.sqrt((gaps[0] ** 2).mean()) + np.trapezoid(speeds, t)
    found = math.sqrt((gaps**2).max(axis=0).mean())
    assert bound / 2 < found < 1.02 * bound


def test_risk_rate():
    """One constant for all sizes and times, by the exact size of the gap."""
    t, ratios = np.array([0.0, 1.0, 1.6, 2.2, 3.0, 5.0, 9.0]), []
    for d in (24, 72, 216):
        shape, a0 = (d // 2, d), d**-1.5
        s, _ = spiked_spectrum(shape, 2.0, np.random.default_rng(d))
        a, slope = mode_strength(t, s, a0), mode_sensitivity(t, s, a0)
        rates = np.array(
            [
                map_eigenvalues(s[None], *x, shape)[0]
                for x in zip(a[:, None], slope[:, None], strict=True)
            ]
        )
        size = 4 / d * (a**2).sum(axis=1) + 4 / d**2 * (rates**2).sum(axis=1)
        learned = (a[:, 1:] ** 2).sum(axis=1)
        ratios.append(size * d / (1 + (1 + t) ** 2 * (learned + 1 / d)))
    assert np.max(ratios) < 8
    assert np.max(ratios[2]) < 1.2 * np.max(ratios[0])


@pytest.mark.parametrize("aspect", [0.5, 1.0])
def test_gap_falls_with_the_size_until_noise_is_learned(aspect):
    """Standard deviation d^-1/2 at the rise of the spike, sqrt(8 c) at the end, whatever d."""
    sizes, early, late = (24, 96), [], []
    for d in sizes:
        shape, gaps = (round(aspect * d), d), []
        for rng in np.random.default_rng(d).spawn(140):
            gaps.append(gap_over_time([1.6, 60.0], *spiked_spectrum(shape, 2.0, rng), 1e-4, shape))
        sd = np.std(gaps, axis=0)
        early.append(sd[0])
        late.append(sd[1])
    slope = math.log(early[1] / early[0]) / math.log(sizes[1] / sizes[0])
    assert slope == pytest.approx(-0.5, abs=0.2)
    assert late == pytest.approx([math.sqrt(8 * aspect)] * 2, rel=0.2)


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_risk_bump(depth, seed):
    """SURE against the level of the spike, in one draw of a strong one from a tiny start."""
    shape, a0, x = (40, 40), 1e-14, np.linspace(0.05, 0.95, 19)
    s, _ = spiked_spectrum(shape, 6.0, np.random.default_rng(seed))
    t = np.array([learning_time(s[0], a0, share, depth=depth)[0] for share in x])
    a, v = s[0] * x, 1 / 40
    target = s[0] - 2 * v * (s[0] / (s[0] ** 2 - s[1:] ** 2)).sum()
    if depth == 2:
        slope = x**2 + x * (1 - x) * (np.log(s[0] / a0) + np.log(x / (1 - x)))
    else:
        height = depth / (depth - 2) * (s[0] / a0) ** (1 - 2 / depth)
        slope = height * x ** (2 - 2 / depth) * (1 - x)
    theory = a**2 - 2 * a * target + 2 * v * slope
    found = risk_estimate(t, s, a0, noise=1.0, shape=shape, depth=depth)
    found -= risk_estimate([0.0], s, a0, noise=1.0, shape=shape, depth=depth)
    assert found == pytest.approx(theory, rel=2e-3, abs=0.02)


@pytest.mark.parametrize(("s0", "expected"), [(1.5, 1.446), (3.0, 1.235)])
def test_risk_bump_regret(s0, expected):
    """Three layers from 1e-12: SURE stops before or after the rise, the plug-in in it.

    So does SURE without the slopes of the modes outside the bulk.
    """
    shape, a0, cost = (64, 64), 1e-12, []
    s, m = map(float, spike_forward(s0))
    limit = s0**2 if s > 2 * m else s0**2 - m**2 + (s - m) ** 2
    assert limit / (s0**2 - m**2) == pytest.approx(expected, abs=2e-3)
    level = np.linspace(0.01, 0.999, 60)
    for rng in np.random.default_rng(3).spawn(40):
        s, m = spiked_spectrum(shape, s0, rng)
        rise = [learning_time(s[0], a0, x, depth=3)[0] for x in level]
        t = np.unique(np.concatenate([[0.0, 0.9 * rise[0]], rise]))
        a = mode_strength(t, s, a0, depth=3)
        error = (a**2 - 2 * a * m).sum(axis=1) + s0**2
        found = stop_estimates(t, s, a0, shape=shape, noise=1.0, depth=3)
        slopes = mode_sensitivity(t, s, a0, depth=3) @ (s > bulk_edge())
        cured = found.risk_estimate - 2 / 64 * slopes
        stops = [x.argmin() for x in (found.risk_estimate, cured, found.plugin_error)]
        cost.append(error[stops] / error.min())
    sure, cured, plugin = np.exp(np.log(cost).mean(axis=0))
    assert sure == pytest.approx(expected, abs=0.1)
    assert max(cured, plugin) < 1.06


def test_split_inconsistent():
    """A split of a fifth, and training again, on draws from a very small start, and the limits."""
    size, s0, a0, share = 150, 1.5, 1e-80, 0.2
    shape, best = (size, size), 2 - 1 / s0**2
    bound = 1.25 * (2 - 1.25 / s0**2) / best
    costs = []
    for rng in np.random.default_rng(8).spawn(12):
        teacher = np.zeros(shape)
        teacher[0, 0] = s0
        first, second = rng.standard_normal((2, *shape)) / math.sqrt(size)
        noises = first / math.sqrt(1 - share), second / math.sqrt(share)
        both = (1 - share) * noises[0] + share * noises[1]
        assert both.std() * math.sqrt(size) == pytest.approx(1.0, abs=0.05)
        curves = []
        for noise in (noises[0], both):
            u, s, vt = np.linalg.svd(teacher + noise)
            t = np.linspace(0, 1.2 * learning_time(1.9, a0)[0], 1500)
            a = mode_strength(t, s, a0)
            seen = np.einsum("ik,ij,kj->k", u, teacher + noises[1], vt)  # by the samples kept out
            error = (a**2).sum(axis=1) - 2 * a @ (s0 * u[0] * vt[:, 0]) + s0**2
            curves.append([(a**2).sum(axis=1) - 2 * a @ seen, error])
        (validation, split), (_, full) = curves
        stop = validation.argmin()
        costs.append([split[stop] / full.min(), full[stop] / full.min()])
    split, again = np.exp(np.log(costs).mean(axis=0))
    assert bound - 0.03 < split < bound + 0.1
    assert again == pytest.approx(s0**2 / best, abs=0.08)


def test_price_of_a_split_falls_with_the_share():
    """Increasing in the noise up to the strength of the spike, where the spike is lost."""
    s0, w = 1.5, np.linspace(1, 1.5**2, 50)
    least = []
    for noise in w:
        _, m = spike_forward(s0, noise=math.sqrt(noise))
        least.append(s0**2 - float(m) ** 2)
    assert least == pytest.approx(w * (2 - w / s0**2))
    assert (np.diff(least) > 0).all()


def test_kurtosis_bias():
    """Double exponential noise and random signs: the bias is the integral over the bulk."""
    shape, t, a0, aspect = (30, 60), 2.5, 1e-3, 0.5
    theta = (np.arange(2000) + 0.5) * math.pi / 2000
    x = np.sqrt(1 + aspect + 2 * math.sqrt(aspect) * np.cos(theta))
    ratio = mode_strength([t], x, a0)[0] / x
    area = (ratio * np.sin(theta) * np.sin(2 * theta)).mean() * math.pi
    rng = np.random.default_rng(5)
    laws = {
        3: lambda: rng.laplace(size=shape) / math.sqrt(2),
        -2: lambda: rng.choice([-1.0, 1.0], size=shape),
    }
    for kurtosis, draw in laws.items():
        gaps = []
        for _ in range(400):
            s = np.linalg.svd(draw() / math.sqrt(shape[1]), compute_uv=False)  # no teacher: m = 0
            gaps.append(gap_over_time([t], s, np.zeros_like(s), a0, shape)[0])
        expected = -4 * kurtosis / math.pi * math.sqrt(aspect) * area
        assert abs(expected) > 0.5
        assert within(np.array(gaps), expected)


def test_kurtosis_bias_of_the_third_power():
    """Exponential noise, which has both cumulants: exact in small matrices."""
    shape, rng, draws = (2, 3), np.random.default_rng(9), 200_000
    teacher = np.array([[1.0, 0.5, 0.0], [-0.2, 0.8, 0.6]])
    noise = 0.3 * (rng.exponential(size=(draws, *shape)) - 1)
    sigma = teacher + noise
    cube = sigma @ sigma.swapaxes(1, 2) @ sigma
    s = np.linalg.svd(sigma, compute_uv=False)
    df = map_eigenvalues(s, s**3, 3 * s**2, shape).sum(axis=1)
    gap = 2 * 0.3**2 * df - 2 * (noise * cube).sum(axis=(1, 2))
    third, fourth = 2 * 0.3**3, 6 * 0.3**4
    expected = -6 * third * teacher.sum() - 2 * fourth * 6
    assert abs(expected) > 20 * gap.std() / math.sqrt(draws)
    assert within(gap, expected)


def coloured_cost(sigma, f, slope, r, q):
    """The right-hand side of the theorem, for one matrix."""
    u, s, vt = np.linalg.svd(sigma)
    r, q = u.T @ r @ u, vt @ q @ vt.T
    total = sum(r[k, k] * q[k, k] * slope[k] for k in range(s.size))
    for k in range(s.size):
        total += sum(r[k, k] * q[i, i] * f[k] / s[k] for i in range(s.size, len(q)))
        total += sum(r[i, i] * q[k, k] * f[k] / s[k] for i in range(s.size, len(r)))
        for j in range(k):
            apart = s[k] ** 2 - s[j] ** 2
            both = r[k, k] * q[j, j] + r[j, j] * q[k, k]
            total += both * (s[k] * f[k] - s[j] * f[j]) / apart
            total += 2 * r[j, k] * q[j, k] * (s[j] * f[k] - s[k] * f[j]) / apart
    return total


def covariance(n, rng):
    root = rng.standard_normal((n, n))
    return root @ root.T / n


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
@pytest.mark.parametrize("depth", [2, 3])
def test_coloured_noise(shape, depth):
    """The derivative of the map by differences, weighted by any covariance; white noise."""
    rng, t, a0 = np.random.default_rng(10), 0.7, 0.2
    sigma = rng.standard_normal(shape)
    r, q = (covariance(n, rng) for n in shape)
    s = np.linalg.svd(sigma, compute_uv=False)
    f, slope = (of([t], s, a0, depth=depth)[0] for of in (mode_strength, mode_sensitivity))
    expected = (jacobian(sigma, t, a0, depth=depth) * np.kron(r, q)).sum()
    assert coloured_cost(sigma, f, slope, r, q) == pytest.approx(expected, rel=1e-6)
    white = coloured_cost(sigma, f, slope, np.eye(shape[0]), np.eye(shape[1]))
    df = degrees_of_freedom([t], s, a0, shape=shape, depth=depth)[0]
    assert white == pytest.approx(df)


def test_coloured_noise_on_draws():
    """No bias where the colour is known, and too much hope where noise is taken for white."""
    rng, t, a0 = np.random.default_rng(11), 1.0, 0.2
    r, q = np.array([[0.5, 0.03], [0.03, 0.09]]), np.diag([1.5, 1.0, 0.8, 0.7])
    teacher = np.zeros((2, 4))
    teacher[0, 0] = 1.0
    gaps = []
    for _ in range(2000):
        noise = np.linalg.cholesky(r) @ rng.standard_normal((2, 4)) @ np.sqrt(q)
        u, s, vt = np.linalg.svd(teacher + noise, full_matrices=False)
        f, slope = (of([t], s, a0)[0] for of in (mode_strength, mode_sensitivity))
        overlap = (u * f @ vt * noise).sum()
        white = (
            np.trace(r)
            * np.trace(q)
            / 8
            * map_eigenvalues(s[None], f[None], slope[None], (2, 4)).sum()
        )
        own = coloured_cost(teacher + noise, f, slope, r, q)
        gaps.append([2 * (own - overlap), 2 * (white - overlap)])
    own, white = np.transpose(gaps)
    assert within(own, 0.0)
    assert white.mean() < -0.15
