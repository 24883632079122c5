"""Sparsity of diagonal and ReLU networks, many at a time, by the measures of `dlnlib.measures`.

Every threshold is an argument, because the results depend on it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from dlnlib._checks import as_amount, as_common, as_finite, in_range
from dlnlib.entropy import effective_modes
from dlnlib.measures import feature_sparsity, numerical_rank
from dlnlib.sgd.tasks import ReLUTask


@dataclass(frozen=True, eq=False)
class Sparsity:
    """How few modes, weights and units networks use: each measure has one entry per network.

    Parameters
    ----------
    energies, amplitudes : (...,) ndarray
        Effective numbers of modes e^H, with shares from the squares and from the sizes.
    l1 : (...,) ndarray
        Sum of the sizes of the modes over the root of the sum of their squares.
    l0 : (...,) ndarray of int
        Number of coordinates, or columns of the Jacobian, above a threshold.
    rank : (...,) ndarray of int
        Numerical rank of the Jacobian on fresh inputs.
    coefficients : (layers, ...) ndarray
        `feature_sparsity` of each hidden layer; NaN for linear units.
    """

    energies: Float[np.ndarray, "..."]
    amplitudes: Float[np.ndarray, "..."]
    l1: Float[np.ndarray, "..."]
    l0: Int[np.ndarray, "..."]
    rank: Int[np.ndarray, "..."]
    coefficients: Float[np.ndarray, "layers ..."]


def diagonal_sparsity(
    u: ArrayLike, v: ArrayLike, *, l0_above: float = 1e-50, rank_above: float = 1e-15
) -> Sparsity:
    """Measures of diagonal linear networks; their modes are the coordinates of beta = u v.

    Parameters
    ----------
    u, v : (..., d) array_like
        Weights.
    l0_above : float
        Size above which a coordinate of beta counts.
    rank_above : float
        Of the largest weight (u_j, v_j): those above count as the rank, which they are of the
        Jacobian for generic inputs.

    Returns
    -------
    Sparsity
        With measures (...,), and NaN for the one layer of units.

    Examples
    --------
    >>> few = diagonal_sparsity([1.0, 1.0, 1e-20, 0.0], [1.0, 0.5, 1e-20, 0.0])
    >>> few.l0.item(), few.rank.item(), few.amplitudes.round(2).item()
    (3, 2, 1.89)
    """
    u, v, l0_above = *as_common(u=u, v=v), as_amount("l0_above", l0_above)
    with np.errstate(over="ignore"):
        beta = as_finite("u * v", u * v)
    return Sparsity(
        *_spread_of_modes(beta),
        l0=np.asarray((np.abs(beta) > l0_above).sum(axis=-1)),
        rank=numerical_rank(np.hypot(u, v), rank_above),
        coefficients=np.full((1, *beta.shape[:-1]), np.nan),
    )


@in_range
def relu_sparsity(
    task: ReLUTask, theta: ArrayLike, *, l0_above: float = 1e-10, rank_above: float = 1e-4
) -> Sparsity:
    """Measures of ReLU networks; their modes are the singular values of the Jacobian.

    The Jacobian is taken on as many test inputs as there are parameters: on the training samples
    its rank is at most their number, whatever the network does.

    Parameters
    ----------
    task : ReLUTask
        Network, samples and threshold of the coefficient.
    theta : (..., P) array_like
        Parameters.
    l0_above : float
        Of the norm of the largest column of the Jacobian: columns above it count.
    rank_above : float
        Of the largest singular value: those above it count.

    Returns
    -------
    Sparsity
        With measures (...,).

    Examples
    --------
    >>> from dlnlib.sgd import two_layer_task
    >>> rng = np.random.default_rng(0)
    >>> task = two_layer_task(rng=rng)
    >>> start = task.starts(rng, 1)[0]
    >>> few = relu_sparsity(task, start)
    >>> few.rank.item(), few.coefficients.round(3).tolist()
    (19, [0.35])
    """
    theta, l0_above = as_finite("theta", theta), as_amount("l0_above", l0_above)
    jacobian = task.network.jacobian(theta, task.x_test[: task.network.n_parameters])
    modes = np.linalg.svd(jacobian, compute_uv=False)
    coefficients = [
        [feature_sparsity(units, correlation=task.correlation) for units in layer]
        for layer in (
            units.reshape(-1, *units.shape[-2:]) for units in task.network.features(theta, task.x)
        )
    ]
    return Sparsity(
        *_spread_of_modes(modes),
        l0=numerical_rank(np.sqrt((jacobian**2).sum(axis=-2)), l0_above),
        rank=numerical_rank(modes, rank_above),
        coefficients=np.reshape(coefficients, (-1, *theta.shape[:-1])),
    )


def _spread_of_modes(a: Float[np.ndarray, "... K"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Effective modes with the powers 2 and 1, and l1 over l2."""
    effective, size = effective_modes(a), np.abs(a)
    size = size / size.max(axis=-1, keepdims=True)
    l1 = size.sum(axis=-1) / np.sqrt((size**2).sum(axis=-1))
    return effective, effective_modes(a, power=1), np.asarray(l1)
