r"""Nonlinear networks under SGD: diagonal and ReLU networks, step sizes, and sparsity of features.

Diagonal linear networks beta = u v have the loss ``|X beta - y|^2 / (2 n)``, and a step with step
size eta and gradient g in beta is::

    u <- u - eta g v,   v <- v - eta g u,   so that
    u^2 - v^2 <- (u^2 - v^2) (1 - eta^2 g^2),

entry by entry.  Gradient flow keeps u^2 - v^2; steps of finite size shrink it, and with it the
initialisation that decides which interpolator is found (`implicit_bias`).

A ReLU network with the widths :math:`n_0, \dots, n_L = 1` predicts

.. math:: h_\theta(x) = W_L \sigma(W_{L-1} \cdots \sigma(W_1 x + b_1) \cdots) + b_L,
   \qquad \sigma(z) = \max(z, 0),

where each layer has biases or none.  As in the experiments reproduced here its loss is the plain
mean square, :math:`\mathcal L = \frac1n \sum_i (h_\theta(x_i) - y_i)^2`, without a factor 1/2, so
that a step on one sample is :math:`\theta \leftarrow \theta - 2 \eta r_i \nabla h_\theta(x_i)` with
the residual :math:`r_i`.  The derivative of the ReLU at its kink is 0.  All parameters stand in one
vector of length P, layer after layer: the weights, one row per input, then the biases.

A schedule is an array (steps,): entry k is the step size of iteration k = 0, 1, ...  A change "at"
a share q of the run takes effect from iteration floor(q * steps) on, as in the public code of
Andriushchenko et al. for ReLU networks, whose settings these are; their code for diagonal networks
is one iteration later (``delay`` of `step_decay`).

References
----------
Woodworth et al., COLT 2020; Pesme, Pillaud-Vivien & Flammarion, NeurIPS 2021; Even, Pesme,
Gunasekar & Flammarion, NeurIPS 2023: diagonal networks.
Pillaud-Vivien, Reygner & Flammarion, COLT 2022: the stochastic differential equation.
Andriushchenko, Varre, Pillaud-Vivien & Flammarion, "SGD with large step sizes learns sparse
features", ICML 2023: the experiments, the schedules and the feature sparsity coefficient.
"""

# fmt: off
from dlnlib.sgd.diagonal import DiagonalRuns, diagonal_flow, diagonal_jacobian, train_diagonal
from dlnlib.sgd.interpolators import (
    basis_pursuit, implicit_bias, stability_threshold, stationary_covariance,
)
from dlnlib.sgd.published import published_run
from dlnlib.sgd.relu import ReLURuns, train_relu
from dlnlib.sgd.relu_network import ReLUNetwork, gaussian_start
from dlnlib.sgd.schedules import (
    constant, exponential_warmup, linear_warmup, sqrt_warmup, step_decay,
)
from dlnlib.sgd.sde import gradient_covariance, sde_diagonal
from dlnlib.sgd.sparsity import Sparsity, diagonal_sparsity, relu_sparsity
from dlnlib.sgd.tasks import (
    ReLUTask, SparseTask, line_task, sparse_regression, three_layer_task, two_layer_task,
)

__all__ = [
    "DiagonalRuns", "ReLUNetwork", "ReLURuns", "ReLUTask", "SparseTask", "Sparsity",
    "basis_pursuit", "constant", "diagonal_flow", "diagonal_jacobian", "diagonal_sparsity",
    "exponential_warmup", "gaussian_start", "gradient_covariance", "implicit_bias", "line_task",
    "linear_warmup", "published_run", "relu_sparsity", "sde_diagonal", "sparse_regression",
    "sqrt_warmup", "stability_threshold", "stationary_covariance", "step_decay",
    "three_layer_task", "train_diagonal", "train_relu", "two_layer_task",
]
