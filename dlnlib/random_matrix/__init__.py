"""A weak signal in a large random matrix: what is seen of it, and what a network makes of that.

The model is that of `dlnlib.tasks.spiked_teacher`::

    Sigma = W* + noise / sqrt(n_in) Z,    W* = sum_j s0_j u_j v_j^T,

with aspect c = n_out / n_in, K = min(n_out, n_in) modes, and K large.  Noise fills a bulk of
singular values up to `bulk_edge`; a spike above `detection_threshold` adds one singular value
s beyond the edge.  The target of a mode is m_k = u_k^T W* v_k, with u_k and v_k observed.

References
----------
Benaych-Georges & Nadakuditi, J. Multivariate Anal. 111, 120 (2012): spikes and overlaps.
Gavish & Donoho, IEEE Trans. Inf. Theory 63, 2137 (2017): optimal shrinkage.
Lampinen & Ganguli, ICLR 2019: training and test error of deep linear networks over time.
"""

# fmt: off
from dlnlib.random_matrix.bulk import bulk_density, bulk_quantiles, bulk_target, typical_spectrum
from dlnlib.random_matrix.critical_dimension import critical_dimension, sharp_critical_dimension
from dlnlib.random_matrix.infinite_network import InfiniteNetwork, infinite_network
from dlnlib.random_matrix.spike import (
    Spike, bulk_edge, detection_threshold, optimal_shrinker, spike_forward,
)

__all__ = [
    "InfiniteNetwork", "Spike", "bulk_density", "bulk_edge", "bulk_quantiles", "bulk_target",
    "critical_dimension", "detection_threshold", "infinite_network", "optimal_shrinker",
    "sharp_critical_dimension", "spike_forward", "typical_spectrum",
]
