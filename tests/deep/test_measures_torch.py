"""Measures of PyTorch tensors, without a conversion by the reader."""

import copy
import warnings

import numpy as np
import pytest

from dlnlib.measures import distinct_units, feature_sparsity, measure, measure_layers

torch = pytest.importorskip("torch")


def layer(n=40, m=30):
    """Outputs of ReLU units that need a gradient."""
    torch.manual_seed(0)
    x = torch.randn(n, 8)
    return torch.relu(torch.nn.Linear(8, m)(x))


def test_a_tensor_that_requires_a_gradient_is_read_as_it_is():
    units = layer()
    assert units.requires_grad
    assert measure(units) == measure(units.detach().numpy())
    weights = torch.nn.Linear(8, 30).weight  # a Parameter
    assert measure(weights).modes == measure(weights.detach().numpy()).modes


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64", "int32", "bool", "uint8"])
def test_types_of_tensors(kind):
    units = (layer() * 3).detach().to(getattr(torch, kind))
    assert measure(units) == measure(units.double().numpy())


def test_bfloat16_that_requires_a_gradient():
    units = layer().bfloat16()
    assert units.requires_grad
    found = feature_sparsity(units, correlation=0.9)
    assert found == feature_sparsity(units.detach().float().numpy(), correlation=0.9)
    assert distinct_units(units, correlation=0.9).dtype == bool


def test_feature_maps_views_and_blocks():
    torch.manual_seed(0)
    maps = torch.relu(torch.nn.Conv2d(1, 4, 3)(torch.randn(20, 1, 7, 7)))
    flat = maps.detach().flatten(1).numpy()
    assert measure(maps) == measure(flat)
    assert measure(maps.permute(0, 2, 3, 1)).units == 100
    assert measure(maps.transpose(0, 1)).samples == 4
    blocks = measure(iter(maps.split(6)))
    assert blocks.coefficient == measure(flat).coefficient
    assert blocks.modes == pytest.approx(measure(flat).modes, rel=1e-12)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(maps.detach()), 6)
    assert measure(batch for (batch,) in loader) == blocks


def test_a_tensor_is_neither_changed_nor_detached():
    units = layer()
    before = copy.deepcopy(units.detach())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(units, centred=True)
    assert units.requires_grad and torch.equal(units, before)


def test_a_state_dict_is_a_mapping_of_matrices():
    model = torch.nn.Sequential(
        torch.nn.Linear(5, 7, bias=False), torch.nn.Linear(7, 3, bias=False)
    )
    table = measure_layers(model.state_dict())
    assert table.index.tolist() == ["0.weight", "1.weight"]
    values = np.linalg.svd(model[1].weight.detach().numpy().astype(float), compute_uv=False)
    assert table.loc["1.weight", "stable_rank"] == pytest.approx((values**2).sum() / values[0] ** 2)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_what_is_no_array_of_numbers_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"tensor on meta: bring it to the CPU, features.cpu\(\)"):
        measure(torch.empty(3, 2, device="meta"))
    with pytest.raises(ValueError, match="sparse tensor: give its to_dense"):
        measure(torch.eye(3).to_sparse())
    with pytest.raises(ValueError, match="sparse tensor: give its to_dense"):
        measure(torch.eye(3).to_sparse_csr())
    with pytest.raises(ValueError, match="complex"):
        measure(torch.eye(3, dtype=torch.complex64))
    with pytest.raises(ValueError, match="NaN or infinity"):
        measure(torch.full((3, 2), torch.nan))
    with pytest.raises(ValueError, match=r"list of tensors; stack them by torch.stack"):
        measure([torch.ones(2), torch.ones(2)])
    with pytest.raises(ValueError, match=r"got shape \(2,\)"):
        measure(torch.ones(2))
