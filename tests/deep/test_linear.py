"""End-to-end maps: the product and its rate against finite steps, or a refusal that says why."""

from collections import OrderedDict
from itertools import pairwise

import numpy as np
import pytest

from dlnlib.entropy import entropy_phases, entropy_rate, map_entropy, map_entropy_rate, mode_phases
from dlnlib.flow import gaussian_weights, gradient_descent, product
from dlnlib.stopping import probe_degrees_of_freedom

torch = pytest.importorskip("torch")
nn = torch.nn

from dlnlib.deep import end_to_end  # noqa: E402


def chain(*widths, bias=False, kind=torch.float64):
    torch.manual_seed(0)
    layers = [nn.Linear(i, o, bias=bias) for i, o in pairwise(widths)]
    return nn.Sequential(*layers).to(kind)


def put_gradients(model, x, y):
    model.zero_grad()
    ((model(x) - y).square().sum() / 2).backward()


def test_map_is_the_product_and_acts_as_the_model_does():
    model = chain(5, 4, 3, 6)
    found = end_to_end(model)
    x = torch.randn(7, 5, dtype=torch.float64)
    np.testing.assert_allclose(x.numpy() @ found.map.T, model(x).detach().numpy(), atol=1e-12)
    np.testing.assert_array_equal(found.map, product(found.weights))
    assert found.layers == ("0", "1", "2")
    assert found.entropy == pytest.approx(map_entropy(found.map))
    values = np.linalg.svd(found.map, compute_uv=False)
    np.testing.assert_allclose(found.strengths, values, rtol=1e-12)


def test_single_precision_is_multiplied_in_double():
    model = chain(5, 4, 3, kind=torch.bfloat16)
    found = end_to_end(model)
    weights = [layer.weight.detach().double().numpy() for layer in model]
    np.testing.assert_array_equal(found.map, weights[1] @ weights[0])
    assert found.map.dtype == np.float64


def test_rate_is_that_of_a_small_step_of_gradient_descent():
    model, lr = chain(5, 4, 3), 1e-7
    x, y = (torch.randn(9, k, dtype=torch.float64) for k in (5, 3))
    put_gradients(model, x, y)
    before = end_to_end(model)
    torch.optim.SGD(model.parameters(), lr).step()
    after = end_to_end(model)
    assert before.rate == pytest.approx((after.entropy - before.entropy) / lr, rel=1e-5)
    assert before.rate == pytest.approx(before.rate_by_mode.sum())
    velocity = (after.map - before.map) / lr
    assert before.rate == pytest.approx(map_entropy_rate(before.map, velocity), rel=1e-5)
    growth = (np.log(after.strengths) - np.log(before.strengths)) / lr
    assert before.rate == pytest.approx(entropy_rate(before.strengths, growth), rel=1e-5)
    surprise = -np.log(before.strengths**2 / (before.strengths**2).sum())
    gained = np.diff([a.strengths**2 / (a.strengths**2).sum() for a in (before, after)], axis=0)[0]
    np.testing.assert_allclose(before.rate_by_mode, surprise * gained / lr, rtol=1e-4)


def test_without_gradients_there_is_no_rate():
    found = end_to_end(chain(4, 3, 2))
    assert np.isnan(found.rate)
    assert np.isnan(found.rate_by_mode).all()
    assert found.rate_by_mode.shape == found.strengths.shape


def test_a_layer_that_runs_twice_counts_twice():
    model, x = chain(3, 3), torch.randn(5, 3, dtype=torch.float64)
    twice = nn.Sequential(model[0], model[0])
    put_gradients(twice, x, torch.ones(5, 3, dtype=torch.float64))
    found = end_to_end(twice)
    weight = model[0].weight.detach().numpy()
    np.testing.assert_allclose(found.map, weight @ weight)
    torch.optim.SGD(model.parameters(), 1e-8).step()
    assert found.rate == pytest.approx((end_to_end(twice).entropy - found.entropy) / 1e-8, rel=1e-4)


def test_training_has_the_phases_of_the_flow():
    """The weights of a trained model, read after each time, give the run of `gradient_descent`."""
    sigma, lr = np.diag([3.0, 2.8, 1.0, 0.9]), 0.05
    start = gaussian_weights((4, 4, 4), 1e-3, rng=np.random.default_rng(0))
    model = chain(4, 4, 4)
    for layer, weight in zip(model, start, strict=True):
        layer.weight.data = torch.from_numpy(weight.copy())
    steps, strengths = np.arange(1, 400), []
    optimizer = torch.optim.SGD(model.parameters(), lr)
    for _ in steps:
        put_gradients(model, torch.eye(4, dtype=torch.float64), torch.from_numpy(sigma.T.copy()))
        optimizer.step()
        strengths.append(end_to_end(model).strengths)
    found = mode_phases(lr * steps, np.array(strengths))
    whole = gradient_descent(steps, start, sigma, lr=lr)
    np.testing.assert_allclose(found.entropy, map_entropy(whole.product), rtol=1e-6)
    assert found.kinds == entropy_phases(lr * steps, map_entropy(whole.product)).kinds
    assert found.kinds[0] == "concentration"
    assert "redistribution" in found.kinds


# what may lie between


def test_what_changes_nothing_is_passed():
    layers = (
        nn.Flatten(),
        nn.Linear(4, 3, False),
        nn.Identity(),
        nn.Dropout(),
        nn.Linear(3, 2, False),
    )
    model = nn.Sequential(*layers).eval()
    assert end_to_end(model).layers == ("1", "4")
    with pytest.raises(ValueError, match=r"layer '3' \(Dropout\) is random in training.*eval"):
        end_to_end(model.train())


class Custom(nn.Module):
    """Its order is that of its forward pass, not of its names."""

    def __init__(self, between=lambda x: x):
        super().__init__()
        torch.manual_seed(0)
        self.out, self.first = nn.Linear(3, 2, False), nn.Linear(4, 3, False)
        self.between = between

    def forward(self, x):
        return self.out(self.between(self.first(x.view(x.size(0), -1))))


def test_the_forward_pass_decides():
    found = end_to_end(Custom())
    assert found.layers == ("first", "out")
    assert found.map.shape == (2, 4)
    with pytest.raises(ValueError, match=r"relu\(\) runs there, which is no linear layer"):
        end_to_end(Custom(torch.relu))
    with pytest.raises(ValueError, match=r"mul\(\) runs there"):
        end_to_end(Custom(lambda x: 2 * x))
    with pytest.raises(ValueError, match="'first' does not take what 'out' gives"):
        end_to_end(Custom(), ["out", "first"])


def test_layers_by_name_between_nonlinearities():
    model = nn.Sequential(
        OrderedDict(
            a=nn.Linear(4, 3, False),
            act=nn.ReLU(),
            b=nn.Linear(3, 5, False),
            c=nn.Linear(5, 2, False),
            end=nn.Tanh(),
        )
    )
    found = end_to_end(model, ["b", "c"])
    expected = (model.c.weight @ model.b.weight).detach().numpy()
    np.testing.assert_allclose(found.map, expected, rtol=1e-5)
    assert end_to_end(model, "a").map.shape == (3, 4)
    with pytest.raises(
        ValueError, match=r"'end' \(Tanh\) is a nonlinearity; layers without.*are \['b', 'c'\]"
    ):
        end_to_end(model)
    with pytest.raises(ValueError, match=r"'b' does not take what 'a' gives: layer 'act' \(ReLU\)"):
        end_to_end(model, ["a", "b"])
    with pytest.raises(ValueError, match=r"'act': layer 'act'.*is a nonlinearity"):
        end_to_end(model, ["act"])
    with pytest.raises(ValueError, match="'nope': runs 0 times"):
        end_to_end(model, ["nope"])


def test_biases_are_refused_or_left_out():
    model = chain(4, 3, 2, bias=True)
    with pytest.raises(ValueError, match="layer '0' has a bias, so that the model is affine"):
        end_to_end(model)
    found = end_to_end(model, drop_biases=True)
    x = torch.randn(4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(model, x).numpy()
    np.testing.assert_allclose(found.map, jacobian, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.Conv1d(1, 1, 1), r"'1' \(Conv1d\) is a convolution"),
        (nn.LayerNorm(3), r"'1' \(LayerNorm\) is no linear layer"),
        (nn.GELU(), r"'1' \(GELU\) is a nonlinearity"),
        (nn.Flatten(), r"'1' \(Flatten\) is no linear layer"),
    ],
)
def test_other_layers_are_refused_by_name(layer, why):
    model = nn.Sequential(nn.Linear(4, 3), layer, nn.Linear(3, 2))
    with pytest.raises(ValueError, match=why):
        end_to_end(model)


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4, False), nn.Linear(4, 4, False)

    def forward(self, x):
        return self.b(self.a(x)) + x


class Pair(Skip):
    def forward(self, x):
        return self.a(x), self.b(x)


class Branching(Skip):
    def forward(self, x):
        return self.a(x) if x.sum() > 0 else self.b(x)


def test_skips_pairs_and_branches_are_refused():
    with pytest.raises(ValueError, match=r"add\(\) runs there.*\['a', 'b'\]"):
        end_to_end(Skip())
    assert end_to_end(Skip(), ["a", "b"]).map.shape == (4, 4)
    with pytest.raises(ValueError, match="returns several outputs"):
        end_to_end(Pair())
    with pytest.raises(ValueError, match="forward pass of Branching cannot be traced"):
        end_to_end(Branching())
    with pytest.raises(ValueError, match=r"linear\(\) runs there"):
        end_to_end(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="has no linear layer"):
        end_to_end(nn.Sequential(nn.Identity()))


@pytest.mark.usefixtures("no_shape_checks")
def test_no_module():
    with pytest.raises(ValueError, match=r"torch\.nn\.Module: got list; for arrays use"):
        end_to_end([np.eye(2)])


def test_the_model_does_not_change():
    model = chain(4, 3, 2)
    put_gradients(model, torch.ones(2, 4).double(), torch.ones(2, 2).double())
    before = [p.clone() for p in model.parameters()] + [p.grad.clone() for p in model.parameters()]
    end_to_end(model).map[:] = 0
    end_to_end(model).weights[0][:] = 0
    after = [*model.parameters(), *(p.grad for p in model.parameters())]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


# degrees of freedom


def test_degrees_of_freedom_of_a_training_in_pytorch():
    """`probe_degrees_of_freedom` takes any training: here one whose answer is known."""
    x = torch.randn(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lr, steps = 0.02, 30

    def train(y):
        model, path = nn.Linear(4, 1, bias=False).double(), []
        nn.init.zeros_(model.weight)  # the same start each time
        optimizer = torch.optim.SGD(model.parameters(), lr)
        for _ in range(steps):
            optimizer.zero_grad()
            (model(x)[:, 0] - torch.from_numpy(y)).square().sum().div(2).backward()
            optimizer.step()
            with torch.no_grad():
                path.append(model(x)[:, 0].numpy())
        return np.array(path)

    rng = np.random.default_rng(0)
    y = x.numpy() @ [1.0, -1.0, 0.5, 0.0] + rng.standard_normal(12)
    probes = 60
    df = probe_degrees_of_freedom(train, y, probes=probes, rng=rng, step=1e-4)
    values = np.linalg.svd(x.numpy(), compute_uv=False)
    shrinkage = 1 - (1 - lr * values**2) ** np.arange(1, steps + 1)[:, None]
    # one probe varies by at most the root of twice the sum of squares of the eigenvalues
    spread = np.sqrt(2 * (shrinkage**2).sum(axis=1) / probes)
    assert (np.abs(df - shrinkage.sum(axis=1)) < 4 * spread + 1e-6).all()
    assert df[0] < 2 < 3 < df[-1]
