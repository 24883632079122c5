"""The feature sparsity coefficient, and which units are copies of others.

In the public code units take their turn in order, and one is deleted if it resembles any unit that
is not deleted yet.  Of the units before it, those that are still there resemble no unit that was
there at their turn, this one among them.  So a unit is deleted exactly if it resembles a *later*
unit that is ever active, whatever becomes of that one: a question about pairs, in any order.
"""

import numpy as np
from jaxtyping import Bool, Int

from dlnlib._checks import as_flag, as_number
from dlnlib.measures.moments import Moments
from dlnlib.measures.pairs import Centred, resembling_later
from dlnlib.measures.units import Features, Survey, Units, as_units, blocks_of, row_norms, survey

_FEW = 1024  # units whose products are all computed


def feature_sparsity(features: Features, *, correlation: float, normalise: bool = True) -> float:
    """Feature sparsity coefficient: share of activations that are non-zero and distinct.

    The non-zero activations of the units that `distinct_units` keeps, over all n m activations:
    1 for a dense layer of distinct units, 0 if no unit is ever active.

    Parameters
    ----------
    features : (n, m) or (n, ...) array_like, or iterator of such blocks of samples
        Activations of the m units of a layer on n training samples, >= 0; `dlnlib.measures` says
        what may be given.
    correlation : float
        Threshold above which two units count as one.  The public code uses 0.999 for one input,
        0.99 for other small networks and 0.95 for deep ones; the paper's text says 0.95.
    normalise : bool
        Whether each sample is scaled to unit norm over the units before they are compared: the
        public code does so for small networks, and not for deep ones.

    Returns
    -------
    float

    Examples
    --------
    >>> features = [[1.0, 1.0, 0.0], [2.0, 2.0, 3.0], [0.0, 0.0, 1.0]]  # two units alike
    >>> round(feature_sparsity(features, correlation=0.99), 4)  # 4 of 9
    0.4444
    """
    counts, samples = _counts(features, correlation, normalise)
    return share_of(counts, samples)


def distinct_units(
    features: Features, *, correlation: float, normalise: bool = True
) -> Bool[np.ndarray, "m"]:
    """Which units are ever active, and not a copy of a later one.

    Units that are always zero are dropped.  Then each unit in turn is dropped if the size of its
    Pearson correlation with any unit still there exceeds the threshold; one unit of a group of
    copies remains.  A unit that is constant over the samples has no correlation and stays.

    Parameters
    ----------
    features, correlation, normalise
        As in `feature_sparsity`.

    Returns
    -------
    (m,) ndarray of bool

    Examples
    --------
    >>> distinct_units([[1.0, 1.0, 0.0], [2.0, 2.0, 3.0]], correlation=0.99, normalise=False)
    array([False, False,  True])
    """
    return _counts(features, correlation, normalise)[0] > 0


def share_of(counts: Int[np.ndarray, "k"], samples: int) -> float:
    """The coefficient, from the activations of each unit that count."""
    return float(counts.sum() / (samples * counts.size))


def _counts(features, correlation, normalise) -> tuple[Int[np.ndarray, "m"], int]:
    correlation, scaled = as_threshold(correlation), as_flag("normalise", normalise)
    units = as_units("features", features)
    comparison = Comparison(units, None, scaled)
    seen = survey("features", units, *comparison.visitors)
    return comparison.counts("features", seen, correlation), seen.samples


def as_threshold(correlation: float) -> float:
    """The correlation above which two units count as one."""
    correlation = as_number("correlation", correlation)
    if not 0 < correlation <= 1:
        raise ValueError(f"correlation must lie in (0, 1]: got {correlation:g}; it is a threshold")
    return correlation


class Comparison:
    """A search for copies among the units of a matrix, or among a part of them.

    Parameters
    ----------
    units : (n, m) ndarray or Iterator
        Activations.
    chosen : (k,) ndarray of int, optional
        The units to compare; all of them without.
    scaled : bool
        Whether each sample is scaled to unit norm over all units first.
    """

    def __init__(self, units: Units, chosen: Int[np.ndarray, "k"] | None, scaled: bool):
        self.units, self.chosen, self.scaled = units, chosen, scaled
        many = isinstance(units, np.ndarray) and units.shape[1] > _FEW
        many = many and (chosen is None or len(chosen) > _FEW)
        self.moments = None if many else Moments(chosen, scaled=scaled)
        self.visitors = [] if many else [self.moments.add]  # to be shown all blocks

    def counts(self, name: str, seen: Survey, correlation: float) -> Int[np.ndarray, "k"]:
        """Number of samples on which each unit is active, and 0 for a copy of a later one."""
        if seen.least < 0:
            raise ValueError(
                f"{name} must not be negative: got {seen.least:g}; they are outputs of ReLU units, "
                "of which a share is exactly zero: take them after the activation, not before"
            )
        chosen = np.arange(len(seen.nonzeros)) if self.chosen is None else self.chosen
        counts = seen.nonzeros[chosen]
        if self.moments is not None:
            return np.where(_copies(self.moments, counts > 0, correlation), 0, counts)
        norms = None
        if self.scaled:
            norms = np.concatenate([row_norms(block) for block in blocks_of(name, self.units)])
        centred = Centred(self.units, norms, chosen[counts > 0])
        return np.where(np.isin(chosen, resembling_later(centred, correlation)), 0, counts)


def _copies(
    moments: Moments, active: Bool[np.ndarray, "k"], correlation: float
) -> Bool[np.ndarray, "k"]:
    """Which active units resemble a later one, from the products of all pairs."""
    length, varies = moments.lengths()
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=varies)
    scale[~active] = 0.0
    alike = np.abs(moments.products * scale * scale[:, None]) > correlation
    return np.triu(alike, 1).any(axis=1)
