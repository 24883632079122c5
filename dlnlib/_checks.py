"""Validation shared by every module: one wording for each kind of bad input.

Each function returns the checked value as a float array (or a float), so that a public function
validates and converts in one line.  All errors are ``ValueError`` and end with the remedy.
"""

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

SIGN_HINT = "singular values are non-negative: move the sign into a singular vector"
START_HINT = "a=0 is a fixed point of the flow, so start from a small positive strength"


_PLAIN = {float, int, bool}
_SCALE = 1e70  # the fourth power of a matrix of this size, or of its inverse, is still a number


def as_numbers(name: str, value: object, hint: str = "") -> Float[np.ndarray, "..."]:
    """Array of floats, of any shape, that means what was given; it may hold NaN and infinity."""
    if type(value) is float or (type(value) is np.ndarray and value.dtype == np.float64):
        return np.asarray(value)  # nearly every call: nothing to ask
    with np.errstate(all="ignore"):
        return as_real(name, value, hint).astype(float, copy=False)


def as_real(name: str, value: object, hint: str = "") -> np.ndarray:
    """As `as_numbers`, in the type in which the numbers are kept: whole, or of less precision."""
    if reason := _loses(value):
        raise ValueError(f"{name} must hold plain real numbers: {reason}")
    try:
        with np.errstate(all="ignore"):
            array = np.asarray(value)
            if array.dtype == object and _is_plain(value):  # integers beyond 64 bits
                array = np.asarray(value, dtype=float)
            if array.dtype.kind not in "biuf":
                raise ValueError(_REMEDY.get(array.dtype.kind, _REMEDY["O"]))
            return array
    except Exception as error:  # whatever the conversion of a foreign object raises
        raise ValueError(
            f"{name} must be a rectangular array of real numbers: {error}" + (hint and f"; {hint}")
        ) from None


_REMEDY = {
    "c": "these are complex; take their real part or size, numpy.real or numpy.abs",
    "M": "these are dates; subtract the first and divide by a unit of time, as numpy.timedelta64",
    "m": "these are spans of time; divide them by one of them, as numpy.timedelta64(1, 's')",
    "U": "these are words; turn numerals into numbers by float, and classes into one-hot columns",
    "S": "these are bytes; turn numerals into numbers by float",
    "V": "these are records; give one array per field",
    "O": "these are objects, or values are missing; make a list of floats or a numeric array first",
}


def _loses(value: object) -> str:
    """What `numpy.asarray` would drop without a word, and the remedy."""
    kind = type(value)
    if kind is np.ndarray or kind in _PLAIN:
        return ""
    if isinstance(value, np.ma.MaskedArray):
        return "this is a masked array; drop its masked entries by compressed(), or fill them"
    if hasattr(kind, "toarray") or hasattr(kind, "todense"):
        return "this is a sparse array; give its toarray()"
    if hasattr(kind, "unit") or hasattr(kind, "units"):
        return "these carry a unit; divide by it first"
    if getattr(getattr(value, "dtype", None), "name", "") == "category":
        return "these are categories; turn them into one-hot columns, as pandas.get_dummies does"
    if isinstance(value, list | tuple) and not set(map(type, value)) <= _PLAIN:
        return next(filter(None, map(_loses, value)), "")
    return ""


def _is_plain(value: object) -> bool:
    """Whether nested lists hold Python's own numbers alone."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return type(value) in _PLAIN


def as_finite(name: str, value: ArrayLike, hint: str = "") -> Float[np.ndarray, "..."]:
    """Finite array of any shape."""
    array = as_numbers(name, value, hint)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity: remove or impute those entries first")
    return array


def as_common(**given: ArrayLike) -> list[Float[np.ndarray, "..."]]:
    """Finite arrays, made to have one shape."""
    arrays = [as_finite(name, value) for name, value in given.items()]
    try:
        return list(np.broadcast_arrays(*arrays))
    except ValueError:
        shapes = ", ".join(f"{name} {a.shape}" for name, a in zip(given, arrays, strict=True))
        raise ValueError(f"shapes do not fit together: {shapes}; give one of each") from None


def in_range(function: Callable) -> Callable:
    """Refuse the input for which a function with finite results leaves the range of floats."""

    @wraps(function)
    def checked(*args, **kwargs):
        try:
            with np.errstate(all="ignore"):
                result = function(*args, **kwargs)
        except (OverflowError, ZeroDivisionError):
            result = math.inf
        if not _is_finite(result):
            raise ValueError(
                f"{function.__name__} leaves the range of floating-point numbers with this input: "
                "choose units in which strengths, times and noise are nearer to one"
            )
        return result

    return checked


def _is_finite(result: object) -> bool:
    if type(result) is np.ndarray:
        return bool(np.isfinite(result).all())
    if hasattr(result, "__dict__"):
        return all(map(_is_finite, vars(result).values()))
    if isinstance(result, tuple | list):
        return all(map(_is_finite, result))
    return not isinstance(result, np.ndarray | float) or bool(np.isfinite(result).all())


def as_vector(name: str, value: ArrayLike) -> Float[np.ndarray, "n"]:
    """Finite one-dimensional array; a scalar becomes one entry."""
    array = np.atleast_1d(as_finite(name, value))
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
    array = as_finite(name, value)
    return as_nonnegative(name, array.ravel(), hint).reshape(array.shape) if array.size else array


def _one(name: str, array: Float[np.ndarray, "n"]) -> float:
    if array.size != 1:
        raise ValueError(f"{name} must be one number: got {array.size} of them; call once for each")
    return float(array[0])


def as_single(name: str, value: ArrayLike) -> float:
    """One number, which may be NaN or infinite: the caller says which it wants."""
    return _one(name, as_numbers(name, value).ravel())


def as_number(name: str, value: ArrayLike) -> float:
    """One finite number of any sign."""
    return _one(name, as_vector(name, value))


def as_scalar(name: str, value: ArrayLike, hint: str = "") -> float:
    """One positive finite number, such as the time constant tau or the step size."""
    return _one(name, as_positive(name, value, hint))


def as_amount(name: str, value: ArrayLike, hint: str = "") -> float:
    """One finite number that may be zero, such as the standard deviation of noise."""
    return _one(name, as_nonnegative(name, value, hint))


def as_size(name: str, value: ArrayLike, hint: str = "") -> float:
    """One positive number whose powers are numbers, too: the size of the entries of a matrix."""
    size = as_scalar(name, value, hint)
    if not 1 / _SCALE < size < _SCALE:
        raise ValueError(f"{name} must lie between {1 / _SCALE:g} and {_SCALE:g}: got {size:g}")
    return size


def as_fraction(name: str, value: ArrayLike, hint: str) -> float:
    """One number strictly between 0 and 1."""
    fraction = as_scalar(name, value)
    if fraction >= 1:
        raise ValueError(f"{name} must lie between 0 and 1: got {fraction:g}; {hint}")
    return fraction


def as_share(name: str, value: float, hint: str) -> float:
    """One number from 0 to 1."""
    share = as_single(name, value)
    if not 0 <= share <= 1:
        raise ValueError(f"{name} must lie in [0, 1]: got {share:g}; {hint}")
    return share


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
    if start.min() < 1e-300 or start.max() > _SCALE:
        raise ValueError(
            f"a0 must lie between 1e-300 and {_SCALE:g}: got {start.min():g} to {start.max():g}; "
            "beyond, its powers leave the range of floating-point numbers"
        )
    if start.size not in (1, modes):
        raise ValueError(f"a0 must be one number or one per mode: got {start.size} for {modes}")
    return np.array(np.broadcast_to(start, modes))


def as_matrix(
    name: str, value: ArrayLike, shape: tuple[int | None, int | None] = (None, None)
) -> Float[np.ndarray, "m n"]:
    """Finite matrix; ``shape`` fixes the sizes that are not None."""
    array = as_finite(name, value)
    if array.size and not 1 / _SCALE < (np.abs(array).max() or 1.0) < _SCALE:
        raise ValueError(
            f"{name} has a largest entry of {np.abs(array).max():g}: its powers leave the range of "
            f"floating-point numbers; choose a unit, for example divide {name} by that number"
        )
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


def as_list(name: str, value: object, hint: str) -> list:
    """The items of a list, a tuple or an array."""
    if reason := _loses(value):
        raise ValueError(f"{name} must hold plain real numbers: {reason}")
    if isinstance(value, str | bytes | dict) or not isinstance(value, Sequence | np.ndarray):
        raise ValueError(f"{name} must be a list: got {_shown(value)}; {hint}")
    return [value] if isinstance(value, np.ndarray) and value.ndim == 0 else list(value)


def as_widths(widths: Sequence[int], least: int = 3) -> list[int]:
    """Sizes of the layers, from input to output."""
    hint = "widths are input, hidden and output sizes"
    sizes = [as_count("widths", n, 1, hint) for n in as_list("widths", widths, hint)]
    if len(sizes) < least:
        raise ValueError(f"widths must list input, hidden and output sizes, each >= 1: got {sizes}")
    for n_in, n_out in pairwise(sizes):
        as_shape(n_out=n_out, n_in=n_in)
    return sizes


def as_weights(
    weights: Sequence[ArrayLike], n_out: int, n_in: int
) -> list[Float[np.ndarray, "_ _"]]:
    """Weight matrices W_1 ... W_L, first layer first, whose shapes chain from n_in to n_out."""
    weights = as_list("weights", weights, "pass them first layer first, as [W1, W2]")
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
    layers = as_numbers("depth", depth)
    whole = layers.size == 1 and not isinstance(depth, bool | np.bool_)
    if not whole or not (
        layers.item() == math.inf or (2 <= layers.item() <= _DEEPEST and layers.item() % 1 == 0)
    ):
        raise ValueError(
            f"depth must be an integer >= 2 or math.inf: got {_shown(depth)}; "
            f"it counts weight matrices, at most {_DEEPEST}; one hidden layer has depth 2"
        )
    return float(layers.item())


_DEEPEST = 1000  # a sum over the layers; beyond, infinite depth is as good
_MOST = 10**9  # numbers that an array may hold: 8 GB


def as_count(name: str, value: object, least: int, hint: str, most: int = _MOST) -> int:
    """Integer from ``least`` to ``most``."""
    try:
        masked = isinstance(value, bool | np.bool_ | np.ma.MaskedArray)
        count = least - 1 if masked else operator.index(value)
    except TypeError:
        count = least - 1
    if count < least:
        raise ValueError(f"{name} must be an integer >= {least}: got {_shown(value)}; {hint}")
    if count > most:
        raise ValueError(f"{name} must be at most {most:,}, to fit into memory: {hint}")
    return count


def as_shape(**sizes: int) -> None:
    """Refuse an array that no memory holds."""
    if math.prod(sizes.values()) > _MOST:
        raise ValueError(
            f"{' x '.join(sizes)} must be at most {_MOST:,} numbers, to fit into memory: got "
            f"{' x '.join(f'{size:,}' for size in sizes.values())}; choose smaller ones"
        )


def as_flag(name: str, value: object) -> bool:
    """Yes or no."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False: got {_shown(value)}")
    return bool(value)


def as_choice(name: str, value: object, options: Iterable[str]) -> str:
    """One of several words."""
    if not isinstance(value, str) or value not in options:
        shown = ", ".join(f'"{one}"' for one in options)
        raise ValueError(f"{name} must be one of {shown}: got {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """A short way to write what was given."""
    text = f"an integer of {value.bit_length()} bits" if _is_huge(value) else repr(value)
    return text if len(text) <= 80 else f"{type(value).__name__} {text[:60]}..."


def _is_huge(value: object) -> bool:
    return isinstance(value, int) and value.bit_length() > 200


def as_spiked(
    n_out: int, n_in: int, strengths: ArrayLike, noise: ArrayLike
) -> tuple[tuple[int, int], Float[np.ndarray, "r"], float]:
    """Shape, strengths and noise of a low-rank teacher that is seen through noise."""
    shape = (
        as_count("n_out", n_out, 1, "it is the number of outputs"),
        as_count("n_in", n_in, 1, "it is the number of inputs"),
    )
    as_shape(n_out=shape[0], n_in=shape[1])
    spikes = as_some("strengths", strengths, as_positive)
    level = as_amount("noise", noise, "it is a standard deviation")
    if max(level, spikes.max(initial=0)) >= _SCALE:
        raise ValueError(f"strengths and noise must be below {_SCALE:g}: choose another unit")
    if spikes.size > min(shape):
        raise ValueError(
            f"strengths must have at most min(n_out, n_in) = {min(shape)} entries: "
            f"got {spikes.size}; a matrix of that shape has no more singular values"
        )
    return shape, spikes, level


def as_some(
    name: str, value: ArrayLike, check: Callable[..., np.ndarray], hint: str = ""
) -> Float[np.ndarray, "n"]:
    """A vector that may also be empty."""
    array = as_finite(name, value)
    return check(name, array, hint) if array.size else np.empty(0)


def as_mask(signal: ArrayLike, n_modes: int) -> Bool[np.ndarray, "K"]:
    """Boolean mask over the modes, True for the signal."""
    as_numbers("signal", signal)
    mask = np.asarray(signal)
    if mask.dtype != bool or mask.shape != (n_modes,):
        raise ValueError(
            f"signal must be a boolean mask over the {n_modes} modes: got {mask.dtype} of shape "
            f"{mask.shape}; for the first r modes write numpy.arange({n_modes}) < r"
        )
    return mask
