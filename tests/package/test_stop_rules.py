"""Stop rules: what each of them finds on curves whose answer is known, and its regret."""

import numpy as np
import pytest

from dlnlib._curves import first, lowest, smooth
from dlnlib.entropy import spectral_entropy
from dlnlib.modes import learning_time, mode_strength
from dlnlib.stopping import (
    RULES,
    Run,
    entropy_minimum,
    entropy_rest,
    evidence_based,
    mode_window,
    noise_edge,
    oracle,
    regret,
    train_threshold,
    validation_patience,
    window_end,
    window_midpoint,
)
from dlnlib.studies.regret import _aligned, _observe, split_teacher
from dlnlib.tasks import project, svd_modes

# two signal modes with targets below what is observed, and ten noise modes
S = np.array([3.0, 3.0, *np.full(10, 1.0)])
M = np.array([2.7, 2.7, *np.zeros(10)])
A0 = 1e-6


def two_levels(points=400, a0=A0, end=8.0, tau=1.0):
    t = np.linspace(0, end * tau, points)
    a = mode_strength(t, S, a0, tau=tau)
    return Run(
        t=t,
        entropy=spectral_entropy(a),
        train_error=((a - S) ** 2).sum(axis=1),
        test_error=((a - M) ** 2).sum(axis=1) + 0.4,
        validation_error=((a - M) ** 2).sum(axis=1) + 7.0,
        noise_mode=a[:, -1] / S[-1],
        edge_mode=a[:, -1] / S[-1],
        noise_energy=12.0,
    )


def hand_made(**curves):
    t = np.linspace(0, 10, 101)
    given = {"entropy": t, "train_error": 1 + 0 * t, "test_error": 1 + t} | curves
    return Run(t=t, **given)


def test_each_rule_stops_at_its_closed_form_in_the_two_level_model():
    run, s, m, n = two_levels(), 3.0, 2.7, 1.0
    assert entropy_minimum(run) == pytest.approx(np.log((s / A0 - 1) * (s / n - 1)) / 6, abs=2e-3)
    assert oracle(run) == pytest.approx(np.log((s / A0 - 1) * m / (s - m)) / 6, abs=1e-3)
    half = learning_time([n], A0)[0]
    assert window_end(run) == pytest.approx(half, abs=1e-4)
    assert window_midpoint(run) == pytest.approx((entropy_minimum(run) + half) / 2)
    assert noise_edge(run) == pytest.approx(learning_time([n], A0, 0.1)[0], abs=1e-3)
    early = noise_edge(run, fraction=0.01)
    assert early == pytest.approx(learning_time([n], A0, 0.01)[0], abs=1e-3)
    # the residual is 2 (s - a)^2 + 10 n^2 = 12 where the signal stands at s - 1
    assert evidence_based(run) == pytest.approx(learning_time([s], A0, 2 / 3)[0], abs=3e-3)
    # a tenth of its first value, 28, is 10 (n - a)^2 once the signal is learned
    late = learning_time([n], A0, 1 - np.sqrt(0.28))[0]
    assert train_threshold(run) == pytest.approx(late, abs=1e-3)
    assert validation_patience(run) == pytest.approx(oracle(run), abs=1e-9)


def test_times_lie_between_the_points_of_the_grid():
    fine, coarse = two_levels(4000), two_levels(120)
    step = coarse.t[1]
    for rule in (entropy_minimum, oracle, window_end, noise_edge, evidence_based):
        assert abs(rule(coarse) - rule(fine)) < step / 5, rule.__name__
        assert rule(coarse) not in coarse.t


def test_rules_do_not_depend_on_the_unit_of_time():
    slow, run = two_levels(tau=1000.0), two_levels()
    for name, rule in RULES.items():
        assert rule(slow) == pytest.approx(1000 * rule(run), rel=1e-6), name


def test_regret_is_one_at_the_oracle_and_more_elsewhere():
    run = two_levels()
    assert regret(run, oracle(run)) == pytest.approx(1, abs=1e-12)
    for stop in np.linspace(0, 8, 77):
        assert regret(run, stop) >= 1 - 1e-12
    exact = ((mode_strength([5.0], S, A0) - M) ** 2).sum() + 0.4
    a = mode_strength(np.linspace(2, 4, 100_001), S, A0)
    least = ((a - M) ** 2).sum(axis=1).min() + 0.4
    assert regret(run, 5.0) == pytest.approx(exact / least, rel=1e-4)
    # the price of training on fewer samples counts
    worse = Run(**{**vars(run), "test_error": 2 * run.test_error})
    assert regret(worse, oracle(run), best=run) == pytest.approx(2)


def test_oracle_is_the_global_minimum():
    t = np.linspace(0, 10, 101)
    curve = 2 + np.cos(t) - 0.1 * t
    assert oracle(hand_made(test_error=curve)) == pytest.approx(
        3 * np.pi + np.arcsin(0.1), abs=1e-4
    )
    assert oracle(hand_made(test_error=1 + t)) == 0
    assert oracle(hand_made(test_error=20 - t)) == 10
    assert oracle(hand_made(test_error=1 + 0 * t)) == 0


def test_validation_waits_in_proportion():
    t = np.linspace(0, 10, 101)
    curve = 3 + np.cos(2 * t) - 0.2 * t  # minima near pi/2, 3 pi/2, 5 pi/2, each lower
    run = hand_made(validation_error=curve)
    first, last = np.pi / 2 + 0.05, 5 * np.pi / 2 + 0.05
    assert validation_patience(run, patience=0.5) == pytest.approx(first, abs=0.01)
    assert validation_patience(run, patience=2.5) == pytest.approx(last, abs=0.01)
    # an error that rises at once, one that falls for ever, one that does not move at first
    assert validation_patience(hand_made(validation_error=t)) == 0
    assert validation_patience(hand_made(validation_error=-t)) == 10
    late = hand_made(validation_error=np.where(t < 5, 1.0, 1 + (t - 7) ** 2 - 4))
    assert validation_patience(late) == pytest.approx(7, abs=1e-6)
    # the first improvement is one, however soon
    soon = hand_made(validation_error=np.where(t < 5, np.abs(t - t[1]), -t))
    assert validation_patience(soon) == pytest.approx(t[1], abs=t[1] / 2)
    # before the first improvement there is no time of the best to be patient about
    assert validation_patience(hand_made(validation_error=t * (6 - t))) == 10


def test_a_rule_without_a_reason_to_stop_returns_the_end():
    t = np.linspace(0, 10, 101)
    never = hand_made(noise_mode=0 * t, edge_mode=0 * t, noise_energy=0.5, entropy=10 - t)
    for rule in (window_end, noise_edge, evidence_based, train_threshold, entropy_minimum):
        assert rule(never) == 10
    at_once = hand_made(noise_mode=1 + t, edge_mode=1 + t, noise_energy=2.0)
    for rule in (window_end, noise_edge, evidence_based, entropy_minimum):
        assert rule(at_once) == 0
    assert window_end(hand_made(noise_mode=0.5 - t)) == 0  # at the level and never above


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (window_end, "noise_mode"),
        (window_midpoint, "noise_mode"),
        (noise_edge, "edge_mode"),
        (evidence_based, "noise_energy"),
        (validation_patience, "validation_error"),
    ],
)
def test_a_rule_says_what_it_lacks(rule, name):
    with pytest.raises(ValueError, match=f"needs {name}"):
        rule(hand_made())


def test_bad_runs():
    t = np.linspace(0, 10, 101)
    with pytest.raises(ValueError, match="one value per time"):
        hand_made(entropy=t[1:])
    with pytest.raises(ValueError, match="NaN"):
        hand_made(train_error=np.full(101, np.nan))
    with pytest.raises(ValueError, match="must be positive"):
        hand_made(test_error=t)
    with pytest.raises(ValueError, match="noise_energy must not be negative"):
        hand_made(noise_energy=-1.0)
    with pytest.raises(ValueError, match="four times"):
        Run(t=t[:3], entropy=t[:3], train_error=t[:3], test_error=1 + t[:3])
    with pytest.raises(ValueError, match="four times"):
        Run(t=np.sort(np.append(t, 3.0)), entropy=t, train_error=t, test_error=1 + t)
    for stop in (-1.0, 10.1, np.nan):
        with pytest.raises(ValueError, match="outside the run"):
            regret(hand_made(), stop)
    with pytest.raises(ValueError, match="fraction must be positive"):
        train_threshold(hand_made(), fraction=0.0)


@pytest.mark.parametrize("a0", [1e-2, 1e-6, 1e-8, 1e-12])
@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("strengths", [[12.0, 6.0, 3.0], [3.0, 3.0, 3.0], [2.0], [8.0]])
def test_times_of_a_study_are_those_of_the_exact_search(strengths, depth, a0):
    """Levels at depth 3 from small starts: one spline through H turned below zero, and early."""
    split = split_teacher(strengths, (64, 64), rng=np.random.default_rng(0))
    run, _ = _observe(split, len(strengths), a0, depth, 1.0, _aligned, ())
    modes = svd_modes(split.blocks.mean(axis=0))
    targets = project(split.teacher, modes)
    exact = mode_window(modes.s, targets, a0, noise_modes=len(strengths), depth=depth)
    assert entropy_minimum(run) == pytest.approx(exact.t_star, rel=0.01)
    assert oracle(run) == pytest.approx(exact.t_opt, rel=0.01)
    assert window_end(run) == pytest.approx(exact.t_memorisation, rel=1e-9)
    found = np.interp(exact.t_star, run.t, run.entropy)
    assert 0 <= lowest(run.t, run.entropy)[1] <= found + 1e-12


@pytest.mark.parametrize("seed", range(20))
def test_a_refined_curve_turns_only_beside_points_that_turn(seed):
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.lognormal(0, 2, 40))
    y = np.exp(rng.normal(0, 6, 40))  # falls of many orders of magnitude, side by side
    fine = np.sort(rng.uniform(t[0], t[-1], 20_000))
    curve = smooth(t, y)
    assert curve(fine).min() >= 0
    np.testing.assert_allclose(curve(t), y, rtol=1e-9)
    time, least = lowest(t, y)
    i = int(y.argmin())
    assert t[max(i - 1, 0)] <= time <= t[min(i + 1, 39)]
    assert 0 <= least <= y[i]
    falling = smooth(t, np.sort(y)[::-1])(fine)  # monotone points, monotone curve
    assert (np.diff(falling) <= 1e-9 * y.max()).all()
    level = float(np.median(y))
    j = int((y >= level).argmax())
    assert t[max(j - 1, 0)] <= first(t, y, level) <= t[j]


def test_a_fall_to_nearly_nothing_does_not_turn_early():
    """The curve of the finding in small: steep, then flat, least at the end of the flat part."""
    t = np.arange(12.0)
    y = np.array([4, 4, 4, 4, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-3, 1.0])
    time, least = lowest(t, y)
    assert 8 < time < 10
    assert 0 <= least <= 1e-8
    shifted = lowest(t, y - 1.0)  # what may be negative keeps its time
    assert shifted[0] == pytest.approx(time, abs=0.1)


def test_the_end_bounds_where_a_minimum_is_sought():
    t = np.linspace(0, 10, 101)
    assert lowest(t, np.cos(t), 20) == (pytest.approx(1.9), pytest.approx(np.cos(1.9)))
    assert lowest(t, np.cos(t) + 0.01 * t)[0] == pytest.approx(np.pi - np.arcsin(0.01), abs=0.01)


def levels_run(s, depth=2, a0=1e-6, noise=40, **changes):
    end = learning_time([1.0], a0, 0.99, depth=depth)[0]
    t = np.linspace(0, end, 4001)
    a = mode_strength(t, [*s, *np.full(noise, 1.0)], a0, depth=depth)
    curves = {"entropy": spectral_entropy(a), "train_error": 1 + 0 * t, "test_error": 1 + t}
    return Run(t=t, **(curves | changes)), a


@pytest.mark.parametrize("s", [[6.0], [6.0, 3.0], [12.0, 6.0, 3.0], [5.0, 4.9, 2.5]])
def test_last_rest_finds_all_levels_learned_and_the_noise_not(s):
    run, a = levels_run(s)
    rest = entropy_rest(run)
    at = a[np.searchsorted(run.t, rest)]
    assert at[-1] < 0.1  # of the noise
    if len(s) > 1:
        assert (at[: len(s)] > 0.95 * np.array(s)).all()
        assert entropy_minimum(run) < 0.8 * rest  # which finds the first level alone
    else:
        assert rest == pytest.approx(entropy_minimum(run), abs=2 * run.t[1])
    scaled = Run(1e3 * run.t, 5 * run.entropy, run.train_error, run.test_error)
    assert entropy_rest(scaled) == pytest.approx(1e3 * rest)


def test_without_a_rest_the_run_goes_on():
    t = np.linspace(0, 10, 101)
    assert entropy_rest(hand_made(entropy=10 - t)) == 10  # never below half of its end
    assert entropy_rest(hand_made(entropy=t**2)) == 10  # no rest before that
    assert entropy_rest(hand_made(entropy=1 + 0 * t)) == 10
