"""Training of full weight matrices: exact, integrated, and in steps of gradient descent."""

from dlnlib.flow import (
    Trajectory,
    aligned_weights,
    balance,
    balanced_weights,
    exact_flow,
    gaussian_weights,
    gradient_descent,
    gradient_flow,
    product,
)

__all__ = [
    "Trajectory",
    "aligned_weights",
    "balance",
    "balanced_weights",
    "exact_flow",
    "gaussian_weights",
    "gradient_descent",
    "gradient_flow",
    "product",
]
