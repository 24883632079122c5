r"""Spectral entropy of the modes, H = -sum_k p_k log p_k with p_k = a_k^2 / sum_j a_j^2; its rate.

H is 0 when one mode carries all the energy and log K when K modes share it equally, so exp(H) is
an effective number of modes (with ``power=1``, the effective rank of Roy and Vetterli 2007).
With the growth rates g_k = d(log a_k)/dt the shares move as dp_k/dt = 2 p_k (g_k - E_p g), and::

    dH/dt = -2 Cov_p(g, log p),

the covariance identity, derived in `dlnlib.symbolic.covariance_identity`.

All results are exact to rounding for shares, and ratios of strengths, down to 1e-300 and do not
change with the scale of ``a`` or the order of the modes; a mode of strength zero contributes
nothing (0 log 0 = 0).

References
----------
Roy, Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._group_entropy import GroupEntropy, group_entropy
from dlnlib._spectrum import EntropyDynamics, energy_shares, spectrum

__all__ = [
    "EntropyDynamics",
    "GroupEntropy",
    "effective_modes",
    "energy_shares",
    "entropy_dynamics",
    "entropy_rate",
    "entropy_rate_by_mode",
    "group_entropy",
    "spectral_entropy",
]


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

    Examples
    --------
    >>> spectral_entropy([1.0, 1.0, 0.0]).round(4).item()  # log 2
    0.6931
    """
    return spectrum(a, power=power).entropy


def effective_modes(a: ArrayLike, *, power: float = 2) -> Float[np.ndarray, "..."]:
    """Effective number of modes exp(H): K modes of equal strength count as K.

    Parameters
    ----------
    a, power
        As in `energy_shares`; ``power=1`` gives the effective rank of Roy and Vetterli.

    Returns
    -------
    (...,) ndarray
        Between 1 and K.

    Examples
    --------
    >>> effective_modes([3.0, 3.0, 0.1]).round(4).item()
    2.0087
    """
    return np.asarray(np.exp(spectral_entropy(a, power=power)))


def entropy_rate(a: ArrayLike, g: ArrayLike, *, power: float = 2) -> Float[np.ndarray, "..."]:
    """Rate of the entropy, dH/dt = -power * Cov_p(g, log p).

    Parameters
    ----------
    a : (..., K) array_like
        Mode strengths.
    g : (..., K) array_like
        Their growth rates d(log a)/dt, per unit of time (`dlnlib.modes.growth_rate` for aligned
        modes).  At a mode of strength zero any finite number will do.
    power : float
        As in `energy_shares`.

    Returns
    -------
    (...,) ndarray
        In nats per unit of time.

    Raises
    ------
    ValueError
        If the shapes of `a` and `g` differ, an entry is NaN or infinite, or all modes are zero.

    Examples
    --------
    >>> entropy_rate([2.0, 1.0], [3.0, 1.0]).round(4).item()  # growth on the larger share
    -0.8872
    """
    return spectrum(a, g, power=power).rate


def entropy_rate_by_mode(
    a: ArrayLike, g: ArrayLike, *, power: float = 2, centred: bool = False
) -> Float[np.ndarray, "... K"]:
    """Part of each mode in dH/dt; the parts add up to `entropy_rate`.

    Parameters
    ----------
    a, g, power
        As in `entropy_rate`.
    centred : bool
        False: the part is ``-power p_k (g_k - E_p g) log p_k = -log(p_k) dp_k/dt``.  The sign
        says whether the mode gains or loses share, the weight is its surprise -log p_k, and over
        an interval the part adds up to the change of ``p_k - p_k log p_k``, whatever the path.
        True: ``-power p_k (g_k - E_p g) (log p_k + H)``, the part of the mode in the covariance.
        It is positive where a mode rarer than the average surprise H gains share, or a more
        common one loses some: what brings the shares together.

    Returns
    -------
    (..., K) ndarray
        In nats per unit of time.

    Raises
    ------
    ValueError
        As in `entropy_rate`.
    """
    return spectrum(a, g, power=power, by_mode=True, centred=centred).by_mode


def entropy_dynamics(
    a: ArrayLike, g: ArrayLike, *, power: float = 2, centred: bool = False
) -> EntropyDynamics:
    """Entropy, its rate and each mode's part in one pass: less than half the time of three calls.

    Parameters
    ----------
    a, g, power, centred
        As in `entropy_rate_by_mode`.

    Returns
    -------
    EntropyDynamics

    Raises
    ------
    ValueError
        As in `entropy_rate`.
    """
    return spectrum(a, g, power=power, by_mode=True, centred=centred)
