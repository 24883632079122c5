"""What several test files use, and the package does not."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib.tasks import Modes


def interference(maps: ArrayLike, modes: Modes) -> Float[np.ndarray, "... r r"]:
    """Off-diagonal part of U^T W V: entry (j, k) leaks input mode k into output mode j."""
    inside = modes.u.T @ np.asarray(maps, dtype=float) @ modes.v
    return inside * (1 - np.eye(modes.s.size))


def hyperbolic_entropy(
    beta: ArrayLike, alpha_squared: float | Float[np.ndarray, "d"]
) -> Float[np.ndarray, "..."]:
    """Potential whose least interpolator is the limit of gradient flow from zero.

    The formula is that of `dlnlib.sgd.interpolators`, in a form that does not cancel.
    """
    predictor, half = np.asarray(beta, dtype=float), np.asarray(alpha_squared) / 2
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
