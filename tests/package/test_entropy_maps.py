"""Entropy of a map and its rate: through crossings and zeros, along flows, against sympy."""

import math

import numpy as np
import pytest
import sympy as sp

from dlnlib.entropy import entropy_rate, map_entropy, map_entropy_rate, spectral_entropy
from dlnlib.flow import aligned_weights, gaussian_weights, gradient_flow
from dlnlib.modes import growth_rate, mode_strength
from dlnlib.tasks import svd_modes

t = sp.Symbol("t", real=True)
PATHS = {
    "a crossing": sp.Matrix([[sp.exp(t), 0], [0, sp.exp(-t)]]),
    "a crossing off the middle": sp.Matrix([[2 + t, 0], [0, 2 + 3 * t]]),
    "an avoided crossing": sp.Matrix([[1 + t, sp.Rational(1, 50)], [sp.Rational(1, 50), 1 - t]]),
    "turning": sp.Matrix([[sp.cos(t), -2 * sp.sin(t)], [sp.sin(t) * 3, 1 + t]]),
    "growing together": sp.Matrix([[1 + t, 0], [0, -1 - t]]),
}


@pytest.mark.parametrize("name", PATHS)
def test_rate_is_the_derivative_of_a_closed_form(name):
    """The shares of a 2 x 2 map solve x^2 - x + d = 0, with d = (det W / tr W^T W)^2."""
    w = PATHS[name]
    root = sp.sqrt(1 - 4 * (w.det() / (w.T * w).trace()) ** 2)
    entropy = -sum((1 + x) / 2 * sp.log((1 + x) / 2) for x in (root, -root))
    maps, moves = (sp.lambdify(t, m, "numpy") for m in (w, w.diff(t)))
    for at in (-0.3, -0.01, 0.02, 0.3):
        here = [np.array(m(at), dtype=float) for m in (maps, moves)]
        with_room = sp.N(entropy.subs(t, sp.Rational(str(at))), 30)
        assert map_entropy(here[0]) == pytest.approx(float(with_room), abs=1e-14)
        if name != "growing together":
            slope = sp.N(entropy.diff(t).subs(t, sp.Rational(str(at))), 30)
            assert map_entropy_rate(*here) == pytest.approx(float(slope), abs=1e-12)
    # at the crossing itself the closed form divides 0 by 0
    here = [np.array(m(0.0), dtype=float) for m in (maps, moves)]
    low, high = (map_entropy(np.array(maps(d), dtype=float)) for d in (-1e-5, 1e-5))
    assert map_entropy_rate(*here) == pytest.approx((high - low) / 2e-5, abs=1e-8)


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 5)])
def test_equal_singular_values_have_no_rate(shape):
    rng = np.random.default_rng(0)
    w = 4 * np.eye(*shape)
    assert map_entropy(w) == pytest.approx(math.log(3))
    assert map_entropy_rate(w, rng.normal(size=shape)) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6)])
@pytest.mark.parametrize("rank", [1, 2])
def test_a_lost_rank_adds_nothing_to_first_order(shape, rank):
    """Out of the kernel the energy moves as t^2: a difference quotient tends to the rate."""
    rng = np.random.default_rng(rank)
    w = rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
    dw = rng.normal(size=shape)
    rate = map_entropy_rate(w, dw)
    gaps = []
    for step in (1e-3, 1e-5, 1e-7):
        low, high = (map_entropy(w + d * dw) for d in (-step, step))
        assert high > 0
        gaps.append(abs((high - low) / (2 * step) - rate))
    assert gaps[2] < 1e-3 * (1 + abs(rate)) and gaps[2] < gaps[0]
    one_sided = (map_entropy(w + 1e-7 * dw) - map_entropy(w)) / 1e-7
    assert one_sided == pytest.approx(float(rate), abs=1e-3)


def test_a_value_through_zero():
    w, dw = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    assert map_entropy_rate(w, dw) == 0
    for small in (1e-200, 1e-160, 1e-100, 1e-10, -1e-10):
        here = np.diag([1.0, small])
        expected = -4 * small * math.log(abs(small))
        assert map_entropy_rate(here, dw) == pytest.approx(expected, rel=1e-9, abs=1e-140)


@pytest.mark.parametrize("widths", [(4, 4, 4), (3, 5, 6), (6, 5, 3), (5, 2, 5)])
def test_along_gradient_flow_from_random_starts(widths):
    rng = np.random.default_rng(widths[0])
    sigma = rng.normal(size=(widths[-1], widths[0]))
    start, times, step = gaussian_weights(widths, 0.3, rng=rng), np.linspace(0.1, 4, 25), 1e-4
    grid = np.ravel(times[:, None] + [-step, 0, step])
    path = gradient_flow(grid, start, sigma, rtol=1e-11, atol=1e-13)
    first, last = (layer[1::3] for layer in path.weights)
    w = path.product[1::3]
    error = sigma - w
    moves = last @ last.mT @ error + error @ first.mT @ first
    low, high = (map_entropy(path.product[i::3]) for i in (0, 2))
    rate = map_entropy_rate(w, moves)
    assert rate.shape == times.shape
    np.testing.assert_allclose(rate, (high - low) / (2 * step), rtol=1e-4, atol=1e-5)


def test_aligned_modes_that_cross_obey_the_covariance_identity():
    modes, a0 = svd_modes(np.diag([3.0, 2.0, 0.5])), np.array([1e-3, 0.02, 1e-3])
    times = np.linspace(0.01, 3, 60)
    path = gradient_flow(times, aligned_weights(modes, a0, hidden=4), modes.matrix(), rtol=1e-11)
    a = mode_strength(times, modes.s, a0)
    lead = np.sign(a[:, 0] - a[:, 1])
    assert lead[0] < 0 < lead[-1]
    first, last = path.weights
    error = modes.matrix() - path.product
    moves = last @ last.mT @ error + error @ first.mT @ first
    expected = entropy_rate(a, growth_rate(a, modes.s))
    np.testing.assert_allclose(map_entropy_rate(path.product, moves), expected, atol=1e-5)
    np.testing.assert_allclose(map_entropy(path.product), spectral_entropy(a), atol=1e-6)


def test_shapes_scales_and_bad_input():
    rng = np.random.default_rng(2)
    w, dw = rng.normal(size=(2, 3, 4, 5, 2))
    assert map_entropy(w).shape == map_entropy_rate(w, dw).shape == (3, 4)
    assert map_entropy(w[:0]).shape == map_entropy_rate(w[:0], dw[:0]).shape == (0, 4)
    assert map_entropy(w[0, :0]).shape == (0,)
    for scale in (1e-120, 1e120):
        np.testing.assert_allclose(map_entropy(scale * w), map_entropy(w), rtol=1e-12)
        rate = map_entropy_rate(scale * w, scale * dw)
        np.testing.assert_allclose(rate, map_entropy_rate(w, dw), rtol=1e-9)
    assert map_entropy_rate(w, 3 * w) == pytest.approx(0, abs=1e-13)  # a common factor
    with pytest.raises(ValueError, match="all modes are zero"):
        map_entropy(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="use spectral_entropy"):
        map_entropy([1.0, 2.0])
    with pytest.raises(ValueError, match="velocity needs the shape of w"):
        map_entropy_rate(np.eye(2), np.ones(2)[None])
    for call, bad in (
        (map_entropy, (np.eye(2) * np.nan,)),
        (map_entropy_rate, (np.eye(2), np.full((2, 2), np.inf))),
    ):
        with pytest.raises(ValueError, match="contains NaN or infinity"):
            call(*bad)
