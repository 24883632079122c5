"""Spectral entropy: values, invariances, extremes, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dlnlib.entropy import energy_shares, spectral_entropy

strengths = arrays(float, st.integers(1, 12), elements=st.floats(0, 1e3)).filter(np.any)


def test_known_values():
    assert spectral_entropy([5.0, 0.0, 0.0]) == 0
    assert spectral_entropy(np.ones(7)) == pytest.approx(np.log(7), rel=1e-15)
    p = np.array([0.5, 0.25, 0.25])
    assert spectral_entropy(np.sqrt(p)) == pytest.approx(1.5 * np.log(2), rel=1e-15)
    assert spectral_entropy(p, power=1) == pytest.approx(1.5 * np.log(2), rel=1e-15)
    assert spectral_entropy(np.ones((4, 3, 2))).shape == (4, 3)


@given(strengths, st.floats(1e-300, 1e300), st.randoms(use_true_random=False))
def test_invariances(a, scale, random):
    h = float(spectral_entropy(a))
    assert 0 <= h <= np.log(a.size) + 1e-12
    order = random.sample(range(a.size), a.size)
    assert float(spectral_entropy(a[order])) == pytest.approx(h, abs=1e-12)
    small = a / a.max() * min(scale, 1e3)  # scaled down to 1e-300, where a^2 alone is zero
    assert float(spectral_entropy(-small)) == pytest.approx(h, abs=1e-6)
    assert energy_shares(a).sum() == pytest.approx(1)


def test_bad_entropy_input():
    with pytest.raises(ValueError, match="all modes are zero"):
        spectral_entropy([[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match="NaN or infinity"):
        spectral_entropy([1.0, np.inf])
