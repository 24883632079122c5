"""Full weights: exact solution against integration, conservation laws, discrete training."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from dlnlib.flow import (
    aligned_weights,
    balance,
    balanced_weights,
    exact_flow,
    gaussian_weights,
    gradient_descent,
    gradient_flow,
    product,
)
from dlnlib.modes import mode_strength
from dlnlib.tasks import svd_modes

SHAPES = [(5, 5, 5), (4, 6, 3), (3, 7, 5), (8, 3, 6), (6, 2, 6), (7, 4, 4), (3, 2, 40), (40, 2, 3)]
LAMBDAS = [0.0, 0.3, -0.3, 2.0, -1e-3]
QUANTITIES = ["product", "hidden_gram", "output_gram"]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def task(rng, widths):
    n_in, _, n_out = widths
    return rng.standard_normal((n_out, n_in)) / np.sqrt(n_in)


def assert_same_flow(one, other, tolerance):
    for name in QUANTITIES:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=tolerance)


@pytest.mark.parametrize("widths", SHAPES)
@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize("scale", [0.02, 0.5])
def test_exact_flow_against_integration(rng, widths, lam, scale):
    """Every shape, bottleneck and balance, up to 40 time constants, to 1e-9 and better."""
    n_in, hidden, n_out = widths
    if (lam > 0 and n_out < hidden) or (lam < 0 and n_in < hidden):
        with pytest.raises(ValueError, match="no start with balance"):
            balanced_weights(widths, scale, rng=rng, balance=lam)
        return
    sigma = task(rng, widths)
    weights = balanced_weights(widths, scale, rng=rng, balance=lam)
    t = np.r_[0, np.geomspace(1e-3, 40, 25)]
    exact = exact_flow(t, weights, sigma)
    np.testing.assert_allclose(exact.product[0], weights[1] @ weights[0], atol=1e-14)
    assert_same_flow(exact, gradient_flow(t, weights, sigma, rtol=1e-12, atol=1e-14), 1e-9)


def test_riccati_equation(rng):
    """The factor solves tau dX/dt = F X + X F - X^2: checked by differences in time."""
    lam, tau, h = 0.4, 1.7, 1e-4
    sigma, weights = task(rng, (3, 3, 4)), balanced_weights((3, 3, 4), 0.3, rng=rng, balance=0.4)
    path = exact_flow([2 - h, 2, 2 + h], weights, sigma, tau=tau)
    x = np.block([[path.hidden_gram, path.product.mT], [path.product, path.output_gram]])
    f = np.block([[-lam / 2 * np.eye(3), sigma.T], [sigma, lam / 2 * np.eye(4)]])
    slope = tau * (x[2] - x[0]) / (2 * h)
    np.testing.assert_allclose(slope, f @ x[1] + x[1] @ f - x[1] @ x[1], atol=1e-7)


def test_exact_flow_at_any_time(rng):
    """No overflow, and the long branch (t > 300/s) agrees with the short one."""
    sigma, weights = task(rng, (6, 3, 6)), balanced_weights((6, 3, 6), 1e-3, rng=rng)
    u, s, vt = np.linalg.svd(sigma)
    best = (u[:, :3] * s[:3]) @ vt[:3]
    path = exact_flow([0, 1e2, 1e4, 1e6], weights, sigma)
    np.testing.assert_allclose(path.product[2:], [best, best], atol=1e-12)
    short, long = exact_flow([20.0], weights, sigma), exact_flow([20.0, 1e5], weights, sigma)
    np.testing.assert_allclose(short.product[0], long.product[0], atol=1e-13)


def test_wide_hidden_layer(rng):
    """More hidden units than inputs and outputs together change nothing that QQ^T shows."""
    sigma, narrow = task(rng, (3, 3, 2)), balanced_weights((3, 3, 2), 0.2, rng=rng)
    turn = np.linalg.qr(rng.standard_normal((200, 3)))[0]
    wide = [turn @ narrow[0], narrow[1] @ turn.T]
    t = np.linspace(0, 30, 9)
    assert_same_flow(exact_flow(t, wide, sigma), exact_flow(t, narrow, sigma), 1e-13)


def test_exact_flow_keeps_tiny_starts(rng):
    """A start of 1e-12 leaves its plateau at the right time, mode by mode."""
    modes = svd_modes(task(rng, (4, 4, 4)))
    weights, t = aligned_weights(modes, 1e-12), np.linspace(0, 60, 80)
    strength = exact_flow(t, weights, modes.matrix()).mode_strength(modes)
    np.testing.assert_allclose(strength, mode_strength(t, modes.s, 1e-12), atol=1e-10)


def test_equal_and_vanishing_singular_values(rng):
    """Ties and null directions of Sigma, in a bottleneck that cuts through the tie."""
    sigma = np.diag([2.0, 1.0, 1.0, 1.0, 0.0])
    weights, t = balanced_weights((5, 3, 5), 0.1, rng=rng), np.linspace(0, 30, 20)
    exact = exact_flow(t, weights, sigma)
    assert_same_flow(exact, gradient_flow(t, weights, sigma, rtol=1e-12, atol=1e-14), 1e-10)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_aligned_weights_follow_the_modes(rng, depth):
    modes = svd_modes(task(rng, (4, 4, 6)))
    t = np.linspace(0, 8, 30)
    path = gradient_flow(t, aligned_weights(modes, 0.05, depth=depth), modes.matrix(), tau=1.5)
    theory = mode_strength(t, modes.s, 0.05, tau=1.5, depth=depth)
    np.testing.assert_allclose(path.mode_strength(modes), theory, atol=1e-8)


@pytest.mark.parametrize("widths", [(4, 5, 3), (4, 3, 6, 2), (3, 3, 3, 3, 3)])
def test_balance_is_conserved(rng, widths):
    sigma = rng.standard_normal((widths[-1], widths[0]))
    path = gradient_flow(np.linspace(0, 10, 12), gaussian_weights(widths, 0.4, rng=rng), sigma)
    for kept in balance(path.weights):
        np.testing.assert_allclose(kept, np.broadcast_to(kept[0], kept.shape), atol=1e-7)
    loss = ((path.product - sigma) ** 2).sum(axis=(1, 2))
    assert (np.diff(loss) <= 1e-9).all()
    assert loss[-1] < 0.9 * loss[0]


@pytest.mark.parametrize("widths", [(3, 2, 40), (40, 2, 3), (3, 4, 5, 60)])
def test_reduction_to_the_reachable_span_is_exact(rng, widths, monkeypatch):
    sigma = rng.standard_normal((widths[-1], widths[0]))
    weights, t = gaussian_weights(widths, 0.2, rng=rng), np.linspace(0, 3, 5)
    reduced = gradient_flow(t, weights, sigma)
    monkeypatch.setattr("dlnlib.flow.trajectory.reduced", lambda w, s, *_: (w, s, None, None))
    plain = gradient_flow(t, weights, sigma)
    assert reduced._left is not None or reduced._right is not None
    for one, other in zip(reduced.weights, plain.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)
    modes = svd_modes(sigma)
    np.testing.assert_allclose(reduced.mode_strength(modes), plain.mode_strength(modes), atol=1e-7)


def test_gradient_descent_is_first_order(rng):
    """Halving the step halves the distance to gradient flow."""
    sigma, weights = task(rng, (4, 3, 5)), gaussian_weights((4, 3, 5), 0.3, rng=rng)
    flow = gradient_flow([2.0], weights, sigma, rtol=1e-12).product
    errors = [
        np.abs(gradient_descent([n], weights, sigma, lr=2 / n).product - flow).max()
        for n in (200, 400, 800)
    ]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 1, atol=0.05)


def test_gradient_descent_against_a_plain_loop(rng):
    sigma, (w1, w2) = task(rng, (4, 3, 5)), gaussian_weights((4, 3, 5), 0.3, rng=rng)
    path = gradient_descent([0, 3, 3, 10], [w1, w2], sigma, lr=0.05)
    assert path.t.tolist() == pytest.approx([0, 0.15, 0.15, 0.5])
    for step in range(1, 11):
        error = sigma - w2 @ w1
        w1, w2 = w1 + 0.05 * w2.T @ error, w2 + 0.05 * error @ w1.T
        if step == 3:
            np.testing.assert_allclose(path.product[1], w2 @ w1, atol=1e-14)
            np.testing.assert_allclose(path.product[2], w2 @ w1, atol=1e-14)
    np.testing.assert_allclose(path.weights[0][-1], w1, atol=1e-14)
    np.testing.assert_allclose(path.weights[1][-1], w2, atol=1e-14)


def test_unwhitened_inputs_against_sample_gradients(rng):
    """With sigma_xx the step equals that of the loss over the samples themselves."""
    x, y = rng.standard_normal((50, 4)) @ rng.standard_normal((4, 4)), rng.standard_normal((50, 3))
    w1, w2 = gaussian_weights((4, 5, 3), 0.3, rng=rng)
    sigma, sigma_xx = y.T @ x / 50, x.T @ x / 50
    path = gradient_descent([1], [w1, w2], sigma, lr=0.01, sigma_xx=sigma_xx)
    residual = y - x @ (w2 @ w1).T
    np.testing.assert_allclose(path.weights[0][0], w1 + 0.01 * w2.T @ residual.T @ x / 50)
    flow = gradient_flow([2000.0], [w1, w2], sigma, sigma_xx=sigma_xx)
    least_squares = np.linalg.lstsq(x, y, rcond=None)[0].T
    np.testing.assert_allclose(flow.product[0], least_squares, atol=1e-6)


def test_integration_is_accurate_between_its_steps(rng):
    """Long after the fast mode has settled, steps are bounded so that interpolation stays good."""
    sigma, weights = np.diag([10.0, 1.0, 0.1]), balanced_weights((3, 3, 3), 0.05, rng=rng)
    sigma[0, 0] *= np.sign(np.linalg.det(weights[1] @ weights[0]))  # else it ends at a saddle
    t = np.linspace(0, 100, 1501)
    assert_same_flow(gradient_flow(t, weights, sigma), exact_flow(t, weights, sigma), 3e-8)


def test_repeated_and_zero_times(rng):
    sigma, weights = np.eye(2), balanced_weights((2, 2, 2), 0.1, rng=rng)
    still = gradient_flow([0, 0], weights, sigma).product
    np.testing.assert_allclose(still, [weights[1] @ weights[0]] * 2, atol=1e-15)
    path = gradient_flow([0, 1, 1, 2], weights, sigma).product
    assert (path[1] == path[2]).all()


def test_exact_flow_hides_the_hidden_rotation(rng):
    path = exact_flow([1.0], balanced_weights((3, 3, 4), 0.1, rng=rng), task(rng, (3, 3, 4)))
    with pytest.raises(AttributeError, match="up to a rotation of the hidden layer"):
        _ = path.weights


def test_unbalanced_start(rng):
    with pytest.raises(ValueError, match=r"unbalanced start.*balanced_weights"):
        exact_flow([1.0], gaussian_weights((3, 3, 3), 0.1, rng=rng), np.eye(3))


def test_saddles_are_detected(rng):
    """Wrong determinant, a missing mode, a bottleneck filled with the wrong modes, one unit."""
    weights = balanced_weights((4, 4, 4), 0.1, rng=rng)
    sigma = task(rng, (4, 4, 4))
    if np.linalg.det(sigma) * np.linalg.det(weights[1] @ weights[0]) > 0:
        sigma[0] *= -1
    diagonal = svd_modes(np.diag([3.0, 2.0, 1.0]))
    missing = [w.copy() for w in aligned_weights(diagonal, 0.1)]
    missing[0][0], missing[1][:, 0] = 0, 0
    narrow = [missing[0][1:], missing[1][:, 1:]]
    one = [np.array([[0.1]]), np.array([[-0.1]])]
    cases = [(weights, sigma), (missing, np.diag([3.0, 2, 1])), (narrow, np.diag([3.0, 2, 1]))]
    for start, target in [*cases, (one, np.eye(1))]:
        with pytest.raises(ValueError, match="ends at a saddle"):
            exact_flow([1.0], start, target)
    end = gradient_flow([60.0], weights, sigma, rtol=1e-12, atol=1e-15).product[0]
    assert np.linalg.norm(end - sigma) == pytest.approx(svd_modes(sigma).s[-1], rel=1e-3)


@pytest.mark.parametrize("solve", [exact_flow, gradient_flow])
def test_bad_flow_input(rng, solve):
    good = balanced_weights((3, 2, 4), 0.1, rng=rng)
    sigma = np.ones((4, 3))
    bad = [
        (([1, 0], good, sigma), "sort the times"),
        (([0], good, sigma.T), "W1 must have shape any x 4"),
        (([0], [good[0], good[1].T], sigma), "W2 must have shape 4 x 2"),
        (([0], [good[0]], sigma), "at least two weight matrices"),
        (([0], good, sigma * np.nan), "sigma contains NaN"),
        (([0], [good[0] * np.inf, good[1]], sigma), "W1 contains NaN or infinity"),
        (([0], good, np.ones(3)), "sigma must be a non-empty matrix"),
    ]
    for arguments, message in bad:
        with pytest.raises(ValueError, match=message):
            solve(*arguments)
    with pytest.raises(ValueError, match="tau must be positive"):
        solve([0], good, sigma, tau=0)


def test_exact_flow_is_for_two_layers(rng):
    with pytest.raises(ValueError, match="two layers"):
        exact_flow([0], gaussian_weights((3, 3, 3, 3), 0.1, rng=rng), np.eye(3))


def test_bad_descent(rng):
    weights = gaussian_weights((3, 3, 3), 0.1, rng=rng)
    with pytest.raises(RuntimeError, match=r"diverged.*take lr well below 1/s_1 = 0\.1"):
        gradient_descent([500], weights, 10 * np.eye(3), lr=3.0)
    with pytest.raises(ValueError, match="whole numbers"):
        gradient_descent([0.5], weights, np.eye(3), lr=0.1)
    with pytest.raises(ValueError, match="lr must be positive"):
        gradient_descent([1], weights, np.eye(3), lr=-0.1)
    with pytest.raises(ValueError, match="sigma_xx must have shape"):
        gradient_descent([1], weights, np.eye(3), lr=0.1, sigma_xx=np.eye(2))


@given(seed=st.integers(0, 10**6), widths=st.tuples(*[st.integers(1, 5)] * 3))
def test_what_is_accepted_reaches_the_optimum(seed, widths):
    """Every start that is not refused ends at the best map of the network's rank."""
    rng = np.random.default_rng(seed)
    sigma, weights = task(rng, widths), balanced_weights(widths, 0.3, rng=rng)
    modes = svd_modes(sigma)
    rank = min(widths)
    best = (modes.u[:, :rank] * modes.s[:rank]) @ modes.v[:, :rank].T
    try:
        end = exact_flow([1e9 / modes.s[-1]], weights, sigma).product[0]
    except ValueError as refusal:
        assert "saddle" in str(refusal)
        return
    np.testing.assert_allclose(end, best, atol=1e-7 * modes.s[0])


# Found by changing the package a little and asking whether a test notices: `make mutants`.


@pytest.mark.parametrize("size", [1e-5, 1.0, 1e4])
def test_balance_is_judged_whatever_the_size_of_the_weights(size):
    w1, w2 = (size * w for w in balanced_weights((3, 4, 2), 1.0, rng=np.random.default_rng(0)))
    sigma = size**2 * np.eye(2, 3)
    exact_flow([0.0, 1.0], [w1, w2], sigma)
    with pytest.raises(ValueError, match="unbalanced start"):
        exact_flow([0.0, 1.0], [w1 * (1 + 1e-8), w2], sigma)


def test_descent_that_overflows_in_one_weight_is_noticed():
    """The first layer is finite still, and so is a part of the second."""
    start = [[[1e69], [1.0]], [[1e40, 0.0]]]
    with pytest.raises(RuntimeError, match="diverged within 1 steps"):
        gradient_descent([1], start, [[1.0]], lr=1e140)


def test_exact_flow_refuses_the_starts_that_cannot_reach_the_task_and_no_others():
    """A balanced square map keeps the sign of its determinant, however small its pivots are."""
    rng = np.random.default_rng(0)
    seen = {True: 0, False: 0}
    for _ in range(2000):
        n = int(rng.integers(1, 5))
        hidden, sigma = n + int(rng.integers(0, 3)), rng.standard_normal((n, n))
        start = balanced_weights((n, hidden, n), 10.0 ** rng.uniform(-4, 0.3), rng=rng)
        same = np.linalg.det(start[1] @ start[0]) * np.linalg.det(sigma) > 0
        seen[bool(same)] += 1
        if same:
            end = exact_flow([1e9], start, sigma).product[0]
            np.testing.assert_allclose(end, sigma, atol=1e-6)
        else:
            with pytest.raises(ValueError, match="ends at a saddle"):
                exact_flow([1e9], start, sigma)
    assert min(seen.values()) > 500


@pytest.mark.parametrize("widths", [(3, 4, 3), (3, 2, 3), (2, 6, 3)])
def test_without_a_signal_the_weights_decay(rng, widths):
    """No direction grows, so that none can be missing from the start."""
    t, weights = np.linspace(0, 5, 6), balanced_weights(widths, 0.5, rng=rng)
    nothing = np.zeros((widths[2], widths[0]))
    flow = exact_flow(t, weights, nothing).product
    np.testing.assert_allclose(flow, gradient_flow(t, weights, nothing).product, atol=1e-8)
    (_, s, _), a = np.linalg.svd(flow[0]), np.linalg.svd(flow[-1])[1]
    np.testing.assert_allclose(a, s / (1 + 2 * s * t[-1]), atol=1e-12)


# Weight decay


def descent(t, weights, velocity, tau):
    """Gradient flow of any network by LSODA, an integrator of another family."""
    shapes, cuts = [w.shape for w in weights], np.cumsum([w.size for w in weights])[:-1]

    def flat(_, state):
        layers = [p.reshape(s) for p, s in zip(np.split(state, cuts), shapes, strict=True)]
        return np.concatenate([v.ravel() for v in velocity(layers)]) / tau

    start = np.concatenate([w.ravel() for w in weights])
    path = solve_ivp(flat, (0, t[-1]), start, "LSODA", t_eval=t, rtol=1e-11, atol=1e-13)
    return [
        np.stack([p.reshape(s) for p in part.T])
        for part, s in zip(np.split(path.y, cuts), shapes, strict=True)
    ]


@pytest.mark.parametrize("widths", [(4, 3, 5), (3, 4, 4, 2), (2, 2, 3, 2, 30)])
def test_flow_with_decay_against_another_integrator(rng, widths):
    """Any start, inputs that are not white, a layer that is stored in a smaller basis."""
    sigma = rng.standard_normal((widths[-1], widths[0]))
    inputs = rng.standard_normal((widths[0], 3 * widths[0]))
    sigma_xx = inputs @ inputs.T / inputs.shape[1]
    start = gaussian_weights(widths, 0.5, rng=rng)
    t, tau, decay = np.linspace(0, 3, 7), 1.4, 0.3

    def velocity(layers):
        error = sigma - product(layers) @ sigma_xx
        pushes = []
        for i, w in enumerate(layers):
            above = product([*layers[i + 1 :], np.eye(widths[-1])]) if i + 1 < len(layers) else None
            below = product([np.eye(widths[0]), *layers[:i]]) if i else None
            push = error if above is None else above.T @ error
            pushes.append((push if below is None else push @ below.T) - decay * w)
        return pushes

    ours = gradient_flow(t, start, sigma, sigma_xx=sigma_xx, tau=tau, decay=decay)
    theirs = descent(t, start, velocity, tau)
    for mine, other in zip(ours.weights, theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-7)


def test_flow_without_decay_is_unchanged_to_the_bit(rng):
    start, sigma = gaussian_weights((4, 3, 4), 0.1, rng=rng), task(rng, (4, 3, 4))
    plain = gradient_flow([0.0, 1.0, 5.0], start, sigma).product
    assert (gradient_flow([0.0, 1.0, 5.0], start, sigma, decay=0.0).product == plain).all()
    with pytest.raises(ValueError, match="decay must not be negative"):
        gradient_flow([1.0], start, sigma, decay=-1)


def test_aligned_flow_with_decay_follows_the_modes(rng):
    modes = svd_modes(task(rng, (5, 5, 6)))
    decay, t = float(modes.s[2]), np.linspace(0, 9, 30)  # the third singular value: never learned
    path = gradient_flow(t, aligned_weights(modes, 0.01), modes.matrix(), decay=decay, rtol=1e-11)
    np.testing.assert_allclose(
        path.mode_strength(modes), mode_strength(t, modes.s, 0.01, decay=decay), atol=1e-9
    )
