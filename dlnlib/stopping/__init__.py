"""When to stop: least entropy t*, least test error t_opt, start of memorisation t**.

The network holds aligned modes a_k(t) (see `dlnlib.modes`), the teacher W* has the targets
m_k = u_k^T W* v_k in their directions, and the test error of whitened inputs is::

    E(t) = |W(t) - W*|_F^2 = sum_k (a_k^2 - 2 a_k m_k) + |W*|_F^2.

The spectral entropy sees the a_k alone, the test error also the m_k: the *stopping window*
t* <= t_opt <= t** asks how much of the second the first can tell.
Rules that stop a run without knowing the m_k share one signature,
``rule(run) -> time``: a rule takes a `Run`, the record of one training, and one that finds no
reason to stop returns the end of the run.
What the entropy lacks are the singular values s_k of the training data: with them the test error
itself can be estimated, see `stop_estimates`.

References
----------
Gavish, Donoho, "Optimal shrinkage of singular values", IEEE Trans. Inf. Theory 2017, for the
targets m_k; Saxe, McClelland, Ganguli, ICLR 2014, for the modes.  Prechelt, "Early stopping - but
when?", in Neural Networks: Tricks of the Trade, 1998; Mahsereci, Balles, Lassner, Hennig, "Early
stopping without a validation set", arXiv 1703.09580, 2017, for the rules.
"""

# fmt: off
from dlnlib.stopping.draws import SpikedDraws, spiked_draws, spiked_spectra
from dlnlib.stopping.probe import probe_degrees_of_freedom
from dlnlib.stopping.risk import (
    StopEstimates, cross_validation, degrees_of_freedom, noise_level, plugin_error, risk_estimate,
    stop_estimates,
)
from dlnlib.stopping.rules import (
    ESTIMATE_RULES, RULES, Run, cross_validation_minimum, entropy_minimum, entropy_rest,
    evidence_based, noise_edge, oracle, plugin_minimum, regret, risk_minimum, train_threshold,
    validation_patience, window_end, window_midpoint,
)
from dlnlib.stopping.window import (
    StoppingWindow, excess_error, memorisation_time, mode_window, two_level_window,
)

__all__ = [
    "ESTIMATE_RULES", "RULES", "Run", "SpikedDraws", "StopEstimates", "StoppingWindow",
    "cross_validation", "cross_validation_minimum", "degrees_of_freedom", "entropy_minimum",
    "entropy_rest", "evidence_based", "excess_error", "memorisation_time", "mode_window",
    "noise_edge", "noise_level", "oracle", "plugin_error", "plugin_minimum",
    "probe_degrees_of_freedom", "regret", "risk_estimate", "risk_minimum", "spiked_draws",
    "spiked_spectra", "stop_estimates", "train_threshold", "two_level_window",
    "validation_patience", "window_end", "window_midpoint",
]
