"""Sparsity of diagonal and ReLU networks: by hand, and each measure from its definition."""

import numpy as np
import pytest
from helpers import plain_coefficient

from dlnlib.entropy import spectral_entropy
from dlnlib.measures import numerical_rank
from dlnlib.sgd import (
    diagonal_jacobian,
    diagonal_sparsity,
    line_task,
    relu_sparsity,
    three_layer_task,
)


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
