r"""Spectral entropy of the modes: H = -sum_k p_k log p_k with p_k = a_k^2 / sum_j a_j^2.

H is 0 when one mode carries all the energy and log K when K modes share it equally, so exp(H) is
an effective number of modes (with ``power=1``, the effective rank of Roy and Vetterli 2007).
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import entr

__all__ = ["energy_shares", "spectral_entropy"]


def energy_shares(a: ArrayLike, *, power: float = 2) -> Float[np.ndarray, "... K"]:
    """Share of each mode in the energy, |a_k|^power / sum_j |a_j|^power.

    Parameters
    ----------
    a : (..., K) array_like
        Mode strengths; the sign does not matter.
    power : float
        2 for energies, 1 for the convention of the effective rank.

    Returns
    -------
    (..., K) ndarray
        Non-negative, summing to 1 over the last axis.

    Raises
    ------
    ValueError
        If an entry is NaN or infinite, or all modes of one row are zero.
    """
    size = np.atleast_1d(np.abs(np.asarray(a, dtype=float)))
    if not np.isfinite(size).all():
        raise ValueError("a contains NaN or infinity: the flow that made it has diverged")
    top = size.max(axis=-1, keepdims=True)
    if (top == 0).any():
        raise ValueError("all modes are zero: no energy to share; start the flow from a0 > 0")
    energy = (size / top) ** power  # scaled first, so that tiny strengths do not underflow
    return energy / energy.sum(axis=-1, keepdims=True)


def spectral_entropy(a: ArrayLike, *, power: float = 2) -> Float[np.ndarray, "..."]:
    """Entropy H = -sum p log p of the energy shares over the last axis.

    Parameters
    ----------
    a, power
        As in `energy_shares`.

    Returns
    -------
    (...,) ndarray
        In nats, between 0 and log K.
    """
    return np.asarray(entr(energy_shares(a, power=power)).sum(axis=-1))
