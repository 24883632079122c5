"""Singular values of a matrix of activations or weights, and the rank at a threshold."""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from dlnlib._checks import SIGN_HINT, as_nonnegative, as_number, as_numbers
from dlnlib.measures.moments import Moments
from dlnlib.measures.units import Units, as_readable, survey

_DIRECT = 500, 2**22  # rows or columns, and numbers, up to which a matrix itself is decomposed
_WIDTH = 256  # columns read at a time


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

    Examples
    --------
    >>> numerical_rank([3.0, 1.0, 0.02], threshold=[0.001, 0.01]).tolist()
    [3, 2]
    """
    values = _finite("singular_values", singular_values)
    if (values < 0).any():
        raise ValueError(f"singular_values must not be negative: got {values.min():g}; {SIGN_HINT}")
    levels = _as_ratios("threshold", threshold)
    floor = levels * values.max(axis=-1, keepdims=True)
    counts = (values[..., None, :] > floor[..., :, None]).sum(axis=-1)
    return counts[..., 0] if as_numbers("threshold", threshold).ndim == 0 else counts


def as_ratio(name: str, value: float) -> float:
    """One threshold, relative to the largest singular value."""
    return float(_as_ratios(name, as_number(name, value))[0])


def _as_ratios(name: str, value: ArrayLike) -> Float[np.ndarray, "t"]:
    levels = as_nonnegative(name, value, "it is a ratio of singular values")
    if (levels >= 1).any():
        raise ValueError(f"{name} must lie in [0, 1): got {levels.max():g}")
    return levels


def _finite(name: str, values: ArrayLike) -> Float[np.ndarray, "... d"]:
    array = np.atleast_1d(as_numbers(name, values))
    if array.shape[-1] == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} must hold numbers, no NaN: leave out the runs that diverged")
    return array


def singular_values(
    name: str, units: Units, products: Moments | None, rank_above: float, *, centred: bool
) -> Float[np.ndarray, "K"]:
    """Singular values; ``centred`` takes the mean off each unit first.

    Parameters
    ----------
    name : str
        What the matrix is called in an error.
    units : (n, m) ndarray or Iterator
        The matrix; an iterator has been read already.
    products : Moments, optional
        Of all its units, where they have been gathered.
    rank_above : float
        The share of the largest value that must still be told from zero.
    centred : bool
        Whether the mean of each unit is taken off.

    Returns
    -------
    (K,) ndarray
        With zeros for what rounding alone would give.
    """
    if isinstance(units, np.ndarray):
        short = min(units.shape)
        small = short <= _DIRECT[0] and units.size <= _DIRECT[1]
        if small or rank_above < _resolution(short):
            return _direct(name, units, centred)
        if products is None and len(units) < units.shape[1]:
            return _from_rows(name, units, centred)
    if products is None:
        products = Moments()
        survey(name, units, products.add)
    gram = products.gram(centred=centred)
    if rank_above < _resolution(len(gram)):
        raise ValueError(
            f"rank_above must be at least {_resolution(len(gram)):.1g} for blocks of rows, whose "
            f"products alone are kept: got {rank_above:g}; give one array"
        )
    size = np.trace(products.gram(centred=False))
    return _roots(gram, size, (products.samples, len(gram)))


def _direct(name: str, units: np.ndarray, centred: bool) -> Float[np.ndarray, "K"]:
    values = as_readable(name, units)
    size = np.einsum("ij,ij->", values, values)
    values = values - values.mean(axis=0) if centred else values
    singular = np.linalg.svd(values, compute_uv=False)
    return np.where(singular > _noise(size, values.shape), singular, 0.0)


def _from_rows(name: str, units: np.ndarray, centred: bool) -> Float[np.ndarray, "K"]:
    gram, size = np.zeros((len(units),) * 2), 0.0
    for first in range(0, units.shape[1], _WIDTH):
        values = as_readable(name, units[:, first : first + _WIDTH])
        size += np.einsum("ij,ij->", values, values)
        values = values - values.mean(axis=0) if centred else values
        gram += values @ values.T
    return _roots(gram, size, units.shape)


def _roots(
    gram: Float[np.ndarray, "K K"], size: float, shape: tuple[int, int]
) -> Float[np.ndarray, "K"]:
    """Roots of the eigenvalues, largest first, with zeros below what their rounding allows."""
    values = np.linalg.eigvalsh(gram)[::-1]
    resolved = values > max(values[0] * _resolution(len(gram)) ** 2, _noise(size, shape) ** 2)
    return np.sqrt(np.where(resolved, values, 0.0))


def _resolution(short: int) -> float:
    """Singular values below this share of the largest are lost in the rounding of products."""
    return float(np.sqrt(short * np.finfo(float).eps))


def _noise(size: float, shape: tuple[int, int]) -> float:
    """Singular values that rounding alone gives a matrix whose squares add up to ``size``."""
    return float(max(shape) * np.finfo(float).eps * np.sqrt(size))
