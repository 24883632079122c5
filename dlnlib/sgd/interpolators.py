"""Which interpolator training finds, and up to which step size it can settle there.

In a diagonal network, with w = u + v and w' = u - v, every step multiplies w by 1 - s and w' by
1 + s, where s is the step size times the gradient in beta = (w^2 - w'^2) / 4.  Hence
beta = alpha^2 sinh(2 z) / 2 with ``alpha^2 = |w w'|`` and ``z = log|w / w'| / 2``, and an
interpolating limit minimises the Bregman divergence of the *hyperbolic entropy*, the sum of::

    [beta asinh(2 beta / alpha^2) - sqrt(beta^2 + alpha^4 / 4) + alpha^2 / 2] / 2

over the coordinates (Woodworth et al. 2020; Even et al. 2023): near ``|beta|_1 log(1 / alpha)`` for
small alpha, ``|beta|_2^2 / (2 alpha^2)`` for large.

Near weights with residuals zero a step of SGD on sample i changes the residuals by
-eta phi phi_i^T r_i, with phi the Jacobian.  Their mean square decays from every start if and only
if eta < eta_star = 1 / rho(B)::

    B_ij = int_0^inf (a_i^T exp(-t G) a_j)^2 dt,    G = sum_i a_i a_i^T,    a_i = row i of phi,

with rho the largest eigenvalue: the exact threshold of Mulayoff & Michaeli (COLT 2024), reduced to
one symmetric matrix of the size of the data.  The same matrix says how far SGD with noisy labels
strays in the long run (`stationary_covariance`).
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from dlnlib._checks import (
    as_amount,
    as_matrix,
    as_positive,
    as_samples,
    as_scalar,
    as_vector,
    in_range,
)

_TOLERANCE = 1e-13  # of X beta = y, relative to the largest label
_NEWTON = 100  # steps of one stage; a warm start needs about five


@in_range
def implicit_bias(
    x: ArrayLike, y: ArrayLike, alpha_squared: ArrayLike, shift: ArrayLike = 0.0
) -> Float[np.ndarray, "d"]:
    """Interpolator that minimises the hyperbolic entropy, or its divergence from a shifted start.

    The minimiser is beta = alpha^2 sinh(2 (X^T mu + shift)) / 2 with X beta = y: a convex problem
    in mu, solved by Newton's method along a path on which alpha^2 and shift go from 1 and 0 to
    their values.

    Parameters
    ----------
    x : (n, d) array_like
        Inputs, linearly independent rows.
    y : (n,) array_like
        Labels.
    alpha_squared : float or (d,) array_like
        Squared initialisation ``|u0^2 - v0^2|``, > 0.
    shift : float or (d,) array_like
        Zero for gradient flow from u0 = alpha, v0 = 0; `dlnlib.sgd.train_diagonal` measures
        that of a run with finite steps.

    Returns
    -------
    (d,) ndarray

    Raises
    ------
    ValueError
        If no interpolator is found: x needs linearly independent rows, fewer than its columns.

    Examples
    --------
    >>> [implicit_bias([[1.0, 2.0]], [1.0], size).round(3).tolist() for size in (1e-8, 100.0)]
    [[0.0, 0.5], [0.2, 0.4]]
    """
    inputs, labels = as_samples(x, y)
    columns = inputs.shape[1]
    target = np.broadcast_to(np.log(as_positive("alpha_squared", alpha_squared)), columns)
    moved = np.broadcast_to(as_vector("shift", shift), columns)
    if max(np.abs(target).max(), np.abs(moved).max()) > 1e4:
        raise ValueError("shift must lie within 1e4: e to its power is beyond all numbers")
    # Warm starts: log alpha^2 and twice the shift change by at most one between two stages.
    stages = max(1, int(np.ceil(max(np.abs(target).max(), 2 * np.abs(moved).max()))))
    dual, beta = np.zeros(len(inputs)), np.zeros(columns)
    for stage in np.arange(1, stages + 1) / stages:
        log_alpha, start = stage * target, stage * moved
        angle = np.arcsinh(2 * beta / np.exp(log_alpha)) / 2 - start
        dual = np.linalg.lstsq(inputs.T, angle, rcond=None)[0] if beta.any() else dual
        beta = _newton(inputs, labels, log_alpha, start, dual)
    return beta


def _newton(x, y, log_alpha, shift, dual) -> Float[np.ndarray, "d"]:
    """Minimise the dual: sum of alpha^2 cosh(2 z) / 4 less mu y, with z = X^T mu + shift."""

    def curves(mu):
        angle = np.clip(2 * (mu @ x + shift), -600, 600)
        grown = np.exp(log_alpha + np.abs(angle)) / 4
        ratio = np.exp(-2 * np.abs(angle))
        return np.copysign(-grown * np.expm1(-2 * np.abs(angle)), angle), grown * (1 + ratio)

    # An angle of hundreds has an absolute error that is as many times that of a number near one.
    tolerance = _TOLERANCE * np.abs(y).max() * (1 + np.abs(log_alpha).max())
    beta, even = curves(dual)
    for _ in range(_NEWTON):
        error = x @ beta - y
        if np.abs(error).max() <= tolerance:
            return beta
        move = -np.linalg.lstsq((x * (2 * even)) @ x.T, error, rcond=1e-15)[0]
        longest = min(1.0, 3 / max(np.abs(move @ x).max(), 1e-300))
        dual = _descend(
            lambda mu: curves(mu)[1].sum() / 2 - mu @ y, dual, move, error @ move, longest
        )
        beta, even = curves(dual)
    raise ValueError(
        "no interpolator found: x must have linearly independent rows, and fewer rows than columns"
    )


def _descend(value, dual, move, slope, length) -> Float[np.ndarray, "n"]:
    """A point along ``move`` that lowers the value enough, halving the length (Armijo)."""
    start = value(dual)
    slack = 1e-13 * (1 + abs(start))
    while length > 1e-10 and not (
        value(dual + length * move) <= start + 1e-4 * length * slope + slack
    ):
        length /= 2
    return dual + length * move


def basis_pursuit(x: ArrayLike, y: ArrayLike) -> Float[np.ndarray, "d"]:
    """Interpolator of least l1 norm, by linear programming.

    Parameters
    ----------
    x : (n, d) array_like
        Inputs.
    y : (n,) array_like
        Labels.

    Returns
    -------
    (d,) ndarray

    Raises
    ------
    ValueError
        If no beta satisfies X beta = y.

    Examples
    --------
    >>> basis_pursuit([[1.0, 2.0, 0.5], [2.0, 3.0, 1.0]], [1.0, 1.5]).round(3).tolist()
    [0.0, 0.5, 0.0]
    """
    inputs, labels = as_samples(x, y)
    both = np.hstack([inputs, -inputs])
    solved = linprog(np.ones(both.shape[1]), A_eq=both, b_eq=labels, method="highs")
    if solved.status != 0:
        raise ValueError(f"x beta = y has no solution: {solved.message}; drop repeated rows of x")
    positive, negative = np.split(solved.x, 2)
    return positive - negative


def stability_threshold(jacobian: ArrayLike) -> float:
    """Mean-square stability threshold of SGD with batch 1 at an interpolator.

    Parameters
    ----------
    jacobian : (n, p) array_like
        Gradient of each output in the parameters, at the interpolator.

    Returns
    -------
    float
        Step size for the loss ``|r|^2 / (2 n)``; for ``|r|^2 / n`` it is half as large.

    References
    ----------
    .. [1] Mulayoff, Michaeli. Exact mean square linear stability analysis for SGD. COLT 2024.

    Examples
    --------
    >>> round(stability_threshold([[1.0, 0.0], [0.0, 2.0]]), 12)  # orthogonal rows: 2 / max |a|^2
    0.5
    """
    return float(1 / np.linalg.eigvalsh(_modes(jacobian)[2])[-1])


def _modes(jacobian: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The row space of a Jacobian: its directions, the rows in them, and B of the threshold."""
    rows = as_matrix("jacobian", jacobian)
    rates, basis = np.linalg.eigh(rows @ rows.T)
    kept = rates > 1e-12 * rates[-1]
    if not kept.any():
        raise ValueError("jacobian is zero: at such weights no step moves the outputs")
    rates, basis = rates[kept], basis[:, kept]
    turned = basis * np.sqrt(rates)
    pairs = (turned[:, :, None] * turned[:, None, :]).reshape(len(rows), -1)
    weights = 1 / (rates[:, None] + rates).ravel()
    return rows.T @ basis / np.sqrt(rates), turned, (pairs * weights) @ pairs.T


@in_range
def stationary_covariance(
    jacobian: ArrayLike, lr: float, *, label_noise: float
) -> tuple[Float[np.ndarray, "p p"], Float[np.ndarray, "n"]]:
    r"""How far SGD with batch 1 and noisy labels strays from an interpolator, in the long run.

    To first order in the deviation theta, and in the row space of the Jacobian, the second moment
    M = E theta theta^T solves::

        G M + M G = lr sum_i q_i^2 a_i a_i^T,   q_i^2 = E r_i^2 + q^2 = q^2 [(1 - lr B)^-1 1]_i,

    with G, a_i and B as in the threshold, and q the deviation of the labels.  If all q_i^2
    are 2 delta, M is lr delta times the projector on the row space.

    Parameters
    ----------
    jacobian : (n, p) array_like
        Gradient of each output in the parameters, at the interpolator.
    lr : float
        Step size, below `stability_threshold`.
    label_noise : float
        Standard deviation q of fresh noise on the labels.

    Returns
    -------
    covariance : (p, p) ndarray
        The second moment M, which is zero on all that no step moves.
    squares : (n,) ndarray
        Mean square q_i^2 of what a step on each sample sees: residual and noise.

    Raises
    ------
    ValueError
        If the step size is not below the threshold: no such state exists.

    Examples
    --------
    >>> covariance, squares = stationary_covariance([[1.0, 0.0], [0.0, 2.0]], 0.25, label_noise=0.1)
    >>> covariance.round(5).tolist(), squares.round(5).tolist()
    ([[0.00143, 0.0], [0.0, 0.0025]], [0.01143, 0.02])
    """
    directions, turned, pairs = _modes(jacobian)
    size, noise = as_scalar("lr", lr), as_amount("label_noise", label_noise)
    edge = 1 / np.linalg.eigvalsh(pairs)[-1]
    if size >= edge:
        raise ValueError(f"lr must be below the stability threshold {edge:.6g}: got {size:.6g}")
    squares = noise**2 * np.linalg.solve(np.eye(len(pairs)) - size * pairs, np.ones(len(pairs)))
    rates = (turned**2).sum(axis=0)
    inner = size * (turned.T * squares) @ turned / (rates[:, None] + rates)
    return directions @ inner @ directions.T, squares
