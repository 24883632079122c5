"""Degrees of freedom by probes, against exact divergences; and what the probe refuses."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dlnlib.stopping import probe_degrees_of_freedom
from dlnlib.studies.regret_regression import TwoLayers


def stream(seed=0):
    return np.random.default_rng(seed)


def signs_and_spread(jacobian):
    """Standard deviation over sign probes, and over Gaussian ones, of the trace of a matrix."""
    sym = (jacobian + jacobian.T) / 2
    total, diagonal = (sym**2).sum(), (np.diag(sym) ** 2).sum()
    return np.sqrt(2 * (total - diagonal)), np.sqrt(2 * total)


def ridge_path(x, penalties):
    """Hat matrices of ridge regression."""
    return np.array([x @ np.linalg.solve(x.T @ x + p * np.eye(x.shape[1]), x.T) for p in penalties])


@pytest.mark.parametrize("outputs", [(), (3,)])
def test_probe_of_ridge_is_the_trace_of_the_hat_matrix(outputs):
    rng, many = stream(), 2000
    x = rng.standard_normal((12, 5))
    hats, y = ridge_path(x, [100.0, 1.0, 0.01]), rng.standard_normal((12, *outputs))
    found = probe_degrees_of_freedom(
        lambda z: np.einsum("tij,j...->ti...", hats, z), y, probes=many, rng=rng
    )
    traces = np.trace(hats, axis1=1, axis2=2) * (outputs[0] if outputs else 1)
    spread = [signs_and_spread(h)[0] * np.sqrt(outputs[0] if outputs else 1) for h in hats]
    assert (np.abs(found - traces) < 4 * np.array(spread) / np.sqrt(many)).all()


def test_probe_of_gradient_flow_of_least_squares():
    """The trace of the hat matrix 1 - exp(-t X X^T / n), for inputs of any kind."""
    rng, many = stream(1), 1000
    x, y, t = rng.standard_normal((20, 6)), rng.standard_normal(20), np.array([0.1, 1.0, 10.0])
    rates, v = np.linalg.eigh(x.T @ x / 20)

    def train(z):
        inside = v.T @ x.T @ z / 20
        return (-np.expm1(-np.outer(t, rates)) / rates * inside) @ v.T @ x.T

    found = probe_degrees_of_freedom(train, y, probes=many, rng=rng)
    assert_allclose(found, -np.expm1(-np.outer(t, rates)).sum(axis=1), rtol=0.06)


@pytest.fixture(scope="module")
def two_layers():
    """A small network on a noisy map, its path, and its divergence entry by entry."""
    rng = stream(2)
    y = np.diag([2.5, 0, 0, 0]) + 0.5 * rng.standard_normal((4, 4))
    weights = [0.05 * rng.standard_normal((4, 4)) for _ in range(2)]
    training = TwoLayers(weights, False, 0.2, np.arange(0, 301, 25))  # time 15, in steps of 0.05

    def train(outputs):
        return training.predictions(np.eye(4), outputs.T, np.eye(4)).mT

    h, exact = 1e-5, 0
    for i in range(4):
        for j in range(4):
            unit = np.zeros((4, 4))
            unit[i, j] = h
            exact = exact + (train(y + unit) - train(y - unit))[:, i, j] / (2 * h)
    return train, y, exact


def test_probe_of_a_network_against_differences_entry_by_entry(two_layers):
    train, y, exact = two_layers
    fitted, many = train(y), 100
    single = np.array(
        [
            probe_degrees_of_freedom(train, y, rng=rng, step=1e-4, fitted=fitted)
            for rng in stream(3).spawn(many)
        ]
    )
    error = np.abs(single.mean(axis=0) - exact)
    assert (error <= 4 * single.std(axis=0) / np.sqrt(many) + 2e-3).all()
    assert exact[0] == pytest.approx(0, abs=1e-9)
    assert 7 < exact.max() < 16.5  # one learned mode costs 4 + 4 - 1


def test_several_probes_are_the_mean_of_single_ones(two_layers):
    train, y, _ = two_layers
    rng, fitted = stream(4), train(y)
    single = [probe_degrees_of_freedom(train, y, rng=rng, fitted=fitted) for _ in range(4)]
    four = probe_degrees_of_freedom(train, y, probes=4, rng=stream(4))
    assert_allclose(four, np.mean(single, axis=0), rtol=1e-12)


def test_signs_vary_less_than_gaussian_probes():
    rng, many = stream(5), 1500
    x = rng.standard_normal((15, 6))
    (hat,) = ridge_path(x, [1.0])
    by_sign, by_gauss = signs_and_spread(hat)
    found = [
        probe_degrees_of_freedom(lambda z: (hat @ z)[None], x[:, 0], rng=r)
        for r in stream(6).spawn(many)
    ]
    gauss = [b @ hat @ b for b in rng.standard_normal((many, 15))]
    assert np.std(found) == pytest.approx(by_sign, rel=0.08)
    assert np.std(gauss) == pytest.approx(by_gauss, rel=0.08)
    assert by_sign < 0.85 * by_gauss


def test_curvature_errs_by_the_order_of_the_step(two_layers):
    train, y, _ = two_layers
    fitted = train(y)
    small, *others = (
        probe_degrees_of_freedom(train, y, rng=stream(7), step=step, fitted=fitted)
        for step in (1e-5, 1e-3, 1e-2, 1e-1)
    )
    errors = [np.abs(other - small).max() for other in others]
    for less, more in pairwise(errors):
        assert 7 < more / less < 13
    assert errors[1] < 0.02 * 16  # that of the default


def test_probes_of_a_relu_network_scatter_where_the_step_is_small():
    """Predictions jump where a unit switches: the divergence is that of the jumps, too."""
    rng, n, draws = stream(8), 24, 80
    x = np.column_stack([rng.standard_normal((n, 3)), np.ones(n)])
    weights = [0.5 * rng.standard_normal((12, 4)), 0.3 * rng.standard_normal((1, 12))]
    training = TwoLayers(weights, True, 0.1, np.array([0, 50, 400]))
    signal = np.tanh(x[:, :1])

    def train(y):
        return training.predictions(x, y, x)

    spent, covariance = {step: [] for step in (1e-4, 1e-1)}, []
    for child in rng.spawn(draws):
        noise = 0.5 * child.standard_normal((n, 1))
        fitted = train(signal + noise)
        covariance.append(((fitted - fitted[0]) * noise).sum(axis=(1, 2)) / 0.25)
        for step, found in spent.items():
            options = {"rng": child, "step": step, "fitted": fitted}
            found.append(probe_degrees_of_freedom(train, signal + noise, **options))
    small, large = (np.array(found) for found in spent.values())
    assert small[:, -1].std() > 3 * large[:, -1].std()
    # Stein: the mean of df is the covariance of predictions and noise over its variance
    gap = large - covariance
    assert (np.abs(gap.mean(axis=0)) <= 4 * gap.std(axis=0) / np.sqrt(draws)).all()
    assert 10 < large[:, -1].mean() < 24


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
def test_units_and_offsets_of_the_outputs_do_not_matter(unit):
    rng = stream(9)
    hat, y = ridge_path(rng.standard_normal((8, 3)), [0.5, 0.1]), rng.standard_normal(8)
    expected = probe_degrees_of_freedom(lambda z: hat @ z, y, rng=stream(1))
    for offset in (0.0, 1e3):
        moved = unit * (y + offset)
        found = probe_degrees_of_freedom(lambda z: hat @ z, moved, rng=stream(1))
        assert_allclose(found, expected, rtol=1e-6)
    assert probe_degrees_of_freedom(lambda z: z[None], np.ones(5), rng=stream()) == pytest.approx(5)


def test_a_training_that_does_not_repeat_is_refused():
    rng, y = stream(10), np.arange(6.0)
    noisy = [
        lambda z: z[None] + 0.1 * rng.standard_normal((1, 6)),
        lambda z: rng.permutation(z)[None],
    ]
    for train in noisy:
        with pytest.raises(RuntimeError, match="fix the seed of its shuffles"):
            probe_degrees_of_freedom(train, y, rng=stream())
    with pytest.raises(RuntimeError, match="another path"):  # a path of other outputs
        probe_degrees_of_freedom(lambda z: z[None], y, rng=stream(), fitted=y[None] + 1)


def test_a_training_that_moves_far_is_asked_again_and_then_believed():
    calls = []

    def steep(z):
        calls.append(z)
        return 20 * z[None]

    assert probe_degrees_of_freedom(steep, np.arange(6.0), rng=stream()) == pytest.approx(120)
    assert len(calls) == 3
    calls.clear()
    fitted = np.arange(6.0)[None] / 2
    probe_degrees_of_freedom(
        lambda z: calls.append(z) or z[None] / 2, np.arange(6.0), rng=stream(), fitted=fitted
    )
    assert len(calls) == 1  # what one probe costs


@pytest.mark.parametrize(
    ("train", "y", "options", "message"),
    [
        (lambda z: z, [1.0, 2.0], {}, "path of predictions"),
        (lambda z: z[:, None], [1.0, 2.0], {}, "path of predictions"),
        (lambda z: z[None, :1], [1.0, 2.0], {}, "path of predictions"),
        (lambda z: np.full((2, 2), np.nan), [1.0, 2.0], {}, "NaN"),
        (lambda z: z[None], [0.0, 0.0], {}, "all zero"),
        (lambda z: z[None], np.ones((2, 2, 2)), {}, "one row per sample"),
        (lambda z: z[None], [], {}, "one row per sample"),
        (lambda z: z[None], [1.0, 2.0], {"probes": 0}, "probes"),
        (lambda z: z[None], [1.0, 2.0], {"step": 0.0}, "step"),
        (lambda z: z[None], [1.0, 2.0], {"step": 1e-30}, "lost to rounding"),
        (lambda z: np.tile(z, (1 + int(z[0] != 1), 1)), [1.0, 2.0], {}, "fix T"),
    ],
)
def test_the_probe_refuses_with_the_remedy(train, y, options, message):
    with pytest.raises(ValueError, match=message):
        probe_degrees_of_freedom(train, y, rng=stream(), **options)
