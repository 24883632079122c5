"""Measures of any network from matrices: activations of a layer, or weights.

A matrix has one row for each sample and one column for each unit, or is a weight matrix.  It may be
given as

- a list, a NumPy array, a ``numpy.memmap`` that is read in blocks, or what converts itself by
  the array protocol;
- a tensor on the CPU of any floating-point type, also one that requires a gradient; nothing here
  imports the library it comes from;
- an array of more axes, such as (samples, channels, height, width): those after the first become
  one axis of units, so that each place of each channel is a unit;
- an iterator, such as a generator, of blocks of samples that do not fit into memory together: each
  is read once, and 4,096 units are the most.

NaN and infinity are refused; dead units, one sample and constant features have a result and a note.

References
----------
Andriushchenko, Varre, Pillaud-Vivien & Flammarion, "SGD with large step sizes learns sparse
features", ICML 2023: the feature sparsity coefficient, from public code.
Roy, Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
"""

# fmt: off
from dlnlib.measures.coefficient import distinct_units, feature_sparsity
from dlnlib.measures.measure import Measures, measure, measure_layers
from dlnlib.measures.spectrum import numerical_rank

__all__ = [
    "Measures", "distinct_units", "feature_sparsity", "measure", "measure_layers",
    "numerical_rank",
]
