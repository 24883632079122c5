"""SGD and gradient descent on ReLU networks of any depth, many runs at once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from dlnlib._checks import as_matrix, as_numbers, as_samples
from dlnlib._compiled import in_blocks
from dlnlib.sgd.relu_kernel import LANES, Data, Layers, sgd_steps
from dlnlib.sgd.relu_network import ReLUNetwork
from dlnlib.sgd.runs import Runs, as_batch, as_iterations, as_order, as_step_sizes, streams

_LIMIT = 1e6  # residuals this far above the labels never come back
_CHUNK = 2**16  # samples drawn at a time


@dataclass(frozen=True, eq=False)
class ReLURuns(Runs):
    """Runs of networks of one shape, recorded at the same iterations.

    Parameters
    ----------
    network : ReLUNetwork
    t : (T,) ndarray
        Iterations done at each record.
    theta : (runs, T, P) ndarray
        Parameters; NaN at every record after a divergence.
    diverged_at : (runs,) ndarray of int
        Iteration whose residual left all bounds, or -1 for a run that stayed.
    """

    network: ReLUNetwork
    t: Int[np.ndarray, "T"]
    theta: Float[np.ndarray, "runs T P"]
    diverged_at: Int[np.ndarray, "runs"]

    _common = ("network", "t")

    def fitted(
        self, x: ArrayLike, y: ArrayLike, *, unexplained: float = 0.1
    ) -> Bool[np.ndarray, "runs"]:
        """True for the runs that stayed and that fit the samples at the last record.

        Parameters
        ----------
        x, y : array_like (n, in) and (n,)
            Samples.
        unexplained : float
            Largest share of the variance of y that the loss of a fit may leave.

        Returns
        -------
        (runs,) ndarray of bool
        """
        fits = ~self.diverged
        loss = self.network.loss(self.theta[fits, -1], x, y)
        fits[fits] = loss <= unexplained * np.var(y)
        return fits


def train_relu(
    network: ReLUNetwork,
    start: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    lr: ArrayLike,
    *,
    batch: int | None = 1,
    rng: np.random.Generator | None = None,
    order: ArrayLike | None = None,
    record: ArrayLike | None = None,
) -> ReLURuns:
    """Gradient descent or SGD on the mean square, in several independent runs.

    The sums have a fixed order: the same samples give the same bits on every machine.

    Parameters
    ----------
    network : ReLUNetwork
    start : (P,) or (runs, P) array_like
        Parameters of each run at the start.
    x, y : array_like (n, in) and (n,)
        Training samples.
    lr : (steps,) array_like
        Step size of each iteration, such as `constant` or `step_decay` make them.
    batch : int or None
        Samples per iteration, drawn uniformly with replacement; None for all n (gradient descent).
    rng : numpy.random.Generator, optional
        Needed for batches; each run draws from its own child, whatever the number of runs.
    order : (steps,) or (runs, steps) array_like of int, optional
        The sample of each iteration, instead of ``batch`` and ``rng``.
    record : (T,) array_like of int, optional
        Numbers of iterations after which the parameters are kept; by default the first and last.

    Returns
    -------
    ReLURuns

    Examples
    --------
    >>> x, y = [[-1.0], [0.0], [1.0]], [1.0, 0.0, 1.0]
    >>> network = ReLUNetwork((1, 2, 1), biases=False)
    >>> start = network.pack([[[0.5], [-0.5]], [[0.5, 0.5]]])
    >>> runs = train_relu(network, start, x, y, [0.1] * 200, batch=None)
    >>> network.predict(runs.theta[0, -1], x).round(3).tolist(), runs.fitted(x, y).tolist()
    ([1.0, 0.0, 1.0], [True])
    """
    x, y = as_samples(as_matrix("x", x, (None, network.widths[0])), y)
    sizes = as_step_sizes(lr)
    start = as_matrix(
        "start", np.atleast_2d(as_numbers("start", start)), (None, network.n_parameters)
    )
    if order is None:
        draws = _draws(len(start), len(x), batch, rng)
    else:
        rows = as_order(order, len(start), sizes.size, len(x))
        draws = [lambda first, last, row=row: row[first:last, None] for row in rows]
    record = as_iterations(record, sizes.size)
    theta, diverged_at = _Training(network, x, y, sizes, start, draws).follow(record)
    return ReLURuns(network, record, theta, diverged_at)


@dataclass(frozen=True, eq=False)
class _Training:
    """Runs from given starts, in groups of eight that move together."""

    network: ReLUNetwork
    x: Float[np.ndarray, "n _"]
    y: Float[np.ndarray, "n"]
    lr: Float[np.ndarray, "steps"]
    start: Float[np.ndarray, "runs P"]
    draws: list

    def follow(
        self, record: Int[np.ndarray, "T"]
    ) -> tuple[Float[np.ndarray, "runs T P"], Int[np.ndarray, "runs"]]:
        """Parameters at the records, and iterations of divergence."""
        runs, size = self.start.shape
        theta = np.full((runs, record.size, size), np.nan)
        diverged_at = np.full(runs, -1)

        def work(groups: Iterator[slice]) -> None:
            for group in groups:
                some = slice(group.start * LANES, group.stop * LANES)
                one = replace(self, start=self.start[some], draws=self.draws[some])
                one._follow_group(record, theta[some], diverged_at[some])

        in_blocks(work, -(-runs // LANES), self.lr.size * size, 1)
        return theta, diverged_at

    def _follow_group(self, record: np.ndarray, kept: np.ndarray, diverged_at: np.ndarray) -> None:
        runs, stopped, last = len(self.start), np.full(LANES, -1), 0
        theta = np.zeros((self.network.n_parameters, LANES))
        theta[:, :runs] = self.start.T
        for row, goal in enumerate(record.tolist()):
            while last < goal:
                last = self._advance(theta, last, goal, stopped)
            alive = stopped[:runs] < 0
            kept[alive, row] = theta.T[:runs][alive]
        diverged_at[:] = stopped[:runs]

    def _advance(self, theta: np.ndarray, first: int, goal: int, stopped: np.ndarray) -> int:
        """Train in place from one iteration to the goal or less far; the iteration reached."""
        network, runs = self.network, len(self.start)
        last = min(goal, first + max(1, _CHUNK // self.draws[0](0, 0).shape[1]))
        chosen = [draw(first, last) for draw in self.draws]
        order = np.zeros((*chosen[0].shape, LANES), dtype=np.int64)
        order[..., :runs] = np.stack(chosen, axis=-1)
        at = np.cumsum(network.blocks) - network.blocks
        layers = Layers(np.array(network.widths), at, np.array(network.biases))
        before, steps = stopped < 0, (order, self.lr[first:last])
        sgd_steps(theta, layers, Data(self.x, self.y, _LIMIT), steps, stopped)
        stopped[before & (stopped >= 0)] += first
        return last


def _draws(runs, n, batch, rng) -> list:
    """For each run, a function from first and last iteration to the samples (last - first, B)."""
    if as_batch(batch) is None:
        every = np.arange(n)
        return [lambda first, last: np.broadcast_to(every, (last - first, n))] * runs
    return [
        lambda first, last, stream=stream: stream.integers(n, size=(last - first, batch))
        for stream in streams(rng, runs)
    ]
