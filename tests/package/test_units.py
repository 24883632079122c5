"""No result depends on a unit: strengths scale by c, times by its inverse, shares stay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlnlib.entropy import entropy_phases, spectral_entropy
from dlnlib.flow import balanced_weights, exact_flow
from dlnlib.measures import numerical_rank
from dlnlib.modes import growth_rate, learning_time, mode_strength
from dlnlib.random_matrix import (
    bulk_density,
    bulk_edge,
    bulk_target,
    critical_dimension,
    infinite_network,
    optimal_shrinker,
    sharp_critical_dimension,
    spike_forward,
    typical_spectrum,
)
from dlnlib.sgd import stability_threshold
from dlnlib.stopping import mode_window, two_level_window
from dlnlib.tasks import linear_task, svd_modes

scales = st.floats(-60, 60).map(lambda exponent: 10.0**exponent)
rtol = 1e-9
S, M, A0 = np.array([3.0, 2.5, 0.7, 0.3, 0.0]), np.array([2.7, 2.0, 0.1, 0.0, 0.0]), 1e-3
T = np.linspace(0.0, 6.0, 40)


def close(found, expected, rtol=rtol):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=rtol)


@given(scales, st.sampled_from([2, 3, 5, np.inf]))
def test_modes(c, depth):
    slow = c ** -(2 - 2 / depth)  # tau da/dt = a^(2 - 2/L) (s - a)
    close(
        mode_strength(T * slow, c * S, c * A0, depth=depth),
        c * mode_strength(T, S, A0, depth=depth),
        1e-7,
    )
    close(growth_rate(c * S / 2, c * S, depth=depth) * slow, growth_rate(S / 2, S, depth=depth))
    some = S[:3]
    times = learning_time(c * some, c * A0, depth=depth)
    close(times / slow, learning_time(some, A0, depth=depth))


@given(scales, st.sampled_from([2, 3, np.inf]), st.sampled_from(["half", "share"]))
def test_windows(c, depth, variant):
    slow = c ** -(2 - 2 / depth)
    options = {"noise_modes": 2, "depth": depth, "variant": variant}
    found, expected = (mode_window(S * k, M * k, A0 * k, **options) for k in (c, 1.0))
    for name in ("t_star", "t_opt", "t_memorisation"):
        close(getattr(found, name), getattr(expected, name) * slow, 1e-6)
    found, expected = (two_level_window(3 * k, 2.7 * k, k, A0 * k) for k in (c, 1.0))
    close(found.t_star * c, expected.t_star)
    close(found.t_opt * c, expected.t_opt)


@given(scales)
def test_entropy(c):
    close(spectral_entropy(c * S), spectral_entropy(S))
    curve = 1 / (1 + (T + 0.1) ** 4) + 1 / (1 + (3 / (T + 0.1)) ** 4)
    found, expected = entropy_phases(T / c, c * curve), entropy_phases(T, curve)
    assert found.kinds == expected.kinds
    close(found.boundaries * c, expected.boundaries)


@given(scales, st.sampled_from([0.25, 1.0, 2.0]))
def test_spiked_matrices(c, aspect):
    one, other = ({"noise": k, "aspect": aspect} for k in (1.0, c))
    edge, x = bulk_edge(**one), np.array([0.8, 1.0, 1.2])
    close(bulk_edge(**other), c * edge)
    close(bulk_density(c * x, **other) * c, bulk_density(x, **one))
    close(bulk_target(c * x, [c * 0.5, c * 3.0], **other), bulk_target(x, [0.5, 3.0], **one))
    for function in (spike_forward, optimal_shrinker):
        close(
            function(c * np.array([0.5, 4.0, 9.0]), **other),
            c * np.array(function([0.5, 4.0, 9.0], **one)),
        )
    close(typical_spectrum(c * 3.0, 8, **other), c * np.array(typical_spectrum(3.0, 8, **one)))
    close(critical_dimension(c * 3.0, c * 2.0, c * A0), critical_dimension(3.0, 2.0, A0))
    found, expected = (
        infinite_network(T / k, 3.0 * k, A0 * k, modes=20, noise=k, aspect=aspect) for k in (c, 1.0)
    )
    close(found.entropy, expected.entropy, 1e-6)
    close(found.test_error, c**2 * expected.test_error, 1e-6)


@pytest.mark.parametrize("c", [1e-60, 1e-9, 1e9, 1e60])
def test_the_sharp_critical_dimension(c):
    found, expected = (sharp_critical_dimension(4.0 * k, A0 * k, noise=k) for k in (c, 1.0))
    close(found, expected, 1e-6)


@given(scales, scales)
def test_tasks(c, d):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 3))
    y = x @ rng.standard_normal((3, 2)) + rng.standard_normal((30, 2))
    found, expected = linear_task(c * x, d * y), linear_task(x, y)
    close(found.modes.s, d * expected.modes.s)
    assert found.modes.rank == expected.modes.rank
    assert svd_modes(c * np.outer([1.0, 2.0], [1.0, 3.0])).rank == 1
    assert numerical_rank(c * np.array([1.0, 0.1, 0.0]), 1e-3) == 2
    close(stability_threshold(c**0.5 * x), stability_threshold(x) / c)


@given(scales)
def test_exact_flow_in_any_unit(c):
    sigma = np.array([[3.0, 0.5], [0.0, 1.0]])
    start = balanced_weights((2, 3, 2), 0.1, rng=np.random.default_rng(1))
    ends = [
        exact_flow(T / k, [w * np.sqrt(k) for w in start], k * sigma).product / k for k in (c, 1.0)
    ]
    np.testing.assert_allclose(*ends, rtol=1e-6, atol=1e-9)
