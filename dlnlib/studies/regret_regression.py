"""Stop rules in regression: sets of scikit-learn, and leave-one-out on random inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._curves import lowest, smooth
from dlnlib.stopping import Run, oracle
from dlnlib.studies.regret import BLOCKS, kept, part_run, regrets, summary
from dlnlib.studies.regret_probe import (
    EQUAL_COST,
    held_runs,
    lazy_flow,
    lazy_outcomes,
    least_of,
    probe_rules,
    reml_time,
    settled,
)

HIDDEN = 40
STEPS = 2000


@cache
def regression_set(name: str) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n k"]]:
    """Inputs and outputs of "diabetes" or "linnerud", outputs in units of their spread."""
    from sklearn import datasets  # here: its import takes longer than all the rest

    load = {"diabetes": datasets.load_diabetes, "linnerud": datasets.load_linnerud}[name]
    x, y = load(return_X_y=True)
    y = y.reshape(len(x), -1)
    return np.asarray(x, dtype=float), (y - y.mean(axis=0)) / y.std(axis=0)


@dataclass(frozen=True, eq=False)
class TwoLayers:
    """Full-batch gradient descent on two layers, linear or with ReLU, always from one start.

    Parameters
    ----------
    weights : list of two matrices
    relu : bool
    lr : float
    records : (T,) ndarray of int
        Numbers of steps after which predictions are kept.
    """

    weights: Sequence[np.ndarray]
    relu: bool
    lr: float
    records: np.ndarray

    def predictions(
        self, x: np.ndarray, y: np.ndarray, everywhere: np.ndarray
    ) -> Float[np.ndarray, "T n k"]:
        """Predictions at some inputs along the training on others."""
        first, second = (w.copy() for w in self.weights)
        found, step, rate = [], 0, self.lr / len(x)
        for goal in self.records.tolist():
            for _ in range(goal - step):
                hidden = self._hidden(first, x)
                rest = rate * (y - hidden @ second.T)
                back = rest @ second
                if self.relu:
                    back *= hidden > 0
                second += rest.T @ hidden
                first += back.T @ x
            step = goal
            found.append(self._hidden(first, everywhere) @ second.T)
        return np.array(found)

    def tangent_kernel(self, x: np.ndarray, others: np.ndarray) -> Float[np.ndarray, "n m"]:
        """Products of the gradients of one output at the start, between inputs."""
        first, second = self.weights
        h, k = (self._hidden(first, z) for z in (x, others))
        slopes = [
            (a > 0) * second[0] if self.relu else np.tile(second[0], (len(a), 1)) for a in (h, k)
        ]
        return h @ k.T + (x @ others.T) * (slopes[0] @ slopes[1].T)

    def _hidden(self, first: np.ndarray, x: np.ndarray) -> np.ndarray:
        hidden = x @ first.T
        return np.maximum(hidden, 0, out=hidden) if self.relu else hidden


def regression_regret(
    *,
    data: str,
    network: str,
    samples: int,
    scale: float,
    step: float,
    splits: int,
    rng: np.random.Generator,
) -> list[dict]:
    """Regret on held-out samples of a set, over random splits; ``network`` is "linear" or "relu".

    ``step`` is that of the probes.

    Inputs are standardised by the samples that are trained on, outputs centred by them.
    """
    found = []
    for stream in rng.spawn(splits):
        x, y = regression_set(data)
        order = stream.permutation(len(x))
        x, y = x[order], y[order]
        relu = network == "relu"
        n_in, n_out = x.shape[1] + relu, y.shape[1]  # a constant input is the bias
        weights = [
            scale * stream.standard_normal((HIDDEN, n_in)) / np.sqrt(n_in),
            scale * stream.standard_normal((n_out, HIDDEN)) / np.sqrt(HIDDEN),
        ]
        records = np.unique(np.append(0, np.geomspace(1, STEPS, 160).round().astype(int)))
        training = TwoLayers(weights, relu, 0.05, records)
        t = training.lr * records

        parts = partial(_parts, x, y, samples, relu)

        def without(out: Sequence[int], training=training, t=t, parts=parts) -> Run:
            return _run_without(training, t, *parts(out))

        inputs, outputs, rest, targets, _ = parts(())
        everywhere = np.vstack([inputs, rest])
        paths = training.predictions(inputs, outputs, everywhere)
        fitted, errors = paths[:, :samples], _mean_square(paths[:, samples:], targets)

        def train(z: np.ndarray, training=training, inputs=inputs) -> np.ndarray:
            return training.predictions(inputs, z - z.mean(axis=0), inputs) + z.mean(axis=0)

        full = Run(t, 0 * t, _mean_square(fitted, outputs), errors)
        variance = _residual_variance(inputs, outputs)
        rules = probe_rules(t, outputs, fitted, train, variance, stream, step=step)
        lazy = lazy_outcomes(full, *_lazy(training, inputs, outputs, rest, targets))
        found.append(regrets(full, held_runs(without), rules | {"oracle": oracle}) | lazy)
    return settled(found)


def _parts(x, y, samples, relu, out) -> tuple:
    """Samples to train on, all others with those kept out first, and how many these are."""
    tenths = np.array_split(np.arange(samples), BLOCKS)
    left = np.concatenate([tenths[block] for block in kept(out)])
    rest = np.setdiff1d(np.arange(len(x)), left)
    mean, spread = x[left].mean(axis=0), x[left].std(axis=0)
    x, y = (x - mean) / spread, y - y[left].mean(axis=0)
    if relu:
        x = np.column_stack([x, np.ones(len(x))])
    return x[left], y[left], x[rest], y[rest], samples - len(left)


def _run_without(training, t, inputs, outputs, rest, targets, held) -> Run:
    paths = training.predictions(inputs, outputs, rest)
    error = _mean_square(paths[:, held:], targets[held:])
    return part_run(t, error, _mean_square(paths[:, :held], targets[:held]))


def _mean_square(paths: np.ndarray, targets: np.ndarray) -> Float[np.ndarray, "T"]:
    return ((paths - targets) ** 2).mean(axis=(1, 2))


def _residual_variance(x: np.ndarray, y: np.ndarray) -> float:
    """Variance of the noise per output, from the residual of least squares with a constant."""
    u = np.linalg.svd(np.column_stack([x, np.ones(len(x))]), full_matrices=False)
    u = u[0][:, u[1] > 1e-9 * u[1][0]]
    rest = (y**2).sum() - ((u.T @ y) ** 2).sum()
    return float(rest / ((len(x) - u.shape[1]) * y.shape[1]))


def _lazy(training, x, y, rest, targets) -> tuple[np.ndarray, np.ndarray, float]:
    """Times, errors and stop of least squares, or with ReLU of the kernel at the start."""
    if not training.relu:
        lazy = lazy_flow(x, y, fixed=1)
        return lazy.t, _mean_square(rest @ lazy.maps.mT, targets), lazy.stop
    kernel = training.tangent_kernel(x, x) / len(x)
    rates, u = np.linalg.eigh(kernel)
    rates = np.maximum(rates, 0)
    across = training.tangent_kernel(rest, x) / len(x)
    start, begin = (training.predictions(x[:1], y[:1], z)[0] for z in (x, rest))
    inside = u.T @ (y - start)
    t = np.append(
        0.0, np.geomspace(1e-3 / rates[-1], 1e2 / rates[rates > 1e-9 * rates[-1]][0], 300)
    )
    z = np.outer(t, rates)
    learned = np.where(z > 0, -np.expm1(-z) / np.maximum(rates, 1e-300), 0)  # over the rate
    paths = begin + (across @ u) @ (learned[:, :, None] * inside)
    stop = min(reml_time(rates, (inside**2).sum(axis=1)), float(t[-1]))
    return t, _mean_square(paths, targets), stop


# Least squares on random inputs: generalised cross-validation and leave-one-out


def leave_one_out_regret(
    *,
    layers: int,
    ratio: float,
    signal: float,
    samples: int,
    draws: int,
    rng: np.random.Generator,
) -> list[dict]:
    """Regret over draws of linear regression on Gaussian inputs, one output, noise 1.

    ``ratio`` is inputs over samples, ``signal`` the squared norm of the coefficients.  One layer
    is gradient flow of least squares from zero; two layers have one hidden unit and a small
    balanced start.  Generalised cross-validation and Stein's estimate have the degrees of freedom
    exactly, and Stein's the variance of the noise.  ``estimate`` is the geometric mean, over draws,
    of what a rule estimates over the true error of prediction, at the best time.
    """
    found, levels = [], []
    for stream in rng.spawn(draws):
        problem = _Regression.draw(round(ratio * samples), samples, signal, layers, stream)
        outcome, level = problem.outcomes()
        found.append(outcome)
        levels.append(level)
    rows = summary(found, EQUAL_COST)
    for row in rows:
        logs = [np.log(level[row["rule"]]) for level in levels if row["rule"] in level]
        row["estimate"] = float(f"{np.exp(np.mean(logs)):.5g}") if logs else np.nan
    return rows


@dataclass(frozen=True, eq=False)
class _Regression:
    """Samples in the coordinates of their row space, and the coefficients behind them."""

    x: Float[np.ndarray, "n r"]
    y: Float[np.ndarray, "n"]
    beta: Float[np.ndarray, "r"]
    hidden: float  # squared norm of the coefficients outside the row space
    layers: int
    start: Float[np.ndarray, "r"]

    @classmethod
    def draw(
        cls, inputs: int, samples: int, signal: float, layers: int, rng: np.random.Generator
    ) -> "_Regression":
        x, beta = rng.standard_normal((samples, inputs)), rng.standard_normal(inputs)
        beta *= np.sqrt(signal) / np.linalg.norm(beta)
        y = x @ beta + rng.standard_normal(samples)
        axes = np.linalg.svd(x, full_matrices=False)[2]
        inside = axes @ beta
        start = rng.standard_normal(len(axes))
        start *= 1e-3 / np.linalg.norm(start)
        hidden = max(signal - inside @ inside, 0.0)
        return cls(x @ axes.T, y, inside, hidden, layers, start)

    @property
    def t(self) -> Float[np.ndarray, "T"]:
        """One layer learns while t goes from 0 to a few hundred, two after a wait."""
        return np.append(0, np.geomspace(0.02, 300, 120)) if self.layers == 1 else _UNIFORM

    def paths(self, kept_out: ArrayLike, y: np.ndarray) -> Float[np.ndarray, "M T r"]:
        """Coefficients along trainings: each without some samples, or with other outputs.

        Parameters
        ----------
        kept_out : (M, n) array_like of bool
        y : (M, n) ndarray
        """
        weights = 1.0 - np.asarray(kept_out)
        weights /= weights.sum(axis=1, keepdims=True)
        moments = (weights[:, None] * self.x.T) @ self.x
        cross = (weights * y) @ self.x
        return (_one_layer if self.layers == 1 else _two_layers)(self.t, moments, cross, self.start)

    def outcomes(self) -> tuple[dict, dict]:
        """What each rule costs, and what the estimates say at the best time."""
        n, t, nothing = len(self.y), self.t, np.zeros((1, len(self.y)), dtype=bool)
        beta = self.paths(nothing, self.y[None])[0]
        error = self._error(beta)
        rest = ((self.y - beta @ self.x.T) ** 2).sum(axis=1)
        df = self._degrees_of_freedom(beta)
        alone = self.paths(np.eye(n, dtype=bool), np.tile(self.y, (n, 1)))
        left = (self.y[:, None] - np.einsum("mtr,mr->mt", alone, self.x)) ** 2
        estimates = {
            "leave_one_out": left.mean(axis=0),
            "gcv": rest / n / np.maximum(1 - df / n, 1e-9) ** 2,
            "risk": (rest + 2 * df) / n,
        }
        full = Run(t, 0 * t, rest, error)
        rules = {name: least_of(t, curve) for name, curve in estimates.items()}
        found = regrets(full, held_runs(self._without), rules | {"oracle": oracle})
        lazy = lazy_flow(self.x, self.y[:, None])
        found |= lazy_outcomes(full, lazy.t, self._error(lazy.maps[:, 0]), lazy.stop)
        best, least = lowest(t, error)
        return found, {
            name: float(smooth(t, curve)(best)) / (1 + least) for name, curve in estimates.items()
        }

    def _error(self, beta: np.ndarray) -> Float[np.ndarray, "T"]:
        return ((beta - self.beta) ** 2).sum(axis=-1) + self.hidden

    def _without(self, out: Sequence[int]) -> Run:
        tenths = np.array_split(np.arange(len(self.y)), BLOCKS)
        rest = np.concatenate([tenths[block] for block in out])
        mask = np.isin(np.arange(len(self.y)), rest)
        beta = self.paths(mask[None], self.y[None])[0]
        validation = ((self.y[rest] - beta @ self.x[rest].T) ** 2).mean(axis=1)
        return part_run(self.t, self._error(beta), validation)

    def _degrees_of_freedom(self, beta: np.ndarray) -> Float[np.ndarray, "T"]:
        n = len(self.y)
        if self.layers == 1:
            rates = np.linalg.svd(self.x, compute_uv=False) ** 2 / n
            return -np.expm1(-np.outer(self.t, rates)).sum(axis=1)
        moved = self.paths(np.zeros((n, n), dtype=bool), self.y + 1e-4 * np.eye(n))
        return np.einsum("mtr,mr->t", moved - beta, self.x) / 1e-4


_UNIFORM = np.linspace(0, 16, 321)


def _one_layer(t, moments, cross, _) -> Float[np.ndarray, "M T r"]:
    """Gradient flow of least squares from zero, in closed form."""
    rates, v = np.linalg.eigh(moments)
    rates = np.maximum(rates, 0)
    z = t[:, None] * rates[:, None]
    learned = np.where(z > 0, -np.expm1(-z) / np.maximum(rates[:, None], 1e-300), t[:, None])
    inside = np.einsum("mrk,mr->mk", v, cross)
    return (learned * inside[:, None]) @ v.mT


def _two_layers(t, moments, cross, start) -> Float[np.ndarray, "M T r"]:
    """Two layers with one hidden unit: beta = w2 w1, |w1| = w2, by Runge and Kutta's method."""
    size = np.sqrt(np.linalg.norm(start))
    w1, w2 = np.tile(start / size, (len(cross), 1)), np.full((len(cross), 1), size)

    def velocity(w1, w2):
        gradient = cross - np.einsum("mrk,mk->mr", moments, w2 * w1)
        return w2 * gradient, (w1 * gradient).sum(axis=1, keepdims=True)

    found = [w2 * w1]
    for h in np.diff(t):
        a1, a2 = velocity(w1, w2)
        b1, b2 = velocity(w1 + h / 2 * a1, w2 + h / 2 * a2)
        c1, c2 = velocity(w1 + h / 2 * b1, w2 + h / 2 * b2)
        d1, d2 = velocity(w1 + h * c1, w2 + h * c2)
        w1 = w1 + h / 6 * (a1 + 2 * b1 + 2 * c1 + d1)
        w2 = w2 + h / 6 * (a2 + 2 * b2 + 2 * c2 + d2)
        found.append(w2 * w1)
    return np.stack(found, axis=1)
