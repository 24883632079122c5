"""Where a sampled curve is lowest, or crosses a level."""

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline


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


def lowest(t: np.ndarray, y: np.ndarray, end: int | None = None) -> tuple[float, float]:
    """Time and value of the global minimum of a smooth curve, before the point ``end``."""
    spline = CubicSpline(t, y)
    turns = spline.derivative().roots(discontinuity=False, extrapolate=False)
    last = t[-1 if end is None else end - 1]
    at = np.concatenate([t[:end], turns[turns <= last]])  # NaN where the curve is constant
    values = spline(at)
    i = int(np.nanargmin(values))
    return float(at[i]), float(values[i])


def first(t: np.ndarray, y: np.ndarray, level: float) -> float:
    """First time at which a curve stands at a level or above; the last time if it never does."""
    if y[0] >= level:
        return float(t[0])
    times = crossings(t, y, level)
    return float(times[0]) if times.size else float(t[-1])
