"""Activations of any PyTorch model, by the names of its layers, without a change of the model."""

import difflib
import fnmatch
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from dlnlib._checks import as_count, as_flag, as_scalar
from dlnlib.measures import measure_layers

_NORMALISING = nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax
ACTIVATIONS = tuple(
    kind
    for kind in vars(nn.modules.activation).values()
    if isinstance(kind, type)
    and kind.__module__ == nn.modules.activation.__name__
    and not issubclass(kind, _NORMALISING)
)
_FUNCTIONS = frozenset(
    "celu elu expit gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu log_sigmoid "
    "log_sigmoid_forward logsigmoid mish prelu prelu_kernel relu relu6 rrelu rrelu_with_noise selu "
    "sigmoid silu softplus softshrink softsign special_expit tanh tanhshrink threshold".split()
)
_RECTIFIERS = "clamp", "clamp_min", "clip"  # with a lower end of zero
_FUSED = frozenset(
    "gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell".split()
)


class Activations(Mapping):
    """What a block of `watch` has seen: from the name of a layer to its activations.

    Keys are in the order in which the layers ran first.  Arrays are (n, ...), float64 where the
    model is and float32 otherwise, with one row for each sample of all batches.

    Read its arrays by name, ``seen["name"]``, or all of them by ``seen.items()``.
    """

    def __init__(self, keep: int | None, limit: float):
        self._keep, self._limit, self._bytes = keep, limit, 0
        self._blocks: dict[tuple[str, int], list[np.ndarray]] = {}
        self._passed: Counter = Counter()

    def _calls(self) -> dict[str, tuple[str, int]]:
        """Calls of a layer that runs once in a pass have its name, others a number as well."""
        several = {name for name, call in self._blocks if call > 1}
        return {
            f"{name}#{call}" if name in several else name: (name, call)
            for name, call in self._blocks
        }

    def __getitem__(self, name: str) -> Float[np.ndarray, "n ..."]:
        calls = self._calls()
        if name not in calls:
            raise KeyError(f"no layer {name!r} was seen; {_near(name, list(calls))}")
        blocks = self._blocks[calls[name]]
        if len(blocks) > 1:
            blocks[:] = [np.concatenate(blocks)]
        return blocks[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._calls())

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def passed(self) -> dict[str, int]:
        """Samples that have passed each layer, kept or not."""
        return {name: self._passed[call] for name, call in self._calls().items()}

    def table(self, **options: object) -> pd.DataFrame:
        """Measures of the layers, one row each.

        Parameters
        ----------
        **options
            As in `dlnlib.measures.measure`, for example ``correlation``, or ``units`` and ``rng``.

        Returns
        -------
        DataFrame
            Rows are layers and columns the fields of `dlnlib.measures.Measures`.  The notes of a
            row say which of the samples were kept.
        """
        if not self:
            raise ValueError("nothing was seen yet: call the model inside the block of watch")
        table = measure_layers(self, **options).rename_axis("layer")
        for name, passed in self.passed.items():
            if passed > (kept := len(self[name])):
                notes = [f"the first {kept} of {passed} samples", table.loc[name, "notes"]]
                table.loc[name, "notes"] = "; ".join(filter(None, notes))
        return table

    def add(self, name: str, call: int, value: torch.Tensor) -> None:
        """Copy one batch: `watch` calls this."""
        blocks = self._blocks.setdefault((name, call), [])
        self._passed[name, call] += len(value)
        room = None if self._keep is None else self._keep - sum(map(len, blocks))
        if room == 0:
            return
        if blocks and blocks[0].shape[1:] != value.shape[1:]:
            raise ValueError(
                f"layer {name!r} gave units of shape {blocks[0].shape[1:]} and now of "
                f"{tuple(value.shape[1:])}: watch inputs of one size, or pad them to it"
            )
        array = _as_array(name, value, room)
        blocks.append(array)
        self._bytes += array.nbytes
        if self._bytes > self._limit:
            raise MemoryError(
                f"activations take more than {self._limit:.3g} bytes, at layer {name!r}: keep "
                "fewer samples by keep=, name fewer layers, or raise limit="
            )


@contextmanager
def watch(
    model: nn.Module,
    layers: str | Sequence[str] | None = None,
    *,
    keep: int | None = None,
    limit: float = 2e9,
    any_rows: bool = False,
) -> Iterator[Activations]:
    """Collect the activations of a model while it runs in a ``with`` block.

    Neither outputs nor gradients nor the mode of the model change, and its hooks go with the block.
    Samples of several batches are stacked.

    Parameters
    ----------
    model : torch.nn.Module
        Called in the block as often as you like, in the mode and on the device of your choice.
    layers : str or list of str, optional
        Names of layers as in ``model.named_modules()``, or patterns such as ``"block*.conv"``; a
        name that ends with ``()`` is a function.  Without, all activations: modules such as ReLU,
        and functions such as ``F.relu(x)``, ``x.relu()`` or ``x.clamp(min=0)``.
    keep : int, optional
        Keep the first so many samples of each layer, and count the others.
    limit : float
        Bytes that all arrays may take together; beyond, a MemoryError names the layer.
    any_rows : bool
        Take layers whose first axis is not that of the input, as where the tokens of all samples
        are rows.

    Yields
    ------
    Activations
        Maps names to arrays (n, ...); its ``table()`` has the measures of all layers.

    Raises
    ------
    RuntimeError
        If a named layer does not run in the block, or activations run where they cannot be seen.

    Notes
    -----
    *Names.*  A function is called by the module that calls it: ``block1.relu()``.  What runs
    several times in a pass gets numbers: ``relu#1``, ``relu#2``.  A tuple or a dictionary gives
    ``lstm[0]`` or ``head[logits]``.

    *Compiled code* of ``torch.compile`` runs as plain Python in the block, so that its layers are
    seen.  Scripted code, and the recurrent layers of PyTorch, hide their activations and are
    refused, unless ``layers`` names others.

    *What cannot be seen*: a rectifier that is written as arithmetic, ``x * (x > 0)``, or is part
    of a kernel of your own.  Name the module around it.  Softmax is no activation here.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> with watch(model) as seen:
    ...     for batch in torch.ones(30, 4).split(10):
    ...         _ = model(batch)
    >>> {name: array.shape for name, array in seen.items()}
    {'1': (30, 8)}
    >>> seen.table(correlation=0.95)["rank"]  # all samples are the same one
    layer
    1    1
    Name: rank, dtype: int64

    Over training, a dictionary of tables is a table:

    >>> tables = {epoch: seen.table() for epoch in (0, 1)}  # train in between
    >>> pd.concat(tables, names=["epoch"])["modes"].round(6)
    epoch  layer
    0      1        1.0
    1      1        1.0
    Name: modes, dtype: float64
    """
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model must be a torch.nn.Module: got {type(model).__name__}; for arrays, and for "
            "weights, use dlnlib.measures.measure"
        )
    keep = None if keep is None else as_count("keep", keep, 1, "it is the number of samples")
    seen = Activations(keep, as_scalar("limit", limit))
    recorder = _Recorder(model, layers, seen, as_flag("any_rows", any_rows))
    with ExitStack() as on_exit:
        for name, module in recorder.modules.items():
            enter, leave = partial(recorder.enter, name), partial(recorder.leave, name)
            hooks = (
                module.register_forward_pre_hook(enter, with_kwargs=True),
                module.register_forward_hook(leave, always_call=True),
            )
            for hook in hooks:
                on_exit.callback(hook.remove)
        on_exit.enter_context(_Guard(recorder))
        on_exit.enter_context(_Functions(recorder))
        yield seen
    recorder.assert_all_ran()


class _Recorder:
    """Where a model is in its forward pass, and what is to be recorded there."""

    def __init__(self, model, layers, seen: Activations, any_rows: bool):
        self.patterns = [layers] if isinstance(layers, str) else layers and list(layers)
        self.modules = dict(model.named_modules())
        self.chosen = _chosen(model, self.patterns)
        scripted = {n for n, m in self.modules.items() if isinstance(m, torch.jit.ScriptModule)}
        for name in scripted & self.chosen if layers else scripted:
            raise ValueError(
                f"layer {name!r} is scripted and hides its activations: watch the model that it "
                "was made from, or name other layers"
            )
        self.seen, self.any_rows, self.thread = seen, any_rows, threading.get_ident()
        self.path: list[str] = []  # modules that are running, innermost last
        self.calls: Counter = Counter()  # in this pass
        self.rows: int | None = None  # samples of this pass
        self.ran: set[str] = set()
        self.hidden: list[str] = []  # activations that ran and could not be seen
        self.inside = 0  # functions of PyTorch that are running, as far as Python sees them

    def enter(self, name: str, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if threading.get_ident() != self.thread:
            raise RuntimeError(
                "the model runs in another thread than the block of watch, as in DataParallel: "
                "watch and call model.module"
            )
        if not self.path:
            self.calls.clear()
            inputs = [
                x for _, x in _parts([args, kwargs]) if isinstance(x, torch.Tensor) and x.ndim
            ]
            self.rows = len(inputs[0]) if inputs else None
        self.path.append(name)

    def leave(self, name: str, module: nn.Module, args: tuple, output: object) -> None:
        if self.path and self.path[-1] == name:  # else a hook before ours has failed
            self.path.pop()
        if self.hidden:
            raise RuntimeError(
                f"{self.hidden.pop()} hides activations from Python, as scripted functions, "
                "recurrent layers and torch.cond do: write it in Python, or name the layers to "
                "watch by layers="
            )
        if name in self.chosen:
            self.record(name, output)

    def function(self, name: str, use: Callable[[str], None]) -> None:
        """A function of PyTorch ran; ``use`` takes its name if it is to be recorded."""
        if not self.path or isinstance(self.modules[self.path[-1]], ACTIVATIONS) or _in_backward():
            return
        full = f"{self.path[-1]}.{name}()".removeprefix(".")
        if self.patterns is None or any(fnmatch.fnmatchcase(full, p) for p in self.patterns):
            use(full)

    def record(self, name: str, output: object) -> None:
        if output is None or _in_backward():
            return
        self.ran.add(name)
        self.calls[name] += 1
        for part, value in _parts(output):
            if isinstance(value, torch.Tensor):
                self._assert_rows(name + part, value)
                column = value[:, None] if value.ndim == 1 else value
                self.seen.add(name + part, self.calls[name], column)
            elif value is not None:
                raise ValueError(
                    f"layer {name + part!r} returns {type(value).__name__}, no tensor: name a "
                    "layer inside it"
                )

    def _assert_rows(self, name: str, value: torch.Tensor) -> None:
        if value.ndim == 0 or (self.rows not in (None, len(value)) and not self.any_rows):
            rows = "an input" if self.rows is None else f"an input of {self.rows} samples"
            raise ValueError(
                f"layer {name!r} gives the shape {tuple(value.shape)} for {rows}: the first axis "
                "must count samples; name other layers, add the axis to a single sample by "
                "x[None], or take these rows as they are by any_rows=True"
            )

    def assert_all_ran(self) -> None:
        functions = [p for p in self.patterns or [] if p.endswith("()")]
        silent = [name for name in self.modules if name in self.chosen - self.ran]
        silent += [p for p in functions if not fnmatch.filter(self.ran, p)]
        if not self.ran and not silent:
            raise RuntimeError(
                "no activation ran in the block: call the model there, and name the layers of a "
                "model without activations"
            )
        if silent:
            message = f"layers that gave nothing in the block of watch: {', '.join(silent)}"
            if self.patterns is not None or not self.ran:
                raise RuntimeError(f"{message}; call the model in it, or name the layers that run")
            warnings.warn(f"{message}; name the layers that run", stacklevel=4)


class _Functions(TorchFunctionMode):
    """Records the activations that are functions and no modules."""

    def __init__(self, recorder: _Recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = _name(func)
        if name in _FUSED:
            self.recorder.function(name, self.recorder.hidden.append)
        self.recorder.inside += 1
        try:
            result = func(*args, **kwargs)
        finally:
            self.recorder.inside -= 1
        if _is_activation(name, args, kwargs):
            self.recorder.function(name, lambda full: self.recorder.record(full, result))
        return result


class _Guard(TorchDispatchMode):
    """Finds activations that no function in Python has shown; torch.compile rests meanwhile."""

    supports_higher_order_operators = True  # torch.cond and its kind, whose branches nobody sees

    def __init__(self, recorder: _Recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name, branches = _name(func), isinstance(func, torch._ops.HigherOrderOperator)
        if branches or (not self.recorder.inside and _is_activation(name, args, kwargs)):
            self.recorder.function(name, self.recorder.hidden.append)
        return func(*args, **kwargs)


def _name(func: object) -> str:
    """Without the underscores of in-place and internal variants: relu of ``relu_.default``."""
    return getattr(func, "__name__", "").split(".")[0].strip("_")


def _is_activation(name: str, args: Sequence, kwargs: Mapping) -> bool:
    if name in _RECTIFIERS:
        low = kwargs.get("min", args[1] if len(args) > 1 else None)
        return isinstance(low, int | float) and low == 0
    return name in _FUNCTIONS


def _in_backward() -> bool:
    """Whether this is the backward pass, in which checkpointing runs layers a second time."""
    return torch._C._current_graph_task_id() != -1


def _chosen(model: nn.Module, patterns: list[str] | None) -> set[str]:
    """Names of the modules whose outputs are wanted."""
    modules = dict(model.named_modules())
    if patterns is None:
        return {name for name, module in modules.items() if isinstance(module, ACTIVATIONS)}
    chosen, every = set(), dict(model.named_modules(remove_duplicate=False))
    for pattern in patterns:
        found = {name for name in modules if fnmatch.fnmatchcase(name, pattern)}
        if pattern not in modules and pattern in every:
            first = next(name for name, module in modules.items() if module is every[pattern])
            raise ValueError(f"layer {pattern!r} is the same module as {first!r}: name that one")
        if not found and not pattern.endswith("()"):
            raise ValueError(f"the model has no layer {pattern!r}; {_near(pattern, list(every))}")
        chosen |= found if pattern == "" else found - {""}
    return chosen


def _near(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, 4, 0.4)
    shown = close or [name for name in names if name][:8]
    return ("near names are " if close else "there are ") + (", ".join(shown) or "none")


def _parts(value: object, part: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of nested tuples, lists and dictionaries, with their places."""
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, tuple | list):
        items = enumerate(value)
    else:
        yield part, value
        return
    for key, item in items:
        yield from _parts(item, f"{part}[{key}]")


def _as_array(name: str, value: torch.Tensor, rows: int | None) -> Float[np.ndarray, "n ..."]:
    """A copy of the first rows, so that what works in place later does not change it."""
    kind = torch.float64 if value.dtype == torch.float64 else torch.float32
    try:
        if value.is_complex():
            raise ValueError("it is complex")
        return value.detach()[:rows].to("cpu", kind, copy=True).numpy()
    except Exception as error:  # sparse, quantised, without data, inside torch.vmap, ...
        raise ValueError(
            f"layer {name!r} has no activations that an array could hold: {error}; name others"
        ) from None
