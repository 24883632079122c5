"""Energy shares, their entropy and its rate, in one pass over blocks of rows.

Nothing cancels however small a share: the share of the strongest mode of a row is known by the
energy r of all others in units of its own, so that its logarithm is -log1p(r) and its distance to
the mean growth rate is a sum over the others.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from dlnlib._blocks import in_blocks
from dlnlib._checks import as_scalar

__all__ = ["Spectrum", "as_mask", "as_rates", "as_strengths", "spectrum"]

_BLOCK = 262_144  # entries: smaller blocks spare the cache, but threads then wait for each other
_SAFE = (1e-6, 1e200)  # energies of the strongest mode at which shares of 1e-300 are normal numbers


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
    height = min(len(a), max(1, _BLOCK // a.shape[1]))
    buffers = np.empty((2 if out.by_mode is not None or g is None else 3, height, a.shape[1]))
    with np.errstate(all="ignore"):  # also gives the buffer size of NumPy back at the end
        np.setbufsize(16)  # no buffers: NumPy would copy a column into them to broadcast it
        for rows in blocks:
            p, p_log_p = buffers[:2, : len(a[rows])]
            lead = _shares(a[rows], power, p)
            out.entropy[rows] = _entropy(p, lead, p_log_p)
            if g is None:
                continue
            part = buffers[2, : len(p)] if out.by_mode is None else out.by_mode[rows]
            _ahead(g[rows], p, lead, part)
            if centred:
                p[lead.place] = lead.share
                p *= out.entropy[rows, None]
                p_log_p += p
            part *= p_log_p
            part *= -power
            out.rate[rows] = part @ np.ones(a.shape[1])


class _Lead(NamedTuple):
    """The strongest mode of each row: where it is, its share, and that of all others."""

    place: tuple[np.ndarray, np.ndarray]
    share: Float[np.ndarray, "T"]
    others: Float[np.ndarray, "T"]


def _shares(a: np.ndarray, power: float, p: np.ndarray) -> _Lead:
    """Fill ``p`` with the shares, but with 0 for the strongest mode, which is returned."""
    place = _energies(a, power, p)
    top = p[place]
    p[place] = 0
    others = p @ np.ones(a.shape[1])
    unit = 1 / (top + others)
    p *= unit[:, None]
    return _Lead(place, top * unit, others * unit)


def _energies(a: np.ndarray, power: float, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fill ``out`` with |a|^power, in units of the largest where it would leave the safe range."""
    _raise(a, power, out)
    row = np.arange(len(a))
    place = row, out.argmax(axis=1)
    top = out[place]
    if _SAFE[0] < top.min() <= top.max() < _SAFE[1]:
        return place
    np.abs(a, out=out)
    place = row, out.argmax(axis=1)
    top = out[place]
    if not np.isfinite(top).all():
        raise ValueError("a contains NaN or infinity: the flow that made it has diverged")
    if (top == 0).any():
        raise ValueError("all modes are zero: no energy to share; start the flow from a0 > 0")
    out /= top[:, None]
    _raise(out, power, out)
    return place


def _raise(a: np.ndarray, power: float, out: np.ndarray) -> None:
    if power == 2:
        np.multiply(a, a, out=out)
        return
    np.abs(a, out=out)
    if power != 1:
        np.power(out, power, out=out)


def _entropy(p: np.ndarray, lead: _Lead, p_log_p: np.ndarray) -> Float[np.ndarray, "T"]:
    """Fill ``p_log_p``, which is 0 for a share of 0, and return minus its sum."""
    np.log(p, out=p_log_p)
    p_log_p *= p
    of_lead = -lead.share * np.log1p(lead.others / lead.share)
    p_log_p[lead.place] = of_lead
    total = p_log_p @ np.ones(p.shape[1])
    if math.isnan(total.sum()):  # 0 log 0
        np.copyto(p_log_p, 0, where=p == 0)
        p_log_p[lead.place] = of_lead
        total = p_log_p @ np.ones(p.shape[1])
    return 0 - total  # never a minus zero


def _ahead(g: np.ndarray, p: np.ndarray, lead: _Lead, out: np.ndarray) -> None:
    """Fill ``out`` with g_k - sum_j p_j g_j."""
    g_lead = g[lead.place]
    behind = np.vecdot(p, g) - g_lead * lead.others  # the mean rate, less that of the lead
    if not math.isfinite(behind.sum()):
        raise ValueError("g contains NaN or infinity: it is finite wherever the flow exists")
    np.subtract(g, (g_lead + behind)[:, None], out=out)
    out[lead.place] = -behind
