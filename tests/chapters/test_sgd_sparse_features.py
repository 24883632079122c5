"""The labelled equations and the claims of chapters/sgd_sparse_features.md."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import spearmanr

from dlnlib.entropy import energy_shares, spectral_entropy
from dlnlib.measures import numerical_rank
from dlnlib.sgd import (
    ReLUNetwork,
    basis_pursuit,
    constant,
    diagonal_jacobian,
    diagonal_sparsity,
    gaussian_start,
    line_task,
    relu_sparsity,
    sparse_regression,
    stability_threshold,
    step_decay,
    three_layer_task,
    train_diagonal,
    train_relu,
)
from dlnlib.studies import complete_trials, read_table
from tools.bless import CHAPTERS, chapter_cells

STEPS = 30_000


def frobenius(jacobian):
    return (jacobian**2).sum()


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 9))
def test_least_columns(seed, n, d):
    """The sum from the Jacobian, its bound, and equality for |u| = |v| alone."""
    rng = np.random.default_rng(seed)
    x, u, v = rng.standard_normal((n, d)), *rng.standard_normal((2, d))
    c, root = (x**2).sum(axis=0), np.sqrt(np.abs(u * v))
    least = 2 * c @ np.abs(u * v)
    total = frobenius(diagonal_jacobian(x, u, v))
    assert total == pytest.approx(c @ (u**2 + v**2))
    assert total - least == pytest.approx(c @ (np.abs(u) - np.abs(v)) ** 2, abs=1e-9)
    balanced = frobenius(diagonal_jacobian(x, root, np.sign(u * v) * root))
    assert balanced == pytest.approx(least)


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 5), st.integers(1, 7))
def test_least_relu_columns(seed, n, d, units):
    network, rng = ReLUNetwork((d, units, 1), False), np.random.default_rng(seed)
    theta, x = gaussian_start(network, 1.0, rng=rng)[0], rng.standard_normal((n, d))
    w, a = network.weights(theta)
    active = np.maximum(x @ w.T, 0)
    least = 2 * (np.abs(a[0]) * active * np.linalg.norm(x, axis=1)[:, None]).sum()
    assert frobenius(network.jacobian(theta, x)) >= least - 1e-9


def test_least_relu_columns_is_attained():
    """One sample of norm 1 along every unit, and |a| = |w|."""
    network, x = ReLUNetwork((2, 2, 1), False), [[0.6, 0.8]]
    theta = network.pack([np.outer([0.5, 2.0], x[0]), [[-0.5, 2.0]]])
    assert frobenius(network.jacobian(theta, x)) == pytest.approx(2 * (0.5**2 + 2**2))


def test_the_least_columns_solve_a_weighted_l1_problem():
    """Basis pursuit in the weighted coordinates is below all other interpolators tried."""
    task, rng = sparse_regression(20, 40, 5, rng=np.random.default_rng(4)), np.random.default_rng(5)
    weight = (task.x**2).sum(axis=0)
    least = basis_pursuit(task.x / weight, task.y) / weight
    np.testing.assert_allclose(task.x @ least, task.y, atol=1e-8)
    kernel = np.linalg.svd(task.x)[2][20:]
    others = least + 0.1 * rng.standard_normal((200, 20)) @ kernel
    assert (np.abs(others) @ weight >= np.abs(least) @ weight - 1e-8).all()


@pytest.mark.parametrize("seed", range(3))
def test_noise_can_lead_away_from_the_sparsest_solution(seed):
    """One coordinate would do: gradient descent is near it, label noise ends with two."""
    x, y = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 2.0]]), [2.0, 2.0]
    ends = {}
    for noise in (0.0, 1.0):
        run = train_diagonal(
            x, y, constant(0.05, 30_000), batch=None, u0=0.5, label_noise=noise,
            rng=np.random.default_rng(seed), record=range(15_000, 30_001, 100),
        )  # fmt: skip
        ends[noise] = run.beta[0].mean(axis=0)
    assert ends[0.0][2] > 5 * ends[0.0][:2].max()
    np.testing.assert_allclose(ends[1.0], [2, 2, 0], atol=0.15)


def binary(e):
    return -e * np.log(e) - (1 - e) * np.log1p(-e)


@given(
    st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 50), st.floats(1e-8, 0.99),
    st.sampled_from([1, 2]),
)  # fmt: skip
def test_blind_entropy(seed, m, k, share, power):
    """Both bounds for any modes, and the modes that attain them."""
    rng = np.random.default_rng(seed)
    on = rng.exponential(size=m)
    h_on = spectral_entropy(on ** (1 / power), power=power)
    for off, attained in ((rng.exponential(size=k) ** 3, None), (np.ones(k), "above"),
                          (np.eye(k)[0], "below")):  # fmt: skip
        energy = np.append((1 - share) * on / on.sum(), share * off / off.sum())
        moved = spectral_entropy(energy ** (1 / power), power=power) - h_on
        above = binary(share) + share * (np.log(k) - h_on)
        below = binary(share) - share * h_on
        assert below - 1e-9 <= moved <= above + 1e-9
        if attained:
            assert moved == pytest.approx({"above": above, "below": below}[attained], abs=1e-9)


@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(0, 60), st.floats(1e-4, 0.9))
def test_below_the_root_entropy_stays_within_delta(seed, m, more, delta):
    """However the modes of both groups are arranged, and however many there are off."""
    rng, k = np.random.default_rng(seed), m + more
    root = brentq(lambda e: binary(e) + e * np.log(k) - delta, 1e-15, k / (k + 1))
    share = root * rng.uniform(0.01, 1)
    on, off = (rng.exponential(size=size) ** rng.uniform(0, 6) for size in (m, k))
    energy = np.append((1 - share) * on / on.sum(), share * off / off.sum())
    assert abs(spectral_entropy(energy, power=1) - spectral_entropy(on, power=1)) <= delta + 1e-12
    assert np.count_nonzero(energy) - np.count_nonzero(on) == k


@given(st.integers(1, 30), st.integers(1, 200), st.floats(1e-6, 1), st.sampled_from([1, 2]))
def test_blind_amplitude(m, k, ratio, power):
    shares = energy_shares(np.append(np.ones(m), np.full(k, ratio)), power=power)
    assert shares[m:].sum() == pytest.approx(k * ratio**power / (m + k * ratio**power))


@given(st.lists(st.floats(-8, 0), min_size=2, max_size=20), st.floats(0.3, 3))
def test_entropy_falls_with_the_power(logs, power):
    """Exercise 1: dH/dq = -q Var_p(log a)."""
    log_a, step = np.array(logs), 1e-4
    a = np.exp(log_a)
    up, down = (spectral_entropy(a, power=power + s) for s in (step, -step))
    p = energy_shares(a, power=power)
    variance = p @ (log_a - p @ log_a) ** 2
    assert (up - down) / (2 * step) == pytest.approx(-power * variance, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("make", "factor"), [(line_task, 1.0), (three_layer_task, 0.6)])
def test_without_warm_up_most_runs_are_lost(make, factor):
    lost = {"warm": 0, "cold": 0}
    for k, stream in enumerate(np.random.default_rng(70).spawn(4)):
        task = make(rng=stream)
        starts, lr = task.starts(stream, 8), factor * task.lr["50 %"]
        cold = np.where(np.arange(lr.size) <= lr.size // 2, lr.max(), lr)
        for name, sizes in (("warm", lr), ("cold", cold)):
            runs = train_relu(
                task.network, starts, task.x, task.y, sizes, rng=np.random.default_rng(k)
            )
            lost[name] += (~runs.fitted(task.x, task.y)).sum()
    assert lost["cold"] > 10 + 2 * lost["warm"]


@pytest.mark.parametrize(("make", "factor"), [(line_task, 1.0), (three_layer_task, 0.6)])
def test_noise_lowers_the_sum_of_squared_columns(make, factor):
    """Continued with and without noise from the same weights; some columns grow even so."""
    ratios, grown = [], []
    for k, stream in enumerate(np.random.default_rng(80).spawn(3)):
        task = make(rng=stream)
        starts, lr = task.starts(stream, 8), factor * task.lr["50 %"]
        first, last = lr.size // 50, lr.size // 2
        data = task.network, starts, task.x, task.y
        begun = train_relu(*data, lr[:first], rng=np.random.default_rng(k))
        begun = begun.survivors().theta[:, -1]
        norms = [(task.network.jacobian(begun, task.x) ** 2).sum(axis=-2)]
        for batch in (1, None):
            more = train_relu(
                task.network, begun, task.x, task.y, lr[first:last], batch=batch,
                rng=np.random.default_rng(k),
            )  # fmt: skip
            assert not more.diverged.any()
            end = more.theta[:, -1]
            norms.append((task.network.jacobian(end, task.x) ** 2).sum(axis=-2))
        ratios.append(norms[1].sum(axis=-1) / norms[2].sum(axis=-1))
        grown.append((norms[1] > 1.02 * norms[0]).mean(axis=-1))
    assert np.median(ratios) < 0.8
    assert np.mean(grown) > 0.02


def test_rank_on_training_samples_is_blind():
    task = sparse_regression(20, 50, 5, rng=np.random.default_rng(3))
    run = train_diagonal(task.x, task.y, constant(0.05, 2000), rng=np.random.default_rng(0))
    u, v = run.u[0, -1], run.v[0, -1]
    ranks = [
        numerical_rank(np.linalg.svd(diagonal_jacobian(x, u, v), compute_uv=False), 1e-9)
        for x in (task.x, task.x_test[:100])
    ]
    assert ranks == [20, 50]


@pytest.fixture(scope="module")
def diagonal_ends():
    """Weights by schedule on 12 data sets other than those of the chapter, where all survive."""
    out = []
    for k, stream in enumerate(np.random.default_rng(90).spawn(12)):
        task = sparse_regression(80, 200, 20, rng=stream)
        root = np.sqrt(task.teacher)
        eta_star = stability_threshold(diagonal_jacobian(task.x, root, root))
        low, high = np.round([0.94 * eta_star, 1.06 * eta_star], 4)
        plans = {"small": constant(low, STEPS)}
        for name, at, by in (("10 %", 0.1, 4.8), ("50 %", 0.5, 1.5)):
            plans[name] = step_decay(high, STEPS, at=at, by=by)
        runs = {
            name: train_diagonal(task.x, task.y, lr, rng=np.random.default_rng(k))
            for name, lr in plans.items()
        }
        if not any(run.diverged[0] for run in runs.values()):
            out.append((task, {name: (r.u[0, -1], r.v[0, -1]) for name, r in runs.items()}))
    assert len(out) > 5
    return out


def test_entropy_of_energies_is_blind_to_what_the_rank_counts(diagonal_ends):
    ranks, energies, amplitudes = ({"small": [], "10 %": [], "50 %": []} for _ in range(3))
    for _, weights in diagonal_ends:
        for name, (u, v) in weights.items():
            few = diagonal_sparsity(u, v)
            ranks[name].append(few.rank)
            energies[name].append(few.energies)
            amplitudes[name].append(few.amplitudes)
    ranks, energies, amplitudes = (
        {name: np.median(v) for name, v in of.items()} for of in (ranks, energies, amplitudes)
    )
    assert ranks["50 %"] < 0.9 * ranks["small"]
    assert abs(energies["50 %"] / energies["10 %"] - 1) < 0.06
    assert amplitudes["50 %"] < 0.85 * amplitudes["small"]


def test_large_steps_reach_the_least_columns(diagonal_ends):
    excess = []
    for task, weights in diagonal_ends:
        weight = (task.x**2).sum(axis=0)
        least = 2 * np.abs(basis_pursuit(task.x / weight, task.y)).sum()
        u, v = weights["50 %"]
        excess.append(frobenius(diagonal_jacobian(task.x, u, v)) / least)
    assert 0.99 < np.median(excess) < 1.03


def test_on_the_line_both_entropies_part():
    """Energies: more effective modes after a long phase of large steps; amplitudes: fewer."""
    task, rng = line_task(rng=np.random.default_rng(11)), np.random.default_rng(12)
    starts, modes = task.starts(rng, 8), {}
    for share, lr in task.lr.items():
        runs = train_relu(
            task.network, starts, task.x, task.y, lr, rng=np.random.default_rng(13)
        ).survivors()
        few = relu_sparsity(task, runs.theta[:, -1])
        modes[share] = np.median(few.amplitudes), np.median(few.energies)
    assert modes["50 %"][0] < 0.8 * modes["2 %"][0]
    assert modes["50 %"][1] > 1.15 * modes["2 %"][1]


def test_no_noise_is_gradient_flow_nearly():
    """Half the step for twice as long changes the measures of the three-layer students little."""
    modes, ranks = ([], []), ([], [])
    for stream in np.random.default_rng(21).spawn(2):
        task = three_layer_task(rng=stream)
        starts = task.starts(stream, 8)
        for k, (lr, steps) in enumerate(((0.044, 2500), (0.022, 5000))):
            theta = train_relu(
                task.network, starts, task.x, task.y, constant(lr, steps), batch=None
            ).theta[:, -1]
            few = relu_sparsity(task, theta)
            modes[k].append(few.amplitudes)
            ranks[k].append(few.rank)
    assert np.median(modes[0]) == pytest.approx(np.median(modes[1]), rel=0.03)
    assert np.median(ranks[0]) == pytest.approx(np.median(ranks[1]), rel=0.05)


# ---- one scalar against all measures ----


@pytest.fixture(scope="module")
def functions():
    """Of the chapter: falls, rank correlations, and a table of DenseNets as arrays."""
    names = {"np": np, "KEYS": ["test", "rank"]}
    for text in ("import json", "def falls", "def dense_net"):
        (source,) = (
            cell.source
            for cell in chapter_cells(CHAPTERS / "sgd_sparse_features.md")
            if text in cell.source
        )
        exec(source, names)
    return names


def test_a_fall_ends_at_the_longest_schedule_that_fits(functions):
    """Two tasks of two runs and four schedules, of which the first two have constant steps."""
    v = np.array([[[8, 6], [8, 6], [4, 3], [2, 1]], [[8, 6], [8, 6], [4, 3], [2, 1]]], dtype=float)
    falls = functions["falls"]
    assert falls({"rank": v, "large": 2}, "rank").tolist() == [5, 5]
    v[0, 3] = np.nan
    assert falls({"rank": v, "large": 2}, "rank").tolist() == [2, 5]
    v[1, 2:, 0] = np.nan  # one run fits with constant steps alone: it does not count
    assert falls({"rank": v, "large": 2}, "rank").tolist() == [2, 6]
    np.testing.assert_equal(falls({"rank": v[1:], "large": 2}, "rank"), [np.nan, 6])


@given(st.integers(0, 10**6), st.integers(3, 6), st.integers(1, 4))
def test_agreement_is_the_rank_correlation_of_the_runs_that_fit(functions, seed, schedules, runs):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 3, schedules, runs))
    if schedules * runs > 3:
        a[0, 0, 0] = b[0, 0, 0] = np.nan
    found = functions["agreement"]({"rank": a, "test": b}, "rank", "test")
    for value, x, y in zip(found, a.reshape(3, -1), b.reshape(3, -1), strict=True):
        expected = spearmanr(x, y, nan_policy="omit")[0]
        assert value == pytest.approx(expected, abs=1e-9)
    assert (functions["agreement"]({"rank": 0 * b, "test": b}, "rank", "test") == 0).all()


@pytest.fixture(scope="module")
def dense_nets():
    """Complete trials by network."""
    table = complete_trials(read_table(CHAPTERS / "tables" / "densenet.csv"))
    return dict(tuple(table.groupby("network")))


def test_amplitudes_fall_further_than_energies_in_the_densenets(functions, dense_nets):
    """On MNIST in every trial, by factors; the coefficient falls further still."""
    of = functions["dense_net"](dense_nets["mnist5k, 22-12, basic"])
    assert of["large"] == 2
    one, two, coefficient = (
        functions["falls"](of, key) for key in ("exp H, q=1", "exp H", "coeff. %")
    )
    assert len(one) >= 5
    assert (one > 3).all() and (two < 2.2).all() and (two > 1.2).all()
    assert (coefficient > one).all()


def test_both_entropies_order_finished_densenets_by_their_sparsity(functions, dense_nets):
    of = functions["dense_net"](dense_nets["mnist5k, 22-12, basic"])
    for key in ("exp H, q=1", "exp H"):
        assert functions["agreement"](of, key, "coeff. %").min() > 0.8
        assert functions["agreement"](of, key, "test").max() < 0


def test_every_densenet_of_the_table_can_be_compared(functions, dense_nets):
    """Whichever networks the table has: finite falls where a large step fits, else none."""
    for rows in dense_nets.values():
        of = functions["dense_net"](rows)
        assert of["rank"].shape[:2] == (rows["trial"].nunique(), rows["schedule"].nunique())
        assert 1 <= of["large"] < of["rank"].shape[1]
        for key in ("exp H, q=1", "exp H", "rank", "l0", "coeff. %"):
            fall = functions["falls"](of, key)
            assert (np.isnan(fall) | (fall > 0)).all()


def test_longer_large_steps_gain_less_than_the_first_tenth(diagonal_ends):
    """On other data sets than those of the chapter: most of the gain comes first."""
    errors = {name: [] for name in ("small", "10 %", "50 %")}
    for task, weights in diagonal_ends:
        for name, (u, v) in weights.items():
            errors[name].append(((task.x_test @ (u * v) - task.y_test) ** 2).mean())
    small, ten, fifty = (np.log(errors[name]) for name in errors)
    assert np.median(small - ten) > max(np.log(2), np.median(ten - fifty))
