"""Measures of PyTorch models, for which the extra ``deep`` installs PyTorch."""

# fmt: off
from dlnlib.deep.linear import EndToEnd, end_to_end
from dlnlib.deep.watch import Activations, watch

__all__ = ["Activations", "EndToEnd", "end_to_end", "watch"]
