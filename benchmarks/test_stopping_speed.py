"""Speed of the stopping window beside the singular value decompositions: `make bench`.

2,000 draws of a spiked 100 x 100 task: spectrum, H(t) and E(t) at 100 times, and the window, in
blocks of 100 that alternate with blocks of decompositions alone, so that both meet the same
machine.  The ratio of the two in processor time is in the extra information (``--benchmark-json``)
and printed under ``-s``.
"""

from time import process_time

import numpy as np
import pytest

from dlnlib.stopping import mode_window, spiked_draws

DRAWS, SIZE, BLOCK = 2_000, 100, 100
T = np.linspace(0, 8, 100)


def decompositions(block):
    for matrix in block:
        np.linalg.svd(matrix)


@pytest.mark.parametrize("a0", [1e-3, 1e-6])
def test_two_thousand_draws(benchmark, a0):
    benchmark.group = "2,000 spiked draws at d = 100"
    mode_window([2.0, 1.0], [1.0, 0.0], a0, noise_modes=1)  # compiled before the clock starts
    rng = np.random.default_rng(0)
    block = rng.standard_normal((BLOCK, SIZE, SIZE)) / np.sqrt(SIZE)
    spent = {"svd": 0.0, "all": 0.0}

    def alternate():
        for _ in range(DRAWS // BLOCK):
            start = process_time()
            decompositions(block)
            middle = process_time()
            made = spiked_draws(BLOCK, SIZE, SIZE, [2.0], a0, noise=1.0, t=T, rng=rng)
            spent["svd"] += middle - start
            spent["all"] += process_time() - middle
        return made

    made = benchmark.pedantic(alternate, rounds=1)
    assert np.isfinite(made.window.t_star).all()
    benchmark.extra_info["ratio"] = round(spent["all"] / spent["svd"], 3)
    print(f"\na0 = {a0:.0e}: {benchmark.extra_info['ratio']} times the decompositions alone")
