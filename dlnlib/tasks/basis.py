"""Singular bases with repeatable signs: modes, whitening, projection, random directions."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import as_finite, as_fraction, as_matrix, in_range


@dataclass(frozen=True, eq=False)
class Modes:
    """Singular triples of a correlation matrix, strongest first.

    Parameters
    ----------
    u : (out, r) ndarray
        Left singular vectors, as columns.
    s : (r,) ndarray
        Singular values, >= 0.
    v : (in, r) ndarray
        Right singular vectors, as columns.

    Examples
    --------
    >>> modes = svd_modes([[1.0, 2.0], [2.0, 1.0]])
    >>> modes.s.round(3).tolist(), modes.rank, modes.matrix().round(3).tolist()
    ([3.0, 1.0], 2, [[1.0, 2.0], [2.0, 1.0]])
    """

    u: Float[np.ndarray, "out r"]
    s: Float[np.ndarray, "r"]
    v: Float[np.ndarray, "in r"]

    @property
    def rank(self) -> int:
        """Number of modes with s above rounding error; the others carry no signal."""
        floor = max(len(self.u), len(self.v)) * np.finfo(float).eps * self.s[0]
        return int((self.s > floor).sum())

    def matrix(self) -> Float[np.ndarray, "out in"]:
        """Put the correlation matrix together again: sum_k s_k u_k v_k^T."""
        return (self.u * self.s) @ self.v.T


def _column_signs(m: Float[np.ndarray, "n r"]) -> Float[np.ndarray, "r"]:
    """Sign of the largest entry of each column."""
    # Entries of equal size differ by rounding only: the first of them decides, on every machine.
    largest = np.abs(m) >= (1 - 1e-6) * np.abs(m).max(axis=0)
    return np.where(m[largest.argmax(axis=0), np.arange(m.shape[1])] < 0, -1.0, 1.0)


def svd_modes(sigma: ArrayLike) -> Modes:
    """Singular value decomposition Sigma = U diag(s) V^T, with a fixed sign of each mode.

    All r = min(out, in) modes are kept, also those with s = 0: they are where noise lives.  The
    entry of largest size in each u_k is positive; within equal s the basis stays arbitrary.

    Parameters
    ----------
    sigma : array_like (out, in)
        Input-output correlation.

    Returns
    -------
    Modes

    Examples
    --------
    >>> modes = svd_modes([[0.0, 2.0], [3.0, 0.0]])
    >>> modes.s.tolist(), modes.v.tolist()
    ([3.0, 2.0], [[1.0, 0.0], [0.0, 1.0]])
    """
    u, s, vt = np.linalg.svd(as_matrix("sigma", sigma), full_matrices=False)
    signs = _column_signs(u)
    return Modes(u=u * signs, s=s, v=vt.T * signs)


@dataclass(frozen=True, eq=False)
class AffineMap:
    """x -> (x - mean) @ matrix, row by row: what whitening did, ready for a held-out set.

    Parameters
    ----------
    mean : (n,) ndarray
        Taken from each row.
    matrix : (n, d) ndarray
        Applied to what is left.

    Examples
    --------
    >>> _, transform = whiten([[0.0], [2.0], [4.0], [6.0]])
    >>> transform([[3.0], [8.0]]).round(3).tolist()  # a held-out set
    [[0.0], [2.236]]
    """

    mean: Float[np.ndarray, "n"]
    matrix: Float[np.ndarray, "n d"]

    def __call__(self, x: ArrayLike) -> Float[np.ndarray, "Q d"]:
        """Map the rows of ``x`` (Q, n)."""
        return (as_matrix("x", x, (None, len(self.mean))) - self.mean) @ self.matrix


def whiten(x: ArrayLike, *, rtol: float = 1e-8) -> tuple[Float[np.ndarray, "P d"], AffineMap]:
    """Centre the rows of ``x`` and rescale its principal axes to unit variance.

    Parameters
    ----------
    x : array_like (P, in)
        Samples, at least two that differ.
    rtol : float
        Axes whose standard deviation is below ``rtol`` times the largest one are dropped, so
        d <= min(in, P - 1) columns remain.  An input is not dropped for its unit: where that
        would happen, each is divided by its own standard deviation first.

    Returns
    -------
    white : ndarray (P, d)
        ``white.T @ white / P`` is the identity.
    transform : AffineMap
        Takes raw inputs to white ones.

    Examples
    --------
    >>> white, transform = whiten([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    >>> white.shape, transform([[2.0, 1.0]]).round(4).tolist()  # the second input is constant
    ((3, 1), [[0.0]])
    """
    x, rtol = as_matrix("x", x), as_fraction("rtol", rtol, "it is relative to the largest axis")
    if len(x) < 2:
        raise ValueError("whitening needs at least two samples (rows of x): got 1")
    mean = x.mean(axis=0)
    (*axes, keep), unit = _varying(x - mean, x, rtol), np.ones(len(mean))
    if not keep.all():
        # Each input is judged in its own unit; what subtracting a large mean leaves is rounding.
        size = np.linalg.norm(x - mean, axis=0)
        own = np.where(size > 1e-13 * np.linalg.norm(x, axis=0), size, np.inf)
        *scaled, varying = _varying((x - mean) / own, x / own, rtol)
        if not varying.any():
            raise ValueError("x is constant: whitening needs inputs that vary between samples")
        if varying.sum() > keep.sum():  # a unit hid some of them
            axes, keep, unit = scaled, varying, own
    u, s, vt = axes
    scale = np.sqrt(len(x)) * _column_signs(vt[keep].T)
    matrix = vt[keep].T * (scale / s[keep]) / unit[:, None]
    return u[:, keep] * scale, AffineMap(mean=mean, matrix=matrix)


def _varying(centred: np.ndarray, x: np.ndarray, rtol: float) -> tuple[np.ndarray, ...]:
    """Principal axes, and which of them vary by more than rounding."""
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    return u, s, vt, s > max(rtol * s[0], 1e-13 * np.linalg.norm(x))


def haar(n: int, k: int, rng: np.random.Generator) -> Float[np.ndarray, "n k"]:
    """Orthonormal columns in directions drawn uniformly (Haar measure)."""
    q, r = np.linalg.qr(rng.standard_normal((n, k)))
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)  # undoes the signs that LAPACK chooses


@in_range
def project(maps: ArrayLike, modes: Modes) -> Float[np.ndarray, "... r"]:
    """Mode strengths a_k = u_k^T W v_k of end-to-end maps.

    Parameters
    ----------
    maps : (..., out, in) array_like
        One map, or a stack of them.
    modes : Modes
        Singular basis of the task, rank r.

    Returns
    -------
    (..., r) ndarray

    Examples
    --------
    >>> project(np.diag([2.0, 0.5]), svd_modes(np.diag([3.0, 1.0]))).tolist()
    [2.0, 0.5]
    """
    maps = as_finite("maps", maps)
    shape = len(modes.u), len(modes.v)
    if maps.shape[-2:] != shape:
        raise ValueError(
            f"maps must have shape (..., {shape[0]}, {shape[1]}) like the task: got {maps.shape}; "
            "a transpose may be missing"
        )
    return np.einsum("...ki,ik->...k", modes.u.T @ maps, modes.v)
