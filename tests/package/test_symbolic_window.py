"""The derivations of the stopping window say what the chapters say, by routes of their own."""

import numpy as np
import pytest
import sympy as sp

from dlnlib import symbolic
from dlnlib.symbolic.derivation import a0, s, t, tau

pytestmark = pytest.mark.derivation

m, n, r, many, layers, x, q = sp.symbols("m n r nu L x q", positive=True)
signal, noise = (sp.Function(name, positive=True)(t) for name in ("a_s", "a_n"))


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_rates_of_the_error_agree(depth):
    """The rate at any depth is that of two layers at L = 2, and what differentiation gives."""
    rate = symbolic.deep_window().steps[-1].rhs.subs(layers, depth)
    if depth == 2:
        assert sp.expand(rate - symbolic.window_test().steps[0].rhs) == 0
    point = {signal: 1.3, noise: 0.4, s: 3, n: 1, m: 2.5, r: 2, many: 7, tau: 1.7}
    power = 2 - sp.Rational(2, depth)
    velocity = [depth * a**power * (end - a) / tau for a, end in ((signal, s), (noise, n))]
    slope = 2 * r * (signal - m) * velocity[0] + 2 * many * noise * velocity[1]
    assert float((rate - slope).subs(point)) == pytest.approx(0, abs=1e-12)


def test_error_minimum_bounds():
    """What the words of the derivation say of its lines, at random points."""
    steps = symbolic.error_minimum().steps
    rng = np.random.default_rng(0)
    swift = sp.lambdify((signal, noise, s, n, m, tau), steps[1].rhs, "numpy")
    for _ in range(500):
        top = rng.uniform(1, 4)
        low, target = top * rng.uniform(0.05, 0.95), top * rng.uniform(0.1, 0.99)
        strong = target * rng.uniform(0.01, 0.99)
        weak = min(strong, low) * rng.uniform(0.01, 0.99)
        moving = strong * (top - strong) - weak * (low - weak)
        if strong - weak < top - low:  # before the minimum of the entropy
            assert moving > 0
            assert swift(strong, weak, top, low, target, 1.0) > 12 * moving
    assert steps[3].rhs == 4 * s - 2 * n


def test_spike_gap_factor():
    """The cofactor of x - q has positive coefficients only."""
    quotient = sp.cancel(symbolic.spike_gap().steps[1].rhs * x**2 / (x - q))
    assert all(c > 0 for c in sp.Poly(quotient, x, q).coeffs())
    assert symbolic.spike_gap().steps[1].rhs.subs(x, q) == 0


def test_deep_window_needs_three_layers():
    lacking = symbolic.deep_window().steps[3].rhs
    for depth, order in ((3, sp.Rational(1, 3)), (4, sp.Rational(1, 2)), (6, sp.Rational(2, 3))):
        assert sp.simplify(sp.diff(sp.log(lacking.subs(layers, depth)), a0) * a0) == order
    assert sp.limit(lacking.subs(layers, 3), a0, 0) == 0
    assert sp.limit(lacking.subs(layers, 2), a0, 0) != 0
