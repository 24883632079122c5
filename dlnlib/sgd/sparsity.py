"""Sparsity of learned features: the feature sparsity coefficient, and ranks.

Every threshold is an argument, because the results depend on it.  Ranks run over the last axis, so
that many networks can be measured at once; `diagonal_sparsity` and `relu_sparsity` take all
measures of such networks.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from dlnlib._checks import (
    SIGN_HINT,
    as_amount,
    as_common,
    as_finite,
    as_matrix,
    as_nonnegative,
    as_number,
    as_numbers,
    in_range,
)
from dlnlib.entropy import effective_modes
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


def feature_sparsity(features: ArrayLike, *, correlation: float) -> float:
    """Feature sparsity coefficient: share of activations that are non-zero and distinct.

    The non-zero activations of the units that `distinct_units` keeps, over all n m activations:
    1 for a dense layer of distinct units, 0 if no unit is ever active.

    Parameters
    ----------
    features : (n, m) array_like
        Activations of the m units of a layer on n training samples, >= 0.
    correlation : float
        Threshold above which two units count as one; the public code uses 0.999 for one input
        and 0.99 otherwise, the paper's text says 0.95.

    Returns
    -------
    float

    Examples
    --------
    >>> features = [[1.0, 1.0, 0.0], [2.0, 2.0, 3.0], [0.0, 0.0, 1.0]]  # two units alike
    >>> round(feature_sparsity(features, correlation=0.99), 4)  # 4 of 9
    0.4444
    """
    units, kept = as_matrix("features", features), distinct_units(features, correlation=correlation)
    return float(np.count_nonzero(units[:, kept]) / units.size)


def distinct_units(features: ArrayLike, *, correlation: float) -> Bool[np.ndarray, "m"]:
    """Which units are ever active, and not a copy of a later one.

    Each sample is scaled to unit norm over the units.  Units that are always zero are dropped.
    Then each unit in turn is dropped if the size of its Pearson correlation with any unit still
    there exceeds the threshold; one unit of a group of copies remains.  A unit that is constant
    over the scaled samples has no correlation and stays.

    Parameters
    ----------
    features, correlation
        As in `feature_sparsity`.

    Returns
    -------
    (m,) ndarray of bool
    """
    units = as_matrix("features", features)
    as_nonnegative("features", units.ravel(), "they are outputs of ReLU units")
    correlation = as_number("correlation", correlation)
    if not 0 < correlation <= 1:
        raise ValueError(f"correlation must lie in (0, 1]: got {correlation:g}; it is a threshold")
    norms = np.sqrt((units**2).sum(axis=1, keepdims=True))
    scaled = np.divide(units, norms, out=np.zeros_like(units), where=norms > 0)
    kept = (scaled > 0).any(axis=0)
    centred = scaled - scaled.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    varies = length > len(units) * np.finfo(float).eps * scaled.max(axis=0, initial=0)
    centred = np.divide(centred, length, out=np.zeros_like(centred), where=varies)
    alike = np.abs(centred.T @ centred) > correlation
    np.fill_diagonal(alike, False)
    for unit in np.flatnonzero(kept):
        kept[unit] = not (alike[unit] & kept).any()
    return kept


def numerical_rank(singular_values: ArrayLike, threshold: ArrayLike) -> Int[np.ndarray, "..."]:
    """Number of singular values that exceed a threshold, relative to the largest.

    Parameters
    ----------
    singular_values : (..., K) array_like
        Non-negative, in any order.
    threshold : float or (t,) array_like
        In [0, 1); several of them add a last axis, for the rank as a function of the threshold.

    Returns
    -------
    (...,) or (..., t) ndarray of int
        0 where all singular values are 0.

    Examples
    --------
    >>> numerical_rank([3.0, 1.0, 0.02], threshold=[0.001, 0.01]).tolist()
    [3, 2]
    """
    values = _finite("singular_values", singular_values)
    if (values < 0).any():
        raise ValueError(f"singular_values must not be negative: got {values.min():g}; {SIGN_HINT}")
    levels = as_nonnegative("threshold", threshold, "it is a ratio of singular values")
    if (levels >= 1).any():
        raise ValueError(f"threshold must lie in [0, 1): got {levels.max():g}")
    floor = levels * values.max(axis=-1, keepdims=True)
    counts = (values[..., None, :] > floor[..., :, None]).sum(axis=-1)
    return counts[..., 0] if as_numbers("threshold", threshold).ndim == 0 else counts


def _finite(name: str, values: ArrayLike) -> Float[np.ndarray, "... d"]:
    array = np.atleast_1d(as_numbers(name, values))
    if array.shape[-1] == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} must hold numbers, no NaN: leave out the runs that diverged")
    return array
