"""Starts, balance and projection."""

import numpy as np
import pytest
from helpers import interference

from dlnlib.flow import aligned_weights, balance, balanced_weights, gaussian_weights, product
from dlnlib.tasks import project, svd_modes


@pytest.fixture
def rng():
    return np.random.default_rng(20260)


def test_gaussian_weights(rng):
    weights = gaussian_weights((30, 200, 50, 40), 0.1, rng=rng)
    assert [w.shape for w in weights] == [(200, 30), (50, 200), (40, 50)]
    assert weights[1].std() == pytest.approx(0.1, rel=0.05)
    assert product(weights).shape == (40, 30)


@pytest.mark.parametrize("widths", [(5, 5, 5), (8, 3, 6), (3, 7, 5), (6, 4, 2), (2, 4, 6)])
@pytest.mark.parametrize("lam", [0.0, 0.7, -0.7])
def test_balanced_weights(rng, widths, lam):
    n_in, hidden, n_out = widths
    if (lam > 0 and n_out < hidden) or (lam < 0 and n_in < hidden):
        with pytest.raises(ValueError, match="no start with balance"):
            balanced_weights(widths, 0.3, rng=rng, balance=lam)
        return
    w1, w2 = balanced_weights(widths, 0.3, rng=rng, balance=lam)
    assert (w1.shape, w2.shape) == ((hidden, n_in), (n_out, hidden))
    np.testing.assert_allclose(balance([w1, w2])[0], lam * np.eye(hidden), atol=1e-13)
    assert np.linalg.matrix_rank(w2 @ w1) == min(widths)


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_aligned_weights(rng, depth):
    modes = svd_modes(rng.standard_normal((4, 6)))
    a0 = np.array([0.3, 0.2, 0.1, 0.05])
    weights = aligned_weights(modes, a0, hidden=7, depth=depth)
    assert len(weights) == depth
    np.testing.assert_allclose(product(weights), (modes.u * a0) @ modes.v.T, atol=1e-14)
    for difference in balance(weights):
        np.testing.assert_allclose(difference, 0, atol=1e-14)


def test_projection_and_interference_rebuild_the_map(rng):
    """On a square task the two parts are the whole map, seen in the singular basis."""
    modes = svd_modes(rng.standard_normal((5, 5)))
    maps = rng.standard_normal((3, 5, 5))
    inside = interference(maps, modes)
    inside[:, np.arange(5), np.arange(5)] = project(maps, modes)
    np.testing.assert_allclose(modes.u @ inside @ modes.v.T, maps, atol=1e-13)
    np.testing.assert_allclose(project(modes.matrix(), modes), modes.s, atol=1e-13)


def test_bad_starts(rng):
    modes = svd_modes(np.eye(3))
    with pytest.raises(ValueError, match="one hidden unit per mode"):
        aligned_weights(modes, 0.1, hidden=2)
    with pytest.raises(ValueError, match="one number or one per mode"):
        aligned_weights(modes, [0.1, 0.2])
    with pytest.raises(ValueError, match="a0 must be positive"):
        aligned_weights(modes, 0)
    with pytest.raises(ValueError, match="widths must list"):
        gaussian_weights((3, 3), 0.1, rng=rng)
    with pytest.raises(ValueError, match="scale must be positive"):
        gaussian_weights((3, 3, 3), 0.0, rng=rng)
    with pytest.raises(ValueError, match="widths must be"):
        balanced_weights((3, 3, 3, 3), 0.1, rng=rng)
