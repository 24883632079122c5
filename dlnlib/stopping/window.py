"""The stopping window of a spectrum of aligned modes: by search, or closed for two levels."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from dlnlib._checks import (
    SIGN_HINT,
    as_amount,
    as_choice,
    as_common,
    as_depth,
    as_finite,
    as_fraction,
    as_mask,
    as_matrix,
    as_numbers,
    as_positive,
    as_scalar,
    as_shaped,
    as_start,
    as_vector,
    in_range,
)
from dlnlib.modes.clock import rise_clock
from dlnlib.stopping.mode_tables import Flow, mode_flow
from dlnlib.stopping.search import search


@dataclass(frozen=True)
class StoppingWindow:
    """The three times of a run, in the unit of tau; arrays for many runs.

    Parameters
    ----------
    t_star : float or ndarray
        Least spectral entropy; infinite where the entropy only falls.
    t_opt : float or ndarray
        Least test error; 0 where every step harms, infinite where every step helps.
    t_memorisation : float or ndarray
        Start of memorisation; infinite if there is no noise to memorise.

    Examples
    --------
    >>> StoppingWindow(t_star=1.45, t_opt=1.7, t_memorisation=3.45).holds
    True
    """

    t_star: float | Float[np.ndarray, "..."]
    t_opt: float | Float[np.ndarray, "..."]
    t_memorisation: float | Float[np.ndarray, "..."]

    @property
    def holds(self) -> bool | Bool[np.ndarray, "..."]:
        """Whether t_star <= t_opt <= t_memorisation."""
        inside = (self.t_star <= self.t_opt) & (self.t_opt <= self.t_memorisation)
        return inside if isinstance(inside, np.ndarray) else bool(inside)


def mode_window(
    s: ArrayLike,
    m: ArrayLike,
    a0: ArrayLike,
    *,
    noise_modes: ArrayLike,
    tau: float = 1.0,
    depth: float = 2,
    variant: str = "half",
    level: float = 0.01,
) -> StoppingWindow:
    """Stopping window of aligned modes: global minima of entropy and test error, refined.

    Parameters
    ----------
    s : (K,) or (N, K) array_like
        Singular values of the observed correlation, >= 0; one spectrum, or one per row.
    m : array_like like s
        Targets u_k^T W* v_k of the modes in the teacher (see `dlnlib.tasks.teacher_targets`), of
        any sign.
    a0 : float or (K,) array_like
        Strengths at t = 0, > 0.
    noise_modes : int or (K,) array_like of bool
        Index of the first noise mode (modes in order), or a mask that is True for noise.
    tau, depth
        As in `dlnlib.modes.mode_strength`; at infinite depth time is counted in units of 1/L.
    variant, level
        Which start of memorisation, see `memorisation_time`.

    Returns
    -------
    StoppingWindow
        Floats, or arrays (N,) for many spectra.  Times are good to about 1e-9 of the time of the
        fastest change; of equal minima the earliest counts.  A minimum that comes when every mode
        is within 1e-14 of its end is lost in rounding and counts as infinitely late.  An
        entropy below 1e-300 counts as zero, so that a0 is sensible down to about 1e-100 with two
        layers.  A deeper mode waits about (s/a0)^(1-2/L) e-folds, of which times keep 16 digits.

    Raises
    ------
    ValueError
        If a deep mode waits for more than 1e13 e-folds, so that no digits are left for its rise.

    Examples
    --------
    >>> window = mode_window([3.0, 3.0, 1.0], [2.7, 2.7, 0.0], 1e-3, noise_modes=2)
    >>> round(window.t_star, 3), round(window.t_opt, 3), round(window.t_memorisation, 3)
    (1.454, 1.7, 3.453)
    """
    single = as_numbers("s", s).ndim < 2
    values = as_shaped("s", as_vector("s", s)[None] if single else as_matrix("s", s), SIGN_HINT)
    targets = as_matrix("m", as_vector("m", m)[None] if single else m, values.shape)
    start = as_start(a0, values.shape[1])
    noise = as_noise(noise_modes, values.shape[1])
    tau, depth = as_scalar("tau", tau), as_depth(depth)
    share, level = as_variant(variant, level)
    times = np.empty((3, len(values)))
    for i, (one, target) in enumerate(zip(values, targets, strict=True)):
        times[:, i] = one_window(mode_flow(one, start, tau, depth), target, noise, share, level)
    return StoppingWindow(*(map(float, times[:, 0]) if single else times))


def one_window(
    flow: Flow, m: Float[np.ndarray, "K"], noise: Bool[np.ndarray, "K"], share: bool, level: float
) -> tuple[float, float, float]:
    """The three times of one spectrum; the input has been checked."""
    t_star, t_opt, t_share = search(flow, m, noise, level)
    return t_star, t_opt, t_share if share else _half_time(flow, noise)


def memorisation_time(
    s: ArrayLike,
    a0: ArrayLike,
    *,
    noise_modes: ArrayLike,
    variant: str = "half",
    level: float = 0.01,
    tau: float = 1.0,
    depth: float = 2,
) -> float:
    """Start of memorisation.

    Parameters
    ----------
    s, a0, noise_modes, tau, depth
        As in `mode_window`.
    variant : {"half", "share"}
        "half": the noise mode of largest s reaches s/2 (0 if it starts above; never if its s is
        zero, or rounding beside the largest s, as that of the null mode of one-hot labels).
        "share": from here on the noise holds more than `level` of the energy, for good (0 if it
        always does).
    level : float
        Share of the energy, between 0 and 1.

    Returns
    -------
    float
        In the unit of tau; infinite if it never comes.

    Raises
    ------
    ValueError
        If a deep mode waits for too long, as in `mode_window`.

    Examples
    --------
    >>> round(memorisation_time([3.0, 1.0], 1e-3, noise_modes=1), 3)
    3.453
    """
    options = {"tau": tau, "depth": depth, "variant": variant, "level": level}
    targets = np.zeros(as_numbers("s", s).shape)  # they do not matter here
    return mode_window(s, targets, a0, noise_modes=noise_modes, **options).t_memorisation


def _half_time(flow: Flow, noise: Bool[np.ndarray, "K"]) -> float:
    if not noise.any():
        return math.inf
    leading = int(np.where(noise, flow.s, -1).argmax())
    if flow.s[leading] <= flow.s.size * np.finfo(float).eps * flow.s.max():
        return math.inf  # it has no strength but rounding: there is nothing to memorise
    if flow.a0[leading] >= flow.s[leading] / 2:
        return 0.0
    if flow.depth == 2:
        return math.log(1 / flow.start[leading] - 1) / flow.speed[leading]
    half = rise_clock(np.zeros(1), flow.depth)[0]
    return float((half - flow.start[leading]) / flow.speed[leading])


def as_noise(noise_modes: ArrayLike, modes: int) -> Bool[np.ndarray, "K"]:
    """Mask of the noise modes, from a mask or the index of the first of them."""
    as_numbers("noise_modes", noise_modes)
    given = np.asarray(noise_modes)
    if given.dtype == bool:
        return as_mask(given, modes)
    if given.ndim or not np.issubdtype(given.dtype, np.integer) or not 0 <= given <= modes:
        raise ValueError(
            f"noise_modes must be a boolean mask or an integer from 0 to {modes}, the index of "
            f"the first noise mode: got {noise_modes!r}"
        )
    return np.arange(modes) >= given


def as_variant(variant: str, level: float) -> tuple[bool, float]:
    """Whether memorisation starts at a share of the energy, and at which."""
    chosen = as_choice("variant", variant, ("half", "share"))
    return chosen == "share", as_fraction("level", level, "it is a share of the energy")


@in_range
def two_level_window(
    s: ArrayLike, m: ArrayLike, n: float, a0: float, *, tau: float = 1.0
) -> StoppingWindow:
    """Closed forms of the window for two levels and two layers, as a0 -> 0.

    With signal modes (s, target m) and noise modes (n, target 0), noise still small when the
    signal is learned::

        t*    = tau/(2s) log[(s/a0 - 1) (s/n - 1)],       where a_s = s - n,
        t_opt = tau/(2s) log[(s/a0 - 1) m/(s - m)],       where a_s = m,
        t**   = tau/(2n) log(n/a0 - 1),                   where a_n = n/2.

    Parameters
    ----------
    s : float or array_like
        Singular values of the signal, at least n.
    m : float or array_like
        Their targets, below s.
    n : float
        Singular value of the noise modes, or the edge of the noise.
    a0 : float
        Strength at t = 0, between 0 and n/2.
    tau : float
        Time constant of gradient flow.

    Returns
    -------
    StoppingWindow
        Floats, or arrays of the common shape of s and m.  A level below the start was passed
        before t = 0: t* = 0 where s - n <= a0, and t_opt = 0 where m <= a0.

    Examples
    --------
    >>> window = two_level_window(3.0, 2.7, 1.0, 1e-3)
    >>> round(window.t_star, 3), round(window.t_opt, 3), round(window.t_memorisation, 3)
    (1.45, 1.701, 3.453)
    """
    strong, target = as_common(s=s, m=m)
    n, a0, tau = as_scalar("n", n), as_scalar("a0", a0), as_scalar("tau", tau)
    as_positive("s", strong.ravel())
    if a0 >= n / 2:
        raise ValueError(f"a0 must be below n/2: got a0={a0:g} for n={n:g}; start smaller")
    if not (strong >= n).all():
        raise ValueError(f"s must be at least n={n:g}: got {strong.min():g}; it would be noise")
    if not (target < strong).all():
        raise ValueError("m must be below s: noise adds to every mode that it does not hide")

    levels = np.maximum([strong - n, target], a0)
    first = tau / (2 * strong) * np.log((strong / a0 - 1) * levels / (strong - levels))
    late = np.full(strong.shape, tau / (2 * n) * np.log(n / a0 - 1))
    return StoppingWindow(*(x if strong.ndim else float(x) for x in (*first, late)))


@in_range
def excess_error(a: ArrayLike, m: ArrayLike, *, energy: float = 0.0) -> Float[np.ndarray, "..."]:
    """Test error ``|W - W*|_F^2`` of aligned modes, sum_k (a_k^2 - 2 a_k m_k) + energy.

    Parameters
    ----------
    a : (..., K) array_like
        Mode strengths.
    m : scalar or (K,) array_like
        Targets of the modes in the teacher, of any sign.
    energy : float
        ``|W*|_F^2``; without it the error is counted from that of the zero map.

    Returns
    -------
    (...,) ndarray
        In the unit of the squared strengths.

    Examples
    --------
    >>> excess_error([3.0, 1.0], [2.0, 0.0], energy=4.0).item()
    2.0
    """
    energy = as_amount("energy", energy)
    strength, target = as_finite("a", a), as_finite("m", m)
    if target.ndim > 1 or (target.size != 1 and strength.shape[-1:] != target.shape):
        raise ValueError(
            f"m needs one target per mode: got shape {target.shape} for a of {strength.shape}"
        )
    return np.asarray((strength * (strength - 2 * target)).sum(axis=-1) + energy)
