"""Regret of the stop rules on noisy low-rank teachers.

The teacher is seen through samples with exactly white inputs, in ten equal blocks that are white
by themselves, so that the correlation of a block is W* plus independent Gaussian noise:
noise sqrt(10 / n_in) per entry, and noise / sqrt(n_in) for all of them together.

Validation keeps two blocks out, or one, or each pair of them in turn (five folds, whose validation
errors are averaged); afterwards the network is trained again on all samples up to the time found.
"validation_averaged" takes the mean of the maps of the five folds instead.

The estimates of the test error read the correlation of all samples.  "risk_minimum" and
"plugin_known" are told the noise, which they may misjudge; "risk_median" and "plugin_minimum" find
it from the median singular value.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Float
from scipy.special import expit, stdtrit

from dlnlib._curves import lowest, smooth
from dlnlib.entropy import map_entropy, spectral_entropy
from dlnlib.flow import gaussian_weights, gradient_flow
from dlnlib.modes import learning_time, mode_strength
from dlnlib.modes.clock import clock_speed, rise_clock
from dlnlib.random_matrix import bulk_edge, detection_threshold, optimal_shrinker
from dlnlib.stopping import (
    ESTIMATE_RULES,
    RULES,
    Run,
    noise_level,
    plugin_minimum,
    stop_estimates,
    validation_patience,
)
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
MapAt = Callable[[float], Float[np.ndarray, "out in"]]  # the end-to-end map at a time


@dataclass(frozen=True, eq=False)
class Split:
    """A noisy teacher, and its correlations from each block of the samples."""

    teacher: Float[np.ndarray, "out in"]
    blocks: Float[np.ndarray, "blocks out in"]

    def of(self, blocks: Sequence[int]) -> Float[np.ndarray, "out in"]:
        """Correlation of some blocks."""
        return self.blocks[list(blocks)].mean(axis=0)


def split_teacher(
    strengths: Sequence[float],
    shape: tuple[int, int],
    *,
    rng: np.random.Generator,
    noise: str = "gaussian",
) -> Split:
    """Draw a teacher (out, in) and its correlations; noise of a kind, 1 in all samples."""
    teacher = spiked_teacher(*shape, strengths, noise=0.0, rng=rng).sigma
    drawn = NOISES[noise](rng, (BLOCKS, *shape)) * np.sqrt(BLOCKS / shape[1])
    return Split(teacher, teacher + drawn)


def _unequal(size: int) -> Float[np.ndarray, "size"]:
    """Noise levels of which every other one has nine times the variance; mean variance 1."""
    return np.sqrt(np.where(np.arange(size) % 2, 0.2, 1.8))


def _correlated(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Outputs next to each other share half of their noise."""
    drawn = rng.standard_normal((shape[0], shape[1] + 1, shape[2]))
    return (drawn[:, 1:] + drawn[:, :-1]) / np.sqrt(2)


#: Noise by kind, of mean variance 1 per entry: the first has the assumptions of all theorems.
NOISES: dict[str, Callable[[np.random.Generator, tuple[int, int, int]], np.ndarray]] = {
    "gaussian": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
    "signs": lambda rng, shape: rng.choice([-1.0, 1.0], shape),
    "unequal outputs": lambda rng, shape: rng.standard_normal(shape) * _unequal(shape[1])[:, None],
    "unequal inputs": lambda rng, shape: rng.standard_normal(shape) * _unequal(shape[2]),
    "correlated outputs": _correlated,
}


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
    depth: float,
    start: str,
    draws: int,
    rng: np.random.Generator,
    noise: str = "gaussian",
    judged: float = 1.0,
) -> list[dict]:
    """Regret of each rule over draws of a teacher with the given spikes, noise 1.

    ``signal`` is the strength of the weakest spike in units of the detection threshold
    (n_out / n_in)^(1/4); ``spikes`` is "one", "equal" or "levels" (see `SPIKES`).  ``start`` is
    "aligned" (modes in closed form) or "random" (all weights are trained, from i.i.d. Gaussian
    layers whose singular values are of the order a0^(1/L); all trainings of a draw, with all
    samples or a part of them, begin with the same weights).  ``noise`` is a kind of `NOISES`, and
    ``judged`` the level at which those put it who say that they know it.
    """
    unit = signal * detection_threshold(aspect=n_out / n_in)
    strengths = [unit * x for x in SPIKES[spikes]]
    begin = {"aligned": lambda *_: _aligned, "random": _random}[start]
    found = []
    for stream in rng.spawn(draws):
        split = split_teacher(strengths, (n_out, n_in), rng=stream, noise=noise)
        train = begin(split, len(strengths), a0, depth, stream)
        observe = partial(_observe, split, len(strengths), a0, depth, judged, train)
        (full, _), rules = observe(()), RULES | {"plugin_minimum": plugin_minimum}
        if start == "aligned":
            full, rules = _estimated(full, split, a0, depth, judged)
        parts = {name: [observe(out) for out in sets] for name, sets in HELD_OUT.items()}
        held = {name: [run for run, _ in pairs] for name, pairs in parts.items()}
        found.append(
            regrets(full, held, rules)
            | _averaged_maps(split, full, parts["validation_folds"])
            | _without_training(split, full, judged)
        )
    return summary(found)


def regrets(
    full: Run, held: Mapping[str, Sequence[Run]], rules: Mapping[str, Callable] = RULES
) -> dict[str, Outcome]:
    """Outcome of each rule; validation pays with samples.

    ``full`` is trained on all samples, ``held`` are the runs that each rival validates.  One of a
    single run keeps the network of its stop; trained again on all samples it is "_retrained".
    """
    stops = {name: rule(full) for name, rule in rules.items() if name != "validation_patience"}
    best, end = stops["oracle"], full.t[-1]
    least = lowest(full.t, full.test_error)[1]

    def outcomes(run: Run, stops: Mapping[str, float]) -> dict[str, Outcome]:
        errors = errors_at(run, list(stops.values()))
        times = [stop / best if best else np.inf for stop in stops.values()]
        return dict(zip(stops, zip(errors / least, times, errors, strict=True), strict=True))

    found = {}
    for name, runs in held.items():
        stop = validation_patience(averaged(runs))
        if len(runs) == 1:
            found |= outcomes(runs[0], {name: stop})
        stops[name if len(runs) > 1 else f"{name}_retrained"] = min(stop, end)
    return found | outcomes(full, stops | {"end_of_run": end})


def errors_at(run: Run, stops: Sequence[float]) -> Float[np.ndarray, "n"]:
    """Test errors at some times, as `regret` has them."""
    return np.maximum(smooth(run.t, run.test_error)(stops), lowest(run.t, run.test_error)[1])


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


def _averaged_maps(split: Split, full: Run, folds: Sequence[tuple[Run, MapAt]]) -> dict:
    """The mean of the maps of all folds, at the time that their averaged validation finds."""
    stop = validation_patience(averaged([run for run, _ in folds]))
    mean = np.mean([map_at(stop) for _, map_at in folds], axis=0)
    best, least = lowest(full.t, full.test_error)
    error = float(((mean - split.teacher) ** 2).sum())
    outcome = error / least, stop / best if best else np.inf, error
    return {"validation_averaged": outcome}


def _without_training(split: Split, full: Run, judged: float) -> dict[str, Outcome]:
    """What no stopping time has a part in: the zero map, and the spectrum optimally shrunk."""
    least, modes = lowest(full.t, full.test_error)[1], svd_modes(split.of(kept(())))
    n_out, n_in = split.teacher.shape
    shrunk = optimal_shrinker(modes.s, noise=judged, aspect=n_out / n_in)
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
Training = tuple[np.ndarray, np.ndarray, Callable[[], np.ndarray], Distance, MapAt]


def _observe(
    split: Split,
    signals: int,
    a0: float,
    depth: float,
    judged: float,
    train: Callable,
    held: Sequence[int],
) -> tuple[Run, MapAt]:
    """One training, without the blocks that are held out."""
    (n_out, n_in), left = split.teacher.shape, kept(held)
    modes, noise = svd_modes(split.of(left)), judged * np.sqrt(BLOCKS / len(left))
    edge = int((modes.s <= bulk_edge(noise=noise, aspect=n_out / n_in)).argmax())
    t, a, entropy, distance, map_at = train(modes, max(signals, edge) + 1, a0, depth)
    if held:
        return part_run(t, distance(split.teacher), distance(split.of(held))), map_at
    shrunk = optimal_shrinker(
        modes.s, noise=noise_level(modes.s, shape=(n_out, n_in)), aspect=n_out / n_in
    )
    run = Run(
        t=t,
        entropy=entropy(),
        train_error=distance(modes.matrix()),
        test_error=distance(split.teacher),
        noise_mode=a[:, signals] / modes.s[signals],
        edge_mode=a[:, edge] / modes.s[edge],
        # up to a constant, the distance to the matrix that has the shrunk singular values
        plugin_error=distance((modes.u * shrunk) @ modes.v.T),
        noise_energy=n_out * noise**2,
    )
    return run, map_at


def _estimated(run: Run, split: Split, a0: float, depth: float, judged: float) -> tuple[Run, dict]:
    """A run of aligned modes with all estimates of its error, and the rules for it."""
    shape, s = split.teacher.shape, svd_modes(split.of(kept(()))).s
    told, alone = (
        stop_estimates(run.t, s, a0, shape=shape, noise=noise, depth=depth)
        for noise in (judged, None)
    )
    run = replace(run, risk_estimate=told.risk_estimate, cross_validation=told.cross_validation)
    return run, RULES | ESTIMATE_RULES | {
        "risk_median": lambda run: lowest(run.t, alone.risk_estimate)[0],
        "plugin_known": lambda run: lowest(run.t, told.plugin_error)[0],
    }


def _aligned(modes: Modes, leading: int, a0: float, depth: float) -> Training:
    t = _times(modes.s[:leading], a0, depth)
    a = mode_strength(t, modes.s, a0, depth=depth)

    def distance(target):
        return (a**2).sum(axis=1) - 2 * a @ project(target, modes) + (target**2).sum()

    def map_at(time):
        return (modes.u * mode_strength([time], modes.s, a0, depth=depth)) @ modes.v.T

    return t, a, partial(spectral_entropy, a), distance, map_at


def _times(s: np.ndarray, a0: float, depth: float) -> np.ndarray:
    """Times at which something happens: levels of the leading modes, and a long end."""
    logits = np.linspace(-6, 12, 46)  # a small start turns H when little is left to learn
    logits = logits[expit(logits) * s[-1] > 1.01 * a0, None]
    passed = rise_clock(logits, depth) - rise_clock(np.log(a0) - np.log(s - a0), depth)
    levels = (passed / clock_speed(s, 1.0, depth)).ravel()
    end = learning_time(s[-1:], a0, 0.9, depth=depth)[0]
    t = np.concatenate([np.linspace(0, 1.2 * end, 80), np.linspace(1.3, 5, 38) * end, levels])
    return _apart(np.unique(t), 5 * end)


def _apart(t: np.ndarray, end: float) -> np.ndarray:
    """Times up to the end, without those that are the same but for rounding."""
    t = t[t <= end]
    return t[np.append(True, np.diff(t) > 1e-9 * end)]


def _random(
    split: Split, signals: int, a0: float, depth: float, rng: np.random.Generator
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

        def map_at(time):
            i = np.clip(np.searchsorted(t, time), 1, t.size - 1)
            part = (time - t[i - 1]) / (t[i] - t[i - 1])
            return (1 - part) * w[i - 1] + part * w[i]

        return t, project(w, modes), partial(map_entropy, w), distance, map_at

    return train
