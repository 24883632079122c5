"""Chapter on stop rules: its theorems by independent routes, and its claims over seeds."""

import numpy as np
import pytest
import sympy as sp

from dlnlib.entropy import spectral_entropy
from dlnlib.modes import learning_time, mode_strength
from dlnlib.random_matrix import bulk_edge, spike_forward
from dlnlib.stopping import (
    RULES,
    Run,
    entropy_minimum,
    evidence_based,
    excess_error,
    memorisation_time,
    mode_window,
    oracle,
    regret,
    spiked_spectra,
    validation_patience,
    window_midpoint,
)
from dlnlib.studies import read_table
from dlnlib.tasks import spiked_teacher, teacher_targets
from tools.bless import CHAPTERS


def white(samples, inputs, rng):
    """Inputs (samples, inputs) with x^T x / samples = I exactly."""
    q, _ = np.linalg.qr(rng.standard_normal((samples, inputs)))
    return np.sqrt(samples) * q


@pytest.mark.parametrize("seed", range(5))
def test_discrepancy(seed):
    """The rule from gradients and their variances is the one from the residual."""
    rng = np.random.default_rng(seed)
    n_out, n_in, samples, omega = 6, 10, 400, 0.7
    x, teacher = white(samples, n_in, rng), rng.standard_normal((n_out, n_in))
    sigma_noise = omega * np.sqrt(n_in / samples)

    def sigma():
        y = x @ teacher.T + omega * rng.standard_normal((samples, n_out))
        return y.T @ x / samples

    # the gradient at a fixed map varies with the samples by sigma^2 / n_in per entry
    fixed = rng.standard_normal((n_out, n_in))
    gradients = np.array([fixed - sigma() for _ in range(400)])
    variance = gradients.var(axis=0)
    assert variance.mean() == pytest.approx(sigma_noise**2 / n_in, rel=0.05)

    seen = sigma()
    t = np.linspace(0, 30, 1001)
    u, s, vt = np.linalg.svd(seen, full_matrices=False)
    maps = np.einsum("ik,tk,kj->tij", u, mode_strength(t, s, 1e-3), vt)
    residual = ((maps - seen) ** 2).sum(axis=(1, 2))
    curves = {"t": t, "entropy": t, "test_error": 1 + t, "train_error": residual}
    stop = evidence_based(Run(**curves, noise_energy=n_out * sigma_noise**2))
    criterion = 1 - ((maps - seen) ** 2 / (sigma_noise**2 / n_in)).mean(axis=(1, 2))
    first = t[np.argmax(criterion > 0)]
    assert 0 < stop <= first < stop + t[1] + 1e-12


@pytest.mark.parametrize(("n_out", "n_in"), [(80, 80), (40, 80), (80, 40)])
@pytest.mark.parametrize("seed", range(3))
def test_evidence_stop(n_out, n_in, seed):
    """The budget that the bulk leaves to the spikes: its mean and its spread."""
    rng, c = np.random.default_rng(seed), n_out / n_in
    strengths = np.array([4.0, 3.0])
    left = []
    for _ in range(300):
        sigma = spiked_teacher(n_out, n_in, strengths, noise=1.0, rng=rng).sigma
        s = np.linalg.svd(sigma, compute_uv=False)
        left.append(n_out - (s[2:] ** 2).sum())
    seen = spike_forward(strengths, aspect=c).s
    budget = (seen**2 - strengths**2).sum()
    assert budget == pytest.approx(sum(1 + c + c / strengths**2))
    assert np.mean(left) == pytest.approx(budget, abs=0.25 * np.sqrt(2 * c))
    assert np.std(left) == pytest.approx(np.sqrt(2 * c), rel=0.15)


@pytest.mark.parametrize("hidden", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("visible", [[3.0], [3.0, 2.0]])
@pytest.mark.parametrize("seed", range(2))
def test_a_hidden_spike_takes_from_the_budget(visible, hidden, seed):
    """A spike below the threshold lies in the bulk, with its energy."""
    left, spikes = [], [*visible, *([hidden] if hidden else [])]
    for rng in np.random.default_rng(seed).spawn(300):
        sigma = spiked_teacher(60, 60, spikes, noise=1.0, rng=rng).sigma
        left.append(60 - (np.linalg.svd(sigma, compute_uv=False)[len(visible) :] ** 2).sum())
    budget = (spike_forward(visible).s ** 2 - np.square(visible)).sum()
    error = np.std(left) / np.sqrt(300)
    assert np.mean(left) == pytest.approx(budget - hidden**2, abs=3.5 * error)


def two_level_run(s0, a0, depth, noise_modes=20):
    """One spike and noise modes that all stand at the edge."""
    (s, m), n = spike_forward(s0), bulk_edge()
    strengths = np.array([s, *np.full(noise_modes, n)])
    end = learning_time([n], a0, 0.9, depth=depth)[0]
    fractions = np.linspace(0.02, 0.98, 97)
    levels = [learning_time([x], a0, f, depth=depth) for x in (s, n) for f in fractions]
    t = np.unique(np.concatenate([np.linspace(0, end, 400), *levels]))
    a = mode_strength(t, strengths, a0, depth=depth)
    return Run(
        t=t,
        entropy=spectral_entropy(a),
        train_error=((a - strengths) ** 2).sum(axis=1),
        test_error=excess_error(a, [m, *np.zeros(noise_modes)], energy=s0**2),
        noise_mode=a[:, -1] / n,
    )


def start(s0, size=1e-6):
    """Start from which noise modes have grown to a given size when the spike is learned."""
    s, n = spike_forward(s0).s, bulk_edge()
    return float(size ** (s / (s - n)))


@pytest.mark.parametrize("s0", [1.5, 2.0, 4.0])
def test_regret_limit(s0):
    """Regret of any stop before the noise, from the strength of the spike alone."""
    s, m = spike_forward(s0)
    a0 = start(s0)
    run = two_level_run(s0, a0, 2)
    for fraction in (0.2, 0.5, 0.9, 0.999):
        stop = learning_time([s], a0, fraction)[0]
        theory = 1 + (fraction * s - m) ** 2 / (s0**2 - m**2)
        assert regret(run, stop) == pytest.approx(theory, rel=5e-3)
    assert regret(run, oracle(run)) == pytest.approx(1)


@pytest.mark.parametrize("s0", [1.5, 2.0, 3.0, 8.0])
def test_regret_rules(s0):
    early, late = 1 + 4 * (s0 - 1) ** 2 / (2 * s0**2 - 1), 1 + 4 / (2 * s0**2 - 1)
    flat = two_level_run(s0, start(s0), 2)
    assert regret(flat, entropy_minimum(flat)) == pytest.approx(early, rel=0.01)
    assert regret(flat, window_midpoint(flat)) == pytest.approx(late, rel=0.01)
    deep = two_level_run(s0, 1e-9, 3)
    assert regret(deep, entropy_minimum(deep)) == pytest.approx(late, rel=0.1)
    assert regret(deep, window_midpoint(deep)) == pytest.approx(late, rel=0.1)


@pytest.mark.parametrize(("size", "seed"), [(200, 1), (60, 2)])
@pytest.mark.parametrize("s0", [3.0, 4.0])
def test_equal_spikes_come_near_the_zero_map(size, seed, s0):
    """The limit of the entropy rule is one for a single spike; noise splits equal ones."""
    early = 1 + 4 * (s0 - 1) ** 2 / (2 * s0**2 - 1)
    for spikes in (1, 2, 3):
        costs = []
        options = {"noise": 1.0, "rng": np.random.default_rng(seed)}
        for s, m in spiked_spectra(10, size, size, [s0] * spikes, **options):
            window = mode_window(s, m, 1e-60, noise_modes=spikes)
            a = mode_strength([window.t_star, window.t_opt], s, 1e-60)
            stop, best = excess_error(a, m, energy=spikes * s0**2)
            costs.append(stop / best)
        if spikes == 1:
            assert np.mean(costs) == pytest.approx(early, rel=0.1)
        else:
            zero = spikes * s0**4 / (spikes * (2 * s0**2 + 3) - 4)
            assert np.mean(costs) == pytest.approx(zero, rel=0.15)


@pytest.mark.parametrize("spikes", [2, 3, 5])
@pytest.mark.parametrize("s0", [1.5, 2.0, 3.0, 6.0])
def test_regret_late(spikes, s0):
    """Spikes that noise has split are learned one by one: no time is best for all of them."""
    s, m = spike_forward(s0)
    strengths = np.array([*(s * (1 + 0.01 * np.arange(spikes)[::-1])), 2.0])
    targets = np.array([*np.full(spikes, m), 0.0])
    a0 = 1e-200
    fractions = np.linspace(0.001, 0.999, 1000)
    levels = [learning_time(x, a0, f) for x in strengths[:-1] for f in fractions]
    t = np.sort(np.ravel(levels))
    error = excess_error(mode_strength(t, strengths, a0), targets, energy=spikes * s0**2)
    learned = s0**2 - m**2 + (strengths[:-1] - m) ** 2  # what each spike then leaves in E
    steps = [learned[:k].sum() + s0**2 - m**2 + (spikes - 1 - k) * s0**2 for k in range(spikes)]
    assert error.min() == pytest.approx(min(steps), rel=0.02)
    late = 1 + 4 / (spikes * (2 * s0**2 + 3) - 4)
    assert (error[-1] / error.min() == pytest.approx(late, rel=0.02)) == (s0 > np.sqrt(3))


@pytest.mark.parametrize("seed", range(3))
def test_where_the_window_ends_is_a_choice(seed):
    """The same draws, at d = 64 from 1e-6: nearly all inside by a half, half of them by a tenth."""
    options = {"noise": 1.0, "rng": np.random.default_rng(seed)}
    inside = []
    for s, m in spiked_spectra(60, 64, 64, [1.5], **options):
        window = mode_window(s, m, 1e-6, noise_modes=1)
        dominant = memorisation_time(s, 1e-6, noise_modes=1, variant="share", level=0.5)
        ends = window.t_memorisation, dominant, learning_time(s[1:2], 1e-6, 0.1)[0]
        inside.append([window.t_star <= window.t_opt <= end for end in ends])
    half, dominant, tenth = np.mean(inside, axis=0)
    assert half > 0.85
    assert abs(half - dominant) < 0.05
    assert 0.3 < tenth < 0.65


def test_rules_cross_at_twice_the_noise():
    x = sp.symbols("s0", positive=True)
    s, m, n = x + 1 / x, x - 1 / x, 2
    early, late = (sp.simplify(1 + (a - m) ** 2 / (x**2 - m**2)) for a in (s - n, s))
    assert sp.simplify(early - 1 - 4 * (x - 1) ** 2 / (2 * x**2 - 1)) == 0
    assert sp.simplify(late - 1 - 4 / (2 * x**2 - 1)) == 0
    assert sp.solve(sp.numer(sp.together(early - late)), x) == [2]
    assert sp.limit(early, x, sp.oo) == 3
    assert (early.subs(x, 1), late.subs(x, 1)) == (1, 5)


def test_order_of_the_rules_above_the_threshold():
    """The evidence rule stops after the entropy rule, and before m if s0^2 > 3/2."""
    for s0 in (1.01, 1.2, np.sqrt(1.5) + 1e-3, 2.0, 5.0, 50.0):
        s, m = spike_forward(s0)
        evidence = s - np.sqrt(s**2 - s0**2)
        assert s - bulk_edge() < evidence
        assert (evidence < m) == (s0**2 > 1.5)


@pytest.mark.parametrize("seed", range(5))
def test_split_noise(seed):
    rng = np.random.default_rng(seed)
    n_out, n_in, samples, f, omega = 4, 8, 60, 0.4, 1.3
    kept = round((1 - f) * samples)
    x = np.vstack([white(kept, n_in, rng), white(samples - kept, n_in, rng)])
    np.testing.assert_allclose(x.T @ x / samples, np.eye(n_in), atol=1e-12)
    teacher, sigma = rng.standard_normal((n_out, n_in)), omega * np.sqrt(n_in / samples)
    parts = []
    for _ in range(600):
        y = x @ teacher.T + omega * rng.standard_normal((samples, n_out))
        train = y[:kept].T @ x[:kept] / kept
        rest = y[kept:].T @ x[kept:] / (samples - kept)
        np.testing.assert_allclose(y.T @ x / samples, (1 - f) * train + f * rest, atol=1e-12)
        parts.append((train - teacher, rest - teacher))
    train_noise, rest_noise = np.array(parts).transpose(1, 0, 2, 3)
    assert train_noise.var() == pytest.approx(sigma**2 / ((1 - f) * n_in), rel=0.05)
    assert rest_noise.var() == pytest.approx(sigma**2 / (f * n_in), rel=0.05)
    assert abs(np.corrcoef(train_noise.ravel(), rest_noise.ravel())[0, 1]) < 0.04
    # the validation error, up to a constant
    gaps = []
    for _ in range(3):
        w = rng.standard_normal((n_out, n_in))
        error = ((y[kept:] - x[kept:] @ w.T) ** 2).sum() / (samples - kept)
        gaps.append(error - ((w - rest) ** 2).sum())
    assert np.ptp(gaps) < 1e-10


@pytest.mark.parametrize("f", [0.1, 0.2, 0.5])
def test_split_price(f):
    energy = 1 / (1 - f)  # of the noise after the split
    for s0 in (1.5, 2.0, 5.0, 40.0):
        least = [s0**2 - spike_forward(s0, noise=x).m ** 2 for x in (1.0, np.sqrt(energy))]
        formula = energy * (2 - energy / s0**2) / (2 - 1 / s0**2)
        assert least[1] / least[0] == pytest.approx(formula)
    assert formula == pytest.approx(energy, rel=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_the_rules_of_one_run_over_seeds(seed):
    rng, size, a0 = np.random.default_rng(seed), 100, 1e-6
    task = spiked_teacher(size, size, [3.0], noise=1.0, rng=rng)
    s, t = task.modes.s, np.linspace(0, 8, 801)
    a, below = mode_strength(t, s, a0), int((s > bulk_edge()).sum())
    run = Run(
        t=t,
        entropy=spectral_entropy(a),
        test_error=excess_error(a, teacher_targets(task), energy=9.0),
        train_error=((a - s) ** 2).sum(axis=1),
        noise_energy=size,
        noise_mode=a[:, 1] / s[1],
        edge_mode=a[:, below] / s[below],
    )
    stops = {n: rule(run) for n, rule in RULES.items() if n != "validation_patience"}
    assert stops["entropy_minimum"] < stops["oracle"] < stops["window_end"]
    assert regret(run, stops["entropy_minimum"]) > 1.3
    assert regret(run, stops["noise_edge"]) < 1.5


def test_patience_and_levels():
    """Three layers, two levels of ratio 4: a patience below 3 misses the second (exercise)."""
    s, m = [8.0, 2.0, 0.5], [7.9, 1.9, 0.0]
    t = np.linspace(0, 40, 4001)
    a = mode_strength(t, s, 1e-5, depth=3)
    error = excess_error(a, m, energy=70.0)
    curves = {"train_error": error, "test_error": error, "validation_error": error}
    run = Run(t=t, entropy=spectral_entropy(a), **curves)
    for patience in (1.0, 2.0):
        assert regret(run, validation_patience(run, patience=patience)) > 1.5
    assert regret(run, validation_patience(run, patience=3.5)) < 1.01


def settings(table, rule, **where):
    rows = table[table.rule == rule]
    return rows[np.all([rows[k] == v for k, v in where.items()], axis=0)]


def test_claims_of_the_tables():
    """What the chapter says of its tables, from the tables alone."""
    modes = read_table(CHAPTERS / "tables" / "regret_modes.csv")
    assert (modes.draws >= 200).all()
    square = {"n_out": 64, "n_in": 64}
    one = settings(modes, "entropy_minimum", spikes="one", a0=1e-6, **square)
    one = one.set_index(["depth", "signal"])
    assert (one.to_split_high < 1)[[(2, 1.25), (2, 1.5), (3, 4.0), (3, 8.0)]].all()
    assert (one.to_split_low > 1)[[(2, 2.0), (2, 3.0), (3, 1.5), (3, 2.0)]].all()
    # the limit is approached as the start shrinks
    small = settings(modes, "entropy_minimum", spikes="one", depth=2, signal=2.0, **square)
    last = small.set_index("a0").regret.sort_index(ascending=False).loc[1e-4:]
    assert (last.diff().dropna() > 0).all()
    assert abs(last.iloc[-1] - (1 + 4 / 7)) < 0.1
    levels = {"spikes": "levels", "signal": 3.0}
    found = settings(modes, "entropy_minimum", **levels).set_index("depth").regret
    assert found[2] > 10 > found[3] > 5
    assert (settings(modes, "validation", **levels).regret < 1.4).all()
    assert settings(modes, "entropy_rest", depth=2, **levels).regret.item() < 1.2
    assert settings(modes, "entropy_rest", depth=3, **levels).regret.item() > 1.5
    digits = read_table(CHAPTERS / "tables" / "regret_digits.csv")
    entropy = digits[digits.rule == "entropy_minimum"].set_index("wrong_labels")
    assert (entropy.to_split_low.loc[0.0] > 1).all()
    assert (entropy.regret.loc[0.7] < 1.3).all()


def test_a_share_of_a_fifth_costs_more_than_a_tenth():
    """The price is that of the share, and a tenth of the draws pay more than the mean."""
    modes = read_table(CHAPTERS / "tables" / "regret_modes.csv")
    visible = modes[(modes.signal >= 2) & (modes.spikes == "one")]
    fifth = settings(visible, "validation", a0=1e-6, n_out=64, n_in=64)
    tenth = settings(visible, "validation_10", a0=1e-6, n_out=64, n_in=64)
    assert (tenth.to_split_high < 1).all()
    assert fifth.upper.max() > 1.35
