"""A network over training, kept in the span of weights that training can reach.

Layers with more outputs or inputs than that are stored in an orthonormal basis of the span of
Sigma and the start.  This is exact: gradient steps never leave the span, so that nothing of size
n_out is touched during training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import as_matrix, as_weights
from dlnlib.flow.weights import product
from dlnlib.tasks import Modes, project


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A network over training.

    All but the times is computed when asked for, so that a network with many outputs costs no more
    memory than what is looked at.

    Attributes
    ----------
    t : (T,) ndarray
        Times, in the unit of tau.

    Examples
    --------
    >>> from dlnlib.flow import aligned_weights, gradient_flow
    >>> from dlnlib.tasks import svd_modes
    >>> modes = svd_modes([[3.0, 0.0], [0.0, 1.0]])
    >>> trained = gradient_flow([0.0, 2.0, 20.0], aligned_weights(modes, 0.01), modes.matrix())
    >>> trained.product.shape, trained.mode_strength(modes)[-1].round(3).tolist()
    ((3, 2, 2), [3.0, 1.0])
    """

    t: Float[np.ndarray, "T"]
    _layers: list[Float[np.ndarray, "T _ _"]]
    _left: Float[np.ndarray, "out p"] | None
    _right: Float[np.ndarray, "in q"] | None
    _rotation_known: bool

    @property
    def weights(self) -> list[Float[np.ndarray, "T _ _"]]:
        """The weight matrices over time, each (T, rows, columns), first layer first."""
        if not self._rotation_known:
            raise AttributeError(
                "the exact flow fixes the weights only up to a rotation of the hidden layer: use "
                ".product, .hidden_gram or .output_gram, or integrate with gradient_flow"
            )
        return [self._first(), *self._layers[1:-1], self._last()]

    @property
    def product(self) -> Float[np.ndarray, "T out in"]:
        """End-to-end map W_L ... W_1, of shape (T, out, in)."""
        return product([self._first(), *self._layers[1:-1], self._last()])

    @property
    def hidden_gram(self) -> Float[np.ndarray, "T in in"]:
        """W_1^T W_1 (T, in, in): similarity of the inputs as the first hidden layer has them."""
        first = self._first()
        return first.mT @ first

    @property
    def output_gram(self) -> Float[np.ndarray, "T out out"]:
        """W_L W_L^T (T, out, out): similarity of the outputs as the last layer reads them."""
        last = self._last()
        return last @ last.mT

    def mode_strength(self, modes: Modes) -> Float[np.ndarray, "T r"]:
        """Strengths u_k^T W v_k (T, r) of the map in the singular basis of the task."""
        u = modes.u if self._left is None else self._left.T @ modes.u
        v = modes.v if self._right is None else self._right.T @ modes.v
        return project(product(self._layers), Modes(u, modes.s, v))

    # One end at a time: with many outputs, the last layer over time may not fit in memory.
    def _first(self) -> Float[np.ndarray, "T _ in"]:
        first = self._layers[0]
        return first if self._right is None else first @ self._right.T

    def _last(self) -> Float[np.ndarray, "T out _"]:
        last = self._layers[-1]
        return last if self._left is None else self._left @ last


def reduced(
    weights: Sequence[ArrayLike], sigma: ArrayLike, sigma_xx: ArrayLike | None = None
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The same training with outer dimensions cut down to the span that it can reach."""
    sigma = as_matrix("sigma", sigma)
    layers = as_weights(weights, *sigma.shape)
    left = right = None
    if sum(sigma.shape[1:]) + layers[-1].shape[1] < sigma.shape[0]:
        left, _ = np.linalg.qr(np.hstack([sigma, layers[-1]]))
        layers[-1], sigma = left.T @ layers[-1], left.T @ sigma
    if sigma_xx is None and sigma.shape[0] + layers[0].shape[0] < sigma.shape[1]:
        right, _ = np.linalg.qr(np.hstack([sigma.T, layers[0].T]))
        layers[0], sigma = layers[0] @ right, sigma @ right
    return layers, sigma, left, right
