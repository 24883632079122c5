"""Sparse linear regression with Gaussian inputs, the same numbers on every machine."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dlnlib._checks import as_count

__all__ = ["SparseTask", "sparse_regression"]

_GRID = 2.0**32


@dataclass(frozen=True, eq=False)
class SparseTask:
    """Sparse linear regression: Gaussian inputs, noise-free labels y = X teacher.

    Parameters
    ----------
    x, y : (n, d) and (n,) ndarray
        Training samples.
    x_test, y_test : (q, d) and (q,) ndarray
        Held-out samples.
    teacher : (d,) ndarray
        Of unit norm, zero but on its first coordinates.
    """

    x: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, "n"]
    x_test: Float[np.ndarray, "q d"]
    y_test: Float[np.ndarray, "q"]
    teacher: Float[np.ndarray, "d"]


def sparse_regression(
    n: int, d: int, r: int, *, n_test: int = 1000, rng: np.random.Generator
) -> SparseTask:
    """Inputs N(0, I_d) and a teacher of unit norm that is positive on its first r coordinates.

    Parameters
    ----------
    n, d, r : int
        Training samples, inputs, non-zero coordinates of the teacher (``|N(0, 1)|``, then scaled).
    n_test : int
        Held-out samples.
    rng : numpy.random.Generator
        NumPy's older RandomState does as well; with seed 0 it draws the data of the public code.

    Returns
    -------
    SparseTask
        The same on every machine: the normal numbers are multiples of 2^-32, and labels and norm
        are summed in a fixed order.

    Raises
    ------
    ValueError
        If a number is below 1, or r exceeds d.
    """
    n, d, r, n_test = (
        as_count(name, value, 1, "it counts samples or coordinates")
        for name, value in (("n", n), ("d", d), ("r", r), ("n_test", n_test))
    )
    if r > d:
        raise ValueError(f"r must be at most d = {d}: got {r}; the teacher has d coordinates")
    # The last digits of normal numbers depend on the mathematical library of the machine.
    x, x_test, weights = (
        np.round(rng.standard_normal(shape) * _GRID) / _GRID for shape in ((n, d), (n_test, d), r)
    )
    teacher = np.zeros(d)
    teacher[:r] = np.abs(weights)
    teacher /= math.sqrt(math.fsum(teacher**2))
    y, y_test = (sum(inputs[:, j] * teacher[j] for j in range(r)) for inputs in (x, x_test))
    return SparseTask(x, y, x_test, y_test, teacher)
