"""Steps, momentum and minibatches: each statement by a route of its own, over other settings."""

import itertools
import math

import numpy as np
import pytest
import sympy as sp
from scipy.stats import norm

from dlnlib.entropy import entropy_rate, spectral_entropy
from dlnlib.flow import aligned_weights, balance, gradient_descent
from dlnlib.modes import growth_rate, learning_time
from dlnlib.sgd import stability_threshold
from dlnlib.tasks import svd_modes


def mapped(a, s, eta, steps=1):
    for _ in range(steps):
        a = a * (1 + eta * (s - a)) ** 2
    return a


def cycle(h):
    """Both strengths of the cycle for s = 1, as roots of a quadratic."""
    return np.sort(np.roots([1, -(1 + 1 / h), 1 / h**2]).real)


@pytest.mark.parametrize("eta", [0.05, 0.3, 0.55])
def test_step_map(eta):
    """On full weights in random bases, gradient descent moves every mode by the map."""
    rng = np.random.default_rng(1)
    modes = svd_modes(rng.standard_normal((4, 6)) / 2)
    start = aligned_weights(modes, 0.02)
    run = gradient_descent(np.arange(6), start, modes.matrix(), lr=eta)
    for k, a in enumerate(run.mode_strength(modes)):
        assert a == pytest.approx(mapped(np.full(4, 0.02), modes.s, eta, k))
    assert np.allclose(run.product[-1], (modes.u * a) @ modes.v.T)


@pytest.mark.parametrize("s", [0.5, 3.0])
@pytest.mark.parametrize("a0", [1e-6, 0.02, 0.9])
def test_step_ranges(s, a0):
    for h in (0.1, 0.49, 0.7, 0.97, 1.1, 1.9, 1.999):
        path = [a0 * s]
        for _ in range(4000):
            path.append(mapped(path[-1], s, h / s))
        path = np.array(path) / s
        assert path.max() <= 1 + 2 / h
        assert path[1:].max() <= 4 / 27 * (1 + h) ** 3 / h * (1 + 1e-12)
        if h <= 0.5:
            assert (np.diff(path) >= -1e-12).all()
        assert (abs(path[-1] - 1) < 1e-6) == (h < 1)
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite(mapped((1 + 2 / 1.5) * s * 1.001, s, 1.5 / s, 400))
        assert not np.isfinite(mapped((1 + 1 / 2.05) / 3 * s, s, 2.05 / s, 400))


def test_two_cycle():
    h, x, y = sp.symbols("h x y", positive=True)
    step = x * (1 + h * (1 - x**2))
    twice = sp.expand(step.subs(x, step) / x - 1)  # even in x
    quadratic = y**2 - (1 + 1 / h) * y + 1 / h**2
    rest = sp.rem(sp.Poly(twice.subs(x, sp.sqrt(y)), y), sp.Poly(quadratic, y))
    assert sp.simplify(rest.as_expr()) == 0
    for value in (1.05, 1.2, 1.23):
        low, high = cycle(value)
        assert mapped(low, 1.0, value) == pytest.approx(high)
        assert mapped(0.01, 1.0, value, 20_000) in (pytest.approx(low), pytest.approx(high))
    slope = sp.diff(step, x)
    for value, stable in ((1.2, True), (1.27, False)):
        low, high = cycle(value)
        product = math.prod(float(slope.subs({h: value, x: math.sqrt(a)})) for a in (low, high))
        assert product == pytest.approx(9 - 2 * (1 + value) ** 2)
        assert (abs(product) < 1) == stable


@pytest.mark.parametrize("seed", range(4))
def test_step_sharpness(seed):
    """The Hessian from differences of the gradient, at unbalanced minima."""
    rng = np.random.default_rng(seed)
    shape1, shape2 = (4, 3), (2, 4)
    w1, w2 = rng.standard_normal(shape1), rng.standard_normal(shape2)
    sigma = w2 @ w1

    def gradient(flat):
        a, b = flat[:12].reshape(shape1), flat[12:].reshape(shape2)
        e = sigma - b @ a
        return -np.r_[(b.T @ e).ravel(), (e @ a.T).ravel()]

    point = np.r_[w1.ravel(), w2.ravel()]
    hessian = [(gradient(point + d) - gradient(point - d)) / 2e-5 for d in 1e-5 * np.eye(20)]
    sharpness = np.linalg.eigvalsh(hessian)[-1]
    assert sharpness == pytest.approx(
        np.linalg.norm(w1, 2) ** 2 + np.linalg.norm(w2, 2) ** 2, rel=1e-6
    )
    assert sharpness >= 2 * np.linalg.norm(sigma, 2)
    w = rng.uniform(0.5, 2, 2)
    assert stability_threshold([w]) == pytest.approx(2 / (w @ w))


def layers_apart(a, s, eta):
    """Derivative of the step of two layers, in the differences of their off-diagonal entries."""
    root, columns = np.diag(np.sqrt(a)), []
    for place in ((0, 1), (1, 0)):
        moved = []
        for sign in (1, -1):
            d = np.zeros((2, 2))
            d[place] = sign * 1e-6
            w1, w2 = root + d, (root - d).T
            e = np.diag(s) - w2 @ w1
            w1, w2 = w1 + eta * w2.T @ e, w2 + eta * e @ w1.T
            moved.append((w1 - w2.T) / 2)
        change = (moved[0] - moved[1]) / 2e-6
        columns.append([change[0, 1], change[1, 0]])
    return np.array(columns).T


@pytest.mark.parametrize("h", [1.02, 1.15, 1.23, 1.5, 1.9])
@pytest.mark.parametrize("second", [0.05, 0.3, 0.6, 0.9])
def test_step_mixing(h, second):
    s, (low, high) = np.array([1.0, second]), cycle(h)
    product = np.eye(2)
    for a in (low, high):
        found = layers_apart(np.array([a, second]), s, h)
        off = h * math.sqrt(a * second)
        matrix = [[1 - h * a, off], [off, 1 - h * (1 + second - a)]]
        assert found == pytest.approx(np.array(matrix), abs=1e-8)
        product = found @ product
    radius = abs(np.linalg.eigvals(product)).max()
    assert (radius < 1) == (h * (1 + second) < 2)
    a, gap, logs = 0.3, [], []  # the determinants on an orbit, whatever it is
    for _ in range(4000):
        logs.append(math.log(abs(1 - h * (1 + second) + h**2 * a * (1 - a))))
        gap.append(1 + 2 / h - a)
        factor = 1 - h**2 * a * (1 - a)
        a = mapped(a, 1.0, h)
        assert 1 + 2 / h - a == pytest.approx(gap[-1] * factor)
    if abs(h * (1 + second) - 2) > 0.03:
        assert (np.mean(logs[500:]) > 0) == (h * (1 + second) > 2)


@pytest.mark.parametrize(
    ("s", "a0", "f", "depth"), [(1, 1e-4, 0.3, 2), (2, 1e-2, 0.8, 2), (1, 0.01, 0.6, 3)]
)
def test_step_lag(s, a0, f, depth):
    """Times at which the flow stands where k steps lead: the error falls as the step squared."""
    errors = []
    for eta in (0.02 / s, 0.01 / s):
        w, k = a0 ** (1 / depth), 0
        begin = w ** (depth - 1) * (s - w**depth)
        while w**depth < f * s:
            w, k = w + eta * w ** (depth - 1) * (s - w**depth), k + 1
        speed = w ** (depth - 1) * (s - w**depth)
        time = learning_time(s, a0, w**depth / s, depth=depth)[0]
        errors.append(abs(time - eta * (k - math.log(speed / begin) / 2)))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    assert errors[1] < 2e-4 * time


@pytest.mark.parametrize("h", [0.1, 0.35, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_step_order(h, seed):
    rng = np.random.default_rng(seed)
    s = np.sort(rng.uniform(0.2, 3, 6))[::-1]
    a = np.full(6, 1e-3)
    for _ in range(300):
        a = mapped(a, s, h / s[0])
        assert (np.diff(a) <= 1e-13).all()
    strong, weak = s[0], s[3]
    counts = rng.integers(1, 9, 2)
    two = np.repeat([strong, weak], counts)
    a, path = np.full(two.size, 1e-3 * weak), []
    for _ in range(int(20 / h * strong / weak)):
        path.append(a)
        a = mapped(a, two, h / strong)
    path = np.array(path)
    slope = np.diff(spectral_entropy(path))
    early = (path[:-1, 0] - path[:-1, -1] < strong - weak)[abs(slope) > 1e-12]
    assert np.array_equal(early, slope[abs(slope) > 1e-12] < 0)
    assert (np.diff(early.astype(int)) <= 0).all()


def test_beyond_the_edge_the_order_of_strengths_is_lost():
    low, _ = cycle(1.2)
    assert low < mapped(1e-3, 0.56, 1.2, 500) == pytest.approx(0.56)


@pytest.mark.parametrize("seed", range(5))
def test_step_identity(seed):
    rng = np.random.default_rng(seed)
    a = rng.lognormal(sigma=2, size=7)
    after = a * rng.lognormal(size=7)
    p, q = a**2 / (a**2).sum(), after**2 / (after**2).sum()
    rho = (after / a) ** 2
    cov = p @ (rho * np.log(p)) - (p @ rho) * (p @ np.log(p))
    divergence = q @ np.log(q / p)
    assert spectral_entropy(after) - spectral_entropy(a) == pytest.approx(
        -cov / (p @ rho) - divergence
    )
    assert divergence > 0
    s = rng.uniform(1, 3, 7)
    a /= a.max()
    rate = entropy_rate(a, growth_rate(a, s))
    change = [spectral_entropy(mapped(a, s, eta)) - spectral_entropy(a) for eta in (1e-5, 5e-6)]
    assert 4 * change[1] - change[0] == pytest.approx(1e-5 * rate, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_step_balance(seed):
    """Four layers and a batch of five samples, by automatic differences of the loss."""
    rng = np.random.default_rng(seed)
    widths = (3, 5, 4, 5, 2)
    w = [rng.standard_normal((b, a)) / 2 for a, b in itertools.pairwise(widths)]
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))

    def loss(w):
        out = x.T
        for layer in w:
            out = layer @ out
        return ((y.T - out) ** 2).sum() / 10

    g = []
    for n, layer in enumerate(w):
        slope = np.zeros_like(layer)
        for place in np.ndindex(*layer.shape):
            moved = [v.astype(complex) for v in w]
            moved[n][place] += 1e-30j
            slope[place] = -loss(moved).imag / 1e-30
        g.append(slope)
    eta = 0.3
    before, after = balance(w), balance([a + eta * b for a, b in zip(w, g, strict=True)])
    for n, (old, new) in enumerate(zip(before, after, strict=True)):
        assert new - old == pytest.approx(
            eta**2 * (g[n + 1].T @ g[n + 1] - g[n] @ g[n].T), abs=1e-12
        )
    one = gradient_descent([0, 1], [[[0.2]], [[0.7]]], [[1.5]], lr=0.4)
    old, new = (balance([v[k] for v in one.weights])[0].item() for k in (0, 1))
    assert new == pytest.approx(old * (1 - 0.16 * (1.5 - 0.14) ** 2))


def ball(beta, h, steps, w0=1e-3, *, nesterov=False, linear=False):
    w, before, path = w0, w0, [w0]
    for _ in range(steps):
        look = w + beta * (w - before) if nesterov else w
        force = look if linear else look * (1 - look**2)
        w, before = w + beta * (w - before) + h * force, w
        path.append(w)
    return np.array(path)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("beta", [0.3, 0.9, 0.98])
def test_momentum_growth(beta, nesterov):
    last = 1.0
    for h in (0.001, 0.05, 0.4):
        path = ball(beta, h, 600, 1e-9, nesterov=nesterov, linear=True)
        mu = path[-1] / path[-2]
        first = [1, -(1 + h) * (1 + beta), (1 + h) * beta]
        roots = np.roots(first if nesterov else [1, -(1 + beta + h), beta])
        assert np.isreal(roots).all()
        assert mu == pytest.approx(roots.max(), rel=1e-6)
        assert roots.min() < 1 <= last < mu
        last = mu
    h = 1e-5 * (1 - beta) ** 2
    poly = [1, -(1 + h) * (1 + beta), (1 + h) * beta] if nesterov else [1, -(1 + beta + h), beta]
    assert math.log(np.roots(poly).max()) == pytest.approx(h / (1 - beta), rel=1e-3)
    limit = np.roots([1, -(2 - 1e-9 + 0.1), 1 - 1e-9]).max()
    assert math.log(limit) == pytest.approx(2 * math.asinh(math.sqrt(0.1) / 2), rel=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("beta", [0.3, 0.8, 0.95])
def test_momentum_ring(beta, nesterov):
    """A mode that is let go near its target crosses it if and only if the roots are complex."""
    onset = ((1 - beta) / (1 + beta)) ** 2 if nesterov else (1 - math.sqrt(beta)) ** 2
    for factor in (0.5, 0.9, 1.5, 3.0):
        h = onset * factor / 2
        if h >= 0.5:
            continue
        path = ball(beta, -2 * h, int(9 / (1 - beta)), -1.0, nesterov=nesterov, linear=True)
        assert (path.max() > 0) == (factor > 1)
        poly = [1, -(1 - 2 * h) * (1 + beta), (1 - 2 * h) * beta]
        roots = np.roots(poly if nesterov else [1, -(1 + beta - 2 * h), beta])
        assert np.iscomplex(roots).all() == (factor > 1)
        if factor > 1:
            damping = math.sqrt(beta * (1 - 2 * h) if nesterov else beta)
            assert abs(roots) == pytest.approx([damping] * 2)
    for h, stable in ((0.98 * (1 + beta), True), (1.02 * (1 + beta), False)):
        assert (abs(np.roots([1, -(1 + beta - 2 * h), beta])).max() < 1) == stable


def test_momentum_lag():
    for beta, a0, f in ((0.7, 1e-4, 0.4), (0.8, 1e-2, 0.9)):
        late = []
        for eta in (0.01 * (1 - beta) ** 2, 0.005 * (1 - beta) ** 2):
            path = ball(beta, eta, int(20 * (1 - beta) / eta), math.sqrt(a0)) ** 2
            k = int(np.argmax(path >= f))
            a = path[k]
            time = learning_time(1.0, a0, a)[0]
            speed = math.log(a / a0) / 4 + math.log((1 - a) / (1 - a0)) / 2
            late.append(k - (1 - beta) / eta * time - (1 + beta) / (1 - beta) * speed)
        assert 2 * late[1] - late[0] == pytest.approx(beta / (1 - beta), abs=0.05)


def test_batch_walk():
    """A coin for the gradient: all its sequences, and the moments of the logarithm."""
    s, v, batch, a0, eta = 1.3, 2.0, 4, 1e-3, 0.2
    coin = s + np.array([-1, 1]) * math.sqrt(v / batch)
    ends = [
        a0 * math.prod((1 + eta * g) ** 2 for g in gs) for gs in itertools.product(coin, repeat=6)
    ]
    assert np.mean(ends) == pytest.approx(a0 * ((1 + eta * s) ** 2 + eta**2 * v / batch) ** 6)
    errors = []
    for eta in (0.02, 0.01):
        logs = 2 * np.log(1 + eta * coin)
        mean = 2 * eta * s - eta**2 * (s**2 + v / batch)
        errors.append([abs(logs.mean() - mean), abs(logs.var() - 4 * eta**2 * v / batch)])
    assert np.divide(*errors) == pytest.approx([8, 8], rel=0.1)
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((2, 10**6))
    assert (x * (0.7 * x + 0.4 * noise)).var() == pytest.approx(2 * 0.49 + 0.16, rel=0.01)


@pytest.mark.parametrize(
    ("s", "eta", "batch", "noise"), [((1, 0.85), 0.03, 2, 0.5), ((1.5, 1.4), 0.02, 6, 0.0)]
)
def test_order_lost(s, eta, batch, noise):
    """Pairs of weights, 3,000 races of other modes than in the chapter."""
    rng, s, a0, runs = np.random.default_rng(7), np.array(s), 1e-4, 3000
    w, when = np.full((runs, 2), math.sqrt(a0)), np.full((runs, 2), np.inf)
    for k in range(1, int(20 / eta)):
        x = rng.standard_normal((batch, runs, 2))
        y = s * x + noise * rng.standard_normal(x.shape)
        w = w * (1 + eta * (x * (y - w**2 * x)).mean(axis=0))
        when[np.isinf(when) & (w**2 >= s / 2)] = k
        if np.isfinite(when).all():
            break
    lost = ((when[:, 1] < when[:, 0]) + 0.5 * (when[:, 1] == when[:, 0])).mean()
    time, v = learning_time(s, a0), 2 * s**2 + noise**2
    theory = norm.cdf(-(time[1] - time[0]) / math.sqrt(eta / batch * (time * v / s**2).sum()))
    assert 0.02 < theory < 0.4
    assert lost == pytest.approx(theory, abs=1.96 * math.sqrt(theory / runs) + 0.01)
