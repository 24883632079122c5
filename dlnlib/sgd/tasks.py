"""What the networks are trained on: sparse regression, points on a line, students of a teacher."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import as_count
from dlnlib.sgd.relu_network import ReLUNetwork, gaussian_start
from dlnlib.sgd.schedules import constant, linear_warmup, sqrt_warmup, step_decay

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

    Examples
    --------
    >>> task = sparse_regression(40, 100, 5, rng=np.random.default_rng(0))
    >>> task.x.shape, task.x_test.shape, int((task.teacher > 0).sum())
    ((40, 100), (1000, 100), 5)
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


LINE = ReLUNetwork((1, 100, 1), (True, False))
TWO_LAYERS, TWO_LAYERS_TEACHER = ReLUNetwork((2, 20, 1), False), ReLUNetwork((2, 3, 1), False)
THREE_LAYERS, THREE_LAYERS_TEACHER = ReLUNetwork((5, 10, 10, 1)), ReLUNetwork((5, 2, 2, 1))
_POINTS = np.arange(-5.5, 6)[:, None] / 4 + 0.07
_HEIGHTS = [-2, 1.5, 0, 0, 2, 1, 0, -1, 0, 1, 2, -1]


@dataclass(frozen=True, eq=False)
class ReLUTask:
    """What a student network is trained on, and how.

    Parameters
    ----------
    network : ReLUNetwork
        The student.
    x, y : (n, in) and (n,) ndarray
        Training samples.
    x_test, y_test : (q, in) and (q,) ndarray
        Fresh samples, for the test loss and the Jacobian; ``y_test`` is None without a teacher.
    lr : dict of (steps,) ndarray
        Step sizes, by the share of the run in which they are large; "small" is constant.
    correlation : float
        Threshold of the feature sparsity coefficient in the public code.
    starts : callable
        From a generator and a number of runs to starts (runs, P).
    """

    network: ReLUNetwork
    x: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, "n"]
    x_test: Float[np.ndarray, "q d"]
    y_test: Float[np.ndarray, "q"] | None
    lr: dict[str, Float[np.ndarray, "steps"]]
    correlation: float
    starts: Callable[[np.random.Generator, int], Float[np.ndarray, "runs P"]]


def line_task(*, rng: np.random.Generator) -> ReLUTask:
    """Twelve points on a line, 100 units with biases, weights +-2.5, 4 N(0, 1) above them.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws 300 uniform test inputs.

    Returns
    -------
    ReLUTask
        The first share has no large step; both warm up linearly.

    Examples
    --------
    >>> task = line_task(rng=np.random.default_rng(0))
    >>> task.x.shape, task.network.widths, list(task.lr)
    ((12, 1), (1, 100, 1), ['2 %', '50 %'])
    """

    def starts(rng, runs):
        signs = rng.choice([-2.5, 2.5], size=(runs, 100))
        return np.hstack([signs, *(s * rng.standard_normal((runs, 100)) for s in (2.5, 4.0))])

    return line_from(rng.uniform(_POINTS[0], _POINTS[-1], (300, 1)), starts)


def line_from(x_test, starts) -> ReLUTask:
    """`line_task` with given test inputs and starts."""
    steps = 31_623
    lr = {
        name: linear_warmup(2e-4, steps, until=share, factor=400 * share, by=by)
        for name, share, by in (("2 %", 0.02, 2.5), ("50 %", 0.5, 3.0))
    }
    return ReLUTask(LINE, _POINTS, 0.345 + np.array(_HEIGHTS), x_test, None, lr, 0.999, starts)


def two_layer_task(*, rng: np.random.Generator) -> ReLUTask:
    """Fifteen points on a circle, a teacher of 3 units of norm 1, a student of 20, no biases.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the samples and the teacher.

    Returns
    -------
    ReLUTask

    Examples
    --------
    >>> task = two_layer_task(rng=np.random.default_rng(0))
    >>> task.x.shape, task.network.widths, list(task.lr)
    ((15, 2), (2, 20, 1), ['small', '10 %', '30 %', '50 %'])
    """
    x, x_test, w = (_sphere(rng.standard_normal(shape)) for shape in ((15, 2), (1000, 2), (3, 2)))
    teacher = TWO_LAYERS_TEACHER.pack([w, np.sign(rng.standard_normal((1, 3)))])
    y, y_test = (TWO_LAYERS_TEACHER.predict(teacher, inputs) for inputs in (x, x_test))
    return two_layers_on(x, y, x_test, y_test, _gaussian(TWO_LAYERS, [0.5, 0.0]))


def two_layers_on(x, y, x_test, y_test, starts) -> ReLUTask:
    """`two_layer_task` on given samples."""
    steps = 14_126
    lr = {"small": constant(0.13, steps)} | {
        f"{100 * share:.0f} %": step_decay(0.455, steps, at=share, by=by)
        for share, by in ((0.1, 2), (0.3, 4), (0.5, 5))
    }
    return ReLUTask(TWO_LAYERS, x, y, x_test, y_test, lr, 0.99, starts)


def three_layer_task(*, rng: np.random.Generator) -> ReLUTask:
    """Fifty points on a sphere in 5-D, a teacher of 2 + 2 units, a student of 10 + 10.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the samples and the teacher, which is drawn again until the variance of its labels
        lies within 0.25 and 1.25; the published one is 0.57, and most teachers are nearly dead.

    Returns
    -------
    ReLUTask

    Examples
    --------
    >>> task = three_layer_task(rng=np.random.default_rng(0))
    >>> task.x.shape, task.network.widths, list(task.lr)
    ((50, 5), (5, 10, 10, 1), ['small', '10 %', '30 %', '50 %'])
    """
    x, x_test = (_sphere(rng.standard_normal((samples, 5))) for samples in (50, 1000))
    y = np.zeros(50)
    while not 0.25 < y.var() < 1.25:
        teacher = gaussian_start(THREE_LAYERS_TEACHER, 1.0, rng=rng)[0]
        y = THREE_LAYERS_TEACHER.predict(teacher, x)
    y_test = THREE_LAYERS_TEACHER.predict(teacher, x_test)
    return three_layers_on(x, y, x_test, y_test, _gaussian(THREE_LAYERS, 0.8))


def three_layers_on(x, y, x_test, y_test, starts) -> ReLUTask:
    """`three_layer_task` on given samples."""
    steps = 10_001
    lr = {"small": constant(0.011, steps)} | {
        f"{100 * share:.0f} %": sqrt_warmup(0.04, steps, until=share, by=by)
        for share, by in ((0.1, 3.5), (0.3, 2.5), (0.5, 5))
    }
    return ReLUTask(THREE_LAYERS, x, y, x_test, y_test, lr, 0.99, starts)


def _gaussian(network: ReLUNetwork, scales: ArrayLike) -> Callable:
    return lambda rng, runs: gaussian_start(network, scales, rng=rng, runs=runs)


def _sphere(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows of norm 1, summed in a fixed order."""
    return rows / np.sqrt(sum(column**2 for column in rows.T))[:, None]
