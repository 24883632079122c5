"""Validation shared by every module: one wording for each kind of bad input.

Each function returns the checked value as a float array (or a float), so that a public function
validates and converts in one line.  All errors are ``ValueError`` and end with the remedy.
"""

import math
import operator
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

SIGN_HINT = "singular values are non-negative: move the sign into a singular vector"
START_HINT = "a=0 is a fixed point of the flow, so start from a small positive strength"


def _finite(name: str, value: ArrayLike) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a rectangular array of real numbers: {error}") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity: remove or impute those entries first")
    return array


def as_vector(name: str, value: ArrayLike) -> Float[np.ndarray, "n"]:
    """Finite one-dimensional array; a scalar becomes one entry."""
    array = np.atleast_1d(_finite(name, value))
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{name} must be a number or a non-empty one-dimensional array: "
            f"got shape {array.shape}; flatten it or loop over its rows"
        )
    return array


def as_nonnegative(name: str, value: ArrayLike, hint: str = "") -> Float[np.ndarray, "n"]:
    """Finite vector without negative entries."""
    array = as_vector(name, value)
    if (array < 0).any():
        raise ValueError(
            f"{name} must not be negative: got {array.min():g}" + (hint and f"; {hint}")
        )
    return array


def as_positive(name: str, value: ArrayLike, hint: str = "") -> Float[np.ndarray, "n"]:
    """Finite vector of strictly positive entries."""
    array = as_vector(name, value)
    if (array <= 0).any():
        raise ValueError(f"{name} must be positive: got {array.min():g}" + (hint and f"; {hint}"))
    return array


def as_shaped(name: str, value: ArrayLike, hint: str = "") -> Float[np.ndarray, "..."]:
    """Finite array of any shape, also empty, without negative entries."""
    shape = np.shape(value)
    if np.size(value) == 0:
        return np.zeros(shape)
    return as_nonnegative(name, np.ravel(value), hint).reshape(shape)


def _one(name: str, array: Float[np.ndarray, "n"]) -> float:
    if array.size != 1:
        raise ValueError(f"{name} must be one number: got {array.size} of them")
    return float(array[0])


def as_scalar(name: str, value: ArrayLike, hint: str = "") -> float:
    """One positive finite number, such as the time constant tau or the step size."""
    return _one(name, as_positive(name, value, hint))


def as_amount(name: str, value: ArrayLike, hint: str = "") -> float:
    """One finite number that may be zero, such as the standard deviation of noise."""
    return _one(name, as_nonnegative(name, value, hint))


def as_fraction(name: str, value: ArrayLike, hint: str) -> float:
    """One number strictly between 0 and 1."""
    fraction = as_scalar(name, value)
    if fraction >= 1:
        raise ValueError(f"{name} must lie between 0 and 1: got {fraction:g}; {hint}")
    return fraction


def as_share(name: str, value: float, hint: str) -> float:
    """One number from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1]: got {value:g}; {hint}")
    return float(value)


def as_times(t: ArrayLike) -> Float[np.ndarray, "T"]:
    """Time grid: one-dimensional, finite, non-negative, non-decreasing."""
    times = as_nonnegative("t", t, "the flow starts at t=0 and runs forward")
    if (np.diff(times) < 0).any():
        raise ValueError("t must not decrease: sort the times with numpy.sort first")
    return times


def as_curve(name: str, value: ArrayLike, t: Float[np.ndarray, "T"]) -> Float[np.ndarray, "T"]:
    """Finite vector with one entry per time."""
    curve = as_vector(name, value)
    if curve.size != t.size:
        raise ValueError(f"{name} needs one value per time: got {curve.size} for {t.size} times")
    return curve


def as_start(a0: ArrayLike, modes: int) -> Float[np.ndarray, "modes"]:
    """Strengths at t = 0, one per mode."""
    start = as_positive("a0", a0, START_HINT)
    if start.size not in (1, modes):
        raise ValueError(f"a0 must be one number or one per mode: got {start.size} for {modes}")
    return np.array(np.broadcast_to(start, modes))


def as_matrix(
    name: str, value: ArrayLike, shape: tuple[int | None, int | None] = (None, None)
) -> Float[np.ndarray, "m n"]:
    """Finite matrix; ``shape`` fixes the sizes that are not None."""
    array = _finite(name, value)
    if array.ndim != 2 or 0 in array.shape:
        shown = f"{name} must be a non-empty matrix: got shape {array.shape}"
        if array.ndim == 1:
            shown += f"; {name}[:, None] is a column"
        elif array.ndim > 2:
            shown += f"; {name}.reshape(len({name}), -1) has one row each"
        raise ValueError(shown)
    if any(want not in (None, have) for want, have in zip(shape, array.shape, strict=True)):
        wanted = " x ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(
            f"{name} must have shape {wanted}: got {array.shape[0]} x {array.shape[1]}; "
            "matrices map columns (inputs) to rows (outputs), so a transpose may be missing"
        )
    return array


def as_samples(
    x: ArrayLike, y: ArrayLike
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n"]]:
    """Inputs, one sample per row, and their labels."""
    inputs, labels = as_matrix("x", x), as_vector("y", y)
    if labels.size != len(inputs):
        raise ValueError(
            f"y needs one label per row of x: got {labels.size} for {len(inputs)} rows"
        )
    return inputs, labels


def as_pairs(
    x: ArrayLike | None, y: ArrayLike | None, suffix: str = ""
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n k"]]:
    """Inputs and outputs, one sample per row."""
    if x is None or y is None:
        raise ValueError("give both x_test and y_test, or neither")
    x, y = as_matrix("x" + suffix, x), as_matrix("y" + suffix, y)
    if len(x) != len(y):
        raise ValueError(
            f"x{suffix} and y{suffix} must have one row per sample: got {len(x)} and {len(y)} "
            "rows; transpose arrays that store samples as columns"
        )
    return x, y


def as_weights(
    weights: Sequence[ArrayLike], n_out: int, n_in: int
) -> list[Float[np.ndarray, "_ _"]]:
    """Weight matrices W_1 ... W_L, first layer first, whose shapes chain from n_in to n_out."""
    if len(weights) < 2:
        raise ValueError(
            f"a deep network needs at least two weight matrices: got {len(weights)}; "
            "pass them first layer first, as [W1, W2]"
        )
    checked: list[np.ndarray] = []
    for layer, weight in enumerate(weights, start=1):
        rows = n_out if layer == len(weights) else None
        columns = checked[-1].shape[0] if checked else n_in
        checked.append(as_matrix(f"W{layer}", weight, (rows, columns)))
    return checked


def as_depth(depth: float) -> float:
    """Number of weight matrices L: an integer from 2 on, or ``math.inf``."""
    if isinstance(depth, bool) or not (
        depth == math.inf or (depth >= 2 and float(depth).is_integer())
    ):
        raise ValueError(
            f"depth must be an integer >= 2 or math.inf: got {depth!r}; "
            "it counts weight matrices, so one hidden layer has depth 2"
        )
    return float(depth)


def as_count(name: str, value: object, least: int, hint: str) -> int:
    """Integer from ``least`` on."""
    try:
        count = operator.index(value)
    except TypeError:
        count = least - 1
    if count < least:
        raise ValueError(f"{name} must be an integer >= {least}: got {value!r}; {hint}")
    return count


def as_spiked(
    n_out: int, n_in: int, strengths: ArrayLike, noise: ArrayLike
) -> tuple[tuple[int, int], Float[np.ndarray, "r"], float]:
    """Shape, strengths and noise of a low-rank teacher that is seen through noise."""
    shape = (
        as_count("n_out", n_out, 1, "it is the number of outputs"),
        as_count("n_in", n_in, 1, "it is the number of inputs"),
    )
    spikes = as_positive("strengths", strengths) if np.size(strengths) else np.empty(0)
    level = as_amount("noise", noise, "it is a standard deviation")
    if spikes.size > min(shape):
        raise ValueError(
            f"strengths must have at most min(n_out, n_in) = {min(shape)} entries: "
            f"got {spikes.size}; a matrix of that shape has no more singular values"
        )
    return shape, spikes, level


def as_mask(signal: ArrayLike, n_modes: int) -> Bool[np.ndarray, "K"]:
    """Boolean mask over the modes, True for the signal."""
    mask = np.asarray(signal)
    if mask.dtype != bool or mask.shape != (n_modes,):
        raise ValueError(
            f"signal must be a boolean mask over the {n_modes} modes: got {mask.dtype} of shape "
            f"{mask.shape}; for the first r modes write numpy.arange({n_modes}) < r"
        )
    return mask
