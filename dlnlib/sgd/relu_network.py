"""The shape of a ReLU network: predictions, gradients and Jacobians of one or many parameters."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from dlnlib._checks import (
    as_count,
    as_list,
    as_matrix,
    as_nonnegative,
    as_numbers,
    as_samples,
    as_vector,
    in_range,
)

_WIDTHS = "the widths are inputs, hidden layers, then 1 output, as in (1, 100, 1)"


@dataclass(frozen=True)
class ReLUNetwork:
    """The shape of a network; its methods take the parameters, of one network or of many.

    Parameters
    ----------
    widths : tuple of int
        Numbers of inputs, of units in each hidden layer, and 1.
    biases : bool or tuple of bool
        Whether each layer has biases, the first hidden layer first.

    Examples
    --------
    >>> network = ReLUNetwork((2, 3, 1), biases=(True, False))
    >>> theta = network.pack([[[1, 0], [0, 1], [1, 1]], [[1, 1, -1]]], [[0, 0, -1], None])
    >>> network.predict(theta, [[1.0, 0.5], [0.2, 0.2]]).tolist()
    [1.0, 0.4]
    """

    widths: tuple[int, ...]
    biases: bool | tuple[bool, ...] = True

    def __post_init__(self):
        widths = tuple(
            as_count("widths", width, 1, _WIDTHS)
            for width in as_list("widths", self.widths, _WIDTHS)
        )
        if len(widths) < 3 or widths[-1] != 1:
            raise ValueError(f"widths must have a hidden layer and one output: {_WIDTHS}")
        biases = self.biases
        biases = (biases,) * (len(widths) - 1) if isinstance(biases, bool) else tuple(biases)
        if len(biases) != len(widths) - 1:
            raise ValueError(
                f"biases needs one entry per layer: got {len(biases)} for {len(widths) - 1} layers"
            )
        object.__setattr__(self, "widths", widths)
        object.__setattr__(self, "biases", biases)

    @property
    def blocks(self) -> Int[np.ndarray, "L"]:
        """Number of parameters in each layer."""
        inputs = np.array(self.widths[:-1]) + np.array(self.biases)
        return inputs * np.array(self.widths[1:])

    @property
    def n_parameters(self) -> int:
        """Number P of parameters."""
        return int(self.blocks.sum())

    def pack(
        self, weights: list[ArrayLike], biases: list[ArrayLike | None] | None = None
    ) -> Float[np.ndarray, "P"]:
        """Parameters (P,) from weights (out, in) and biases (out,) of the layers, None for none."""
        rows, weights = [], as_list("weights", weights, "one matrix per layer")
        if len(weights) != len(self.blocks):
            raise ValueError(f"weights needs one matrix per layer: got {len(weights)}")
        given = [None] * len(self.blocks) if biases is None else biases
        for layer, (weight, bias, has) in enumerate(zip(weights, given, self.biases, strict=True)):
            shape = self.widths[layer + 1], self.widths[layer]
            rows.append(as_matrix(f"W{layer + 1}", weight, shape).T.ravel())
            if has != (bias is not None):
                raise ValueError(f"layer {layer + 1}: the network and the biases given disagree")
            if has:
                rows.append(as_vector(f"b{layer + 1}", bias))
        return np.concatenate(rows)

    def weights(self, theta: ArrayLike) -> list[Float[np.ndarray, "... _ _"]]:
        """Weights (..., out, in) of the layers, as views of the parameters (..., P)."""
        return [block[..., :m, :].swapaxes(-1, -2) for block, m in self._layers(theta)]

    def bias_vectors(self, theta: ArrayLike) -> list[Float[np.ndarray, "... _"] | None]:
        """Biases (..., out) of the layers, or None, as views of the parameters (..., P)."""
        pairs = zip(self._layers(theta), self.biases, strict=True)
        return [block[..., m, :] if has else None for (block, m), has in pairs]

    @in_range
    def predict(self, theta: ArrayLike, x: ArrayLike) -> Float[np.ndarray, "... n"]:
        """Predictions (..., n) for the inputs (n, in), one row per sample.

        Terms are added one after another, so that the result is the same on every machine.
        """
        return self._outputs(theta, x)[-1][..., 0]

    @in_range
    def features(self, theta: ArrayLike, x: ArrayLike) -> list[Float[np.ndarray, "... n _"]]:
        """Units (..., n, width) of the hidden layers, the first one first."""
        return self._outputs(theta, x)[1:-1]

    @in_range
    def loss(self, theta: ArrayLike, x: ArrayLike, y: ArrayLike) -> Float[np.ndarray, "..."]:
        """Mean square of the residuals, (...)."""
        return np.asarray(np.mean(self._residual(theta, x, y) ** 2, axis=-1))

    @in_range
    def gradient(self, theta: ArrayLike, x: ArrayLike, y: ArrayLike) -> Float[np.ndarray, "... P"]:
        """Gradient (..., P) of the loss."""
        residual = self._residual(theta, x, y)
        jacobian = self.jacobian(theta, x)
        return 2 / residual.shape[-1] * (residual[..., None, :] @ jacobian)[..., 0, :]

    @in_range
    def jacobian(self, theta: ArrayLike, x: ArrayLike) -> Float[np.ndarray, "... n P"]:
        """Gradients (..., n, P) of the predictions, one row per sample, all samples at once."""
        outputs, blocks = self._outputs(theta, x), self._layers(theta)
        rows = np.empty((*outputs[-1].shape[:-1], self.n_parameters))
        ends, slope = np.cumsum(self.blocks), np.ones(outputs[-1].shape)
        for layer in range(len(blocks) - 1, -1, -1):
            (block, m), h = blocks[layer], outputs[layer]
            start, k = ends[layer] - self.blocks[layer], self.widths[layer + 1]
            weights = h[..., :, None] * slope[..., None, :]
            rows[..., start : start + m * k] = weights.reshape(*rows.shape[:-1], m * k)
            if self.biases[layer]:
                rows[..., start + m * k : ends[layer]] = slope
            if layer:
                slope = (slope @ block[..., :m, :].swapaxes(-1, -2)) * (h > 0)
        return rows

    def _residual(self, theta: ArrayLike, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        return self.predict(theta, x) - as_samples(x, y)[1]

    def _layers(self, theta: ArrayLike) -> list[tuple[np.ndarray, int]]:
        """The block (..., m + has bias, k) of each layer, with m."""
        theta = as_numbers("theta", theta)
        if theta.shape[-1:] != (self.n_parameters,):
            raise ValueError(
                f"theta must have {self.n_parameters} parameters in its last axis for the widths "
                f"{self.widths}: got shape {theta.shape}; make it with pack"
            )
        if not np.isfinite(theta).all():
            raise ValueError("theta holds NaN: the run diverged; take the runs that survived")
        shapes = zip(np.cumsum(self.blocks), self.widths[:-1], self.widths[1:], strict=True)
        return [
            (theta[..., end - size : end].reshape(*theta.shape[:-1], size // k, k), m)
            for (end, m, k), size in zip(shapes, self.blocks, strict=True)
        ]

    def _outputs(self, theta: ArrayLike, x: ArrayLike) -> list[Float[np.ndarray, "... n _"]]:
        """Inputs and outputs (..., n, width) of all layers."""
        x = as_matrix("x", x, (None, self.widths[0]))
        layers = self._layers(theta)
        outputs = [x]
        for layer, ((block, m), has) in enumerate(zip(layers, self.biases, strict=True)):
            z = np.zeros((*block.shape[:-2], len(x), block.shape[-1]))
            if has:
                z += block[..., m, None, :]
            for row in range(m):
                z += outputs[-1][..., row, None] * block[..., row, None, :]
            outputs.append(z if layer == len(layers) - 1 else np.maximum(z, 0))
        return outputs


def gaussian_start(
    network: ReLUNetwork, scales: ArrayLike, *, rng: np.random.Generator, runs: int = 1
) -> Float[np.ndarray, "runs P"]:
    """Random parameters: Gaussian weights, and biases uniform within 1/sqrt(inputs).

    Parameters
    ----------
    network : ReLUNetwork
    scales : float or (L,) array_like
        Standard deviations of the weights, one for all layers or one per layer.
    rng : numpy.random.Generator
    runs : int
        Number of starts.

    Returns
    -------
    (runs, P) ndarray

    Examples
    --------
    >>> network = ReLUNetwork((2, 3, 1), biases=False)
    >>> gaussian_start(network, [1.0, 0.0], rng=np.random.default_rng(0), runs=4).shape
    (4, 9)
    """
    scales = as_nonnegative("scales", scales, "it is a standard deviation")
    if scales.size not in (1, len(network.biases)):
        raise ValueError(f"scales needs one entry, or one per layer: got {scales.size}")
    theta = np.zeros(
        (as_count("runs", runs, 1, "it is the number of starts"), network.n_parameters)
    )
    scales = np.broadcast_to(scales, len(network.biases))
    for start in theta:
        for weight, scale in zip(network.weights(start), scales, strict=True):
            weight[...] = scale * rng.standard_normal(weight.shape)
        for bias, inputs in zip(network.bias_vectors(start), network.widths[:-1], strict=True):
            if bias is not None:
                bias[...] = rng.uniform(-1, 1, bias.shape) / np.sqrt(inputs)
    return theta
