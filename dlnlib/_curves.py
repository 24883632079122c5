"""Where a sampled curve is lowest, or crosses a level."""

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicHermiteSpline
from scipy.optimize import brentq


def crossings(
    t: Float[np.ndarray, "T"], y: Float[np.ndarray, "T"], level: float
) -> Float[np.ndarray, "n"]:
    """Times at which y, linear between the points of the grid, passes a level."""
    above = y > level
    i = np.flatnonzero(above[1:] != above[:-1])
    return t[i] + (t[i + 1] - t[i]) * (level - y[i]) / (y[i + 1] - y[i])


def least(turns: np.ndarray, t: np.ndarray, h: np.ndarray) -> float:
    """Time of the least entropy: the turn beside the least point of the grid, or that point."""
    i = int(np.argmin(h))
    beside = turns[(turns >= t[max(i - 1, 0)]) & (turns <= t[min(i + 1, t.size - 1)])]
    return float(min(beside, key=lambda time: abs(time - t[i]), default=t[i]))


def smooth(t: np.ndarray, y: np.ndarray) -> CubicHermiteSpline:
    """A cubic per cell that turns only beside points of the grid that turn.

    The slope at a point is that of the parabola through it and its neighbours, but at most three
    times the flatter of the two secants: so the curve is monotone where the points are (Fritsch
    and Carlson, 1980), and a steep fall does not swing below what follows, as with one spline
    through all points.  Nor does a curve without negative points fall below zero.
    """
    slope, secant, cell = np.gradient(y, t), np.abs(np.diff(y) / np.diff(t)), np.diff(t)
    most = np.minimum(secant[1:], secant[:-1])
    if y.min() >= 0:
        most = np.minimum(most, y[1:-1] / np.maximum(cell[1:], cell[:-1]))
    slope[1:-1] = np.clip(slope[1:-1], -3 * most, 3 * most)
    return CubicHermiteSpline(t, y, slope)


def lowest(t: np.ndarray, y: np.ndarray, end: int | None = None) -> tuple[float, float]:
    """Time and value of the least point before ``end``, refined inside the two cells around it."""
    i, last = int(np.argmin(y[:end])), (t.size if end is None else end) - 1
    curve = smooth(t, y)
    turns = curve.derivative().roots(discontinuity=False, extrapolate=False)
    inside = (turns >= t[max(i - 1, 0)]) & (turns <= t[min(i + 1, last)])
    at = np.append(t[i], turns[inside])
    values = curve(at)
    best = int(np.argmin(values))
    return float(at[best]), float(values[best])


def first(t: np.ndarray, y: np.ndarray, level: float) -> float:
    """First time at which a curve stands at a level or above; the last time if it never does."""
    i = int(np.argmax(y >= level))
    if y[i] < level:
        return float(t[-1])
    curve = smooth(t, y)
    return float(brentq(lambda x: curve(x) - level, t[i - 1], t[i])) if i else float(t[0])
