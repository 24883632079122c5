"""Spans of time in which a curve falls, rests or rises, in log t and relative to its range.

The definition is that of `dlnlib.phases`.
"""

import math
from itertools import pairwise

import numpy as np
from jaxtyping import Float

__all__ = ["Span", "crossings", "least", "monotone_spans"]

Span = tuple[int, float, float]  # direction (-1, 0 or 1), start, end

_CONSTANT = 1e-9  # a range (of an entropy, in nats) that is rounding


def crossings(
    t: Float[np.ndarray, "T"], y: Float[np.ndarray, "T"], level: float
) -> Float[np.ndarray, "n"]:
    """Times at which y, linear between the points of the grid, passes a level."""
    above = y > level
    i = np.flatnonzero(above[1:] != above[:-1])
    return t[i] + (t[i + 1] - t[i]) * (level - y[i]) / (y[i + 1] - y[i])


def monotone_spans(
    t: Float[np.ndarray, "T"],
    h: Float[np.ndarray, "T"],
    velocity: Float[np.ndarray, "T"],
    turns: Float[np.ndarray, "n"],
    tol: float,
) -> list[Span]:
    """Directions of H over time, without movements and rests that are too small to count."""
    spread = float(np.ptp(h))
    if spread < _CONSTANT:
        return [(0, float(t[0]), float(t[-1]))]
    slope = t * velocity / spread
    cuts = np.sort(np.concatenate([crossings(t, slope, level) for level in (-tol, tol)]))
    spans = []
    for start, end in pairwise([float(t[0]), *cuts.tolist(), float(t[-1])]):
        middle = np.interp((start + end) / 2, t, slope)
        spans.append((int(np.sign(middle)) if abs(middle) > tol else 0, start, end))
    spans = _without_short_rests(spans, t, h, turns, tol)
    for i, (_, start, end) in enumerate(spans):
        before, after = np.interp([start, end], t, h)
        if abs(after - before) <= tol * spread:
            spans[i] = (0, start, end)
    return _without_short_rests(spans, t, h, turns, tol)


def _without_short_rests(
    spans: list[Span],
    t: Float[np.ndarray, "T"],
    h: Float[np.ndarray, "T"],
    turns: Float[np.ndarray, "n"],
    tol: float,
) -> list[Span]:
    """Merge equal neighbours, the wait at the start, and rests of less than tol in log t."""
    kept: list[Span] = []
    for direction, start, end in spans:
        last = kept[-1] if kept else None
        if last and last[0] == 0 != direction and (len(kept) == 1 or _short(last, tol)):
            # the rest before this movement does not count: it begins at the turn, or at once
            kept.pop()
            start = last[1]
            if kept and kept[-1][0] != direction:
                start = _turn(turns, t, h, last, direction)
                kept[-1] = (kept[-1][0], kept[-1][1], start)
        if kept and kept[-1][0] == direction:
            start = kept.pop()[1]
        kept.append((direction, start, end))
    if len(kept) > 1 and kept[-1][0] == 0 and _short(kept[-1], tol):
        (*_, end) = kept.pop()
        kept[-1] = (*kept[-1][:2], end)
    return kept


def _short(span: Span, tol: float) -> bool:
    return span[2] <= span[1] * math.exp(tol)


def _turn(turns: np.ndarray, t: np.ndarray, h: np.ndarray, rest: Span, direction: int) -> float:
    """Where H turns during a rest: at its least value if it rises afterwards, else its largest."""
    inside = turns[(turns >= rest[1]) & (turns <= rest[2])]
    return float(inside[np.argmin(direction * np.interp(inside, t, h))])


def least(turns: np.ndarray, t: np.ndarray, h: np.ndarray) -> float:
    """Time of the least entropy: the turn beside the least point of the grid, or that point."""
    i = int(np.argmin(h))
    beside = turns[(turns >= t[max(i - 1, 0)]) & (turns <= t[min(i + 1, t.size - 1)])]
    return float(min(beside, key=lambda time: abs(time - t[i]), default=t[i]))
