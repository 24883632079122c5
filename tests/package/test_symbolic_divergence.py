"""The derivations of the risk estimate say what the chapter says, by routes of their own."""

import math

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import quad

from dlnlib import symbolic
from dlnlib.modes import mode_sensitivity, mode_strength
from dlnlib.random_matrix import bulk_density, bulk_edge, optimal_shrinker, spike_forward
from dlnlib.symbolic.derivation import a, a0, s, t, tau

pytestmark = pytest.mark.derivation

s1, s2, layers, q, x = sp.symbols("s_1 s_2 L q x", positive=True)
f = sp.Function("f", real=True)


def spent(columns: int) -> sp.Expr:
    """The divergence as the derivation has it, of f at the values s_1 and s_2."""
    steps = symbolic.spectral_divergence(columns).steps
    return next(step.rhs for step in steps if step.text.startswith("all entries"))


@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("power", [0, 1, 2])
def test_divergence_of_odd_powers(columns, power):
    """(M M')^n M, differentiated by each of its entries at a matrix that is not diagonal."""
    entries = sp.symbols(f"m_:{2 * columns}", real=True)
    matrix = sp.Matrix(2, columns, entries)
    image = (matrix * matrix.T) ** power * matrix
    divergence = sum(sp.diff(value, entry) for value, entry in zip(image, entries, strict=True))
    point = dict(zip(entries, map(sp.Rational, ("3/2", "-1/3", "2/5", "4/7", 1, "-5/4")), strict=0))
    gram = (matrix * matrix.T).subs(point)
    values = dict(zip((s1, s2), map(sp.sqrt, gram.eigenvals()), strict=True))
    formula = spent(columns).replace(f, lambda value: value ** (2 * power + 1)).doit()
    assert abs((divergence.subs(point) - formula.subs(values)).evalf(30)) < 1e-20


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (2, 3), (4, 6), (5, 3)])
def test_divergence_of_any_shape(shape):
    """The three kinds of entries, counted as for K modes, against differences entry by entry."""
    time, start, step = 0.7, 0.3, 1e-5

    def image(matrix):
        u, values, v = np.linalg.svd(matrix, full_matrices=False)
        return u * mode_strength([time], values, start)[0] @ v

    matrix = np.random.default_rng(5).standard_normal(shape)
    differences = 0.0
    for entry in np.ndindex(shape):
        moved = np.zeros(shape)
        moved[entry] = step
        change = image(matrix + moved) - image(matrix - moved)
        differences += change[entry] / (2 * step)
    slope, pair, further = (
        sp.lambdify((s1, s2, a0, t), step.rhs.replace(f, logistic).doit())
        for step in symbolic.spectral_divergence(3).steps[:3]
    )
    values = np.linalg.svd(matrix, compute_uv=False)
    total = 0.0
    for k, value in enumerate(values):
        total += slope(value, 0, start, time)
        total += abs(shape[0] - shape[1]) * further(value, 0, start, time)
        total += 2 * sum(pair(value, other, start, time) for other in values[:k])
    assert total == pytest.approx(differences, rel=1e-8)


def logistic(value: sp.Expr) -> sp.Expr:
    return value / (1 + (value / a0 - 1) * sp.exp(-2 * value * t))


def test_divergence_at_equal_values():
    steps = symbolic.spectral_divergence().steps
    pair, equal = (
        step.rhs.replace(f, lambda value: sp.sin(value)).doit() for step in (steps[1], steps[-2])
    )
    assert sp.simplify(sp.limit(pair, s2, s1) - equal) == 0


def test_divergence_needs_two_columns():
    with pytest.raises(ValueError, match="columns=1"):
        symbolic.spectral_divergence(1)


@pytest.mark.parametrize("depth", [2, 3, 4, 7, math.inf])
def test_mode_slope(depth):
    """The slope against differences of the mode strength, up to the learned mode."""
    value, start, step = 1.7, 0.02, 1e-5
    times = np.array([0.1, 1.0, 3.0, 9.0, 60.0])
    strength = mode_strength(times, value, start, tau=1.3, depth=depth)[:, 0]
    above, below = (
        mode_strength(times, value + change, start, tau=1.3, depth=depth)[:, 0]
        for change in (step, -step)
    )
    slope = symbolic.mode_slope().steps[2].rhs
    # at infinite depth time is in units of 1/L
    slope = sp.limit(slope.subs(t, t / layers), layers, sp.oo) if depth == math.inf else slope
    slope = sp.lambdify((a, t), slope.subs({layers: depth, s: value, a0: start, tau: 1.3}))
    expected = (above - below) / (2 * step)
    assert slope(strength, times) == pytest.approx(expected, rel=1e-6, abs=1e-8)
    package = mode_sensitivity(times, value, start, tau=1.3, depth=depth)[:, 0]
    assert slope(strength, times) == pytest.approx(package, rel=1e-9, abs=1e-12)


def test_mode_slope_of_a_small_start():
    """Half way up, the slope grows as a0^-(1 - 2/L), and as a logarithm at two layers."""
    steps, start = symbolic.mode_slope().steps, 1e-9
    slope, steep = (
        sp.lambdify((a, t), steps[i].rhs.subs({layers: 4, s: 2, a0: start, tau: 1})) for i in (2, 4)
    )
    wait = (math.atanh(math.sqrt(0.5)) - math.atanh(math.sqrt(start / 2))) / (2 * 2**1.5)
    wait += 1 / (4 * math.sqrt(start)) - 1 / 4
    assert slope(1.0, wait) == pytest.approx(steep(1.0, 0.0), rel=1e-3)
    assert sp.limit(
        steps[2].rhs.subs({layers: 2, t: tau * sp.log(s / a0 - 1) / (2 * s), a: s / 2})
        / sp.log(1 / a0),
        a0,
        0,
    ) == sp.Rational(1, 4)


@pytest.mark.parametrize("aspect", [0.3, 1.0, 2.5])
def test_risk_targets(aspect):
    """The sum over the bulk by quadrature of its density, and the shrinker of the package."""
    observed, target = map(float, spike_forward(2.0, aspect=aspect))
    low, high = abs(1 - math.sqrt(aspect)), bulk_edge(aspect=aspect)
    total = quad(
        lambda value: (
            observed / (observed**2 - value**2) * float(bulk_density(value, aspect=aspect))
        ),
        low,
        high,
    )[0]
    estimate = observed - 2 * min(1, aspect) * total - abs(1 - aspect) / observed
    assert estimate == pytest.approx(target, abs=1e-6)
    steps = {step.text: step.rhs for step in symbolic.risk_targets().steps}
    at = {q: math.sqrt(aspect), x: 4.0, s: observed}
    assert float(steps["the target, wide"].subs(at)) == pytest.approx(target)
    square = float(steps["its square: the optimal shrinker"].subs(at))
    assert math.sqrt(square) == pytest.approx(float(optimal_shrinker(observed, aspect=aspect)))


@pytest.mark.parametrize("shape", [(240, 240), (160, 320), (320, 160)])
def test_risk_target_of_one_draw(shape):
    """One large matrix: the target of its outlier as Stein's estimate has it, and the shrinker."""
    matrix = np.random.default_rng(2).standard_normal(shape) / math.sqrt(shape[1])
    matrix[0, 0] += 3.0
    top, *bulk = np.linalg.svd(matrix, compute_uv=False)
    pairs = top * (1 / (top**2 - np.square(bulk))).sum()
    estimate = top - (2 * pairs + abs(shape[0] - shape[1]) / top) / shape[1]
    shrunk = float(optimal_shrinker(top, aspect=shape[0] / shape[1]))
    assert estimate == pytest.approx(shrunk, abs=4 / min(shape))
