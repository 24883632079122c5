"""The published runs from their seeds, by the random numbers of PyTorch without PyTorch.

The CPU generator of PyTorch is the Mersenne Twister, seeded as NumPy's old one; only the way from
32 random bits to uniform and normal numbers is its own.  Results are rounded to single precision,
in which PyTorch computes; rounding also hides the last digits of logarithm and cosine, which depend
on the machine.
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
    three_layers_from,
    two_layers_from,
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
            return single(scale * single(numbers)).reshape(shape)
        numbers = self.uniform(n)
        for first in range(0, n - 15, 16):
            numbers[first : first + 16] = _box_muller(numbers[first : first + 16])
        if n % 16:
            numbers[-16:] = _box_muller(self.uniform(16))
        return single(scale * single(numbers)).reshape(shape)

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
    radius, angle = np.sqrt(-2 * np.log(1 - uniform[:8])), 2 * math.pi * uniform[8:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])


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

    Examples
    --------
    >>> task, start, order = published_run("three layers", np.random.RandomState)
    >>> task.x.shape, start.shape, order[:4].tolist()
    ((50, 5), (181,), [42, 40, 7, 28])
    """
    make, seed = _PUBLISHED[as_choice("name", name, _PUBLISHED)]
    weights = TorchNumbers(stream(seed)), TorchNumbers(stream(seed + 1))
    task = make(*weights, stream(seed + 1))
    arrays = {key: getattr(task, key) for key in ("x", "y", "x_test", "y_test")}
    task = replace(task, **{key: single(v) for key, v in arrays.items() if v is not None})
    drawn, steps = stream(seed), len(next(iter(task.lr.values())))
    order = [drawn.choice(len(task.x), size=1, replace=False)[0] for _ in range(steps)]
    return task, task.starts(None, 1)[0], np.array(order)


def _published_line(student, teacher, data) -> ReLUTask:
    student.default_biases(LINE)
    signs = 2 * np.round(student.uniform(100)) - 1
    bias, above = student.normal(100, scale=2.5), student.normal(1, 100, scale=4.0)
    start = LINE.pack([2.5 * signs[:, None], above], [bias, None])
    return line_from(data.uniform(-1.305, 1.445, (300, 1)), lambda rng, runs: start[None])


def _published_two(student, teacher, data) -> ReLUTask:
    samples = data.standard_normal((15, 2)), data.standard_normal((1000, 2))
    weights, _ = teacher.gaussian_network(TWO_LAYERS_TEACHER, [1.0, 1.0])
    start = TWO_LAYERS.pack(*student.gaussian_network(TWO_LAYERS, [0.5, 0.0]))
    return two_layers_from(*samples, *weights, lambda rng, runs: start[None])


def _published_three(student, teacher, data) -> ReLUTask:
    samples = data.standard_normal((50, 5)), data.standard_normal((1000, 5))
    drawn = THREE_LAYERS_TEACHER.pack(*teacher.gaussian_network(THREE_LAYERS_TEACHER, [1.0] * 3))
    start = THREE_LAYERS.pack(*student.gaussian_network(THREE_LAYERS, [0.8] * 3))
    return three_layers_from(*samples, drawn, lambda rng, runs: start[None])


_PUBLISHED = {
    "line": (_published_line, 3),
    "two layers": (_published_two, 0),
    "three layers": (_published_three, 5),
}
