r"""The test error, estimated from the training data: degrees of freedom, and what they tell.

An aligned network holds W(t) = sum_k f(s_k) u_k v_k^T, a *spectral function* of the correlation
Sigma that it was trained on.  If Sigma = W* + Gaussian noise of variance v = noise^2 / n_in in each
entry, Stein's lemma turns the unknown error into the divergence of that function::

    df(t)   = sum_k [f'_k + |n_out - n_in| f_k/s_k]
              + 2 sum_{j<k} (s_k f_k - s_j f_j)/(s_k^2 - s_j^2),
    SURE(t) = |W - Sigma|_F^2 - n_out n_in v + 2 v df(t).

Each quotient is positive, so that nothing cancels if it is formed from neighbours: with the
singular values in order, the sum over pairs is a weighted sum of the K - 1 quotients of
neighbours, whose weights are made once for a spectrum.  Close neighbours take the mean of their
derivatives instead of a difference.

References
----------
Stein, Annals of Statistics 1981; Candes, Sing-Long, Trzasko, IEEE Trans. Signal Processing 2013,
for the divergence; Golub, Heath, Wahba, Technometrics 1979, for generalised cross-validation;
Gavish, Donoho, IEEE Trans. Inf. Theory 2014 and 2017, for the noise level and the shrinker.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import poch

from dlnlib._checks import (
    SIGN_HINT,
    as_amount,
    as_count,
    as_depth,
    as_flag,
    as_list,
    as_nonnegative,
    as_scalar,
    as_shape,
    as_start,
    as_times,
    in_range,
)
from dlnlib._compiled import compiled, in_blocks
from dlnlib.modes import mode_strength
from dlnlib.modes.sensitivity import strength_and_sensitivity
from dlnlib.modes.strength import strengths
from dlnlib.random_matrix import bulk_quantiles, optimal_shrinker

_BLOCK = 128
_ROUNDING = float(np.finfo(float).eps)
_CLOSE = 1e-5  # neighbours this close, in relative terms, take derivatives instead of differences


class StopEstimates(NamedTuple):
    """What a network can tell of its own test error, without spare samples.

    Parameters
    ----------
    degrees_of_freedom, risk_estimate, plugin_error, cross_validation : (T,) ndarray
        As the functions of these names return them.
    noise : float
        The level that was given, or found.
    """

    degrees_of_freedom: Float[np.ndarray, "T"]
    risk_estimate: Float[np.ndarray, "T"]
    plugin_error: Float[np.ndarray, "T"]
    cross_validation: Float[np.ndarray, "T"]
    noise: float


@in_range
def stop_estimates(
    t: ArrayLike,
    s: ArrayLike,
    a0: float,
    *,
    shape: Sequence[int],
    noise: float | None = None,
    tau: float = 1.0,
    depth: float = 2,
) -> StopEstimates:
    """All four curves at once, for the price of one: see the functions of their names.

    Parameters
    ----------
    t : (T,) array_like
        Times, non-negative and non-decreasing, in the unit of ``tau``.
    s : (K,) array_like
        All singular values of the observed correlation, K = min(shape), in any order.
    a0 : float
        Strength at t = 0, > 0, the same for all modes.
    shape : (int, int)
        n_out and n_in.
    noise : float, optional
        Standard deviation of sqrt(n_in) times an entry of the noise; `noise_level` without it.
    tau, depth
        As in `dlnlib.modes.mode_strength`.

    Returns
    -------
    StopEstimates

    Raises
    ------
    ValueError
        If a singular value is zero to rounding, where the map jumps and its divergence is
        infinite (only one zero of a square matrix is harmless).

    Examples
    --------
    >>> from dlnlib.tasks import spiked_teacher
    >>> rng, t = np.random.default_rng(0), np.linspace(0, 4, 9)
    >>> s = spiked_teacher(50, 50, [4.0], noise=1.0, rng=rng).modes.s
    >>> found = stop_estimates(t, s, 1e-4, shape=(50, 50))
    >>> found.degrees_of_freedom.round().astype(int).tolist()[::2], round(found.noise, 2)
    ([0, 12, 177, 902, 1726], 0.99)
    """
    times, s, a0, shape, tau, depth = _checked(t, s, a0, shape, tau, depth)
    noise, target = shrunk_targets(s, shape, noise)
    path = _path(times, s, a0, shape, tau, depth, target)
    df, parameters, energy = path.df, shape[0] * shape[1], shape[0] * noise**2
    return StopEstimates(
        df,
        path.residual - energy + 2 * noise**2 / shape[1] * df,
        path.size - 2 * path.fit + (np.square(s).sum() - energy),
        _generalised(path.residual, df, parameters),
        noise,
    )


@in_range
def degrees_of_freedom(
    t: ArrayLike,
    s: ArrayLike,
    a0: float,
    *,
    shape: Sequence[int],
    tau: float = 1.0,
    depth: float = 2,
) -> Float[np.ndarray, "T"]:
    """How many of the n_out n_in parameters of the map the network has spent: its divergence.

    Parameters
    ----------
    t, s, a0, shape, tau, depth
        As in `stop_estimates`.

    Returns
    -------
    (T,) ndarray
        From nearly 0 to n_out n_in; a mode that is learned while all others are small costs about
        n_out + n_in - 1.  Relative error about 1e-10, also at equal and nearly equal s.

    Raises
    ------
    ValueError
        As in `stop_estimates`.

    Examples
    --------
    >>> degrees_of_freedom([0.0, 6.0, 100.0], [5.0, 0.4], 1e-6, shape=(2, 3)).round(2).tolist()
    [0.0, 4.01, 6.0]
    """
    times, s, a0, shape, tau, depth = _checked(t, s, a0, shape, tau, depth)
    return _path(times, s, a0, shape, tau, depth).df


@in_range
def risk_estimate(
    t: ArrayLike,
    s: ArrayLike,
    a0: float,
    *,
    noise: float,
    shape: Sequence[int],
    tau: float = 1.0,
    depth: float = 2,
    corrected: bool = False,
) -> Float[np.ndarray, "T"]:
    """Stein's unbiased estimate (SURE) of the test error ``E(t) = |W(t) - W*|_F^2``.

    Parameters
    ----------
    t, s, a0, shape, tau, depth
        As in `stop_estimates`.
    noise : float
        Standard deviation of sqrt(n_in) times an entry of the noise.
    corrected : bool
        Add what a square matrix lacks, for noise alone.

    Returns
    -------
    (T,) ndarray
        Its mean over the noise is that of E(t) where n_out != n_in.  A square map jumps where the
        determinant of Sigma is zero, which Stein's lemma does not see.  There the mean is lower
        by at most ``2 noise f(0)``, with f(0) <= a0 the strength of a mode of s = 0; for noise
        alone by nearly that, and with time by nothing.

    Raises
    ------
    ValueError
        As in `stop_estimates`.

    Examples
    --------
    >>> t = np.linspace(0, 8, 9)
    >>> risk_estimate(t, [3.0, 1.1, 0.7], 1e-3, noise=1.0, shape=(3, 6)).round(1).tolist()
    [7.7, 6.2, 1.6, 2.2, 3.0, 3.2, 3.2, 3.1, 3.0]
    """
    times, s, a0, shape, tau, depth = _checked(t, s, a0, shape, tau, depth)
    variance = as_amount("noise", noise) ** 2 / shape[1]
    path = _path(times, s, a0, shape, tau, depth)
    estimate = path.residual - shape[0] * shape[1] * variance + 2 * variance * path.df
    if as_flag("corrected", corrected) and shape[0] == shape[1]:
        # the density of the least singular value of d x d noise at 0, times noise / sqrt(d)
        density = poch(shape[0] / 2, 0.5) / np.sqrt(shape[0] / 2)
        jump = mode_strength(times, 0.0, a0, tau=tau, depth=depth)[:, 0]
        estimate += 2 * noise * density * jump
    return estimate


@in_range
def plugin_error(
    t: ArrayLike,
    s: ArrayLike,
    a0: float,
    *,
    shape: Sequence[int],
    noise: float | None = None,
    tau: float = 1.0,
    depth: float = 2,
) -> Float[np.ndarray, "T"]:
    """Test error with the unknown targets m_k replaced by those of the optimal shrinker.

    Parameters
    ----------
    t, s, a0, shape, noise, tau, depth
        As in `stop_estimates`.

    Returns
    -------
    (T,) ndarray
        ``sum_k a_k^2 - 2 a_k m(s_k)`` plus an estimate of ``|W*|_F^2``, that of the data less the
        noise: it may be negative, and moves no minimum.

    Examples
    --------
    >>> t = np.linspace(0, 8, 5)
    >>> plugin_error(t, [3.0, 1.1, 0.7, 0.1], 1e-3, shape=(4, 4)).round(2).tolist()
    [5.74, 2.59, 3.62, 4.26, 4.38]
    """
    times, s, a0, shape, tau, depth = _checked(t, s, a0, shape, tau, depth, zeros=True)
    noise, target = shrunk_targets(s, shape, noise)
    a = mode_strength(times, s, a0, tau=tau, depth=depth)
    energy = np.square(s).sum() - shape[0] * noise**2
    return np.vecdot(a, a) - 2 * (a @ target) + energy


@in_range
def cross_validation(
    t: ArrayLike,
    s: ArrayLike,
    a0: float,
    *,
    shape: Sequence[int],
    tau: float = 1.0,
    depth: float = 2,
) -> Float[np.ndarray, "T"]:
    """Generalised cross-validation: ``|W - Sigma|_F^2 / (1 - df/(n_out n_in))^2``.

    Parameters
    ----------
    t, s, a0, shape, tau, depth
        As in `stop_estimates`.

    Returns
    -------
    (T,) ndarray
        An estimate of E(t) plus the energy of the noise, which it does not need to know.  Where
        all parameters are spent both numerator and denominator vanish: once half of them are spent
        for good, the curve stays where it is.

    Raises
    ------
    ValueError
        As in `stop_estimates`.

    Examples
    --------
    >>> from dlnlib.tasks import spiked_teacher
    >>> rng, t = np.random.default_rng(0), np.linspace(0, 4, 9)
    >>> s = spiked_teacher(50, 50, [4.0], noise=1.0, rng=rng).modes.s
    >>> score = cross_validation(t, s, 1e-4, shape=(50, 50))
    >>> score.round(1)[::2].tolist(), t[score.argmin()].item()
    ([65.2, 62.9, 52.7, 62.5, 62.5], 1.5)
    """
    times, s, a0, shape, tau, depth = _checked(t, s, a0, shape, tau, depth)
    path = _path(times, s, a0, shape, tau, depth)
    return _generalised(path.residual, path.df, shape[0] * shape[1])


def noise_level(s: ArrayLike, *, shape: Sequence[int]) -> float:
    """Noise from the median singular value, which a few spikes do not move.

    Parameters
    ----------
    s : (K,) array_like
        All singular values of the observed correlation, K = min(shape), in any order.
    shape : (int, int)
        n_out and n_in.

    Returns
    -------
    float
        Standard deviation of sqrt(n_in) times an entry of the noise, by the median of the bulk
        (`dlnlib.random_matrix.bulk_density`); too large by a few per cent where spikes are many.

    References
    ----------
    .. [1] Gavish, Donoho. The optimal hard threshold for singular values is 4/sqrt(3). IEEE
       Trans. Inf. Theory 60, 2014, section III-E.

    Examples
    --------
    >>> from dlnlib.tasks import spiked_teacher
    >>> s = spiked_teacher(60, 80, [5.0, 2.0], noise=0.7, rng=np.random.default_rng(0)).modes.s
    >>> round(noise_level(s, shape=(60, 80)), 2)
    0.72
    """
    shape = _as_pair(shape)
    return _level(_as_spectrum(s, shape), shape)


def _level(s: Float[np.ndarray, "K"], shape: tuple[int, int]) -> float:
    middle = s.size // 2  # s is in order
    median = s[middle] if s.size % 2 else (s[middle - 1] + s[middle]) / 2
    return float(median / _bulk_median(shape[0] / shape[1]))


def shrunk_targets(
    s: Float[np.ndarray, "K"], shape: tuple[int, int], noise: float | None
) -> tuple[float, Float[np.ndarray, "K"]]:
    """The noise level, given or found, and the targets of the optimal shrinker; s is in order."""
    noise = _level(s, shape) if noise is None else as_amount("noise", noise)
    return noise, optimal_shrinker(s, noise=noise, aspect=shape[0] / shape[1])


@cache
def _bulk_median(aspect: float) -> float:
    return float(bulk_quantiles(1, aspect=aspect)[0])


def _generalised(
    residual: Float[np.ndarray, "T"], df: Float[np.ndarray, "T"], parameters: int
) -> Float[np.ndarray, "T"]:
    spent = df / parameters
    score = residual / np.maximum(1 - spent, 0.5) ** 2
    few = np.flatnonzero(spent <= 0.5)  # an abrupt rise spends many for a moment
    held = few[-1] if few.size else 0
    score[held:] = score[held]
    return score


def _as_pair(shape: Sequence[int]) -> tuple[int, int]:
    sizes = as_list("shape", shape, "it is (n_out, n_in)")
    if len(sizes) != 2:
        raise ValueError(f"shape must be (n_out, n_in): got {len(sizes)} sizes")
    hint = "shape is (n_out, n_in)"
    n_out, n_in = (
        as_count(name, n, 1, hint) for name, n in zip(("n_out", "n_in"), sizes, strict=True)
    )
    as_shape(n_out=n_out, n_in=n_in)
    return n_out, n_in


def _as_spectrum(s: ArrayLike, shape: tuple[int, int]) -> Float[np.ndarray, "K"]:
    values = as_nonnegative("s", s, SIGN_HINT)
    if values.size != min(shape):
        raise ValueError(
            f"s needs all min(n_out, n_in) = {min(shape)} singular values, also the small ones: "
            f"got {values.size}"
        )
    return np.sort(values)


def _checked(t, s, a0, shape, tau, depth, *, zeros=False):
    shape = _as_pair(shape)
    times, s, start = as_times(t), _as_spectrum(s, shape), float(as_start(a0, 1)[0])
    least = s[0] if shape[0] != shape[1] else s[min(1, s.size - 1)]
    if not zeros and least <= s.size * _ROUNDING * s[-1]:
        raise ValueError(
            f"s has a zero, {least:g} beside {s[-1]:g}: the direction of such a mode is that of "
            "the start, and the map jumps; leave it out of s and one row or column out of shape"
        )
    return times, s, start, shape, as_scalar("tau", tau), as_depth(depth)


class _Path(NamedTuple):
    """Sums over the modes along a path: those of a^2, a m, (a - s)^2, and the divergence."""

    size: Float[np.ndarray, "T"]
    fit: Float[np.ndarray, "T"]
    residual: Float[np.ndarray, "T"]
    df: Float[np.ndarray, "T"]


class _Pairs(NamedTuple):
    """The sum over pairs of modes, as weights of all strengths and of close neighbours."""

    weight: Float[np.ndarray, "K"]
    close: Float[np.ndarray, "n"]  # k, where s_k and s_(k+1) are close
    gap: Float[np.ndarray, "n"]
    share: Float[np.ndarray, "n"]


@compiled()
@no_type_check
def _crossings(s):
    """Sum over j <= l < k of 2 / (s_k^2 - s_j^2), for each l; all terms are positive.

    Equal values are spread by their rounding, evenly, since any order among them gives the same.
    """
    before, crossing = np.zeros(s.size), np.empty(s.size - 1)
    for i in range(s.size - 1):
        total = 0.0
        for k in range(i + 1, s.size):
            apart = max(s[k] - s[i], (k - i) * _ROUNDING * s[k])
            before[k] += 2 / (apart * (s[k] + s[i]))
            total += before[k]
        crossing[i] = total
    return crossing


def _pairs(s: Float[np.ndarray, "K"]) -> _Pairs:
    crossing, gap = _crossings(s), np.maximum(np.diff(s), _ROUNDING * s[1:])
    close = gap < _CLOSE * s[1:]
    far = np.where(close, 0, crossing)
    weight = s * (np.append(0, far) - np.append(far, 0))
    return _Pairs(weight, np.flatnonzero(close), gap[close], (gap * crossing)[close])


def _path(times, s, a0, shape, tau, depth, target=None) -> _Path:
    """All sums in one pass over the strengths, which are read once."""
    pairs, surplus = _pairs(s), abs(shape[0] - shape[1])
    quick, start = (a0 < s / 2) & (depth == 2), np.full(s.size, a0)
    if quick.all() and not pairs.close.size:
        a, slope = strengths(times, s, start, tau, depth), None
    else:
        a, slope = strength_and_sensitivity(times, s, start, tau, depth)
    # Two layers: f' = f/s - [1/(s (s - a0)) - 2t/(tau s)] f (s - f) needs no array of its own.
    inverse = np.where(quick, 1 / np.where(quick, s, 1), 0)
    linear = pairs.weight + inverse
    if surplus:
        linear = linear + surplus / s
    target = np.zeros(s.size) if target is None else target
    by_gap = np.column_stack([np.ones(s.size), inverse / np.where(quick, s - a0, 1), inverse])
    sums, gaps = _moments(a, s, np.column_stack([target, s, linear]), by_gap)
    df = sums[:, 2] - gaps[:, 1] + 2 * times / tau * gaps[:, 2]
    if slope is not None:
        df += slope @ ~quick + _close_quotients(s, a, slope, pairs) @ pairs.share
    residual = np.square(s).sum() - sums[:, 1] - gaps[:, 0]
    size = sums[:, 1] - gaps[:, 0]
    return _Path(size, sums[:, 0], np.maximum(residual, 0), np.maximum(df, 0))


def _close_quotients(s, a, slope, pairs) -> Float[np.ndarray, "T n"]:
    """Quotients of s f(s) between close neighbours: a difference, or the mean of the slopes."""
    low, high = pairs.close, pairs.close + 1
    step = s[high] * a[:, high] - s[low] * a[:, low]
    mean = a[:, high] + s[high] * slope[:, high] + a[:, low] + s[low] * slope[:, low]
    return np.where(step < _CLOSE * s[high] * a[:, high], mean / 2, step / pairs.gap)


def _moments(
    a: Float[np.ndarray, "T K"],
    s: Float[np.ndarray, "K"],
    by_strength: Float[np.ndarray, "K n"],
    by_gap: Float[np.ndarray, "K m"],
) -> tuple[Float[np.ndarray, "T n"], Float[np.ndarray, "T m"]]:
    """Weighted sums of a and of a (s - a), block by block, so that no second array is needed."""
    sums, gaps = (np.empty((len(a), weights.shape[1])) for weights in (by_strength, by_gap))

    def fill(blocks: Iterator[slice]) -> None:
        buffer = np.empty((_BLOCK, s.size))
        for block in blocks:
            left = np.subtract(s, a[block], out=buffer[: len(a[block])])
            left *= a[block]
            np.matmul(a[block], by_strength, out=sums[block])
            np.matmul(left, by_gap, out=gaps[block])

    in_blocks(fill, *a.shape, _BLOCK)
    return sums, gaps
