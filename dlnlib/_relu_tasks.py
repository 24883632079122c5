"""The three small regression tasks of the ReLU experiments, and the runs that were published.

A task holds the data, the shape of the student, its random starts and its step sizes, as in the
public code of Andriushchenko, Varre, Pillaud-Vivien & Flammarion (ICML 2023).  The published runs
drew their weights from PyTorch and all else from NumPy; `published_run` draws the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from dlnlib._relu_network import ReLUNetwork, gaussian_start
from dlnlib._torch_numbers import TorchNumbers, single
from dlnlib.schedules import constant, linear_warmup, sqrt_warmup, step_decay

__all__ = ["ReLUTask", "line_task", "published_run", "three_layer_task", "two_layer_task"]

_LINE = ReLUNetwork((1, 100, 1), (True, False))
_TWO, _TWO_TEACHER = ReLUNetwork((2, 20, 1), False), ReLUNetwork((2, 3, 1), False)
_THREE, _THREE_TEACHER = ReLUNetwork((5, 10, 10, 1)), ReLUNetwork((5, 2, 2, 1))
_LINE_X = np.arange(-5.5, 6)[:, None] / 4 + 0.07
_LINE_Y = [-2, 1.5, 0, 0, 2, 1, 0, -1, 0, 1, 2, -1]


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
    """

    def starts(rng, runs):
        signs = rng.choice([-2.5, 2.5], size=(runs, 100))
        return np.hstack([signs, *(s * rng.standard_normal((runs, 100)) for s in (2.5, 4.0))])

    return _line(rng.uniform(_LINE_X[0], _LINE_X[-1], (300, 1)), starts)


def _line(x_test, starts) -> ReLUTask:
    steps = 31_623
    lr = {
        name: linear_warmup(2e-4, steps, until=share, factor=400 * share, by=by)
        for name, share, by in (("2 %", 0.02, 2.5), ("50 %", 0.5, 3.0))
    }
    return ReLUTask(_LINE, _LINE_X, 0.345 + np.array(_LINE_Y), x_test, None, lr, 0.999, starts)


def two_layer_task(*, rng: np.random.Generator) -> ReLUTask:
    """Fifteen points on a circle, a teacher of 3 units of norm 1, a student of 20, no biases.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the samples and the teacher.

    Returns
    -------
    ReLUTask
    """
    normal = rng.standard_normal
    samples = normal((15, 2)), normal((1000, 2))
    return _two(*samples, normal((3, 2)), normal((1, 3)), _gaussian(_TWO, [0.5, 0.0]))


def _two(x, x_test, w, a, starts) -> ReLUTask:
    steps, (x, x_test, w) = 14_126, (_sphere(rows) for rows in (x, x_test, w))
    teacher = _TWO_TEACHER.pack([w, np.sign(a)])
    y, y_test = (_TWO_TEACHER.predict(teacher, inputs) for inputs in (x, x_test))
    lr = {"small": constant(0.13, steps)} | {
        f"{100 * share:.0f} %": step_decay(0.455, steps, at=share, by=by)
        for share, by in ((0.1, 2), (0.3, 4), (0.5, 5))
    }
    return ReLUTask(_TWO, x, y, x_test, y_test, lr, 0.99, starts)


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
    """
    samples = rng.standard_normal((50, 5)), rng.standard_normal((1000, 5))
    task = None
    while task is None or not 0.25 < task.y.var() < 1.25:
        teacher = gaussian_start(_THREE_TEACHER, 1.0, rng=rng)[0]
        task = _three(*samples, teacher, _gaussian(_THREE, 0.8))
    return task


def _three(x, x_test, teacher, starts) -> ReLUTask:
    steps, (x, x_test) = 10_001, (_sphere(rows) for rows in (x, x_test))
    y, y_test = (_THREE_TEACHER.predict(teacher, inputs) for inputs in (x, x_test))
    lr = {"small": constant(0.011, steps)} | {
        f"{100 * share:.0f} %": sqrt_warmup(0.04, steps, until=share, by=by)
        for share, by in ((0.1, 3.5), (0.3, 2.5), (0.5, 5))
    }
    return ReLUTask(_THREE, x, y, x_test, y_test, lr, 0.99, starts)


def _gaussian(network: ReLUNetwork, scales: ArrayLike) -> Callable:
    return lambda rng, runs: gaussian_start(network, scales, rng=rng, runs=runs)


def _sphere(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows of norm 1, summed in a fixed order."""
    return rows / np.sqrt(sum(column**2 for column in rows.T))[:, None]


def published_run(
    name: str, stream: Callable[[int], object]
) -> tuple[ReLUTask, Float[np.ndarray, "P"], Int[np.ndarray, "steps"]]:
    """Task, start and order of the samples of a published run, from its seed.

    Parameters
    ----------
    name : str
        "line", "two layers" or "three layers".
    stream : callable
        From a seed to NumPy's generator of old, numpy.random.RandomState.

    Returns
    -------
    task : ReLUTask
        With the published data.  The test inputs of the line are ours: theirs are not known.
    start : (P,) ndarray
        Rounded to single precision like the data, since PyTorch works in it.
    order : (steps,) ndarray
        The sample of each iteration.

    Raises
    ------
    ValueError
        If there is no such run.
    """
    if name not in _PUBLISHED:
        raise ValueError(f"name must be one of {sorted(_PUBLISHED)}: got {name!r}")
    make, seed = _PUBLISHED[name]
    weights = TorchNumbers(stream(seed)), TorchNumbers(stream(seed + 1))
    task = make(*weights, stream(seed + 1))
    arrays = {key: getattr(task, key) for key in ("x", "y", "x_test", "y_test")}
    task = replace(task, **{key: single(v) for key, v in arrays.items() if v is not None})
    drawn, steps = stream(seed), len(next(iter(task.lr.values())))
    order = [drawn.choice(len(task.x), size=1, replace=False)[0] for _ in range(steps)]
    return task, task.starts(None, 1)[0], np.array(order)


def _published_line(student, teacher, data) -> ReLUTask:
    student.default_biases(_LINE)
    signs = 2 * np.round(student.uniform(100)) - 1
    bias, above = student.normal(100, scale=2.5), student.normal(1, 100, scale=4.0)
    start = _LINE.pack([2.5 * signs[:, None], above], [bias, None])
    return _line(data.uniform(-1.305, 1.445, (300, 1)), lambda rng, runs: start[None])


def _published_two(student, teacher, data) -> ReLUTask:
    samples = data.standard_normal((15, 2)), data.standard_normal((1000, 2))
    weights, _ = teacher.gaussian_network(_TWO_TEACHER, [1.0, 1.0])
    start = _TWO.pack(*student.gaussian_network(_TWO, [0.5, 0.0]))
    return _two(*samples, *weights, lambda rng, runs: start[None])


def _published_three(student, teacher, data) -> ReLUTask:
    samples = data.standard_normal((50, 5)), data.standard_normal((1000, 5))
    drawn = _THREE_TEACHER.pack(*teacher.gaussian_network(_THREE_TEACHER, [1.0] * 3))
    start = _THREE.pack(*student.gaussian_network(_THREE, [0.8] * 3))
    return _three(*samples, drawn, lambda rng, runs: start[None])


_PUBLISHED = {
    "line": (_published_line, 3),
    "two layers": (_published_two, 0),
    "three layers": (_published_three, 5),
}
