"""The spectral entropy of the modes, its rate, who causes it, and its phases."""

from dlnlib.entropy import (
    EntropyDynamics,
    GroupEntropy,
    Phase,
    Phases,
    effective_modes,
    energy_shares,
    entropy_dynamics,
    entropy_phases,
    entropy_rate,
    entropy_rate_by_mode,
    group_entropy,
    mode_phases,
    spectral_entropy,
)

__all__ = [
    "EntropyDynamics",
    "GroupEntropy",
    "Phase",
    "Phases",
    "effective_modes",
    "energy_shares",
    "entropy_dynamics",
    "entropy_phases",
    "entropy_rate",
    "entropy_rate_by_mode",
    "group_entropy",
    "mode_phases",
    "spectral_entropy",
]
