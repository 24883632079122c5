"""Windows and mean curves of many draws of a noisy teacher, one draw at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import (
    as_count,
    as_depth,
    as_flag,
    as_numbers,
    as_positive,
    as_scalar,
    as_spiked,
    as_start,
    as_times,
)
from dlnlib.stopping.mode_tables import Flow, mode_flow
from dlnlib.stopping.risk import shrunk_targets
from dlnlib.stopping.search import visited_curves
from dlnlib.stopping.window import StoppingWindow, as_noise, as_variant, one_window


@dataclass(frozen=True, eq=False)
class SpikedDraws:
    """Windows of N draws at A starts and D depths, and their average curves at T times.

    Parameters
    ----------
    window : StoppingWindow
        Arrays (N, A, D).
    t : (T,) ndarray
        Times, in the unit of tau.
    entropy, test_error : (A, D, T) ndarray
        Means over the draws of H in nats and of ``E = |W - W*|^2``.
    entropy_sd, test_error_sd : (A, D, T) ndarray
        Standard deviations over the draws (0 for a single draw).
    t_plugin : (N, A, D) ndarray or None
        Times of the least `plugin_error`, refined as t_opt is; infinite where it only falls.
    """

    window: StoppingWindow
    t: Float[np.ndarray, "T"]
    entropy: Float[np.ndarray, "A D T"]
    test_error: Float[np.ndarray, "A D T"]
    entropy_sd: Float[np.ndarray, "A D T"]
    test_error_sd: Float[np.ndarray, "A D T"]
    t_plugin: Float[np.ndarray, "N A D"] | None


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
        Number of draws N.
    n_out, n_in, strengths, noise, rng
        As in `dlnlib.tasks.spiked_teacher`.

    Yields
    ------
    s, m : (K,) ndarray
        K = min(n_out, n_in) singular values, strongest first, and m_k = u_k^T W* v_k.

    Examples
    --------
    >>> spectra = spiked_spectra(5, 40, 40, [3.0], noise=0.5, rng=np.random.default_rng(0))
    >>> s, m = next(spectra)
    >>> s[:2].round(2).tolist(), m[:2].round(3).tolist()  # a spike, and noise
    ([3.07, 0.99], [2.941, 0.0])
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
    estimates: bool = False,
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
        Time constant of gradient flow.
    t : (T,) array_like, optional
        Times of the average curves; none without it.
    variant, level
        Which start of memorisation, see `memorisation_time`.
    estimates : bool
        Also find the plug-in stop of each draw, which is told nothing but its singular values.

    Returns
    -------
    SpikedDraws

    Raises
    ------
    ValueError
        If a deep mode waits for too long, as in `mode_window`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found = spiked_draws(10, 20, 20, [3.0], [1e-2, 1e-4], noise=0.5, rng=rng)
    >>> found.window.t_star.shape, found.window.t_opt.mean(axis=0)[:, 0].round(2).tolist()
    ((10, 2, 1), [1.37, 2.25])
    """
    starts, tau = as_positive("a0", a0), as_scalar("tau", tau)
    depths = [as_depth(one) for one in np.atleast_1d(as_numbers("depth", depth)).ravel()]
    times = np.empty(0) if t is None else as_times(t)
    spectra = spiked_spectra(draws, n_out, n_in, strengths, noise=noise, rng=rng)
    seen = as_noise(np.size(strengths), min(n_out, n_in)), *as_variant(variant, level)

    def flows(s: Float[np.ndarray, "K"]) -> list[list[Flow]]:
        return [[mode_flow(s, as_start(a, s.size), tau, one) for one in depths] for a in starts]

    shape = (n_out, n_in) if as_flag("estimates", estimates) else None
    return _counted(spectra, flows, seen, times, np.sum(np.square(strengths)), shape)


def _counted(spectra, flows, seen, t, energy, shape) -> SpikedDraws:
    """Windows and moments of the curves over the draws, one draw at a time."""
    windows, stops, number, mean, square = [], [], 0, 0.0, 0.0
    for s, m in spectra:
        grid = flows(s)
        windows.append([[one_window(flow, m, *seen) for flow in row] for row in grid])
        if shape is not None:
            _, target = shrunk_targets(s, shape, None)
            stops.append([[one_window(flow, target, *seen)[1] for flow in row] for row in grid])
        now = np.array([[_curves(t, flow, m) for flow in row] for row in grid])
        number, step = number + 1, now - mean  # Welford: no cancellation however small the spread
        mean = mean + step / number
        square = square + step * (now - mean)
    (entropy, error), spread = np.moveaxis(mean, 2, 0), np.sqrt(square / max(number - 1, 1))
    window = StoppingWindow(*np.moveaxis(windows, -1, 0))
    curves = entropy, error + energy, *np.moveaxis(spread, 2, 0)
    return SpikedDraws(window, t, *curves, None if shape is None else np.array(stops))


def _curves(
    t: Float[np.ndarray, "T"], flow: Flow, m: Float[np.ndarray, "K"]
) -> Float[np.ndarray, "2 T"]:
    """H and E = sum a^2 - 2 a m at many times, to an error of about 1e-10.

    Two layers in array form, since NumPy takes several exponentials and logarithms at a time;
    visit by visit otherwise, and where the squares of the strengths would vanish.
    """
    if flow.depth != 2 or flow.start.max() > 1e5 or flow.a0.min() < 1e-150:
        return visited_curves(t, flow, m)
    left = np.multiply.outer(t, -flow.speed)
    np.exp(left, out=left)
    left *= 1 - flow.start
    left += flow.start
    log_energy = np.log(left)
    log_energy -= flow.log_a0
    log_energy *= -2
    strength = np.divide(flow.a0, left, out=left)
    fit = strength @ (-2 * m)
    strength *= strength
    whole = strength @ np.ones(m.size)
    return np.array([np.log(whole) - np.vecdot(strength, log_energy) / whole, fit + whole])
