"""The claims of the chapter on interference, by routes that the chapter does not take."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dlnlib.flow import exact_flow, gaussian_weights, gradient_flow
from dlnlib.modes import learning_time, mode_strength
from dlnlib.tasks import svd_modes

S = np.array([4.0, 2.5, 1.0])
ROWS = 0.2 * np.random.default_rng(5).standard_normal((3, 3))


def cosine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    return np.sum(x * y, axis=-1) / lengths


def tied_rows(t, rows, s, tau=1.0):
    """Rows over time (T, n, h), each moved by the plain sum over vectors."""

    def flow(_, flat):
        w = flat.reshape(rows.shape)
        pull = [sum((w[i] @ w[j]) * w[j] for j in range(len(s))) for i in range(len(s))]
        return (s[:, None] * w - pull).ravel() / tau

    solution = solve_ivp(flow, (0, t[-1]), rows.ravel(), "DOP853", t, rtol=1e-11, atol=1e-13)
    return solution.y.T.reshape(len(t), *rows.shape)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
def test_interference_flow(shape):
    # full bases, so that inputs and outputs without a target have their vectors too
    rng = np.random.default_rng(2)
    sigma, tau, step = rng.standard_normal(shape), 1.7, 1e-4
    n_out, n_in = shape
    w1, w2 = gaussian_weights((n_in, 6, n_out), 0.5, rng=rng)
    left, s, right_t = np.linalg.svd(sigma)
    moved = gradient_flow([0.0, step], [w1, w2], sigma, tau=tau, rtol=1e-12, atol=1e-14)
    e, d = right_t @ w1.T, left.T @ w2

    def forces(own, others):
        """Benefit and interference that act on the vectors `own`."""
        total = -(own @ others.T) @ others  # over all j, then put right for j = i
        for i in range(s.size):
            total[i] += s[i] * others[i]
        return total

    def two_forces(i):
        interference = sum((e[j] @ d[i]) * e[j] for j in range(n_in) if j != i)
        return (s[i] - e[i] @ d[i]) * e[i] - interference

    rate_d = tau * (left.T @ moved.weights[1][1] - d) / step
    rate_e = tau * (right_t @ moved.weights[0][1].T - e) / step
    np.testing.assert_allclose(rate_d, forces(d, e), atol=5e-3)
    np.testing.assert_allclose(rate_e, forces(e, d), atol=5e-3)
    split = [two_forces(i) for i in range(s.size)]
    np.testing.assert_allclose(forces(d, e)[: s.size], split, atol=1e-12)


def test_gram_riccati():
    t, tau, step = np.linspace(0, 6, 13), 2.0, 1e-4
    rows = tied_rows(t, ROWS, S, tau)
    gram = exact_flow(t, [ROWS.T, ROWS], np.diag(S), tau=tau).hidden_gram
    np.testing.assert_allclose(gram, rows @ rows.mT, atol=1e-8)
    later = exact_flow(t + step, [ROWS.T, ROWS], np.diag(S), tau=tau).hidden_gram
    middle = (gram + later) / 2
    right = np.diag(S) @ middle + middle @ np.diag(S) - 2 * middle @ middle
    np.testing.assert_allclose(tau * (later - gram) / step, right, atol=1e-6)


def test_cosine_decay():
    # the residuals by least squares, not by an inverse matrix
    t, tau = np.linspace(0, 5, 11), 1.3
    rows = tied_rows(t, ROWS, S, tau)

    def residual(w, i, others):
        basis = w[list(others)].T
        return w[i] - basis @ np.linalg.lstsq(basis, w[i], rcond=None)[0]

    lengths = np.array(
        [[np.sum(residual(w, i, {0, 1, 2} - {i}) ** 2) for i in range(3)] for w in rows]
    )
    np.testing.assert_allclose(lengths, mode_strength(t, S, lengths[0], tau=tau), rtol=1e-6)
    partial = np.array([cosine(residual(w, 0, {2}), residual(w, 1, {2})) for w in rows])
    left = 1 / (1 + lengths[0] / S * (np.exp(2 * S * t[:, None] / tau) - 1))
    np.testing.assert_allclose(left[:4], ((1 - lengths / S) / (1 - lengths[0] / S))[:4], rtol=1e-6)
    np.testing.assert_allclose(partial, partial[0] * np.sqrt(left[:, 0] * left[:, 1]), atol=1e-7)


def test_equal_pair_is_halved_at_one_half():
    start = np.linalg.cholesky(1e-6 * np.array([[1, 0.01], [0.01, 1]]))
    gram = exact_flow([0.0, *learning_time([2.0], [1e-6])], [start.T, start], 2 * np.eye(2))
    first, half = gram.hidden_gram
    ratio = (half[0, 1] / half[0, 0]) / (first[0, 1] / first[0, 0])
    np.testing.assert_allclose(ratio, 0.5, atol=1e-3)


def test_more_modes_than_hidden_units():
    # a relation between the vectors, its terms weighted by exp(-s t / tau), holds for ever
    t, tau = np.linspace(0, 4, 9), 1.5
    narrow = 0.3 * np.random.default_rng(6).standard_normal((5, 3))
    targets = np.array([3.0, 2.5, 1.5, 1.0, -0.5])
    relations = np.linalg.svd(narrow.T)[2][3:]
    np.testing.assert_allclose(relations @ narrow, 0, atol=1e-14)
    rows = tied_rows(t, narrow, targets, tau)
    weighted = np.exp(-np.outer(t, targets) / tau)[:, :, None] * rows
    np.testing.assert_allclose(relations @ weighted, np.zeros((9, 2, 3)), atol=1e-9)
    assert np.abs(relations @ rows[-1]).max() > 0.1  # the weights matter


def test_independent_vectors_stay_independent():
    rows = tied_rows([0.0, 3.0], ROWS, S)
    theta = np.linalg.inv(rows @ rows.mT)
    decay = np.exp(-3 * np.add.outer(S, S))
    np.testing.assert_allclose(
        theta[1], theta[0] * decay + np.diag((1 - np.diag(decay)) / S), atol=1e-7
    )


def test_mode_without_room_ends_along_the_weakest_that_stays():
    rows = tied_rows([0.0, 12.0], ROWS[:, :2], S)[-1]
    assert abs(rows[0] @ rows[1]) < 1e-6
    assert np.linalg.norm(rows[2]) < 1e-6
    np.testing.assert_allclose(abs(cosine(rows[2], rows[1])), 1, atol=1e-6)


def test_tied_vectors_decay_at_a_negative_target():
    signed = np.array([3.0, -2.0])
    start = ROWS[:2]
    run = gradient_flow([0.0, 8.0], [start.T, start], np.diag(signed)).weights[1][-1]
    assert np.linalg.norm(run[1]) < 1e-5
    with pytest.raises(ValueError, match="saddle"):
        exact_flow([0.0, 8.0], [start.T, start], np.diag(signed))


def test_opposite_tie_is_kept_and_learns_a_negative_target():
    signs, start = np.array([[1.0], [-1.0]]), ROWS[:2]
    w1, w2 = gradient_flow([0.0, 8.0], [start.T, signs * start], np.diag([3.0, -2.0])).weights
    np.testing.assert_allclose(w2[-1], signs * w1[-1].T, atol=1e-9)
    np.testing.assert_allclose(w2[-1] @ w1[-1], np.diag([3.0, -2.0]), atol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1e-5])
def test_alignment_time_does_not_depend_on_the_start(scale):
    rng = np.random.default_rng(3)
    sigma = rng.standard_normal((3, 3))
    modes, t = svd_modes(sigma), np.linspace(0, 0.5, 6)
    w1, w2 = gradient_flow(
        t, gaussian_weights((3, 400, 3), scale, rng=rng), sigma, atol=1e-16
    ).weights
    found = cosine((w1 @ modes.v).mT, modes.u.T @ w2)
    expected = np.tanh(2 * np.outer(t, modes.s) + np.arctanh(found[0]))
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_linear_bottleneck_keeps_the_most_important_features():
    # untied descent on the weighted loss, from many starts: one map, no trace of what is dropped
    rng = np.random.default_rng(4)
    weight = np.diag([1.0, 0.8, 0.5, 0.3])
    for _ in range(3):
        encoder, decoder = 0.3 * rng.standard_normal((2, 4, 2))
        for _ in range(2000):
            push = weight @ (np.eye(4) - decoder @ encoder.T)
            encoder, decoder = encoder + 0.2 * push.T @ decoder, decoder + 0.2 * push @ encoder
        np.testing.assert_allclose(decoder @ encoder.T, np.diag([1, 1, 0, 0]), atol=1e-4)
        np.testing.assert_allclose(encoder[2:], 0, atol=1e-4)
        np.testing.assert_allclose(decoder[2:], 0, atol=1e-4)


def test_pentagon_is_a_minimum_at_equal_importance():
    angle = 2 * np.pi * np.arange(5) / 5
    rows = np.sqrt(2 / 5) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    np.testing.assert_allclose(rows @ rows.T @ rows @ rows.T, rows @ rows.T, atol=1e-12)
    np.testing.assert_allclose(np.trace(rows @ rows.T), 2)
