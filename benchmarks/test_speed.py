"""Speed side by side with the plain alternative: run with `make bench`, read the ratios.

Each group holds our route and the plain one on the same input, and asserts that they agree.
"""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dlnlib.entropy import entropy_dynamics
from dlnlib.flow import balanced_weights, exact_flow, gaussian_weights, gradient_descent
from dlnlib.modes import growth_rate, mode_strength
from dlnlib.tasks import hierarchical_tree

MODES = {"even": np.linspace(0, 20, 10_000), "uneven": np.geomspace(1e-2, 20, 10_000)}
S = np.linspace(0.05, 3, 1_000)


def plain_logistic(t, s, a0):
    return s / (1 + (s / a0 - 1) * np.exp(-2 * s * t[:, None]))


@pytest.mark.parametrize("grid", MODES)
@pytest.mark.parametrize("route", [mode_strength, plain_logistic], ids=["dlnlib", "numpy"])
def test_mode_strength(benchmark, grid, route):
    """1,000 modes at 10,000 times."""
    benchmark.group = f"mode strengths, {grid} grid"
    strength = benchmark.pedantic(route, (MODES[grid], S, 1e-3), rounds=20, warmup_rounds=3)
    np.testing.assert_allclose(strength, plain_logistic(MODES[grid], S, 1e-3), rtol=1e-12)


def test_mode_strength_memory():
    """Peak memory of the call, in units of its output (not a timing, so it may be asserted)."""
    import tracemalloc

    tracemalloc.start()
    strength = mode_strength(MODES["even"], S, 1e-3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * strength.nbytes


def plain_dynamics(a, g):
    """Entropy, its rate and the parts of the modes as they are written."""
    p = a**2 / (a**2).sum(axis=1, keepdims=True)
    log_p = np.log(p)
    parts = -2 * p * (g - (p * g).sum(axis=1, keepdims=True)) * log_p
    return -(p * log_p).sum(axis=1), parts.sum(axis=1), parts


@pytest.mark.parametrize("route", ["product", "mode strengths", "dlnlib", "numpy"])
def test_entropy_dynamics(benchmark, route):
    """Entropy, rate and parts of 1,000 modes at 10,000 times, beside the mode strengths.

    The product of both inputs is the floor: what it takes to read them and to write as much.
    """
    benchmark.group = "entropy, rate and parts"
    t = MODES["even"]
    a = mode_strength(t, S, 1e-3)
    g = growth_rate(a, S)
    routes = {
        "product": lambda: a * g,
        "mode strengths": lambda: mode_strength(t, S, 1e-3),
        "dlnlib": lambda: entropy_dynamics(a, g),
        "numpy": lambda: plain_dynamics(a, g),
    }
    result = benchmark.pedantic(routes[route], rounds=40, warmup_rounds=3)
    if route == "dlnlib":
        for ours, plain in zip(vars(result).values(), plain_dynamics(a, g), strict=True):
            np.testing.assert_allclose(ours, plain, rtol=1e-9, atol=1e-12)


def test_entropy_dynamics_memory():
    """Peak memory of the call, in units of its output: the parts of the modes."""
    import tracemalloc

    a = mode_strength(MODES["even"], S, 1e-3)
    g = growth_rate(a, S)
    entropy_dynamics(a[:1], g[:1])  # the first call loads Numba
    tracemalloc.start()
    result = entropy_dynamics(a, g)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * result.by_mode.nbytes


def flow_task(n=64):
    """A square task, and a balanced start whose map has a determinant of the same sign."""
    rng = np.random.default_rng(64)
    sigma = rng.standard_normal((n, n)) / np.sqrt(n)
    w1, w2 = balanced_weights((n, n, n), 0.01, rng=rng)
    if np.linalg.slogdet(sigma)[0] * np.linalg.slogdet(w2 @ w1)[0] < 0:
        sigma[0] *= -1
    return (w1, w2), sigma


def integrate(t, weights, sigma, tolerance):
    """The plain route: solve_ivp on the flattened weights."""
    n = len(sigma)

    def velocity(_, flat):
        w1, w2 = flat.reshape(2, n, n)
        error = sigma - w2 @ w1
        return np.concatenate([(w2.T @ error).ravel(), (error @ w1.T).ravel()])

    flat = np.concatenate([w.ravel() for w in weights])
    path = solve_ivp(
        velocity, (0, t[-1]), flat, "DOP853", t_eval=t, rtol=tolerance, atol=tolerance * 1e-3
    )
    w1, w2 = path.y.T.reshape(-1, 2, n, n).swapaxes(0, 1)
    return w2 @ w1


TIMES = {
    "10 times to t = 1,000": np.linspace(100, 1000, 10),
    "500 times to t = 5": np.linspace(0, 5, 500),
}


@pytest.mark.parametrize("grid", TIMES)
@pytest.mark.parametrize("tolerance", [0, 1e-9, 1e-12], ids=["exact", "1e-9", "1e-12"])
def test_exact_flow(benchmark, grid, tolerance):
    """A 64-64-64 network: end-to-end map at all times."""
    benchmark.group = f"64-64-64, {grid}"
    weights, sigma = flow_task()
    exact = exact_flow(TIMES[grid], weights, sigma).product
    if tolerance:
        maps = benchmark.pedantic(integrate, (TIMES[grid], weights, sigma, tolerance), rounds=3)
    else:
        maps = benchmark(lambda: exact_flow(TIMES[grid], weights, sigma).product)
    assert np.abs(maps - exact).max() < 1e-5


def plain_training(w1, w2, sigma, u, v, lr, epochs):
    """Full matrices, and a singular value decomposition of the map after every epoch."""
    strength = []
    for _ in range(epochs + 1):
        product = w2 @ w1
        np.linalg.svd(product, full_matrices=False)
        strength.append(np.einsum("ok,oi,ik->k", u, product, v, optimize=True))
        error = sigma - product
        w1, w2 = w1 + lr * w2.T @ error, w2 + lr * error @ w1.T
    return np.array(strength)


@pytest.mark.parametrize("route", ["dlnlib", "numpy"])
def test_tree_training(benchmark, route):
    """8 items, 10,000 features, 30 hidden units, 250 epochs, mode strengths at every epoch."""
    benchmark.group = "tree, 250 epochs"
    rng = np.random.default_rng(8)
    task = hierarchical_tree(3, 2, features=10_000, flip=0.15, rng=rng)
    weights = gaussian_weights((8, 30, 10_000), 1e-3, rng=rng)
    u, v = task.modes.u, task.modes.v

    def ours():
        path = gradient_descent(np.arange(251), weights, task.sigma, lr=0.1)
        return path.mode_strength(task.modes)

    def plain():
        return plain_training(*weights, task.sigma, u, v, 0.1, 250)

    if route == "dlnlib":
        strength = benchmark(ours)
        np.testing.assert_allclose(
            strength[:50], plain_training(*weights, task.sigma, u, v, 0.1, 49), atol=1e-12
        )
    else:
        benchmark.pedantic(plain, rounds=1)
