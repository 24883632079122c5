r"""Training of full weight matrices: exact, integrated, and discrete.

All three solve, for whitened inputs and the loss ``1/2 E|y - W_L ... W_1 x|^2``::

    tau dW_l/dt = (W_L ... W_{l+1})^T (Sigma - W_L ... W_1) (W_{l-1} ... W_1)^T,

the last one in steps of gradient descent.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from dlnlib._checks import as_matrix, as_scalar, as_times
from dlnlib._riccati import RiccatiBasis, common_balance, riccati_factor, start_in_basis
from dlnlib._trajectory import Trajectory, reduced

__all__ = ["Trajectory", "exact_flow", "gradient_descent", "gradient_flow"]

_CHUNK = 16  # times evaluated together by exact_flow: its working set stays in the cache


def exact_flow(
    t: ArrayLike, weights: Sequence[ArrayLike], sigma: ArrayLike, *, tau: float = 1.0
) -> Trajectory:
    """Exact gradient flow of two lambda-balanced layers, aligned with the task or not.

    Parameters
    ----------
    t : (T,) array_like
        Times, non-negative and non-decreasing, in the unit of ``tau``.
    weights : [W1 (hidden, in), W2 (out, hidden)]
        Start with W2^T W2 - W1 W1^T = lambda I, for example from `balanced_weights`.
    sigma : (out, in) array_like
        Input-output correlation, inputs whitened.
    tau : float
        Time constant of gradient flow.

    Returns
    -------
    Trajectory
        Without ``weights``: QQ^T fixes them only up to a rotation of the hidden layer.

    Raises
    ------
    ValueError
        If the start is not lambda-balanced, or the flow from it ends at a saddle.

    Notes
    -----
    Each time costs the same wherever it lies, so this is the route to long times, few times and
    plateaus.  For hundreds of times within a few time constants `gradient_flow` costs about as
    much, and it also returns the weights.

    A start without overlap with a growing direction stays short of the best map for ever; an
    integrator leaves that saddle too, but only because its rounding errors grow.

    References
    ----------
    .. [1] Fukumizu. Effect of batch learning in multilayer neural networks. ICONIP 1998.
    .. [2] Braun, Domine, Fitzgerald, Saxe. Exact learning dynamics of deep linear networks with
       prior knowledge. NeurIPS 2022.
    .. [3] Domine et al. From lazy to rich. ICLR 2025 (lambda != 0).
    """
    times, tau = as_times(t), as_scalar("tau", tau)
    if len(weights) > 2:
        raise ValueError(
            f"the exact solution is for two layers: got {len(weights)}; use gradient_flow"
        )
    (w1, w2), sigma, left, right = reduced(weights, sigma)
    lam = common_balance(w1, w2)
    if len(w1) > sum(sigma.shape):  # QQ^T sees no more of a wide hidden layer than this span
        span, _ = np.linalg.qr(np.hstack([w1, w2.T]))
        w1, w2 = span.T @ w1, w2 @ span
    basis = RiccatiBasis.of(sigma, lam)
    order, rows, column = start_in_basis(basis.rates, basis.split(w1, w2))
    back = np.argsort(order)
    layers = [np.empty((times.size, *w.shape)) for w in (w1, w2)]
    for first in range(0, times.size, _CHUNK):
        part = slice(first, first + _CHUNK)
        factor = riccati_factor(times[part] / tau, basis.rates[order], rows, column)
        inner, outer = basis.join(factor[:, back])
        layers[0][part], layers[1][part] = inner.mT, outer
    return Trajectory(times, layers, left, right, _rotation_known=False)


def gradient_flow(
    t: ArrayLike,
    weights: Sequence[ArrayLike],
    sigma: ArrayLike,
    *,
    sigma_xx: ArrayLike | None = None,
    tau: float = 1.0,
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
        Time constant.
    rtol, atol : float
        Tolerances of the eighth-order Runge-Kutta method DOP853.

    Returns
    -------
    Trajectory
        With ``weights``.

    Raises
    ------
    RuntimeError
        If the integrator gives up.
    """
    times, tau = as_times(t), as_scalar("tau", tau)
    start, sigma, left, right = reduced(weights, sigma, sigma_xx)
    gradient = _gradient(sigma, sigma_xx)
    unpack = _unpacking([w.shape for w in start])

    def velocity(_: float, flat: np.ndarray) -> np.ndarray:
        return np.concatenate([g.ravel() for g in gradient(unpack(flat))]) / tau

    # Left to itself the method steps as far as it is stable, and interpolates poorly between.
    options = {"rtol": rtol, "atol": atol, "max_step": 4 * tau / _rate(start, sigma, sigma_xx)}
    path = _integrated(velocity, np.concatenate([w.ravel() for w in start]), times, options)
    return Trajectory(times, unpack(path), left, right, _rotation_known=True)


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
        raise RuntimeError(f"gradient flow was not integrated: {solution.message}")
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
    ValueError
        If ``steps`` are not whole numbers.
    RuntimeError
        If the weights diverge; a two-layer minimum is stable only below lr = 1/s_1.
    """
    asked, lr = as_times(steps), as_scalar("lr", lr)
    if (asked % 1 != 0).any():
        raise ValueError("steps must be whole numbers of gradient steps")
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
    end = np.linalg.norm(sigma, 2) / spread
    begin = sum(np.prod(np.delete(size, layer) ** 2) for layer in range(size.size))
    rate = spread * (begin + size.size * end ** (2 - 2 / size.size))
    return max(float(rate), np.finfo(float).tiny)
