"""Many draws of a noisy teacher, one at a time; public in `dlnlib.stopping`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import as_count, as_depth, as_positive, as_scalar, as_spiked, as_times
from dlnlib._mode_clock import mode_flow
from dlnlib._mode_windows import (
    StoppingWindow,
    as_level,
    as_noise,
    as_start,
    is_share,
    one_window,
)
from dlnlib._windows import curves

__all__ = ["SpikedDraws", "spiked_draws", "spiked_spectra"]


@dataclass(frozen=True, eq=False)
class SpikedDraws:
    """Windows of N draws at A starts and D depths, and their average curves at T times.

    Parameters
    ----------
    window : StoppingWindow
        Arrays (N, A, D).
    t : (T,) ndarray
    entropy, test_error : (A, D, T) ndarray
        Means over the draws of H and of E = |W - W*|^2.
    entropy_sd, test_error_sd : (A, D, T) ndarray
        Standard deviations over the draws (0 for a single draw).
    """

    window: StoppingWindow
    t: Float[np.ndarray, "T"]
    entropy: Float[np.ndarray, "A D T"]
    test_error: Float[np.ndarray, "A D T"]
    entropy_sd: Float[np.ndarray, "A D T"]
    test_error_sd: Float[np.ndarray, "A D T"]


def spiked_spectra(
    draws: int,
    n_out: int,
    n_in: int,
    strengths: ArrayLike,
    *,
    noise: float,
    rng: np.random.Generator,
) -> Iterator[tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K"]]]:
    """Singular values and targets of draws of `dlnlib.tasks.spiked_teacher`, one at a time.

    Gaussian noise looks the same in all directions, so the teacher is kept diagonal: s and m have
    the same distribution as with directions drawn at random.

    Parameters
    ----------
    draws : int
    n_out, n_in, strengths, noise, rng
        As in `dlnlib.tasks.spiked_teacher`.

    Yields
    ------
    s, m : (K,) ndarray
        K = min(n_out, n_in) singular values, strongest first, and m_k = u_k^T W* v_k.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    """
    draws = as_count("draws", draws, 1, "it is the number of random tasks")
    shape, spikes, level = as_spiked(n_out, n_in, strengths, noise)
    return _spectra(draws, shape, spikes, level, rng)


def _spectra(
    draws: int,
    shape: tuple[int, int],
    spikes: Float[np.ndarray, "r"],
    noise: float,
    rng: np.random.Generator,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    place = np.arange(spikes.size)
    sigma = np.empty(shape)
    for _ in range(draws):
        rng.standard_normal(out=sigma)
        sigma *= noise / np.sqrt(shape[1])
        sigma[place, place] += spikes
        u, s, vt = np.linalg.svd(sigma, full_matrices=False)
        yield s, np.einsum("r,rk,kr->k", spikes, u[place], vt[:, place])


def spiked_draws(
    draws: int,
    n_out: int,
    n_in: int,
    strengths: ArrayLike,
    a0: ArrayLike,
    *,
    noise: float,
    rng: np.random.Generator,
    depth: ArrayLike = 2,
    tau: float = 1.0,
    t: ArrayLike | None = None,
    variant: str = "half",
    level: float = 0.01,
) -> SpikedDraws:
    """Stopping windows, and average H(t) and E(t), of random spiked tasks.

    Each draw costs one singular value decomposition for all starts and depths, and is forgotten
    once it has been counted: beyond the windows, memory does not grow with the number of draws.

    Parameters
    ----------
    draws, n_out, n_in, strengths, noise, rng
        As in `spiked_spectra`; all modes after the first ``len(strengths)`` count as noise.
    a0 : float or (A,) array_like
        Starts, the same for all modes.
    depth : int or (D,) array_like
        Depths, integers >= 2 or ``math.inf``.
    tau : float
    t : (T,) array_like, optional
        Times of the average curves; none without it.
    variant, level
        Which start of memorisation, see `memorisation_time`.

    Returns
    -------
    SpikedDraws

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    """
    starts, tau = as_positive("a0", a0), as_scalar("tau", tau)
    depths = [as_depth(float(one)) for one in np.atleast_1d(depth)]
    times = np.empty(0) if t is None else as_times(t)
    spectra = spiked_spectra(draws, n_out, n_in, strengths, noise=noise, rng=rng)
    modes, energy = min(n_out, n_in), float(np.sum(np.square(strengths)))
    noisy = as_noise(np.size(strengths), modes)
    share, level = is_share(variant), as_level(level)
    windows = np.empty((3, draws, starts.size, len(depths)))
    mean = np.zeros((starts.size, len(depths), 2, times.size))
    square, now = np.zeros_like(mean), np.empty((2, times.size))
    for i, (s, m) in enumerate(spectra):
        for j, k in np.ndindex(windows.shape[2:]):
            flow = mode_flow(s, as_start(starts[j], modes), tau, depths[k])
            windows[:, i, j, k] = one_window(flow, m, noisy, share, level)
            curves(times, flow, m, now)
            step = now - mean[j, k]  # Welford: no cancellation however small the spread
            mean[j, k] += step / (i + 1)
            square[j, k] += step * (now - mean[j, k])
    spread = np.sqrt(square / max(draws - 1, 1))
    return SpikedDraws(
        StoppingWindow(*windows),
        times,
        mean[:, :, 0],
        mean[:, :, 1] + energy,
        spread[:, :, 0],
        spread[:, :, 1],
    )
