"""Training of full weight matrices: their starts, and their course, exact, integrated or in steps.

A network is a list ``[W_1, ..., W_L]``, first layer first, ``W_l`` of shape
``(widths[l], widths[l-1])``; its map is ``W_L ... W_1``.  All trainings solve, for whitened inputs
and the loss ``1/2 E|y - W_L ... W_1 x|^2``::

    tau dW_l/dt = (W_L ... W_{l+1})^T (Sigma - W_L ... W_1) (W_{l-1} ... W_1)^T,

`gradient_descent` in steps; weight decay gamma takes ``gamma W_l`` from the right-hand side.
Along the flow every ``W_{l+1}^T W_{l+1} - W_l W_l^T`` is conserved, and dies as
``exp(-2 gamma t/tau)`` with decay;
a start where all of them vanish is *balanced* (Arora, Cohen and Hazan 2018), and two layers are
*lambda-balanced* when the difference is ``lambda I``.
"""

# fmt: off
from dlnlib.flow.exact import exact_flow
from dlnlib.flow.training import gradient_descent, gradient_flow
from dlnlib.flow.trajectory import Trajectory
from dlnlib.flow.weights import (
    aligned_weights, balance, balanced_weights, gaussian_weights, product,
)

__all__ = [
    "Trajectory", "aligned_weights", "balance", "balanced_weights", "exact_flow",
    "gaussian_weights", "gradient_descent", "gradient_flow", "product",
]
