"""Means and products of all pairs of units, gathered from blocks of samples in one reading."""

import numpy as np
from jaxtyping import Bool, Float, Int

from dlnlib.measures.units import row_norms

_WIDEST = 4096  # units whose products are kept: 128 MB


class Moments:
    """Mean, and sums of products of the centred units; blocks are merged without cancellation.

    Parameters
    ----------
    columns : (k,) ndarray of int, optional
        The units to look at; all of them without.
    scaled : bool
        Whether each sample is scaled to unit norm over all units first.
    """

    def __init__(self, columns: Int[np.ndarray, "k"] | None = None, *, scaled: bool = False):
        self.columns, self.scaled = columns, scaled
        self.samples = 0
        self.mean = self.products = self.top = None

    def add(self, block: Float[np.ndarray, "b m"]) -> None:
        """Take in the next rows."""
        norms = row_norms(block) if self.scaled else None
        block = block if self.columns is None else block[:, self.columns]
        block = block if norms is None else block / norms
        if self.mean is None:
            check_width(block.shape[1])
            self.mean, self.top = np.zeros((2, block.shape[1]))
            self.products = np.zeros((block.shape[1],) * 2)
        mean = block.mean(axis=0)
        centred = block - mean
        shift, before = mean - self.mean, self.samples
        self.samples += len(block)
        self.products += centred.T @ centred
        if before:
            self.products += np.multiply.outer(shift * before * len(block) / self.samples, shift)
        self.mean += shift * len(block) / self.samples
        np.maximum(self.top, np.abs(block).max(axis=0), out=self.top)

    def gram(self, *, centred: bool) -> Float[np.ndarray, "k k"]:
        """Sums over the samples of the products of two units."""
        if centred:
            return self.products
        return self.products + self.samples * np.multiply.outer(self.mean, self.mean)

    def lengths(self) -> tuple[Float[np.ndarray, "k"], Bool[np.ndarray, "k"]]:
        """Norms of the centred units, and which of them are more than rounding."""
        length = np.sqrt(np.diagonal(self.products))
        return length, exceeds_rounding(length, self.samples, self.top)


class Spread:
    """Energy of the units, and what of it is about their means."""

    def __init__(self):
        self.samples, self.mean, self.about = 0, 0.0, 0.0

    def add(self, block: Float[np.ndarray, "b m"]) -> None:
        """Take in the next rows."""
        mean = block.mean(axis=0)
        shift, weight = mean - self.mean, len(block) / (self.samples + len(block))
        self.about += ((block - mean) ** 2).sum() + self.samples * weight * (shift**2).sum()
        self.mean = self.mean + weight * shift
        self.samples += len(block)

    def share(self) -> float:
        """Share of the energy that is about the means; 0 for rounding alone, and for no energy."""
        energy = self.about + self.samples * (self.mean**2).sum()
        rounding = (self.samples * np.finfo(float).eps) ** 2 * energy
        return float(self.about / energy) if self.about > rounding else 0.0


def exceeds_rounding(
    length: Float[np.ndarray, "k"], samples: int, top: Float[np.ndarray, "k"]
) -> Bool[np.ndarray, "k"]:
    """Whether the norm of a centred unit is more than the rounding of its mean."""
    return length > samples * np.finfo(float).eps * top


def check_width(units: int) -> None:
    """Refuse to keep the products of more pairs than fit into a small memory."""
    if units > _WIDEST:
        raise ValueError(
            f"blocks of rows may have at most {_WIDEST} units, as the products of all pairs are "
            f"kept: got {units}; give one array, or the same columns of each block"
        )
