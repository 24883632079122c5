"""Claims of the chapter on SGD as a diffusion: factor, shrinkage, thresholds."""

import itertools
import math

import numpy as np
import pytest

from dlnlib.sgd import (
    constant,
    diagonal_jacobian,
    gradient_covariance,
    sde_diagonal,
    sparse_regression,
    stability_threshold,
    train_diagonal,
)


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def rows():
    """Rows of a Jacobian, in coordinates of their span."""
    return generator(1).standard_normal((5, 3))


def covariance_of(moves):
    return np.cov(np.transpose(moves), bias=True)


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_sgd_covariance(batch):
    """Every batch of five samples, with and without replacement, and every sign of the labels."""
    rng, n = generator(2), 5
    phi, r, q = rng.standard_normal((n, 4)), rng.standard_normal(n), 0.6
    moves = phi * r[:, None]
    centred = gradient_covariance(phi, r, batch=batch)
    if batch < 4:
        drawn = itertools.product(range(n), repeat=batch)
        several = [moves[list(i)].mean(axis=0) for i in drawn]
        np.testing.assert_allclose(covariance_of(several), centred, atol=1e-14)
    distinct = [moves[list(i)].mean(axis=0) for i in itertools.combinations(range(n), batch)]
    rest = (n - batch) / (n - 1)
    np.testing.assert_allclose(covariance_of(distinct), rest * centred, atol=1e-14)
    labels = [phi.T @ (e - r) / n for e in itertools.product([-q, q], repeat=n)]
    np.testing.assert_allclose(
        covariance_of(labels), gradient_covariance(phi, r, batch=None, label_noise=q), atol=1e-14
    )


def test_sgd_sde():
    """A step of the model has the first two moments of a step of SGD."""
    x, y = generator(3).standard_normal((3, 2)), np.array([0.5, -1.0, 0.2])
    u, v, lr = np.array([0.7, -0.3]), np.array([0.2, 0.9]), 0.05
    steps = np.array(
        [(x[i] @ (u * v) - y[i]) * np.concatenate([x[i] * v, x[i] * u]) for i in range(3)]
    )
    paths = math.sqrt(lr) * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
    runs = sde_diagonal(x, y, [lr], brownian=paths[:, None, None], u0=u, v0=v, covariance="centred")
    moved = np.concatenate([runs.u, runs.v], axis=-1)[:, 1] - np.concatenate([u, v])
    np.testing.assert_allclose(moved.mean(axis=0), -lr * steps.mean(axis=0), atol=1e-15)
    fluctuation = (moved[1:] - moved[0]).T
    np.testing.assert_allclose(
        fluctuation @ fluctuation.T / 2, lr**2 * covariance_of(steps), atol=1e-15
    )


@pytest.mark.parametrize(("halves", "constant_times_n"), [(2, 2), (1, 4)])
def test_level_noise(halves, constant_times_n):
    """Noise of the gradient of sum r^2 / (halves n) at a stationary point with equal |r|."""
    n, signs = 6, np.array([1, 1, -1, 1, -1, -1])
    phi = generator(4).standard_normal((n, 10))
    phi -= np.outer(signs, signs @ phi) / n
    r = 0.4 * signs
    delta = (r**2).sum() / (halves * n)
    sigma = covariance_of(2 / halves * phi * r[:, None])
    np.testing.assert_allclose(sigma, constant_times_n / n * delta * phi.T @ phi, atol=1e-14)
    literal = np.trace(delta * phi.T @ phi) / np.trace(sigma)
    assert literal == pytest.approx(n / constant_times_n)


def test_multiplicative_noise():
    """On every path of the model log|u^2 - v^2| falls by the integral of eta sigma^2."""
    x, y, lr, q, substeps = np.array([[0.6, -0.4], [0.3, 0.5]]), np.array([0.4, -0.2]), 0.5, 0.8, 64
    pieces, n = 40, 2
    root = math.sqrt(lr / pieces / substeps)
    paths = root * generator(5).standard_normal((30, pieces, substeps, n))
    runs = sde_diagonal(
        x, y, [lr / pieces] * pieces, brownian=paths, u0=1.0, v0=0.4, label_noise=q, factor=pieces,
        record=range(pieces + 1),
    )  # fmt: skip
    squares = (runs.beta @ x.T - y) ** 2 + q**2
    rate = squares @ x**2 / n
    logs = np.log(np.abs(runs.u**2 - runs.v**2))
    expected = -(lr**2) / pieces * (rate[:, 1:] + rate[:, :-1]).sum(axis=1) / 2
    np.testing.assert_allclose(logs[:, -1] - logs[:, 0], expected, atol=0.012)
    assert np.abs(expected).min() > 0.02
    wandering = np.log(np.abs(runs.u + runs.v))
    assert (wandering[:, -1] - wandering[:, 0]).std() > 5 * (logs[:, -1] - logs[:, 0]).std()


def test_sgd_shrinkage():
    """Exact for each step; the expected g^2 is that of the diagonal covariance."""
    task, q, lr = sparse_regression(6, 8, 2, rng=generator(6)), 0.3, 0.1
    runs = train_diagonal(
        task.x, task.y, constant(lr, 30), label_noise=q, u0=0.7, v0=0.2, rng=generator(7),
        record=range(31),
    )  # fmt: skip
    u, v = runs.u[0], runs.v[0]
    step = (u[:-1] - u[1:]) / v[:-1]  # eta g
    gap = u**2 - v**2
    np.testing.assert_allclose(gap[1:], gap[:-1] * (1 - step**2), rtol=1e-9)
    r = task.x @ runs.beta[0, 0] - task.y
    drawn = [(r[i] - e) * task.x[i] for i in range(6) for e in (-q, q)]
    expected = (r**2 + q**2) @ task.x**2 / 6
    np.testing.assert_allclose(np.mean(np.square(drawn), axis=0), expected)
    sigma = gradient_covariance(task.x, r, covariance="diagonal", label_noise=q)
    np.testing.assert_allclose(np.diag(sigma), expected)


def test_column_norm():
    u, v = generator(8).standard_normal((2, 50))
    np.testing.assert_allclose(u**2 + v**2, np.sqrt(4 * (u * v) ** 2 + (u**2 - v**2) ** 2))
    x = generator(9).standard_normal((7, 50))
    columns = (diagonal_jacobian(x, u, v) ** 2).sum(axis=0).reshape(2, 50).sum(axis=0)
    np.testing.assert_allclose(columns, (x**2).sum(axis=0) * (u**2 + v**2))


def test_pure_noise():
    """Signs in place of Gaussian steps: the mean is exact for any number of them."""
    s, k, start = 1.5, 4000, np.array([1.2, 0.5])
    step = math.sqrt(s / k)
    heads = generator(10).binomial(k, 0.5, 4001)
    plus = (start.sum() * np.exp(heads * np.log1p(step) + (k - heads) * np.log1p(-step))) ** 2
    assert np.median(plus) == pytest.approx(start.sum() ** 2 * math.exp(-s), rel=0.1)
    # E (1 +- step)^2 = 1 + step^2, for u + v and for u - v
    assert (1 + step**2) ** k == pytest.approx(math.exp(s), rel=1e-3)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    walk = np.exp(np.outer([-2, 2], math.sqrt(s) * nodes) - s)
    mean = (start.sum() ** 2 * walk[0] + np.diff(start) ** 2 * walk[1]) / 2 @ weights
    expected = (start**2).sum() * math.exp(s)
    assert mean / weights.sum() == pytest.approx(expected, rel=1e-9)


def mean_square_map(rows, lr):
    """The operator of the moments of z, with r = rows z, as a matrix on vec(E z z^T)."""
    n, p = rows.shape
    gram, one = rows.T @ rows, np.eye(p)
    noise = sum(np.kron(np.outer(a, a), np.outer(a, a)) for a in rows)
    return (-(np.kron(gram, one) + np.kron(one, gram)) + lr * noise) / n


def test_mean_square(rows):
    n, p = rows.shape
    gram = rows @ rows.T
    moments = generator(11).standard_normal((p, p))
    moments = moments @ moments.T
    for lr in (0.05, 0.3):
        stepped = np.mean(
            [(np.eye(p) - lr * np.outer(a, a)) @ moments @ (np.eye(p) - lr * np.outer(a, a))
             for a in rows], axis=0,
        )  # fmt: skip
        change = (mean_square_map(rows, lr) @ moments.ravel()).reshape(p, p)
        np.testing.assert_allclose(stepped, moments + lr * change, atol=1e-12)
        s = rows @ moments @ rows.T
        spelled = -(gram @ s + s @ gram) / n + lr / n * gram @ np.diag(np.diag(s)) @ gram
        np.testing.assert_allclose(rows @ change @ rows.T, spelled, atol=1e-11)


@pytest.mark.parametrize("part", [0.5, 0.999, 1.001, 1.5])
def test_one_threshold_for_both(rows, part):
    lr = part * stability_threshold(rows)
    generator_matrix = mean_square_map(rows, lr)
    abscissa = np.linalg.eigvals(generator_matrix).real.max()
    radius = np.abs(np.linalg.eigvals(np.eye(9) + lr * generator_matrix)).max()
    assert (abscissa < 0) == (radius < 1) == (part < 1)


@pytest.mark.parametrize("kappa", [0.5, 2.5])
def test_typical_growth(kappa):
    """Orthogonal rows: every residual is on its own, here one of them."""
    n, steps, substeps, rng = 4, 4000, 64, generator(12)
    drawn = (rng.integers(n, size=(50, steps)) == 0).sum(axis=1) / steps
    sgd = drawn * math.log(abs(1 - kappa))
    assert sgd.mean() == pytest.approx(math.log(abs(1 - kappa)) / n, rel=0.02)
    z = rng.standard_normal((steps, substeps))
    factors = 1 - kappa / (n * substeps) - kappa * z / math.sqrt(n * substeps)
    model = np.log(np.abs(factors)).sum() / steps
    assert model == pytest.approx(-(kappa + kappa**2 / 2) / n, abs=0.05)
    assert (sgd.mean() > 0) == (kappa > 2)
    assert np.square(1 - kappa / n) + kappa**2 / n * (1 - 1 / n) == pytest.approx(
        1 + kappa * (kappa - 2) / n
    )  # second moment of an Euler step with centred noise, of a step of SGD


@pytest.mark.parametrize("seed", [27, 39])
def test_above_the_threshold_sgd_stays_and_the_model_falls(seed):
    task = sparse_regression(80, 200, 20, rng=generator(seed))
    root = np.sqrt(task.teacher)
    eta_star = stability_threshold(diagonal_jacobian(task.x, root, root))
    start, ends = {"u0": root + 0.02, "v0": root - 0.02}, {}
    for part in (0.5, 1.1):
        lr = constant(part * eta_star, 2000)
        sgd = train_diagonal(task.x, task.y, lr, runs=16, rng=generator(1), **start)
        model = sde_diagonal(task.x, task.y, lr, runs=6, substeps=6, rng=generator(2), **start)
        ends[part] = [
            np.median(runs.survivors().loss(task.x, task.y)[:, -1]) for runs in (sgd, model)
        ]
        assert max(sgd.diverged.mean(), model.diverged.mean()) < 0.5
    assert 0.4 < ends[0.5][0] / ends[0.5][1] < 2.5
    assert ends[1.1][0] > 50 * ends[1.1][1]


@pytest.mark.parametrize("run", [0, 1])
def test_imported_level(run):
    """Shorter than in the chapter, and for the level of two runs of SGD."""
    data, steps = sparse_regression(80, 200, 20, rng=generator(39)), 20_000
    lr, every = constant(0.26, steps), np.arange(0, steps, 50)
    sgd = train_diagonal(data.x, data.y, lr, runs=4, rng=generator(2), record=every).survivors()
    level = sgd.loss(data.x, data.y)[run]
    model = {"covariance": "isotropic", "level": np.interp(np.arange(steps), every, level)}
    ratios = []
    for factor in (0.5, 1, 2):
        noisy = sde_diagonal(
            data.x, data.y, lr, **model, factor=factor, substeps=1, rng=generator(run), record=every
        )
        loss = noisy.loss(data.x, data.y)[0]
        ratios.append(np.median(loss[100:]) / np.median(level[100:]))
    assert ratios[0] < 0.7 < ratios[1] < 1.3 < ratios[2]


def test_drivers_are_correlated():
    """The noise of 2 d weights comes from n motions; u_k and v_k share theirs."""
    x, (u, v) = generator(13).standard_normal((4, 6)), generator(14).uniform(0.5, 1, (2, 6))
    phi = diagonal_jacobian(x, u, v)
    sigma = gradient_covariance(phi, np.ones(4), covariance="isotropic", level=0.5)
    assert np.linalg.matrix_rank(sigma) == 4
    lengths = np.linalg.norm(phi, axis=0)
    correlation = sigma * 4 / np.outer(lengths, lengths)
    np.testing.assert_allclose(np.diag(correlation), 1)
    np.testing.assert_allclose(np.diag(correlation[:6, 6:]), 1)
