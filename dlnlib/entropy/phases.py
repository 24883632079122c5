"""Phases of an entropy curve, and which modes carry each rise.

The definition stands at `entropy_phases`.  The parts of the modes in a whole rise follow from the
shares at its two ends, since -log(p) dp = d(p - p log p).
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from scipy.special import entr

from dlnlib._checks import as_curve, as_fraction, as_mask, as_matrix, as_times
from dlnlib._curves import crossings, least
from dlnlib.entropy.spectral import energy_shares, spectral_entropy

_KINDS = {-1: "concentration", 0: "plateau", 1: "redistribution"}


@dataclass(frozen=True)
class Phase:
    """One phase of the entropy.

    Parameters
    ----------
    kind : str
        "concentration", "plateau" or "redistribution".
    start, end : float
        Times, in the unit of the grid.
    change : float
        H at the end less H at the start, in the unit of H.
    signal, noise : float or None
        For a redistribution with known signal modes: the part of the rise that signal and noise
        modes carry, adding to 1. A mode carries what it adds to H by gaining share; modes that
        lose share carry nothing.

    Examples
    --------
    >>> from dlnlib.modes import mode_strength
    >>> t, signal = np.geomspace(0.01, 20, 2000), [True, True, False, False]
    >>> found = mode_phases(t, mode_strength(t, [3.0, 2.5, 1.0, 1.0], 1e-3), signal=signal)
    >>> [(one.kind, round(one.signal, 2)) for one in found.phases if one.signal is not None]
    [('redistribution', 0.45)]
    """

    kind: str
    start: float
    end: float
    change: float
    signal: float | None = None
    noise: float | None = None


@dataclass(frozen=True)
class Phases:
    """The phases of a run, in order of time and without gaps.

    Parameters
    ----------
    t : (T,) ndarray
        Times of the grid.
    entropy : (T,) ndarray
        In the unit given, nats for those of `mode_phases`.
    phases : tuple of Phase
    t_star : float
        Time of the least entropy, between the points of the grid.
    tol : float
        Tolerance used.

    Examples
    --------
    >>> from dlnlib.modes import mode_strength
    >>> t = np.geomspace(0.01, 20, 2000)
    >>> found = mode_phases(t, mode_strength(t, [3.0, 3.0, 1.0, 1.0], 1e-3))
    >>> [round(rest.start, 2) for rest in found.plateaus], round(found.t_star, 2)
    ([0.92, 5.9], 1.45)
    """

    t: Float[np.ndarray, "T"]
    entropy: Float[np.ndarray, "T"]
    phases: tuple[Phase, ...]
    t_star: float
    tol: float

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each phase."""
        return tuple(phase.kind for phase in self.phases)

    @property
    def boundaries(self) -> Float[np.ndarray, "n"]:
        """Times between one phase and the next."""
        return np.array([phase.start for phase in self.phases[1:]])

    @property
    def plateaus(self) -> tuple[Phase, ...]:
        """The phases in which the entropy rests."""
        return tuple(phase for phase in self.phases if phase.kind == "plateau")


def entropy_phases(t: ArrayLike, h: ArrayLike, *, tol: float = 0.05) -> Phases:
    """Phases of an entropy curve.

    Parameters
    ----------
    t : (T,) array_like
        Increasing times, at least three, fine enough to show each movement of H.
    h : (T,) array_like
        Entropy of a deterministic flow, in any unit; average that of noisy runs first.
    tol : float
        Tolerance of the definition below, between 0 and 1.

    Returns
    -------
    Phases

    Notes
    -----
    The slope dH/dlog t = t dH/dt is compared with the range max H - min H of the whole run:

    * *concentration* and *redistribution*: H falls, or rises, by more than ``tol`` of its range per
      e-fold of time, and by more than ``tol`` of its range in all;
    * *plateau*: the rest between or after them, if time grows by more than ``tol`` meanwhile (in
      log t); a shorter rest is the turning point between two phases, or part of one.

    Time enters by its logarithm and H by its range, so nothing changes when t, tau or H are
    rescaled, and a finer grid only sharpens the boundaries.  Log t also treats the levels of a
    signal alike: a level of strength s is learned at a time ~ 1/s in a time ~ 1/s.  As a0 -> 0
    these transitions become steps in log t, at fixed ratios of time, so that no phase is lost by a
    smaller start.  The wait before the first movement has no beginning in log t and belongs to
    that movement.  A plateau is a matter of slope alone: a movement of up to ``tol`` of the range
    within a plateau stays hidden, and several of them in a row can add up to more.
    A rise of H is not memorisation: late signal modes raise it too.

    Examples
    --------
    >>> t = np.geomspace(0.01, 100, 1000)
    >>> found = entropy_phases(t, 1 / (1 + t**4) + 1 / (1 + (20 / t) ** 4))
    >>> found.kinds
    ('concentration', 'plateau', 'redistribution', 'plateau')
    >>> found.boundaries.round(1).tolist()
    [2.9, 6.8, 59.5]
    """
    times = as_times(t)
    entropy = as_curve("h", h, times)
    if times.size < 3 or (np.diff(times) == 0).any():
        raise ValueError("phases need at least three times, each once: use numpy.unique on t")
    tol = as_fraction("tol", tol, "it is a fraction of the range")
    velocity = np.gradient(entropy, times)
    turns = crossings(times, velocity, 0.0)
    spans = monotone_spans(times, entropy, velocity, turns, tol)
    ends = np.interp([[start, end] for _, start, end in spans], times, entropy)
    phases = tuple(
        Phase(_KINDS[direction], start, end, float(after - before))
        for (direction, start, end), (before, after) in zip(spans, ends, strict=True)
    )
    return Phases(times, entropy, phases, least(turns, times, entropy), tol)


def mode_phases(
    t: ArrayLike,
    a: ArrayLike,
    *,
    signal: ArrayLike | None = None,
    power: float = 2,
    tol: float = 0.05,
) -> Phases:
    """Phases of the entropy of mode strengths, and who carries each rise.

    Parameters
    ----------
    t : (T,) array_like
        Increasing times, at least three.
    a : (T, K) array_like
        Mode strengths.
    signal : (K,) array_like of bool, optional
        True for the modes of the signal; then each redistribution says which part of it signal
        and noise carry.
    power : float
        As in `dlnlib.entropy.energy_shares`.
    tol : float
        As in `entropy_phases`.

    Returns
    -------
    Phases

    Examples
    --------
    >>> from dlnlib.modes import mode_strength
    >>> t = np.geomspace(0.01, 20, 2000)
    >>> phases = mode_phases(t, mode_strength(t, [3.0, 3.0, 1.0, 1.0], 1e-3))
    >>> phases.kinds
    ('concentration', 'plateau', 'redistribution', 'plateau')
    """
    times = as_times(t)
    strengths = as_matrix("a", a, (times.size, None))
    mask = None if signal is None else as_mask(signal, strengths.shape[1])
    found = entropy_phases(times, spectral_entropy(strengths, power=power), tol=tol)
    if mask is None:
        return found
    phases = tuple(
        _carried(phase, times, strengths, mask, power) if phase.kind == _KINDS[1] else phase
        for phase in found.phases
    )
    return replace(found, phases=phases)


def _carried(
    phase: Phase,
    t: Float[np.ndarray, "T"],
    a: Float[np.ndarray, "T K"],
    mask: Bool[np.ndarray, "K"],
    power: float,
) -> Phase:
    before, after = (_shares_at(time, t, a, power) for time in (phase.start, phase.end))
    gains = np.maximum(entr(after) + after - entr(before) - before, 0)
    signal, noise = gains[mask].sum() / gains.sum(), gains[~mask].sum() / gains.sum()
    return replace(phase, signal=float(signal), noise=float(noise))


def _shares_at(
    time: float, t: Float[np.ndarray, "T"], a: Float[np.ndarray, "T K"], power: float
) -> Float[np.ndarray, "K"]:
    """Shares linear between the two points of the grid beside a time."""
    i = int(np.clip(np.searchsorted(t, time), 1, t.size - 1))
    weight = (time - t[i - 1]) / (t[i] - t[i - 1])
    left, right = energy_shares(a[i - 1 : i + 1], power=power)
    return (1 - weight) * left + weight * right


Span = tuple[int, float, float]  # direction (-1, 0 or 1), start, end
_CONSTANT = 1e-9  # a range, of the largest value, that is rounding


def monotone_spans(
    t: Float[np.ndarray, "T"],
    h: Float[np.ndarray, "T"],
    velocity: Float[np.ndarray, "T"],
    turns: Float[np.ndarray, "n"],
    tol: float,
) -> list[Span]:
    """Directions of H over time, without movements and rests that are too small to count."""
    spread = float(np.ptp(h))
    if spread <= _CONSTANT * np.abs(h).max():
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
    if not inside.size:  # H has turned before, or not at all: the rest only separates movements
        inside = np.append(t[(t > rest[1]) & (t < rest[2])], rest[1:])
    return float(inside[np.argmin(direction * np.interp(inside, t, h))])
