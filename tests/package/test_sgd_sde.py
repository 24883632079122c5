"""The model of SGD: its covariance, its factor, and the orders of its integrator."""

import itertools
import math

import numpy as np
import pytest

from dlnlib.sgd import (
    constant,
    diagonal_flow,
    diagonal_jacobian,
    gradient_covariance,
    sde_diagonal,
    sparse_regression,
    train_diagonal,
)

X = np.array([[1.0, -0.5, 0.3], [0.2, 0.8, -1.0]])
Y = np.array([1.0, -0.5])


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def task():
    return sparse_regression(20, 40, 4, rng=generator(0))


@pytest.mark.parametrize("batch", [1, 2])
def test_centred_covariance_is_that_of_all_batches(batch):
    """Enumeration of every batch drawn with replacement."""
    rng = generator(1)
    phi, r = rng.standard_normal((4, 3)), rng.standard_normal(4)
    drawn = [
        np.mean([r[i] * phi[i] for i in rows], axis=0)
        for rows in itertools.product(range(4), repeat=batch)
    ]
    np.testing.assert_allclose(np.mean(drawn, axis=0), phi.T @ r / 4, atol=1e-14)
    covariance = gradient_covariance(phi, r, batch=batch)
    np.testing.assert_allclose(covariance, np.cov(np.transpose(drawn), bias=True), atol=1e-14)


@pytest.mark.parametrize("batch", [1, 2, None])
def test_covariance_with_label_noise(batch):
    """Signs +-q in place of Gaussian noise have the same covariance, and can be enumerated."""
    rng, q = generator(2), 0.7
    phi, r, drawn = rng.standard_normal((3, 2)), rng.standard_normal(3), []
    chosen = itertools.product(range(3), repeat=batch) if batch else [range(3)]
    for rows in chosen:
        for signs in itertools.product([-q, q], repeat=len(rows)):
            parts = [(r[i] - e) * phi[i] for i, e in zip(rows, signs, strict=True)]
            drawn.append(np.mean(parts, axis=0))
    covariance = gradient_covariance(phi, r, batch=batch, label_noise=q)
    np.testing.assert_allclose(covariance, np.cov(np.transpose(drawn), bias=True), atol=1e-14)


def test_modelled_covariances():
    rng = generator(3)
    phi, r = rng.standard_normal((4, 3)), rng.standard_normal(4)
    centred = gradient_covariance(phi, r)
    mean = phi.T @ r / 4
    diagonal = gradient_covariance(phi, r, covariance="diagonal")
    np.testing.assert_allclose(diagonal, centred + np.outer(mean, mean), atol=1e-14)
    level = (r**2).sum() / 8
    even = gradient_covariance(phi, r, covariance="isotropic")
    np.testing.assert_allclose(even, 2 * level * phi.T @ phi / 4, atol=1e-14)
    given = gradient_covariance(phi, r, covariance="isotropic", level=level)
    np.testing.assert_allclose(given, even, atol=1e-14)
    same = gradient_covariance(phi, np.full(4, 2.0), covariance="isotropic", label_noise=0.5)
    np.testing.assert_allclose(
        same, gradient_covariance(phi, [2.0] * 4, covariance="diagonal", label_noise=0.5)
    )


MODELS = [
    {"covariance": "centred"},
    {"covariance": "centred", "label_noise": 0.4},
    {"covariance": "diagonal", "batch": 3},
    {"covariance": "isotropic", "label_noise": 0.4},
    {"covariance": "isotropic", "level": 0.3, "batch": 2},
    {"batch": None, "label_noise": 0.4},
]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: " ".join(map(str, m.values())))
def test_one_step_has_the_covariance(model):
    """A step is linear in the increments: its matrix is read off unit vectors."""
    u0, v0, lr = np.array([0.3, -0.2, 0.5]), np.array([0.1, 0.4, -0.6]), 0.07
    label = model.get("label_noise", 0.0)
    width = 4 if model.get("covariance") == "centred" and label else 2
    paths = np.concatenate([np.zeros((1, width)), np.eye(width)])[:, None, None, :]
    runs = sde_diagonal(X, Y, [lr], brownian=paths, u0=u0, v0=v0, **model)
    moved = np.concatenate([runs.u, runs.v], axis=-1)[:, 1] - np.r_[u0, v0]
    jacobian, residuals = diagonal_jacobian(X, u0, v0), X @ (u0 * v0) - Y
    np.testing.assert_allclose(moved[0], -lr * jacobian.T @ residuals / 2, atol=1e-15)
    matrix = (moved[1:] - moved[0]).T
    expected = lr * gradient_covariance(jacobian, residuals, **model)
    np.testing.assert_allclose(matrix @ matrix.T, expected, atol=1e-15)
    doubled = sde_diagonal(X, Y, [lr], brownian=paths, u0=u0, v0=v0, factor=2, **model)
    np.testing.assert_allclose(
        np.concatenate([doubled.u, doubled.v], axis=-1)[1:, 1] - np.r_[u0, v0] - moved[0],
        math.sqrt(2) * matrix.T,
        atol=1e-15,
    )


def brownian(rng, runs, lr, substeps):
    steps = len(lr)
    root = np.sqrt(np.array(lr) / substeps)[:, None, None]
    return root * rng.standard_normal((runs, steps, substeps, 2))


def coarser(paths, times):
    runs, steps, substeps, n = paths.shape
    return paths.reshape(runs, steps, substeps // times, times, n).sum(axis=3)


def fitted_order(errors):
    """Slope of log error against log step, each error at half the step of the one before."""
    return -np.polyfit(np.arange(len(errors)), np.log2(errors), 1)[0]


def test_strong_order_is_one_half():
    """Mean distance at the end from the path with 256 substeps, on the same Brownian motion."""
    lr, model = [0.2, 0.2], {"u0": 1.0, "v0": 0.3, "label_noise": 1.0}
    paths = brownian(generator(5), 500, lr, 256)
    fine = sde_diagonal(X, Y, lr, brownian=paths, **model).beta[:, -1]
    errors = []
    for substeps in (4, 8, 16, 32):
        coarse = sde_diagonal(X, Y, lr, brownian=coarser(paths, 256 // substeps), **model)
        errors.append(np.linalg.norm(coarse.beta[:, -1] - fine, axis=-1).mean())
    assert fitted_order(errors) == pytest.approx(0.5, abs=0.12)


def test_weak_order_is_one():
    """Expectations by Gauss-Hermite quadrature over the increments, hence without sampling error.

    Differences between steps that halve must halve too.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(6)
    weights = weights / weights.sum()
    lr, means = [0.01], []
    for substeps in (1, 2, 4):
        grid = np.array(list(itertools.product(nodes, repeat=substeps)))
        weight = np.prod(list(itertools.product(weights, repeat=substeps)), axis=1)
        paths = math.sqrt(lr[0] / substeps) * grid[:, None, :, None]
        runs = sde_diagonal(X[:1], Y[:1], lr, brownian=paths, u0=1.0, v0=0.3, label_noise=1.0)
        means.append(weight @ (runs.u[:, -1] ** 2).sum(axis=-1))
    assert (means[0] - means[1]) / (means[1] - means[2]) == pytest.approx(2, abs=0.1)
    assert abs(means[0] - means[1]) > 1e-9


def test_fine_steps_agree_with_the_multiplicative_form():
    """Ito in the coordinates u + v and u - v, whose logarithms have additive noise."""
    lr, q, substeps = [0.5, 0.5], 0.6, 1024
    paths = brownian(generator(6), 20, lr, substeps)
    runs = sde_diagonal(X, Y, lr, brownian=paths, u0=1.0, v0=0.3, batch=None, label_noise=q)
    for path, end in zip(paths, runs.beta[:, -1], strict=True):
        plus, minus, h = np.full(3, 1.3), np.full(3, 0.7), lr[0] / substeps
        spread = lr[0] * q**2 / 4 * (X**2).sum(axis=0)
        for increment in path.reshape(-1, 2):
            r = X @ (plus**2 - minus**2) / 4 - Y
            s = h * r @ X / 2 + math.sqrt(lr[0]) * q / 2 * increment @ X
            plus, minus = plus * np.exp(-s - h * spread / 2), minus * np.exp(s - h * spread / 2)
        np.testing.assert_allclose(end, (plus**2 - minus**2) / 4, atol=0.02)


def test_without_noise_it_is_the_flow():
    lr = constant(0.05, 40)
    runs = sde_diagonal(X, Y, lr, brownian=np.zeros((1, 40, 64, 2)), u0=0.5, v0=0.2)
    flow = diagonal_flow([2.0], X, Y, u0=0.5, v0=0.2)
    np.testing.assert_allclose(runs.beta[0, -1], flow.beta[0, -1], atol=2e-4)


def shrinkage(runs):
    """Mean change of log|u^2 - v^2|."""
    logs = np.log(np.abs((runs.u - runs.v) * (runs.u + runs.v)))
    return (logs[:, -1] - logs[:, 0]).mean()


@pytest.mark.parametrize("seed", [1, 2])
def test_factor_of_the_model(task, seed):
    """SGD shrinks |u^2 - v^2| as fast as the model, and not as half or twice its variance."""
    lr, noise = constant(0.01, 10_000), {"label_noise": 0.5}
    sgd = shrinkage(train_diagonal(task.x, task.y, lr, runs=20, rng=generator(seed), **noise))
    options = {"runs": 6, "substeps": 1, **noise}
    for factor, low, high in ((1, 0.96, 1.04), (0.5, 0.45, 0.55), (2, 1.85, 2.15)):
        model = sde_diagonal(task.x, task.y, lr, factor=factor, rng=generator(seed + 10), **options)
        assert low < shrinkage(model) / sgd < high


@pytest.mark.parametrize("batch", [4, None])
def test_batches_divide_the_noise(task, batch):
    lr, noise = constant(0.05, 4000), {"label_noise": 0.5, "batch": batch}
    sgd = shrinkage(train_diagonal(task.x, task.y, lr, runs=20, rng=generator(1), **noise))
    model = sde_diagonal(task.x, task.y, lr, runs=10, substeps=2, rng=generator(2), **noise)
    # What is left is the square of the mean gradient, which shrinks at discrete steps only.
    assert shrinkage(model) / sgd == pytest.approx(1, abs=0.07)


def test_runs_and_records(task):
    lr = constant(0.05, 300)
    one = sde_diagonal(task.x, task.y, lr, rng=generator(1))
    many = sde_diagonal(task.x, task.y, lr, rng=generator(1), runs=3, record=[0, 5, 300])
    assert (one.u[0, -1] == many.u[0, -1]).all()
    assert many.beta.shape == (3, 3, 40)
    root = np.sqrt(0.05 / 10)
    streams = generator(1).spawn(3)
    paths = np.array([root * s.standard_normal((300, 10, 20)) for s in streams])
    same = sde_diagonal(task.x, task.y, lr, brownian=paths)
    np.testing.assert_allclose(same.u[:, -1], many.u[:, -1], rtol=1e-9)


def test_divergence_is_a_result(task):
    runs = sde_diagonal(task.x, task.y, constant(3.0, 500), rng=generator(1), runs=2, substeps=1)
    assert runs.diverged.all()
    assert np.isnan(runs.u[:, -1]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance": "full"}, 'must be one of "centred", "diagonal", "isotropic"'),
        ({"level": 0.1}, "level is the loss of"),
        ({"covariance": "isotropic", "level": -0.1}, "level must not be negative"),
        ({"factor": 0.0}, "factor must be positive"),
        ({"batch": 0}, "batch must be"),
        ({"substeps": 0}, "substeps must be"),
        ({"runs": 0}, "runs must be"),
    ],
)
def test_bad_models(options, message):
    with pytest.raises(ValueError, match=message):
        sde_diagonal(X, Y, [0.1], rng=generator(), **options)


def test_bad_paths_and_jacobians():
    with pytest.raises(ValueError, match="brownian must have shape"):
        sde_diagonal(X, Y, [0.1], brownian=np.zeros((1, 1, 1, 3)))
    with pytest.raises(ValueError, match="one row per residual"):
        gradient_covariance(X, [1.0])
