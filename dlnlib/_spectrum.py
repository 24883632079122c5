"""Energy shares, their entropy and its rate: input checked, rows shared among threads.

The arithmetic, and why nothing cancels in it, is in `dlnlib._entropy_kernel`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from dlnlib._blocks import in_blocks
from dlnlib._checks import as_scalar

__all__ = ["EntropyDynamics", "as_mask", "as_rates", "as_strengths", "energy_shares", "spectrum"]

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
    strengths = np.atleast_1d(np.asarray(a, dtype=float))
    if strengths.shape[-1] == 0:
        raise ValueError(f"a needs at least one mode in its last axis: got shape {strengths.shape}")
    return strengths


def as_rates(g: ArrayLike, strengths: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Growth rates, one per strength."""
    rates = np.atleast_1d(np.asarray(g, dtype=float))
    if rates.shape != strengths.shape:
        raise ValueError(
            f"g needs one growth rate per mode strength: got shape {rates.shape} for a of shape "
            f"{strengths.shape}; growth_rate(a, s) gives it for aligned modes"
        )
    return rates


def as_mask(signal: ArrayLike, n_modes: int) -> Bool[np.ndarray, "K"]:
    """Boolean mask over the modes, True for the signal."""
    mask = np.asarray(signal)
    if mask.dtype != bool or mask.shape != (n_modes,):
        raise ValueError(
            f"signal must be a boolean mask over the {n_modes} modes: got {mask.dtype} of shape "
            f"{mask.shape}; for the first r modes write numpy.arange({n_modes}) < r"
        )
    return mask


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
        If an entry is NaN or infinite, or all modes of one row are zero.

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
    _fill(table, rates, power, bool(centred), entropy, rate, parts)
    _check_finite(table, entropy, rate)
    return EntropyDynamics(
        entropy.reshape(strengths.shape[:-1]),
        None if g is None else rate.reshape(strengths.shape[:-1]),
        None if parts is None else parts.reshape(strengths.shape),
    )


def _fill(table, rates, power, centred, entropy, rate, parts) -> None:
    """Run the kernel over all rows; without rates the modes stand still."""
    from dlnlib._entropy_kernel import fill_rows  # Numba takes longer to load than all the rest

    def fill(blocks: Iterator[slice]) -> None:
        still, spare, buffer = np.zeros((3, 1, table.shape[1]))
        for rows in blocks:
            growth = still if rates is None else np.ascontiguousarray(rates[rows])
            out = entropy[rows], rate[rows], spare if parts is None else parts[rows]
            fill_rows(np.ascontiguousarray(table[rows]), growth, power, centred, buffer[0], *out)

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
