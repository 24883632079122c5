"""Derivations that sympy checks line by line: modes, decay, entropy, stopping windows, risk.

Every public function but `logistic` returns a `Derivation`, a chain of equations that is proved
when it is built and typeset when it ends a notebook cell.

The network has weights W1 (hidden x in) and W2 (out x hidden), whitened inputs and gradient flow
``tau dW1/dt = W2^T (Sigma - W2 W1)``, ``tau dW2/dt = (Sigma - W2 W1) W1^T``.
Nothing numerical of the package is used here: comparing the two compares two routes to a result.

References
----------
Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear
neural networks", ICLR 2014, arXiv 1312.6120.
"""

# fmt: off
from dlnlib.symbolic.decay import decay_barrier, decay_modes
from dlnlib.symbolic.depth import depth_mode_equation, implicit_time, infinite_depth
from dlnlib.symbolic.derivation import Derivation, DerivationError, Step
from dlnlib.symbolic.divergence import mode_slope, risk_targets, spectral_divergence
from dlnlib.symbolic.entropy import covariance_identity, equal_start
from dlnlib.symbolic.levels import two_level_minimum, two_level_rate, two_level_time
from dlnlib.symbolic.modes import learning_time, logistic, logistic_mode, mode_equation
from dlnlib.symbolic.weights import (
    alignment_linearisation, cosine_law, residual_cosine_law, rotation_invariance,
)
from dlnlib.symbolic.window import deep_window, error_minimum, spike_gap, window_test, window_times

__all__ = [
    "Derivation", "DerivationError", "Step", "alignment_linearisation", "cosine_law",
    "covariance_identity", "decay_barrier", "decay_modes", "deep_window", "depth_mode_equation",
    "equal_start", "error_minimum", "implicit_time", "infinite_depth", "learning_time", "logistic",
    "logistic_mode", "mode_equation", "mode_slope", "residual_cosine_law", "risk_targets",
    "rotation_invariance", "spectral_divergence", "spike_gap", "two_level_minimum",
    "two_level_rate", "two_level_time", "window_test", "window_times",
]
