"""Step sizes: exact settings of the paper, at every iteration."""

import math

import numpy as np
import pytest

from dlnlib.sgd import constant, linear_warmup, sqrt_warmup, step_decay


def test_constant():
    assert constant(0.25, 4).tolist() == [0.25] * 4


def test_step_decay_as_a_loop():
    steps, lr, expected = 101, 0.282, []
    for k in range(steps):
        if k == int(0.3 * steps):
            lr /= 3.4
        expected.append(lr)
    assert step_decay(0.282, steps, at=0.3, by=3.4).tolist() == expected


def test_delayed_decay_as_the_public_loop_of_diagonal_networks():
    """There the step is divided after it was taken."""
    steps, lr, taken = 101, 0.282, []
    for k in range(steps):
        taken.append(lr)
        if k == int(0.3 * steps):
            lr /= 3.4
    assert step_decay(0.282, steps, at=0.3, by=3.4, delay=1).tolist() == taken
    assert step_decay(0.282, steps, at=0.3, by=3.4).tolist() != taken
    assert step_decay(1.0, 3, at=0, by=2, delay=5).tolist() == [1.0] * 3


def test_several_decays_compound():
    schedule = step_decay(1.0, 10, at=[0.5, 0.9], by=[2, 5])
    np.testing.assert_allclose(schedule, [1.0] * 5 + [0.5] * 4 + [0.1])


def test_decay_at_the_ends():
    assert step_decay(1.0, 3, at=0, by=2).tolist() == [0.5] * 3
    assert step_decay(1.0, 3, at=1, by=2).tolist() == [1.0] * 3


@pytest.mark.parametrize(
    ("warmup", "power", "factor"), [(linear_warmup, 1.0, 200.0), (sqrt_warmup, 0.5, 6.0)]
)
@pytest.mark.parametrize("until", [0.02, 0.5])
def test_warmups_as_a_loop(warmup, power, factor, until):
    """The public code: grow while k <= until * N, then divide the last value once."""
    steps, first, by, expected, lr = 503, 2e-4, 2.5, [], 0.0
    for k in range(steps):
        if k <= int(until * steps):
            lr = first + (factor - 1) * first * (k / steps) ** power
        if k == int(until * steps):
            lr /= by
        expected.append(lr)
    schedule = warmup(first, steps, until=until, factor=factor, by=by)
    np.testing.assert_allclose(schedule, expected, rtol=1e-14)


def test_warmup_to_the_end_is_not_divided():
    schedule = sqrt_warmup(1.0, 100, until=1, by=7)
    assert schedule[0] == 1
    assert schedule[-1] == pytest.approx(1 + 5 * math.sqrt(0.99))


def test_one_dimensional_setting():
    """Half a run of warm-up at the factor 400 until: the peak is 100.5 times the first step."""
    schedule = linear_warmup(2e-4, 31_623, until=0.5, factor=200, by=3)
    assert schedule.max() == pytest.approx(2e-4 * 100.5, rel=1e-3)
    assert schedule[-1] == pytest.approx(2e-4 * 100.5 / 3, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: constant(0, 3), "does not descend"),
        (lambda: constant(0.1, 0), "number of iterations"),
        (lambda: step_decay(0.1, 3, at=1.5, by=2), "share of the run"),
        (lambda: step_decay(0.1, 3, at=[0.1, 0.2], by=2), "one divisor per moment"),
        (lambda: step_decay(0.1, 3, at=0.1, by=0), "must be positive"),
        (lambda: step_decay(0.1, 3, at=0.1, by=2, delay=-1), "before its moment"),
        (lambda: linear_warmup(0.1, 3, until=-1, factor=2, by=2), "until must lie in"),
        (lambda: sqrt_warmup(0.1, 3, until=0.1, factor=0, by=2), "factor must be positive"),
    ],
)
def test_bad_schedules(call, message):
    with pytest.raises(ValueError, match=message):
        call()
