"""Many runs of a diagonal linear network: their start, their threads and what they leave behind."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from dlnlib._checks import as_count, as_matrix, as_samples, as_vector
from dlnlib._runs import Runs

__all__ = ["Advance", "DiagonalRuns", "Start", "follow_runs"]

_LIMIT = 1e8  # residuals this far above the labels never come back: steps then exceed 1 by far

# Moves (u, v) in place from one iteration to another; -1, or how many iterations it lasted.
Advance = Callable[[int, int, np.ndarray, np.ndarray], int]


@dataclass(frozen=True, eq=False)
class DiagonalRuns(Runs):
    """Runs of one diagonal linear network, recorded at the same iterations.

    Parameters
    ----------
    t : (T,) ndarray
        Iterations done at each record; for gradient flow, times.
    u, v : (runs, T, d) ndarray
        Weights; NaN at every record after a divergence.
    diverged_at : (runs,) ndarray of int
        Iteration whose residual left all bounds, or -1 for a run that stayed.
    alpha_squared, shift : (runs, d) ndarray or None
        If tracked: the effective initialisation ``|u0^2 - v0^2| prod |1 - s^2|`` and the shift of
        the start sum ``(log|(1 - s) / (1 + s)| / 2 + s) + z0``, with s = lr * gradient in beta and
        ``z0 = log|(u0 + v0) / (u0 - v0)| / 2``; these are the arguments of `implicit_bias`.
    """

    t: Float[np.ndarray, "T"] | Int[np.ndarray, "T"]
    u: Float[np.ndarray, "runs T d"]
    v: Float[np.ndarray, "runs T d"]
    diverged_at: Int[np.ndarray, "runs"]
    alpha_squared: Float[np.ndarray, "runs d"] | None = None
    shift: Float[np.ndarray, "runs d"] | None = None

    @property
    def beta(self) -> Float[np.ndarray, "runs T d"]:
        """Linear predictors u v, of shape (runs, T, d)."""
        return self.u * self.v

    def loss(self, x: ArrayLike, y: ArrayLike) -> Float[np.ndarray, "runs T"]:
        """Loss ``|X beta - y|^2 / (2 n)`` on samples x (n, d) and y (n,); NaN once diverged."""
        inputs, labels = as_samples(as_matrix("x", x, (None, self.u.shape[-1])), y)
        # One run at a time: the residuals of all would not fit in memory.
        return np.array(
            [((b @ inputs.T - labels) ** 2).sum(axis=-1) / (2 * labels.size) for b in self.beta]
        ).reshape(self.u.shape[:2])


@dataclass(frozen=True, eq=False)
class Start:
    """Data and initial weights, with columns of zeros up to a multiple of eight."""

    x: Float[np.ndarray, "n D"]
    y: Float[np.ndarray, "n"]
    u: Float[np.ndarray, "D"]
    v: Float[np.ndarray, "D"]
    columns: int
    limit: float

    @classmethod
    def of(cls, x: ArrayLike, y: ArrayLike, u0: ArrayLike, v0: ArrayLike) -> "Start":
        """Check and pad."""
        inputs, labels = as_samples(x, y)
        rows, columns = inputs.shape
        weights = [as_vector(name, value) for name, value in (("u0", u0), ("v0", v0))]
        for name, weight in zip(("u0", "v0"), weights, strict=True):
            if weight.size not in (1, columns):
                raise ValueError(
                    f"{name} must be one number or one per column of x: got {weight.size} numbers "
                    f"for {columns} columns"
                )
        padded = np.zeros((rows + 2, -(-columns // 8) * 8))
        padded[0, :columns], padded[1, :columns] = weights
        padded[2:, :columns] = inputs
        limit = _LIMIT * max(1.0, float(np.abs(labels).max()))
        return cls(padded[2:].copy(), labels, padded[0], padded[1], columns, limit)


def follow_runs(
    start: Start, begin: Callable[[Any], Advance], each: list, record: np.ndarray, chunk: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights at the records and iterations of divergence, runs shared among the processors.

    ``begin`` makes the advance of one run from its entry of ``each``; ``chunk`` bounds the
    iterations of one call, and with them the random numbers held at a time.
    """
    shape = (len(each), record.size, start.u.size)
    u, v, failed = np.full(shape, np.nan), np.full(shape, np.nan), np.full(len(each), -1)

    def follow(run: int) -> None:
        advance, weights = begin(each[run]), (start.u.copy(), start.v.copy())
        row, last = 0, 0
        for stop in _stops(record, chunk):
            lasted = advance(last, stop, *weights) if stop > last else -1
            if lasted >= 0:
                failed[run] = last + lasted
                return
            if stop == record[row]:
                (u[run, row], v[run, row]), row = weights, row + 1
            last = stop

    threads = min(as_count("runs", len(each), 1, "each is one training"), os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(follow, range(len(each))))
    return u[..., : start.columns], v[..., : start.columns], failed


def _stops(record: np.ndarray, chunk: int) -> Iterator[int]:
    last = 0
    for goal in record.tolist():
        yield from range(last + chunk, goal, chunk)
        yield goal
        last = goal
