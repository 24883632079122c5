r"""Compiled search for the least entropy and the least test error of one spectrum of modes.

The strengths are closed forms, so that nothing is integrated: the search visits times whose
distance is set by the fastest mode, a fixed part of an e-fold each; an e-fold of growth while a
mode is far from its end, and of what it still lacks later.
The number of visits therefore grows with log(1/a0) alone, at every depth.  At each time one pass
over the modes gives H, E and both rates; every sign change of a rate from minus to plus brackets
a local minimum, which is then found as the root of the rate.

Differences are formed before they can cancel: the gap s - a of a mode is known to full relative
precision, energies are in units of the strongest mode, and the rate of the entropy is
-2 Cov_p(g, log p) with g and log p counted from that mode.
All compiled functions stay in this one file: the cache of numba does not see a change elsewhere.
"""

import math
from typing import NamedTuple, no_type_check

import numpy as np

from dlnlib._compiled import compiled
from dlnlib.stopping.mode_tables import FALLING, RISING, VANISHING, Flow

_STEP = 0.5  # e-folds of the fastest mode per visit
_ROUNDING = 1e-14  # a sum this much smaller than its terms is zero
_SETTLED = 1e-14  # a mode closer to its end than this is done; a minimum may come that late
_FAINT = 1e-6  # a mode that much weaker than the first holds no energy to speak of
_MOST_VISITS = 200_000


class _Scene(NamedTuple):
    """A spectrum, its targets, the modes that are noise, and the share of energy to watch for."""

    flow: Flow
    m: np.ndarray
    noise: np.ndarray
    level: float


class Look(NamedTuple):
    """What one visit sees."""

    entropy: float
    entropy_rate: float
    error: float
    error_rate: float
    noise_share: float
    fastest: float  # the largest rate of a mode that still moves


@compiled()
@no_type_check
def _two_layers(t, flow, a, log_a, gap):
    """Logistic modes, a0 / (e^-x + (a0/s) (1 - e^-x)), x = 2 s t / tau, without cancellation."""
    for k in range(a.size):
        if flow.kind[k] == VANISHING:
            below = 1 + flow.factor * flow.a0[k] * t
            a[k] = flow.a0[k] / below
            log_a[k] = flow.log_a0[k] - math.log(below)
            gap[k] = -a[k]
            continue
        x = flow.speed[k] * t
        odds = flow.start[k]
        left = math.exp(-x)
        below = left + odds * (1 - left if x > 1e-3 else -math.expm1(-x))
        a[k] = flow.a0[k] / below
        gap[k] = (flow.s[k] - flow.a0[k]) * left / below
        if left < 1e-17 * odds:
            log_a[k] = flow.log_s[k]
        else:
            log_a[k] = flow.log_a0[k] - math.log(below)


@compiled()
@no_type_check
def _read(table, w):
    """Cubic Hermite interpolation."""
    place = (w - table.first) / table.step
    i = min(max(int(place), 0), table.z.size - 2)
    u = place - i
    v = 1 - u
    return v * v * ((1 + 2 * u) * table.z[i] + u * table.step * table.slope[i]) + u * u * (
        (1 + 2 * v) * table.z[i + 1] - v * table.step * table.slope[i + 1]
    )


@compiled()
@no_type_check
def _logit(clock, rising, table, power):
    """Logit of a/s (rising) or s/a (falling) at a time of the clock, with both asymptotic laws."""
    w = math.asinh(clock) if rising else math.log(clock)
    last = table.first + table.step * (table.z.size - 1)
    if w >= last:
        end = math.sinh(last) if rising else math.exp(last)
        return table.z[-1] + clock - end
    if w > table.first:
        return _read(table, w)
    return -math.log(-clock * power) / power if rising else math.log(clock * power) / power


@compiled()
@no_type_check
def _deep(t, flow, a, log_a, gap):
    for k in range(a.size):
        kind = flow.kind[k]
        clock = flow.start[k] + flow.speed[k] * t
        if kind == RISING:
            z = _logit(clock, True, flow.rise, flow.power)
            log_a[k] = flow.log_s[k] - (math.log1p(math.exp(-z)) if z > -30 else -z)
            gap[k] = flow.s[k] / (1 + math.exp(z)) if z < 700 else 0.0
            a[k] = math.exp(log_a[k])
        elif kind == FALLING:
            z = _logit(clock, False, flow.fall, flow.power + 1)
            log_a[k] = flow.log_s[k] + (math.log1p(math.exp(-z)) if z > -30 else -z)
            gap[k] = -flow.s[k] * math.exp(-z)
            a[k] = math.exp(log_a[k])
        elif kind == VANISHING:
            p = flow.power + 1
            fall = p * flow.factor * flow.a0[k] ** p * t
            log_a[k] = flow.log_a0[k] - math.log1p(fall) / p
            a[k] = math.exp(log_a[k])
            gap[k] = -a[k]
        else:
            a[k], log_a[k], gap[k] = flow.s[k], flow.log_s[k], 0.0


@compiled()
@no_type_check
def _errors(flow, m, a, gap, g):
    """E and its rate."""
    error, rate, size = 0.0, 0.0, 0.0
    for k in range(a.size):
        error += a[k] * (a[k] - 2 * m[k])
        part = 2 * ((flow.s[k] - m[k]) - gap[k]) * a[k] * g[k]
        rate += part
        size += abs(part)
    return error, 0.0 if abs(rate) <= _ROUNDING * size else rate


@compiled()
@no_type_check
def _shares(noise, a, log_a, g):
    """Entropy, its rate, and the energy share of the noise modes."""
    top = a.argmax()
    others, with_log, with_rate, with_both = 0.0, 0.0, 0.0, 0.0
    of_noise, size = 0.0, 0.0
    for k in range(a.size):
        energy, log_energy, ahead = (a[k] / a[top]) ** 2, 2 * (log_a[k] - log_a[top]), g[k] - g[top]
        if noise[k]:
            of_noise += energy
        if k != top and energy != 0:
            others += energy
            with_log += energy * log_energy
            with_rate += energy * ahead
            with_both += energy * ahead * log_energy
            size += energy * abs(ahead * log_energy)
    whole = 1 + others
    product = with_rate * with_log / whole
    rate = -2 * (with_both - product) / whole
    if abs(with_both - product) <= _ROUNDING * (size + abs(product)):
        rate = 0.0
    return math.log1p(others) - with_log / whole, rate, of_noise / whole


@compiled()
@no_type_check
def _look(t, flow, m, noise, work):
    """H, E = sum a^2 - 2 a m, their rates, and the energy share of the noise modes."""
    a, log_a, gap, g = work[0], work[1], work[2], work[3]
    if flow.depth == 2:
        _two_layers(t, flow, a, log_a, gap)
    else:
        _deep(t, flow, a, log_a, gap)
    fastest, highest = 0.0, flow.s.max()
    for k in range(a.size):
        pace = flow.factor
        if flow.depth != 2:
            pace *= math.exp(flow.power * log_a[k])
        g[k] = pace * gap[k]
        end = max(a[k], flow.s[k])
        if abs(gap[k]) > _SETTLED * flow.s[k] and end > _FAINT * highest:
            fastest = max(fastest, pace * end)
    error, error_rate = _errors(flow, m, a, gap, g)
    entropy, entropy_rate, share = _shares(noise, a, log_a, g)
    return Look(entropy, entropy_rate, error, error_rate, share, fastest)


@compiled()
@no_type_check
def _part(look, which, level):
    """The rate of the entropy or of the error, or by how much the noise share exceeds a level."""
    if which == 0:
        return look.entropy_rate
    return look.error_rate if which == 1 else look.noise_share - level


@compiled()
@no_type_check
def _root(span, which, scene, work):
    """Where a part crosses zero between two times, by false position (Illinois)."""
    left, right, low, high = span
    flow, m, noise, level = scene
    middle, side = left, 0
    for _ in range(100):
        before, middle = middle, (left * high - right * low) / (high - low)
        if not left < middle < right:
            middle = left + (right - left) / 2
        part = _part(_look(middle, flow, m, noise, work), which, level)
        if part < 0:
            left, low = middle, part
            high /= 2 if side < 0 else 1
            side = -1
        else:
            right, high = middle, part
            low /= 2 if side > 0 else 1
            side = 1
        if part == 0 or abs(middle - before) <= 1e-13 * middle:
            break
    return middle


@compiled()
@no_type_check
def _over(scene, a, best):
    """Whether nothing later can beat the minima found, or bring the noise below its level.

    A mode stays between its strength and its end.  The largest share is then at most that of a
    mode at its upper bound with all others at their lower ones, and H is at least -log of it.
    """
    flow, m, noise, level = scene
    whole, of_noise, of_signal, error = 0.0, 0.0, 0.0, 0.0
    for k in range(a.size):
        low, high = min(a[k], flow.s[k]), max(a[k], flow.s[k])
        nearest = min(max(m[k], low), high)
        error += nearest * (nearest - 2 * m[k])
        whole += low**2
        if noise[k]:
            of_noise += low**2
        else:
            of_signal += high**2
    if error <= best[1] or of_noise <= level * (of_noise + of_signal):
        return False
    least = math.inf
    for k in range(a.size):
        low, high = min(a[k], flow.s[k]), max(a[k], flow.s[k])
        least = min(least, (whole - low**2) / high**2)
    return math.log1p(least) > best[0]


@compiled()
@no_type_check
def _keep(which, time, best, times, look):
    """Remember a minimum if it is the lowest so far; of the noise share, the last crossing."""
    if which == 2:
        times[2] = time
        return
    value = look.entropy if which == 0 else look.error
    if value < best[which]:
        times[which], best[which] = time, value


@compiled()
@no_type_check
def _see_the_end(scene, look, best, times):
    """Put off for ever what is lower, or not exceeded, at infinite time."""
    flow, m, noise, level = scene
    still = np.zeros(m.size)
    entropy, _, share = _shares(noise, flow.s, flow.log_s, still)
    error, _ = _errors(flow, m, flow.s, still, still)
    for which, end in ((0, entropy), (1, error)):
        if end < best[which] - 1e-12 * (abs(end) + abs(best[which])):
            times[which] = math.inf
    if look.noise_share < level or share < level:
        times[2] = math.inf


@compiled()
@no_type_check
def search(flow, m, noise, level):
    """Times of the least H and the least E, and the time from which noise exceeds the level.

    A minimum that is approached at late times only, or a level that is never exceeded for good,
    gives infinity.
    """
    scene = _Scene(flow, m, noise, level)
    work, now = np.empty((4, m.size)), 0.0
    look = _look(now, flow, m, noise, work)
    best, times = np.array([look.entropy, look.error]), np.zeros(3)
    falling, since, low = np.zeros(3, np.bool_), np.zeros(3), np.zeros(3)
    for _ in range(_MOST_VISITS):
        for which in range(3):
            part = _part(look, which, level)
            if part > 0 and falling[which]:
                falling[which] = False
                span = since[which], now, low[which], part
                lowest = _root(span, which, scene, work)
                _keep(which, lowest, best, times, _look(lowest, flow, m, noise, work))
            elif part < 0:
                falling[which], since[which], low[which] = True, now, part
        passed = not (falling[0] or falling[1])  # a bound from just before now is a bound, too
        if look.fastest == 0 or (passed and _over(scene, work[0], best)):
            break
        now += _STEP / look.fastest
        look = _look(now, flow, m, noise, work)
    _see_the_end(scene, look, best, times)
    return times[0], times[1], times[2]


@compiled()
@no_type_check
def visited_curves(t, flow, m):
    """H and E = sum a^2 - 2 a m, visit by visit."""
    work, out, noise = np.empty((4, m.size)), np.empty((2, t.size)), np.zeros(m.size, np.bool_)
    for i in range(t.size):
        look = _look(t[i], flow, m, noise, work)
        out[0, i], out[1, i] = look.entropy, look.error
    return out
