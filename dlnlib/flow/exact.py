r"""Exact gradient flow of a lambda-balanced two-layer network, in a form that never overflows.

With whitened inputs and ``W2^T W2 - W1 W1^T = lambda I``, ``Q = [W1^T; W2]`` obeys::

    F = [[-lambda/2 I, Sigma^T], [Sigma, lambda/2 I]],
    tau d(QQ^T)/dt = F QQ^T + QQ^T F - (QQ^T)^2,
    QQ^T(t) = e^{Ft} Q0 [I + Q0^T (int_0^t e^{2Fr} dr) Q0]^{-1} Q0^T e^{Ft}

(Fukumizu 1998; Braun et al. 2022; Domine et al. 2025).  The bracket mixes exponentials of all
sizes, and its inverse loses every digit after a few time constants.  Three steps prevent that:

1. in the eigenbasis of F, row i of Q0 grows as e^{f_i t}; rows are sorted by f;
2. the hidden layer is rotated (which QQ^T cannot see) so that the growing rows are lower
   trapezoidal: column j starts at row j, its fastest one;
3. column j is divided by e^{f_j t}.  Every entry is then bounded, at any t, and the bracket is as
   well conditioned as the overlap of the start with the growing directions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.linalg import blas
from scipy.special import exprel

from dlnlib._checks import as_list, as_scalar, as_times, in_range
from dlnlib.flow.trajectory import Trajectory, reduced
from dlnlib.flow.weights import balance

_CHUNK = 16  # times evaluated together by exact_flow: its working set stays in the cache
_TIE = 1e-12  # relative gap below which two growth rates are one level
_LOST = 1e-12  # relative overlap below which a direction is absent from the start
_SEPARABLE = 300.0  # e^{f t} itself fits in double precision up to here


@dataclass(frozen=True)
class RiccatiBasis:
    """Eigenbasis of F: pairs (cos v_k, sin u_k), (-sin v_k, cos u_k), then the null directions."""

    left: Float[np.ndarray, "out out"]
    right: Float[np.ndarray, "in in"]
    rates: Float[np.ndarray, "n"]
    cos: Float[np.ndarray, "r 1"]
    sin: Float[np.ndarray, "r 1"]

    @classmethod
    def of(cls, sigma: Float[np.ndarray, "out in"], lam: float) -> "RiccatiBasis":
        """Diagonalise F through the singular value decomposition of sigma."""
        left, s, right_t = np.linalg.svd(sigma)
        f = np.hypot(s, lam / 2)
        angle = 0.5 * np.arctan2(2 * s, -lam)[:, None]
        n_out, n_in = sigma.shape
        null = np.r_[np.full(n_in - s.size, -lam / 2), np.full(n_out - s.size, lam / 2)]
        return cls(left, right_t.T, np.r_[f, -f, null], np.cos(angle), np.sin(angle))

    def split(self, w1: np.ndarray, w2: np.ndarray) -> Float[np.ndarray, "n h"]:
        """Rows of [W1^T; W2] in this basis."""
        inner, outer, r = self.right.T @ w1.T, self.left.T @ w2, self.cos.size
        return np.concatenate(
            [
                self.cos * inner[:r] + self.sin * outer[:r],
                self.cos * outer[:r] - self.sin * inner[:r],
                inner[r:],
                outer[r:],
            ]
        )

    def join(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inverse of `split` on a stack (T, n, h): (T, in, h) and (T, out, h)."""
        r, extra = self.cos.size, self.right.shape[0] - self.cos.size
        plus, minus = rows[:, :r], rows[:, r : 2 * r]
        inner = self.cos * plus - self.sin * minus
        outer = self.sin * plus + self.cos * minus
        if extra:
            inner = np.concatenate([inner, rows[:, 2 * r : 2 * r + extra]], axis=1)
        if self.left.shape[0] > r:
            outer = np.concatenate([outer, rows[:, 2 * r + extra :]], axis=1)
        return self.right @ inner, self.left @ outer


def common_balance(w1: np.ndarray, w2: np.ndarray) -> float:
    """Lambda of a lambda-balanced start."""
    (difference,) = balance([w1, w2])
    lam = float(np.diag(difference).mean())
    excess = np.abs(difference - lam * np.eye(len(difference))).max()
    scale = np.linalg.norm(w1) ** 2 + np.linalg.norm(w2) ** 2
    if excess > 1e-10 * scale:
        raise ValueError(
            f"unbalanced start: W2^T W2 - W1 W1^T differs from lambda I by {excess:.2g} "
            f"({excess / scale:.1g} of the weights' squared norm); draw it with balanced_weights, "
            "or integrate with gradient_flow"
        )
    # rounding in a balanced start must not pass for a tiny imbalance
    return 0.0 if abs(lam) <= 1e-14 * scale else lam


def start_in_basis(
    rates: Float[np.ndarray, "n"], rows: Float[np.ndarray, "n h"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort rows by growth rate and rotate the hidden layer to make the growing ones trapezoidal.

    Returns the order of the rows, the rotated rows in that order, and the growth rate that each
    column is divided by.

    Raises
    ------
    ValueError
        If a growing direction is absent from the start, so that the flow ends at a saddle.
    """
    order = np.argsort(-rates, kind="stable")
    f, work = rates[order], rows[order].copy()
    size = np.linalg.norm(work, axis=1)
    floor = 4 * rows.size * np.finfo(float).eps * size.max()
    n_grow = min(int((f > _TIE * f[0]).sum()), work.shape[1])
    for j in range(n_grow):
        level = slice(j, int((f >= f[j] * (1 - _TIE)).sum()))
        rest = np.linalg.norm(work[level, j:], axis=1)
        best = j + int(np.argmax(rest))
        if rest.max() <= max(_LOST * size[best], floor):
            raise ValueError(
                f"the flow from this start ends at a saddle: the start has no overlap with a "
                f"growing direction of rate {f[j]:.6g} (a missing mode, or a map whose determinant "
                "has the wrong sign); perturb the start, or integrate with gradient_flow"
            )
        for array in (order, f, size, work):
            array[[j, best]] = array[[best, j]]
        _reflect(work[:, j:], j)
    column = np.append(f[:n_grow], np.zeros(work.shape[1] - n_grow))
    return order, work, column


def _reflect(rows: Float[np.ndarray, "n k"], pivot: int) -> None:
    """Turn the columns in place so that the row ``pivot`` keeps its first entry only."""
    mirror = rows[pivot].copy()  # Householder vector
    mirror[0] += np.copysign(np.linalg.norm(mirror), mirror[0])
    rows -= np.outer(rows @ mirror, mirror * (2 / (mirror @ mirror)))
    rows[pivot, 1:] = 0


def riccati_factor(
    t: Float[np.ndarray, "T"],
    rates: Float[np.ndarray, "n"],
    rows: Float[np.ndarray, "n h"],
    column: Float[np.ndarray, "h"],
) -> Float[np.ndarray, "T n h"]:
    """Z(t) with Z Z^T = QQ^T(t) in the eigenbasis, from what `start_in_basis` returns."""
    grow = np.maximum(rates, 0)
    if grow.max() * t.max() < _SEPARABLE:
        base = rows * np.exp(np.multiply.outer(t, grow))[:, :, None]
        base *= np.exp(-np.multiply.outer(t, column))[:, None, :]
    else:
        # above the diagonal rows are zero and the exponent would overflow
        base = rows * np.exp(np.multiply.outer(t, np.minimum(grow[:, None] - column, 0)))
    # int_0^t e^{2 f r} dr, with e^{2 f t} taken out where f > 0
    weight = np.sqrt(t[:, None] * exprel(-2 * np.abs(rates) * t[:, None]))
    scaled = base * weight[:, :, None]
    bracket = scaled.mT @ scaled
    diagonal = np.arange(column.size)
    bracket[:, diagonal, diagonal] += np.exp(-2 * np.multiply.outer(t, column))
    lower = np.linalg.cholesky(bracket)
    base *= np.exp(np.multiply.outer(t, np.minimum(rates, 0)))[:, :, None]
    for factor, row in zip(lower, base, strict=True):
        row[...] = blas.dtrsm(1.0, factor.T, row.T, trans_a=1, lower=0).T
    return base


def _turned(start: np.ndarray, sigma: np.ndarray) -> bool:
    """Whether the determinants of two square maps certainly differ in sign.

    A balanced flow keeps that of its map, which for a narrow hidden layer is zero.
    """
    if len(sigma) != sigma.shape[1]:
        return False
    signs = []
    for matrix in (start, sigma):
        s = np.linalg.svd(matrix, compute_uv=False)
        if s[-1] <= 8 * len(s) * np.finfo(float).eps * s[0]:
            return False
        signs.append(np.linalg.slogdet(matrix)[0])
    return bool(signs[0] != signs[1])


@in_range
def exact_flow(
    t: ArrayLike, weights: Sequence[ArrayLike], sigma: ArrayLike, *, tau: float = 1.0
) -> Trajectory:
    """Exact gradient flow of two lambda-balanced layers, aligned with the task or not.

    Parameters
    ----------
    t : (T,) array_like
        Times, non-negative and non-decreasing, in the unit of ``tau``.
    weights : [W1 (hidden, in), W2 (out, hidden)]
        Start with W2^T W2 - W1 W1^T = lambda I, for example from `balanced_weights`.
    sigma : (out, in) array_like
        Input-output correlation, inputs whitened.
    tau : float
        Time constant of gradient flow.

    Returns
    -------
    Trajectory
        Without ``weights``: QQ^T fixes them only up to a rotation of the hidden layer.

    Raises
    ------
    ValueError
        If the start is not lambda-balanced, or the flow from it ends at a saddle.

    Notes
    -----
    Each time costs the same wherever it lies, so this is the route to long times, few times and
    plateaus.  For hundreds of times within a few time constants `gradient_flow` costs about as
    much, and it also returns the weights.

    A start without overlap with a growing direction stays short of the best map for ever; an
    integrator leaves that saddle too, but only because its rounding errors grow.

    References
    ----------
    .. [1] Fukumizu. Effect of batch learning in multilayer neural networks. ICONIP 1998.
    .. [2] Braun, Domine, Fitzgerald, Saxe. Exact learning dynamics of deep linear networks with
       prior knowledge. NeurIPS 2022.
    .. [3] Domine et al. From lazy to rich. ICLR 2025 (lambda != 0).

    Examples
    --------
    >>> from dlnlib.flow import balanced_weights
    >>> start = balanced_weights((2, 4, 2), 0.01, rng=np.random.default_rng(0))
    >>> trained = exact_flow([0.0, 2.0, 1000.0], start, [[3.0, 0.0], [0.0, 1.0]])
    >>> np.linalg.norm(trained.product, axis=(1, 2)).round(3).tolist()  # at last sqrt(3^2 + 1^2)
    [0.0, 2.657, 3.162]
    """
    times, tau = as_times(t), as_scalar("tau", tau)
    weights = as_list("weights", weights, "pass them first layer first, as [W1, W2]")
    if len(weights) > 2:
        raise ValueError(
            f"the exact solution is for two layers: got {len(weights)}; use gradient_flow"
        )
    (w1, w2), sigma, left, right = reduced(weights, sigma)
    lam = common_balance(w1, w2)
    if len(w1) > sum(sigma.shape):  # QQ^T sees no more of a wide hidden layer than this span
        span, _ = np.linalg.qr(np.hstack([w1, w2.T]))
        w1, w2 = span.T @ w1, w2 @ span
    if lam == 0 and _turned(w2 @ w1, sigma):
        raise ValueError(
            "the flow from this start ends at a saddle: the determinant of its map keeps its sign "
            "and that of sigma has the other; flip the sign of one row of W2, or use gradient_flow"
        )
    basis = RiccatiBasis.of(sigma, lam)
    order, rows, column = start_in_basis(basis.rates, basis.split(w1, w2))
    back = np.argsort(order)
    layers = [np.empty((times.size, *w.shape)) for w in (w1, w2)]
    for first in range(0, times.size, _CHUNK):
        part = slice(first, first + _CHUNK)
        factor = riccati_factor(times[part] / tau, basis.rates[order], rows, column)
        inner, outer = basis.join(factor[:, back])
        layers[0][part], layers[1][part] = inner.mT, outer
    return Trajectory(times, layers, left, right, _rotation_known=False)
