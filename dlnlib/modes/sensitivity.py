r"""How much a mode moves when its singular value does, in closed form.

Differentiate the clock, F_L(a/s) = F_L(a0/s) + L s^p t / tau with p = 2 - 2/L, in s at fixed t.
With x = a/s and x0 = a0/s::

    da/ds = x [1 - (x/x0)^(p-1) (1 - x)/(1 - x0)] + p L s^p t/tau x^p (1 - x).

Both terms of a rising mode are positive.  Those of a falling one (x > 1) cancel where s is much
less than a; there the same derivative is a power series in v = s/a, whose terms are positive::

    da/ds = (1 - v) sum_n (n + 1)/(n + 1 + p) v^n [1 - (a/a0)^(n + 1 + p)].
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import gammainc, log_expit

from dlnlib._checks import as_depth, as_scalar, as_times, in_range
from dlnlib.modes.clock import clock_speed, decay_clock, decay_logit, rise_clock, rise_logit
from dlnlib.modes.strength import as_modes, log_odds, strengths

# sum over v^n truncated at 2^-60 for v <= 1/2
_SERIES_TERMS = 60


@in_range
def mode_sensitivity(
    t: ArrayLike, s: ArrayLike, a0: ArrayLike, *, tau: float = 1.0, depth: float = 2
) -> Float[np.ndarray, "T K"]:
    """Sensitivity da_k/ds_k of each mode strength to its singular value, at fixed time and start.

    Parameters
    ----------
    t, s, a0, tau, depth
        As in `mode_strength`.

    Returns
    -------
    (T, K) ndarray
        Not negative, without a unit.  It starts at 0, peaks while the mode rises, and ends at 1,
        where the mode follows its singular value.  Relative error about 1e-13 with two layers; of
        deeper modes also as far as their times are known, see `mode_strength`.

    References
    ----------
    .. [1] Stein. Estimation of the mean of a multivariate normal distribution. Annals of
       Statistics 9, 1981, for what it is needed for: the degrees of freedom.

    Examples
    --------
    >>> # most sensitive while it rises: its time of learning depends on s
    >>> mode_sensitivity([0.0, 2.0, 4.0, 8.0], 2.0, 1e-3).round(2).ravel().tolist()
    [0.0, 2.28, 1.0, 1.0]
    """
    times, tau, depth = as_times(t), as_scalar("tau", tau), as_depth(depth)
    s, a0 = as_modes(s, a0)
    return strength_and_sensitivity(times, s, a0, tau, depth)[1]


def strength_and_sensitivity(
    times: Float[np.ndarray, "T"],
    s: Float[np.ndarray, "K"],
    a0: Float[np.ndarray, "K"],
    tau: float,
    depth: float,
) -> tuple[Float[np.ndarray, "T K"], Float[np.ndarray, "T K"]]:
    """Both at once, since a deep mode is found by a search; the input has been checked."""
    if depth == 2:
        a = strengths(times, s, a0, tau, depth)
        return a, _two_layers(times[:, None] / tau, a, s, a0)
    passed = clock_speed(s, tau, depth) * times[:, None]
    a, slope = np.empty(passed.shape), np.empty(passed.shape)
    rising, falling, still = a0 < s, a0 > s, a0 == s
    a[:, still], slope[:, still] = s[still], -np.expm1(-passed[:, still])
    if rising.any():
        x, slope[:, rising] = _rising(passed[:, rising], s[rising], a0[rising], depth)
        a[:, rising] = s[rising] * x
    if falling.any():
        high, start = s[falling], a0[falling]
        a[:, falling] = strengths(times, high, start, tau, depth)
        slope[:, falling] = _falling(passed[:, falling], a[:, falling], high, start, depth)
    return a, np.maximum(slope, 0)  # -1e-17 at t = 0


def _two_layers(
    t: np.ndarray, a: np.ndarray, s: np.ndarray, a0: np.ndarray
) -> Float[np.ndarray, "T K"]:
    """(a/s)^2 [1 - (1 + x) e^-x + (s/a0) x e^-x], x = 2 s t/tau: nothing cancels at any s."""
    x = 2 * s * t
    s = np.where(s > 0, s, 1)
    slow = x < 1e-5  # 1 - (1 + x) e^-x as a series, and s may be zero
    lag = np.where(slow, (2 * t * a) ** 2 * (0.5 - x / 3 + x**2 / 8), (a / s) ** 2 * gammainc(2, x))
    return lag + 2 * t * (a * np.exp(-x) / a0) * a


def _rising(
    passed: np.ndarray, s: np.ndarray, a0: np.ndarray, depth: float
) -> tuple[Float[np.ndarray, "T K"], Float[np.ndarray, "T K"]]:
    """Of a rising mode, x = a/s and da/ds."""
    power, first = 2 - 2 / depth, log_odds(s, a0)
    z = rise_logit(rise_clock(first, depth) + passed, depth)
    log_x, log_gap = log_expit(z), log_expit(-z)
    x = np.exp(log_x)
    late = (power - 1) * (log_x - log_expit(first)) + log_gap - log_expit(-first)
    return x, power * passed * np.exp(power * log_x + log_gap) - x * np.expm1(late)


def _falling(
    passed: np.ndarray, a: np.ndarray, s: np.ndarray, a0: np.ndarray, depth: float
) -> Float[np.ndarray, "T K"]:
    power = 2 - 2 / depth
    order = 1 + np.arange(_SERIES_TERMS)
    v, fallen = s / a, a / a0
    far = np.polynomial.polynomial.polyval(np.minimum(v, 0.5), order / (order + power))
    start = np.polynomial.polynomial.polyval(np.minimum(s / a0, 0.5), order / (order + power))
    slope = (1 - v) * (far - fallen ** (1 + power) * start)
    near = 2 * s > a
    if near.any():
        time, k = np.nonzero(near)
        first = np.log(s[k]) - np.log(a0[k] - s[k])
        z = decay_logit(decay_clock(first, depth) + passed[time, k], depth)
        x, log_v = 1 + np.exp(-z), log_expit(z)  # (x - 1) is exp(-z)
        late = (1 - power) * (log_v - log_expit(first)) + first - z
        slope[time, k] = -x * np.expm1(late) - power * passed[time, k] * x**power * np.exp(-z)
    return slope
