"""Gradient flow of any depth and start, integrated; gradient descent in steps."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from dlnlib._checks import as_amount, as_fraction, as_matrix, as_scalar, as_times
from dlnlib.flow.trajectory import Trajectory, reduced


def gradient_flow(
    t: ArrayLike,
    weights: Sequence[ArrayLike],
    sigma: ArrayLike,
    *,
    sigma_xx: ArrayLike | None = None,
    tau: float = 1.0,
    decay: float = 0.0,
    rtol: float = 1e-9,
    atol: float = 1e-12,
) -> Trajectory:
    """Gradient flow of any depth and any start, integrated by `scipy.integrate.solve_ivp`.

    Parameters
    ----------
    t : (T,) array_like
        Times, non-negative and non-decreasing, in the unit of ``tau``.
    weights : sequence of L >= 2 matrices
        Start, first layer first.
    sigma : (out, in) array_like
        Input-output correlation.
    sigma_xx : (in, in) array_like, optional
        Input covariance, for inputs that are not whitened.
    tau : float
        Time constant of gradient flow.
    decay : float
        Weight decay gamma >= 0: the loss plus gamma/2 times the sum of all squared weights.
    rtol, atol : float
        Tolerances of the eighth-order Runge-Kutta method DOP853, the second in the unit of the
        weights.

    Returns
    -------
    Trajectory
        With ``weights``.

    Raises
    ------
    RuntimeError
        If the integrator gives up.

    Examples
    --------
    >>> from dlnlib.flow import gaussian_weights
    >>> start = gaussian_weights((3, 4, 2), 0.01, rng=np.random.default_rng(0))
    >>> trained = gradient_flow([0.0, 1.0, 20.0], start, [[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> np.linalg.norm(trained.product, axis=(1, 2)).round(3).tolist()  # at last sqrt(3^2 + 1^2)
    [0.0, 0.087, 3.162]
    """
    times, tau, decay = as_times(t), as_scalar("tau", tau), as_amount("decay", decay)
    start, sigma, left, right = reduced(weights, sigma, sigma_xx)
    gradient, rtol, atol = _gradient(sigma, sigma_xx), *as_tolerances(rtol, atol)
    unpack = _unpacking([w.shape for w in start])

    def velocity(_: float, flat: np.ndarray) -> np.ndarray:
        push = np.concatenate([g.ravel() for g in gradient(unpack(flat))])
        if decay:
            push -= decay * flat
        return push / tau

    # Left to itself the method steps as far as it is stable, and interpolates poorly between.
    rate = _rate(start, sigma, sigma_xx) + decay
    with np.errstate(over="ignore"):
        longest = 4 * tau / np.float64(rate)
    if times[-1] / _MOST_EFOLDS > longest / 4:
        raise ValueError(
            f"t ends after more than {_MOST_EFOLDS:g} e-folds of the fastest mode, of rate "
            f"{rate / tau:.3g}: end earlier, or use exact_flow"
        )
    options = {"rtol": rtol, "atol": atol, "max_step": longest}
    path = _integrated(velocity, np.concatenate([w.ravel() for w in start]), times, options)
    return Trajectory(times, unpack(path), left, right, _rotation_known=True)


_MOST_STEPS = 10**8
_MOST_EFOLDS = 1e5  # e-folds of the fastest mode that an integrator can follow


def as_tolerances(rtol: float, atol: float) -> tuple[float, float]:
    """Tolerances that an integrator can keep in double precision."""
    rtol = as_fraction("rtol", rtol, "it is a relative error")
    atol = max(as_amount("atol", atol), 1e-100)  # the integrator divides by it for a weight of zero
    if rtol < 1e-13:
        raise ValueError(f"rtol must be at least 1e-13: got {rtol:g}; floats have 16 digits")
    return rtol, atol


def _unpacking(shapes: list[tuple[int, int]]) -> Callable[[np.ndarray], list[np.ndarray]]:
    """The way from flat states (..., n) to the matrices (..., rows, columns) of the layers."""
    cuts = np.cumsum([rows * columns for rows, columns in shapes])[:-1]

    def unpack(flat: np.ndarray) -> list[np.ndarray]:
        parts = np.split(flat, cuts, axis=-1)
        return [p.reshape(*p.shape[:-1], *shape) for p, shape in zip(parts, shapes, strict=True)]

    return unpack


def _integrated(velocity: Callable, start: np.ndarray, t: np.ndarray, options: dict) -> np.ndarray:
    """States (T, n) at any times, also repeated ones and none but zero."""
    asked, where = np.unique(t, return_inverse=True)
    if asked[-1] == 0:
        return np.broadcast_to(start, (t.size, start.size))
    solution = solve_ivp(velocity, (0.0, asked[-1]), start, "DOP853", t_eval=asked, **options)
    if not solution.success:
        raise RuntimeError(
            f"gradient flow was not integrated: {solution.message}; choose a start and a task "
            "nearer to one in size"
        )
    return solution.y.T[where]


def gradient_descent(
    steps: ArrayLike,
    weights: Sequence[ArrayLike],
    sigma: ArrayLike,
    *,
    lr: float,
    sigma_xx: ArrayLike | None = None,
) -> Trajectory:
    """Full-batch gradient descent, recorded after the given numbers of steps.

    Parameters
    ----------
    steps : (T,) array_like of int
        Numbers of steps taken, non-decreasing; 0 is the start.
    weights, sigma, sigma_xx
        As in `gradient_flow`.
    lr : float
        Step size; one step advances gradient flow with tau = 1 by ``lr``.

    Returns
    -------
    Trajectory
        With ``weights``, at the times ``lr * steps``.

    Raises
    ------
    RuntimeError
        If the weights diverge; a two-layer minimum is stable only below lr = 1/s_1.

    Examples
    --------
    >>> from dlnlib.flow import aligned_weights
    >>> from dlnlib.tasks import svd_modes
    >>> modes = svd_modes([[3.0, 0.0], [0.0, 1.0]])
    >>> start = aligned_weights(modes, 0.01)
    >>> trained = gradient_descent([0, 40, 200], start, modes.matrix(), lr=0.05)
    >>> trained.mode_strength(modes).round(3).tolist()
    [[0.01, 0.01], [2.997, 0.34], [3.0, 1.0]]
    """
    asked, lr = as_times(steps), as_scalar("lr", lr)
    if (asked % 1 != 0).any() or asked[-1] > _MOST_STEPS:
        raise ValueError(
            f"steps must be whole numbers of gradient steps, at most {_MOST_STEPS:,}: "
            "use gradient_flow or exact_flow for longer times"
        )
    current, sigma, left, right = reduced(weights, sigma, sigma_xx)
    gradient = _gradient(sigma, sigma_xx)
    layers = [np.empty((asked.size, *w.shape)) for w in current]
    for row, more in enumerate(np.diff(asked, prepend=0).astype(int)):
        current = _descended(current, gradient, lr, more)
        if not all(np.isfinite(w).all() for w in current):
            raise RuntimeError(
                f"gradient descent diverged within {asked[row]:.0f} steps at lr={lr:g}: take lr "
                f"well below 1/s_1 = {1 / np.linalg.norm(sigma, 2):.3g}"
            )
        for layer, w in zip(layers, current, strict=True):
            layer[row] = w
    return Trajectory(lr * asked, layers, left, right, _rotation_known=True)


@np.errstate(over="ignore", invalid="ignore")
def _descended(weights, gradient, lr, steps) -> list[np.ndarray]:
    for _ in range(steps):
        weights = [w + lr * g for w, g in zip(weights, gradient(weights), strict=True)]
    return weights


def _gradient(
    sigma: np.ndarray, sigma_xx: ArrayLike | None
) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
    """Minus the gradient of the loss with respect to each layer."""
    n_in = sigma.shape[1]
    if sigma_xx is not None:
        sigma_xx = as_matrix("sigma_xx", sigma_xx, (n_in, n_in))

    def descend(weights: list[np.ndarray]) -> list[np.ndarray]:
        below = [weights[0]]  # W_l ... W_1
        for w in weights[1:]:
            below.append(w @ below[-1])
        error = sigma - (below[-1] if sigma_xx is None else below[-1] @ sigma_xx)
        gradients = []
        for layer in range(len(weights) - 1, 0, -1):
            gradients.append(error @ below[layer - 1].T)
            error = weights[layer].T @ error
        return [error, *reversed(gradients)]

    return descend


def _rate(weights: list[np.ndarray], sigma: np.ndarray, sigma_xx: ArrayLike | None) -> float:
    """Fastest relaxation rate (in units of 1/tau), at the start or at the balanced minimum."""
    size = np.array([np.linalg.norm(w, 2) for w in weights])
    spread = 1.0 if sigma_xx is None else float(np.linalg.norm(sigma_xx, 2))
    end = np.linalg.norm(sigma, 2) / (spread or 1.0)
    begin = sum(np.prod(np.delete(size, layer) ** 2) for layer in range(size.size))
    rate = spread * (begin + size.size * end ** (2 - 2 / size.size))
    return max(float(rate), np.finfo(float).tiny)
