"""Sparsity of learned features: the feature sparsity coefficient, and ranks.

All functions take plain arrays, and every threshold is an argument, because the results depend on
it.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from dlnlib._checks import SIGN_HINT, as_matrix, as_nonnegative


def feature_sparsity(features: ArrayLike, *, correlation: float) -> float:
    """Feature sparsity coefficient: share of activations that are non-zero and distinct.

    The non-zero activations of the units that `distinct_units` keeps, over all n m activations:
    1 for a dense layer of distinct units, 0 if no unit is ever active.

    Parameters
    ----------
    features : (n, m) array_like
        Activations of the m units of a layer on n training samples, >= 0.
    correlation : float
        Threshold above which two units count as one; the public code uses 0.999 for one input
        and 0.99 otherwise, the paper's text says 0.95.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If an activation is negative or no number, or the threshold is not in (0, 1].

    Examples
    --------
    >>> features = [[1.0, 1.0, 0.0], [2.0, 2.0, 3.0], [0.0, 0.0, 1.0]]  # two units alike
    >>> round(feature_sparsity(features, correlation=0.99), 4)  # 4 of 9
    0.4444
    """
    kept = distinct_units(features, correlation=correlation)
    return float(np.count_nonzero(np.asarray(features)[:, kept]) / np.size(features))


def distinct_units(features: ArrayLike, *, correlation: float) -> Bool[np.ndarray, "m"]:
    """Which units are ever active, and not a copy of a later one.

    Each sample is scaled to unit norm over the units.  Units that are always zero are dropped.
    Then each unit in turn is dropped if the size of its Pearson correlation with any unit still
    there exceeds the threshold; one unit of a group of copies remains.  A unit that is constant
    over the scaled samples has no correlation and stays.

    Parameters
    ----------
    features, correlation
        As in `feature_sparsity`.

    Returns
    -------
    (m,) ndarray of bool

    Raises
    ------
    ValueError
        As in `feature_sparsity`.
    """
    units = as_matrix("features", features)
    as_nonnegative("features", units.ravel(), "they are outputs of ReLU units")
    if not 0 < correlation <= 1:
        raise ValueError(f"correlation must lie in (0, 1]: got {correlation:g}; it is a threshold")
    norms = np.sqrt((units**2).sum(axis=1, keepdims=True))
    scaled = np.divide(units, norms, out=np.zeros_like(units), where=norms > 0)
    kept = (scaled > 0).any(axis=0)
    centred = scaled - scaled.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    varies = length > len(units) * np.finfo(float).eps * scaled.max(axis=0, initial=0)
    centred = np.divide(centred, length, out=np.zeros_like(centred), where=varies)
    alike = np.abs(centred.T @ centred) > correlation
    np.fill_diagonal(alike, False)
    for unit in np.flatnonzero(kept):
        kept[unit] = not (alike[unit] & kept).any()
    return kept


def numerical_rank(singular_values: ArrayLike, threshold: ArrayLike) -> Int[np.ndarray, "..."]:
    """Number of singular values that exceed a threshold, relative to the largest.

    Parameters
    ----------
    singular_values : (..., K) array_like
        Non-negative, in any order.
    threshold : float or (t,) array_like
        In [0, 1); several of them add a last axis, for the rank as a function of the threshold.

    Returns
    -------
    (...,) or (..., t) ndarray of int
        0 where all singular values are 0.

    Raises
    ------
    ValueError
        If a singular value is negative or no number, or a threshold is out of range.

    Examples
    --------
    >>> numerical_rank([3.0, 1.0, 0.02], threshold=[0.001, 0.01]).tolist()
    [3, 2]
    """
    values = _finite("singular_values", singular_values)
    if (values < 0).any():
        raise ValueError(f"singular_values must not be negative: got {values.min():g}; {SIGN_HINT}")
    levels = as_nonnegative("threshold", threshold, "it is a ratio of singular values")
    if (levels >= 1).any():
        raise ValueError(f"threshold must lie in [0, 1): got {levels.max():g}")
    floor = levels * values.max(axis=-1, keepdims=True)
    counts = (values[..., None, :] > floor[..., :, None]).sum(axis=-1)
    return counts[..., 0] if np.ndim(threshold) == 0 else counts


def _finite(name: str, values: ArrayLike) -> Float[np.ndarray, "... d"]:
    array = np.atleast_1d(np.asarray(values, dtype=float))
    if array.shape[-1] == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} must hold numbers, no NaN: leave out the runs that diverged")
    return array
