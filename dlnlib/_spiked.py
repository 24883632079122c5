r"""The spiked matrix at large size, in closed form: edges, densities, overlaps, shrinkers.

The model and its sources are those of ``random_matrix``, which exports what is public here.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import as_nonnegative, as_scalar

__all__ = [
    "SIGN_HINT",
    "STRENGTH_HINT",
    "Overlaps",
    "Spike",
    "as_model",
    "as_noisy",
    "as_shaped",
    "bulk_density",
    "bulk_edge",
    "bulk_target",
    "detection_threshold",
    "optimal_shrinker",
    "soft_threshold",
    "spike_forward",
    "spike_overlaps",
]

STRENGTH_HINT = "the strength of a spike is a singular value of the teacher"
SIGN_HINT = "singular values are non-negative: move the sign into a singular vector"


class Spike(NamedTuple):
    """What is observed of a spike, and how much of it is signal.

    Parameters
    ----------
    s : (...,) ndarray
        Observed singular value.
    m : (...,) ndarray
        Its target, u^T W* v with the observed singular vectors u and v.
    """

    s: Float[np.ndarray, "..."]
    m: Float[np.ndarray, "..."]


class Overlaps(NamedTuple):
    """Squared overlaps of observed and true singular vectors.

    Parameters
    ----------
    left : (...,) ndarray
        On the side of the outputs, between 0 and 1.
    right : (...,) ndarray
        On the side of the inputs.
    """

    left: Float[np.ndarray, "..."]
    right: Float[np.ndarray, "..."]


def bulk_edge(*, noise: float = 1.0, aspect: float = 1.0) -> float:
    """Largest singular value of the noise alone, noise (1 + sqrt(aspect)).

    Parameters
    ----------
    noise : float
        Standard deviation of sqrt(n_in) times an entry, at least 0.
    aspect : float
        n_out / n_in, positive.

    Returns
    -------
    float

    Examples
    --------
    >>> bulk_edge(noise=2.0, aspect=0.25)
    3.0
    """
    return float(_edges(*as_model(noise, aspect))[1])


def detection_threshold(*, noise: float = 1.0, aspect: float = 1.0) -> float:
    """Strength above which a spike leaves the bulk, noise aspect^(1/4).

    Parameters
    ----------
    noise, aspect : float
        As in `bulk_edge`.

    Returns
    -------
    float
    """
    noise, aspect = as_model(noise, aspect)
    return float(noise * aspect**0.25)


def spike_forward(s0: ArrayLike, *, noise: float = 1.0, aspect: float = 1.0) -> Spike:
    """What is observed of a spike of strength s0, and how much of it is signal.

    Parameters
    ----------
    s0 : array_like
        Strengths in the teacher, of any shape.
    noise, aspect : float
        As in `bulk_edge`.

    Returns
    -------
    Spike
        ``s`` with s^2 = (s0^2 + noise^2)(s0^2 + c noise^2) / s0^2 and ``m`` =
        (s0^4 - c noise^4) / (s0^2 s), shaped like `s0`. Up to the threshold the strongest mode
        stands at the edge and has no target of order one: s is the edge, and m = 0.

    Raises
    ------
    ValueError
        If a strength or the noise is negative or NaN, or the aspect is not positive.

    Examples
    --------
    >>> s, m = spike_forward([0.5, 2.0])
    >>> s.tolist(), m.tolist()
    ([2.0, 2.5], [0.0, 1.5])
    """
    s0, ratio, seen, rows, columns = _visible(s0, noise, aspect)
    stretch = np.sqrt(rows * columns)
    observed = np.where(seen, s0 * stretch, bulk_edge(noise=noise, aspect=aspect))
    target = np.where(seen, s0 * (1 - aspect * ratio**2) / stretch, 0.0)
    return Spike(np.asarray(observed), np.asarray(target))


def spike_overlaps(s0: ArrayLike, *, noise: float = 1.0, aspect: float = 1.0) -> Overlaps:
    """Squared overlaps of the observed singular vectors of a spike with the true ones.

    Parameters
    ----------
    s0, noise, aspect
        As in `spike_forward`.

    Returns
    -------
    Overlaps
        1 without noise, 0 up to the threshold; m is s0 times the root of their product.

    Raises
    ------
    ValueError
        As in `spike_forward`.
    """
    _, ratio, seen, rows, columns = _visible(s0, noise, aspect)
    common = np.where(seen, 1 - aspect * ratio**2, 0.0)
    return Overlaps(np.asarray(common / columns), np.asarray(common / rows))


def _visible(s0: ArrayLike, noise: float, aspect: float) -> tuple:
    """s0; (noise/s0)^2, or 0 where unseen; what is seen; 1 + ratio; 1 + c ratio."""
    noise, aspect = as_model(noise, aspect)
    s0 = as_shaped("s0", s0, STRENGTH_HINT)
    seen = s0 > noise * aspect**0.25
    ratio = np.where(seen, noise / np.where(seen, s0, 1.0), 0.0) ** 2
    return s0, ratio, seen, 1 + ratio, 1 + aspect * ratio


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
        f, e = noise |1 -+ sqrt(c)|, and 0 elsewhere.

    Raises
    ------
    ValueError
        If x is negative or NaN, or the noise is zero: the bulk is then a point.
    """
    noise, aspect = as_noisy(noise, aspect)
    x = as_shaped("x", x, SIGN_HINT)
    # With two square matrices the lower edge is 0, where root / x has the limit 2 noise.
    root = _root(x, noise, aspect) / np.where(x > 0, x, 1.0)
    if aspect == 1:
        root = np.where(x == 0, 2 * noise, root)
    return np.asarray(root / (np.pi * min(1.0, aspect) * noise**2))


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

    Raises
    ------
    ValueError
        If an input is negative or NaN, or the noise is zero: the bulk is then a point.
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
    low, high = _edges(noise, aspect)
    return np.sqrt(np.maximum(high**2 - x**2, 0) * np.maximum(x**2 - low**2, 0))


def _edges(noise: float, aspect: float) -> tuple[float, float]:
    return noise * abs(1 - np.sqrt(aspect)), noise * (1 + np.sqrt(aspect))


def optimal_shrinker(
    s: ArrayLike, *, noise: float = 1.0, aspect: float = 1.0
) -> Float[np.ndarray, "..."]:
    """Best replacement of an observed singular value in squared error: the target m of its spike.

    Parameters
    ----------
    s : array_like
        Observed singular values, of any shape.
    noise, aspect : float
        As in `bulk_edge`.

    Returns
    -------
    ndarray like s
        sqrt((s^2 - e^2)(s^2 - f^2)) / s above the upper edge e, with f the lower one; 0 below.

    Raises
    ------
    ValueError
        If s or the noise is negative or NaN, or the aspect is not positive.
    """
    noise, aspect = as_model(noise, aspect)
    s = as_shaped("s", s, SIGN_HINT)
    low, high = _edges(noise, aspect)
    safe = np.where(s > high, s, 1.0)
    shrunk = s * np.sqrt(np.abs((1 - (high / safe) ** 2) * (1 - (low / safe) ** 2)))
    return np.asarray(np.where(s > high, shrunk, 0.0))


def soft_threshold(s: ArrayLike, threshold: float) -> Float[np.ndarray, "..."]:
    """max(s - threshold, 0): every singular value is moved down by the same amount.

    Parameters
    ----------
    s : array_like
        Singular values, of any shape.
    threshold : float
        At least 0.

    Returns
    -------
    ndarray like s

    Raises
    ------
    ValueError
        If an input is negative or NaN.
    """
    level = _single("threshold", threshold, "a negative one would amplify")
    return np.asarray(np.maximum(as_shaped("s", s, SIGN_HINT) - level, 0))


def as_model(noise: float, aspect: float) -> tuple[float, float]:
    """Checked noise level and aspect."""
    aspect = as_scalar("aspect", aspect, "it is n_out / n_in")
    return _single("noise", noise, "it is a standard deviation"), aspect


def as_noisy(noise: float, aspect: float) -> tuple[float, float]:
    """The same, for what does not exist without noise."""
    noise, aspect = as_model(noise, aspect)
    if noise == 0:
        raise ValueError("noise must be positive: without it the bulk is a single point at zero")
    return noise, aspect


def _single(name: str, value: float, hint: str) -> float:
    array = as_nonnegative(name, value, hint)
    if array.size != 1:
        raise ValueError(f"{name} must be one number: got {array.size} of them")
    return float(array[0])


def as_shaped(name: str, value: ArrayLike, hint: str = "") -> Float[np.ndarray, "..."]:
    """Non-negative array of any shape."""
    shape = np.shape(value)
    if np.size(value) == 0:
        return np.zeros(shape)
    return as_nonnegative(name, np.ravel(value), hint).reshape(shape)
