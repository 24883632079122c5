"""Strength, growth rate and learning time of aligned modes, in closed form."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import exprel

from dlnlib._checks import (
    SIGN_HINT,
    START_HINT,
    as_amount,
    as_depth,
    as_nonnegative,
    as_positive,
    as_scalar,
    as_shaped,
    as_single,
    as_times,
    in_range,
)
from dlnlib._compiled import in_blocks
from dlnlib.modes.clock import (
    clock_speed,
    decay_clock,
    decay_strength,
    layers,
    rise_clock,
    rise_strength,
)

_BLOCK = 128  # rows of time per block: a block of 1,000 modes stays in the second-level cache


@in_range
def mode_strength(
    t: ArrayLike,
    s: ArrayLike,
    a0: ArrayLike,
    *,
    tau: float = 1.0,
    depth: float = 2,
    decay: float = 0.0,
) -> Float[np.ndarray, "T K"]:
    """Strength a_k(t) of each mode under gradient flow from an aligned start.

    Parameters
    ----------
    t : (T,) array_like
        Times, non-negative and non-decreasing, in the unit of ``tau``.
    s : scalar or (K,) array_like
        Singular values of the input-output correlation, >= 0.  At s = 0 the mode decays
        algebraically.
    a0 : scalar or (K,) array_like
        Strengths at t = 0, > 0.  Modes with a0 > s decay to s.
    tau : float
        Time constant of gradient flow (inverse learning rate).
    depth : int or math.inf
        Number of weight matrices L >= 2.  For ``math.inf`` time is counted in units of 1/L.
    decay : float
        Weight decay gamma >= 0: the loss plus gamma/2 times the sum of all squared weights.  With
        two layers s - gamma takes the place of s, also below zero, where the mode dies out;
        deeper modes with decay have no closed form here.

    Returns
    -------
    (T, K) ndarray
        Exact to rounding at L = 2, for any t; to about 1e-13 in ``log a`` for deeper networks,
        as far as the times themselves are known: where a0 is tiny the learning time is
        ~ a0^-(1-2/L), and a relative error of 1e-16 in t moves a by that much more.

    References
    ----------
    .. [1] Saxe, McClelland, Ganguli. Exact solutions to the nonlinear dynamics of learning in
       deep linear neural networks. ICLR 2014, eq. 5 and section 3.

    Examples
    --------
    >>> mode_strength([0.0, 2.0, 8.0], [3.0, 1.0], 1e-3).round(3).tolist()
    [[0.001, 0.001], [2.946, 0.052], [3.0, 1.0]]
    >>> mode_strength([0.0, 20.0], [3.0, 1.0], 0.1, decay=1.5).round(3).tolist()
    [[0.1, 0.1], [1.5, 0.0]]
    """
    times, tau, depth = as_times(t), as_scalar("tau", tau), as_depth(depth)
    s, a0 = as_modes(s, a0)
    if not (decay := as_decay(decay, depth)):
        return strengths(times, s, a0, tau, depth)
    end = s - decay
    strength, lost = np.empty((times.size, s.size)), end < 0
    strength[:, lost] = _dying(_Rise(times, end[lost], a0[lost], tau, depth))
    if not lost.all():
        strength[:, ~lost] = strengths(times, end[~lost], a0[~lost], tau, depth)
    return strength


def strengths(
    times: Float[np.ndarray, "T"],
    s: Float[np.ndarray, "K"],
    a0: Float[np.ndarray, "K"],
    tau: float,
    depth: float,
) -> Float[np.ndarray, "T K"]:
    """The same where the input has been checked."""
    solve = _logistic if depth == 2 else _implicit
    strength = np.empty((times.size, s.size))
    rising, falling = (a0 < s) & (s / 1e300 < a0), a0 > s
    strength[:, a0 == s] = s[a0 == s]
    if rising.all():
        solve(_Rise(times, s, a0, tau, depth), strength)
        return strength
    for chosen, solver in (
        (rising, solve),
        (~rising & (a0 < s), _exprel_logistic if depth == 2 else _implicit),
        (falling, _exprel_logistic if depth == 2 else _decay),
    ):
        if chosen.any():
            part = np.empty((times.size, int(chosen.sum())))
            solver(_Rise(times, s[chosen], a0[chosen], tau, depth), part)
            strength[:, chosen] = part
    return strength


@in_range
def growth_rate(
    a: ArrayLike, s: ArrayLike, *, tau: float = 1.0, depth: float = 2, decay: float = 0.0
) -> Float[np.ndarray, "..."]:
    """Relative growth rate g = d(log a)/dt of modes at strength ``a``.

    Parameters
    ----------
    a : (..., K) array_like
        Mode strengths, >= 0.
    s : scalar or (K,) array_like
        Singular values, >= 0.
    tau, depth
        As in `mode_strength`.
    decay : float
        Weight decay gamma >= 0, at any depth.

    Returns
    -------
    (..., K) ndarray
        L [a^(1-2/L) (s - a) - gamma] / tau, and [a (s - a) - gamma] / tau at infinite depth.

    Examples
    --------
    >>> growth_rate([[0.1, 0.1], [2.0, 0.5]], [3.0, 1.0]).round(3).tolist()
    [[5.8, 1.8], [2.0, 1.0]]
    """
    tau, depth, decay = as_scalar("tau", tau), as_depth(depth), as_amount("decay", decay)
    a = as_shaped("a", a, "mode strengths in the singular basis are >= 0")
    s = as_nonnegative("s", s, SIGN_HINT)
    if s.size > 1 and a.shape[-1:] not in (s.shape, (1,)):
        raise ValueError(
            f"a has {a.shape[-1:]} modes in its last axis but s has {s.size}: give one of each"
        )
    s = s[0] if s.size == 1 else s
    rate = np.array(s - a)
    rate *= layers(depth) / tau
    if depth != 2:
        rate *= a ** (1 - 2 / depth)
    if decay:
        rate -= layers(depth) * decay / tau
    return rate


@in_range
def learning_time(
    s: ArrayLike,
    a0: ArrayLike,
    fraction: float = 0.5,
    *,
    tau: float = 1.0,
    depth: float = 2,
    decay: float = 0.0,
) -> Float[np.ndarray, "K"]:
    """Time at which a mode reaches ``fraction`` of its singular value, less the decay.

    Parameters
    ----------
    s, a0 : scalar or (K,) array_like
        Singular values and strengths at t = 0, with 0 < a0 < s - decay.
    fraction : float
        Level reached, between a0/(s - decay) and 1.
    tau, depth, decay
        As in `mode_strength`.

    Returns
    -------
    (K,) ndarray
        Times in the unit of ``tau``; for L = 2, tau/(2 s) log[(s/a0 - 1) f/(1 - f)].

    Examples
    --------
    >>> learning_time([3.0, 1.0], 1e-3).round(4).tolist()
    [1.3343, 3.4534]
    """
    tau, depth = as_scalar("tau", tau), as_depth(depth)
    s, a0 = as_modes(s, a0)
    end = "s"
    if decay := as_decay(decay, depth):
        s, end = s - decay, "s - decay"
    if (a0 >= s).any():
        k = int(np.argmax(a0 >= s))
        raise ValueError(
            f"a0 must lie in (0, {end}): got a0={a0[k]:g} for {end}={s[k]:g}; "
            "the mode has no rising branch otherwise"
        )
    fraction = as_single("fraction", fraction)
    if not 0 < fraction < 1 or (fraction * s < a0).any():
        raise ValueError(
            f"fraction must lie between a0/s and 1: got {fraction:g} for a0/s up to "
            f"{(a0 / s).max():g}; choose a level that the mode still has to reach"
        )
    level = rise_clock(np.full(s.shape, np.log(fraction / (1 - fraction))), depth)
    return (level - rise_clock(log_odds(s, a0), depth)) / clock_speed(s, tau, depth)


class _Rise(NamedTuple):
    """Modes on the way from a0 to s, and the times asked for."""

    t: Float[np.ndarray, "T"]
    s: Float[np.ndarray, "K"]
    a0: Float[np.ndarray, "K"]
    tau: float
    depth: float


def as_modes(s: ArrayLike, a0: ArrayLike) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    """Singular values and starts, one of each per mode."""
    s, a0 = as_nonnegative("s", s, SIGN_HINT), as_positive("a0", a0, START_HINT)
    if s.size != a0.size and 1 not in (s.size, a0.size):
        raise ValueError(f"s has {s.size} modes and a0 has {a0.size}: give one a0, or one per mode")
    return np.broadcast_arrays(s, a0)


def as_decay(decay: ArrayLike, depth: float) -> float:
    """Weight decay, which has a closed form with two layers only."""
    decay = as_amount("decay", decay)
    if decay and depth != 2:
        raise ValueError(
            f"decay has a closed form with two layers only: got decay={decay:g} at depth={depth:g};"
            " integrate a * growth_rate(a, s, depth=..., decay=...), or train the weights by "
            "dlnlib.flow.gradient_flow(..., decay=...)"
        )
    return decay


def log_odds(s: np.ndarray, a0: np.ndarray) -> np.ndarray:
    """log[a0 / (s - a0)], without overflow at tiny a0."""
    return np.log(a0) - np.log(s - a0)


def _logistic(rise: _Rise, out: np.ndarray) -> None:
    """Fill ``out`` with s / (1 + (s/a0 - 1) exp(-2 s t/tau)), for a0 < s, block by block.

    On an evenly spaced grid exp(-2 s t) is a product of two factors, one per block and one per
    place within it, so that the exponential drops out of the inner loop.
    """
    t, s, a0, tau, _ = rise
    rate, odds = -2 * s / tau, s / a0 - 1
    step = (t[-1] - t[0]) / max(t.size - 1, 1)
    even = np.abs(t - (t[0] + step * np.arange(t.size))) <= 4 * np.finfo(float).eps * t
    within = np.exp(step * np.arange(_BLOCK)[:, None] * rate) if even.all() else None

    def fill(blocks: Iterator[slice]) -> None:
        for block in blocks:
            rows = out[block]
            if within is None:
                np.multiply(t[block, None], rate, out=rows)
                np.exp(rows, out=rows)
                rows *= odds
            else:
                np.multiply(within[: len(rows)], odds * np.exp(rate * t[block.start]), out=rows)
            rows += 1
            np.divide(s, rows, out=rows)

    in_blocks(fill, *out.shape, _BLOCK)


def _exprel_logistic(rise: _Rise, out: np.ndarray) -> None:
    """The same without cancellation or overflow for any s >= 0: a0 / (e^-x + a0 (1 - e^-x)/s)."""
    t, s, a0, tau, _ = rise
    x, unit = 2 * s * t[:, None] / tau, np.maximum(a0, 1)
    a0 = a0 / unit
    out[...] = a0 / (np.exp(-x) / unit + a0 * (2 * t[:, None] / tau) * exprel(-x))


def _dying(rise: _Rise) -> Float[np.ndarray, "T K"]:
    """Two layers, s < 0: the logistic mode, with e^x taken out, which is at most 1.

    a0 e^x / (1 + a0 (1 - e^x)/|s|), x = 2 s t/tau.
    """
    t, s, a0, tau, _ = rise
    x, unit = 2 * s * t[:, None] / tau, np.maximum(a0, 1)
    start = a0 / unit
    return start * np.exp(x) / (1 / unit + start * (2 * t[:, None] / tau) * exprel(x))


def _implicit(rise: _Rise, out: np.ndarray) -> None:
    t, s, a0, tau, depth = rise
    start, speed = rise_clock(log_odds(s, a0), depth), clock_speed(s, tau, depth)
    for first in range(0, t.size, _BLOCK):
        clock = start + speed * t[first : first + _BLOCK, None]
        out[first : first + _BLOCK] = s * rise_strength(clock, depth)


def _decay(rise: _Rise, out: np.ndarray) -> None:
    """a0 > s at depth > 2; below 1e-100 a0 a singular value is zero at every time of interest."""
    t, s, a0, tau, depth = rise
    zero = s < 1e-100 * a0
    power = 2 - 2 / depth
    fall = power * layers(depth) * a0[zero] ** power * t[:, None] / tau
    out[:, zero] = a0[zero] * (1 + fall) ** (-1 / power)
    s, a0 = s[~zero], a0[~zero]
    start = decay_clock(np.log(s) - np.log(a0 - s), depth)
    clock = start + clock_speed(s, tau, depth) * t[:, None]
    out[:, ~zero] = s * decay_strength(clock, depth)
