"""SGD on ReLU networks and Jacobians against plain NumPy, in one run."""

import numpy as np
import pytest

from dlnlib.sgd import ReLUNetwork, gaussian_start, train_relu

RUNS, STEPS = 16, 5_000
NETWORKS = {
    "1-D, 100 units": (ReLUNetwork((1, 100, 1), (True, False)), 12),
    "three layers": (ReLUNetwork((5, 10, 10, 1)), 50),
}


def example(name):
    network, n = NETWORKS[name]
    rng = np.random.default_rng(0)
    start = gaussian_start(network, 0.3, rng=rng, runs=RUNS)
    return network, start, rng.standard_normal((n, network.widths[0])), rng.standard_normal(n)


def plain_training(network, theta, x, y, lr, order):
    """The update as it is written, one layer and one sample at a time."""
    weights = [w.copy() for w in network.weights(theta)]
    biases = [None if b is None else b.copy() for b in network.bias_vectors(theta)]
    last = len(weights) - 1
    for eta, i in zip(lr, order, strict=True):
        h = [x[i]]
        for layer, (w, b) in enumerate(zip(weights, biases, strict=True)):
            z = w @ h[-1] if b is None else w @ h[-1] + b
            h.append(np.maximum(z, 0) if layer < last else z)
        delta = 2 * eta * (h[-1] - y[i])
        for layer in range(last, -1, -1):
            below = weights[layer].T @ delta if layer else None
            weights[layer] -= np.outer(delta, h[layer])
            if biases[layer] is not None:
                biases[layer] -= delta
            if layer:
                delta = below * (h[layer] > 0)
    return network.pack(weights, biases)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("route", ["dlnlib", "numpy"])
def test_sgd(benchmark, name, route):
    """16 runs of 5,000 steps here, one run of 5,000 steps in NumPy: multiply the latter by 16."""
    benchmark.group = f"SGD, {name}"
    network, start, x, y = example(name)
    lr, order = np.full(STEPS, 1e-3), np.random.default_rng(1).integers(len(x), size=STEPS)
    if route == "numpy":
        args = (network, start[0], x, y, lr, order)
        benchmark.pedantic(plain_training, args, rounds=3)
        benchmark.extra_info["microseconds per step and run"] = (
            benchmark.stats.stats.min * 1e6 / STEPS
        )
        return
    runs = benchmark.pedantic(
        train_relu, (network, start, x, y, lr), {"order": order}, rounds=10, warmup_rounds=1
    )
    benchmark.extra_info["microseconds per step and run"] = (
        benchmark.stats.stats.min * 1e6 / STEPS / RUNS
    )
    plain = plain_training(network, start[0], x, y, lr, order)
    np.testing.assert_allclose(runs.theta[0, -1], plain, rtol=1e-6, atol=1e-9)


def plain_jacobian(network, theta, x):
    """One sample at a time, by backpropagation."""
    weights, biases = network.weights(theta), network.bias_vectors(theta)
    rows = []
    for sample in x:
        h = [sample]
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            h.append(np.maximum(w @ h[-1] + (0 if b is None else b), 0))
        delta, blocks = np.ones(1), []
        for layer in range(len(weights) - 1, -1, -1):
            row = [np.outer(h[layer], delta).ravel()]
            blocks.append(np.concatenate(row if biases[layer] is None else [*row, delta]))
            if layer:
                delta = (weights[layer].T @ delta) * (h[layer] > 0)
        rows.append(np.concatenate(blocks[::-1]))
    return np.array(rows)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("route", ["dlnlib", "numpy"])
def test_jacobian(benchmark, name, route):
    """300 samples."""
    benchmark.group = f"Jacobian, {name}"
    network, start, _, _ = example(name)
    x = np.random.default_rng(2).uniform(-1, 1, (300, network.widths[0]))
    routes = {"dlnlib": network.jacobian, "numpy": lambda *args: plain_jacobian(network, *args)}
    jacobian = benchmark.pedantic(routes[route], (start[0], x), rounds=10, warmup_rounds=1)
    np.testing.assert_allclose(jacobian, network.jacobian(start[0], x), atol=1e-12)
