r"""Stochastic differential equations that model SGD, for diagonal linear networks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import (
    as_amount,
    as_choice,
    as_count,
    as_matrix,
    as_nonnegative,
    as_numbers,
    as_scalar,
    as_vector,
    in_range,
)
from dlnlib.sgd.diagonal import Advance, DiagonalRuns, Start, follow_runs
from dlnlib.sgd.diagonal_kernel import Diffusion, diffusion_steps
from dlnlib.sgd.runs import as_batch, as_iterations, as_step_sizes, streams

_KINDS = {"centred": 0, "diagonal": 1, "isotropic": 2}
_CHUNK = 2**18  # Brownian increments held at a time


@in_range
def gradient_covariance(
    jacobian: ArrayLike,
    residuals: ArrayLike,
    *,
    covariance: str = "centred",
    batch: int | None = 1,
    label_noise: float = 0.0,
    level: float | None = None,
) -> Float[np.ndarray, "p p"]:
    """Covariance of the stochastic gradient, exact or modelled.

    Parameters
    ----------
    jacobian : (n, p) array_like
        Gradient of each output in the parameters.
    residuals : (n,) array_like
        Outputs less labels.
    covariance : str
        "centred", "diagonal" or "isotropic", see below.
    batch : int or None
        Samples per step, drawn with replacement; None for all of them.
    label_noise : float
        Standard deviation q of fresh noise on the labels.
    level : float, optional
        Loss delta of the isotropic kind, instead of that of the residuals.

    Returns
    -------
    (p, p) ndarray
        Of the gradient of ``|r|^2 / (2 n)``; for a loss ``|r|^2 / n`` it is four times as large.

    Notes
    -----
    One step of SGD with step size eta lasts the time eta, and the model is::

        d theta = -grad L dt + sqrt(eta Sigma(theta)) dB,

    with Sigma the covariance of the stochastic gradient.  For ``L = |h - y|^2 / (2 n)``, with phi
    the Jacobian of the outputs h, r = h - y, batches of B drawn with replacement and label noise of
    standard deviation q, it is one of::

        centred    Sigma = [phi^T diag(r^2 + q^2) phi / n - g g^T] / B,
        diagonal   Sigma = phi^T diag(r^2 + q^2) phi / (n B),
        isotropic  Sigma = (2 delta + q^2) phi^T phi / (n B),

    with g = phi^T r / n and a level ``delta = |r|^2 / (2 n)``, or one given.
    The first is exact, the second keeps the second moment, the third spreads the residuals evenly:
    at a loss level delta the noise is sqrt(2 eta delta / n) phi^T dB, where the model of
    Andriushchenko et al. leaves the factor 2 / n open.  On all samples at once only the noise of
    the labels is left, Sigma = q^2 phi^T phi / n^2.

    Examples
    --------
    >>> gradient_covariance([[1.0, 0.0], [0.0, 1.0]], [1.0, 2.0]).tolist()
    [[0.25, -0.5], [-0.5, 1.0]]
    """
    phi, r = as_matrix("jacobian", jacobian), as_vector("residuals", residuals)
    if r.size != len(phi):
        raise ValueError(f"jacobian needs one row per residual: got {len(phi)} for {r.size}")
    noise, kind = as_amount("label_noise", label_noise), _kind(covariance)
    if as_batch(batch) is None:
        return noise**2 * phi.T @ phi / r.size**2
    loss = np.mean(r**2) / 2 if level is None else as_amount("level", level)
    squares = np.full(r.size, 2 * loss) if kind == 2 else r**2
    second = (phi.T * (squares + noise**2)) @ phi / r.size
    mean = phi.T @ r / r.size if kind == 0 else np.zeros(phi.shape[1])
    return (second - np.outer(mean, mean)) / batch


def sde_diagonal(
    x: ArrayLike,
    y: ArrayLike,
    lr: ArrayLike,
    *,
    rng: np.random.Generator | None = None,
    runs: int = 1,
    substeps: int = 10,
    brownian: ArrayLike | None = None,
    record: ArrayLike | None = None,
    **model: object,
) -> DiagonalRuns:
    """Euler-Maruyama runs of the model of SGD, for a diagonal network beta = u v.

    Parameters
    ----------
    x, y : array_like (n, d) and (n,)
        Training samples.
    lr : (steps,) array_like
        Step size of each iteration of SGD, which is also its time.
    rng : numpy.random.Generator, optional
        Needed unless ``brownian`` is given; each run draws from a child of its own.
    runs : int
        Number of runs.
    substeps : int
        Euler-Maruyama steps per iteration.
    brownian : (runs, steps, substeps, n) array_like, optional
        Increments to follow instead, so that finer steps can follow the same path: of one Brownian
        motion per sample, of variance lr / substeps.  The centred model with label noise needs 2 n
        of them.
    record : (T,) array_like of int, optional
        Iterations after which the weights are kept; by default the first and the last.
    **model
        u0, v0 (default 0.1 and 0), batch, label_noise and level as in `gradient_covariance` with
        a level per iteration (steps,); covariance, by default "diagonal"; and factor, by default 1,
        which multiplies the covariance.

    Returns
    -------
    DiagonalRuns

    Examples
    --------
    >>> x, y, rng = [[1.0, 0.0], [0.0, 2.0]], [1.0, 1.0], np.random.default_rng(0)
    >>> runs = sde_diagonal(x, y, [0.1] * 400, rng=rng, runs=3)
    >>> runs.beta.shape, runs.loss(x, y)[:, -1].round(3).tolist()
    ((3, 2, 2), [0.0, 0.0, 0.0])
    """
    given = _model(x, y, lr, **model)
    steps, iterations = given.lr.size, as_iterations(record, given.lr.size)
    if brownian is None:
        substeps = as_count("substeps", substeps, 1, "each iteration needs one")
        each, chunk = streams(rng, runs), max(1, _CHUNK // (substeps * given.width))
    else:
        each, chunk = list(_paths(brownian, steps, given.width)), steps
    root = np.sqrt(given.lr / substeps)[:, None, None]

    def own(source) -> Advance:
        def increments(first, last):
            if brownian is not None:
                return source[first:last]
            return root[first:last] * source.standard_normal((last - first, substeps, given.width))

        return given.advance(increments)

    return DiagonalRuns(iterations, *follow_runs(given.start, own, each, iterations, chunk))


def _paths(brownian: ArrayLike, steps: int, width: int) -> Float[np.ndarray, "runs steps S width"]:
    paths = np.ascontiguousarray(as_numbers("brownian", brownian))
    if paths.ndim != 4 or (paths.shape[1], paths.shape[3]) != (steps, width):
        raise ValueError(
            f"brownian must have shape (runs, {steps}, substeps, {width}): "
            f"got {paths.shape}; one increment per run, iteration, substep and sample"
        )
    return paths


@dataclass(frozen=True, eq=False)
class _Model:
    """A checked model: its start, and per iteration the step size, level and scale of the noise."""

    start: Start
    lr: Float[np.ndarray, "steps"]
    level: Float[np.ndarray, "..."]
    scale: Float[np.ndarray, "steps"]
    kind: int
    label: float
    width: int  # Brownian motions that drive it

    def advance(self, increments: Callable[[int, int], np.ndarray]) -> Advance:
        """One run, whose Brownian increments from one iteration to another are given."""
        data = self.start.data(whole=True)

        def move(first, last, u, v) -> int:
            lr, level, scale = (one[first:last] for one in (self.lr, self.level, self.scale))
            driven = Diffusion(increments(first, last), level, scale, self.kind, self.label)
            return diffusion_steps(data, driven, lr, (u, v))

        return move


def _model(
    x, y, lr, *, u0=0.1, v0=0, covariance="diagonal", batch=1, label_noise=0, level=None, factor=1
) -> _Model:
    start, lr, kind = Start.of(x, y, u0, v0), as_step_sizes(lr), _kind(covariance)
    label, levels = as_amount("label_noise", label_noise), np.empty(0)
    if level is not None:
        if kind != 2:
            raise ValueError(f'level is the loss of the "isotropic" kind: got {covariance!r}')
        levels = np.broadcast_to(as_nonnegative("level", level), lr.shape).copy()
    if as_batch(batch) is None:  # nothing is drawn but the noise of the labels
        kind, levels, batch = 2, np.zeros(lr.size), start.y.size
    factor = as_scalar("factor", factor, "leave it at 1 for the covariance of SGD")
    scale = np.sqrt(factor * lr / (start.y.size * batch))
    width = start.y.size * (2 if kind == 0 and label > 0 else 1)
    return _Model(start, lr, levels, scale, kind, label, width)


def _kind(covariance: str) -> int:
    return _KINDS[as_choice("covariance", covariance, _KINDS)]
