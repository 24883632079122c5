"""Weight matrices: starts, the end-to-end map, and what the flow conserves."""

import math
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import (
    as_count,
    as_depth,
    as_list,
    as_number,
    as_numbers,
    as_shape,
    as_size,
    as_start,
    as_widths,
    in_range,
)
from dlnlib.tasks import Modes
from dlnlib.tasks.basis import haar


def gaussian_weights(
    widths: Sequence[int], scale: float, *, rng: np.random.Generator
) -> list[Float[np.ndarray, "_ _"]]:
    """Independent N(0, scale^2) entries in every layer.

    Parameters
    ----------
    widths : sequence of L + 1 int
        Layer sizes from input to output, at least three.
    scale : float
        Standard deviation of the entries, > 0.
    rng : numpy.random.Generator

    Returns
    -------
    list of L ndarray
        ``W_l`` of shape (widths[l], widths[l-1]).

    Examples
    --------
    >>> weights = gaussian_weights((4, 3, 2), 0.1, rng=np.random.default_rng(0))
    >>> [w.shape for w in weights]
    [(3, 4), (2, 3)]
    """
    scale, widths = (
        as_size("scale", scale, "at zero weights the gradient vanishes"),
        as_widths(widths),
    )
    return [scale * rng.standard_normal((n_out, n_in)) for n_in, n_out in pairwise(widths)]


def balanced_weights(
    widths: Sequence[int], scale: float, *, rng: np.random.Generator, balance: float = 0.0
) -> list[Float[np.ndarray, "_ _"]]:
    """Random two-layer start with W2^T W2 - W1 W1^T = balance * I exactly (to rounding).

    Parameters
    ----------
    widths : (n_in, hidden, n_out)
    scale : float
        Standard deviation of the Gaussian matrix whose singular values the smaller layer takes.
    rng : numpy.random.Generator
    balance : float
        The conserved lambda.  Positive needs n_out >= hidden, negative n_in >= hidden.

    Returns
    -------
    [W1, W2]
        Singular vectors are Haar-random on the input, hidden and output side.

    Examples
    --------
    >>> w1, w2 = balanced_weights((4, 3, 5), 0.1, rng=np.random.default_rng(0), balance=0.5)
    >>> np.abs(w2.T @ w2 - w1 @ w1.T - 0.5 * np.eye(3)).max().round(6).item()
    0.0
    """
    widths, balance = as_widths(widths), as_number("balance", balance)
    if len(widths) != 3:
        raise ValueError(f"widths must be (n_in, hidden, n_out): got {widths}")
    n_in, hidden, n_out = widths
    if (balance > 0 and n_out < hidden) or (balance < 0 and n_in < hidden):
        raise ValueError(
            f"no start with balance={balance:g} exists for widths {widths}: the larger layer "
            "would need rank hidden; widen it, narrow the hidden layer, or use balance=0"
        )
    rank = min(widths)
    first = gaussian_weights(widths, scale, rng=rng)[0]
    core = np.zeros(hidden)
    core[:rank] = np.linalg.svd(first, compute_uv=False)[:rank]
    inner = haar(hidden, hidden, rng)

    def layer(outer: np.ndarray, extra: float) -> np.ndarray:
        return (outer * np.sqrt(core**2 + extra)[: outer.shape[1]]) @ inner[: outer.shape[1]]

    w1 = layer(haar(n_in, min(n_in, hidden), rng), max(-balance, 0.0)).T
    w2 = layer(haar(n_out, min(n_out, hidden), rng), max(balance, 0.0))
    return [w1, w2]


def aligned_weights(
    modes: Modes, a0: ArrayLike, *, hidden: int | None = None, depth: int = 2
) -> list[Float[np.ndarray, "_ _"]]:
    """Balanced start whose map is U diag(a0) V^T: every mode on its own from the first step.

    Parameters
    ----------
    modes : Modes
        Singular basis of the task, rank r.
    a0 : scalar or (r,) array_like
        Mode strengths at t = 0, > 0.
    hidden : int, optional
        Width of every hidden layer, >= r (the default).
    depth : int
        Number of weight matrices.

    Returns
    -------
    list of ``depth`` ndarray
        The first layer first.

    Examples
    --------
    >>> from dlnlib.tasks import svd_modes
    >>> weights = aligned_weights(svd_modes([[3.0, 0.0], [0.0, 1.0]]), 0.01)
    >>> product(weights).round(6).tolist()
    [[0.01, 0.0], [0.0, 0.01]]
    """
    rank = modes.s.size
    hint = "an aligned start needs one hidden unit per mode; widen it or keep fewer modes"
    hidden = rank if hidden is None else as_count("hidden", hidden, rank, hint)
    as_shape(hidden=hidden, rank=rank)
    if as_depth(depth) == math.inf:
        raise ValueError("depth must be finite here: the start is a list of weight matrices")
    n_layers = int(as_depth(depth))
    root = as_start(a0, rank) ** (1 / n_layers)
    embed = np.eye(hidden, rank)
    middle = [(embed * root) @ embed.T for _ in range(n_layers - 2)]
    return [(embed * root) @ modes.v.T, *middle, (modes.u * root) @ embed.T]


@in_range
def product(weights: Sequence[np.ndarray]) -> Float[np.ndarray, "... out in"]:
    """End-to-end map W_L ... W_1.

    Parameters
    ----------
    weights : sequence of L arrays (..., n_l, n_{l-1})
        Each may carry a leading time axis.

    Returns
    -------
    (..., out, in) ndarray
        Over time if a layer is.

    Examples
    --------
    >>> product([np.diag([2.0, 1.0]), np.diag([0.5, 3.0])]).tolist()
    [[1.0, 0.0], [0.0, 3.0]]
    """
    return reduce(lambda inner, outer: outer @ inner, _chained(weights))


@in_range
def balance(weights: Sequence[np.ndarray]) -> list[Float[np.ndarray, "... h h"]]:
    """What gradient flow conserves at each hidden layer: W_{l+1}^T W_{l+1} - W_l W_l^T.

    Parameters
    ----------
    weights : sequence of L arrays (..., n_l, n_{l-1})

    Returns
    -------
    list of L - 1 ndarray (..., n_l, n_l)
        Zero at each hidden layer of a balanced network.

    Examples
    --------
    >>> balance([np.diag([2.0, 1.0]), np.diag([2.0, 3.0])])[0].tolist()
    [[0.0, 0.0], [0.0, 8.0]]
    """
    return [outer.mT @ outer - inner @ inner.mT for inner, outer in pairwise(_chained(weights))]


def _chained(weights: Sequence[ArrayLike]) -> list[Float[np.ndarray, "..."]]:
    """Arrays (..., n_l, n_{l-1}) whose shapes chain."""
    layers = as_list("weights", weights, "pass them first layer first, as [W1, W2]")
    layers = [as_numbers(f"W{layer}", w) for layer, w in enumerate(layers, start=1)]
    flat = not layers or min(w.ndim for w in layers) < 2
    if flat or any(inner.shape[-2] != outer.shape[-1] for inner, outer in pairwise(layers)):
        shapes = [w.shape for w in layers]
        raise ValueError(
            f"weights must be matrices whose shapes chain, first layer first: got {shapes}; "
            "a transpose may be missing"
        )
    return layers
