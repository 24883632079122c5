"""Measures of activations beside the public code that they replace, on the same matrix in one run.

The coefficient against the loop of its authors, which deletes rows and columns of a matrix of all
correlations; e^H against two public codes whose formulas are written here in NumPy: the eigenvalues
of the covariance by a full PCA (reptrix, ``get_rankme``), and all singular values of the matrix in
single precision (the RankMe callback of stable-pretraining).  The peers' numbers differ from ours
for the reasons that the chapter `your_network` gives; here only the time is compared.
"""

import tracemalloc

import numpy as np
import pytest
from sklearn.decomposition import PCA

from dlnlib.measures import feature_sparsity, measure


def units(n, m):
    """ReLU units on random inputs, a tenth of them copies."""
    rng = np.random.default_rng(0)
    features = np.maximum(rng.standard_normal((n, m)), 0)
    features[:, : m // 10] = features[:, m // 2 : m // 2 + m // 10]
    return features


def published_loop(features, threshold=0.95):
    """The greedy deletion of the public code for deep networks."""
    active = np.flatnonzero((features > 0).sum(axis=0))
    left = np.corrcoef(features[:, active].T)
    left -= np.eye(len(left))
    deleted, place, turn = [], 0, 0
    while place != len(left):
        if (np.abs(left[place]) > threshold).sum() > 0:
            left = np.delete(left, place, axis=0)
            left = np.delete(left, place, axis=1)
            deleted.append(turn)
        else:
            place += 1
        turn += 1
    kept = np.delete(active, deleted)
    return (features[:, kept] > 0).sum() / features.size


@pytest.mark.parametrize("route", ["dlnlib", "published"])
@pytest.mark.parametrize("m", [1000, 2000])
def test_coefficient(benchmark, route, m):
    """2,000 samples; the published loop takes the 1,000 units of the paper, and twice as many."""
    benchmark.group = f"coefficient of {m} units"
    features = units(2000, m)
    ours = lambda: feature_sparsity(features, correlation=0.95, normalise=False)  # noqa: E731
    found = benchmark.pedantic(
        ours if route == "dlnlib" else lambda: published_loop(features), rounds=3
    )
    assert found == pytest.approx(0.45, abs=0.01)
    assert found == pytest.approx(ours(), abs=1e-12)


def test_coefficient_of_8000_units(benchmark):
    """Wanted: less than half a second, and 300 MB beside the matrix."""
    benchmark.group = "coefficient of 8,000 units"
    features = units(2000, 8000)
    run = lambda: feature_sparsity(features, correlation=0.95, normalise=False)  # noqa: E731
    benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    benchmark.extra_info["MB"] = round(peak)
    print(f"\n8,000 units: {benchmark.stats.stats.min:.2f} s, {peak:.0f} MB")
    assert peak < 300


def reptrix(features):
    """exp of the entropy of the shares of variance, each plus 1e-7, from a full PCA."""
    centred = features - features.mean(axis=0)
    count = min(2048, *features.shape)
    shares = PCA(n_components=count, svd_solver="full").fit(centred).explained_variance_ratio_
    shares = shares / np.abs(shares).sum() + 1e-7
    return np.exp(-(shares * np.log(shares)).sum())


def rankme_callback(features):
    """exp of the entropy of the shares of the singular values, each plus 1e-5."""
    values = np.linalg.svd(features.astype(np.float32), compute_uv=False)
    shares = values / values.sum() + 1e-5
    return np.exp(-(shares * np.log(shares)).sum())


ROUTES = {
    "dlnlib, centred": lambda features: measure(features, centred=True).modes,
    "reptrix": reptrix,
    "dlnlib": lambda features: measure(features).effective_rank,
    "RankMe callback": rankme_callback,
}


@pytest.mark.parametrize("route", ROUTES)
def test_effective_modes(benchmark, route):
    """2,000 samples of 2,048 units; ours takes all other measures, the coefficients too."""
    benchmark.group = "e^H of 2,000 x 2,048"
    features = units(2000, 2048)
    found = benchmark.pedantic(ROUTES[route], (features,), rounds=2)
    assert 100 < found < 2048
