"""Step sizes over a run: constant, stepwise decay, and two warm-ups."""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import as_count, as_positive, as_scalar, as_share, as_vector, in_range

_STEP_HINT = "a step size of zero or below does not descend"


@in_range
def constant(lr: float, steps: int) -> Float[np.ndarray, "steps"]:
    """One step size throughout.

    Parameters
    ----------
    lr : float
        Step size, > 0.
    steps : int
        Number of iterations, at least 1.

    Returns
    -------
    (steps,) ndarray

    Examples
    --------
    >>> constant(0.1, 3).tolist()
    [0.1, 0.1, 0.1]
    """
    return np.full(_steps(steps), as_scalar("lr", lr, _STEP_HINT))


@in_range
def step_decay(
    lr: float, steps: int, *, at: ArrayLike, by: ArrayLike, delay: int = 0
) -> Float[np.ndarray, "steps"]:
    """A constant step size that is divided at one or more moments.

    The public code divides before it takes the step of that iteration in ReLU networks, and after
    it in diagonal ones, so that there the change acts one iteration later: delay = 1.

    Parameters
    ----------
    lr : float
        First step size, > 0.
    steps : int
        Number of iterations, at least 1.
    at : float or (m,) array_like
        Moments as shares of the run, in [0, 1].
    by : float or (m,) array_like
        Divisor at each moment, > 0.
    delay : int
        Iterations by which every change is late, >= 0.

    Returns
    -------
    (steps,) ndarray

    Examples
    --------
    >>> step_decay(0.2, 4, at=0.5, by=2).tolist()
    [0.2, 0.2, 0.1, 0.1]
    >>> step_decay(0.2, 4, at=0.5, by=2, delay=1).tolist()
    [0.2, 0.2, 0.2, 0.1]
    """
    schedule, moments = constant(lr, steps), as_vector("at", at)
    divisors = as_positive("by", by, "it divides the step size")
    if moments.size != divisors.size:
        raise ValueError(
            f"by needs one divisor per moment: got {divisors.size} for {moments.size} moments"
        )
    late = as_count("delay", delay, 0, "a change cannot act before its moment")
    for moment, divisor in zip(moments, divisors, strict=True):
        schedule[_iteration("at", moment, schedule.size) + late :] /= divisor
    return schedule


@in_range
def linear_warmup(
    lr: float, steps: int, *, until: float, factor: float, by: float
) -> Float[np.ndarray, "steps"]:
    """Step sizes that grow linearly, then rest at their last value divided by ``by``.

    Iteration k <= until * steps has the step size lr * (1 + (factor - 1) k / steps): the full
    factor would be reached at the end of the run, and the warm-up stops before.

    Parameters
    ----------
    lr : float
        First step size, > 0.
    steps : int
        Number of iterations, at least 1.
    until : float
        Share of the run at which the warm-up ends, in [0, 1].
    factor : float
        Growth over a whole run, > 0.  The 1-D networks of the paper have factor = 400 until.
    by : float
        Divisor at the end of the warm-up, > 0.

    Returns
    -------
    (steps,) ndarray

    Examples
    --------
    >>> linear_warmup(0.1, 4, until=0.5, factor=5, by=2).round(3).tolist()
    [0.1, 0.2, 0.15, 0.15]
    """
    first, share = constant(lr, steps), np.arange(steps) / steps
    return _warmup(first, share, factor, until, by)


@in_range
def sqrt_warmup(
    lr: float, steps: int, *, until: float, factor: float = 6.0, by: float
) -> Float[np.ndarray, "steps"]:
    """Step sizes that grow as a square root, then rest at their last value divided by ``by``.

    Iteration k <= until * steps has the step size lr * (1 + (factor - 1) sqrt(k / steps)).

    Parameters
    ----------
    lr, steps, until, by
        As in `linear_warmup`.
    factor : float
        Growth over a whole run, > 0; 6 in the three-layer networks of the paper.

    Returns
    -------
    (steps,) ndarray

    Examples
    --------
    >>> sqrt_warmup(0.1, 4, until=0.5, factor=3, by=2).round(3).tolist()
    [0.1, 0.2, 0.121, 0.121]
    """
    # A root of a quotient is rounded correctly on every machine.
    first, share = constant(lr, steps), np.sqrt(np.arange(steps) / steps)
    return _warmup(first, share, factor, until, by)


@in_range
def exponential_warmup(
    lr: float, steps: int, *, until: float, base: float = 1.05
) -> Float[np.ndarray, "steps"]:
    """Step sizes that grow exponentially, are divided by 10, and by 10 again at 90 % of the run.

    Iteration k < until * steps has the step size lr * base^(100 k / steps): the schedule of the
    deep networks of the paper.

    Parameters
    ----------
    lr, steps, until
        As in `linear_warmup`.
    base : float
        Growth in a hundredth of the run, > 0.

    Returns
    -------
    (steps,) ndarray

    Examples
    --------
    >>> exponential_warmup(0.1, 10, until=0.2, base=2**0.1).round(3).tolist()
    [0.1, 0.2, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04, 0.04, 0.004]
    """
    first, factor = constant(lr, steps), as_scalar("base", base, "it is the growth of the steps")
    schedule = first * factor ** (100 * np.arange(steps) / steps)
    end, last = _iteration("until", until, steps), _iteration("until", 0.9, steps)
    schedule[end:] = first[0] * factor ** (100 * end / steps) / 10
    schedule[max(end, last) :] /= 10
    return schedule


def _warmup(first, grown, factor, until, by) -> Float[np.ndarray, "steps"]:
    """From ``first`` to ``factor`` times it as ``grown`` goes from 0 to 1, and no further."""
    schedule = first * (1 + (as_scalar("factor", factor) - 1) * grown)
    end = _iteration("until", until, first.size)
    if end < schedule.size:
        schedule[end:] = schedule[end] / as_scalar("by", by, "it divides the step size")
    return schedule


def _steps(steps: int) -> int:
    return as_count("steps", steps, 1, "it is the number of iterations")


def _iteration(name: str, share: float, steps: int) -> int:
    """First iteration after a share of the run."""
    return math.floor(as_share(name, share, "it is a share of the run") * steps)
