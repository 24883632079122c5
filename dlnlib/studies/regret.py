"""Regret of the stop rules on noisy low-rank teachers.

The teacher is seen through samples with exactly white inputs, so that the correlation of any part
of the samples is W* plus Gaussian noise: noise / sqrt(n_in) per entry for all of them, and
noise / sqrt(f n_in), independently, for a fraction f of them that is white by itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import expit, stdtrit

from dlnlib._curves import lowest
from dlnlib.entropy import spectral_entropy
from dlnlib.flow import gaussian_weights, gradient_flow
from dlnlib.modes import learning_time, mode_strength
from dlnlib.random_matrix import bulk_edge, optimal_shrinker
from dlnlib.stopping import RULES, Run, regret, validation_patience
from dlnlib.tasks import Modes, project, spiked_teacher, svd_modes

VALIDATION = 0.2  # share of the samples kept out for validation
Outcome = tuple[float, float, float]  # regret, time in units of the best, test error
SPIKES = {"one": (1.0,), "equal": (1.0, 1.0, 1.0), "levels": (4.0, 2.0, 1.0)}


@dataclass(frozen=True, eq=False)
class Split:
    """A noisy teacher, and its correlation from all samples, a part of them, and the rest."""

    teacher: Float[np.ndarray, "out in"]
    all: Float[np.ndarray, "out in"]
    train: Float[np.ndarray, "out in"]
    validation: Float[np.ndarray, "out in"]


def split_teacher(
    strengths: Sequence[float], dimension: int, *, fraction: float, rng: np.random.Generator
) -> Split:
    """Draw a square teacher and its correlations, with a fraction kept out; noise 1 in all."""
    shape = (dimension, dimension)
    teacher = spiked_teacher(*shape, strengths, noise=0.0, rng=rng).sigma
    train, rest = (
        teacher + rng.standard_normal(shape) / np.sqrt(part * dimension)
        for part in (1 - fraction, fraction)
    )
    return Split(teacher, (1 - fraction) * train + fraction * rest, train, rest)


def spiked_regret(
    *,
    signal: float,
    spikes: str,
    dimension: int,
    a0: float,
    depth: int,
    start: str,
    draws: int,
    rng: np.random.Generator,
) -> list[dict]:
    """Regret of each rule over draws of a square teacher with the given spikes, noise 1.

    ``signal`` is the strength of the weakest spike in units of the detection threshold, which is
    the noise itself; ``spikes`` is "one", "equal" or "levels" (see `SPIKES`).  ``start`` is
    "aligned" (modes in closed form) or "random" (all weights are trained, from i.i.d. Gaussian
    layers whose singular values are of the order a0^(1/L)).
    """
    strengths = [signal * x for x in SPIKES[spikes]]
    train = {"aligned": _aligned, "random": _random}[start]
    found = []
    for stream in rng.spawn(draws):
        split = split_teacher(strengths, dimension, fraction=VALIDATION, rng=stream)
        modes = svd_modes(split.all), svd_modes(split.train)
        full, part = (
            train(_Observed(split, basis, noise, len(strengths)), a0, depth, stream)
            for basis, noise in zip(modes, (1.0, 1 / np.sqrt(1 - VALIDATION)), strict=True)
        )
        found.append(regrets(full, part) | _without_training(split, modes[0], full))
    return summary(found)


def regrets(full: Run, part: Run, rules: Mapping[str, Callable] = RULES) -> dict[str, Outcome]:
    """Outcome of each rule; validation pays with samples.

    ``full`` is trained on all samples, ``part`` on those that validation leaves; after validation
    the network can also be trained again, on all samples, up to the time found.
    """
    split, end = validation_patience(part), full.t[-1]
    stops = {name: rule(full) for name, rule in rules.items() if name != "validation_patience"}
    stops |= {"validation_retrained": min(split, end), "end_of_run": end}
    best, least = stops["oracle"], lowest(full.t, full.test_error)[1]

    def outcome(run: Run, stop: float) -> Outcome:
        value = regret(run, stop, best=full)
        return value, stop / best if best else np.inf, value * least

    found = {name: outcome(full, stop) for name, stop in stops.items()}
    return found | {"validation": outcome(part, split)}


def _without_training(split: Split, modes: Modes, full: Run) -> dict[str, Outcome]:
    """What no stopping time has a part in: the zero map, and the spectrum optimally shrunk."""
    least = lowest(full.t, full.test_error)[1]
    shrunk = optimal_shrinker(modes.s, noise=1.0, aspect=1.0)
    maps = {"zero_map": 0 * split.teacher, "shrinker": (modes.u * shrunk) @ modes.v.T}
    errors = {name: float(((w - split.teacher) ** 2).sum()) for name, w in maps.items()}
    return {name: (error / least, np.nan, error) for name, error in errors.items()}


def summary(found: Sequence[Mapping[str, Outcome]]) -> list[dict]:
    """Over draws: geometric mean with 95 % interval and 90 % quantile; median time and error.

    ``beats`` is the share of the draws in which a rule leaves less error than validation.
    """
    rows = []
    to_beat = np.array([draw["validation"][2] for draw in found])
    for name in found[0]:
        value, time, error = np.array([draw[name] for draw in found]).T
        log = np.log(value)
        width = stdtrit(log.size - 1, 0.975) * log.std(ddof=1) / np.sqrt(log.size)
        numbers = {
            "regret": np.exp(log.mean()),
            "low": np.exp(log.mean() - width),
            "high": np.exp(log.mean() + width),
            "upper": np.quantile(value, 0.9),
            "time": np.median(time),
            "error": np.median(error),
            "beats": np.mean(error < to_beat),
        }
        rows.append({"rule": name} | {key: _short(x) for key, x in numbers.items()})
    return rows


def _short(x: float) -> float:
    return float(f"{x:.5g}")  # what follows may differ between machines


@dataclass(frozen=True, eq=False)
class _Observed:
    """A teacher as one training sees it: the modes of its correlation, of which signals lead."""

    split: Split
    modes: Modes
    noise: float
    signals: int

    @property
    def edge(self) -> int:
        """Number of the first mode below the edge of the noise."""
        return int((self.modes.s <= bulk_edge(noise=self.noise, aspect=1.0)).argmax())

    def run(self, t: np.ndarray, a: np.ndarray, entropy: np.ndarray, distance: Callable) -> Run:
        """The run, from its modes and the squared distance of its maps to a target."""
        return Run(
            t=t,
            entropy=entropy,
            train_error=distance(self.modes.matrix()),
            test_error=distance(self.split.teacher),
            validation_error=distance(self.split.validation),
            noise_mode=a[:, self.signals] / self.modes.s[self.signals],
            edge_mode=a[:, self.edge] / self.modes.s[self.edge],
            noise_energy=len(self.modes.s) * self.noise**2,
        )


def _aligned(seen: _Observed, a0: float, depth: int, rng: np.random.Generator) -> Run:
    modes = seen.modes
    t = _times(modes.s[: max(seen.signals, seen.edge) + 1], a0, depth)
    a = mode_strength(t, modes.s, a0, depth=depth)

    def distance(target):
        inner = project(target, modes)
        return (a**2).sum(axis=1) - 2 * a @ inner + (target**2).sum()

    return seen.run(t, a, spectral_entropy(a), distance)


def _times(s: np.ndarray, a0: float, depth: int) -> np.ndarray:
    """Times at which something happens: levels of the leading modes, and a long end."""
    fractions = expit(np.linspace(-6, 12, 46))
    levels = [learning_time(s, a0, x, depth=depth) for x in fractions if x * s[-1] > 1.01 * a0]
    end = learning_time(s[-1:], a0, 0.9, depth=depth)[0]
    t = np.concatenate([np.linspace(0, 1.2 * end, 80), np.linspace(1.3, 5, 38) * end, *levels])
    t = np.unique(t[t <= 5 * end])
    return t[np.append(True, np.diff(t) > 1e-9 * end)]


def _random(seen: _Observed, a0: float, depth: int, rng: np.random.Generator) -> Run:
    modes, size = seen.modes, len(seen.modes.s)
    weights = gaussian_weights([size] * (depth + 1), a0 ** (1 / depth) / np.sqrt(size), rng=rng)
    end = 2.5 * learning_time(modes.s[seen.signals : seen.signals + 1], a0, 0.9, depth=depth)[0]
    t = np.linspace(0, end, 300)
    w = gradient_flow(t, weights, modes.matrix(), rtol=1e-6, atol=1e-9).product

    def distance(target):
        return ((w - target) ** 2).sum(axis=(1, 2))

    return seen.run(t, project(w, modes), map_entropy(w), distance)


def map_entropy(w: Float[np.ndarray, "T out in"]) -> Float[np.ndarray, "T"]:
    """Spectral entropy of maps, from their squared singular values."""
    return spectral_entropy(np.linalg.eigvalsh(w @ w.mT).clip(0), power=1)
