"""Entropy of a map from its singular values, and its rate without following any of them."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import as_numbers, in_range
from dlnlib.entropy.spectral import entropy_rate, spectral_entropy

_FAINT = 1e-150  # of the strongest value: no energy, and a growth rate that may overflow


@in_range
def map_entropy(w: ArrayLike) -> Float[np.ndarray, "..."]:
    """Entropy H = -tr(rho log rho) of a map W, with rho = W^T W / tr(W^T W).

    Parameters
    ----------
    w : (..., out, in) array_like
        Maps of any shape and rank, but not zero.

    Returns
    -------
    (...,) ndarray
        In nats: `spectral_entropy` of the singular values.

    Examples
    --------
    >>> map_entropy([[1.0, 2.0], [2.0, 1.0]]).round(4).item()  # singular values 3 and 1
    0.3251
    >>> map_entropy([[0.0, 1.0], [0.0, 0.0]]).item()
    0.0
    """
    return spectral_entropy(np.linalg.svd(_as_maps("w", w), compute_uv=False))


@in_range
def map_entropy_rate(w: ArrayLike, velocity: ArrayLike) -> Float[np.ndarray, "..."]:
    """Rate of the entropy of a map, dH/dt = -tr(drho/dt log rho).

    Parameters
    ----------
    w : (..., out, in) array_like
        Maps W, as in `map_entropy`.
    velocity : (..., out, in) array_like
        dW/dt at the same time, per unit of time; for two layers ``dW2/dt W1 + W2 dW1/dt``.

    Returns
    -------
    (...,) ndarray
        In nats per unit of time.

    Notes
    -----
    In any singular vectors u_k, v_k of W it is `entropy_rate` with the growth rates
    ``u_k^T dW/dt v_k / a_k``.  Where values are equal the vectors are not unique, but the sum is:
    crossings need no care.  Directions that W sends to zero add nothing, however they start.

    Examples
    --------
    >>> map_entropy_rate([[2.0, 0.0], [0.0, 1.0]], [[6.0, 5.0], [5.0, 1.0]]).round(4).item()
    -0.8872
    """
    return entropy_rate(*singular_growth(w, velocity))


def singular_growth(
    w: ArrayLike, velocity: ArrayLike
) -> tuple[Float[np.ndarray, "... K"], Float[np.ndarray, "... K"]]:
    """Singular values of maps and their growth rates, as in `map_entropy_rate`."""
    maps, moves = _as_maps("w", w), _as_maps("velocity", velocity)
    if maps.shape != moves.shape:
        raise ValueError(
            f"velocity needs the shape of w, as it is dw/dt: got {moves.shape} for {maps.shape}"
        )
    u, a, v = np.linalg.svd(maps, full_matrices=False)
    along = np.einsum("...ik,...ij,...kj->...k", u, moves, v, optimize=True)
    energetic = a > _FAINT * a.max(axis=-1, keepdims=True)
    return a, np.divide(along, a, out=np.zeros_like(a), where=energetic)


def _as_maps(name: str, value: ArrayLike) -> Float[np.ndarray, "... out in"]:
    maps = as_numbers(name, value)
    if maps.ndim < 2 or 0 in maps.shape[-2:]:
        raise ValueError(
            f"{name} must be a non-empty matrix, or a stack of them: got shape {maps.shape}; "
            "for mode strengths use spectral_entropy"
        )
    if not np.isfinite(maps).all():
        raise ValueError(f"{name} contains NaN or infinity: the flow that made it has diverged")
    return maps
