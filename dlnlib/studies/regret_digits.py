"""Regret of the stop rules on handwritten digits, against the held-out error.

Labels of the training samples are replaced at random with a given probability; validation samples
are taken from among them, labels and all.  The held-out images keep their true labels.  All splits
are drawn from the same 1,797 images, so that they are not independent: intervals over splits are
those of this set of images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dlnlib.flow import gaussian_weights, gradient_flow
from dlnlib.modes import learning_time
from dlnlib.stopping import RULES, Run, evidence_based
from dlnlib.studies.regret import BLOCKS, HELD_OUT, kept, map_entropy, part_run, regrets, summary
from dlnlib.tasks import AffineMap, Task, svd_modes, whiten
from dlnlib.tasks.task import digits

HIDDEN = 32
SHUFFLES = 5


@dataclass(frozen=True, eq=False)
class DigitsSamples:
    """One split of the digits: noisy training samples, then held-out ones."""

    x: Float[np.ndarray, "all 64"]
    y: Float[np.ndarray, "all 10"]
    train: int

    def task(self, held: Sequence[int], white: bool) -> tuple[Task, int]:
        """Train without some tenths of the samples; these, counted, then the test images follow."""
        tenths = np.array_split(np.arange(self.train), BLOCKS)
        left = np.concatenate([tenths[block] for block in kept(held)])
        rest = np.setdiff1d(np.arange(len(self.x)), left)  # in order: what is held out comes first
        _, change = whiten(self.x[left])
        if white:  # in the coordinates of the pixels, so that all trainings can begin alike
            axes = change.matrix / np.linalg.norm(change.matrix, axis=0)
            change = AffineMap(change.mean, change.matrix @ axes.T)
        else:  # one common unit, so that raw inputs fit the step
            unit = np.sqrt(np.mean((self.x[left] - change.mean) ** 2))
            change = AffineMap(change.mean, np.eye(len(change.mean)) / unit)
        x, y = change(self.x), self.y - self.y[left].mean(axis=0)
        sigma = y[left].T @ x[left] / len(left)
        task = Task(sigma, None, x[left], y[left], x[rest], y[rest])
        return task, self.train - len(left)


def digits_regret(
    *,
    samples: int,
    wrong_labels: float,
    inputs: str,
    scale: float,
    splits: int,
    rng: np.random.Generator,
) -> list[dict]:
    """Regret of each rule over random splits; ``inputs`` is "white" or "raw".

    ``wrong_labels`` is the share of the labels that are drawn anew.  All trainings of a split begin
    with the same weights.
    """
    found = []
    for stream in rng.spawn(splits):
        data = noisy_digits(samples, wrong_labels, stream)
        weights = gaussian_weights([data.x.shape[1], HIDDEN, 10], scale, rng=stream)
        full = DigitsTraining(data.task((), inputs == "white")[0], weights, scale, stream)
        held = {
            name: [full.without(*data.task(out, inputs == "white")) for out in sets]
            for name, sets in HELD_OUT.items()
        }
        found.append(regrets(full.run, held, full.rules))
    return summary(found)


def noisy_digits(samples: int, wrong_labels: float, rng: np.random.Generator) -> DigitsSamples:
    """Draw a split; labels of the training samples are drawn anew with a given probability."""
    images, labels = digits()
    order = rng.permutation(len(images))
    labels, replaced = labels[order], rng.random(samples) < wrong_labels
    labels[:samples][replaced] = rng.integers(10, size=replaced.sum())
    return DigitsSamples(images[order], np.eye(10)[labels], samples)


class DigitsTraining:
    """The training on all samples, and those that go the same way without a part of them."""

    def __init__(
        self, task: Task, weights: list[np.ndarray], scale: float, rng: np.random.Generator
    ) -> None:
        x, y = task.x, task.y
        modes, spread = svd_modes(task.sigma), x.T @ x / len(x)
        slowest = learning_time(modes.s[8:9], min(HIDDEN * scale**2 / 2, modes.s[8] / 4), 0.95)[0]
        self.t, self.weights = np.linspace(0, 2 * slowest, 160), weights
        w = self.maps(task)
        noise = _noise_mode(w, modes, spread, _shuffled_edge(x, y, rng))
        curves = {
            "t": self.t,
            "entropy": map_entropy(w),
            "test_error": half_mean_square(w, task.x_test, task.y_test),
            "noise_mode": noise,
            "edge_mode": noise,
            "noise_energy": 1.0,
        }
        self.run = Run(train_error=half_mean_square(w, x, y), **curves)
        # the evidence for more signal takes the place of the training error
        gradients = Run(train_error=evidence(w, x, y), **curves)
        self.rules = RULES | {"evidence_based": lambda _: evidence_based(gradients)}

    def maps(self, task: Task) -> Float[np.ndarray, "T 10 64"]:
        """End-to-end maps of a training, from the same weights and at the same times."""
        return self.maps_of(task.x, task.y)

    def maps_of(self, x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, "T 10 64"]:
        """The same for centred samples, also with other outputs than those of a task."""
        sigma, spread = y.T @ x / len(x), x.T @ x / len(x)
        return gradient_flow(
            self.t, self.weights, sigma, sigma_xx=spread, rtol=1e-6, atol=1e-9
        ).product

    def without(self, task: Task, held: int) -> Run:
        """The training without the samples that come first in the test set of a task."""
        w, x, y = self.maps(task), task.x_test, task.y_test
        errors = (half_mean_square(w, x[part], y[part]) for part in (np.s_[held:], np.s_[:held]))
        return part_run(self.t, *errors)


def half_mean_square(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, "T"]:
    """Mean of |y - W x|^2 / 2 from the moments of the samples."""
    spread, cross = x.T @ x / len(x), y.T @ x / len(x)
    return ((w @ spread - 2 * cross) * w).sum(axis=(1, 2)) / 2 + (y**2).sum() / (2 * len(x))


def _shuffled_edge(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> float:
    """Largest singular value that labels without any relation to the images reach."""
    top = [np.linalg.norm(rng.permutation(y).T @ x / len(x), 2) for _ in range(SHUFFLES)]
    return float(np.mean(top))


def _noise_mode(w, modes, spread, edge) -> Float[np.ndarray, "T"]:
    """Leading mode below the edge, in units of s / lambda, where the mode alone would end."""
    below = np.flatnonzero(modes.s[:9] <= edge)
    if not below.size:
        return np.zeros(len(w))
    u, s, v = modes.u[:, below[0]], modes.s[below[0]], modes.v[:, below[0]]
    return (w @ v) @ u * (v @ spread @ v) / s


def evidence(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, "T"]:
    """Mean over entries of the squared gradient over its sampling variance."""
    values = []
    for m in w:
        rest = x @ m.T - y
        mean, square = rest.T @ x / len(x), (rest**2).T @ x**2 / len(x)
        varies = square > 1e-12 * square.max()
        variance = (square - mean**2)[varies] / len(x)
        values.append(np.mean(mean[varies] ** 2 / variance))
    return np.array(values)
