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
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

LONG = int(os.environ.get("FUZZ", "0"))
SECONDS = 60  # of computing for one call; the slowest take about ten
INFINITE = {  # what is documented to be infinite: it never comes, or there is no bound
    "stopping.mode_window",
    "stopping.memorisation_time",
    "stopping.spiked_draws",
    "random_matrix.critical_dimension",
}
NAN = {"sgd.train_diagonal", "sgd.train_relu", "sgd.sde_diagonal", "sgd.diagonal_sparsity"}
NAN |= {"measures.measure"}  # the entropy of no energy, the coefficient of negative entries
SPECIAL = [0, 1, 2, 3, -1, 0.5, 1e-300, 1e300, 1e-100, 1e100, 2**70, 10**30, math.inf, 0.1]
# A budget of time for an answer, not a measurement: sizes that ask for much work stay small.
SIZES = {"steps", "draws", "n_out", "n_in", "runs", "substeps", "record", "features", "n_test"}
SIZES |= {"modes", "count", "widths", "n", "d", "r", "n_train", "hidden", "branching", "t", "batch"}


def power_of_ten(least: int, most: int) -> st.SearchStrategy[float]:
    """Numbers of any size, each order of magnitude as often as another."""
    return st.floats(least, most).map(lambda exponent: 10.0**exponent)


near_one = st.floats(0, 4)
number = st.one_of(
    near_one,
    near_one,
    st.integers(-2, 11),
    power_of_ten(-10, 10),
    power_of_ten(-300, 300),
    st.sampled_from(SPECIAL),
)
# Counts something, or is huge and must be refused at once.
size = st.integers(-1, 8) | st.integers(12, 39).map(lambda exponent: 10**exponent)


@st.composite
def mutated(draw, valid: object, entry: st.SearchStrategy) -> object:
    """A valid argument with other numbers, or of another shape."""
    if isinstance(valid, bool):
        return valid
    if isinstance(valid, int | float):
        return draw(st.one_of(*[entry] * 9, st.lists(entry, max_size=3)))
    if isinstance(valid, list | tuple) and np.ndim(valid[0]) == 2:
        return [draw(mutated(one, entry)) for one in valid]
    array = np.array(valid)
    if array.dtype == bool:
        flags = draw(st.lists(st.booleans(), min_size=array.size, max_size=array.size))
        return np.reshape(flags, array.shape)
    kind = draw(
        st.sampled_from(["as it is"] * 3 + ["another shape", "sorted", "equal", "one entry"])
    )
    if kind == "one entry" and array.size:
        changed = array.astype(float)
        changed.flat[draw(st.integers(0, array.size - 1))] = min(float(draw(entry)), 1e300)
        return changed
    shape = array.shape
    if kind == "another shape":
        shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    count = math.prod(shape)
    values = draw(st.lists(entry, min_size=count, max_size=count))
    if kind == "sorted":
        values = sorted(values)
    if kind == "equal":
        values = values[:1] * count
    return np.array(values, dtype=object).reshape(shape).tolist()


@st.composite
def inputs(draw, name: str) -> dict[str, object]:
    """Other values for one argument, or for all of them."""
    keys = doors.numbers_of(name)
    chosen = draw(st.one_of(st.just(keys), st.sampled_from(keys).map(lambda key: [key])))
    valid = doors.arguments(name)
    return {key: draw(mutated(valid[key], size if key in SIZES else number)) for key in chosen}


def finite(result: object) -> bool:
    """Whether all numbers of a result are finite."""
    if isinstance(result, np.ndarray | float | int):
        return bool(np.isfinite(np.asarray(result, dtype=float)).all())
    parts = result if isinstance(result, tuple | list) else getattr(result, "__dict__", {}).values()
    return all(map(finite, parts))


@pytest.fixture
def as_users_run_it():
    """Without the checks of shapes of the tests, and not for ever."""
    jaxtyping.config.update("jaxtyping_disable", True)
    previous = signal.signal(signal.SIGVTALRM, _late)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, previous)
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("name", [name for name in doors.NAMES if doors.numbers_of(name)])
@settings(
    max_examples=LONG or 25,
    derandomize=not LONG,
    database=None,
    suppress_health_check=list(HealthCheck),  # one fixture and slow calls are meant
)
@given(data=st.data())
def test_any_input_gives_a_finite_answer_or_the_remedy(name, data):
    changed = data.draw(inputs(name))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        result = doors.call(name, **changed)
    except ValueError as error:
        note(str(error))
        assert ":" in str(error) or ";" in str(error)
    except RuntimeError:  # documented: the computation was tried, and failed
        assert name in {"flow.gradient_descent", "flow.gradient_flow", "sgd.diagonal_flow"}
    else:
        note(str(result))
        if name in INFINITE:
            assert not _has_nan(result)
        elif name not in NAN:
            assert finite(result)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _has_nan(result: object) -> bool:
    if isinstance(result, np.ndarray | float | int):
        return bool(np.isnan(result).any())
    parts = result if isinstance(result, tuple | list) else getattr(result, "__dict__", {}).values()
    return any(map(_has_nan, parts))


def _late(*_):
    raise TimeoutError(f"no answer within {SECONDS} s")
