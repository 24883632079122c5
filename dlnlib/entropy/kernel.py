"""Entropy, its rate and the parts of the modes in it, compiled: one row, a time, after the other.

A row stays in the first-level cache while it is passed over: for its strongest mode, its energies,
their logarithms, and the parts.  Energies are in units of the strongest, x_k <= 1, and r is the
energy of all others together.  Nothing cancels then, however small a share: for p_k = x_k/(1 + r)::

    log p_k = log x_k - log(1 + r),    H = log(1 + r) - E_p log x,    dH/dt = -power Cov_p(g, log x)

are sums of terms of one sign, or differences that cancel only where the result does, and a growth
rate is compared with that of the strongest mode first.  A mode of strength zero has p_k = 0 and a
finite log x_k.  What is NaN or infinite, or has no energy, comes out as NaN: so no flag may exclude
NaN; "reassoc" lets sums be vectorised, "contract" lets a product and a sum be rounded once.
"""

import math
from typing import NamedTuple, no_type_check

import numpy as np

from dlnlib._compiled import compiled

_SIZE = 0x7FFF_FFFF_FFFF_FFFF  # all bits but the sign: as integers they are in the order of |a|
_FRACTION, _ONE, _ROOT = 0x000F_FFFF_FFFF_FFFF, 0x3FF0_0000_0000_0000, 0x3FE6_A09E_667F_3BCD
_LOG_2 = 0.6931471803691238, 1.9082149292705877e-10  # 32 bits, with exact multiples; the rest
_SERIES = (  # 2/3 + 2z/5 + 2z^2/7 + ..., at Chebyshev's points of 0 <= z <= 0.02944; last one first
    0.1466772093321031,
    0.15327306990568074,
    0.18183030734420208,
    0.22222209052545414,
    0.28571428639788204,
    0.399999999998668,
    0.6666666666666669,
)


class Rows(NamedTuple):
    """What is filled; ``parts`` of one row are a buffer, as ``log_x`` always is."""

    entropy: np.ndarray  # (T,)
    rate: np.ndarray  # (T,)
    parts: np.ndarray  # (T, K) or (1, K)
    log_x: np.ndarray  # (K,)


@compiled("reassoc", "contract")
@no_type_check
def fill_rows(a, g, power, centred, out):
    """Fill ``out`` from ``a`` (T, K) and ``g`` (T, K), or (1, K) for all times."""
    entropy, rate, parts, log_x = out
    for t in range(len(a)):
        x, growth = parts[t % len(parts)], g[t % len(g)]
        lead = _strongest(a[t])
        _energies(a[t], a[t, lead], power, x)
        others = behind = mean_log = 0.0
        for k in range(x.size):
            log_x[k] = _log(x[k])
            others += x[k] if k != lead else 0.0
            behind += x[k] * (growth[k] - growth[lead])
            mean_log += x[k] * log_x[k]
        share, surprise = 1 / (1 + others), math.log1p(others)  # of the strongest mode
        behind *= share
        mean_log *= share
        entropy[t] = surprise - mean_log
        origin = mean_log if centred else surprise
        total = 0.0
        for k in range(x.size):
            flux = -power * share * x[k] * (growth[k] - growth[lead] - behind)
            total += flux * log_x[k]
            x[k] = flux * (log_x[k] - origin)
        rate[t] = total


@compiled()
@no_type_check
def _strongest(a):
    """Place of the largest |a_k|, where NaN counts as larger than infinity."""
    bits = a.view(np.int64)
    top = lead = 0
    for k in range(a.size):
        top = max(top, bits[k] & _SIZE)
    for k in range(a.size):
        lead = max(lead, k if bits[k] & _SIZE == top else 0)
    return lead


@compiled()
@no_type_check
def _energies(a, unit, power, out):
    """Fill ``out`` with |a/unit|^power: a loop each, as a branch within would not be vectorised."""
    if power == 2:
        for k in range(a.size):
            out[k] = (a[k] / unit) * (a[k] / unit)
    elif power == 1:
        for k in range(a.size):
            out[k] = abs(a[k] / unit)
    else:
        for k in range(a.size):
            out[k] = abs(a[k] / unit) ** power


@compiled("contract")
@no_type_check
def _log(x):
    """Logarithm of a normal number 2^n (1 + f), to 0.9 of the last digit, and without a branch.

    With 1 + f between the square roots of 1/2 and 2 and s = f/(2 + f), log(1 + f) is the series
    2s + 2s^3/3 + 2s^5/5 + ..., of which 2s = f - f^2/2 + s f^2/2 is rounded last.  At x = 0 the
    exponent is taken at its word: a finite number.
    """
    bits = np.float64(x).view(np.int64) + (_ONE - _ROOT)
    f = np.int64((bits & _FRACTION) + _ROOT).view(np.float64) - 1
    n = (bits >> 52) - 1023
    s = f / (2 + f)
    series = 0.0
    for coefficient in _SERIES:
        series = s * s * (series + coefficient)
    half = f * f / 2
    return n * _LOG_2[0] - (half - (s * (half + series) + n * _LOG_2[1]) - f)
