"""DenseNets as Huang et al. (2017) name them: DenseNet-L-k of depth L and growth k."""

import math
from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from dlnlib._checks import as_count

_STEM = 16  # channels of the first convolution, as in the paper for networks without bottleneck


class DenseLayer(nn.Module):
    """BN, ReLU, convolution; its output is put beside its input."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Channels of x, then the new ones."""
        return torch.cat([x, self.conv(self.relu(self.norm(x)))], dim=1)


class DenseNet(nn.Sequential):
    r"""DenseNet-L-k without bottleneck and compression (Huang et al., CVPR 2017).

    A convolution to 16 channels, then three dense blocks of (L - 4) / 3 layers.  A layer adds
    k channels to all that came before.  Between the blocks stand a convolution of size 1 and a
    pooling by 2, at the end a global pooling and a linear map.

    Counted from the input, the first convolution is "block" 1 of Andriushchenko et al. (2023) and
    the dense blocks are 2 to 4.  The activations that end block 3 and block 4, after batch norm and
    ReLU, are the outputs of the modules ``block3`` and ``block4``; their sparsity is measured.

    Parameters
    ----------
    depth : int
        Number L of layers with weights, 3 m + 4: 22, 40, 100.
    growth : int
        New channels k of each layer.
    channels : int
        Channels of the images.
    classes : int
        Number of outputs.
    rng : numpy.random.Generator
        Draws the start: weights N(0, 2 / fan-in) of the convolutions (He et al., 2015) and uniform
        ones of size up to 1/sqrt(fan-in) of the linear map; all biases are 0.

    Examples
    --------
    >>> network = DenseNet(40, 12, 3, 10, rng=np.random.default_rng(0))
    >>> sum(p.numel() for p in network.parameters())
    1019722
    """

    def __init__(
        self, depth: int, growth: int, channels: int, classes: int, *, rng: np.random.Generator
    ):
        depth, growth = as_count("depth", depth, 7, "L"), as_count("growth", growth, 1, "k")
        layers, rest = divmod(depth - 4, 3)
        if rest:
            near = depth - rest
            raise ValueError(
                f"depth must be 3 m + 4 (three blocks of m layers and four others): got {depth}; "
                f"the nearest are {near} and {near + 3}"
            )
        parts, width = OrderedDict(block1=nn.Conv2d(channels, _STEM, 3, padding=1, bias=False)), 0
        width = _STEM
        for block in (2, 3, 4):
            dense = [DenseLayer(width + i * growth, growth) for i in range(layers)]
            width += layers * growth
            parts[f"dense{block}"] = nn.Sequential(*dense)
            parts[f"norm{block}"] = nn.BatchNorm2d(width)
            parts[f"block{block}"] = nn.ReLU()
            if block < 4:
                parts[f"conv{block}"] = nn.Conv2d(width, width, 1, bias=False)
                parts[f"pool{block}"] = nn.AvgPool2d(2)
        parts["pool4"] = nn.AdaptiveAvgPool2d(1)
        parts["flat"] = nn.Flatten()
        parts["head"] = nn.Linear(width, classes)
        super().__init__(parts)
        self._start(rng)

    @torch.no_grad()
    def _start(self, rng: np.random.Generator) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                weight = module.weight
                scale = math.sqrt(2 / weight[0].numel())
                weight.copy_(torch.from_numpy(scale * rng.standard_normal(weight.shape)))
            elif isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.in_features)
                weight = rng.uniform(-bound, bound, module.weight.shape)
                module.weight.copy_(torch.from_numpy(weight))
                module.bias.zero_()
