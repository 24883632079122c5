"""Entropy between and within two groups of modes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import as_mask
from dlnlib._compiled import in_blocks
from dlnlib.entropy.spectral import as_strengths, energy_shares, spectrum


@dataclass(frozen=True)
class GroupEntropy:
    """Entropy of two groups of modes: total = between + share * signal + (1 - share) * noise.

    Parameters
    ----------
    total : (...,) ndarray
        Entropy of all modes, in nats as all entropies here.
    between : (...,) ndarray
        Binary entropy of the share of the signal, at most log 2.
    signal, noise : (...,) ndarray
        Entropy within each group, from the shares of its modes in the group; 0 for a group
        without energy.
    share : (...,) ndarray
        Energy share P of the signal.
    """

    total: Float[np.ndarray, "..."]
    between: Float[np.ndarray, "..."]
    signal: Float[np.ndarray, "..."]
    noise: Float[np.ndarray, "..."]
    share: Float[np.ndarray, "..."]


def group_entropy(a: ArrayLike, signal: ArrayLike, *, power: float = 2) -> GroupEntropy:
    """Entropy split between and within two groups of modes, H = h(P) + P H_s + (1 - P) H_n.

    Parameters
    ----------
    a : (..., K) array_like
        Mode strengths.
    signal : (K,) array_like of bool
        True for the modes of the signal; the others are noise.
    power : float
        As in `energy_shares`.

    Returns
    -------
    GroupEntropy

    Examples
    --------
    >>> parts = group_entropy([3.0, 3.0, 1.0, 1.0], [True, True, False, False])
    >>> parts.share.round(3).item(), (parts.signal / np.log(2)).round(3).item()
    (0.9, 1.0)
    """
    strengths = as_strengths(a)
    mask = as_mask(signal, strengths.shape[-1])
    total = spectrum(strengths, power=power).entropy
    table = strengths.reshape(-1, mask.size)
    parts = np.empty((4, len(table)))

    def work(blocks: Iterator[slice]) -> None:
        for rows in blocks:
            parts[:, rows] = _groups(table[rows], mask, power)

    in_blocks(work, *table.shape, max(1, 65_536 // mask.size))
    return GroupEntropy(total, *(part.reshape(total.shape) for part in parts))


def _groups(a: Float[np.ndarray, "T K"], mask: np.ndarray, power: float) -> np.ndarray:
    """Entropy between the groups, within the signal, within the noise; share of the signal."""
    size = np.abs(a)
    groups = [size[:, mask], size[:, ~mask]]
    scale = size.max(axis=-1, keepdims=True)
    energy = np.stack([((group / scale) ** power).sum(axis=-1) for group in groups], axis=-1)
    for group in groups:
        if group.shape[-1]:
            group[~group.any(axis=-1), 0] = 1  # no energy, no entropy: as if one mode had it all
    within = [
        spectrum(group, power=power).entropy if group.shape[-1] else np.zeros(len(a))
        for group in groups
    ]
    share = energy_shares(energy, power=1)[:, 0]
    return np.stack([spectrum(energy, power=1).entropy, *within, share])
