"""Activations or weights from any library as a matrix: samples are rows, units are columns.

Arrays keep the type and the memory in which they come; they are read block by block, in double
precision.  Nothing here imports the library whose tensors it reads.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from dlnlib._checks import as_real

_BLOCK = 2**20  # numbers read at a time: 8 MB in double precision
_LARGEST = 1e70  # beyond, sums of squares leave the range of floating-point numbers

Features = ArrayLike | Iterator[ArrayLike]  # what users give
Units = np.ndarray | Iterator[np.ndarray]  # what is read


def as_units(name: str, value: object) -> Units:
    """A matrix (n, units), or an iterator of such blocks of rows.

    An iterator, such as a generator or ``iter([...])``, stands for rows that do not fit into memory
    together; everything else is one array, whose axes after the first are one axis of units.
    """
    if isinstance(value, Iterator):
        return (_as_matrix(f"a block of {name}", block) for block in value)
    return _as_matrix(name, value)


def _as_matrix(name: str, value: object) -> np.ndarray:
    array = as_real(name, _as_array(name, value))
    if array.ndim < 2:
        raise ValueError(
            f"{name} must have a row for each sample and a column for each unit: "
            f"got shape {array.shape}; one unit is a column, {name}[:, None], and one sample a row"
        )
    if array.size == 0:
        raise ValueError(
            f"{name} must have at least one sample and one unit: got shape {array.shape}"
        )
    return array.reshape(len(array), -1)


def _as_array(name: str, value: object) -> object:
    """What `numpy.asarray` takes; a tensor on the CPU is detached and widened first."""
    if isinstance(value, list | tuple) and any(callable(getattr(v, "detach", 0)) for v in value):
        raise ValueError(
            f"{name} must be one array: got a list of tensors; stack them by torch.stack, or give "
            f"blocks of rows as an iterator, iter({name})"
        )
    if not callable(getattr(value, "detach", None)):
        return value
    where = str(getattr(value, "device", "cpu"))
    if where.split(":")[0] != "cpu":
        raise ValueError(f"{name} is a tensor on {where}: bring it to the CPU, {name}.cpu()")
    if "strided" not in str(getattr(value, "layout", "strided")):
        raise ValueError(f"{name} is a sparse tensor: give its to_dense()")
    value = value.detach()
    if str(getattr(value, "dtype", "")).rpartition(".")[2].startswith(("bfloat", "float8")):
        value = value.float()  # NumPy has no such type
    try:
        return value.numpy()
    except Exception as error:  # whatever else a tensor may be: quantised, conjugated, ...
        raise ValueError(f"{name} is a tensor without plain numbers: {error}") from None


def with_width(name: str, units: Units) -> tuple[int, Units]:
    """Number of units, and the same matrix: an iterator gives its first block to tell."""
    if isinstance(units, np.ndarray):
        return units.shape[1], units
    first = next(units, None)
    if first is None:
        raise ValueError(f"{name} must have at least one sample and one unit: got no block")
    return first.shape[1], chain([first], units)


def blocks_of(name: str, units: Units) -> Iterator[Float[np.ndarray, "b m"]]:
    """Blocks of rows in double precision, finite, and all with the same units."""
    width = None
    for block in _pieces(units):
        if width not in (None, block.shape[1]):
            raise ValueError(
                f"blocks of {name} must have the same units: got {width} and {block.shape[1]}"
            )
        width = block.shape[1]
        yield as_readable(name, block)
    if width is None:
        raise ValueError(f"{name} must have at least one sample and one unit: got no block")


def _pieces(units: Units) -> Iterator[np.ndarray]:
    for part in [units] if isinstance(units, np.ndarray) else units:
        rows = max(1, _BLOCK // part.shape[1])
        for first in range(0, len(part), rows):
            yield part[first : first + rows]


def as_readable(name: str, part: np.ndarray) -> Float[np.ndarray, "b m"]:
    """A part of the rows or columns in double precision, if it is finite."""
    values = np.asarray(part, dtype=float)
    if not np.isfinite(values).all():
        bad = ~np.isfinite(values)
        raise ValueError(
            f"{name} contains NaN or infinity, in {bad.any(axis=0).sum()} of {values.shape[1]} "
            f"units and {bad.any(axis=1).sum()} of {len(values)} samples that were read together: "
            "look for the step at which training diverged, or leave these samples out"
        )
    return values


def _check_size(name: str, largest: float) -> None:
    if not 1 / _LARGEST < (largest or 1.0) < _LARGEST:
        raise ValueError(
            f"{name} has a largest entry of {largest:g}: its powers leave the range of "
            f"floating-point numbers; choose a unit, for example divide {name} by that number"
        )


@dataclass
class Survey:
    """What one reading of all blocks finds: their sizes and signs, and the zeros of each unit."""

    samples: int
    nonzeros: Int[np.ndarray, "m"]
    least: float
    largest: float


def survey(name: str, units: Units, *visitors: Callable[[np.ndarray], None]) -> Survey:
    """Read all blocks once, and show each to the visitors."""
    samples, nonzeros, least, largest = 0, 0, np.inf, 0.0
    for block in blocks_of(name, units):
        samples += len(block)
        nonzeros = nonzeros + np.count_nonzero(block, axis=0)
        least, largest = min(least, block.min()), max(largest, np.abs(block).max())
        for visitor in visitors:
            visitor(block)
    _check_size(name, largest)
    return Survey(samples, nonzeros, float(least), float(largest))


def row_norms(block: Float[np.ndarray, "b m"]) -> Float[np.ndarray, "b 1"]:
    """Norms of the samples over all units, with 1 for a sample on which no unit is active."""
    norms = np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
    return np.where(norms > 0, norms, 1.0)
