"""Diagonal linear networks: gradient flow, gradient descent and SGD, many runs at once."""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from dlnlib._checks import (
    as_amount,
    as_common,
    as_count,
    as_matrix,
    as_samples,
    as_times,
    as_vector,
    in_range,
)
from dlnlib.sgd.diagonal_kernel import Data, Drawn, batch_steps, single_steps
from dlnlib.sgd.runs import Runs, as_batch, as_iterations, as_order, as_step_sizes, streams

_EVALUATIONS = 200_000  # of the gradient in one flow: seconds
_CHUNK = 2**16  # random numbers drawn at a time
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

    Examples
    --------
    >>> x, y = [[1.0, 0.0], [0.0, 2.0]], [1.0, 1.0]
    >>> runs = train_diagonal(x, y, [0.1] * 400, runs=3, rng=np.random.default_rng(0))
    >>> runs.beta.shape, runs.loss(x, y)[:, -1].round(3).tolist(), len(runs.survivors().u)
    ((3, 2, 2), [0.0, 0.0, 0.0], 3)
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

    def data(self, *, whole: bool) -> Data:
        """The samples as the kernels take them; ``whole`` if they are used all at once."""
        columns = np.ascontiguousarray(self.x.T) if whole else np.empty((0, 0))
        return Data(self.x, columns, self.y, self.limit)


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


def train_diagonal(
    x: ArrayLike,
    y: ArrayLike,
    lr: ArrayLike,
    *,
    u0: ArrayLike = 0.1,
    v0: ArrayLike = 0.0,
    batch: int | None = 1,
    label_noise: float = 0.0,
    runs: int = 1,
    rng: np.random.Generator | None = None,
    order: ArrayLike | None = None,
    record: ArrayLike | None = None,
    track: bool = False,
) -> DiagonalRuns:
    """Gradient descent or SGD on ``|X (u v) - y|^2 / (2 n)``, in several independent runs.

    The sums have a fixed order: the same random streams give the same bits on every machine.

    Parameters
    ----------
    x, y : array_like (n, d) and (n,)
        Training samples.
    lr : (steps,) array_like
        Step size of each iteration, such as `constant` or `step_decay` make them.
    u0, v0 : float or (d,) array_like
        Initial weights.
    batch : int or None
        Samples per iteration, drawn uniformly with replacement; None for all n (gradient descent).
    label_noise : float
        Standard deviation of Gaussian noise added afresh to each label that is used.
    runs : int
        Number of runs; each draws from its own child of ``rng``, whatever the number of runs.
    rng : numpy.random.Generator, optional
        Needed for batches or label noise.
    order : (steps,) or (runs, steps) array_like of int, optional
        The sample of each iteration, instead of ``batch``; ``rng`` then draws label noise alone.
    record : (T,) array_like of int, optional
        Numbers of iterations after which the weights are kept; by default the first and the last.
    track : bool
        Also measure the effective initialisation and the shift of the start, see `DiagonalRuns`.
        The shift is infinite where u0 = v0 or u0 = -v0, or once a step is exactly 1 or -1.

    Returns
    -------
    DiagonalRuns

    Examples
    --------
    >>> x, y = [[1.0, 2.0]], [1.0]
    >>> runs = train_diagonal(x, y, [0.1] * 500, batch=None)
    >>> runs.beta[0, -1].round(4).tolist()
    [0.0382, 0.4809]
    """
    start, sizes = Start.of(x, y, u0, v0), as_step_sizes(lr)
    noise, iterations = as_amount("label_noise", label_noise), as_iterations(record, sizes.size)
    batch = as_batch(batch) if order is None else 1
    drawn = streams(rng, runs, needed=noise > 0 or (batch is not None and order is None))
    given = [None] * runs if order is None else as_order(order, runs, sizes.size, start.y.size)
    sums = np.zeros((len(drawn), 2, start.u.size if track else 0))
    begin = partial(_descent, start, sizes, batch, noise)
    each = list(zip(drawn, given, sums, strict=True))
    chunk = max(1, _CHUNK // (batch or start.y.size))
    result = DiagonalRuns(iterations, *follow_runs(start, begin, each, iterations, chunk))
    return _tracked(result, start, sums) if track else result


def _descent(start, lr, batch, noise, own) -> Advance:
    """Advance of one run, with a stream, an order and sums of logarithms of its own."""
    stream, order, sums = own
    data = start.data(whole=batch is None)
    every, sums = np.arange(start.y.size)[None, :], tuple(sums)
    picks, labels = (None, None) if stream is None else stream.spawn(2)

    def samples(first, last) -> np.ndarray:
        if batch is None:
            return every
        if order is not None:
            return order[first:last, None]
        return picks.integers(start.y.size, size=(last - first, batch))

    def advance(first, last, u, v) -> int:
        shape = (last - first, batch or start.y.size)
        errors = noise * labels.standard_normal(shape) if noise else np.empty((0, 0))
        drawn, sizes = Drawn(samples(first, last), errors), lr[first:last]
        if batch == 1 and not sums[0].size:
            return single_steps(data, drawn, sizes, (u, v))
        return batch_steps(data, drawn, sizes, (u, v), sums)

    return advance


def _tracked(result, start, sums) -> DiagonalRuns:
    """The measured effective initialisation and shift, one row per run."""
    plus, minus = (np.abs(w)[: start.columns] for w in (start.u + start.v, start.u - start.v))
    gain, shift = sums[:, 0, : start.columns], sums[:, 1, : start.columns]
    with np.errstate(divide="ignore", invalid="ignore"):
        initial = (np.log(plus) - np.log(minus)) / 2
    return replace(result, alpha_squared=plus * minus * np.exp(gain), shift=shift + initial)


@in_range
def diagonal_flow(
    t: ArrayLike, x: ArrayLike, y: ArrayLike, *, u0: ArrayLike = 0.1, v0: ArrayLike = 0.0
) -> DiagonalRuns:
    r"""Gradient flow, integrated in z = -(integral of the gradient in beta).

    In z the weights are u + v = (u0 + v0) e^z and u - v = (u0 - v0) e^-z, so that u^2 - v^2 is
    kept exactly, and dz/dt = -X^T (X beta - y) / n.

    Parameters
    ----------
    t : (T,) array_like
        Times; one SGD step of size eta lasts eta.
    x, y : array_like (n, d) and (n,)
        Training samples.
    u0, v0 : float or (d,) array_like
        Initial weights.

    Returns
    -------
    DiagonalRuns
        With one run, and the times as ``t``.

    Raises
    ------
    RuntimeError
        If the integrator gives up.

    Examples
    --------
    >>> flow = diagonal_flow([0.0, 10.0, 50.0], [[1.0, 2.0]], [1.0])
    >>> flow.beta[0].round(3).tolist()
    [[0.0, 0.0], [0.035, 0.483], [0.035, 0.483]]
    """
    times, start = as_times(t), Start.of(x, y, u0, v0)
    n, d = start.y.size, start.columns
    inputs, plus, minus = start.x[:, :d], (start.u + start.v)[:d], (start.u - start.v)[:d]

    def weights(z):
        grown, shrunk = plus * np.exp(z), minus * np.exp(-z)
        return (grown + shrunk) / 2, (grown - shrunk) / 2

    turns = itertools.count()

    def velocity(_, z):
        if next(turns) > _EVALUATIONS:
            raise ValueError("gradient flow takes too many steps up to the last t: end it earlier")
        u, v = weights(z)
        return (start.y - inputs @ (u * v)) @ inputs / n

    asked, where = np.unique(times, return_inverse=True)
    path = solve_ivp(
        velocity, (0.0, times[-1] or 1.0), np.zeros(d), "DOP853", asked, rtol=1e-9, atol=1e-12
    )
    if not path.success:
        raise RuntimeError(f"gradient flow was not integrated: {path.message}; end it earlier")
    u, v = weights(path.y.T[where])
    return DiagonalRuns(times, u[None], v[None], np.array([-1]))


@in_range
def diagonal_jacobian(x: ArrayLike, u: ArrayLike, v: ArrayLike) -> Float[np.ndarray, "... n two_d"]:
    """Jacobian of the outputs in the weights (u, v): one row [x v, x u] per sample.

    Parameters
    ----------
    x : (n, d) array_like
        Inputs.
    u, v : (..., d) array_like
        Weights.

    Returns
    -------
    (..., n, 2 d) ndarray

    Examples
    --------
    >>> diagonal_jacobian([[1.0, 2.0]], [3.0, 4.0], [5.0, 6.0]).tolist()
    [[5.0, 12.0, 3.0, 8.0]]
    """
    inputs = as_matrix("x", x)
    first, second = as_common(u=u, v=v)
    if first.shape[-1:] != inputs.shape[1:]:
        raise ValueError(
            f"u and v need one weight per column of x: got {first.shape[-1:]} for "
            f"{inputs.shape[1]} columns"
        )
    return np.concatenate([inputs * second[..., None, :], inputs * first[..., None, :]], axis=-1)
