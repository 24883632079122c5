"""Speed of SGD side by side with a plain loop of the same update: run with `make bench`.

Each group holds our route and the plain one on the same input, and asserts that they agree.
"""

import subprocess
import sys

import numpy as np
import pytest

from dlnlib.sgd import constant, sparse_regression, train_diagonal

STEPS = 20_000


def plain_diagonal(task, lr, indices):
    """SGD on a diagonal network as it is written, one iteration at a time."""
    x, y = task.x, task.y
    u, v = np.full(x.shape[1], 0.1), np.zeros(x.shape[1])
    for i, size in zip(indices, lr, strict=True):
        slope = (x[i] @ (u * v) - y[i]) * x[i]
        u, v = u - size * slope * v, v - size * slope * u
    return u * v


@pytest.mark.parametrize("route", ["dlnlib", "numpy"])
def test_diagonal_sgd(benchmark, route):
    """n = 80, d = 200; the time per iteration and run is kept in the extra information."""
    benchmark.group = "diagonal SGD: 8 runs of ours, one plain run, 20,000 iterations"
    task = sparse_regression(80, 200, 20, rng=np.random.default_rng(0))
    lr = constant(0.05, STEPS)  # small enough for both to follow the same path
    if route == "numpy":
        stream = np.random.default_rng(1).spawn(1)[0].spawn(2)[0]
        indices = stream.integers(80, size=STEPS)
        beta = benchmark.pedantic(plain_diagonal, (task, lr, indices), rounds=3)
        ours = train_diagonal(task.x, task.y, lr, rng=np.random.default_rng(1))
        np.testing.assert_allclose(ours.beta[0, -1], beta, atol=1e-9)
        per_run = STEPS
    else:

        def ours():
            return train_diagonal(task.x, task.y, lr, runs=8, rng=np.random.default_rng(1))

        benchmark.pedantic(ours, rounds=10, warmup_rounds=1)
        per_run = 8 * STEPS
    if benchmark.stats:  # absent with --benchmark-disable
        benchmark.extra_info["microseconds per iteration and run"] = (
            benchmark.stats["min"] / per_run * 1e6
        )


COUNT = """
import numpy as np
from dlnlib.sgd import train_diagonal
from dlnlib.sgd.diagonal_kernel import single_steps
train_diagonal(np.eye(8), np.ones(8), [0.1], rng=np.random.default_rng(0))
print(sum(single_steps.stats.cache_hits.values()), sum(single_steps.stats.cache_misses.values()))
"""


def test_compiled_code_is_kept_between_processes():
    """A second process finds the kernel that the first has compiled (not a timing)."""
    command = [sys.executable, "-c", COUNT]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[1].stdout.split() == ["1", "0"]
