"""Entropy, its rate and the parts of the modes in it: checks of the input around the kernel."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import as_numbers, as_scalar
from dlnlib._compiled import in_blocks

_BLOCK = 262_144  # entries: a turn of a thread; its rows are cached one by one


@dataclass(frozen=True)
class EntropyDynamics:
    """Entropy, its rate, and the part of each mode in the rate; what was not asked for is None.

    Parameters
    ----------
    entropy : (...,) ndarray
        In nats.
    rate : (...,) ndarray
        In nats per unit of time.
    by_mode : (..., K) ndarray
        Adding to the rate over the last axis, see `dlnlib.entropy.entropy_rate_by_mode`.
    """

    entropy: Float[np.ndarray, "..."]
    rate: Float[np.ndarray, "..."] | None
    by_mode: Float[np.ndarray, "... K"] | None


def as_strengths(a: ArrayLike) -> Float[np.ndarray, "... K"]:
    """Mode strengths with at least one mode in the last axis."""
    strengths = np.atleast_1d(as_numbers("a", a))
    if strengths.shape[-1] == 0:
        raise ValueError(f"a needs at least one mode in its last axis: got shape {strengths.shape}")
    return strengths


def as_rates(g: ArrayLike, strengths: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Growth rates, one per strength."""
    rates = np.atleast_1d(as_numbers("g", g))
    if rates.shape != strengths.shape:
        raise ValueError(
            f"g needs one growth rate per mode strength: got shape {rates.shape} for a of shape "
            f"{strengths.shape}; growth_rate(a, s) gives it for aligned modes"
        )
    return rates


def energy_shares(a: ArrayLike, *, power: float = 2) -> Float[np.ndarray, "... K"]:
    """Share of each mode in the energy, ``|a_k|^power / sum_j |a_j|^power``.

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
        If all modes of one row are zero, which have no energy to share; so do all entropies.

    Examples
    --------
    >>> energy_shares([2.0, 1.0, 1.0]).round(4).tolist()
    [0.6667, 0.1667, 0.1667]
    """
    size = np.abs(as_strengths(a))
    power = as_scalar("power", power)
    top = size.max(axis=-1, keepdims=True)
    if not np.isfinite(top).all():
        raise ValueError("a contains NaN or infinity: the flow that made it has diverged")
    if (top == 0).any():
        raise ValueError("all modes are zero: no energy to share; start the flow from a0 > 0")
    energy = (size / top) ** power  # scaled first, so that tiny strengths do not underflow
    return energy / energy.sum(axis=-1, keepdims=True)


def spectrum(
    a: ArrayLike,
    g: ArrayLike | None = None,
    *,
    power: float = 2,
    by_mode: bool = False,
    centred: bool = False,
) -> EntropyDynamics:
    """Entropy of the shares, with its rate if `g` is given and the parts of the modes on demand."""
    strengths, power = as_strengths(a), as_scalar("power", power)
    table = strengths.reshape(-1, strengths.shape[-1])
    rates = None if g is None else as_rates(g, strengths).reshape(table.shape)
    parts = np.empty(table.shape) if by_mode else None
    entropy, rate = np.empty((2, len(table)))
    _fill(table, rates, (power, bool(centred)), (entropy, rate, parts))
    _check_finite(table, entropy, rate)
    return EntropyDynamics(
        entropy.reshape(strengths.shape[:-1]),
        None if g is None else rate.reshape(strengths.shape[:-1]),
        None if parts is None else parts.reshape(strengths.shape),
    )


def _fill(table, rates, options, results) -> None:
    """Run the kernel over all rows; without rates the modes stand still."""
    from dlnlib.entropy.kernel import (  # Numba takes longer to load than all the rest
        Rows,
        fill_rows,
    )

    entropy, rate, parts = results

    def fill(blocks: Iterator[slice]) -> None:
        still, spare, log_x = np.zeros((3, 1, table.shape[1]))
        for rows in blocks:
            growth = still if rates is None else np.ascontiguousarray(rates[rows])
            out = Rows(entropy[rows], rate[rows], spare if parts is None else parts[rows], log_x[0])
            fill_rows(np.ascontiguousarray(table[rows]), growth, *options, out)

    in_blocks(fill, *table.shape, max(1, _BLOCK // table.shape[1]))


def _check_finite(
    a: Float[np.ndarray, "T K"], entropy: Float[np.ndarray, "T"], rate: Float[np.ndarray, "T"]
) -> None:
    """Name the input to blame where the results are NaN."""
    if np.isnan(entropy).any():
        if np.isfinite(a).all():
            raise ValueError("all modes are zero: no energy to share; start the flow from a0 > 0")
        raise ValueError("a contains NaN or infinity: the flow that made it has diverged")
    if np.isnan(rate).any():
        raise ValueError("g contains NaN or infinity: it is finite wherever the flow exists")


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

    Examples
    --------
    >>> parts = entropy_rate_by_mode([2.0, 1.0], [3.0, 1.0])
    >>> parts.round(4).tolist(), parts.sum().round(4).item()
    ([0.1428, -1.03], -0.8872)
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

    Examples
    --------
    >>> from dlnlib.modes import growth_rate, mode_strength
    >>> s = [3.0, 1.0]
    >>> a = mode_strength([1.0, 2.0, 3.0], s, 1e-3)
    >>> entropy_dynamics(a, growth_rate(a, s)).rate.round(3).tolist()  # it falls, then rises
    [-0.022, 0.009, 0.121]
    """
    return spectrum(a, g, power=power, by_mode=True, centred=centred)
