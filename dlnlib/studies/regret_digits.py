"""Regret of the stop rules on handwritten digits, against the held-out error.

Labels of the training samples are replaced at random with a given probability; validation samples
are taken from among them, labels and all.  The held-out images keep their true labels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dlnlib.flow import gaussian_weights, gradient_flow
from dlnlib.modes import learning_time
from dlnlib.stopping import RULES, Run, evidence_based
from dlnlib.studies.regret import VALIDATION, map_entropy, regrets, summary
from dlnlib.tasks import Task, linear_task, svd_modes
from dlnlib.tasks.task import digits

HIDDEN = 32
SHUFFLES = 5


@dataclass(frozen=True, eq=False)
class _Samples:
    """One split of the digits: noisy training samples, then held-out ones."""

    x: Float[np.ndarray, "all 64"]
    y: Float[np.ndarray, "all 10"]
    train: int

    def task(self, kept: int, white: bool) -> Task:
        """Train on the first samples; all later ones are the test set of the task."""
        x, y = self.x, self.y
        task = linear_task(x[:kept], y[:kept], x[kept:], y[kept:], whiten_inputs=white)
        scale = np.sqrt(np.mean(task.x**2))  # one common number, so that raw inputs fit the step
        x = task.x / scale
        return Task(task.y.T @ x / kept, None, x, task.y, task.x_test / scale, task.y_test)


def digits_regret(
    *,
    samples: int,
    label_noise: float,
    inputs: str,
    scale: float,
    splits: int,
    rng: np.random.Generator,
) -> list[dict]:
    """Regret of each rule over random splits; ``inputs`` is "white" or "raw".

    ``label_noise`` is the share of wrong labels (``wrong_labels`` elsewhere): the name of a
    parameter is part of the random stream of its cell, so that a new one makes a new table.
    """
    found = []
    for stream in rng.spawn(splits):
        data = _draw(samples, label_noise, stream)
        kept = round((1 - VALIDATION) * samples)
        full, part = (_train(data, n, inputs == "white", scale, stream) for n in (samples, kept))
        found.append(regrets(full[0], part[0], _with_evidence(full[1])))
    return summary(found)


def _with_evidence(gradients: Run) -> dict:
    return RULES | {"evidence_based": lambda run: evidence_based(gradients)}


def _draw(samples: int, label_noise: float, rng: np.random.Generator) -> _Samples:
    images, labels = digits()
    order = rng.permutation(len(images))
    labels, replaced = labels[order], rng.random(samples) < label_noise
    labels[:samples][replaced] = rng.integers(10, size=replaced.sum())
    return _Samples(images[order], np.eye(10)[labels], samples)


def _train(
    data: _Samples, kept: int, white: bool, scale: float, rng: np.random.Generator
) -> tuple[Run, Run]:
    """The run, and the same with the evidence for more signal in place of the training error."""
    task = data.task(kept, white)
    x, y, held = task.x, task.y, data.train - kept
    modes, spread = svd_modes(task.sigma), x.T @ x / kept
    weights = gaussian_weights([x.shape[1], HIDDEN, 10], scale, rng=rng)
    slowest = learning_time(modes.s[8:9], min(HIDDEN * scale**2 / 2, modes.s[8] / 4), 0.95)[0]
    t = np.linspace(0, 2 * slowest, 160)
    w = gradient_flow(t, weights, task.sigma, sigma_xx=spread, rtol=1e-6, atol=1e-9).product
    noise = _noise_mode(w, modes, spread, _shuffled_edge(x, y, rng))
    curves = {
        "t": t,
        "entropy": map_entropy(w),
        "test_error": _loss(w, task.x_test[held:], task.y_test[held:]),
        "validation_error": _loss(w, task.x_test[:held], task.y_test[:held]) if held else None,
        "noise_mode": noise,
        "edge_mode": noise,
        "noise_energy": 1.0,
    }
    run = Run(train_error=_loss(w, x, y), **curves)
    return run, Run(train_error=_evidence(w, x, y), **curves)


def _loss(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, "T"]:
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


def _evidence(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, "T"]:
    """Mean over entries of the squared gradient over its sampling variance."""
    values = []
    for m in w:
        rest = x @ m.T - y
        mean, square = rest.T @ x / len(x), (rest**2).T @ x**2 / len(x)
        varies = square > 1e-12 * square.max()
        variance = (square - mean**2)[varies] / len(x)
        values.append(np.mean(mean[varies] ** 2 / variance))
    return np.array(values)
