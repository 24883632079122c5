"""The spiked matrix at large size in closed form: its edge, its spikes, the optimal shrinker."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import SIGN_HINT, as_amount, as_scalar, as_shaped, in_range

STRENGTH_HINT = "the strength of a spike is a singular value of the teacher"


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


@in_range
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
        In the unit of the noise.

    Examples
    --------
    >>> bulk_edge(noise=2.0, aspect=0.25)
    3.0
    """
    return float(edges(*as_model(noise, aspect))[1])


@in_range
def detection_threshold(*, noise: float = 1.0, aspect: float = 1.0) -> float:
    """Strength above which a spike leaves the bulk, noise aspect^(1/4).

    Parameters
    ----------
    noise, aspect : float
        As in `bulk_edge`.

    Returns
    -------
    float
        Singular value of the teacher, in the unit of the noise.

    Examples
    --------
    >>> round(detection_threshold(noise=2.0, aspect=0.25), 4)
    1.4142
    """
    noise, aspect = as_model(noise, aspect)
    return float(noise * aspect**0.25)


@in_range
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

    Examples
    --------
    >>> s, m = spike_forward([0.5, 2.0])
    >>> s.tolist(), m.tolist()
    ([2.0, 2.5], [0.0, 1.5])
    """
    noise, aspect = as_model(noise, aspect)
    s0 = as_shaped("s0", s0, STRENGTH_HINT)
    seen = s0 > detection_threshold(noise=noise, aspect=aspect)
    ratio = np.where(seen, noise / np.where(seen, s0, 1.0), 0.0) ** 2
    stretch = np.sqrt((1 + ratio) * (1 + aspect * ratio))
    observed = np.where(seen, s0 * stretch, bulk_edge(noise=noise, aspect=aspect))
    target = np.where(seen, s0 * (1 - aspect * ratio**2) / stretch, 0.0)
    return Spike(np.asarray(observed), np.asarray(target))


def edges(noise: float, aspect: float) -> tuple[float, float]:
    """Least and largest singular value of the noise alone."""
    return noise * abs(1 - np.sqrt(aspect)), noise * (1 + np.sqrt(aspect))


@in_range
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

    Examples
    --------
    >>> optimal_shrinker([1.5, 2.5, 5.0]).round(4).tolist()  # the edge is 2
    [0.0, 1.5, 4.5826]
    """
    noise, aspect = as_model(noise, aspect)
    s = as_shaped("s", s, SIGN_HINT)
    low, high = edges(noise, aspect)
    safe = np.where(s > high, s, 1.0)
    shrunk = s * np.sqrt(np.abs((1 - (high / safe) ** 2) * (1 - (low / safe) ** 2)))
    return np.asarray(np.where(s > high, shrunk, 0.0))


def as_model(noise: float, aspect: float) -> tuple[float, float]:
    """Checked noise level and aspect."""
    aspect = as_scalar("aspect", aspect, "it is n_out / n_in")
    return as_amount("noise", noise, "it is a standard deviation"), aspect


def as_noisy(noise: float, aspect: float) -> tuple[float, float]:
    """The same, for what does not exist without noise."""
    noise, aspect = as_model(noise, aspect)
    if noise == 0:
        raise ValueError("noise must be positive: without it the bulk is a single point at zero")
    return noise, aspect
