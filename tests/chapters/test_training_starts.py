"""Claims of the chapter on random starts, raw inputs and other entropies, by other routes."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm, sqrtm

from dlnlib.entropy import entropy_rate, spectral_entropy
from dlnlib.flow import aligned_weights, balance, exact_flow, gaussian_weights, gradient_flow
from dlnlib.modes import growth_rate, learning_time, mode_strength
from dlnlib.tasks import Modes, svd_modes


@pytest.fixture
def rng():
    return np.random.default_rng(17)


def task(s, n_in, n_out, rng):
    u, v = (np.linalg.qr(rng.standard_normal((n, len(s))))[0] for n in (n_out, n_in))
    return Modes(u, np.array(s), v)


def growing(weights, modes):
    """The growing parts c_k as columns."""
    return (weights[0] @ modes.v + weights[1].T @ modes.u) / np.sqrt(2)


def tied_strengths(t, c, modes):
    """Strengths of the balanced start with growing parts c, from its exact solution."""
    tied = [c @ modes.v.T / np.sqrt(2), modes.u @ c.T / np.sqrt(2)]
    return exact_flow(t, tied, modes.matrix()).mode_strength(modes)


def unbalanced(kind, rng):
    """Unit weights (8, 6, 5) far from balance."""
    w1, w2 = rng.standard_normal((6, 8)), rng.standard_normal((5, 6))
    shapes = {"Gaussian": (w1, w2), "no decoder": (w1, 0 * w2), "large decoder": (0.3 * w1, 2 * w2)}
    return shapes[kind]


@pytest.mark.parametrize("kind", ["Gaussian", "no decoder", "large decoder"])
@pytest.mark.parametrize("s", [[3.0, 2.0, 1.0], [3.0, 2.0, 2.0, 1.9], [2.0]])
def test_unbalanced_start(kind, s, rng):
    """The error is of the order of the squared scale with a logarithm, ties or not."""
    for _ in range(3):
        modes, weights, relative = task(s, 8, 5, rng), unbalanced(kind, rng), []
        for scale in (1e-2, 1e-3):
            start = [scale * w for w in weights]
            assert np.linalg.norm(balance(start)[0]) > scale**2
            t = np.linspace(0, (2 * np.log(1 / scale) + 6) / s[-1], 120)
            a = gradient_flow(t, start, modes.matrix(), rtol=1e-10, atol=1e-13)
            theory = tied_strengths(t, growing(start, modes), modes)
            gap = np.abs(a.mode_strength(modes) - theory).max()
            relative.append(gap / (scale**2 * np.log(1 / scale)))
        assert relative[1] < 1.5 * relative[0] and relative[1] < 60


def test_the_comparison_of_matrices_in_the_proof(rng):
    """C^T C lies between e^-delta and e^delta times 2 G: no direction is amplified."""
    modes = task([3.0, 2.0, 1.0], 8, 5, rng)
    for scale, most in ((1e-2, 0.1), (1e-3, 1e-3)):
        start = [scale * w for w in unbalanced("Gaussian", rng)]
        t = np.linspace(0, 2 * np.log(1 / scale) / 3 + 2, 60)
        path = gradient_flow(t, start, modes.matrix(), rtol=1e-11, atol=1e-16)
        c0 = growing(start, modes)
        for x, w1, w2 in zip(t, *path.weights, strict=True):
            c = growing((w1, w2), modes)
            bracket = np.eye(6) + (c0 * np.expm1(2 * modes.s * x) / (2 * modes.s)) @ c0.T
            grown = c0 * np.exp(modes.s * x)
            twice = grown.T @ np.linalg.solve(bracket, grown)
            ratio = np.linalg.eigvals(np.linalg.solve(twice, c.T @ c)).real
            assert np.abs(np.log(ratio)).max() < most


def test_gaussian_clock(rng):
    """Half times tend to those of the effective starts, in the order of the strengths."""
    modes = task([3.0, 2.0, 1.0], 8, 5, rng)
    for _ in range(5):
        weights, late = unbalanced("Gaussian", rng), []
        for scale in (1e-2, 1e-4):
            start = [scale * w for w in weights]
            left = np.diag(np.linalg.qr(growing(start, modes))[1]) ** 2 / 2
            expected = np.log(modes.s / left) / (2 * modes.s)
            t = np.linspace(0, 1.3 * expected.max(), 3000)
            a = gradient_flow(t, start, modes.matrix(), rtol=1e-8).mode_strength(modes)
            half = [np.interp(s / 2, a[:, k], t) for k, s in enumerate(modes.s)]
            late.append(np.abs(half - expected).max())
            assert (np.diff(half) > 0).all() or scale > 1e-3
        assert late[1] < 0.02 and late[1] < late[0] + 1e-3


def test_gaussian_rests(rng):
    """Between the levels the map is that of the learned modes, in ties as well."""
    modes, levels = task([4.0, 2.0, 2.0, 1.0], 8, 5, rng), [4.0, 2.0, 1.0]
    for _ in range(3):
        weights, gaps = unbalanced("Gaussian", rng), []
        for scale in (1e-2, 1e-6):
            c = np.array([1 / 3, 2 / 3, 1.5])  # after 4, after 2, after 1
            t = c * np.log(1 / scale)
            start = [scale * w for w in weights]
            path = gradient_flow(t, start, modes.matrix(), rtol=1e-10, atol=1e-18)
            rests = [(modes.u * modes.s * (modes.s > 0.9 * s)) @ modes.v.T for s in levels]
            gaps.append(np.linalg.norm(path.product - rests, axis=(1, 2)))
        assert (gaps[1] < 0.05).all() and (gaps[1] < 0.3 * gaps[0]).all()


def test_levels_lie_between_two_curves(rng):
    """1/(G^-1)_kk is a logistic mode, below G_kk; the exponential is above."""
    modes = task([4.0, 2.0, 2.0, 1.0], 8, 5, rng)
    t = np.linspace(0, 12, 80)
    for scale in (1e-1, 1e-3):
        c = scale * rng.standard_normal((6, 4))
        own, others = (c**2).sum(axis=0) / 2, 1 / np.diag(np.linalg.inv(c.T @ c / 2))
        a = tied_strengths(t, c, modes)
        above = own * np.exp(2 * modes.s * t[:, None])
        assert (mode_strength(t, modes.s, others) <= a * (1 + 1e-9)).all()
        assert (a <= above * (1 + 1e-9)).all()


@pytest.mark.parametrize("depth", [3, 4])
def test_deep_order(depth):
    """Aligned starts of three layers keep an order that two layers give up."""
    s, b, p = np.array([1.2, 1.0]), np.array([0.2, 1.0]), 1 - 2 / depth
    modes = svd_modes(np.diag(s))
    limit = s[1] / s[0] * (b[1] / b[0]) ** p
    assert limit > 1  # the weaker one first
    for a0 in (1e-6, 1e-9):
        times = [learning_time(x, a0 * y, depth=depth)[0] for x, y in zip(s, b, strict=True)]
        assert times[0] / times[1] == pytest.approx(limit, rel=0.02)
    two = [[learning_time(x, a0 * y)[0] for x, y in zip(s, b, strict=True)] for a0 in (1e-2, 1e-9)]
    assert two[0][0] > two[0][1] and two[1][0] < two[1][1]
    start = aligned_weights(modes, 1e-3 * b, depth=depth)
    until = 2 * learning_time(1.2, 2e-4, depth=depth)[0]
    t = np.linspace(0, until, 2000)
    a = gradient_flow(t, start, np.diag(s), rtol=1e-8).mode_strength(modes)
    half = [np.interp(x / 2, a[:, k], t) for k, x in enumerate(s)]
    assert half[0] > 1.3 * half[1]


@pytest.mark.parametrize("depth", [3, 5])
def test_one_path(depth, rng):
    """Rank one is kept, and the ends grow at s_k on the clock of the layers between."""
    s = np.array([1.2, 1.0, 0.5])
    r = [v / np.linalg.norm(v) for v in rng.standard_normal((depth - 1, 4))]
    y, z = 1e-3 * rng.uniform(0.5, 1, (2, 3))
    weights = [np.outer(r[0], y)]
    weights += [0.5 * np.outer(b, a) for a, b in pairwise(r)]
    weights.append(np.outer(z, r[-1]))
    t = np.linspace(0, 4, 400)
    path = gradient_flow(t, weights, np.diag(s), rtol=1e-11, atol=1e-16)
    first, *middle, last = path.weights
    for w in path.weights:
        values = np.linalg.svd(w[-1], compute_uv=False)
        assert values[1] < 1e-9 * values[0]
    m = np.prod([np.linalg.norm(w, axis=(1, 2)) for w in middle], axis=0)
    x = np.r_[0, np.cumsum((m[1:] + m[:-1]) / 2 * np.diff(t))]
    sums = r[0] @ first + last @ r[-1]
    np.testing.assert_allclose(sums, (y + z) * np.exp(np.outer(x, s)), rtol=1e-3)
    gain = (sums[-1, 0] / sums[-1, 1]) / (sums[0, 0] / sums[0, 1])
    grown = sums[-1, 1] / sums[0, 1]
    assert gain == pytest.approx(grown ** (1.2 - 1), rel=1e-3)


def test_one_path_is_an_exception_that_modes_of_their_own_paths_avoid():
    """Aligned modes do not gain on each other as s_j/s_k does: their ratio has a finite limit."""
    start, other = 1e-8, 1e-11
    gains = []
    for a0 in (start, other):
        at = learning_time(1.0, a0, depth=3)[0]
        gains.append(mode_strength(0.9 * at, [1.2, 1.0], [0.1 * a0, a0], depth=3)[0])
    ratio = [a[0] / a[1] for a in gains]
    assert ratio[0] == pytest.approx(ratio[1], rel=0.05)


def covariance(n, rng, least=0.1, most=8.0):
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    return basis * np.geomspace(least, most, n) @ basis.T


@pytest.mark.parametrize("scale", [1e-3, 0.05, 0.5])
def test_raw_start(scale, rng):
    """The bound holds at all times, for random inputs and starts."""
    for _ in range(4):
        sigma, sigma_xx = rng.standard_normal((3, 5)), covariance(5, rng)
        weights = gaussian_weights((5, 4, 3), scale, rng=rng)
        s, most = np.linalg.norm(sigma, 2), np.linalg.eigvalsh(sigma_xx)[-1]
        t = np.linspace(0, 6, 20)
        path = gradient_flow(t, weights, sigma, sigma_xx=sigma_xx, rtol=1e-11, atol=1e-14)
        q = np.vstack([weights[0].T, weights[1]])
        f = np.block([[np.zeros((5, 5)), sigma.T], [sigma, np.zeros((3, 3))]])
        linear = np.array([expm(f * x) @ q for x in t])
        gap = np.linalg.norm(path.product - linear[:, 5:] @ linear[:, :5].mT, axis=(1, 2))
        x = np.exp(s * t) * np.linalg.norm(q)
        assert (gap <= most / (2 * s) * x**4 * (1 + 1e-6) + 1e-13).all()
    assert scale > 0.01 or gap.max() > 0.1  # not for want of a difference


def test_raw_direction(rng):
    """At a fixed size the map turns to mode 1 of Sigma_yx as the scale falls, in any inputs."""
    for _ in range(3):
        modes = task([3.0, 1.5, 1.0], 5, 3, rng)
        sigma_xx, unit = covariance(5, rng), gaussian_weights((5, 4, 3), 1.0, rng=rng)
        size = np.sqrt(sum((w**2).sum() for w in unit))
        first = np.outer(modes.u[:, 0], modes.v[:, 0])
        for x, most in ((0.3, 0.6), (0.1, 0.07)):
            scale = 1e-8
            t = np.log(x / (scale * size)) / 3
            path = gradient_flow(
                [t], [scale * w for w in unit], modes.matrix(), sigma_xx=sigma_xx, atol=1e-20
            )
            w = path.product[0] / np.linalg.norm(path.product)
            assert min(np.linalg.norm(w - first), np.linalg.norm(w + first)) < most


def test_raw_rest(rng):
    """Rests are sums of whitened modes; new units grow at the singular values of the residual."""
    sigma, sigma_xx = rng.standard_normal((3, 5)), covariance(5, rng, 0.5, 2.0)
    half = np.real(sqrtm(sigma_xx))
    white = svd_modes(sigma @ np.linalg.inv(half))
    weights = gaussian_weights((5, 1, 3), 0.01, rng=rng)
    path = gradient_flow([200.0], weights, sigma, sigma_xx=sigma_xx, rtol=1e-10)
    expected = white.s[0] * np.outer(white.u[:, 0], white.v[:, 0])
    np.testing.assert_allclose(path.product[0] @ half, expected, atol=1e-6)
    residual = sigma - path.product[0] @ sigma_xx
    top = svd_modes(residual)
    wide = [
        np.vstack([path.weights[0][0], 1e-7 * top.v[:, 0]]),
        np.hstack([path.weights[1][0], 1e-7 * top.u[:, :1]]),
    ]
    t = np.array([0.0, 1.0, 2.0])
    grown = gradient_flow(t, wide, sigma, sigma_xx=sigma_xx, rtol=1e-11, atol=1e-16)
    unit = np.linalg.norm(grown.weights[0][:, 1], axis=1)
    np.testing.assert_allclose(unit, 1e-7 * np.exp(top.s[0] * t), rtol=1e-4)
    assert abs(top.s[0] - white.s[1]) > 0.01  # not a rate of the whitened problem


def renyi(a, alpha, power=2):
    p = np.abs(a) ** power / (np.abs(a) ** power).sum(axis=-1, keepdims=True)
    if np.isinf(alpha):
        return -np.log(p.max(axis=-1))
    return np.log((p**alpha).sum(axis=-1)) / (1 - alpha)


def renyi_rate(a, g, alpha, power=2):
    p = a**power / (a**power).sum()
    w = p**alpha / (p**alpha).sum()
    return power * alpha / (1 - alpha) * (w @ g - p @ g)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.999999, 2.0, 7.0])
@pytest.mark.parametrize("power", [1, 2])
def test_renyi_rate(alpha, power, rng):
    for n in range(2, 9):
        a, g = rng.uniform(0.1, 2, n), rng.standard_normal(n)
        ahead, behind = (renyi(a * np.exp(d * g), alpha, power) for d in (1e-5, -1e-5))
        rate = renyi_rate(a, g, alpha, power)
        if alpha == pytest.approx(1, abs=1e-3):
            assert rate == pytest.approx(entropy_rate(a, g, power=power), abs=1e-4)
        else:
            assert rate == pytest.approx((ahead - behind) / 2e-5, abs=1e-7)


def test_renyi_rate_at_the_ends(rng):
    a, g = rng.uniform(0.1, 2, 6), rng.standard_normal(6)
    a[2] = 3.0
    p = a**2 / (a**2).sum()
    assert renyi_rate(a, g, 400.0) == pytest.approx(-2 * (g[2] - p @ g), rel=0.02)
    assert np.exp(renyi(a, np.inf)) == pytest.approx((a**2).sum() / 9)
    assert np.exp(renyi(a, 0.5)) == pytest.approx(a.sum() ** 2 / (a**2).sum())
    assert renyi(a, 0.5) == pytest.approx(renyi(a, 2.0, power=1))
    assert (np.diff([renyi(a, q) for q in (0.1, 0.5, 0.9, 2.0, np.inf)]) < 0).all()


ORDERS = [0.1, 0.5, 0.99, 1.01, 2.0, 20.0]


def test_renyi_agree(rng):
    """Ordered growth: one sign for all; two groups: always."""
    for _ in range(300):
        n = rng.integers(2, 8)
        a, g = np.sort(rng.uniform(0.1, 2, n)), np.sort(rng.standard_normal(n))
        assert all(renyi_rate(a, g, q) <= 1e-12 for q in ORDERS)
        assert all(renyi_rate(a, g[::-1], q) >= -1e-12 for q in ORDERS)
        r, nu = rng.integers(1, 6, 2)
        pair, rates = rng.uniform(0.1, 2, 2), rng.standard_normal(2)
        a, g = np.repeat(pair, [r, nu]), np.repeat(rates, [r, nu])
        sign = -np.sign((rates[0] - rates[1]) * (pair[0] - pair[1]))
        assert {np.sign(renyi_rate(a, g, q)) for q in ORDERS} == {sign}


def test_renyi_agree_fails_without_its_condition(rng):
    mixed = 0
    for _ in range(300):
        a, g = rng.uniform(0.1, 2, 5), rng.standard_normal(5)
        mixed += len({np.sign(renyi_rate(a, g, q)) for q in ORDERS}) == 2
    assert mixed > 10


@pytest.mark.parametrize("depth", [2, 3])
def test_all_entropies_of_two_levels_are_least_together(depth):
    s = np.repeat([3.0, 1.0], [2, 9])
    t = np.linspace(0, 3, 6001) * learning_time(3.0, 1e-3, depth=depth)[0]
    a = mode_strength(t, s, 1e-3, depth=depth)
    g = growth_rate(a, s, depth=depth)
    turn = np.flatnonzero((g[:, 0] < g[:, -1]) & (a[:, 0] > a[:, -1]))[0]
    for q in (0.3, 2.0, np.inf):
        assert abs(renyi(a, q).argmin() - turn) <= 1
    assert abs(spectral_entropy(a).argmin() - turn) <= 1


def volume(sigma, depth):
    j, k = np.triu_indices(len(sigma), 1)
    ratio = (sigma[j] ** 2 - sigma[k] ** 2) / (sigma[j] ** (2 / depth) - sigma[k] ** (2 / depth))
    return np.log(ratio).sum() / 2


def rotations(angles, d, layers):
    skew = np.zeros((layers, d, d))
    j, k = np.triu_indices(d, 1)
    skew[:, j, k] = angles.reshape(layers, -1) / np.sqrt(2)
    return [expm(x - x.T) for x in skew]


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_fibre_volume(depth, rng):
    """The Gram determinant of numerical derivatives of the weights, around random rotations."""
    d = 3
    pairs = d * (d - 1) // 2
    for _ in range(3):
        sigma = rng.uniform(0.2, 3, d)
        u, v, *at = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(depth + 1))
        root = np.diag(sigma ** (1 / depth))

        def weights(angles, at=at, u=u, v=v, root=root):
            moved = rotations(angles, d, depth - 1)
            turns = [v, *(o @ m for o, m in zip(at, moved, strict=True)), u]
            return np.array([b @ root @ a.T for a, b in pairwise(turns)])

        zero, step = np.zeros((depth - 1) * pairs), 1e-5
        product = np.linalg.multi_dot(weights(zero)[::-1])
        np.testing.assert_allclose(product, u * sigma @ v.T, atol=1e-12)
        assert max(np.abs(b).max() for b in balance(list(weights(zero)))) < 1e-12
        moves = [
            (weights(zero + e) - weights(zero - e)).ravel() / (2 * step)
            for e in step * np.eye(zero.size)
        ]
        gram = np.array(moves) @ np.transpose(moves)
        assert np.linalg.slogdet(gram)[1] / 2 == pytest.approx(volume(sigma, depth), abs=1e-7)
        up = [volume(sigma + e, depth) - volume(sigma, depth) for e in 1e-3 * np.eye(d)]
        assert min(up) > 0


def test_two_layers_count_sums(rng):
    sigma = rng.uniform(0.2, 3, 5)
    j, k = np.triu_indices(5, 1)
    assert volume(sigma, 2) == pytest.approx(np.log(sigma[j] + sigma[k]).sum() / 2)


def descend(weights, sigma, t):
    """Learning of a deep network, by an adaptive integrator of its own."""
    shapes = [w.shape for w in weights]
    cuts = np.cumsum([w.size for w in weights])[:-1]

    def slope(_, flat):
        parts = [x.reshape(s) for x, s in zip(np.split(flat, cuts), shapes, strict=True)]
        first, middle, last = parts
        error = sigma - last @ middle @ first
        return np.concatenate(
            [
                (middle.T @ last.T @ error).ravel(),
                (last.T @ error @ first.T).ravel(),
                (error @ first.T @ middle.T).ravel(),
            ]
        )

    flat = np.concatenate([w.ravel() for w in weights])
    found = solve_ivp(slope, (0, t[-1]), flat, t_eval=t, rtol=1e-6, atol=1e-9).y.T
    first, middle, last = (
        x.reshape(-1, *s) for x, s in zip(np.split(found, cuts, axis=1), shapes, strict=True)
    )
    return last @ middle @ first


def test_three_layers_learn_one_mode_at_a_time_and_sometimes_a_weaker_one_first(rng):
    """Other seeds, another integrator: rank one first, and not always the strongest mode."""
    s, sigma = np.array([1.2, 1.0, 0.8]), np.diag([1.2, 1.0, 0.8, 0, 0, 0])
    t, first, least = np.linspace(0, 60, 500), [], []
    for _ in range(40):
        start = gaussian_weights((6, 8, 8, 6), 0.04, rng=rng)
        maps = descend(start, sigma, t)
        a = np.diagonal(maps, axis1=1, axis2=2)[:, :3]
        first.append(np.where(a >= s / 2, t[:, None], np.inf).min(axis=0).argmin())
        values = np.linalg.svd(maps, compute_uv=False)
        least.append(np.exp(spectral_entropy(values)).min())
    assert 0.6 < np.mean(np.array(first) == 0) < 1
    assert np.median(least) < 1.1
