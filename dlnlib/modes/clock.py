r"""The clock of a deep mode: time as a function of strength, and its inverse.

Separating variables in ``tau da/dt = L a^(2-2/L) (s - a)`` with ``x = a/s`` gives::

    F_L(x(t)) = F_L(x(0)) + L s^(2-2/L) t / tau,    F_L(x) = int dx / (x^(2-2/L) (1 - x)),

so all modes of a network run along one function of one variable, only shifted and rescaled in
time.  For depth L = 3, 4, ... and ``y = x^(1/L)``, ``w = exp(2 pi i/L)``::

    F_L = -L/(L-2) y^(2-L) - sum_j Re[w^(-2j) log(1 - w^j y)],

and for L -> infinity (with time in units of 1/L) ``F = -1/x + log(x/(1-x))``.  The inverse is
found by Newton's method on ``z = logit x``, in which F is smooth, monotone and close to linear
or exponential.  Above the target (x > 1) the same is done with ``v = 1/x``.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.special import expit, log_expit, logit, wrightomega

# Beyond |z| = 40 the leading asymptotic term is exact to double precision.
_NODES = np.linspace(-40.0, 40.0, 801)
# sum_k v^k/(p+k) truncated at 2^-60 for v <= 1/2
_SERIES_TERMS = 60
_NEWTON_STEPS = 30


def _root_logs(y: np.ndarray, log_gap: np.ndarray, depth: int, sign: int) -> np.ndarray:
    """Sum over j of Re[w^(-2 sign j) log(1 - w^j y)], where log_gap = log(1 - y) is given."""
    total = log_gap.copy()
    for j in range(1, (depth + 1) // 2):
        angle = 2 * np.pi * j / depth
        # 1 - 2 y cos + y^2 = |1 - w^j y|^2, the pair j and L - j counted together
        total += np.cos(2 * angle) * np.log1p(y * (y - 2 * np.cos(angle)))
        argument = np.arctan2(-y * np.sin(angle), 1 - y * np.cos(angle))
        total += 2 * sign * np.sin(2 * angle) * argument
    if depth % 2 == 0:
        total += np.log1p(y)
    return total


def _log_gap(z: np.ndarray, depth: float) -> np.ndarray:
    """log(1 - expit(z)^(1/L)); linear in z once expit(z) is 1 to rounding."""
    return np.log(-np.expm1(log_expit(np.minimum(z, 40)) / depth)) - np.maximum(z - 40, 0)


def layers(depth: float) -> float:
    """The factor L in the rate of a mode; 1 where time is counted in units of 1/L."""
    return 1.0 if depth == math.inf else depth


def clock_speed(s: Float[np.ndarray, "*n"], tau: float, depth: float) -> Float[np.ndarray, "*n"]:
    """How fast the clock of a mode runs: 2 s / tau for two layers."""
    return layers(depth) * s ** (2 - 2 / depth) / tau


def rise_clock(z: Float[np.ndarray, "*n"], depth: float) -> Float[np.ndarray, "*n"]:
    """F_L at x = expit(z) < 1."""
    if depth == 2:
        return np.array(z)
    if depth == math.inf:
        return z - 1 - np.exp(-z)
    log_y = log_expit(z) / depth
    fuel = -depth / (depth - 2) * np.exp((2 - depth) * log_y)
    return fuel - _root_logs(np.exp(log_y), _log_gap(z, depth), int(depth), 1)


def rise_strength(clock: Float[np.ndarray, "*n"], depth: float) -> Float[np.ndarray, "*n"]:
    """Invert `rise_clock`: the x < 1 with F_L(x) = clock."""
    if depth == math.inf:
        return 1 / (1 + wrightomega(-(clock + 1)))
    return expit(rise_logit(clock, depth))


def rise_logit(clock: Float[np.ndarray, "*n"], depth: float) -> Float[np.ndarray, "*n"]:
    """The z = logit x of that x, which also tells 1 - x to full precision."""
    if depth == 2:
        return clock
    if depth == math.inf:
        with np.errstate(divide="ignore"):
            return -np.log(wrightomega(-(clock + 1)))
    nodes = rise_clock(_NODES, depth)
    guess = np.interp(clock, nodes, _NODES)
    early = clock < nodes[0]
    guess[early] = np.log(-clock[early] * (depth - 2) / depth) * (-depth / (depth - 2))
    power = 1 - 2 / depth  # dF/dz = x^-(1-2/L)
    return _newton(guess, lambda z: (rise_clock(z, depth) - clock) * expit(z) ** power)


def decay_clock(z: Float[np.ndarray, "*n"], depth: float) -> Float[np.ndarray, "*n"]:
    """F_L(x) - F_L(infinity) at v = 1/x = expit(z) < 1: int_0^v u^(1-2/L) / (1 - u) du."""
    power = 2 - 2 / depth
    v, log_v = expit(z), log_expit(z)
    # closed forms cancel at small v, where the power series is exact
    series = np.polynomial.polynomial.polyval(
        np.minimum(v, 0.5), 1 / (power + np.arange(_SERIES_TERMS))
    )
    series = series * v**power
    if depth == 2:
        closed = np.logaddexp(0, z)
    elif depth == math.inf:
        closed = np.logaddexp(0, z) - v
    else:
        closed = -depth / (depth - 2) * v ** (1 - 2 / depth)
        closed = closed - _root_logs(np.exp(log_v / depth), _log_gap(z, depth), int(depth), -1)
    return np.where(v < 0.5, series, closed)


def decay_strength(clock: Float[np.ndarray, "*n"], depth: float) -> Float[np.ndarray, "*n"]:
    """Invert `decay_clock`: the x > 1 with F_L(x) - F_L(infinity) = clock."""
    return 1 + np.exp(-decay_logit(clock, depth))


def decay_logit(clock: Float[np.ndarray, "*n"], depth: float) -> Float[np.ndarray, "*n"]:
    """The z = logit(1/x) of that x."""
    power = 2 - 2 / depth
    nodes = decay_clock(_NODES, depth)
    guess = np.interp(np.log(clock), np.log(nodes), _NODES)
    early = clock < nodes[0]
    guess[early] = logit((power * clock[early]) ** (1 / power))
    return _newton(guess, lambda z: (decay_clock(z, depth) - clock) / expit(z) ** power)


def _newton(z: np.ndarray, step: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Newton's method; ``step`` returns residual over derivative."""
    for _ in range(_NEWTON_STEPS):
        change = step(z)
        z = z - change
        if not (np.abs(change) > 1e-13 * (1 + np.abs(z))).any():
            return z
    # The clock's own rounding sets the floor; a real failure is far above it.
    if not (np.abs(change) < 1e-11 * (1 + np.abs(z))).all():
        raise RuntimeError("the implicit mode equation did not converge; please report the input")
    return z
