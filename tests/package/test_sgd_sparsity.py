"""Sparsity measures: by hand, against a plain version, invariances, thresholds, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlnlib.entropy import spectral_entropy
from dlnlib.sgd import (
    diagonal_jacobian,
    diagonal_sparsity,
    feature_sparsity,
    line_task,
    numerical_rank,
    relu_sparsity,
    three_layer_task,
)
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


def test_sparsity_of_a_diagonal_network():
    """By hand, one network and two; the rank is that of the Jacobian on generic inputs."""
    u, v = np.array([2.0, 1.0, 1e-20, 0.0, 0.0]), np.array([1.0, 1.0, 1e-20, 1e-9, 0.0])
    few = diagonal_sparsity(u, v)
    assert (few.l0, few.rank) == (3, 3)  # not the same three
    assert few.l1 == pytest.approx(3 / np.sqrt(5))
    assert np.log(few.amplitudes) == pytest.approx(-2 / 3 * np.log(2 / 3) - np.log(1 / 3) / 3)
    assert np.log(few.energies) == pytest.approx(-0.8 * np.log(0.8) - 0.2 * np.log(0.2))
    assert np.isnan(few.coefficients).tolist() == [True]
    x = np.random.default_rng(0).standard_normal((10, 5))
    s = np.linalg.svd(diagonal_jacobian(x, u, v), compute_uv=False)
    assert numerical_rank(s, 1e-15) == few.rank
    pair = diagonal_sparsity([u, u[::-1]], [v, np.ones(5)], l0_above=1e-3, rank_above=1e-6)
    assert (pair.l0.tolist(), pair.rank.tolist()) == ([2, 2], [2, 5])
    assert pair.coefficients.shape == (1, 2)


@pytest.mark.parametrize("make", [line_task, three_layer_task])
def test_sparsity_of_relu_networks(make):
    """Each measure from its definition, and one network as among many."""
    task, rng = make(rng=np.random.default_rng(1)), np.random.default_rng(2)
    theta = task.starts(rng, 3)
    found, network = relu_sparsity(task, theta), task.network
    assert found.coefficients.shape == (len(network.widths) - 2, 3)
    for k, one in enumerate(theta):
        phi = network.jacobian(one, task.x_test[: network.n_parameters])
        s = np.linalg.svd(phi, compute_uv=False)
        assert found.rank[k] == np.linalg.matrix_rank(phi, tol=1e-4 * s[0])
        norms = np.linalg.norm(phi, axis=0)
        assert found.l0[k] == np.count_nonzero(norms > 1e-10 * norms.max())
        assert found.l1[k] == pytest.approx(s.sum() / np.linalg.norm(phi))
        for power, modes in ((2, found.energies), (1, found.amplitudes)):
            assert np.log(modes[k]) == pytest.approx(spectral_entropy(s, power=power))
        for layer, units in enumerate(network.features(one, task.x)):
            expected = plain_coefficient(units, task.correlation)
            assert found.coefficients[layer, k] == pytest.approx(expected)
        alone = relu_sparsity(task, one)
        assert all((v[..., k] == getattr(alone, name)).all() for name, v in vars(found).items())
    loose = relu_sparsity(task, theta, l0_above=0.1, rank_above=0.1)
    assert (loose.rank < found.rank).all() and (loose.l0 < found.l0).all()


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
