"""Energy shares, their entropy and its rate, in one pass over blocks of rows.

Nothing cancels however small a share: the share of the strongest mode of a row is known by the
energy r of all others in units of its own, so that its logarithm is -log1p(r) and its distance to
the mean growth rate is a sum over the others.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from dlnlib._blocks import in_blocks
from dlnlib._checks import as_scalar

__all__ = ["Spectrum", "as_mask", "as_rates", "as_strengths", "spectrum"]

_BLOCK = 16_384  # entries per block: three buffers of this size stay in the second-level cache
_SAFE = (1e-6, 1e200)  # energies of the strongest mode at which shares of 1e-300 are normal numbers

Place = tuple[np.ndarray, np.ndarray]  # (row, column) of the strongest mode of each row


class Spectrum(NamedTuple):
    """Entropy, its rate, and the parts of the modes in it (None where not asked for)."""

    entropy: Float[np.ndarray, "..."]
    rate: Float[np.ndarray, "..."] | None
    by_mode: Float[np.ndarray, "... K"] | None


def as_strengths(a: ArrayLike) -> Float[np.ndarray, "... K"]:
    """Mode strengths with at least one mode in the last axis; entries are checked on the way."""
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


def spectrum(
    a: ArrayLike,
    g: ArrayLike | None = None,
    *,
    power: float = 2,
    by_mode: bool = False,
    centred: bool = False,
) -> Spectrum:
    """Entropy of the shares, with its rate if `g` is given and the parts of the modes on demand."""
    strengths, power = as_strengths(a), as_scalar("power", power)
    table = strengths.reshape(-1, strengths.shape[-1])
    rates = None if g is None else as_rates(g, strengths).reshape(table.shape)
    flat = Spectrum(
        np.empty(len(table)),
        None if rates is None else np.empty(len(table)),
        np.empty(table.shape) if by_mode else None,
    )
    fill = partial(_fill, a=table, g=rates, power=power, centred=centred, out=flat)
    in_blocks(fill, *table.shape, max(1, _BLOCK // table.shape[1]))
    shapes = (strengths.shape[:-1], strengths.shape[:-1], strengths.shape)
    return Spectrum(
        *(None if x is None else x.reshape(shape) for x, shape in zip(flat, shapes, strict=True))
    )


def _fill(
    blocks: Iterator[slice],
    a: Float[np.ndarray, "T K"],
    g: Float[np.ndarray, "T K"] | None,
    power: float,
    centred: bool,
    out: Spectrum,
) -> None:
    """Fill the given rows of ``out``; the buffers are those of one thread."""
    buffers = np.empty((3, min(len(a), max(1, _BLOCK // a.shape[1])), a.shape[1]))
    for rows in blocks:
        p, log_p, flux = buffers[:, : len(a[rows])]
        with np.errstate(all="ignore"):
            strongest, others = _shares(a[rows], power, p)
            out.entropy[rows] = _entropy(p, strongest, others, log_p)
            if g is None:
                continue
            _flux(g[rows], strongest, others, p, flux)
            out.rate[rows] = -power * np.vecdot(flux, log_p)
        if out.by_mode is not None:
            if centred:
                log_p += out.entropy[rows, None]
            np.multiply(flux, log_p, out=out.by_mode[rows])
            out.by_mode[rows] *= -power


def _shares(a: np.ndarray, power: float, p: np.ndarray) -> tuple[Place, Float[np.ndarray, "T"]]:
    """Fill ``p`` with the shares; return the strongest mode and r, the others' energy over its."""
    strongest = _energies(a, power, p)
    largest = p[strongest]
    p[strongest] = 0
    others = p.sum(axis=1)
    p *= (1 / (largest + others))[:, None]
    others /= largest
    p[strongest] = 1 / (1 + others)
    return strongest, others


def _energies(a: np.ndarray, power: float, out: np.ndarray) -> Place:
    """Fill ``out`` with |a|^power, in units of the largest where it would leave the safe range."""
    _raise(a, power, out)
    strongest = np.arange(len(a)), out.argmax(axis=1)
    top = out[strongest]
    if (top > _SAFE[0]).all() and (top < _SAFE[1]).all():
        return strongest
    np.abs(a, out=out)
    strongest = strongest[0], out.argmax(axis=1)
    top = out[strongest]
    if not np.isfinite(top).all():
        raise ValueError("a contains NaN or infinity: the flow that made it has diverged")
    if (top == 0).any():
        raise ValueError("all modes are zero: no energy to share; start the flow from a0 > 0")
    out /= top[:, None]
    _raise(out, power, out)
    return strongest


def _raise(a: np.ndarray, power: float, out: np.ndarray) -> None:
    if power == 2:
        np.multiply(a, a, out=out)
        return
    np.abs(a, out=out)
    if power != 1:
        np.power(out, power, out=out)


def _entropy(
    p: np.ndarray, strongest: Place, others: np.ndarray, log_p: np.ndarray
) -> Float[np.ndarray, "T"]:
    """Fill ``log_p``, with 0 for a share of 0, and return -sum p log p."""
    np.log(p, out=log_p)
    log_p[strongest] = -np.log1p(others)
    mean = np.vecdot(p, log_p)
    if np.isnan(mean).any():  # 0 log 0
        log_p[p == 0] = 0
        mean = np.vecdot(p, log_p)
    return np.abs(mean)  # no term is positive; this also spares the reader a minus zero


def _flux(
    g: np.ndarray, strongest: Place, others: np.ndarray, p: np.ndarray, flux: np.ndarray
) -> None:
    """Fill ``flux`` with p_k (g_k - sum_j p_j g_j)."""
    lead = g[strongest]
    p[strongest] = 0
    ahead = np.vecdot(p, g) - lead * (others / (1 + others))  # the mean rate less that of the lead
    p[strongest] = 1 / (1 + others)
    if not np.isfinite(ahead).all():
        raise ValueError("g contains NaN or infinity: it is finite wherever the flow exists")
    np.subtract(g, (lead + ahead)[:, None], out=flux)
    flux[strongest] = -ahead
    flux *= p
