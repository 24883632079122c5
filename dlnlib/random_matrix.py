r"""A weak signal in a large random matrix: what is seen of it, and what a network makes of that.

The model is that of ``tasks.spiked_teacher``,

    Sigma = W* + noise / sqrt(n_in) Z,    W* = sum_j s0_j u_j v_j^T,

with aspect c = n_out / n_in, K = min(n_out, n_in) modes, and K large.  Noise fills a bulk of
singular values up to ``bulk_edge``; a spike above ``detection_threshold`` adds one singular value
s beyond the edge.  The target of a mode is m_k = u_k^T W* v_k, with u_k and v_k observed.

References
----------
Benaych-Georges & Nadakuditi, J. Multivariate Anal. 111, 120 (2012): spikes and overlaps.
Gavish & Donoho, IEEE Trans. Inf. Theory 63, 2137 (2017): optimal shrinkage.
Lampinen & Ganguli, ICLR 2019: training and test error of deep linear networks over time.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import entr

from dlnlib._bulk import bulk_measure, bulk_nodes, bulk_quantiles, typical_spectrum
from dlnlib._checks import as_count, as_nonnegative, as_positive, as_scalar
from dlnlib._spiked import (
    SIGN_HINT,
    STRENGTH_HINT,
    Overlaps,
    Spike,
    as_model,
    as_noisy,
    as_shaped,
    bulk_density,
    bulk_edge,
    bulk_target,
    detection_threshold,
    optimal_shrinker,
    soft_threshold,
    spike_forward,
    spike_overlaps,
)
from dlnlib.modes import learning_time, mode_strength

__all__ = [
    "InfiniteNetwork",
    "Overlaps",
    "Spike",
    "bulk_density",
    "bulk_edge",
    "bulk_quantiles",
    "bulk_target",
    "critical_dimension",
    "detection_threshold",
    "infinite_network",
    "optimal_shrinker",
    "sharp_critical_dimension",
    "soft_threshold",
    "spike_forward",
    "spike_overlaps",
    "typical_spectrum",
]


@dataclass(frozen=True, eq=False)
class InfiniteNetwork:
    """Mean entropy and test error of large networks over time.

    Parameters
    ----------
    t : (T,) ndarray
    entropy : (T,) ndarray
        Spectral entropy of the energies a_k^2, in nats.
    test_error : (T,) ndarray
        |W(t) - W*|_F^2.
    signal_share : (T,) ndarray
        Share of the energy in the modes of detached spikes.
    bulk_fit : (T,) ndarray
        Sum of a_k m_k over the bulk; the test error holds it times -2.
    """

    t: Float[np.ndarray, "T"]
    entropy: Float[np.ndarray, "T"]
    test_error: Float[np.ndarray, "T"]
    signal_share: Float[np.ndarray, "T"]
    bulk_fit: Float[np.ndarray, "T"]


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
        Infinite where it exceeds the largest float.

    Raises
    ------
    ValueError
        If a value is out of its range.

    Examples
    --------
    >>> critical_dimension([2.5, 4.0], 2.0, 1e-2).round(1).tolist()
    [9.1, 400.0]
    """
    s, n, a0 = np.broadcast_arrays(
        as_shaped("s", s, SIGN_HINT), as_shaped("n", n, SIGN_HINT), as_shaped("a0", a0)
    )
    as_positive("a0", a0.ravel(), "a=0 is a fixed point of the flow")
    if (a0 >= s).any() or (n > s).any():
        raise ValueError(
            "n and a0 must not exceed s: a signal inside the bulk, or smaller than its start, "
            "is never told from noise"
        )
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(2 * (1 - n / s) * np.log(s / a0)))


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

    Raises
    ------
    ValueError
        If the noise is zero, s lies inside the bulk, or a0 is not below its edge.
    """
    noise, aspect = as_noisy(noise, aspect)
    edge = bulk_edge(noise=noise, aspect=aspect)
    s, a0 = np.broadcast_arrays(as_shaped("s", s, SIGN_HINT), as_shaped("a0", a0))
    if (s < edge).any():
        raise ValueError(f"s must reach the bulk edge {edge:g}: got {s.min():g}; it is noise")
    if (a0 <= 0).any() or (a0 >= edge).any():
        raise ValueError(f"a0 must lie between 0 and the bulk edge {edge:g}; choose a small start")
    x, density = bulk_nodes(noise, aspect)

    def noise_energy(t: ArrayLike, s: float, a0: float) -> np.ndarray:
        """Logarithm of the mean energy of the bulk over that of the signal."""
        a = mode_strength(t, np.append(x, s), a0, depth=depth)
        return np.log((a[:, :-1] / a[:, -1:]) ** 2 @ density)

    def largest(s: float, a0: float) -> float:
        t = 3 * learning_time([edge], a0, (1 + a0 / edge) / 2, depth=depth)[0]
        grid = t * np.linspace(0, 1, 513)
        best = int(noise_energy(grid, s, a0).argmin())
        ends = grid[max(best - 1, 0)], grid[min(best + 1, 512)]
        found = minimize_scalar(lambda t: noise_energy([t], s, a0)[0], bounds=ends)
        return max(float(np.exp(-found.fun)), s**2 / float(x**2 @ density))  # or at the end

    pairs = zip(s.flat, a0.flat, strict=True)
    return np.reshape([largest(float(one), float(start)) for one, start in pairs], s.shape)


def infinite_network(
    t: ArrayLike,
    strengths: ArrayLike,
    a0: float,
    *,
    modes: int,
    noise: float = 1.0,
    aspect: float = 1.0,
    tau: float = 1.0,
    depth: float = 2,
) -> InfiniteNetwork:
    """Entropy and test error of a large network on a spiked teacher, without drawing one.

    The K modes are the detached spikes and a bulk that is integrated by quadrature: its density
    with all corrections of order one (of the spikes, and of finite real noise), and `bulk_target`.
    What is left out is the fluctuation from draw to draw, which moves even the averages by terms
    of relative order 1/K, and the width of the edge, which limits the growth time: t / tau must
    stay small against K^(2/3) / noise while the bulk grows.

    Parameters
    ----------
    t : (T,) array_like
        Times, as in `dlnlib.modes.mode_strength`.
    strengths : scalar or (r,) array_like
        Of the teacher, before noise; empty for noise alone.
    a0 : float
        Start of every mode.
    modes : int
        K = min(n_out, n_in), more than there are strengths.
    noise, aspect : float
        As in `bulk_edge`.
    tau, depth
        As in `dlnlib.modes.mode_strength`.

    Returns
    -------
    InfiniteNetwork

    Raises
    ------
    ValueError
        If an input is NaN or out of its range.
    """
    noise, aspect = as_model(noise, aspect)
    s0 = as_nonnegative("strengths", strengths, STRENGTH_HINT) if np.size(strengths) else []
    s0, start = np.asarray(s0, dtype=float), as_scalar("a0", a0, "a=0 is a fixed point")
    modes = as_count("modes", modes, s0.size + 1, "there are more modes than spikes")
    seen = s0[s0 > detection_threshold(noise=noise, aspect=aspect)]
    spike = spike_forward(seen, noise=noise, aspect=aspect)
    bulk = bulk_measure(modes, s0, noise, aspect)
    s = np.concatenate([spike.s, bulk.x])
    count = np.concatenate([np.ones(seen.size), bulk.count])
    a = mode_strength(t, s, start, tau=tau, depth=depth)
    scale = a.max(axis=1, keepdims=True)
    energy = (a / scale) ** 2
    total = energy @ count
    fit, bulk_fit = a[:, : seen.size] @ spike.m, a[:, seen.size :] @ bulk.target
    return InfiniteNetwork(
        t=np.asarray(t, dtype=float).ravel(),
        entropy=np.log(total) + entr(energy) @ count / total,
        test_error=scale[:, 0] ** 2 * total - 2 * (fit + bulk_fit) + (s0**2).sum(),
        signal_share=energy[:, : seen.size].sum(axis=1) / total,
        bulk_fit=bulk_fit,
    )
