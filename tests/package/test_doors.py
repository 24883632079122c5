"""Every public function refuses what has no meaning as numbers, and takes numbers in any dress."""

import datetime
from decimal import Decimal
from fractions import Fraction

import doors
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

pytestmark = pytest.mark.usefixtures("no_shape_checks")


class Foreign:
    """Like a tensor of another library that does not convert itself."""

    shape = (2,)


class Stubborn:
    """Like a tensor that must be detached first."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


class Length(np.ndarray):
    """Like a quantity of astropy."""

    unit = "m"


MEANINGLESS = {
    "masked": np.ma.array([3.0, 1.0, 100.0], mask=[0, 0, 1]),
    "masked matrix": np.ma.array([[3.0, 1.0], [1.0, 2.0]], mask=[[0, 0], [0, 1]]),
    "masked in a list": [np.ma.array([3.0, 1.0], mask=[0, 1]), np.ma.array([3.0, 1.0])],
    "masked number": np.ma.masked,
    "complex": [1j, 2.0],
    "complex number": 1 + 1j,
    "complex without imaginary part": np.array([1.0, 2.0], dtype=complex),
    "sparse": scipy.sparse.csr_array(np.eye(2)),
    "sparse matrix": scipy.sparse.coo_matrix(np.eye(2)),
    "list of sparse": [scipy.sparse.eye_array(2), scipy.sparse.eye_array(2)],
    "dates": np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]"),
    "Python dates": [datetime.date(2020, 1, 1)],
    "spans": np.array([1, 2], dtype="timedelta64[s]"),
    "word": "1.0",
    "words": ["1.0", "2.0"],
    "bytes": b"1.0",
    "objects": np.array([1.0, 2.0], dtype=object),
    "decimals": [Decimal("1.5"), Decimal("2.5")],
    "fractions": [Fraction(1, 2)],
    "generator": (x for x in (1.0, 2.0)),
    "map": map(float, "12"),
    "set": {1.0, 2.0},
    "dict": {"a": 1.0},
    "missing in a list": [1.0, None],
    "missing": pd.Series([1.0, None]),
    "missing integers": pd.Series([1, None], dtype="Int64"),
    "missing in a frame": pd.DataFrame({"a": [1.0, None], "b": [1.0, 2.0]}),
    "words in a frame": pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}),
    "categories": pd.Series([1, 2], dtype="category"),
    "no numbers": Foreign(),
    "tensor to detach": Stubborn(),
    "with a unit": np.array([1.0, 2.0]).view(Length),
    "ragged": [[1.0], [1.0, 2.0]],
    "huge integer": 10**400,
    "huge integers": [10**400, 1],
    "NaN": float("nan"),
    "NaNs": [np.nan, 1.0],
    "infinities": [np.inf, 1.0],
    "records": np.zeros(2, dtype=[("a", float)]),
    "function": abs,
}
ARGUMENTS = [(name, argument) for name in doors.NAMES for argument in doors.numbers_of(name)]


def test_each_public_function_has_a_valid_call():
    """A new one must be entered in `doors`, and is then tested here and by the fuzzer."""
    assert doors.public_functions() == {n for n in doors.NAMES if n not in doors.METHODS}
    for name in doors.NAMES:
        doors.call(name)


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS, ids=map(".".join, ARGUMENTS))
def test_meaningless_input_is_refused_with_the_remedy(name, argument):
    for kind, value in MEANINGLESS.items():
        with pytest.raises(ValueError, match=r"[:;]"):
            doors.call(name, **{argument: value})
            pytest.fail(f"{kind} was accepted")


DRESSES = {
    "list": lambda v: v.tolist(),
    "single precision": lambda v: v.astype(np.float32),
    "read-only": lambda v: np.require(v.copy(), requirements="C").view(),
    "not contiguous": lambda v: np.repeat(v, 2, axis=-1)[..., ::2],
    "big-endian": lambda v: v.astype(">f8"),
    "Fortran order": np.asfortranarray,
    "frame or series": lambda v: (pd.DataFrame if v.ndim == 2 else pd.Series)(v),
}


def _numeric(result) -> np.ndarray:
    """All numbers of a result, in one row."""
    if isinstance(result, np.ndarray | float | int):
        return np.ravel(result).astype(float)
    parts = result if isinstance(result, tuple | list) else vars(result).values()
    kept = [_numeric(p) for p in parts if isinstance(p, np.ndarray | float | int | tuple | list)]
    return np.concatenate([np.empty(0), *kept])


def _has_dresses(name: str, argument: str) -> bool:
    """Whether an argument is a vector or a matrix of floats."""
    try:
        array = np.asarray(doors.arguments(name)[argument])
    except ValueError:  # layers of several shapes
        return False
    return array.dtype.kind == "f" and 1 <= array.ndim <= 2


FLOATS = [pair for pair in ARGUMENTS if _has_dresses(*pair)]


@pytest.mark.parametrize(("name", "argument"), FLOATS, ids=map(".".join, FLOATS))
def test_numbers_in_any_dress_give_the_same(name, argument):
    array = np.asarray(doors.arguments(name)[argument])
    rounded = array.astype(np.float32).astype(float)  # what single precision holds
    expected = _numeric(doors.call(name, **{argument: rounded}))
    for kind, dress in DRESSES.items():
        value = dress(rounded)
        if kind == "read-only":
            value.flags.writeable = False
        found = _numeric(doors.call(name, **{argument: value}))
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14, err_msg=kind)
