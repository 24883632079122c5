"""Sparsity measures: by hand, against a plain version, invariances, thresholds, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlnlib.sgd import feature_sparsity, numerical_rank
from dlnlib.sgd.sparsity import distinct_units


def plain_coefficient(features, threshold):
    """The definition, one pair of units at a time."""
    rows = [row / np.linalg.norm(row) if row.any() else row for row in features]
    units = {j: column for j, column in enumerate(np.array(rows).T) if column.any()}
    for j in sorted(units):
        others = [column for k, column in units.items() if k != j]
        pairs = [np.corrcoef(units[j], column)[0, 1] for column in others if np.ptp(column) > 1e-12]
        if np.ptp(units[j]) > 1e-12 and any(abs(c) > threshold for c in pairs):
            del units[j]
    return sum(np.count_nonzero(column) for column in units.values()) / features.size


def draw_features(seed, n, m):
    """Random units, some dead, some copies of others up to scale."""
    rng = np.random.default_rng(seed)
    features = np.maximum(rng.standard_normal((n, m)), 0)
    features[:, rng.random(m) < 0.2] = 0
    copies = rng.integers(m, size=m // 3)
    features[:, rng.integers(m, size=m // 3)] = features[:, copies] * rng.uniform(0.5, 2, m // 3)
    return features


@given(st.integers(0, 10**6), st.integers(3, 20), st.integers(1, 15), st.floats(0.3, 0.999))
def test_sparsity_coefficient(seed, n, m, threshold):
    features = draw_features(seed, n, m)
    assert feature_sparsity(features, correlation=threshold) == pytest.approx(
        plain_coefficient(features, threshold), abs=1e-12
    )


def test_coefficient_by_hand():
    features = np.array(
        [
            [1.0, 0.0, 2.0, 0.0, 3.0],
            [0.0, 0.0, 0.0, 2.0, 3.0],
            [2.0, 0.0, 4.0, 1.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.0],
        ]
    )
    kept = distinct_units(features, correlation=0.99)
    assert kept.tolist() == [False, False, True, True, True]  # of two copies the later one stays
    assert feature_sparsity(features, correlation=0.99) == 6 / 20


def test_limits_of_the_coefficient():
    assert feature_sparsity(np.zeros((4, 3)), correlation=0.9) == 0
    assert feature_sparsity([[1.0, 0.0], [0.0, 1.0]], correlation=0.9) == 0.25  # opposite units
    rng = np.random.default_rng(0)
    assert feature_sparsity(rng.uniform(0.1, 1, (200, 7)), correlation=0.9) == 1
    assert feature_sparsity([[2.0], [3.0]], correlation=0.9) == 1  # constant once scaled


@given(st.integers(0, 10**6), st.floats(0.3, 0.99))
def test_invariances_of_the_coefficient(seed, threshold):
    """Scale of a sample, and of all units."""
    features = draw_features(seed, 12, 9)
    sizes = np.random.default_rng(seed).uniform(0.5, 2, (12, 1))
    expected = feature_sparsity(features, correlation=threshold)
    assert feature_sparsity(8 * features, correlation=threshold) == expected
    near = [feature_sparsity(sizes * features, correlation=threshold * f) for f in (1 - 1e-9, 1)]
    assert expected in near


def test_rank_and_its_threshold():
    s = [4.0, 2.0, 1e-3, 0.0]
    assert numerical_rank(s, 1e-4) == 3
    assert numerical_rank(s, 0.0) == 3
    assert numerical_rank(s, [0.0, 1e-3, 0.5, 0.9]).tolist() == [3, 2, 1, 1]
    assert numerical_rank([s, [1.0] * 4, [0.0] * 4], 0.1).tolist() == [2, 4, 0]
    assert numerical_rank([s, [1.0] * 4], [0.1, 0.6]).tolist() == [[2, 1], [4, 4]]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=9), st.floats(0, 0.99))
def test_ranks_are_ordered_and_free_of_scale(s, threshold):
    values = np.array([*s, 1.0])
    assert numerical_rank(values, [0.0, threshold, 0.999]).tolist() == sorted(
        numerical_rank(values, [0.0, threshold, 0.999]).tolist(), reverse=True
    )
    doubled = 2.0**5 * values  # an exact change of scale, so that no entry crosses a threshold
    assert numerical_rank(doubled, threshold) == numerical_rank(values, threshold)


def test_bad_input():
    with pytest.raises(ValueError, match="must not be negative"):
        feature_sparsity([[1.0, -1.0]], correlation=0.9)
    with pytest.raises(ValueError, match=r"correlation must lie in \(0, 1\]"):
        feature_sparsity([[1.0, 1.0]], correlation=1.5)
    with pytest.raises(ValueError, match=r"threshold must lie in \[0, 1\)"):
        numerical_rank([1.0], 1.0)
    with pytest.raises(ValueError, match="leave out the runs that diverged"):
        numerical_rank([np.nan, 1.0], 0.1)
    with pytest.raises(ValueError, match="singular_values must not be negative"):
        numerical_rank([-1.0, 1.0], 0.1)
