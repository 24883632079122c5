"""ReLU networks: derivatives against a complex step, SGD against a plain loop, bits, bad input."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlnlib.sgd import ReLUNetwork, gaussian_start, line_task, published_run, train_relu
from dlnlib.sgd.published import TorchNumbers, single_outputs, single_sphere

SHAPES = [
    ((1, 100, 1), (True, False)),
    ((5, 10, 10, 1), True),
    ((2, 20, 1), False),
    ((3, 7, 1, 5, 1), (False, True, False, True)),
    ((1, 1, 1), True),
]
for_each_shape = pytest.mark.parametrize(("widths", "biases"), SHAPES)


def plain(network, theta, x):
    """Predictions as they are written, also for complex parameters."""
    blocks = np.split(theta, np.cumsum(network.blocks)[:-1])
    h = x.T.astype(theta.dtype)
    for layer, (block, has) in enumerate(zip(blocks, network.biases, strict=True)):
        rows = block.reshape(-1, network.widths[layer + 1])
        h = rows[: network.widths[layer]].T @ h + (rows[-1][:, None] if has else 0)
        if layer < len(blocks) - 1:
            h = np.where(h.real > 0, h, 0)
    return h[0]


def complex_step(network, theta, x):
    """Jacobian (n, P) from one complex prediction per parameter, without cancellation."""
    steps = 1e-30j * np.eye(theta.size)
    return np.array([plain(network, theta + step, x).imag / 1e-30 for step in steps]).T


def plain_training(network, theta, x, y, lr, order):
    for eta, samples in zip(lr, order, strict=True):
        chosen = np.atleast_1d(samples)
        theta = theta - eta * network.gradient(theta, x[chosen], y[chosen])
    return theta


def example(widths, biases, seed=0, n=9, runs=1):
    rng = np.random.default_rng(seed)
    network = ReLUNetwork(widths, biases)
    theta = gaussian_start(network, 0.8, rng=rng, runs=runs)
    return network, theta, rng.standard_normal((n, widths[0])), rng.standard_normal(n)


@given(
    st.lists(st.integers(1, 8), min_size=2, max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
)
def test_jacobian_and_gradient_against_a_complex_step(widths, biases, n, seed):
    network, theta, x, y = example((*widths, 1), tuple(biases[: len(widths)]), seed, n)
    exact = complex_step(network, theta[0], x)
    np.testing.assert_allclose(network.jacobian(theta[0], x), exact, rtol=1e-10, atol=1e-10)
    residual = plain(network, theta[0], x) - y
    gradient = 2 * residual @ exact / n
    np.testing.assert_allclose(network.gradient(theta[0], x, y), gradient, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(network.loss(theta[0], x, y), np.mean(residual**2), rtol=1e-10)


@for_each_shape
def test_many_networks_at_once(widths, biases):
    """Leading axes of the parameters pass through every method."""
    network, theta, x, y = example(widths, biases, runs=6)
    many = theta.reshape(2, 3, -1)
    assert network.jacobian(many, x).shape == (2, 3, 9, network.n_parameters)
    for name, given_data in (
        ("predict", [x]),
        ("jacobian", [x]),
        ("loss", [x, y]),
        ("gradient", [x, y]),
    ):
        method = getattr(network, name)
        alone = np.array([method(one, *given_data) for one in theta])
        np.testing.assert_allclose(
            method(many, *given_data).reshape(alone.shape), alone, rtol=1e-12, atol=1e-12
        )
    for h, width in zip(network.features(many, x), widths[1:-1], strict=True):
        assert h.shape == (2, 3, 9, width)
        assert (h >= 0).all()


def test_derivative_at_the_kink_is_zero():
    network = ReLUNetwork((1, 1, 1), biases=False)
    theta = network.pack([[[2.0]], [[3.0]]])
    assert network.jacobian(theta, [[0.0], [1.0]]).tolist() == [[0, 0], [3, 2]]
    path = train_relu(network, theta, [[0.0]], [1.0], [0.1], order=[0])
    assert (path.theta[0, -1] == theta).all()


@for_each_shape
def test_pack_and_its_views(widths, biases):
    network, theta, _, _ = example(widths, biases)
    weights, biases = network.weights(theta[0]), network.bias_vectors(theta[0])
    assert [w.shape for w in weights] == list(zip(widths[1:], widths[:-1], strict=True))
    assert (network.pack(weights, biases) == theta[0]).all()
    weights[0][...] = 0
    assert (theta[0, : widths[0] * widths[1]] == 0).all()


def test_predictions_by_hand():
    """A hat function from three ReLUs."""
    network = ReLUNetwork((1, 3, 1), biases=(True, False))
    theta = network.pack([[[1], [1], [1]], [[1, -2, 1]]], [[1, 0, -1], None])
    hat = network.predict(theta, [[-2.0], [-0.5], [0.0], [0.25], [3.0]])
    assert hat.tolist() == [0, 0.5, 1, 0.75, 0]


@for_each_shape
def test_sgd_against_a_plain_loop(widths, biases):
    """11 runs, so that a group of eight and a part of one both occur."""
    network, theta, x, y = example(widths, biases, runs=11)
    rng = np.random.default_rng(1)
    lr, order = rng.uniform(1e-4, 2e-3, 60), rng.integers(9, size=(11, 60))
    runs = train_relu(network, theta, x, y, lr, order=order, record=[0, 20, 60])
    assert not runs.diverged.any()
    assert (runs.theta[:, 0] == theta).all()
    for row, stop in ((1, 20), (2, 60)):
        for run in range(11):
            expected = plain_training(network, theta[run], x, y, lr[:stop], order[run, :stop])
            np.testing.assert_allclose(runs.theta[run, row], expected, rtol=1e-9, atol=1e-11)


@for_each_shape
def test_batches_against_a_plain_loop(widths, biases):
    network, theta, x, y = example(widths, biases)
    lr = np.full(20, 1e-3)
    descent = train_relu(network, theta, x, y, lr, batch=None).theta[0, -1]
    every = [np.arange(9)] * 20
    np.testing.assert_allclose(
        descent, plain_training(network, theta[0], x, y, lr, every), rtol=1e-9, atol=1e-12
    )
    sgd = train_relu(network, theta, x, y, lr, batch=4, rng=np.random.default_rng(3))
    batches = np.random.default_rng(3).spawn(1)[0].integers(9, size=(20, 4))
    np.testing.assert_allclose(
        sgd.theta[0, -1],
        plain_training(network, theta[0], x, y, lr, batches),
        rtol=1e-9,
        atol=1e-12,
    )


def test_a_run_does_not_depend_on_the_others(monkeypatch):
    """Nor on the threads, the records or the length of the pieces in which samples are drawn."""
    network, theta, x, y = example((5, 10, 10, 1), True, runs=20)
    lr = np.full(3000, 0.01)

    def train(start, **options):
        rng = np.random.default_rng(5)
        return train_relu(network, start, x, y, lr, rng=rng, **options).theta[:, -1]

    everything = train(theta)
    assert np.isfinite(everything).all()
    assert (train(theta[:3]) == everything[:3]).all()
    assert (train(theta, record=[7, 1999, 3000]) == everything).all()
    monkeypatch.setattr("dlnlib._compiled._THREADED", 10**12)
    monkeypatch.setattr("dlnlib.sgd.relu._CHUNK", 100)
    assert (train(theta) == everything).all()


def test_the_bits_of_a_run():
    """The same bits on every machine; rounding grows a hundredfold on the way."""
    network, rng = ReLUNetwork((5, 10, 10, 1)), np.random.default_rng(3)
    start = 2.4 * rng.random(network.n_parameters) - 1.2
    x, y, lr = 2 * rng.random((50, 5)) - 1, 2 * rng.random(50) - 1, np.full(4000, 0.15)
    near = np.array([start, start * (1 + 1e-14)])
    order = np.random.default_rng(1).integers(50, size=4000)
    runs = train_relu(network, near, x, y, lr, order=order)
    assert np.abs(runs.theta[0, -1] - runs.theta[1, -1]).max() > 1e-12
    assert [value.hex() for value in runs.theta[0, -1, [0, 60, 170, 180]].tolist()] == BITS


BITS = [
    "-0x1.465250573067dp-1",
    "-0x1.88dcd7edc5ce7p-1",
    "-0x1.4375f7581c4ddp-1",
    "-0x1.d134f3931d866p-4",
]


def test_divergence_is_reported():
    network, theta, x, y = example((5, 10, 10, 1), True, runs=4)
    theta[1] *= 1e-3
    runs = train_relu(
        network, theta, x, y, np.full(200, 0.4), rng=np.random.default_rng(0), record=[0, 1, 200]
    )
    assert runs.diverged.any()
    for theta, at in zip(runs.theta, runs.diverged_at, strict=True):
        assert np.isfinite(theta[runs.t <= at] if at >= 0 else theta).all()
        assert at < 0 or np.isnan(theta[runs.t > at]).all()
    kept = runs.survivors()
    assert len(kept.theta) == (~runs.diverged).sum()
    assert not kept.diverged.any()
    with pytest.raises(ValueError, match="diverged"):
        network.predict(runs.theta, x)


def test_runs_that_fit():
    """A run that stays and fits, one that is dead, and one that diverges."""
    network, theta, x, y = example((5, 10, 10, 1), True, runs=3)
    theta[1] *= 1e-3
    theta[2] *= 10
    runs = train_relu(network, theta, x, y, np.full(4000, 0.02), batch=None)
    assert runs.diverged.tolist() == [False, False, True]
    assert runs.fitted(x, y).tolist() == [True, False, False]
    loss = network.loss(runs.theta[0, -1], x, y) / y.var()
    assert not runs.fitted(x, y, unexplained=0.9 * loss).any()
    assert runs.fitted(x, y, unexplained=1.1 * loss).any()


def test_gaussian_start_has_the_scales_asked_for():
    network = ReLUNetwork((4, 300, 200, 1), biases=(True, True, False))
    theta = gaussian_start(network, [0.5, 2.0, 0.0], rng=np.random.default_rng(0), runs=3)
    weights, biases = network.weights(theta), network.bias_vectors(theta)
    assert weights[0].std() == pytest.approx(0.5, rel=0.05)
    assert weights[1].std() == pytest.approx(2.0, rel=0.05)
    assert (weights[2] == 0).all()
    assert 0.49 < np.abs(biases[0]).max() <= 1 / 2
    assert np.abs(biases[1]).max() <= 1 / np.sqrt(300)
    assert biases[2] is None
    one = gaussian_start(network, [0.5, 2.0, 0.0], rng=np.random.default_rng(0))
    assert (one[0] == theta[0]).all()


def test_compiled_code_is_kept():
    """A second process finds the loop compiled."""
    code = (
        "import dlnlib.sgd.relu_kernel as k, dlnlib.sgd as r\n"
        "n = r.ReLUNetwork((1, 2, 1))\n"
        "r.train_relu(n, [0.0] * n.n_parameters, [[1.0]], [1.0], [0.1], batch=None)\n"
        "print(sum(k.sgd_steps.stats.cache_hits.values()))"
    )
    command = [sys.executable, "-c", code]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[1].stdout.strip() == "1"


@pytest.mark.parametrize(
    ("widths", "biases", "message"),
    [
        ((3, 1), True, "hidden layer"),
        ((3, 4, 2), True, "one output"),
        ((3, 0, 1), True, "integer >= 1"),
        ((3, 4, 1), (True,), "one entry per layer"),
    ],
)
def test_bad_shapes(widths, biases, message):
    with pytest.raises(ValueError, match=message):
        ReLUNetwork(widths, biases)


def test_bad_input():
    network, theta, x, y = example((2, 3, 1), True)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="parameters in its last axis"):
        network.predict(theta[0, :-1], x)
    with pytest.raises(ValueError, match="disagree"):
        network.pack(network.weights(theta[0]))
    with pytest.raises(ValueError, match="must have shape 3 x 2"):
        network.pack([np.ones((2, 3)), np.ones((1, 3))], [np.ones(3), [0.0]])
    with pytest.raises(ValueError, match="rng is needed"):
        train_relu(network, theta, x, y, [0.1])
    with pytest.raises(ValueError, match="one label per row"):
        train_relu(network, theta, x, y[:-1], [0.1], rng=rng)
    with pytest.raises(ValueError, match="zero or below"):
        train_relu(network, theta, x, y, [0.0], rng=rng)
    with pytest.raises(ValueError, match="one integer per iteration"):
        train_relu(network, theta, x, y, [0.1, 0.1], order=[1])
    with pytest.raises(ValueError, match=r"0 \.\.\. 8"):
        train_relu(network, theta, x, y, [0.1], order=[9])
    with pytest.raises(ValueError, match="at most 1"):
        train_relu(network, theta, x, y, [0.1], rng=rng, record=[2])
    with pytest.raises(ValueError, match="one per layer"):
        gaussian_start(network, [1.0, 1.0, 1.0], rng=rng)


def test_numbers_of_pytorch():
    """Uniform and normal numbers as PyTorch prints them after manual_seed(5)."""
    bits = np.random.RandomState
    uniform = TorchNumbers(bits(5)).uniform(4)
    np.testing.assert_allclose(uniform, [0.8302519, 0.12611091, 0.9074697, 0.81992704], rtol=1e-6)
    few = TorchNumbers(bits(5)).normal(4)
    np.testing.assert_allclose(few, [-0.48678076, -0.6038216, -0.55809623, 0.6675243], rtol=1e-6)
    many = TorchNumbers(bits(5)).normal(20, scale=2.0)
    shown = [1.8423299, 0.51888716, -1.7119213, -1.7013793, -0.12966268, -0.60176563]
    np.testing.assert_allclose(many[:6] / 2, shown, rtol=1e-6)


def test_single_precision_of_pytorch():
    """Labels, test inputs, biases and weights as PyTorch computes them, within two last bits."""
    bits = np.random.RandomState
    three, start, _ = published_run("three layers", bits)
    two, _, _ = published_run("two layers", bits)
    line, on_line, _ = published_run("line", bits)
    pairs = (
        (three.y, [-0.6163104772567749, 0.9799110293388367, 0.3886445164680481]),
        (two.y, [0.9664443135261536, -0.5861672163009644, 0.4439995288848877]),
        (line.x_test[:, 0], [-0.09207441657781601, -0.7503416538238525, 1.2316960096359253]),
        (line.network.bias_vectors(on_line)[0], [3.0247628688812256, 1.3201212882995605]),
        (three.network.weights(start)[0][0], [0.06292812526226044, -0.4254462718963623]),
    )
    for ours, theirs in pairs:
        ours = ours[: len(theirs)]
        assert (ours == ours.astype(np.float32)).all()
        off = ours.astype(np.float32).view(np.int32) - np.float32(theirs).view(np.int32)
        assert np.abs(off).max() <= 2


def test_labels_in_single_precision():
    """Within a rounding per term of those in double precision, and not equal to them."""
    network, theta, x, _ = example((4, 6, 5, 1), True, n=300)
    x, theta = single_sphere(x), theta[0].astype(np.float32).astype(float)
    np.testing.assert_allclose((x**2).sum(axis=1), 1, atol=3e-7)
    exact, ours = network.predict(theta, x), single_outputs(network, theta, x)
    np.testing.assert_allclose(ours, exact, atol=1e-5)
    assert (ours != exact.astype(np.float32)).any()


# Found by changing the package a little and asking whether a test notices: `make mutants`.


def test_a_run_that_diverges_at_its_first_step():
    network, theta, x, y = example((2, 3, 1), True)
    start = np.array([theta[0], 1e60 * np.abs(theta[0])])
    runs = train_relu(network, start, np.abs(x), y, [1e-3] * 2, batch=None, record=[0, 1, 2])
    assert runs.diverged_at.tolist() == [-1, 0]
    assert np.isfinite(runs.theta[0]).all()
    assert np.isnan(runs.theta[1, 1:]).all()


def test_normal_numbers_in_whole_blocks_draw_no_more():
    """Of 32 normal numbers the next uniform one is the 33rd of the stream."""
    drawn, plain = (TorchNumbers(np.random.RandomState(5)) for _ in range(2))
    drawn.normal(32)
    assert drawn.uniform(1)[0] == plain.uniform(33)[-1]


def test_the_test_inputs_of_the_line_lie_between_its_ends():
    task = line_task(rng=np.random.default_rng(0))
    first, second, *_, last_but_one, last = task.x[:, 0]
    assert first <= task.x_test.min() < second
    assert last_but_one < task.x_test.max() <= last
