"""Activations by layer: all of them, unchanged, by the right names, or an error that says why."""

import threading
import tracemalloc
import warnings
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest

from dlnlib.measures import measure, measure_layers

torch = pytest.importorskip("torch")
F, nn = torch.nn.functional, torch.nn

from dlnlib.deep import watch  # noqa: E402
from dlnlib.deep.watch import ACTIVATIONS  # noqa: E402

INPUTS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def plain(**options):
    torch.manual_seed(1)
    layers = nn.Linear(4, 8), nn.ReLU(**options), nn.Linear(8, 5), nn.GELU(), nn.Linear(5, 2)
    return nn.Sequential(*layers)


class Functional(nn.Module):
    """Has a function where others have a module."""

    def __init__(self, function=F.relu):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last, self.function = nn.Linear(4, 8), nn.Linear(8, 2), function

    def forward(self, x):
        return self.last(self.function(self.first(x)))


class Returns(nn.Module):
    """Gives whatever a function makes of its input."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x):
        return self.output(x)


def by_hand(model, x=INPUTS):
    return np.maximum(model.first(x).detach().numpy(), 0)


def hooks_of(model):
    return [
        hook
        for module in model.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]


# what is seen


def test_all_activation_modules_by_their_names():
    model = plain()
    with watch(model) as seen:
        model(INPUTS)
    first = model[0](INPUTS).relu()
    assert list(seen) == ["1", "3"]
    np.testing.assert_array_equal(seen["1"], first.detach().numpy())
    np.testing.assert_array_equal(seen["3"], F.gelu(model[2](first)).detach().numpy())
    assert seen["1"].dtype == np.float32


def test_named_layers_and_patterns():
    model = nn.Sequential(OrderedDict(head=nn.Linear(4, 3), body=plain()[1:2], tail=nn.Identity()))
    for layers, names in ((["head"], ["head"]), ("b*", ["body.1", "body"]), ([""], [""])):
        with watch(model, layers) as seen:
            out = model(INPUTS)
        assert list(seen) == names
    np.testing.assert_array_equal(seen[""], out.detach().numpy())
    with watch(model, "*") as seen:
        model(INPUTS)
    assert list(seen) == ["head", "body.1", "body", "tail"]


def test_samples_of_all_batches_are_counted():
    """Not the last batch alone, nor one sample: rows are those of all calls, in their order."""
    model = plain()
    with watch(model) as whole:
        model(INPUTS)
    with watch(model) as seen:
        for batch in INPUTS.split([1, 3, 2]):
            model(batch)
    assert seen["1"].shape == (6, 8)
    np.testing.assert_allclose(seen["1"], whole["1"], atol=1e-6)
    assert seen.passed == {"1": 6, "3": 6}
    assert seen.table()["samples"].tolist() == [6, 6]


def test_feature_maps_keep_their_axes():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    with watch(model) as seen:
        model(torch.ones(5, 1, 8, 8))
    assert seen["1"].shape == (5, 3, 6, 6)
    assert seen.table().loc["1", "units"] == 108


def test_one_unit_is_a_column():
    model = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0), nn.ReLU())
    with watch(model) as seen:
        model(INPUTS)
    assert seen["2"].shape == (6, 1)


@pytest.mark.parametrize(
    ("kind", "stored"), [("float64", "float64"), ("bfloat16", "float32"), ("float16", "float32")]
)
def test_types_of_tensors(kind, stored):
    kind = getattr(torch, kind)
    model = plain().to(kind)
    with watch(model) as seen:
        model(INPUTS.to(kind))
    assert seen["1"].dtype == stored
    expected = model[0](INPUTS.to(kind)).relu().detach().to(getattr(torch, stored)).numpy()
    np.testing.assert_array_equal(seen["1"], expected)


def test_mixed_precision_and_inference_mode():
    model = plain()
    with watch(model) as seen, torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        model(INPUTS)
    rounded = torch.from_numpy(seen["1"].copy())
    assert torch.equal(rounded.bfloat16().float(), rounded)
    assert np.isfinite(seen.table()["modes"]).all()


# functions


@pytest.mark.parametrize(
    "function",
    [
        F.relu,
        torch.relu,
        torch.Tensor.relu,
        torch.relu_,
        lambda x: F.relu(x, inplace=True),
        lambda x: x.relu_(),
        torch.ops.aten.relu,
        torch.ops.aten.relu.default,
    ],
)
def test_functional_relu_has_the_name_of_the_module_around_it(function):
    """NeuroBench #107: there is no module to hook."""
    model = nn.Sequential(OrderedDict(block=Functional(function)))
    with watch(model) as seen:
        model(INPUTS)
    assert list(seen) == ["block.relu()"]
    np.testing.assert_array_equal(seen["block.relu()"], by_hand(model.block))


@pytest.mark.parametrize(
    "function", [lambda x: x.clamp(min=0), lambda x: torch.clip(x, 0), lambda x: x.clamp_min_(0.0)]
)
def test_a_clamp_at_zero_is_a_relu(function):
    model = Functional(function)
    with watch(model) as seen:
        model(INPUTS)
    (array,) = seen.values()
    np.testing.assert_array_equal(array, by_hand(model))
    other = Functional(lambda x: x.clamp(-1, 1))
    with pytest.raises(RuntimeError, match="no activation ran"), watch(other):
        other(INPUTS)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_each_activation_is_seen_as_a_module_and_as_a_function(kind):
    """The functions are not a list that could miss one: each module stands for its own."""
    given = {nn.Threshold: (0.1, 0.0)}.get(kind, ())
    module = kind(*given).eval()  # one of them is random in training
    outer = Returns(lambda x: module(x))  # a closure: no module of the model
    with watch(outer) as seen:
        outer(INPUTS)
    (array,) = seen.values()
    np.testing.assert_array_equal(array, module(INPUTS).detach().numpy())


def test_each_activation_module_has_its_own_name():
    for kind in ACTIVATIONS:
        model = nn.Sequential(kind(*{nn.Threshold: (0.1, 0.0)}.get(kind, ())))
        with watch(model) as seen:
            model(INPUTS)
        assert list(seen) == ["0"], kind


def test_modules_and_functions_in_one_model():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.act = Functional(), nn.ReLU(inplace=True)

        def forward(self, x):
            x = torch.relu(self.inner(x))
            return self.act(self.act(x) - 0.1).tanh()

    model = Mixed()
    with watch(model) as seen:
        model(INPUTS)
        model(INPUTS)
    assert list(seen) == ["inner.relu()", "relu()", "act#1", "act#2", "tanh()"]
    assert {len(array) for array in seen.values()} == {12}
    np.testing.assert_array_equal(seen["act#1"], seen["relu()"])
    np.testing.assert_allclose(np.tanh(seen["act#2"]), seen["tanh()"], atol=1e-6)
    assert seen["tanh()"].any()


def test_work_in_place_does_not_change_what_was_stored():
    model = plain(inplace=True)
    with watch(model, ["0", "1"]) as seen:
        model(INPUTS)
    assert seen["0"].min() < 0
    np.testing.assert_array_equal(seen["1"], np.maximum(seen["0"], 0))
    changed = Functional(lambda x: x.relu_().mul_(-3).add_(1))
    with watch(changed) as seen:
        changed(INPUTS)
    np.testing.assert_array_equal(seen["relu()"], by_hand(changed))


def test_a_shared_module_is_numbered_within_a_pass_alone():
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4), act)
    with watch(model) as seen:
        for batch in INPUTS.split(2):
            model(batch)
    assert {name: len(array) for name, array in seen.items()} == {"1#1": 6, "1#2": 6}
    assert not np.array_equal(seen["1#1"], seen["1#2"])
    with watch(model) as seen:
        act(INPUTS)
        act(INPUTS)  # two passes, through a part of the model
    assert {name: len(array) for name, array in seen.items()} == {"1": 12}
    with pytest.raises(ValueError, match="'3' is the same module as '1'"), watch(model, ["3"]):
        pass


def test_functions_by_name():
    model = nn.Sequential(Functional(), nn.ReLU())
    for layers, names in (("0.relu()", ["0.relu()"]), ("*relu()", ["0.relu()"]), (["1"], ["1"])):
        with watch(model, layers) as seen:
            model(INPUTS)
        assert list(seen) == names
    with pytest.raises(RuntimeError, match=r"gave nothing.*0\.gelu\(\)"), watch(model, "0.gelu()"):
        model(INPUTS)


def test_functions_outside_the_model_are_none_of_it():
    model = plain()
    with watch(model) as seen:
        F.relu(model(F.relu(INPUTS))).sum().backward()
    assert list(seen) == ["1", "3"]


def test_activations_that_a_transformer_fuses_are_seen():
    model = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    x = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), watch(model) as seen:
        out = model(x)
    assert seen["relu()"].shape == (6, 3, 8)
    torch.testing.assert_close(out, model(x))


# what is refused by name


def test_scripted_code_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hidden = torch.jit.script(lambda_free_relu)
        scripted = nn.Sequential(torch.jit.script(plain()), nn.ReLU())
    model = Functional(hidden)
    for _ in range(3):  # also when it has warmed up
        with pytest.raises(RuntimeError, match=r"relu\(\) hides activations"), watch(model):
            model(INPUTS)
    with watch(model, ["first"]) as seen:
        model(INPUTS)
    assert list(seen) == ["first"]
    for layers in (None, ["0.1"]):
        with pytest.raises(ValueError, match=r"layer '0.*' is scripted"), watch(scripted, layers):
            pass


def lambda_free_relu(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x)


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_recurrent_layers_are_refused(cell):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.act = cell(4, 3), nn.ReLU()

        def forward(self, x):
            return self.act(self.cell(x)[0])

    model = Model()
    with pytest.raises(RuntimeError, match=r"cell\.\w+\(\) hides activations"), watch(model):
        model(INPUTS)
    with watch(model, ["act"], any_rows=True) as seen:
        model(INPUTS)
    assert list(seen) == ["act"]


def test_branches_are_refused():
    def branched(x):
        return torch.cond(x.sum() > 0, torch.relu, torch.tanh, (x,))

    model = Functional(branched)
    with pytest.raises(RuntimeError, match=r"cond\(\) hides"), watch(model), torch.no_grad():
        model(INPUTS)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # by the compiler itself
@pytest.mark.parametrize("how", ["wrapped", "in place", "a function", "within the block"])
def test_compiled_code_rests_in_the_block(how):
    torch.compiler.reset()
    model = Functional()
    if how == "wrapped":
        run = torch.compile(model, backend="eager")
    elif how == "in place":
        model.compile(backend="eager")
        run = model
    else:
        model.function = torch.compile(lambda_free_relu, backend="eager")
        run = model
    if how != "within the block":
        run(INPUTS)
    with watch(run) as seen:
        run(INPUTS)
    (array,) = seen.values()
    np.testing.assert_array_equal(array, by_hand(model))


def test_another_thread_is_refused():
    """Where DataParallel has several devices, its copies run in threads of their own."""
    model, errors = plain(), []

    def call():
        try:
            model(INPUTS)
        except RuntimeError as error:
            errors.append(str(error))

    with watch(model) as seen:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        model(INPUTS)
    assert len(errors) == 1
    assert "watch and call model.module" in errors[0]
    assert len(seen["1"]) == 6


def test_data_parallel_on_one_device():
    model = nn.DataParallel(plain())
    with watch(model) as seen:
        model(INPUTS)
    assert list(seen) == ["module.1", "module.3"]


def test_a_layer_that_never_ran_is_named():
    model = plain()
    model.aux = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    body = model[:5]
    with pytest.raises(RuntimeError, match=r"gave nothing.*aux\.1"), watch(model, ["1", "aux.1"]):
        body(INPUTS)
    with pytest.warns(UserWarning, match=r"gave nothing.*: aux\.1;"), watch(model) as seen:
        body(INPUTS)
    assert list(seen) == ["1", "3"]
    with pytest.raises(KeyError, match=r"no layer 'aux.1' was seen"):
        seen["aux.1"]
    with pytest.raises(RuntimeError, match=r"gave nothing.*: 1, 3, aux\.1; call the model"):
        with watch(model):
            pass
    linear = nn.Linear(4, 2)
    with pytest.raises(RuntimeError, match="no activation ran"), watch(linear):
        linear(INPUTS)


def test_an_unknown_layer_lists_near_names():
    model = nn.Sequential(OrderedDict(conv1=nn.ReLU(), conv2=nn.ReLU(), head=nn.ReLU()))
    with pytest.raises(ValueError, match="no layer 'conv3'; near names are conv2, conv1"):
        with watch(model, ["conv3"]):
            pass
    with pytest.raises(ValueError, match="no layer 'x'; there are conv1, conv2, head"):
        with watch(model, ["x"]):
            pass


def test_what_has_no_samples_is_refused():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    with pytest.raises(ValueError, match=r"shape \(3,\) for an input of 4 samples.*x\[None\]"):
        with watch(model):
            model(INPUTS[0])
    total = nn.Sequential(OrderedDict(sum=Returns(torch.sum), act=nn.ReLU()))
    with pytest.raises(ValueError, match=r"'sum' gives the shape \(\)"), watch(total, ["sum"]):
        total(INPUTS)
    tokens = nn.Sequential(nn.Flatten(0, 1), nn.ReLU())
    with pytest.raises(ValueError, match="any_rows=True"), watch(tokens):
        tokens(torch.ones(2, 5, 3))
    with watch(tokens, any_rows=True) as seen:
        tokens(torch.ones(2, 5, 3))
    assert seen["1"].shape == (10, 3)


def test_tuples_and_dictionaries_give_their_parts():
    made = Returns(lambda x: {"logits": x, "hidden": (x + 1, None, [x * 2])})
    model = nn.Sequential(OrderedDict(head=made))
    with watch(model, ["head"]) as seen:
        model(INPUTS)
    assert list(seen) == ["head[logits]", "head[hidden][0]", "head[hidden][2][0]"]
    np.testing.assert_array_equal(seen["head[hidden][2][0]"], 2 * INPUTS.numpy())
    with pytest.raises(KeyError, match=r"near names are head\[logits\]"):
        seen["head"]
    words = nn.Sequential(OrderedDict(head=Returns(lambda x: (x, "word"))))
    with pytest.raises(ValueError, match=r"'head\[1\]' returns str"), watch(words, ["head"]):
        words(INPUTS)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (lambda x: x.to_sparse(), "no activations that an array could hold"),
        (lambda x: x + 1j, "it is complex"),
        (lambda x: x.to("meta"), "no activations that an array could hold"),
    ],
)
def test_what_is_no_array_is_refused(output, why):
    model = nn.Sequential(OrderedDict(odd=Returns(output)))
    with pytest.raises(ValueError, match=f"'odd'.*{why}"), watch(model, ["odd"]):
        model(INPUTS)


def test_vmap_is_refused():
    model = plain()
    with pytest.raises(ValueError, match="no activations that an array could hold"), watch(model):
        torch.func.vmap(lambda x: model(x[None])[0])(INPUTS)


def test_inputs_of_several_sizes_are_refused():
    model = nn.Sequential(nn.ReLU())
    with pytest.raises(ValueError, match=r"gave units of shape \(4,\) and now of \(3,\)"):
        with watch(model):
            model(INPUTS)
            model(INPUTS[:, :3])


@pytest.mark.usefixtures("no_shape_checks")
def test_no_module():
    with pytest.raises(ValueError, match=r"torch\.nn\.Module: got Tensor; for arrays"):
        with watch(INPUTS):
            pass


# what does not change


def test_outputs_gradients_and_modes_do_not_change():
    def trained(watched):
        torch.manual_seed(3)
        model = nn.Sequential(
            plain(), nn.BatchNorm1d(2), nn.Dropout(0.3), Returns(F.silu), nn.ELU()
        )
        model[0].eval()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        outputs = []
        for _ in range(3):
            if watched:
                with watch(model):
                    outputs.append(step(model, optimizer))
            else:
                outputs.append(step(model, optimizer))
        assert model.training
        assert not model[0].training
        return outputs + [p.detach() for p in model.parameters()] + [*model.buffers()]

    def step(model, optimizer):
        optimizer.zero_grad()
        out = model(INPUTS)
        out.square().sum().backward()
        optimizer.step()
        return out.detach()

    for one, other in zip(trained(True), trained(False), strict=True):
        assert torch.equal(one, other)


def test_no_graph_is_kept():
    model = plain()
    with watch(model) as seen:
        out = model(INPUTS)
    assert out.requires_grad
    assert all(type(array) is np.ndarray for array in seen.values())


def test_hooks_and_modes_go_with_the_block():
    model = plain()
    with watch(model), watch(model, ["0"]):
        assert hooks_of(model)
        model(INPUTS)
    assert not hooks_of(model)

    def broken():
        with watch(model):
            model(INPUTS)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):  # and not that of a layer that never ran
        broken()
    assert not hooks_of(model)
    assert torch.overrides._len_torch_function_stack() == 0
    with pytest.raises(ValueError, match="no layer"), watch(model, ["nope"]):
        pass
    assert not hooks_of(model)


def test_an_error_inside_the_model_leaves_the_names_right():
    model = nn.Sequential(Functional(), nn.ReLU())
    with watch(model) as seen:
        model(INPUTS)
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            model(INPUTS[:, :3])
        model(INPUTS)
        model(INPUTS)  # a pass of its own, whose calls are not numbered on
    assert {name: len(array) for name, array in seen.items()} == {"0.relu()": 18, "1": 18}


def test_nested_blocks_see_the_same():
    model = nn.Sequential(Functional(), nn.ReLU())
    with watch(model) as outer:
        model(INPUTS)
        with watch(model) as inner:
            model(INPUTS)
    assert list(outer) == list(inner) == ["0.relu()", "1"]
    assert len(outer["1"]) == 12
    np.testing.assert_array_equal(inner["0.relu()"], outer["0.relu()"][6:])


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_counts_each_sample_once(reentrant):
    from torch.utils.checkpoint import checkpoint

    block = nn.Sequential(Functional(), nn.ReLU())
    model = nn.Sequential(
        nn.Linear(4, 4), Returns(lambda x: checkpoint(block, x, use_reentrant=reentrant))
    )
    model.block = block
    model.forward = lambda x: model[1](model[0](x))
    with watch(model) as seen:
        nn.Module.__call__(model, INPUTS).sum().backward()
    rows = {name: len(array) for name, array in seen.items()}
    assert rows == {"block.0.relu()": 6, "block.1": 6}


# memory


def test_keep_counts_what_it_does_not_keep():
    model = plain()
    with watch(model) as whole:
        model(INPUTS)
    with watch(model, keep=4) as seen:
        for batch in INPUTS.split(3):
            model(batch)
    np.testing.assert_allclose(seen["1"], whole["1"][:4], atol=1e-6)
    assert seen.passed == {"1": 6, "3": 6}
    assert seen.table()["notes"].str.startswith("the first 4 of 6 samples").all()
    assert not whole.table()["notes"].str.contains("first").any()


def test_memory_is_bounded():
    model = nn.Sequential(nn.Linear(4, 1000), nn.ReLU())
    x = torch.ones(100, 4)
    with pytest.raises(MemoryError, match=r"more than 1e\+06 bytes, at layer '1'.*keep="):
        with watch(model, limit=1e6):
            for _ in range(4):
                model(x)
    with watch(model, limit=1e6, keep=200) as seen:
        tracemalloc.start()
        for _ in range(20):
            model(x)
        assert tracemalloc.get_traced_memory()[1] < 2e6
        tracemalloc.stop()
    assert seen.passed == {"1": 2000}
    assert not hooks_of(model)


# tables


def test_table_is_that_of_the_measures():
    model = plain()
    with watch(model, ["1"]) as seen:
        model(INPUTS)
    table = seen.table(correlation=0.5, centred=True)
    pd.testing.assert_frame_equal(
        table, measure_layers(dict(seen), correlation=0.5, centred=True).rename_axis("layer")
    )
    assert table.loc["1", "modes"] == measure(model[:2](INPUTS), centred=True).modes


def test_a_dead_layer_is_no_error_and_has_a_note():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    nn.init.constant_(model[0].bias, -100)
    with watch(model) as seen:
        model(INPUTS)
    row = seen.table().loc["1"]
    assert row["modes"] == row["rank"] == row["nonzero"] == 0
    assert "all entries are zero" in row["notes"]


def test_a_table_before_the_model_ran():
    model = plain()
    with watch(model) as seen:
        with pytest.raises(ValueError, match="nothing was seen yet"):
            seen.table()
        model(INPUTS)


def test_tables_over_a_training():
    model, tables = plain(), {}
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    for epoch in range(3):
        optimizer.zero_grad()
        model(INPUTS).square().sum().backward()
        optimizer.step()
        with watch(model) as seen, torch.no_grad():
            model(INPUTS)
        tables[epoch] = seen.table()
    table = pd.concat(tables, names=["epoch"])
    assert table.index.names == ["epoch", "layer"]
    assert table.loc[(2, "1"), "modes"] == measure(model[:2](INPUTS)).modes
    assert table.xs("1", level="layer")["modes"].nunique() == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_models_on_a_gpu():
    model = Functional().cuda()
    with watch(model) as seen:
        model(INPUTS.cuda())
    np.testing.assert_allclose(seen["relu()"], by_hand(model.cpu()), atol=1e-5)
