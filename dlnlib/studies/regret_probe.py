"""Stop rules in real training: estimates by probes against samples kept out, at equal cost.

A probe trains once more on outputs moved a little, see `probe_degrees_of_freedom`, and gives

* Stein's estimate, ``risk``:  residual + 2 noise^2 df, up to a constant, with the variance of the
  noise per output estimated from the residual of least squares (or the median singular value);
* generalised cross-validation, ``gcv``: residual / (1 - df / outputs)^2.

``target`` needs no probe: where inputs allow it, the correlations in white coordinates are a signal
in white noise, and the rule stops where the predictions are nearest to those of the optimally
shrunk correlations.  ``reml`` is the stop of Yao et al., 2026, for gradient flow of least squares
from zero on the same samples, the lazy counterpart of the network, and ``lazy_oracle`` its best.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

from dlnlib._curves import lowest
from dlnlib.entropy import map_entropy
from dlnlib.flow import gaussian_weights, gradient_flow
from dlnlib.modes import learning_time
from dlnlib.random_matrix import bulk_quantiles, optimal_shrinker
from dlnlib.stopping import (
    Run,
    entropy_minimum,
    evidence_based,
    oracle,
    probe_degrees_of_freedom,
    regret,
)
from dlnlib.studies.regret import (
    BLOCKS,
    HELD_OUT,
    RIVALS,
    SPIKES,
    Outcome,
    kept,
    part_run,
    regrets,
    split_teacher,
    summary,
)
from dlnlib.studies.regret_digits import (
    DigitsTraining,
    evidence,
    half_mean_square,
    noisy_digits,
)
from dlnlib.tasks import spiked_teacher, svd_modes

PROBES = (1, 2, 4)
#: Trainings that a rule costs, the one that is kept among them; all others cost one.
TRAININGS = {
    **{f"{name}_{count}": 1 + count for name in ("risk", "gcv") for count in PROBES},
    "validation_retrained": 2,
    "validation_10_retrained": 2,
    "validation_folds": 6,
}
#: Rivals at equal cost: a split that is trained again costs as much as one probe.
EQUAL_COST = RIVALS | {
    "validation_retrained": "to_retrained",
    "validation_10_retrained": "to_retrained_10",
}
Train = Callable[[np.ndarray], np.ndarray]
Rules = Mapping[str, Callable[[Run], float]]
#: Share of the outputs that must be left unspent for cross-validation to be read: near the end of
#: what fits everything it is nought over nought.
UNSPENT = 0.1


def probe_rules(
    t: np.ndarray,
    y: np.ndarray,
    fitted: Float[np.ndarray, "T ..."],
    train: Train,
    variance: float,
    rng: np.random.Generator,
    *,
    step: float = 1e-2,
) -> Rules:
    """Stein's estimate and generalised cross-validation from one probe, two and four."""
    options = {"rng": rng, "fitted": fitted, "step": step}
    single = [probe_degrees_of_freedom(train, y, **options) for _ in range(max(PROBES))]
    rest = ((fitted - y) ** 2).reshape(t.size, -1).sum(axis=1)
    rules = {}
    for count in PROBES:
        df = np.mean(single[:count], axis=0)
        unspent = 1 - df / y.size
        few = unspent < UNSPENT
        end = max(int(few.argmax()), 1) if few.any() else None
        gcv = rest / np.maximum(unspent, UNSPENT / 2) ** 2
        rules[f"risk_{count}"] = least_of(t, rest + 2 * variance * df)
        rules[f"gcv_{count}"] = least_of(t, gcv, end)
    return rules


def least_of(t: np.ndarray, curve: np.ndarray, end: int | None = None) -> Callable[[Run], float]:
    """The rule that stops where a curve is least, before a place in the grid."""
    return lambda _: lowest(t, curve, end)[0]


def held_runs(without: Callable[[Sequence[int]], Run]) -> dict[str, list[Run]]:
    """The runs that each rival validates; two of them share a training."""
    parts = dict.fromkeys(out for sets in HELD_OUT.values() for out in sets)
    runs = {out: without(out) for out in parts}
    return {name: [runs[out] for out in sets] for name, sets in HELD_OUT.items()}


def settled(found: Sequence[Mapping[str, Outcome]]) -> list[dict]:
    """Rows of a table: the summary, and what each rule costs."""
    rows = summary(found, EQUAL_COST)
    return [row | {"trainings": TRAININGS.get(row["rule"], 1)} for row in rows]


# Gradient flow from random weights


def flow_regret(
    *,
    signal: float,
    spikes: str,
    dimension: int,
    a0: float,
    depth: int,
    draws: int,
    rng: np.random.Generator,
) -> list[dict]:
    """Regret over draws of a square noisy teacher, white inputs, all weights trained from random.

    Parameters as in `spiked_regret`.  Nobody is told the size of the noise: it is estimated from
    the median singular value.  A training "on other outputs" is one on other correlations.
    """
    strengths, found = [signal * x for x in SPIKES[spikes]], []
    for stream in rng.spawn(draws):
        split = split_teacher(strengths, (dimension, dimension), rng=stream)
        scale = a0 ** (1 / depth) / np.sqrt(dimension)
        weights = gaussian_weights([dimension] * (depth + 1), scale, rng=stream)
        sigma = split.of(kept(()))
        edge = svd_modes(sigma).s[len(strengths)]
        t = np.linspace(0, 2.5 * learning_time([edge], a0, 0.9, depth=depth)[0], 300)

        def train(outputs: np.ndarray, t=t, weights=weights) -> np.ndarray:
            return gradient_flow(t, weights, outputs, rtol=1e-6, atol=1e-9).product

        def without(out: Sequence[int], t=t, split=split, train=train) -> Run:
            w = train(split.of(kept(out)))
            return part_run(t, _distance(w, split.teacher), _distance(w, split.of(out)))

        full, rules = _flow_rules(t, train, split.teacher, sigma, stream)
        found.append(regrets(full, held_runs(without), rules))
    return settled(found)


def _flow_rules(
    t: np.ndarray, train: Train, teacher: np.ndarray, sigma: np.ndarray, rng: np.random.Generator
) -> tuple[Run, Rules]:
    w, modes = train(sigma), svd_modes(sigma)
    noise = float(np.median(modes.s) / np.median(bulk_quantiles(len(sigma))))
    full = Run(
        t=t,
        entropy=map_entropy(w),
        train_error=_distance(w, sigma),
        test_error=_distance(w, teacher),
        noise_energy=len(sigma) * noise**2,
    )
    shrunk = (modes.u * optimal_shrinker(modes.s, noise=noise)) @ modes.v.T
    rules = {
        "entropy_minimum": entropy_minimum,
        "evidence_based": evidence_based,
        "target": least_of(t, _distance(w, shrunk)),
        **probe_rules(t, sigma, w, train, noise**2 / len(sigma), rng),
        "oracle": oracle,
    }
    return full, rules


def _distance(w: np.ndarray, target: np.ndarray) -> Float[np.ndarray, "T"]:
    return ((w - target) ** 2).sum(axis=(1, 2))


# Minibatch SGD on inputs that are not white


@dataclass(frozen=True, eq=False)
class MinibatchSGD:
    """SGD on two linear layers, always from the same weights and with the same draws of batches.

    Parameters
    ----------
    weights : list of two matrices
    order : (steps, batch) ndarray
        Numbers in [0, 1), for the place of each sample among those that are trained on.
    lr : float
    every : int
        Steps between two records.
    """

    weights: Sequence[np.ndarray]
    order: Float[np.ndarray, "steps batch"]
    lr: float
    every: int

    @property
    def t(self) -> Float[np.ndarray, "T"]:
        """Times of the records, in units of the gradient flow."""
        return self.lr * np.arange(0, len(self.order) + 1, self.every)

    def maps(self, x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, "T out in"]:
        """End-to-end maps of the training on some samples."""
        first, second = (w.copy() for w in self.weights)
        found, rate = [second @ first], self.lr / self.order.shape[1]
        for step, rows in enumerate((self.order * len(x)).astype(int), start=1):
            inputs = x[rows]
            hidden = inputs @ first.T
            rest = rate * (y[rows] - hidden @ second.T)
            back = rest @ second
            second += rest.T @ hidden
            first += back.T @ inputs
            if step % self.every == 0:
                found.append(second @ first)
        return np.array(found)


def sgd_regret(
    *,
    signal: float,
    spikes: str,
    dimension: int,
    samples: int,
    batch: int,
    a0: float,
    draws: int,
    rng: np.random.Generator,
) -> list[dict]:
    """Regret over draws of a noisy teacher on Gaussian inputs, two layers, minibatches.

    The variance of the noise is such that exactly white inputs would give correlations with noise
    1, in units of which ``signal`` counts.  Errors are |W - W*|_F^2, of new inputs; estimates are
    of the error at the inputs of the training, with the noise taken from least squares.
    """
    strengths, found = [signal * x for x in SPIKES[spikes]], []
    for stream in rng.spawn(draws):
        shape, deviation = (dimension, dimension), np.sqrt(samples / dimension)
        teacher = spiked_teacher(*shape, strengths, noise=0.0, rng=stream).sigma
        x = stream.standard_normal((samples, dimension))
        y = x @ teacher.T + deviation * stream.standard_normal((samples, dimension))
        weights = gaussian_weights([dimension] * 3, np.sqrt(a0 / dimension), rng=stream)
        training = MinibatchSGD(weights, stream.random((1200, batch)), lr=0.01, every=6)
        t = training.t
        held = held_runs(partial(_sgd_without, training, x, y, teacher))
        w = training.maps(x, y)
        full = Run(
            t=t,
            entropy=map_entropy(w),
            train_error=evidence(w, x, y),
            test_error=_distance(w, teacher),
            noise_energy=1.0,
        )
        rules = {
            "entropy_minimum": entropy_minimum,
            "evidence_based": evidence_based,
            **linear_rules(t, w, x, y, lambda z, fit=training.maps, x=x: fit(x, z), stream),
            "oracle": oracle,
        }
        lazy = lazy_flow(x, y)
        outcomes = lazy_outcomes(full, lazy.t, _distance(lazy.maps, teacher), lazy.stop)
        found.append(regrets(full, held, rules) | outcomes)
    return settled(found)


def _sgd_without(
    training: MinibatchSGD, x: np.ndarray, y: np.ndarray, teacher: np.ndarray, out: Sequence[int]
) -> Run:
    """The training without some tenths of the samples."""
    tenths = np.array_split(np.arange(len(x)), BLOCKS)
    left = np.concatenate([tenths[block] for block in kept(out)])
    rest = np.concatenate([tenths[block] for block in out])
    w = training.maps(x[left], y[left])
    return part_run(training.t, _distance(w, teacher), half_mean_square(w, x[rest], y[rest]))


def linear_rules(
    t: np.ndarray,
    w: Float[np.ndarray, "T out in"],
    x: np.ndarray,
    y: np.ndarray,
    maps: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
    *,
    fixed: int = 0,
) -> Rules:
    """Rules for a linear network that was trained on samples: by probes, and by targets.

    ``maps`` trains on other outputs; ``fixed`` effects, such as the mean, are taken out before.

    In the coordinates of the left singular vectors of x the noise of the correlations is white,
    however the inputs are correlated.
    """
    u, _, rank = _basis(x)
    inside, n_out = u.T @ y, y.shape[1]
    variance = ((y**2).sum() - (inside**2).sum()) / ((len(x) - rank - fixed) * n_out)
    modes = svd_modes(inside.T)
    shrunk = optimal_shrinker(modes.s, noise=np.sqrt(variance * rank), aspect=n_out / rank)
    target = u @ ((modes.u * shrunk) @ modes.v.T).T
    fitted = x @ w.mT

    def train(outputs: np.ndarray) -> np.ndarray:
        return x @ maps(outputs).mT

    return {
        "target": least_of(t, _distance(fitted, target)),
        **probe_rules(t, y, fitted, train, variance, rng),
    }


def _basis(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Left singular vectors and singular values of the inputs, and their rank."""
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    rank = int((s > 1e-9 * s[0]).sum())
    return u[:, :rank], s[:rank], rank


# The lazy counterpart: gradient flow of least squares


class LazyFlow(NamedTuple):
    """Gradient flow of least squares from zero, and where restricted likelihood stops it."""

    t: Float[np.ndarray, "T"]
    maps: Float[np.ndarray, "T out in"]
    stop: float


def lazy_flow(x: np.ndarray, y: np.ndarray, *, fixed: int = 0) -> LazyFlow:
    """The flow on some samples; ``fixed`` effects, such as the mean, are taken out before."""
    u, s, rank = _basis(x)
    v, rates, inside = (x.T @ u) / s, s**2 / len(x), u.T @ y
    t = np.append(0.0, np.geomspace(1e-3 / rates[0], 1e2 / rates[-1], 300))
    learned = -np.expm1(-np.outer(t, rates)) / s
    maps = (inside.T * learned[:, None]) @ v.T
    energy = (inside**2).sum(axis=1)
    others = len(x) - rank - fixed  # directions that the flow never enters
    rest = np.full(others, max((y**2).sum() - energy.sum(), 0.0) / max(others, 1))
    stop = reml_time(np.append(rates, np.zeros(others)), np.append(energy, rest))
    return LazyFlow(t, maps, min(stop, float(t[-1])))


def lazy_outcomes(
    full: Run, t: np.ndarray, test_error: np.ndarray, stop: float
) -> dict[str, Outcome]:
    """Errors of a lazy flow at its stop and at its best, over the least error of a network."""
    run, least = part_run(t, test_error, test_error), lowest(full.t, full.test_error)[1]
    values = {
        name: regret(run, time, best=full)
        for name, time in (("reml", stop), ("lazy_oracle", oracle(run)))
    }
    return {name: (value, np.nan, value * least) for name, value in values.items()}


def reml_time(rates: Float[np.ndarray, "n"], energies: Float[np.ndarray, "n"]) -> float:
    """Time at which the spectral losses are uncorrelated with the rates of gradient flow.

    Model: output i, in the eigenbasis of the operator, has the variance s^2 exp(rate_i t), of which
    s^2 is noise; the posterior mean of the rest is what gradient flow predicts at t.  The
    restricted likelihood of t, s^2 being profiled out, is stationary where::

        sum_i rate_i e_i exp(-rate_i t) / sum_i e_i exp(-rate_i t) = mean rate,

    e_i the squares of the outputs.  The left side falls with t, so that there is one such time; it
    is 0 if the energies do not rise with the rates at all.
    """

    def tilt(t: float) -> float:
        weights = energies * np.exp(-rates * t)
        return float(weights @ (rates - rates.mean()) / weights.sum())

    if tilt(0.0) <= 0:
        return 0.0
    end = 1.0 / rates.max()
    while tilt(end) > 0:
        end *= 2
        if end * rates.max() > 700:  # all is learned, to rounding: no noise is seen
            return end
    return float(brentq(tilt, 0, end))


# Digits with wrong labels


def digits_probe_regret(
    *,
    samples: int,
    wrong_labels: float,
    inputs: str,
    scale: float,
    splits: int,
    rng: np.random.Generator,
) -> list[dict]:
    """Regret on held-out digits; the settings and trainings of `digits_regret`."""
    found = []
    for stream in rng.spawn(splits):
        data = noisy_digits(samples, wrong_labels, stream)
        weights = gaussian_weights([data.x.shape[1], 32, 10], scale, rng=stream)
        task = data.task((), inputs == "white")[0]
        full = DigitsTraining(task, weights, scale, stream)

        def without(out: Sequence[int], full=full, data=data) -> Run:
            return full.without(*data.task(out, inputs == "white"))

        x, y, w = task.x, task.y, full.maps(task)

        def maps(outputs: np.ndarray, full=full, task=task) -> np.ndarray:
            centred = outputs - outputs.mean(axis=0)
            return full.maps_of(task.x, centred)

        rules = {name: full.rules[name] for name in ("entropy_minimum", "evidence_based")}
        rules |= linear_rules(full.t, w, x, y, maps, stream, fixed=1) | {"oracle": oracle}
        lazy = lazy_flow(x, y, fixed=1)
        error = half_mean_square(lazy.maps, task.x_test, task.y_test)
        outcomes = lazy_outcomes(full.run, lazy.t, error, lazy.stop)
        found.append(regrets(full.run, held_runs(without), rules) | outcomes)
    return settled(found)
