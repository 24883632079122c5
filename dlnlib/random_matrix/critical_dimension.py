"""From how many modes on the bulk outweighs a signal mode: an estimate, and the exact number."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from dlnlib._checks import SIGN_HINT, START_HINT, as_common, as_positive, as_shaped, in_range
from dlnlib.modes import learning_time, mode_strength
from dlnlib.random_matrix.bulk import bulk_nodes
from dlnlib.random_matrix.spike import as_noisy, bulk_edge


def critical_dimension(s: ArrayLike, n: ArrayLike, a0: ArrayLike) -> Float[np.ndarray, "..."]:
    """Number of noise modes at the edge n that outweigh one learned signal mode s.

    The edge estimate (s/a0)^(2 (1 - n/s)): when the signal mode is learned, a noise mode at n has
    grown to a0 (s/a0)^(n/s).

    Parameters
    ----------
    s, n, a0 : array_like
        Observed singular value, bulk edge and start, 0 < a0 < s and 0 <= n <= s; they broadcast.

    Returns
    -------
    ndarray
        Numbers of modes; infinite where it exceeds the largest float.

    Examples
    --------
    >>> critical_dimension([2.5, 4.0], 2.0, 1e-2).round(1).tolist()
    [9.1, 400.0]
    """
    s, n, a0 = as_common(s=as_shaped("s", s, SIGN_HINT), n=as_shaped("n", n, SIGN_HINT), a0=a0)
    as_positive("a0", a0.ravel(), START_HINT)
    if (a0 >= s).any() or (n > s).any():
        raise ValueError(
            "n and a0 must not exceed s: a signal inside the bulk, or smaller than its start, "
            "is never told from noise"
        )
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(2 * (1 - n / s) * np.log(s / a0)))


@in_range
def sharp_critical_dimension(
    s: ArrayLike, a0: ArrayLike, *, noise: float = 1.0, aspect: float = 1.0, depth: float = 2
) -> Float[np.ndarray, "..."]:
    """Number of modes up to which one signal mode ever holds half of the energy.

    The supremum over time of a_s^2 divided by the mean of a^2 over the bulk.  In a network of d
    modes the share of the signal is at most 1 / (1 + d / d_c), for every d.

    Parameters
    ----------
    s : array_like
        Observed singular values, from the bulk edge on.
    a0 : array_like
        Starts, below the bulk edge; s and a0 broadcast.
    noise, aspect : float
        As in `bulk_density`.
    depth : int or math.inf
        Number of weight matrices.

    Returns
    -------
    ndarray
        Numbers of modes, in the common shape of s and a0.

    Examples
    --------
    >>> sharp_critical_dimension([2.5, 4.0], 1e-2).round(1).tolist()  # beside estimates 9.1 and 400
    [61.2, 1217.0]
    """
    noise, aspect = as_noisy(noise, aspect)
    edge = bulk_edge(noise=noise, aspect=aspect)
    s, a0 = as_common(s=as_shaped("s", s, SIGN_HINT), a0=as_shaped("a0", a0))
    if (s < edge).any():
        raise ValueError(f"s must reach the bulk edge {edge:g}: got {s.min():g}; it is noise")
    if (a0 <= 0).any() or (a0 >= edge).any():
        raise ValueError(f"a0 must lie between 0 and the bulk edge {edge:g}; choose a small start")
    pairs = [(float(one), float(start)) for one, start in zip(s.flat, a0.flat, strict=True)]
    found = [_most_signal(*pair, edge, bulk_nodes(noise, aspect), depth) for pair in pairs]
    return np.reshape(found, s.shape)


def _most_signal(s, a0, edge, bulk, depth) -> float:
    """Largest energy of one signal mode over the mean energy of the bulk, at any time."""
    x, density = bulk

    def noise(t: ArrayLike) -> np.ndarray:
        """Logarithm of the inverse."""
        a = mode_strength(t, np.append(x, s), a0, depth=depth)
        return np.log((a[:, :-1] / a[:, -1:]) ** 2 @ density)

    t = 3 * learning_time([edge], a0, (1 + a0 / edge) / 2, depth=depth)[0]
    grid = np.linspace(0, 1, 513)
    best = int(noise(t * grid).argmin())
    ends = grid[max(best - 1, 0)], grid[min(best + 1, 512)]
    found = minimize_scalar(lambda u: noise([t * u])[0], bounds=ends)
    return max(float(np.exp(-found.fun)), s**2 / float(x**2 @ density))  # or at the end
