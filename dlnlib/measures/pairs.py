"""Which of many units resemble a later one: most pairs are excluded by a bound.

A correlation is the scalar product of two unit vectors over the samples.  With x' the part of such
a vector on the few samples of most energy, and r what its norm has left on the others::

    |<x, y>| <= |<x', y'>| + r_x r_y,

so that an eighth of the samples excludes most pairs from a correlation of 0.95.  The others are
computed over all samples, in single precision; a pair nearer to the threshold than rounding can
reach is decided in double.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from dlnlib.measures.moments import exceeds_rounding
from dlnlib.measures.units import as_readable

_SPARE, _LEAST = 0.075, 64  # samples of the bound: so much more than 1 - threshold, at least 64
_ROWS, _COLUMNS = 1024, 4096  # pairs of units looked at together
_DENSE = 0.004  # share of pairs from which a product of matrices beats one pair after another
_TOGETHER = 1024  # pairs computed at a time
_WIDTH = 128  # units centred at a time


class Centred:
    """Units of a matrix as centred vectors of norm 1, one per row, in single precision.

    Parameters
    ----------
    units : (n, m) ndarray
        Activations.
    norms : (n, 1) ndarray, optional
        By which the samples are divided first.
    chosen : (k,) ndarray of int
        The units to compare; those that do not vary are left out.
    """

    def __init__(
        self,
        units: np.ndarray,
        norms: Float[np.ndarray, "n 1"] | None,
        chosen: Int[np.ndarray, "k"],
    ):
        self.units, self.norms = units, norms
        vectors, varies = (
            np.empty((len(chosen), len(units)), np.float32),
            np.zeros(len(chosen), bool),
        )
        for first in range(0, len(chosen), _WIDTH):
            part = slice(first, first + _WIDTH)
            vectors[part], varies[part] = self.exact(chosen[part])
        if not varies.all():
            vectors, chosen = vectors[varies], chosen[varies]
        self.vectors, self.chosen = vectors, chosen

    def exact(
        self, columns: Int[np.ndarray, "c"]
    ) -> tuple[Float[np.ndarray, "c n"], Bool[np.ndarray, "c"]]:
        """The vectors of some units in double precision, and which of these vary."""
        values = as_readable("features", self.units[:, columns])
        values = values if self.norms is None else values / self.norms
        centred = values - values.mean(axis=0)
        length = np.sqrt(np.einsum("ij,ij->j", centred, centred))
        varies = exceeds_rounding(length, len(values), np.abs(values).max(axis=0))
        return (centred / np.where(varies, length, 1.0)).T, varies


def resembling_later(centred: Centred, correlation: float) -> Int[np.ndarray, "c"]:
    """The units whose correlation with a later one exceeds a threshold in size."""
    x, found = centred.vectors, np.zeros(len(centred.vectors), bool)
    slack = (x.shape[1] + 8) * 2.0**-24  # more than single precision can be wrong by
    energy = np.einsum("ij,ij->j", x, x)
    few = max(_LEAST, int(len(energy) * min(0.5, 1 - correlation + _SPARE)))
    lead = np.argsort(-energy)[:few]
    head = np.ascontiguousarray(x[:, lead])
    rest = np.sqrt(np.maximum(0, 1 + slack - np.einsum("ij,ij->i", head, head)))
    for first in range(0, len(x), _ROWS):
        for start in range(first, len(x), _COLUMNS):
            mine = first + np.flatnonzero(~found[first : first + _ROWS])
            others = slice(start, start + _COLUMNS)
            bound = head[mine] @ head[others].T
            np.abs(bound, out=bound)
            floor = correlation - slack - rest[mine] * rest[others].max()
            i, j = np.divmod(np.flatnonzero(bound > floor[:, None]), bound.shape[1])
            near = bound[i, j] + rest[mine[i]] * rest[start + j] > correlation - slack
            near &= mine[i] < start + j
            i, j = mine[i[near]], start + j[near]
            if len(i) == 0:
                continue
            size = _correlations(x, i, j, len(i) > _DENSE * bound.size)
            found[i[size > correlation + slack]] = True
            unsure = (np.abs(size - correlation) <= slack) & ~found[i]
            for unit in np.unique(i[unsure]):
                pair, _ = centred.exact(centred.chosen[[unit, *j[unsure & (i == unit)]]])
                found[unit] = (np.abs(pair[1:] @ pair[0]) > correlation).any()
    return centred.chosen[found]


def _correlations(
    x: Float[np.ndarray, "k n"], i: Int[np.ndarray, "p"], j: Int[np.ndarray, "p"], dense: bool
) -> Float[np.ndarray, "p"]:
    """Sizes of the correlations of pairs."""
    if dense:
        rows, columns = np.unique(i), np.unique(j)
        products = x[rows] @ x[columns].T
        return np.abs(products[np.searchsorted(rows, i), np.searchsorted(columns, j)])
    size = np.empty(len(i), np.float32)
    for start in range(0, len(i), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        size[part] = np.einsum("pn,pn->p", x[i[part]], x[j[part]])
    return np.abs(size)
