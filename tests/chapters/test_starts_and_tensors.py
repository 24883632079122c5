"""Claims of the supplement on Gaussian starts and named tensors, on shapes of their own."""

import numpy as np
import pytest
from helpers import correlations, random_samples, velocities
from scipy.stats import kstest, norm, ortho_group, spearmanr, uniform

from dlnlib.flow import gaussian_weights
from dlnlib.tasks import whiten


def rotated_entries(draw, seed, n=3000):
    """Entries of n rotated starts, one row each."""
    rng = np.random.default_rng(seed)
    u, v = ortho_group.rvs(4, random_state=rng), ortho_group.rvs(3, random_state=rng)
    starts = (draw(rng) for _ in range(n))
    return np.array([np.hstack([w1 @ v, (u.T @ w2).T]).ravel() for w1, w2 in starts])


def size_correlation(entries):
    """Largest rank correlation of absolute values, in standard errors."""
    ranks = spearmanr(np.abs(entries)).statistic
    return np.abs(ranks - np.eye(len(ranks))).max() * np.sqrt(len(entries) - 1)


LEVEL = 0.01
PAIRS = 35 * 36 / 2  # of 5 x 3 + 5 x 4 entries, each with itself as well


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rotated_gaussian_start_is_gaussian(seed):
    entries = rotated_entries(lambda rng: gaussian_weights((3, 5, 4), 1.0, rng=rng), seed)
    smallest = min(kstest(column, norm.cdf).pvalue for column in entries.T)
    assert smallest * entries.shape[1] > LEVEL
    error = np.sqrt((1 + np.eye(entries.shape[1])) / len(entries))
    deviation = np.abs(entries.T @ entries / len(entries) - np.eye(entries.shape[1])) / error
    assert deviation.max() < norm.isf(LEVEL / 2 / PAIRS)
    assert size_correlation(entries) < norm.isf(LEVEL / 2 / PAIRS)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rotated_uniform_start_is_not_uniform(seed):
    edge = np.sqrt(3)

    def draw(rng):
        return [rng.uniform(-edge, edge, shape) for shape in ((5, 3), (4, 5))]

    entries = rotated_entries(draw, seed)
    smallest = min(kstest(c, uniform(-edge, 2 * edge).cdf).pvalue for c in entries.T)
    assert smallest * entries.shape[1] < 1e-4
    assert size_correlation(entries) > norm.isf(1e-4 / 2 / PAIRS)


def test_named_tensors():
    """The source note's contractions, with its own layout of the axes, give our velocities."""
    rng = np.random.default_rng(17)
    raw, y = random_samples(3, 4, rng)
    white, _ = whiten(raw)
    x_note, y_note = white / np.sqrt(len(white)), y / np.sqrt(len(white))
    start = gaussian_weights((3, 5, 4), 0.5, rng=rng)
    encoder, decoder = start[0].T, start[1].T
    sigma_note = np.einsum("di,do->io", x_note, y_note)
    error = sigma_note - np.einsum("ih,ho->io", encoder, decoder)
    first, second = velocities(start, sigma_note.T)
    np.testing.assert_allclose(np.einsum("io,ho->ih", error, decoder), first.T, atol=1e-12)
    np.testing.assert_allclose(np.einsum("io,ih->ho", error, encoder), second.T, atol=1e-12)


@pytest.mark.parametrize("scaled", [True, False])
def test_time_unit_of_the_note(scaled):
    """Its loss is a sum without 1/2: faster by 2, and by 2 P for inputs of unit variance."""
    rng = np.random.default_rng(18)
    raw, y = random_samples(3, 4, rng)
    x, _ = whiten(raw)
    start = gaussian_weights((3, 5, 4), 0.5, rng=rng)
    ours = velocities(start, correlations(x, y)[0])
    divisor, factor = (np.sqrt(len(x)), 2) if scaled else (1.0, 2 * len(x))

    def note_loss(weights):
        return (((y - x @ weights[0].T @ weights[1].T) / divisor) ** 2).sum()

    moved = [w.astype(complex) for w in start]
    moved[0][1, 2] += 1e-30j
    assert -note_loss(moved).imag / 1e-30 == pytest.approx(factor * ours[0][1, 2], rel=1e-10)
