"""Spectral entropy H of the modes: of their shares of the energy; its rate, its parts, its phases.

With the strengths a_k of the modes::

    H = -sum_k p_k log p_k,    p_k = a_k^2 / sum_j a_j^2

H is 0 when one mode carries all the energy and log K when K modes share it equally, so exp(H) is
an effective number of modes (with ``power=1``, the effective rank of Roy and Vetterli 2007).
With the growth rates g_k = d(log a_k)/dt the shares move as dp_k/dt = 2 p_k (g_k - E_p g), and::

    dH/dt = -2 Cov_p(g, log p),

the covariance identity, derived in `dlnlib.symbolic.covariance_identity`.

The a_k may be the strengths u_k^T W v_k of a map W on the modes of its task, or the singular values
of W.  The two agree where W is aligned with the task and neither bounds the other elsewhere;
`map_entropy` takes W itself, for the second.

All results are exact to rounding for shares, and ratios of strengths, down to 1e-300 and do not
change with the scale of ``a`` or the order of the modes; a mode of strength zero contributes
nothing (0 log 0 = 0).

References
----------
Roy, Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
"""

# fmt: off
from dlnlib.entropy.groups import GroupEntropy, group_entropy
from dlnlib.entropy.maps import map_entropy, map_entropy_rate
from dlnlib.entropy.phases import Phase, Phases, entropy_phases, mode_phases
from dlnlib.entropy.spectral import (
    EntropyDynamics, effective_modes, energy_shares, entropy_dynamics, entropy_rate,
    entropy_rate_by_mode, spectral_entropy,
)

__all__ = [
    "EntropyDynamics", "GroupEntropy", "Phase", "Phases", "effective_modes", "energy_shares",
    "entropy_dynamics", "entropy_phases", "entropy_rate", "entropy_rate_by_mode", "group_entropy",
    "map_entropy", "map_entropy_rate", "mode_phases", "spectral_entropy",
]
