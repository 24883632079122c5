"""Claims of the supplement on the exact solution in matrices."""

import math

import mpmath as mp
import numpy as np
import pytest
from helpers import effective_starts, growing_parts, random_modes
from scipy.linalg import expm

from dlnlib.flow import balance, balanced_weights, exact_flow, gradient_flow
from dlnlib.modes import learning_time, mode_strength
from dlnlib.tasks import svd_modes


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def modes(rng):
    return random_modes([3.0, 2.0, 1.0], 8, 5, rng)


def stacked(weights):
    return np.vstack([weights[0].T, weights[1]])


def riccati_matrix(sigma, lam):
    n_out, n_in = sigma.shape
    return np.block([[-lam / 2 * np.eye(n_in), sigma.T], [sigma, lam / 2 * np.eye(n_out)]])


def test_moving_start(rng, modes):
    """With the start that moves the logistic is exact, up to the decaying part of the weights."""
    weights = balanced_weights((8, 2, 5), 0.3, rng=rng)
    c = growing_parts(weights, modes)
    d = (weights[0] @ modes.v - weights[1].T @ modes.u) / np.sqrt(2)
    null_in = weights[0] - weights[0] @ modes.v @ modes.v.T
    null_out = weights[1].T - weights[1].T @ modes.u @ modes.u.T
    for t in (0.3, 1.0, 2.5):
        big, small = np.expm1(2 * modes.s * t), -np.expm1(-2 * modes.s * t)
        rest = (d * small / (2 * modes.s)) @ d.T + t * (null_in @ null_in.T + null_out @ null_out.T)
        metric = np.eye(2) + rest
        bracket = np.linalg.inv(metric + (c * big / (2 * modes.s)) @ c.T)
        a = exact_flow([t], weights, modes.matrix()).mode_strength(modes)[0]
        for k, s in enumerate(modes.s):
            others = np.delete(c, k, axis=1)
            penalty = np.diag(np.delete(2 * modes.s / big, k))
            solve = np.linalg.inv(metric)
            b = np.linalg.solve(others.T @ solve @ others + penalty, others.T @ solve @ c[:, k])
            residual = c[:, k] - others @ b
            moving = (residual @ solve @ residual + b @ penalty @ b) / 2
            decayed = math.exp(-2 * s * t) * d[:, k] @ bracket @ d[:, k] / 2
            expected = mode_strength(t, s, moving)[0, 0] - decayed
            assert a[k] == pytest.approx(expected, abs=1e-12)


CASES = [
    ((4, 4, 4), 0.0),
    ((5, 5, 5), 0.0),
    ((7, 3, 5), 0.0),
    ((3, 6, 4), 0.0),
    ((4, 4, 6), 0.7),
    ((6, 3, 4), -0.4),
]


@pytest.mark.parametrize(("widths", "lam"), CASES)
def test_riccati(rng, widths, lam):
    """The product rule on gradient flow gives the right side, at the start and later."""
    sigma = rng.standard_normal(widths[::-2])
    weights = balanced_weights(widths, 0.6, rng=rng, balance=lam)
    f = riccati_matrix(sigma, lam)
    path = gradient_flow([0.0, 0.4], weights, sigma, rtol=1e-12, atol=1e-14)
    for w1, w2 in zip(*path.weights, strict=True):
        error = sigma - w2 @ w1
        q, velocity = stacked([w1, w2]), stacked([w2.T @ error, error @ w1.T])
        np.testing.assert_allclose(velocity, f @ q - q @ q.T @ q / 2, atol=1e-9)
        x = q @ q.T
        rate = velocity @ q.T + q @ velocity.T
        np.testing.assert_allclose(rate, f @ x + x @ f - x @ x, atol=1e-9)


@pytest.mark.parametrize(("widths", "lam"), CASES)
def test_riccati_solution(rng, widths, lam):
    """The formula as printed, with its integral by a block exponential, at short times."""
    sigma = rng.standard_normal(widths[::-2])
    if widths == (5, 5, 5):  # F is singular where sigma is, even when square
        sigma[4] = sigma[:4].sum(axis=0)
    weights = balanced_weights(widths, 0.3, rng=rng, balance=lam)
    if widths == (4, 4, 4):
        sigma[0] *= np.sign(np.linalg.det(sigma) * np.linalg.det(weights[1] @ weights[0]))
    f, q, t = riccati_matrix(sigma, lam), stacked(weights), 0.8
    n = len(f)
    integral = expm(t * np.block([[2 * f, np.eye(n)], [np.zeros((n, 2 * n))]]))[:n, n:]
    grown = expm(f * t) @ q
    x = grown @ np.linalg.solve(np.eye(widths[1]) + q.T @ integral @ q, grown.T)
    path = exact_flow([t], weights, sigma)
    blocks = [[path.hidden_gram[0], path.product[0].T], [path.product[0], path.output_gram[0]]]
    np.testing.assert_allclose(np.block(blocks), x, atol=1e-10)


def test_literal_formula_loses_its_digits(rng):
    """In doubles the printed formula fails once its identity is rounded away; ours does not."""
    sigma, weights = rng.standard_normal((5, 5)), balanced_weights((5, 5, 5), 0.1, rng=rng)
    sigma[0] *= np.sign(np.linalg.det(sigma) * np.linalg.det(weights[1] @ weights[0]))
    f, q = riccati_matrix(sigma, 0.0), stacked(weights)
    s, start = svd_modes(sigma).s, effective_starts(weights, svd_modes(sigma))
    gone = learning_time(s[0], start[0])[0] + math.log(2**52) / (2 * s[0])
    times = gone * np.array([0.1, 0.6, 1.2])

    def literal(t, f, q, expm, inv, eye):
        grown, undone = expm(f * t), inv(f)
        bracket = eye(5) + q.T @ (grown @ undone @ grown - undone) @ q / 2
        return grown @ q @ inv(bracket) @ q.T @ grown

    with mp.workdps(100):
        digits = [
            literal(t, mp.matrix(f), mp.matrix(q), mp.expm, mp.inverse, mp.eye) for t in times
        ]
    truth = np.array([np.array(m.tolist(), dtype=float)[5:, :5] for m in digits])
    naive = np.array([literal(t, f, q, expm, np.linalg.pinv, np.eye)[5:, :5] for t in times])
    lost = np.abs(naive - truth).max(axis=(1, 2))
    assert lost[0] < 1e-12
    assert 1e-12 < lost[1] < 1e-4
    assert lost[2] > 0.01
    np.testing.assert_allclose(exact_flow(times, weights, sigma).product, truth, atol=1e-13)


@pytest.mark.parametrize("hidden", [3, 5])
def test_determinant_keeps_its_sign(rng, hidden):
    """Along a balanced square flow the determinant of the map never vanishes."""
    for seed in range(6):
        weights = balanced_weights((3, hidden, 3), 0.4, rng=np.random.default_rng(seed))
        maps = gradient_flow(np.linspace(0, 12, 60), weights, rng.standard_normal((3, 3))).product
        signs = np.sign(np.linalg.det(maps))
        assert (signs == signs[0]).all()


@pytest.mark.parametrize("hidden", [4, 7])
def test_a_wrong_determinant_is_a_missing_growing_part(rng, hidden):
    weights = balanced_weights((4, hidden, 4), 0.2, rng=rng)
    sigma = rng.standard_normal((4, 4))
    sigma[0] *= -np.sign(np.linalg.det(sigma) * np.linalg.det(weights[1] @ weights[0]))
    assert np.abs(balance(weights)).max() < 1e-15
    starts = effective_starts(weights, svd_modes(sigma))
    assert starts[-1] < 1e-28 < 1e-4 < starts[:-1].min()
