"""Stop rules: what each of them finds on curves whose answer is known, and its regret."""

import numpy as np
import pytest

from dlnlib.entropy import spectral_entropy
from dlnlib.modes import learning_time, mode_strength
from dlnlib.stopping import (
    RULES,
    Run,
    entropy_minimum,
    evidence_based,
    noise_edge,
    oracle,
    regret,
    train_threshold,
    validation_patience,
    window_end,
    window_midpoint,
)

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
