"""DenseNets as the literature names and counts them, and the layers that are measured."""

import numpy as np
import pytest
import torch

from dlnlib.deep import DenseNet


def network(depth=10, growth=4, channels=3, classes=10):
    return DenseNet(depth, growth, channels, classes, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("depth", "growth", "millions"),
    [(40, 12, 1.0), (100, 12, 7.0), (100, 24, 27.2)],  # table 2 of Huang et al. (2017)
)
def test_parameters_are_as_many_as_published(depth, growth, millions):
    with torch.device("meta"):
        one = DenseNet(depth, growth, 3, 10, rng=np.random.default_rng(0))
    count = sum(p.numel() for p in one.parameters())
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize("depth", [10, 22, 40])
def test_depth_counts_the_layers_with_weights(depth):
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    assert sum(isinstance(module, kinds) for module in network(depth).modules()) == depth


def test_each_layer_adds_channels_and_keeps_those_before():
    one = network()
    x = torch.randn(2, 16, 6, 6)
    out = one.dense2[0](x)
    assert out.shape == (2, 20, 6, 6)
    assert torch.equal(out[:, :16], x)


def test_the_measured_layers_are_rectified_and_end_their_blocks():
    one, seen = network(22, 12, 1).eval(), {}
    for name in ("block3", "block4"):
        one.get_submodule(name).register_forward_hook(
            lambda module, given, out, name=name: seen.setdefault(name, out)
        )
    out = one(torch.randn(3, 1, 14, 14))
    assert seen["block3"].shape == (3, 16 + 2 * 72, 7, 7)
    assert seen["block4"].shape == (3, 16 + 3 * 72, 3, 3)
    assert min(z.min() for z in seen.values()) == 0
    pooled = seen["block4"].mean(dim=(2, 3))
    torch.testing.assert_close(out, one.head(pooled))


def test_the_start_is_that_of_the_stream():
    first, again = network().state_dict(), network().state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = DenseNet(10, 4, 3, 10, rng=np.random.default_rng(1)).state_dict()
    assert not torch.equal(first["block1.weight"], other["block1.weight"])
    weight = network(22, 12).dense4[-1].conv.weight
    assert weight.std().item() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.02)


@pytest.mark.parametrize("depth", [12, 41, 99])
def test_other_depths_name_the_nearest(depth):
    with pytest.raises(ValueError, match=r"depth must be 3 m \+ 4.*the nearest are \d+ and \d+"):
        network(depth)
