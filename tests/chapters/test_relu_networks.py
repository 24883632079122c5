"""The labelled equations and the claims of chapters/relu_networks.md."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlnlib.measures import feature_sparsity, numerical_rank
from dlnlib.sgd import (
    ReLUNetwork,
    gaussian_start,
    line_task,
    published_run,
    relu_sparsity,
    three_layer_task,
    train_relu,
    two_layer_task,
)

LABELS = {  # as printed in the public notebooks
    "two layers": [0.9664, -0.5862, 0.4440, 0.9520, 0.8456, 0.6576, -1.0138, 0.7839],
    "three layers": [-0.6163, 0.9799, 0.3886, 0.1911, 0.3208, -0.6920, -0.3344, -0.1105],
}
SAMPLES = {"two layers": 15, "three layers": 50}


@pytest.mark.parametrize(("widths", "biases"), [((1, 30, 1), (True, False)), ((4, 6, 5, 1), True)])
def test_relu_step(widths, biases):
    """One step of the compiled loop, with the gradient of one output by finite differences."""
    network, rng = ReLUNetwork(widths, biases), np.random.default_rng(2)
    theta = gaussian_start(network, 0.7, rng=rng)[0]
    x, y, eta, i = rng.standard_normal((5, widths[0])), rng.standard_normal(5), 0.03, 3
    shifts = 1e-6 * np.eye(theta.size)
    gradient = (network.predict(theta + shifts, x[[i]]) - network.predict(theta - shifts, x[[i]]))[
        :, 0
    ] / 2e-6
    residual = network.predict(theta, x)[i] - y[i]
    moved = train_relu(network, theta, x, y, [eta], order=[i]).theta[0, -1]
    np.testing.assert_allclose(moved, theta - 2 * eta * residual * gradient, atol=1e-8)


def variation(network, theta, first, last):
    """Total variation of the slope between two inputs, from predictions alone."""
    w, b = network.weights(theta)[0][:, 0], network.bias_vectors(theta)[0]
    kinks = np.unique(np.round(-b / w, 9))  # some units end with one kink
    ends = np.concatenate([[first], kinks[(first < kinks) & (kinks < last)], [last]])
    values = network.predict(theta, ends[:, None])
    return np.abs(np.diff(np.diff(values) / np.diff(ends))).sum()


def least_variation(x, f):
    return np.abs(np.diff(np.diff(f) / np.diff(x))).sum()


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(3, 9))
def test_slope_variation(seed, units, n):
    """Both sides from the function, and the first one from the weights."""
    network, rng = ReLUNetwork((1, units, 1), (True, True)), np.random.default_rng(seed)
    theta = gaussian_start(network, 1.0, rng=rng)[0]
    x = np.cumsum(rng.uniform(0.1, 1, n)) - n / 4
    (w, a), b = network.weights(theta), network.bias_vectors(theta)[0]
    kinks = -b / w[:, 0]
    inside = (kinks > x[0]) & (kinks < x[-1])
    by_weights = np.abs(a[0] * w[:, 0])[inside].sum()
    assert by_weights == pytest.approx(variation(network, theta, x[0], x[-1]), rel=1e-6, abs=1e-6)
    least = least_variation(x, network.predict(theta, x[:, None]))
    assert by_weights >= least - 1e-9


def test_the_linear_spline_has_the_least_variation():
    """A network that is linear between its samples."""
    x, f = np.array([-1.0, 0.0, 0.5, 2.0]), np.array([1.0, 0.0, 2.0, 1.0])
    q = np.diff(f) / np.diff(x)
    network = ReLUNetwork((1, 3, 1))
    jumps = np.concatenate([[q[0]], np.diff(q)])
    theta = network.pack([np.ones((3, 1)), jumps[None]], [-x[:3], [f[0]]])
    np.testing.assert_allclose(network.predict(theta, x[:, None]), f, atol=1e-12)
    assert variation(network, theta, -1, 2) == pytest.approx(least_variation(x, f))


@pytest.fixture(scope="module")
def line_runs():
    """16 starts on the line: SGD and gradient descent with both schedules."""
    task, rng = line_task(rng=np.random.default_rng(5)), np.random.default_rng(6)
    starts, ends = task.starts(rng, 16), {}
    for share, lr in task.lr.items():
        for batch in (1, None):
            runs = train_relu(task.network, starts, task.x, task.y, lr, batch=batch, rng=rng)
            ends[share, batch] = runs.survivors().theta[:, -1]
    return task, ends


def test_noise_finds_the_linear_spline(line_runs):
    task, ends = line_runs
    x, excess = task.x[:, 0], {}
    for key, thetas in ends.items():
        assert len(thetas) == 16
        excess[key] = [
            variation(task.network, theta, x[0], x[-1])
            / least_variation(x, task.network.predict(theta, task.x))
            for theta in thetas
        ]
    assert np.median(excess["50 %", 1]) < 1.02
    assert min(excess["50 %", None]) > 1.5
    assert min(excess["2 %", 1]) > 5


def test_large_steps_lower_rank_and_coefficient_but_not_at_every_threshold(line_runs):
    task, ends = line_runs
    rank, coefficient = {}, {}
    for share in ("2 %", "50 %"):
        theta = ends[share, 1]
        s = np.linalg.svd(task.network.jacobian(theta, task.x_test), compute_uv=False)
        rank[share] = np.median(numerical_rank(s, [1e-3, 1e-4, 1e-8, 1e-12]), axis=0)
        units = task.network.features(theta, task.x)[0]
        for rho in (0.95, 0.999):
            found = [feature_sparsity(u, correlation=rho) for u in units]
            coefficient[share, rho] = np.median(found)
    assert (rank["50 %"] < rank["2 %"] / 2.5).all()
    assert coefficient["50 %", 0.999] < coefficient["2 %", 0.999] / 1.7
    assert coefficient["50 %", 0.95] > 1.4 * coefficient["2 %", 0.95]


@pytest.mark.parametrize("name", LABELS)
def test_published_labels(name):
    task, _, _ = published_run(name, np.random.RandomState)
    np.testing.assert_allclose(task.y[:8], LABELS[name], atol=5.1e-5)
    assert len(task.x) == SAMPLES[name]
    assert len(task.x_test) == 1000


@pytest.mark.parametrize(
    ("name", "share", "train", "test"),
    [
        ("line", "2 %", 2.085922606e-4, None),
        ("two layers", "small", 1.35383998e-5, 6.09822164e-4),
        ("three layers", "small", 1.37136818e-3, 6.13877662e-2),
        ("three layers", "10 %", 1.09716051e-3, 3.21812145e-2),
        ("three layers", "30 %", 1.00547925e-3, 2.47715097e-2),
    ],
)
def test_published_losses(name, share, train, test):
    """The runs that rounding does not decide."""
    task, start, order = published_run(name, np.random.RandomState)
    lr = task.lr[share]
    runs = train_relu(
        task.network, start, task.x, task.y, lr, order=order, record=[round(lr.size * 149 / 150)]
    )
    theta = runs.theta[0, 0]
    assert task.network.loss(theta, task.x, task.y) == pytest.approx(train, rel=0.01)
    if test is not None:
        loss = task.network.loss(theta, task.x_test, task.y_test)
        assert loss == pytest.approx(test, rel=1e-3)


def test_published_run_is_chosen_by_name():
    with pytest.raises(ValueError, match="name must be one of"):
        published_run("four layers", np.random.RandomState)


def test_large_steps_on_other_tasks():
    """Three layers, three fifths of the published step: sparser and better than the small one."""
    sparser, better = [], []
    for seed in range(6):
        task, rng = three_layer_task(rng=np.random.default_rng(seed)), np.random.default_rng(seed)
        starts, found = task.starts(rng, 8), {}
        for share, factor in (("small", 1), ("50 %", 0.6)):
            runs = train_relu(
                task.network, starts, task.x, task.y, factor * task.lr[share],
                rng=np.random.default_rng(1),
            )  # fmt: skip
            theta = runs.theta[:, -1]
            loss = task.network.loss(theta, task.x_test, task.y_test)
            found[share] = loss, relu_sparsity(task, theta).coefficients[-1]
        better.append(found["50 %"][0] < found["small"][0])
        sparser.append(found["50 %"][1] < found["small"][1])
    assert np.mean(better) > 0.7
    assert np.mean(sparser) > 0.9


@pytest.mark.parametrize("make", [line_task, two_layer_task, three_layer_task])
def test_tasks(make):
    """Shapes, inputs on the sphere, labels of one size, and one stream gives one task."""
    task, twin = make(rng=np.random.default_rng(1)), make(rng=np.random.default_rng(1))
    assert (task.x == twin.x).all()
    assert (task.y == twin.y).all()
    assert task.x.shape == (len(task.y), task.network.widths[0])
    assert len({lr.size for lr in task.lr.values()}) == 1
    starts = task.starts(np.random.default_rng(0), 3)
    assert starts.shape == (3, task.network.n_parameters)
    if task.y_test is not None:
        np.testing.assert_allclose(np.linalg.norm(task.x, axis=1), 1)
        assert task.y_test.shape == (1000,)
    else:
        assert set(np.abs(task.network.weights(starts)[0]).ravel()) == {2.5}
    if make is three_layer_task:
        assert 0.25 < task.y.var() < 1.25
