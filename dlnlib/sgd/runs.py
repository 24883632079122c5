"""What runs of different networks share: records, step sizes, and the runs that diverged."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from dlnlib._checks import as_count, as_numbers, as_positive, as_times


class Runs:
    """Base of the frozen results with ``diverged_at``: an iteration for each run, or -1."""

    _common = ("t",)  # fields that are not one entry per run

    @property
    def diverged(self) -> Bool[np.ndarray, "runs"]:
        """True for the runs that diverged."""
        return self.diverged_at >= 0

    def survivors(self) -> "Runs":
        """The runs that did not diverge; there is no NaN in them."""
        kept = {
            name: value[~self.diverged]
            for name, value in vars(self).items()
            if name not in self._common and value is not None
        }
        return replace(self, **kept)


def as_step_sizes(lr: ArrayLike) -> Float[np.ndarray, "steps"]:
    """One positive step size per iteration."""
    sizes = as_positive("lr", lr, "a step size of zero or below does not descend")
    if as_numbers("lr", lr).ndim != 1:
        raise ValueError(
            "lr must hold one step size per iteration: use schedules.constant(lr, steps)"
        )
    return np.ascontiguousarray(sizes)


def as_batch(batch: int | None) -> int | None:
    """Samples per iteration, or None for all of them."""
    return None if batch is None else as_count("batch", batch, 1, "give None for all samples")


def as_order(order: ArrayLike, runs: int, steps: int, n: int) -> Int[np.ndarray, "runs steps"]:
    """The sample of each iteration, one row per run."""
    as_numbers("order", order)
    given = np.atleast_2d(order)
    if given.shape not in ((1, steps), (runs, steps)) or given.dtype.kind not in "iu":
        raise ValueError(f"order needs one integer per iteration: got shape {given.shape}")
    if given.size and not 0 <= given.min() <= given.max() < n:
        raise ValueError(f"order must lie in 0 ... {n - 1}: it picks one of the {n} samples")
    return np.broadcast_to(given, (runs, steps))


def streams(
    rng: np.random.Generator | None, runs: int, needed: bool = True
) -> list[np.random.Generator | None]:
    """A child of the generator for each run, whatever their number; None if nothing is drawn."""
    runs = as_count("runs", runs, 1, "each is one training")
    if not needed:
        return [None] * runs
    if rng is None:
        raise ValueError("rng is needed to draw samples or label noise: pass a Generator")
    return rng.spawn(runs)


def as_iterations(record: ArrayLike | None, steps: int) -> Int[np.ndarray, "T"]:
    """Iterations to record, increasing; the first and the last by default."""
    given = as_times([0, steps] if record is None else record)
    iterations = np.minimum(given, steps + 1).astype(int)
    if (given != iterations).any() or iterations[-1] > steps or (np.diff(iterations) == 0).any():
        raise ValueError(
            f"record must hold different whole numbers of iterations, at most {steps}: "
            "use numpy.unique on them"
        )
    return iterations
