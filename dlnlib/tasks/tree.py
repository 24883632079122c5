"""Features that diffuse down a tree: samples of them, and their exact second moments.

Levels run from the root (0) to the leaves (``depth``), which are the P items.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from dlnlib._checks import as_count, as_nonnegative, as_numbers, as_shape
from dlnlib.tasks.task import Task


def tree_sizes(depth: int, branching: ArrayLike) -> Int[np.ndarray, "levels"]:
    """Number of nodes at each level, from the root (1) to the leaves (P)."""
    depth = as_count("depth", depth, 1, "it counts the levels below the root", 30)
    single = as_numbers("branching", branching).ndim == 0
    children = [branching] * depth if single else list(branching)
    if len(children) != depth:
        raise ValueError(
            f"branching must be one integer or one per level: got {len(children)} of them "
            f"for depth={depth}"
        )
    remedy = "a level with one child per node splits nothing, so leave it out"
    nodes = [1]
    for b in children:
        nodes.append(nodes[-1] * as_count("branching", b, 2, remedy))
        as_shape(leaves=nodes[-1])
    return np.array(nodes)


def as_flips(depth: int, flip: ArrayLike) -> Float[np.ndarray, "depth"]:
    """Flip probability of the branches into levels 1..depth."""
    flips = as_nonnegative("flip", flip, "it is a probability")
    if (flips > 0.5).any():
        raise ValueError(
            f"flip must lie in [0, 1/2]: got {flips.max():g}; 1 - flip gives the same covariance"
        )
    if flips.size not in (1, depth):
        raise ValueError(
            f"flip must be one number or one per level: got {flips.size} for depth={depth}"
        )
    return np.broadcast_to(flips, depth)


def leaf_groups(depth: int = 3, branching: ArrayLike = 2) -> Int[np.ndarray, "P depth"]:
    """Ancestor of each leaf at levels 1..depth, numbered from 0 within a level.

    Parameters
    ----------
    depth : int
        Levels below the root.
    branching : int or array_like (depth,)
        Children per node, at least 2; from the root down.

    Returns
    -------
    ndarray of int (P, depth)
        The last column numbers the leaves themselves.

    Examples
    --------
    >>> leaf_groups(2).tolist()
    [[0, 0], [0, 1], [1, 2], [1, 3]]
    """
    nodes = tree_sizes(depth, branching)
    return np.arange(nodes[-1])[:, None] // (nodes[-1] // nodes[1:])


def tree_covariance(
    depth: int = 3, branching: ArrayLike = 2, *, flip: ArrayLike
) -> Float[np.ndarray, "P P"]:
    """Exact covariance E[y_i y_j] of one +-1 feature over the items of `hierarchical_tree`.

    It is the product of (1 - 2 flip_l)^2 over the levels l below the lowest common ancestor of
    i and j: each of the two paths from there to a leaf flips independently.

    Parameters
    ----------
    depth, branching
        As in `leaf_groups`.
    flip : float or array_like (depth,)
        Probability that the sign flips along a branch, in [0, 1/2]; from the root down.

    Returns
    -------
    ndarray (P, P)
        1 on the diagonal.

    References
    ----------
    Saxe, McClelland & Ganguli, PNAS 116, 11537 (2019).

    Examples
    --------
    >>> tree_covariance(2, flip=0.1).round(4)[0].tolist()  # itself, its sibling, two cousins
    [1.0, 0.64, 0.4096, 0.4096]
    """
    groups = leaf_groups(depth, branching)
    shared = (groups[:, None] == groups[None]).sum(axis=-1)
    return _ancestor_covariance(as_flips(depth, flip))[shared]


def _ancestor_covariance(flips: Float[np.ndarray, "depth"]) -> Float[np.ndarray, "levels"]:
    # Covariance of two leaves whose lowest common ancestor is at level 0 (root), 1, ..., depth.
    return np.append(np.cumprod((1 - 2 * flips[::-1]) ** 2)[::-1], 1.0)


def tree_spectrum(
    depth: int = 3, branching: ArrayLike = 2, *, flip: ArrayLike
) -> tuple[Float[np.ndarray, "levels"], Int[np.ndarray, "levels"]]:
    r"""Eigenvalues of `tree_covariance` by level, largest first, and their multiplicities.

    With q_j the covariance of two leaves that part at level j and n_j the leaves below a node of
    level j, :math:`\lambda_m = \sum_{j \ge m} n_j (q_j - q_{j-1})`, q_{-1} = 0.  Level 0 is the
    mean of all items; level m holds the contrasts between the children of a node of level m-1.
    The singular values of the task are :math:`\sqrt{\lambda / P}` for many features.

    Parameters
    ----------
    depth, branching, flip
        As in `tree_covariance`.

    Returns
    -------
    values : ndarray (depth + 1,)
    multiplicities : ndarray (depth + 1,)
        They sum to the number of items P.

    Examples
    --------
    >>> values, multiplicities = tree_spectrum(2, flip=0.1)
    >>> values.round(4).tolist(), multiplicities.tolist()
    ([2.4592, 0.8208, 0.36], [1, 1, 2])
    """
    nodes = tree_sizes(depth, branching)
    steps = np.diff(_ancestor_covariance(as_flips(depth, flip)), prepend=0.0)
    values = np.cumsum((nodes[-1] / nodes * steps)[::-1])[::-1]
    return values, np.diff(nodes, prepend=0)


def hierarchical_tree(
    depth: int = 3,
    branching: ArrayLike = 2,
    *,
    features: int,
    flip: ArrayLike,
    rng: np.random.Generator,
) -> Task:
    """Items at the leaves of a tree, with features that diffuse down its branches.

    Each feature is +-1 with equal odds at the root, and its sign flips along each branch with
    probability ``flip``, independently of all else (Saxe et al. 2019).  Inputs are the one-hot
    items scaled by sqrt(P), hence white; outputs are the features scaled by 1/sqrt(features), so
    that Sigma^T Sigma tends to ``tree_covariance / P`` as features are added.

    Parameters
    ----------
    depth : int
        Levels below the root.
    branching : int or array_like (depth,)
        Children per node, at least 2; from the root down.
    features : int
        Number of outputs.
    flip : float or array_like (depth,)
        In [0, 1/2]; from the root down.
    rng : numpy.random.Generator

    Returns
    -------
    Task
        ``sigma`` (features, P) without noise, hence equal to ``teacher``; ``x`` and ``y``.

    Examples
    --------
    >>> task = hierarchical_tree(2, features=1000, flip=0.1, rng=np.random.default_rng(0))
    >>> task.sigma.shape, task.modes.s.round(2).tolist()  # towards 0.78, 0.45, 0.3 and 0.3
    ((1000, 4), [0.78, 0.46, 0.32, 0.29])
    """
    nodes, flips = tree_sizes(depth, branching), as_flips(depth, flip)
    features = as_count("features", features, 1, "it is the number of outputs")
    signs = rng.choice([-1.0, 1.0], size=(1, features))
    for children, probability in zip(nodes[1:] // nodes[:-1], flips, strict=True):
        signs = np.repeat(signs, children, axis=0)
        signs[rng.random(signs.shape) < probability] *= -1
    x, y = np.sqrt(nodes[-1]) * np.eye(nodes[-1]), signs / np.sqrt(features)
    sigma = y.T / np.sqrt(nodes[-1])  # y.T @ x / P, without the product
    return Task(sigma=sigma, teacher=sigma, x=x, y=y)
