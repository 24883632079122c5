"""The published runs from their seeds, by the random numbers of PyTorch without PyTorch.

The CPU generator of PyTorch is the Mersenne Twister, seeded as NumPy's old one; only the way from
32 random bits to uniform and normal numbers is its own.  PyTorch computes in single precision, and
so do we here, though in arrays of doubles: after each step the result is rounded.  Only in its
roots, logarithms and cosines may the last bits of PyTorch differ; there they also depend on the
machine, where ours are rounded correctly.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from dlnlib._checks import as_choice
from dlnlib.sgd.relu_network import ReLUNetwork
from dlnlib.sgd.tasks import (
    LINE,
    THREE_LAYERS,
    THREE_LAYERS_TEACHER,
    TWO_LAYERS,
    TWO_LAYERS_TEACHER,
    ReLUTask,
    line_from,
    three_layers_on,
    two_layers_on,
)


def single(values: ArrayLike) -> Float[np.ndarray, "..."]:
    """Numbers rounded to single precision."""
    return np.asarray(values, dtype=np.float32).astype(float)


class TorchNumbers:
    """Uniform and normal numbers, and layers with PyTorch's default start.

    Parameters
    ----------
    stream : numpy.random.RandomState
        Freshly seeded as PyTorch was.
    """

    def __init__(self, stream):
        self._stream = stream
        self._spare: float | None = None

    def _bits(self, n: int) -> np.ndarray:
        return self._stream.randint(0, 2**32, size=n, dtype=np.uint64)

    def uniform(self, n: int) -> Float[np.ndarray, "n"]:
        """Numbers in [0, 1) with 24 bits."""
        return (self._bits(n) & (2**24 - 1)) / 2.0**24

    def normal(self, *shape: int, scale: float = 1.0) -> Float[np.ndarray, "..."]:
        """Normal numbers: in blocks of 16, or one by one if there are fewer."""
        n = math.prod(shape)
        if n < 16:
            numbers = [self._one_normal() for _ in range(n)]
            return single(single(scale) * single(numbers)).reshape(shape)
        numbers = self.uniform(n)
        for first in range(0, n - 15, 16):
            numbers[first : first + 16] = _box_muller(numbers[first : first + 16])
        if n % 16:
            numbers[-16:] = _box_muller(self.uniform(16))
        return single(single(scale) * numbers).reshape(shape)

    def _one_normal(self) -> float:
        if self._spare is not None:
            number, self._spare = self._spare, None
            return number
        high, low, high2, low2 = (int(bits) for bits in self._bits(4))
        angle, level = (
            ((a << 32 | b) & (2**53 - 1)) / 2**53 for a, b in ((high, low), (high2, low2))
        )
        radius = math.sqrt(-2 * math.log1p(-level))
        self._spare = radius * math.sin(2 * math.pi * angle)
        return radius * math.cos(2 * math.pi * angle)

    def default_biases(self, network: ReLUNetwork) -> list[Float[np.ndarray, "_"] | None]:
        """Biases of freshly made layers; their weights are drawn as well, to be replaced."""
        biases = []
        for m, k, has in zip(network.widths, network.widths[1:], network.biases, strict=False):
            self.uniform(m * k)
            bound = single(1 / math.sqrt(m))
            biases.append(single(bound * (2 * self.uniform(k) - 1)) if has else None)
        return biases

    def gaussian_network(
        self, network: ReLUNetwork, scales: list[float]
    ) -> tuple[list[Float[np.ndarray, "_ _"]], list[Float[np.ndarray, "_"] | None]]:
        """Gaussian weights of the scales given, and default biases."""
        biases = self.default_biases(network)
        shapes = zip(scales, network.widths, network.widths[1:], strict=False)
        return [self.normal(k, m, scale=scale) for scale, m, k in shapes], biases


def _box_muller(uniform: Float[np.ndarray, "16"]) -> Float[np.ndarray, "16"]:
    radius = single(np.sqrt(-2 * single(np.log(1 - uniform[:8]))))
    angle = single(single(2 * math.pi) * uniform[8:])
    return single(np.tile(radius, 2) * single([*np.cos(angle), *np.sin(angle)]))


def single_sphere(rows: ArrayLike) -> Float[np.ndarray, "n d"]:
    """Rows of norm 1 in single precision; PyTorch begins each sum with the last column."""
    rows = single(rows)
    total = 0.0
    for column in np.roll(rows, 1, axis=1).T:
        total = single(total + single(column**2))
    return single(rows / single(np.sqrt(total))[:, None])


def single_outputs(
    network: ReLUNetwork, theta: ArrayLike, x: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "n"]:
    """Predictions in single precision, one term after another, the bias last."""
    for layer, (weight, bias) in enumerate(
        zip(network.weights(theta), network.bias_vectors(theta), strict=True)
    ):
        inputs, x = x if layer == 0 else np.maximum(x, 0), np.zeros((len(x), len(weight)))
        for j in range(weight.shape[1]):
            x = single(x + single(inputs[:, j, None] * weight[:, j]))
        if bias is not None:
            x = single(x + bias)
    return x[:, 0]


def _taught(network: ReLUNetwork, teacher: ArrayLike, x: ArrayLike, x_test: ArrayLike) -> tuple:
    """Samples on the sphere with their labels, and fresh ones."""
    x, x_test = single_sphere(x), single_sphere(x_test)
    return x, single_outputs(network, teacher, x), x_test, single_outputs(network, teacher, x_test)


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
        With the published data, test inputs and labels, in single precision like the start.
    start : (P,) ndarray
    order : (steps,) ndarray
        The sample of each iteration.

    Examples
    --------
    >>> task, start, order = published_run("three layers", np.random.RandomState)
    >>> task.x.shape, start.shape, order[:4].tolist()
    ((50, 5), (181,), [42, 40, 7, 28])
    """
    make, seed = _PUBLISHED[as_choice("name", name, _PUBLISHED)]
    student, teacher = TorchNumbers(stream(seed)), TorchNumbers(stream(seed + 1))
    task, drawn = make(student, teacher, stream(seed + 1)), stream(seed)
    steps = len(next(iter(task.lr.values())))
    order = [drawn.choice(len(task.x), size=1, replace=False)[0] for _ in range(steps)]
    if task.y_test is None:  # the public code draws them where the samples were drawn from
        x_test = single(drawn.uniform(task.x.min(), task.x.max(), (300, 1)))
        task = replace(task, x_test=x_test)
    return task, task.starts(None, 1)[0], np.array(order)


def _published_line(student, teacher, data) -> ReLUTask:
    student.default_biases(LINE)
    signs = 2 * np.round(student.uniform(100)) - 1
    bias, above = student.normal(100, scale=2.5), student.normal(1, 100, scale=4.0)
    start = LINE.pack([2.5 * signs[:, None], above], [bias, None])
    task = line_from(np.empty((0, 1)), lambda rng, runs: start[None])
    return replace(task, x=single(task.x), y=single(task.y))


def _published_two(student, teacher, data) -> ReLUTask:
    samples = data.standard_normal((15, 2)), data.standard_normal((1000, 2))
    (w, a), _ = teacher.gaussian_network(TWO_LAYERS_TEACHER, [1.0, 1.0])
    drawn = TWO_LAYERS_TEACHER.pack([single_sphere(w), np.sign(a)])
    start = TWO_LAYERS.pack(*student.gaussian_network(TWO_LAYERS, [0.5, 0.0]))
    return two_layers_on(
        *_taught(TWO_LAYERS_TEACHER, drawn, *samples), lambda rng, runs: start[None]
    )


def _published_three(student, teacher, data) -> ReLUTask:
    samples = data.standard_normal((50, 5)), data.standard_normal((1000, 5))
    drawn = THREE_LAYERS_TEACHER.pack(*teacher.gaussian_network(THREE_LAYERS_TEACHER, [1.0] * 3))
    start = THREE_LAYERS.pack(*student.gaussian_network(THREE_LAYERS, [0.8] * 3))
    data = _taught(THREE_LAYERS_TEACHER, drawn, *samples)
    return three_layers_on(*data, lambda rng, runs: start[None])


_PUBLISHED = {
    "line": (_published_line, 3),
    "two layers": (_published_two, 0),
    "three layers": (_published_three, 5),
}
