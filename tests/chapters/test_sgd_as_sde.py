"""Claims of the chapter on SGD as a diffusion: factor, shrinkage, thresholds."""

import itertools
import math

import numpy as np
import pytest
from scipy.linalg import solve_continuous_lyapunov
from scipy.stats import ks_2samp

from dlnlib.sgd import (
    constant,
    diagonal_jacobian,
    gradient_covariance,
    sde_diagonal,
    sparse_regression,
    stability_threshold,
    stationary_covariance,
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


def independent_rows(shape):
    return generator(15).standard_normal(shape)


@pytest.mark.parametrize("shape", [(6, 3), (4, 6)])
def test_oscillation(shape):
    """The moments of SGD with noisy labels, stepped until they rest; bounds, trace, equal case."""
    rows, q = independent_rows(shape), 0.3
    n, p = shape
    lr = 0.6 * stability_threshold(rows)
    moments = np.zeros((p, p))
    kept = np.array([np.eye(p) - lr * np.outer(a, a) for a in rows])
    noise = (lr * q) ** 2 * rows.T @ rows / n
    for _ in range(40_000):
        moments = np.mean(kept @ moments @ kept.transpose(0, 2, 1), axis=0) + noise
    gram = rows.T @ rows
    rho = (rows @ moments * rows).sum(axis=1) + q**2
    np.testing.assert_allclose(
        gram @ moments + moments @ gram, lr * (rows.T * rho) @ rows, atol=1e-10
    )
    span = np.linalg.pinv(rows) @ rows
    for bound, sign in ((rho.min(), 1), (rho.max(), -1)):
        assert np.linalg.eigvalsh(sign * (moments - lr / 2 * bound * span))[0] > -1e-10
    leverage = np.diag(rows @ np.linalg.pinv(gram) @ rows.T)
    assert np.trace(moments) == pytest.approx(lr / 2 * leverage @ rho)
    if n < p:  # full row rank: the mean level alone decides
        assert np.trace(moments) == pytest.approx(n * lr * rho.mean() / 2)
    found, squares = stationary_covariance(rows, lr, label_noise=q)
    np.testing.assert_allclose(found, moments, atol=1e-10)
    np.testing.assert_allclose(squares, rho, rtol=1e-8)


def test_oscillation_at_a_level_is_isotropic():
    """Noise sqrt(2 eta delta / n) phi^T dB against the pull of the loss, by SciPy; c = 1 beside."""
    rows, lr, delta, n = independent_rows((6, 3)), 0.01, 0.2, 6
    gram = rows.T @ rows
    for c, times in ((2 / n, 1), (1, n / 2)):
        moments = solve_continuous_lyapunov(-gram / n, -c * lr * delta * gram)
        np.testing.assert_allclose(moments, times * lr * delta * np.eye(3), atol=1e-12)


@pytest.mark.parametrize("part", [0.1, 0.9])
def test_weights_stray_as_predicted_at_the_teacher(part):
    """Each u_j of the support by sqrt(eta delta / 2), beta_j by sqrt(2 beta_j eta delta)."""
    task, q = sparse_regression(80, 200, 20, rng=generator(16)), 1e-3
    root = np.sqrt(task.teacher)
    lr = part * stability_threshold(diagonal_jacobian(task.x, root, root))
    runs = train_diagonal(
        task.x, task.y, constant(lr, 60_000), u0=root, v0=root, label_noise=q, runs=20,
        rng=generator(17), record=range(30_000, 60_001, 100),
    )  # fmt: skip
    level = runs.loss(task.x, task.y).mean() + q**2 / 2
    weights = ((runs.u - root)[..., :20] ** 2).mean(axis=(0, 1))
    assert np.sqrt(weights.mean() / (lr * level / 2)) == pytest.approx(1, abs=0.06)
    beta = ((runs.beta - task.teacher)[..., :20] ** 2).mean(axis=(0, 1))
    each = np.sqrt(beta / (2 * task.teacher[:20] * lr * level))
    assert np.median(each) == pytest.approx(1, abs=0.1)
    assert not runs.u[..., 20:].any()


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


@pytest.mark.parametrize("seed", [2, 3])
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


def test_imported_level():
    """Other data sets than in the chapter; the level and the shrinking that come out."""
    ratios = []
    for stream in generator(2).spawn(8):
        data, steps = sparse_regression(80, 200, 20, rng=stream), 6000
        root = np.sqrt(data.teacher)
        edge = stability_threshold(diagonal_jacobian(data.x, root, root))
        lr, every = constant(1.06 * edge, steps), np.arange(0, steps, 20)
        options = {"record": every, "rng": stream}
        sgd = train_diagonal(data.x, data.y, lr, runs=6, **options).survivors()
        level = np.interp(np.arange(steps), every, sgd.loss(data.x, data.y)[0])
        models = [
            sde_diagonal(
                data.x, data.y, lr, covariance="isotropic", level=level, factor=factor, substeps=1,
                **options,
            )
            for factor in (0.5, 1, 2)
        ]  # fmt: skip
        found = [
            [
                np.median(runs.loss(data.x, data.y)[0, 50:]),
                -np.log(np.median(np.hypot(runs.u, runs.v)[0, -1, 20:]) / 0.1),
            ]
            for runs in (sgd, *models)
        ]
        ratios.append(np.array(found[1:]) / found[0])
    half, right, double = np.nanmedian(ratios, axis=0)
    assert (half < 0.65).all()
    assert np.abs(right - 1).max() < 0.2
    assert (double > 1.5).all()


def test_in_distribution_the_factor_shows_before_the_step_does():
    """Kolmogorov-Smirnov distances, on the task of the chapter."""
    task = sparse_regression(20, 40, 4, rng=generator(0))
    apart = {}
    for lr in (0.05, 0.2):
        lrs, stream = constant(lr, round(20 / lr)), generator(18)
        sgd = train_diagonal(task.x, task.y, lrs, rng=stream, runs=800)
        for factor in (0.5, 1, 2):
            model = sde_diagonal(
                task.x, task.y, lrs, rng=stream, runs=800 if factor == 1 else 200, factor=factor,
                substeps=round(max(2, 40 * lr)),
            )  # fmt: skip
            ends = [r.survivors().loss(task.x, task.y)[:, -1] for r in (sgd, model)]
            apart[lr, factor] = ks_2samp(*ends).statistic
    assert apart[0.05, 1] < 0.08
    assert min(apart[0.05, 0.5], apart[0.05, 2]) > 0.15
    assert apart[0.2, 1] > 0.1


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
