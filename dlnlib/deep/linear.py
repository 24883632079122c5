"""The end-to-end map of linear layers that follow each other, and what its entropy does next."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import nn
from torch.fx import Graph, Node, symbolic_trace

from dlnlib._checks import as_flag
from dlnlib.deep.watch import ACTIVATIONS
from dlnlib.entropy import entropy_dynamics
from dlnlib.entropy.maps import singular_growth
from dlnlib.flow import product

_RESHAPES = "flatten", "reshape", "view"
_CONVOLUTIONS = nn.modules.conv._ConvNd


@dataclass(frozen=True)
class EndToEnd:
    """What `end_to_end` finds.

    Parameters
    ----------
    layers : tuple of L str
        Names of the linear layers, first layer first.
    weights : tuple of L ndarray
        ``W_l`` of shape (n_l, n_{l-1}), in double precision.
    map : (out, in) ndarray
        W_L ... W_1.
    strengths : (K,) ndarray
        Its singular values, the largest first.
    entropy : float
        Their spectral entropy H, in nats: `dlnlib.entropy.map_entropy` of the map.
    rate : float
        dH/dt under gradient flow on the loss whose gradients the weights hold, at its present
        point: a step of size lr takes the time lr.  NaN if they hold none.
    rate_by_mode : (K,) ndarray
        Part of each singular value in the rate, as `dlnlib.entropy.entropy_rate_by_mode`.  The
        parts of equal values depend on the choice of their vectors, and only their sum does not.
    """

    layers: tuple[str, ...]
    weights: tuple[Float[np.ndarray, "_ _"], ...]
    map: Float[np.ndarray, "out in"]
    strengths: Float[np.ndarray, "K"]
    entropy: float
    rate: float
    rate_by_mode: Float[np.ndarray, "K"]


def end_to_end(
    model: nn.Module, layers: Sequence[str] | None = None, *, drop_biases: bool = False
) -> EndToEnd:
    """Product of the weights of linear layers without anything between them.

    Parameters
    ----------
    model : torch.nn.Module
        Its forward pass is traced, not run, so that what lies between the layers is known.
    layers : list of str, optional
        Names of some ``nn.Linear``, as in ``model.named_modules()``, first layer first.  Without,
        the whole model must be linear.
    drop_biases : bool
        Whether layers may have biases, which are left out.  With biases the model is affine, and
        the product is its derivative by the inputs.

    Returns
    -------
    EndToEnd

    Notes
    -----
    For the phases of a training, stack the singular values after each time, and pass them to
    `dlnlib.entropy.mode_phases`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    >>> for layer, size in zip(model, (2.0, 1.0)):
    ...     layer.weight.data = size * torch.eye(2)
    >>> loss = (model(torch.eye(2)) - torch.diag(torch.tensor([5.0, 3.0]))).square().sum()
    >>> loss.backward()
    >>> found = end_to_end(model)
    >>> found.map.tolist(), round(found.entropy, 4)
    ([[2.0, 0.0], [0.0, 2.0]], 0.6931)
    >>> found.rate_by_mode.round(4).tolist()  # the first grows faster, at equal shares
    [3.4657, -3.4657]
    """
    drop_biases = as_flag("drop_biases", drop_biases)
    graph = _traced(model)
    if layers is None:
        names = _whole(model, graph)
    else:
        names = _between(model, graph, [layers] if isinstance(layers, str) else list(layers))
    chain = [model.get_submodule(name) for name in names]
    for name, layer in zip(names, chain, strict=True):
        if layer.bias is not None and not drop_biases:
            raise ValueError(
                f"layer {name!r} has a bias, so that the model is affine: build it with "
                "bias=False, or pass drop_biases=True for the product of the weights alone"
            )
    weights = [_as_double(layer.weight) for layer in chain]
    whole, velocity = product(weights), np.zeros((len(weights[-1]), weights[0].shape[1]))
    known = all(layer.weight.grad is not None for layer in chain)
    for place, layer in enumerate(chain if known else []):
        moved = -_as_double(layer.weight.grad)
        velocity = velocity + product([*weights[:place], moved, *weights[place + 1 :]])
    strengths, growth = singular_growth(whole, velocity)
    dynamics = entropy_dynamics(strengths, growth)
    return EndToEnd(
        layers=tuple(names),
        weights=tuple(weights),
        map=whole,
        strengths=strengths,
        entropy=float(dynamics.entropy),
        rate=float(dynamics.rate) if known else np.nan,
        rate_by_mode=dynamics.by_mode if known else np.full(strengths.size, np.nan),
    )


def _traced(model: nn.Module) -> Graph:
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model must be a torch.nn.Module: got {type(model).__name__}; for arrays use "
            "dlnlib.flow.product"
        )
    try:
        return symbolic_trace(model).graph
    except Exception as error:  # whatever the forward pass of a foreign model raises
        raise ValueError(
            f"the forward pass of {type(model).__name__} cannot be traced: {error}; give the part "
            "of the model that holds the layers, or their weights to dlnlib.flow.product"
        ) from None


def _whole(model: nn.Module, graph: Graph) -> list[str]:
    """Names of all layers, from the input to the output."""
    (output,) = (node for node in graph.nodes if node.op == "output")
    node, names = output.args[0], []
    if not isinstance(node, Node):
        raise ValueError("the model returns several outputs: name the layers of one chain")
    while node.op != "placeholder":
        if _is_linear(model, node):
            names.insert(0, node.target)
        elif not _passes(model, node) and not _flattens_input(model, node):
            raise ValueError(f"{_reason(model, node)}; {_chains(model, graph)}")
        node = node.all_input_nodes[0]
    if not names:
        raise ValueError("the model has no linear layer: give a model with nn.Linear")
    return names


def _between(model: nn.Module, graph: Graph, names: list[str]) -> list[str]:
    """The same names, if their layers follow each other."""
    nodes = {}
    for name in names:
        found = [node for node in graph.nodes if node.op == "call_module" and node.target == name]
        if len(found) != 1 or not _is_linear(model, found[0]):
            what = f"runs {len(found)} times" if len(found) != 1 else _reason(model, found[0])
            raise ValueError(f"layer {name!r}: {what}; {_chains(model, graph)}")
        nodes[name] = found[0]
    for first, second in pairwise(names):
        node = _source(model, nodes[second])
        if node is not nodes[first]:
            raise ValueError(
                f"layer {second!r} does not take what {first!r} gives: {_reason(model, node)}; "
                f"{_chains(model, graph)}"
            )
    return names


def _source(model: nn.Module, node: Node) -> Node:
    """What a layer takes, before anything that changes nothing."""
    node = node.all_input_nodes[0]
    return _source(model, node) if _passes(model, node) else node


def _chains(model: nn.Module, graph: Graph) -> str:
    """The remedy: all layers that do follow each other."""
    chains: list[list[Node]] = []
    for node in filter(lambda node: _is_linear(model, node), graph.nodes):
        before = [chain for chain in chains if chain[-1] is _source(model, node)]
        if before:
            before[0].append(node)
        else:
            chains.append([node])
    shown = [str([node.target for node in chain]) for chain in chains if len(chain) > 1]
    return "layers without anything between them are " + (", ".join(shown) or "none here")


def _module(model: nn.Module, node: Node) -> "nn.Module | None":
    return model.get_submodule(node.target) if node.op == "call_module" else None


def _is_linear(model: nn.Module, node: Node) -> bool:
    return isinstance(_module(model, node), nn.Linear)


def _passes(model: nn.Module, node: Node) -> bool:
    """Whether a node gives what it takes."""
    module = _module(model, node)
    quiet = isinstance(module, nn.modules.dropout._DropoutNd) and not module.training
    return quiet or isinstance(module, nn.Identity)


def _flattens_input(model: nn.Module, node: Node) -> bool:
    flat = isinstance(_module(model, node), nn.Flatten) or _function(node) in _RESHAPES
    return flat and _source(model, node).op == "placeholder"


def _function(node: Node) -> str:
    return node.target if node.op == "call_method" else getattr(node.target, "__name__", "")


def _reason(model: nn.Module, node: Node) -> str:
    """Why a node is no part of a product of weights."""
    module = _module(model, node)
    if module is None:
        if node.op == "placeholder":
            return "it takes an input of the model"
        return f"{_function(node) or node.name}() runs there, which is no linear layer"
    kind, why = type(module).__name__, "no linear layer"
    if isinstance(module, nn.Linear):
        why = "another linear layer"
    elif isinstance(module, ACTIVATIONS):
        why = "a nonlinearity"
    elif isinstance(module, _CONVOLUTIONS):
        why = "a convolution, whose map of images is no product of its weights"
    elif isinstance(module, nn.modules.dropout._DropoutNd):
        why = "random in training: call model.eval() first"
    return f"layer {node.target!r} ({kind}) is {why}"


def _as_double(weight: torch.Tensor) -> Float[np.ndarray, "_ _"]:
    return weight.detach().to("cpu", torch.float64, copy=True).numpy()
