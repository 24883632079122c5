"""A weak signal in a large random matrix: what is seen of it, and what a network makes of that."""

from dlnlib.random_matrix import (
    InfiniteNetwork,
    Spike,
    bulk_density,
    bulk_edge,
    bulk_quantiles,
    bulk_target,
    critical_dimension,
    detection_threshold,
    infinite_network,
    optimal_shrinker,
    sharp_critical_dimension,
    spike_forward,
    typical_spectrum,
)

__all__ = [
    "InfiniteNetwork",
    "Spike",
    "bulk_density",
    "bulk_edge",
    "bulk_quantiles",
    "bulk_target",
    "critical_dimension",
    "detection_threshold",
    "infinite_network",
    "optimal_shrinker",
    "sharp_critical_dimension",
    "spike_forward",
    "typical_spectrum",
]
