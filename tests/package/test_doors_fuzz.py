"""Random input to every public function: a finite answer, or a ValueError with the remedy.

A fixed sample runs with the tests; ``FUZZ=1000 pytest tests/package/test_doors_fuzz.py`` tries a
thousand fresh inputs per function.
"""

import math
import os
import signal

import doors
import jaxtyping
import numpy as np
import pytest

LONG = int(os.environ.get("FUZZ", "0"))
TRIES = LONG or 25
SECONDS = 60  # for one call; the slowest takes well below one
INFINITE = {  # what is documented to be infinite: it never comes, or there is no bound
    "stopping.mode_window",
    "stopping.memorisation_time",
    "stopping.spiked_draws",
    "random_matrix.critical_dimension",
}
NAN = {"sgd.train_diagonal", "sgd.train_relu", "sgd.sde_diagonal", "sgd.diagonal_sparsity"}
SPECIAL = [0, 1, 2, 3, -1, 0.5, 1e-300, 1e300, 1e-100, 1e100, 2**70, 10**30, math.inf, 0.1]
# A budget of time for an answer, not a measurement: sizes that ask for much work stay small.
SIZES = {"steps", "draws", "n_out", "n_in", "runs", "substeps", "record", "features", "n_test"}
SIZES |= {"modes", "count", "widths", "n", "d", "r", "n_train", "hidden", "branching", "t", "batch"}


def number(rng: np.random.Generator) -> float | int:
    """One number of any size, near one as often as far from it."""
    kind = rng.integers(6)
    if kind == 0:
        return SPECIAL[rng.integers(len(SPECIAL))]
    if kind == 1:
        return int(rng.integers(-2, 12))
    if kind == 2:
        return float(10.0 ** rng.uniform(-300, 300))
    if kind == 3:
        return float(10.0 ** rng.uniform(-10, 10))
    return float(rng.uniform(0, 4))


def small(rng: np.random.Generator) -> float | int:
    """A number that may count something, or a huge one, which must be refused at once."""
    return int(rng.integers(-1, 9)) if rng.random() < 0.8 else 10 ** int(rng.integers(12, 40))


def mutated(valid: object, rng: np.random.Generator, draw) -> object:
    """A valid argument with other numbers, or of another shape."""
    if isinstance(valid, bool):
        return valid
    if isinstance(valid, int | float):
        return draw(rng) if rng.random() < 0.9 else [draw(rng) for _ in range(rng.integers(4))]
    if isinstance(valid, list | tuple) and np.ndim(valid[0]) == 2:
        return [mutated(one, rng, draw) for one in valid]
    array = np.array(valid)
    if array.dtype == bool:
        return rng.random(array.shape) < 0.5
    shape = array.shape
    if rng.random() < 0.15:
        shape = tuple(int(rng.integers(0, 4)) for _ in range(rng.integers(0, 4)))
    values = [draw(rng) for _ in range(math.prod(shape))]
    if rng.random() < 0.3:
        values = sorted(values)
    if rng.random() < 0.3 and values:
        values = [values[0]] * len(values)
    mixed = np.array(values, dtype=object).reshape(shape).tolist()
    if rng.random() < 0.3 and array.shape == shape and array.size:  # one entry only
        mixed = array.astype(float)
        mixed.flat[rng.integers(array.size)] = min(float(draw(rng)), 1e300)
    return mixed


def finite(result: object) -> bool:
    """Whether all numbers of a result are finite."""
    if isinstance(result, np.ndarray | float | int):
        return bool(np.isfinite(np.asarray(result, dtype=float)).all())
    parts = result if isinstance(result, tuple | list) else getattr(result, "__dict__", {}).values()
    return all(map(finite, parts))


@pytest.mark.parametrize("name", [name for name in doors.NAMES if doors.numbers_of(name)])
def test_any_input_gives_a_finite_answer_or_the_remedy(name):
    jaxtyping.config.update("jaxtyping_disable", True)  # as users run it
    previous = signal.signal(signal.SIGALRM, _late)
    seed = [*name.encode(), int.from_bytes(os.urandom(4)) if LONG else 0]
    try:
        for one in range(TRIES):
            rng = np.random.default_rng([*seed, one])
            keys = doors.numbers_of(name)
            chosen = keys if one % 2 else [keys[rng.integers(len(keys))]]
            changed = {
                key: mutated(doors.arguments(name)[key], rng, small if key in SIZES else number)
                for key in chosen
            }
            signal.alarm(SECONDS)
            try:
                result = doors.call(name, **changed)
            except ValueError as error:
                assert ":" in str(error) or ";" in str(error), f"{changed}: {error}"
            except RuntimeError:  # documented: the computation was tried, and failed
                assert name in {"flow.gradient_descent", "flow.gradient_flow"}
            except BaseException as error:
                pytest.fail(f"{type(error).__name__} for {changed}: {error}", pytrace=bool(LONG))
            else:
                if name not in NAN | INFINITE:
                    assert finite(result), f"{changed} gave {result}"
                elif name in INFINITE:
                    assert not _has_nan(result), f"{changed} gave {result}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        jaxtyping.config.update("jaxtyping_disable", False)


def _has_nan(result: object) -> bool:
    if isinstance(result, np.ndarray | float | int):
        return bool(np.isnan(result).any())
    parts = result if isinstance(result, tuple | list) else getattr(result, "__dict__", {}).values()
    return any(map(_has_nan, parts))


def _late(*_):
    raise TimeoutError(f"no answer within {SECONDS} s")
