"""Aligned modes as constants and tables, so that compiled code can read a strength off a time.

Two layers need constants alone.  All modes of a greater depth share two functions of one variable
(see `dlnlib.modes.clock`): the logit z of a/s as a function of the clock F while a mode rises, and
that of s/a while it falls.  They are tabulated once per depth at even steps of ``w = asinh F``
(rising) and ``w = log F`` (falling), in which z is smooth and nearly linear at both ends, with
slopes for cubic Hermite interpolation, which is good to about 1e-9 in z.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

from dlnlib.modes.clock import clock_speed, decay_clock, layers, rise_clock

CONSTANT = 0
RISING = 1
FALLING = 2
VANISHING = 3
_NODES = 8193
_ENDS = 60.0  # logits beyond which the asymptotic laws are exact
_LONGEST = 1e13  # e-folds that a deep mode may wait; beyond, too few digits are left for its rise


class ClockTable(NamedTuple):
    """z at w = first + step * (0, 1, ...), with the slopes dz/dw."""

    first: float
    step: float
    z: Float[np.ndarray, "n"]
    slope: Float[np.ndarray, "n"]


class Flow(NamedTuple):
    """Aligned modes in the form that the compiled search takes."""

    depth: float
    power: float  # growth rate = factor a^power (s - a)
    factor: float
    s: Float[np.ndarray, "K"]
    log_s: Float[np.ndarray, "K"]
    a0: Float[np.ndarray, "K"]
    log_a0: Float[np.ndarray, "K"]
    kind: Int[np.ndarray, "K"]
    start: Float[np.ndarray, "K"]  # a0/s for two layers, else the clock at t = 0
    speed: Float[np.ndarray, "K"]
    rise: ClockTable
    fall: ClockTable


def mode_flow(
    s: Float[np.ndarray, "K"], a0: Float[np.ndarray, "K"], tau: float, depth: float
) -> Flow:
    """Constants of the modes of one spectrum; the input has been checked but for long waits."""
    kind = np.where(a0 < s, RISING, np.where(a0 > s, FALLING, CONSTANT)).astype(np.int8)
    kind[s < 1e-100 * a0] = VANISHING
    with np.errstate(divide="ignore", over="ignore"):
        log_s, log_a0, speed = np.log(s), np.log(a0), clock_speed(s, tau, depth)
        if depth == 2:
            tables, start = _empty_tables(), a0 / s
        else:
            tables, start = _clock_tables(depth), np.zeros(s.size)
            rising, falling = kind == RISING, kind == FALLING
            gap = np.log(np.abs(s - a0))
            start[rising] = rise_clock((log_a0 - gap)[rising], depth)
            if start.min() < -_LONGEST:
                raise ValueError(
                    f"a0={a0[start.argmin()]:g} is too small at depth {depth:g}: modes wait for "
                    f"(s/a0)^(1-2/L), and 1e13 is the longest wait that leaves digits for the rise"
                )
            start[falling] = decay_clock((log_s - gap)[falling], depth)
    return Flow(
        depth, 1 - 2 / depth, layers(depth) / tau, s, log_s, a0, log_a0, kind, start, speed, *tables
    )


@cache
def _clock_tables(depth: float) -> tuple[ClockTable, ClockTable]:
    """Tables of the rising and of the falling modes at a depth above 2."""
    power = 1 - 2 / depth
    return _rising(depth, power), _falling(depth, power + 1)


def _empty_tables() -> tuple[ClockTable, ClockTable]:
    """Stand-ins of the same types, for two layers."""
    table = ClockTable(0.0, 1.0, np.zeros(2), np.zeros(2))
    return table, table


def _rising(depth: float, power: float) -> ClockTable:
    logits = np.linspace(-_ENDS, _ENDS, 20 * int(_ENDS) + 1)
    w = np.arcsinh(rise_clock(logits, depth))
    even = np.linspace(w[0], w[-1], _NODES)
    clock, z = np.sinh(even), np.interp(even, w, logits)
    for _ in range(8):  # Newton in w, in which the clock is nearly linear
        reached = rise_clock(z, depth)
        speed = expit(z) ** -power / np.sqrt(1 + reached**2)
        z = z - (np.arcsinh(reached) - even) / speed
    return ClockTable(even[0], even[1] - even[0], z, expit(z) ** power * np.sqrt(1 + clock**2))


def _falling(depth: float, power: float) -> ClockTable:
    logits = np.linspace(-_ENDS, _ENDS, 20 * int(_ENDS) + 1)
    w = np.log(decay_clock(logits, depth))
    even = np.linspace(w[0], w[-1], _NODES)
    z = np.interp(even, w, logits)
    for _ in range(8):
        reached = decay_clock(z, depth)
        z = z - (np.log(reached) - even) * reached / expit(z) ** power
    return ClockTable(even[0], even[1] - even[0], z, np.exp(even) / expit(z) ** power)
