r"""Diagonal linear networks beta = u v: gradient flow, gradient descent and SGD, many runs at once.

The loss is ``|X beta - y|^2 / (2 n)``, and a step with step size eta and gradient g in beta is::

    u <- u - eta g v,   v <- v - eta g u,   so that   u^2 - v^2 <- (u^2 - v^2) (1 - eta^2 g^2),

entry by entry.  Gradient flow keeps u^2 - v^2; steps of finite size shrink it, and with it the
initialisation that decides which interpolator is found (see `implicit_bias`).

References
----------
Woodworth et al., COLT 2020; Pesme, Pillaud-Vivien & Flammarion, NeurIPS 2021; Even, Pesme,
Gunasekar & Flammarion, NeurIPS 2023; the settings of the experiments are those of Andriushchenko,
Varre, Pillaud-Vivien & Flammarion, ICML 2023.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from dlnlib._checks import as_amount, as_matrix, as_times
from dlnlib._diagonal_runs import Advance, DiagonalRuns, Start, follow_runs
from dlnlib._diagonal_steps import batch_steps, single_steps
from dlnlib._implicit_bias import basis_pursuit, hyperbolic_entropy, implicit_bias
from dlnlib._runs import as_batch, as_iterations, as_step_sizes, streams
from dlnlib._sparse_task import SparseTask, sparse_regression
from dlnlib._stability import stability_threshold

__all__ = [
    "DiagonalRuns",
    "SparseTask",
    "basis_pursuit",
    "diagonal_flow",
    "diagonal_jacobian",
    "hyperbolic_entropy",
    "implicit_bias",
    "sparse_regression",
    "stability_threshold",
    "train_diagonal",
]

_CHUNK = 2**16  # random numbers drawn at a time


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
        Step size of each iteration, see `dlnlib.schedules`.
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
    record : (T,) array_like of int, optional
        Numbers of iterations after which the weights are kept; by default the first and the last.
    track : bool
        Also measure the effective initialisation and the shift of the start, see `DiagonalRuns`.
        The shift is infinite where u0 = v0 or u0 = -v0, or once a step is exactly 1 or -1.

    Returns
    -------
    DiagonalRuns

    Raises
    ------
    ValueError
        If an input has the wrong shape or range, or random numbers are needed and ``rng`` is None.

    Examples
    --------
    >>> x, y = [[1.0, 2.0]], [1.0]
    >>> runs = train_diagonal(x, y, [0.1] * 500, batch=None)
    >>> runs.beta[0, -1].round(4).tolist()
    [0.0382, 0.4809]
    """
    start, sizes = Start.of(x, y, u0, v0), as_step_sizes(lr)
    noise = as_amount("label_noise", label_noise)
    batch, iterations = as_batch(batch), as_iterations(record, sizes.size)
    drawn = streams(rng, runs, needed=batch is not None or noise > 0)
    sums = np.zeros((len(drawn), 2, start.u.size if track else 0))
    begin = partial(_descent, start, sizes, batch, noise)
    each = list(zip(drawn, sums, strict=True))
    chunk = max(1, _CHUNK // (batch or start.y.size))
    result = DiagonalRuns(iterations, *follow_runs(start, begin, each, iterations, chunk))
    return _tracked(result, start, sums) if track else result


def _descent(start, lr, batch, noise, own) -> Advance:
    """Advance of one run, with a stream and sums of logarithms of its own."""
    stream, sums = own
    rows = np.arange(start.y.size)[None, :]
    columns = np.empty((0, 0)) if batch else np.ascontiguousarray(start.x.T)
    picks, labels = (None, None) if stream is None else stream.spawn(2)

    def advance(first, last, u, v) -> int:
        shape = (last - first, batch or start.y.size)
        chosen = rows if batch is None else picks.integers(start.y.size, size=shape)
        errors = noise * labels.standard_normal(shape) if noise else np.empty((0, 0))
        given = (start.y, chosen, errors, lr[first:last], u, v, start.limit)
        if batch == 1 and not sums.size:
            return single_steps(start.x, *given)
        return batch_steps(start.x, columns, *given, *sums)

    return advance


def _tracked(result, start, sums) -> DiagonalRuns:
    """The measured effective initialisation and shift, one row per run."""
    plus, minus = (np.abs(w)[: start.columns] for w in (start.u + start.v, start.u - start.v))
    gain, shift = sums[:, 0, : start.columns], sums[:, 1, : start.columns]
    with np.errstate(divide="ignore", invalid="ignore"):
        initial = (np.log(plus) - np.log(minus)) / 2
    return replace(result, alpha_squared=plus * minus * np.exp(gain), shift=shift + initial)


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
    ValueError
        If an input has the wrong shape, or the integration fails.
    """
    times, start = as_times(t), Start.of(x, y, u0, v0)
    n, d = start.y.size, start.columns
    inputs, plus, minus = start.x[:, :d], (start.u + start.v)[:d], (start.u - start.v)[:d]

    def weights(z):
        grown, shrunk = plus * np.exp(z), minus * np.exp(-z)
        return (grown + shrunk) / 2, (grown - shrunk) / 2

    def velocity(_, z):
        u, v = weights(z)
        return (start.y - inputs @ (u * v)) @ inputs / n

    path = solve_ivp(
        velocity, (0.0, times[-1]), np.zeros(d), "DOP853", times, rtol=1e-9, atol=1e-12
    )
    if not path.success:
        raise ValueError(f"gradient flow was not integrated: {path.message}; end it earlier")
    u, v = weights(path.y.T)
    return DiagonalRuns(times, u[None], v[None], np.array([-1]))


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

    Raises
    ------
    ValueError
        If the shapes do not match.
    """
    inputs = as_matrix("x", x)
    first, second = np.broadcast_arrays(np.asarray(u, dtype=float), np.asarray(v, dtype=float))
    if first.shape[-1:] != inputs.shape[1:]:
        raise ValueError(
            f"u and v need one weight per column of x: got {first.shape[-1:]} for "
            f"{inputs.shape[1]} columns"
        )
    return np.concatenate([inputs * second[..., None, :], inputs * first[..., None, :]], axis=-1)
