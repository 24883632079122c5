"""Mean entropy and test error of a network on a spiked teacher of large dimension."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import entr

from dlnlib._checks import (
    START_HINT,
    as_count,
    as_nonnegative,
    as_scalar,
    as_some,
    as_times,
    in_range,
)
from dlnlib.modes import mode_strength
from dlnlib.random_matrix.bulk import bulk_measure
from dlnlib.random_matrix.spike import STRENGTH_HINT, as_model, detection_threshold, spike_forward


@dataclass(frozen=True, eq=False)
class InfiniteNetwork:
    """Mean entropy and test error of large networks over time.

    Parameters
    ----------
    t : (T,) ndarray
        Times, in the unit of tau.
    entropy : (T,) ndarray
        Spectral entropy of the energies a_k^2, in nats.
    test_error : (T,) ndarray
        ``|W(t) - W*|_F^2``.
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


@in_range
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
        Strength of every mode at t = 0, > 0.
    modes : int
        K = min(n_out, n_in), more than there are strengths.
    noise, aspect : float
        As in `bulk_edge`.
    tau, depth
        As in `dlnlib.modes.mode_strength`.

    Returns
    -------
    InfiniteNetwork

    Examples
    --------
    >>> network = infinite_network([0.0, 2.0, 20.0], 3.0, 1e-3, modes=20, noise=0.5)
    >>> network.test_error.round(2).tolist()  # first the signal is learned, then the noise
    [8.99, 0.51, 4.97]
    >>> network.entropy.round(2).tolist()
    [3.0, 0.0, 1.39]
    """
    noise, aspect = as_model(noise, aspect)
    s0 = as_some("strengths", strengths, as_nonnegative, STRENGTH_HINT)
    modes = as_count("modes", modes, s0.size + 1, "there are more modes than spikes")
    seen = s0[s0 > detection_threshold(noise=noise, aspect=aspect)]
    spike = spike_forward(seen, noise=noise, aspect=aspect)
    bulk = bulk_measure(modes, s0, noise, aspect)
    s, start = np.concatenate([spike.s, bulk.x]), as_scalar("a0", a0, START_HINT)
    a = mode_strength(t, s, start, tau=tau, depth=depth)
    return _weighed(t, a, spike, bulk, np.sum(s0**2))


def _weighed(t, a, spike, bulk, teacher) -> InfiniteNetwork:
    """Sums over modes: spikes count once, nodes of the bulk with their weights."""
    spikes = spike.s.size
    count = np.concatenate([np.ones(spikes), bulk.count])
    scale = a.max(axis=1, keepdims=True)
    energy = (a / scale) ** 2
    total = energy @ count
    fit, bulk_fit = a[:, :spikes] @ spike.m, a[:, spikes:] @ bulk.target
    return InfiniteNetwork(
        t=as_times(t),
        entropy=np.log(total) + entr(energy) @ count / total,
        test_error=scale[:, 0] ** 2 * total - 2 * (fit + bulk_fit) + teacher,
        signal_share=energy[:, :spikes].sum(axis=1) / total,
        bulk_fit=bulk_fit,
    )
