"""Speed of the estimates of the test error: `make bench`.

Beside the plain alternatives, in one run: the mode strengths that they are sums of, the
decompositions that a draw costs anyway, and the divergence by finite differences.  Ratios in
processor time are in the extra information (``--benchmark-json``) and printed under ``-s``.
"""

from time import process_time

import numpy as np
import pytest

from dlnlib.modes import mode_strength
from dlnlib.stopping import degrees_of_freedom, spiked_draws, stop_estimates
from dlnlib.tasks import spiked_teacher

T = np.linspace(0, 8, 1000)


def spectrum(n_out, n_in):
    rng = np.random.default_rng(0)
    return spiked_teacher(n_out, n_in, [3.0], noise=1.0, rng=rng)


def spent_on(function, repeats=20):
    """Processor time of the fastest call."""
    spent = []
    for _ in range(repeats):
        start = process_time()
        function()
        spent.append(process_time() - start)
    return min(spent)


@pytest.mark.parametrize("depth", [2, 3])
def test_thousand_modes_at_thousand_times(benchmark, depth):
    """All four curves, without what a spectrum costs once: that is the time at a single t."""
    benchmark.group = "estimates of 1,000 modes at 1,000 times"
    s, options = spectrum(1000, 1000).modes.s, {"depth": depth}
    repeats = 20 if depth == 2 else 3
    strengths = spent_on(lambda: mode_strength(T, s, 1e-6, **options), repeats)
    options |= {"shape": (1000, 1000)}
    once = spent_on(lambda: stop_estimates(T[:1], s, 1e-6, **options), repeats)
    benchmark.pedantic(lambda: stop_estimates(T, s, 1e-6, **options), rounds=repeats)
    whole = spent_on(lambda: stop_estimates(T, s, 1e-6, **options), repeats)
    benchmark.extra_info["ratio"] = round((whole - once) / strengths, 2)
    benchmark.extra_info["once"] = round(once / strengths, 2)
    print(
        f"\ndepth {depth}: {benchmark.extra_info['ratio']} times the mode strengths, and "
        f"{benchmark.extra_info['once']} times once per spectrum"
    )


def test_two_thousand_draws_with_estimates(benchmark):
    """Windows and plug-in stops, both refined, of 100 x 100 tasks."""
    benchmark.group = "2,000 draws with windows and estimates at d = 100"
    rng, options = np.random.default_rng(0), {"noise": 1.0, "estimates": True}
    spiked_draws(1, 3, 3, [2.0], 1e-6, rng=rng, **options)  # compiled before the clock starts
    block = rng.standard_normal((100, 100, 100)) / 10
    spent = {"svd": 0.0, "all": 0.0}

    def alternate():
        for _ in range(20):
            start = process_time()
            for matrix in block:
                np.linalg.svd(matrix)
            middle = process_time()
            found = spiked_draws(100, 100, 100, [2.0], 1e-6, rng=rng, **options)
            spent["svd"] += middle - start
            spent["all"] += process_time() - middle
        return found

    assert np.isfinite(benchmark.pedantic(alternate, rounds=1).t_plugin).all()
    benchmark.extra_info["ratio"] = round(spent["all"] / spent["svd"], 3)
    print(f"\n{benchmark.extra_info['ratio']} times the decompositions alone")


def by_differences(sigma, t, a0, step=1e-6):
    """The divergence entry by entry: two decompositions for each."""
    total = 0.0
    for i, j in np.ndindex(sigma.shape):
        ends = []
        for shift in (step, -step):
            moved = sigma.copy()
            moved[i, j] += shift
            u, s, vt = np.linalg.svd(moved, full_matrices=False)
            ends.append((u[i] * mode_strength([t], s, a0)[0]) @ vt[:, j])
        total += (ends[0] - ends[1]) / (2 * step)
    return total


def test_divergence_of_one_map(benchmark):
    """40 x 60, one time: the closed form, with its decomposition, against differences."""
    benchmark.group = "divergence of a 40 x 60 map"
    sigma = spectrum(40, 60).sigma

    def closed():
        s = np.linalg.svd(sigma, compute_uv=False)
        return degrees_of_freedom([2.0], s, 1e-3, shape=(40, 60))[0]

    found = benchmark.pedantic(closed, rounds=50)
    fast, start = spent_on(closed, 50), process_time()
    slow = by_differences(sigma, 2.0, 1e-3)
    ratio = (process_time() - start) / fast
    assert abs(found / slow - 1) < 1e-5
    benchmark.extra_info["ratio"] = round(ratio)
    print(f"\ndifferences take {ratio:,.0f} times as long")
