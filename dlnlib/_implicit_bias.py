r"""Where a diagonal linear network ends: hyperbolic entropy, its minimiser, and basis pursuit.

With w = u + v and w' = u - v every step multiplies w by 1 - s and w' by 1 + s, where s is the step
size times the gradient in beta = (w^2 - w'^2) / 4.  Hence beta = alpha^2 sinh(2 z) / 2 with
``alpha^2 = |w w'|`` and ``z = log|w / w'| / 2``, and an interpolating limit minimises the Bregman
divergence of the hyperbolic entropy with that alpha (Woodworth et al. 2020; Even et al. 2023).
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from dlnlib._checks import as_positive, as_samples, as_vector

__all__ = ["basis_pursuit", "hyperbolic_entropy", "implicit_bias"]

_TOLERANCE = 1e-13  # of X beta = y, relative to the largest label
_NEWTON = 100  # steps of one stage; a warm start needs about five


def hyperbolic_entropy(beta: ArrayLike, alpha_squared: ArrayLike) -> Float[np.ndarray, "..."]:
    """Potential whose minimum over interpolators is the limit of gradient flow from zero.

    Parameters
    ----------
    beta : (..., d) array_like
        Linear predictors.
    alpha_squared : float or (d,) array_like
        Squared initialisation ``|u0^2 - v0^2|``, > 0.

    Returns
    -------
    (...,) ndarray
        Sum over j of [beta asinh(2 beta / alpha^2) - sqrt(beta^2 + alpha^4 / 4) + alpha^2 / 2] / 2;
        near ``|beta|_1 log(1 / alpha)`` for small alpha, ``|beta|_2^2 / (2 alpha^2)`` for large.

    Raises
    ------
    ValueError
        If alpha_squared is not positive.
    """
    predictor = np.asarray(beta, dtype=float)
    half = as_positive("alpha_squared", alpha_squared) / 2
    with np.errstate(over="ignore"):
        ratio = np.abs(predictor) / half
    # asinh beyond the range of floats, where alpha^2 is tiny
    angle = np.where(
        ratio < 1e150,
        np.arcsinh(np.minimum(ratio, 1e150)),
        np.log(4 * np.abs(predictor) + (predictor == 0)) - np.log(2 * half),
    )
    terms = np.abs(predictor) * angle - predictor**2 / (np.hypot(predictor, half) + half)
    return np.asarray(terms.sum(axis=-1) / 2)


def implicit_bias(
    x: ArrayLike, y: ArrayLike, alpha_squared: ArrayLike, shift: ArrayLike = 0.0
) -> Float[np.ndarray, "d"]:
    """Interpolator that minimises the hyperbolic entropy, or its divergence from a shifted start.

    The minimiser is beta = alpha^2 sinh(2 (X^T nu + shift)) / 2 with X beta = y: a convex problem
    in nu, solved by Newton's method along a path on which alpha^2 and shift go from 1 and 0 to
    their values.

    Parameters
    ----------
    x : (n, d) array_like
        Inputs, linearly independent rows.
    y : (n,) array_like
        Labels.
    alpha_squared : float or (d,) array_like
        As in `hyperbolic_entropy`.
    shift : float or (d,) array_like
        Zero for gradient flow from u0 = alpha, v0 = 0; `dlnlib.diagonal.train_diagonal` measures
        that of a run with finite steps.

    Returns
    -------
    (d,) ndarray

    Raises
    ------
    ValueError
        If the shapes do not match, alpha_squared is not positive, or no interpolator is found.
    """
    inputs, labels = as_samples(x, y)
    columns = inputs.shape[1]
    target = np.broadcast_to(np.log(as_positive("alpha_squared", alpha_squared)), columns)
    moved = np.broadcast_to(as_vector("shift", shift), columns)
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
    """Minimise the dual: sum of alpha^2 cosh(2 z) / 4 less nu y, with z = X^T nu + shift."""

    def curves(nu):
        angle = np.clip(2 * (nu @ x + shift), -600, 600)
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
            lambda nu: curves(nu)[1].sum() / 2 - nu @ y, dual, move, error @ move, longest
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
    """
    inputs, labels = as_samples(x, y)
    both = np.hstack([inputs, -inputs])
    solved = linprog(np.ones(both.shape[1]), A_eq=both, b_eq=labels, method="highs")
    if solved.status != 0:
        raise ValueError(f"x beta = y has no solution: {solved.message}; drop repeated rows of x")
    positive, negative = np.split(solved.x, 2)
    return positive - negative
