"""What the studies of real training rest on: REML, lazy flows, targets, parts of the samples."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar

from dlnlib.stopping import probe_degrees_of_freedom
from dlnlib.studies.regret_probe import (
    MinibatchSGD,
    held_runs,
    lazy_flow,
    linear_rules,
    part_run,
    probe_rules,
    reml_time,
    settled,
)
from dlnlib.studies.regret_regression import (
    TwoLayers,
    _one_layer,
    _parts,
    _Regression,
    _two_layers,
    regression_set,
)


def samples(rng, n=30, d=6, k=3, noise=1.0):
    x = rng.standard_normal((n, d)) * np.linspace(0.5, 2, d)
    return x, x @ rng.standard_normal((d, k)) + noise * rng.standard_normal((n, k))


@pytest.mark.parametrize("seed", range(4))
def test_reml_time_is_the_top_of_the_likelihood(seed):
    """Profile of N(0, s^2 exp(rate t)) on a grid, and by a search that knows no derivative."""
    rng = np.random.default_rng(seed)
    rates, truth = rng.uniform(0, 2, 300), 1.5
    energies = np.exp(rates * truth) * rng.standard_normal(300) ** 2

    def cost(t):
        return np.log(np.mean(energies * np.exp(-rates * t))) + rates.mean() * t

    found = reml_time(rates, energies)
    best = minimize_scalar(cost, bounds=(0, 10), method="bounded", options={"xatol": 1e-9}).x
    assert found == pytest.approx(best, abs=1e-5)
    assert found == pytest.approx(truth, abs=0.5)
    losses = energies * np.exp(-rates * found)
    assert abs(np.cov(losses, rates)[0, 1]) < 1e-9 * losses.mean()  # uncorrelated


def test_reml_does_not_train_where_there_is_no_signal():
    rates = np.linspace(0.1, 2, 20)
    assert reml_time(rates, 1 / rates) == 0
    assert reml_time(rates, np.append(np.zeros(19), 1.0)) > 300  # one direction, no noise


def test_lazy_flow_is_the_integrated_flow_and_a_posterior_mean():
    rng = np.random.default_rng(0)
    x, y = samples(rng)
    lazy, n = lazy_flow(x, y), len(x)
    at = [20, 120, 200]  # to an exponent of about ten
    flow = solve_ivp(
        lambda _, w: ((y - x @ w.reshape(3, 6).T).T @ x / n).ravel(),
        (0, lazy.t[200]),
        np.zeros(18),
        "LSODA",
        t_eval=lazy.t[at],
        rtol=1e-10,
        atol=1e-12,
    )
    assert_allclose(flow.y.T.reshape(-1, 3, 6), lazy.maps[at], atol=1e-7)
    # Var(y) = exp(K t) with noise 1: the mean of the signal given y is what the flow predicts
    rates, u = np.linalg.eigh(x @ x.T / n)
    for i in at:
        covariance = (u * np.exp(rates * lazy.t[i])) @ u.T
        mean = (covariance - np.eye(n)) @ np.linalg.solve(covariance, y)
        assert_allclose(mean, x @ lazy.maps[i].T, atol=1e-6)


def test_lazy_stop_reads_the_directions_that_the_flow_never_enters():
    x, y = samples(np.random.default_rng(1))
    kernel, u = np.linalg.eigh(x @ x.T / len(x))
    whole = reml_time(np.maximum(kernel, 0), ((u.T @ y) ** 2).sum(axis=1))
    assert lazy_flow(x, y).stop == pytest.approx(whole, rel=1e-6)


def test_every_training_of_a_draw_has_the_same_start_and_batches():
    rng = np.random.default_rng(2)
    x, y = samples(rng, d=4, k=4)
    weights = [0.1 * rng.standard_normal((4, 4)) for _ in range(2)]
    training = MinibatchSGD(weights, rng.random((60, 5)), 0.02, 6)
    one, two = training.maps(x, y), training.maps(x, y)
    assert_allclose(one, two, rtol=0)
    assert len(one) == training.t.size == 11
    assert_allclose(training.maps(x[:20], y[:20])[0], weights[1] @ weights[0])
    # by hand: one step on one batch
    rows = (training.order[0] * 30).astype(int)
    first, second = weights
    rest = (y[rows] - x[rows] @ (second @ first).T) / 5
    step = [
        first + 0.02 * second.T @ rest.T @ x[rows],
        second + 0.02 * rest.T @ (x[rows] @ first.T),
    ]
    single = MinibatchSGD(weights, training.order[:1], 0.02, 1).maps(x, y)
    assert_allclose(single[1], step[1] @ step[0])


def test_estimates_are_those_of_the_probes():
    """Stein and cross-validation written out, for a training that is a linear smoother."""
    rng, t = np.random.default_rng(3), np.linspace(0, 4, 60)
    rates, y = rng.uniform(0, 2, 40), rng.standard_normal(40)

    def train(z):
        return -np.expm1(-np.outer(t, rates)) * z

    fitted = train(y)
    rules = probe_rules(t, y, fitted, train, 0.7, np.random.default_rng(4))
    assert [name for name in rules if name.startswith("risk")] == ["risk_1", "risk_2", "risk_4"]
    stream = np.random.default_rng(4)
    df = np.mean([probe_degrees_of_freedom(train, y, rng=stream) for _ in range(2)], axis=0)
    assert_allclose(df, -np.expm1(-np.outer(t, rates)).sum(axis=1), rtol=1e-9)  # diagonal
    rest = ((fitted - y) ** 2).sum(axis=1)
    cell = t[1]
    assert abs(rules["risk_2"](None) - t[np.argmin(rest + 1.4 * df)]) < cell
    unspent = 1 - df / 40
    assert (
        abs(rules["gcv_2"](None) - t[np.argmin(rest[unspent > 0.1] / unspent[unspent > 0.1] ** 2)])
        < cell
    )


def test_cross_validation_is_not_read_where_all_is_spent():
    """Nought over nought: the residual of an interpolation has no say."""
    t, y = np.linspace(0, 10, 101), np.array([1.0, -1.0, 2.0, -2.0])

    def train(z):
        return -np.expm1(-t)[:, None] * z * (1 + 0.01 * t[:, None])  # fits a little too well

    rules = probe_rules(t, y, train(y), train, 0.1, np.random.default_rng(0))
    assert rules["gcv_1"](None) < 2.4  # 1 - exp(-2.3) is nine tenths


def test_targets_are_shrunk_in_white_coordinates():
    """With inputs that are white, those of the correlations themselves."""
    rng = np.random.default_rng(5)
    q = np.linalg.qr(rng.standard_normal((60, 8)))[0]
    x = np.sqrt(60) * q
    w = np.outer(np.eye(8)[0], np.eye(8)[1]) * 3
    y = x @ w.T + rng.standard_normal((60, 8))
    grid = np.linspace(0, 1.2, 241)
    maps = grid[:, None, None] * (y.T @ x / 60)
    rules = linear_rules(grid, maps, x, y, lambda z: maps, rng)
    sigma = y.T @ x / 60
    noise = np.sqrt(((y - x @ sigma.T) ** 2).sum() / (52 * 8) * 8 / 60)
    u, s, vt = np.linalg.svd(sigma)
    shrunk = np.where(s > 2 * noise, np.sqrt(np.maximum(s**2 - 4 * noise**2, 0)), 0)
    target = (u * shrunk) @ vt
    best = (sigma * target).sum() / (sigma**2).sum()
    assert rules["target"](None) == pytest.approx(best, abs=1e-3)


def test_held_runs_train_once_for_each_part():
    calls, t = [], np.arange(5.0)

    def without(out):
        calls.append(out)
        return part_run(t, 1 + t, 1 + t)

    held = held_runs(without)
    assert len(calls) == len(set(calls)) == 6
    assert held["validation"][0] is held["validation_folds"][0]


def test_costs_in_trainings():
    draw = dict.fromkeys(
        [
            "validation",
            "validation_folds",
            "validation_retrained",
            "validation_10_retrained",
            "risk_1",
            "gcv_4",
            "target",
        ],
        (1.0, 1.0, 1.0),
    )
    rows = settled([draw, draw])
    assert [row["trainings"] for row in rows] == [1, 6, 2, 2, 2, 5, 1]


@pytest.mark.parametrize("relu", [False, True])
def test_two_layers_descend_the_loss_and_have_their_tangent_kernel(relu):
    rng = np.random.default_rng(6)
    x, y = samples(rng, n=20, d=5, k=2)
    weights = [rng.standard_normal((7, 5)), rng.standard_normal((2, 7))]

    def predict(first, second, z):
        hidden = z @ first.T
        return (np.maximum(hidden, 0) if relu else hidden) @ second.T

    def loss(flat):
        first, second = flat[:35].reshape(7, 5), flat[35:].reshape(2, 7)
        return ((predict(first, second, x) - y) ** 2).sum() / 40

    flat, h = np.concatenate([w.ravel() for w in weights]), 1e-6
    gradient = [(loss(flat + h * e) - loss(flat - h * e)) / (2 * h) for e in np.eye(49)]
    lr = 1e-3
    moved = flat - lr * np.array(gradient)
    training = TwoLayers(weights, relu, lr, np.array([0, 1]))
    before, after = training.predictions(x, y, x)
    assert_allclose(before, predict(*weights, x))
    expected = predict(moved[:35].reshape(7, 5), moved[35:].reshape(2, 7), x)
    assert_allclose(after, expected, atol=1e-8)
    # the kernel of the first output, from differences
    single = TwoLayers([weights[0], weights[1][:1]], relu, lr, np.array([0]))
    flat = np.concatenate([weights[0].ravel(), weights[1][0]])

    def output(f):
        return predict(f[:35].reshape(7, 5), f[35:].reshape(1, 7), x)[:, 0]

    jacobian = np.array(
        [(output(flat + h * e) - output(flat - h * e)) / (2 * h) for e in np.eye(42)]
    )
    assert_allclose(single.tangent_kernel(x, x), jacobian.T @ jacobian, atol=1e-6)


@pytest.mark.parametrize("relu", [False, True])
def test_parts_of_a_set(relu):
    x, y = regression_set("diabetes")
    assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-9)
    for out in ((), (0,), (4, 5)):
        inputs, outputs, rest, targets, held = _parts(x, y, 60, relu, out)
        assert len(inputs) == 60 - held == 60 - 6 * len(out)
        assert len(rest) == len(targets) == 442 - len(inputs)
        assert_allclose(outputs.mean(axis=0), 0, atol=1e-12)
        assert_allclose(inputs[:, :10].std(axis=0), 1)
        assert inputs.shape[1] == 10 + relu
    assert regression_set("linnerud")[1].shape == (20, 3)


@pytest.mark.parametrize("layers", [1, 2])
def test_leave_one_out_trains_without_each_sample(layers):
    """Against trainings on arrays from which the sample is gone; and the divergence."""
    problem = _Regression.draw(8, 15, 2.0, layers, np.random.default_rng(7))
    n = len(problem.y)
    alone = problem.paths(np.eye(n, dtype=bool), np.tile(problem.y, (n, 1)))
    follow = _one_layer if layers == 1 else _two_layers
    for i in (0, 7):
        x, y = np.delete(problem.x, i, axis=0), np.delete(problem.y, i)
        moments, cross = x.T @ x / (n - 1), x.T @ y / (n - 1)
        own = follow(problem.t, moments[None], cross[None], problem.start)[0]
        assert_allclose(alone[i], own, atol=1e-9)
    nothing = np.zeros((1, n), dtype=bool)
    beta = problem.paths(nothing, problem.y[None])[0]

    def train(z):
        return problem.paths(nothing, z[None])[0] @ problem.x.T

    df = problem._degrees_of_freedom(beta)
    single = [
        probe_degrees_of_freedom(train, problem.y, rng=rng, step=1e-4)
        for rng in np.random.default_rng(8).spawn(60)
    ]
    error = 4 * np.std(single, axis=0) / np.sqrt(60) + 2e-3
    assert (np.abs(np.mean(single, axis=0) - df) <= error).all()


def test_paths_of_one_and_two_layers_by_an_integrator():
    rng = np.random.default_rng(9)
    for layers, follow in ((1, _one_layer), (2, _two_layers)):
        problem = _Regression.draw(4, 12, 3.0, layers, rng)
        moments, cross = problem.x.T @ problem.x / 12, problem.x.T @ problem.y / 12
        t, start = problem.t[problem.t < 15], problem.start

        def velocity(_, flat, moments=moments, cross=cross, layers=layers):
            if layers == 1:
                return cross - moments @ flat
            gradient = cross - moments @ (flat[4] * flat[:4])
            return np.append(flat[4] * gradient, flat[:4] @ gradient)

        size = np.sqrt(np.linalg.norm(start))
        begin = np.zeros(4) if layers == 1 else np.append(start / size, size)
        flow = solve_ivp(velocity, (0, t[-1]), begin, t_eval=t, rtol=1e-10, atol=1e-12).y
        expected = flow.T if layers == 1 else (flow[4] * flow[:4]).T
        found = follow(t, moments[None], cross[None], start)[0]
        assert_allclose(found, expected, atol=1e-3)
