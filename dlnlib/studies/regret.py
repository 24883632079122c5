"""Regret of the stop rules on noisy low-rank teachers.

The teacher is seen through samples with exactly white inputs, in ten equal blocks that are white
by themselves, so that the correlation of a block is W* plus independent Gaussian noise:
noise sqrt(10 / n_in) per entry, and noise / sqrt(n_in) for all of them together.

Validation keeps two blocks out, or one, or each pair of them in turn (five folds, whose validation
errors are averaged); afterwards the network is trained again on all samples up to the time found.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from scipy.special import expit, stdtrit

from dlnlib._curves import lowest, smooth
from dlnlib.entropy import map_entropy, spectral_entropy
from dlnlib.flow import gaussian_weights, gradient_flow
from dlnlib.modes import learning_time, mode_strength
from dlnlib.random_matrix import bulk_edge, detection_threshold, optimal_shrinker
from dlnlib.stopping import RULES, Run, regret, validation_patience
from dlnlib.tasks import Modes, project, spiked_teacher, svd_modes

BLOCKS = 10
#: Blocks that each rival keeps out of its trainings.
HELD_OUT = {
    "validation": [(0, 1)],
    "validation_10": [(0,)],
    "validation_folds": [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)],
}
#: Rivals of the paired ratios, and their columns.
RIVALS = {"validation": "to_split", "validation_folds": "to_folds"}
SPIKES = {"one": (1.0,), "equal": (1.0, 1.0, 1.0), "levels": (4.0, 2.0, 1.0)}
Outcome = tuple[float, float, float]  # regret, time in units of the best, test error


@dataclass(frozen=True, eq=False)
class Split:
    """A noisy teacher, and its correlations from each block of the samples."""

    teacher: Float[np.ndarray, "out in"]
    blocks: Float[np.ndarray, "blocks out in"]

    def of(self, blocks: Sequence[int]) -> Float[np.ndarray, "out in"]:
        """Correlation of some blocks."""
        return self.blocks[list(blocks)].mean(axis=0)


def split_teacher(
    strengths: Sequence[float], shape: tuple[int, int], *, rng: np.random.Generator
) -> Split:
    """Draw a teacher (out, in) and its correlations; noise 1 in all samples."""
    teacher = spiked_teacher(*shape, strengths, noise=0.0, rng=rng).sigma
    noise = rng.standard_normal((BLOCKS, *shape)) * np.sqrt(BLOCKS / shape[1])
    return Split(teacher, teacher + noise)


def kept(held: Sequence[int]) -> list[int]:
    """Blocks that are left for training."""
    return [block for block in range(BLOCKS) if block not in held]


def spiked_regret(
    *,
    signal: float,
    spikes: str,
    n_out: int,
    n_in: int,
    a0: float,
    depth: int,
    start: str,
    draws: int,
    rng: np.random.Generator,
) -> list[dict]:
    """Regret of each rule over draws of a teacher with the given spikes, noise 1.

    ``signal`` is the strength of the weakest spike in units of the detection threshold
    (n_out / n_in)^(1/4); ``spikes`` is "one", "equal" or "levels" (see `SPIKES`).  ``start`` is
    "aligned" (modes in closed form) or "random" (all weights are trained, from i.i.d. Gaussian
    layers whose singular values are of the order a0^(1/L); all trainings of a draw, with all
    samples or a part of them, begin with the same weights).
    """
    unit = signal * detection_threshold(aspect=n_out / n_in)
    strengths = [unit * x for x in SPIKES[spikes]]
    begin = {"aligned": lambda *_: _aligned, "random": _random}[start]
    found = []
    for stream in rng.spawn(draws):
        split = split_teacher(strengths, (n_out, n_in), rng=stream)
        train = begin(split, len(strengths), a0, depth, stream)
        observe = partial(_observe, split, len(strengths), a0, depth, train)
        full = observe(())
        held = {name: [observe(out) for out in sets] for name, sets in HELD_OUT.items()}
        found.append(regrets(full, held) | _without_training(split, full))
    return summary(found)


def regrets(
    full: Run, held: Mapping[str, Sequence[Run]], rules: Mapping[str, Callable] = RULES
) -> dict[str, Outcome]:
    """Outcome of each rule; validation pays with samples.

    ``full`` is trained on all samples, ``held`` are the runs that each rival validates.  One of a
    single run keeps the network of its stop; trained again on all samples it is "_retrained".
    """
    stops = {name: rule(full) for name, rule in rules.items() if name != "validation_patience"}
    best, (least, end) = stops["oracle"], (lowest(full.t, full.test_error)[1], full.t[-1])

    def outcome(run: Run, stop: float) -> Outcome:
        value = regret(run, stop, best=full)
        return value, stop / best if best else np.inf, value * least

    found = {}
    for name, runs in held.items():
        stop = validation_patience(averaged(runs))
        if len(runs) == 1:
            found[name] = outcome(runs[0], stop)
        stops[name if len(runs) > 1 else f"{name}_retrained"] = min(stop, end)
    return found | {
        name: outcome(full, stop) for name, stop in (stops | {"end_of_run": end}).items()
    }


def averaged(runs: Sequence[Run]) -> Run:
    """A run whose validation error is the mean of those given, as long as all of them last."""
    if len(runs) == 1:
        return runs[0]
    end = min(run.t[-1] for run in runs)
    t = _apart(np.unique(np.concatenate([run.t for run in runs])), end)
    return part_run(
        t, 1 + 0 * t, np.mean([smooth(r.t, r.validation_error)(t) for r in runs], axis=0)
    )


def part_run(t: np.ndarray, test_error: np.ndarray, validation_error: np.ndarray) -> Run:
    """A run on a part of the samples: validation reads nothing else."""
    return Run(t, 0 * t, 0 * t, test_error, validation_error)


def _without_training(split: Split, full: Run) -> dict[str, Outcome]:
    """What no stopping time has a part in: the zero map, and the spectrum optimally shrunk."""
    least, modes = lowest(full.t, full.test_error)[1], svd_modes(split.of(kept(())))
    n_out, n_in = split.teacher.shape
    shrunk = optimal_shrinker(modes.s, noise=1.0, aspect=n_out / n_in)
    maps = {"zero_map": 0 * split.teacher, "shrinker": (modes.u * shrunk) @ modes.v.T}
    errors = {name: float(((w - split.teacher) ** 2).sum()) for name, w in maps.items()}
    return {name: (error / least, np.nan, error) for name, error in errors.items()}


def summary(
    found: Sequence[Mapping[str, Outcome]], rivals: Mapping[str, str] = RIVALS
) -> list[dict]:
    """Over draws: geometric mean with 95 % interval and 90 % quantile; median time and error.

    ``to_split`` is the geometric mean, over draws, of the regret over that of validation with 20 %
    kept out, with the 95 % interval of the paired logarithms; ``to_folds`` the same for five folds;
    ``beats`` the share of the draws in which a rule leaves less error than validation.  ``rivals``
    are those that all are compared with, and the names of the columns.
    """
    logs = {name: np.log([draw[name][0] for draw in found]) for name in found[0]}
    rows = []
    for name, log in logs.items():
        value, time, error = np.array([draw[name] for draw in found]).T
        numbers = {
            **_interval("regret", "low", "high", log),
            "upper": np.quantile(value, 0.9),
            "time": np.median(time),
            "error": np.median(error),
            "beats": np.mean(log < logs["validation"]),
        }
        for rival, column in rivals.items():
            paired = log - logs[rival]
            numbers |= _interval(column, f"{column}_low", f"{column}_high", paired)
        rows.append({"rule": name} | {key: _short(x) for key, x in numbers.items()})
    return rows


def _interval(mean: str, low: str, high: str, log: Float[np.ndarray, "draws"]) -> dict[str, float]:
    """Geometric mean and the 95 % interval of Student's t for the logarithms."""
    width = stdtrit(log.size - 1, 0.975) * log.std(ddof=1) / np.sqrt(log.size)
    return {mean: np.exp(log.mean())} | {
        low: np.exp(log.mean() - width),
        high: np.exp(log.mean() + width),
    }


def _short(x: float) -> float:
    return float(f"{x:.5g}")  # what follows may differ between machines


Distance = Callable[[Float[np.ndarray, "out in"]], Float[np.ndarray, "T"]]
Training = tuple[np.ndarray, np.ndarray, Callable[[], np.ndarray], Distance]


def _observe(
    split: Split, signals: int, a0: float, depth: int, train: Callable, held: Sequence[int]
) -> Run:
    """One training, without the blocks that are held out."""
    (n_out, n_in), left = split.teacher.shape, kept(held)
    modes, noise = svd_modes(split.of(left)), np.sqrt(BLOCKS / len(left))
    edge = int((modes.s <= bulk_edge(noise=noise, aspect=n_out / n_in)).argmax())
    t, a, entropy, distance = train(modes, max(signals, edge) + 1, a0, depth)
    if held:
        return part_run(t, distance(split.teacher), distance(split.of(held)))
    return Run(
        t=t,
        entropy=entropy(),
        train_error=distance(modes.matrix()),
        test_error=distance(split.teacher),
        noise_mode=a[:, signals] / modes.s[signals],
        edge_mode=a[:, edge] / modes.s[edge],
        noise_energy=n_out * noise**2,
    )


def _aligned(modes: Modes, leading: int, a0: float, depth: int) -> Training:
    t = _times(modes.s[:leading], a0, depth)
    a = mode_strength(t, modes.s, a0, depth=depth)

    def distance(target):
        return (a**2).sum(axis=1) - 2 * a @ project(target, modes) + (target**2).sum()

    return t, a, partial(spectral_entropy, a), distance


def _times(s: np.ndarray, a0: float, depth: int) -> np.ndarray:
    """Times at which something happens: levels of the leading modes, and a long end."""
    fractions = expit(np.linspace(-6, 12, 46))  # a small start turns H when little is left to learn
    levels = [learning_time(s, a0, x, depth=depth) for x in fractions if x * s[-1] > 1.01 * a0]
    end = learning_time(s[-1:], a0, 0.9, depth=depth)[0]
    t = np.concatenate([np.linspace(0, 1.2 * end, 80), np.linspace(1.3, 5, 38) * end, *levels])
    return _apart(np.unique(t), 5 * end)


def _apart(t: np.ndarray, end: float) -> np.ndarray:
    """Times up to the end, without those that are the same but for rounding."""
    t = t[t <= end]
    return t[np.append(True, np.diff(t) > 1e-9 * end)]


def _random(
    split: Split, signals: int, a0: float, depth: int, rng: np.random.Generator
) -> Callable[..., Training]:
    """Training from weights drawn once, at the same times for all parts of the samples."""
    n_out, n_in = split.teacher.shape
    widths = [n_in, *[min(n_out, n_in)] * (depth - 1), n_out]
    weights = gaussian_weights(widths, a0 ** (1 / depth) / np.sqrt(max(widths)), rng=rng)
    noise = svd_modes(split.of(kept(()))).s[signals : signals + 1]
    t = np.linspace(0, 2.5 * learning_time(noise, a0, 0.9, depth=depth)[0], 300)

    def train(modes: Modes, *_: object) -> Training:
        w = gradient_flow(t, weights, modes.matrix(), rtol=1e-6, atol=1e-9).product

        def distance(target):
            return ((w - target) ** 2).sum(axis=(1, 2))

        return t, project(w, modes), partial(map_entropy, w), distance

    return train
