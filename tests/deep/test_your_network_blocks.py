"""The blocks of the chapter on a reader's own network that need PyTorch: run, as they stand."""

import re
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest

from dlnlib.entropy import map_entropy
from dlnlib.measures import Measures, measure
from tools.bless import CHAPTERS

torch = pytest.importorskip("torch")

TEXT = (CHAPTERS / "your_network.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"^```\{code-block\} python\n:caption: .*\n:name: (code-[\w-]+)\n\n((?s:.*?))^```", re.MULTILINE
)
BLOCKS = dict(BLOCK.findall(TEXT))


def run(name, **given):
    """Execute a block with what its text says is there; what its last line gives."""
    lines = BLOCKS[name].rstrip().splitlines()
    exec(compile("\n".join(lines[:-1]), name, "exec"), given)
    try:
        last = compile(lines[-1], name, "eval")
    except SyntaxError:
        exec(compile(lines[-1], name, "exec"), given)
        return given
    return eval(last, given)


def make_model(outputs=3):
    layers = OrderedDict(
        features=torch.nn.Linear(5, 12), relu=torch.nn.ReLU(), head=torch.nn.Linear(12, outputs)
    )
    return torch.nn.Sequential(layers)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return make_model()


@pytest.fixture
def x():
    return torch.randn(40, 5, generator=torch.Generator().manual_seed(1))


def activations(model, x):
    return torch.relu(model.features(x)).detach().numpy()


def test_hook(model, x):
    found = run("code-hook", model=model, x=x)
    assert isinstance(found, Measures)
    assert found == measure(activations(model, x), centred=True)
    assert not model.features._forward_hooks


def test_state_dict(model, x, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(model.state_dict(), "model.pt")
    table = run("code-state-dict")
    assert table.index.tolist() == ["features.weight", "head.weight"]
    expected = measure(model.features.weight.detach().numpy())
    assert table.loc["features.weight", "modes"] == expected.modes


def test_probe(x):
    y = np.random.default_rng(0).standard_normal(40)
    given = run("code-probe", x=x, make_model=lambda: make_model(1), y=y, noise=1.0)
    df, fitted = given["df"], given["fitted"]
    assert df.shape == (100,)
    assert df[0] == pytest.approx(0, abs=1e-3) and 1 < df[-1] < 40
    estimate = [((path - y) ** 2).mean() + 2 * d / 40 for path, d in zip(fitted, df, strict=True)]
    assert given["best_epoch"] == np.argmin(estimate) < 99  # pure noise: best early


def test_watch(model, x):
    pytest.importorskip("dlnlib.deep")
    table = run("code-watch", model=model, x=x)
    assert isinstance(table, pd.DataFrame) and table.index.tolist() == ["relu"]
    expected = measure(activations(model, x), centred=True)
    assert table.loc["relu", "modes"] == pytest.approx(expected.modes, rel=1e-6)


def test_end_to_end(x):
    pytest.importorskip("dlnlib.deep")
    torch.manual_seed(0)
    linear = torch.nn.Sequential(
        torch.nn.Linear(5, 8, bias=False), torch.nn.Linear(8, 3, bias=False)
    )
    linear(x).square().mean().backward()
    entropy, rate, by_mode = run("code-end-to-end", model=linear)
    whole = linear[1].weight.double() @ linear[0].weight.double()
    assert entropy == pytest.approx(map_entropy(whole.detach().numpy()), rel=1e-6)
    assert rate == pytest.approx(by_mode.sum()) != 0


def test_every_block_has_a_test():
    names = "hook", "state-dict", "probe", "watch", "end-to-end"
    assert set(BLOCKS) == {f"code-{name}" for name in names}
    assert TEXT.count("```{code-block} python") == len(BLOCKS)
