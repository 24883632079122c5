r"""The noise bulk of a spiked matrix: its density, what it holds of the teacher, quadrature.

With x^2 = noise^2 (1 + c + 2 sqrt(c) cos(theta)), 0 <= theta <= pi, and
beta = s0^2 / (sqrt(c) noise^2), the product of the two resolvents that a spike meets (its
D-transform) is D = exp(-i theta) / (sqrt(c) noise^2).  The determinant of the spiked resolvent
gains the factor 1 - s0^2 D = 1 - beta exp(-i theta), and all densities are elementary in theta.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import SIGN_HINT, as_count, as_nonnegative, as_shaped, in_range
from dlnlib.random_matrix.spike import (
    STRENGTH_HINT,
    Spike,
    as_noisy,
    bulk_edge,
    detection_threshold,
    edges,
    spike_forward,
)

_NODE, _WEIGHT = np.polynomial.legendre.leggauss(240)
_THETA, _STEP = np.pi / 2 * (_NODE + 1), np.pi / 2 * _WEIGHT


@in_range
def bulk_density(
    x: ArrayLike, *, noise: float = 1.0, aspect: float = 1.0
) -> Float[np.ndarray, "..."]:
    """Density of the K singular values of the noise (Marchenko & Pastur); its integral is 1.

    Parameters
    ----------
    x : array_like
        Singular values, of any shape.
    noise, aspect : float
        As in `bulk_edge`; noise must be positive.

    Returns
    -------
    ndarray like x
        sqrt((e^2 - x^2)(x^2 - f^2)) / (pi min(1, c) noise^2 x) between the edges
        ``f, e = noise |1 -+ sqrt(c)|``, and 0 elsewhere.

    Examples
    --------
    >>> bulk_density([0.5, 1.0, 3.0]).round(4).tolist()  # the edge is 2
    [0.6164, 0.5513, 0.0]
    """
    noise, aspect = as_noisy(noise, aspect)
    x = as_shaped("x", x, SIGN_HINT)
    # With two square matrices the lower edge is 0, where root / x has the limit 2 noise.
    root = _root(x, noise, aspect) / np.where(x > 0, x, 1.0)
    if aspect == 1:
        root = np.where(x == 0, 2 * noise, root)
    return np.asarray(root / (np.pi * min(1.0, aspect) * noise**2))


@in_range
def bulk_target(
    x: ArrayLike, s0: ArrayLike, *, noise: float = 1.0, aspect: float = 1.0
) -> Float[np.ndarray, "..."]:
    """What the modes of the bulk see of the teacher: density in x of the sum of their m_k.

    The sum over bulk modes of m_k f(s_k) is the integral of f times this density.  Each m_k is
    of order 1/K, yet their sum is of order one; it holds all of the teacher below the threshold.

    Parameters
    ----------
    x : array_like
        Singular values, of any shape.
    s0 : scalar or (r,) array_like
        Strengths of the spikes; their densities add.
    noise, aspect : float
        As in `bulk_density`.

    Returns
    -------
    ndarray like x
        sqrt((e^2 - x^2)(x^2 - f^2)) / (pi (s^2 - x^2)), with s^2 as in `spike_forward` at any
        s0, on either side of the threshold.  Together with the spike it has
        m s + integral of x = s0^2.

    Examples
    --------
    >>> bulk_target([0.5, 1.0, 3.0], 0.5).round(4).tolist()  # of a spike below the threshold
    [0.0514, 0.105, 0.0]
    """
    noise, aspect = as_noisy(noise, aspect)
    x = as_shaped("x", x, SIGN_HINT)
    root, total = _root(x, noise, aspect), np.zeros(x.shape)
    for strength in as_nonnegative("s0", s0, STRENGTH_HINT):
        if strength > 0:
            ratio = (noise / strength) ** 2
            square = strength**2 * (1 + ratio) * (1 + aspect * ratio)
            total += root / np.where(root > 0, np.pi * (square - x**2), 1.0)
    return np.asarray(total)


def _root(x: np.ndarray, noise: float, aspect: float) -> ArrayLike:
    low, high = edges(noise, aspect)
    return np.sqrt(np.maximum(high**2 - x**2, 0) * np.maximum(x**2 - low**2, 0))


class BulkMeasure(NamedTuple):
    """Sums over bulk modes as weighted sums over nodes; the last two are the edges, low and high.

    ``count`` adds up to the number of modes in the bulk, and ``target @ f(x)`` is the sum of
    m_k f(s_k) over them.
    """

    x: Float[np.ndarray, "N"]
    count: Float[np.ndarray, "N"]
    target: Float[np.ndarray, "N"]


def bulk_nodes(
    noise: float, aspect: float
) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """Singular values and weights of a quadrature; the weights add up to 1."""
    square = 1 + aspect + 2 * np.sqrt(aspect) * np.cos(_THETA)
    density = np.sin(_THETA) ** 2 / square * _STEP
    return noise * np.sqrt(square), density / density.sum()


def bulk_measure(
    modes: int, strengths: Float[np.ndarray, "r"], noise: float, aspect: float
) -> BulkMeasure:
    """The bulk of a real Gaussian matrix with ``modes`` singular values and these spikes.

    Beside ``modes`` times its density, the bulk has parts of order one.  Real noise has a quarter
    of a mode at either edge and lacks half of one in between, evenly in theta.  A spike adds
    -1/pi times the slope of the phase of 1 - beta exp(-i theta): a constant and a Poisson kernel,
    which is sharp near the threshold; what quadrature misses of it sits at the edge.
    """
    root, density = bulk_nodes(1.0, aspect)
    count, at_edge = modes * density - _STEP / (2 * np.pi), 0.25
    target = np.zeros_like(root)
    threshold = detection_threshold(noise=noise, aspect=aspect)
    for s0 in strengths[strengths > 0]:
        inverse = np.sqrt(aspect) * (noise / s0) ** 2  # 1 / beta, which is 0 without noise
        distance = (1 - inverse) ** 2 + 2 * inverse * (1 - np.cos(_THETA))
        poisson = (inverse**2 - 1) / distance * _STEP / (2 * np.pi)
        count += poisson - _STEP / (2 * np.pi)
        at_edge += (0.5 if s0 <= threshold else -0.5) - poisson.sum()
        height = 2 * aspect * noise**3 / (np.pi * s0**2)
        target += height * np.sin(_THETA) ** 2 / (distance * root) * _STEP
    edges = [noise * abs(1 - np.sqrt(aspect)), bulk_edge(noise=noise, aspect=aspect)]
    return BulkMeasure(
        np.append(noise * root, edges),
        np.append(count, [0.25, at_edge]),
        np.append(target, [0.0, 0.0]),
    )


@in_range
def bulk_quantiles(
    count: int, *, noise: float = 1.0, aspect: float = 1.0
) -> Float[np.ndarray, "count"]:
    """Singular values of noise modes without chance: quantiles of the bulk.

    Parameters
    ----------
    count : int
        Number of noise modes.
    noise, aspect : float
        As in `bulk_density`; noise must be positive.

    Returns
    -------
    (count,) ndarray
        In descending order; mode k has the share (k + 1/2) / count of the bulk above it.

    Examples
    --------
    >>> bulk_quantiles(4).round(3).tolist()  # of a quarter circle of radius 2
    [1.547, 1.029, 0.598, 0.197]
    """
    noise, aspect = as_noisy(noise, aspect)
    shares = (np.arange(as_count("count", count, 1, "it counts modes")) + 0.5) / count
    theta = np.pi * (np.arange(20_000) + 0.5) / 20_000  # from the upper edge on

    def square(theta):
        return 1 + aspect + 2 * np.sqrt(aspect) * np.cos(theta)

    weight = np.sin(theta) ** 2 / square(theta)
    above = np.cumsum(weight) - weight / 2
    return noise * np.sqrt(square(np.interp(shares, above / weight.sum(), theta)))


@in_range
def typical_spectrum(
    strengths: ArrayLike, modes: int, *, noise: float = 1.0, aspect: float = 1.0
) -> Spike:
    """Spectrum and targets of a spiked task without chance, to set beside random draws.

    Parameters
    ----------
    strengths : scalar or (r,) array_like
        Of the teacher, before noise.
    modes : int
        K = min(n_out, n_in), more than there are strengths.
    noise, aspect : float
        As in `bulk_density`; noise must be positive.

    Returns
    -------
    Spike
        ``s`` (K,), the detached spikes in the order given and then `bulk_quantiles`, and ``m``
        (K,), those of the bulk on average (`bulk_target`).

    Examples
    --------
    >>> s, m = typical_spectrum(2.0, 4)
    >>> s.round(3).tolist(), m.round(3).tolist()
    ([2.5, 1.448, 0.808, 0.263], [1.5, 0.116, 0.048, 0.014])
    """
    model = {"noise": noise, "aspect": aspect}
    s0 = as_nonnegative("strengths", strengths, STRENGTH_HINT)
    modes = as_count("modes", modes, s0.size + 1, "there are more modes than spikes")
    spike = spike_forward(s0[s0 > detection_threshold(**model)], **model)
    bulk = bulk_quantiles(modes - spike.s.size, **model)
    rest = bulk_target(bulk, s0, **model) / (bulk_density(bulk, **model) * bulk.size)
    return Spike(np.append(spike.s, bulk), np.append(spike.m, rest))
