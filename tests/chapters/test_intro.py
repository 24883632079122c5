"""The map of results names tests that exist; and the claims of the figure of the introduction."""

import re

import numpy as np
import pytest
from helpers import assert_place_and_tests, claims

from dlnlib.entropy import spectral_entropy
from dlnlib.modes import learning_time, mode_strength
from dlnlib.tasks import spiked_teacher


@pytest.mark.parametrize("row", claims(), ids=lambda row: row[0][:40])
def test_every_claim_names_its_place_and_its_test(row):
    claim, place, tests = row
    assert claim.endswith(".")
    assert re.search(r"\{(prf:ref|eq)\}`", place)
    assert_place_and_tests(place, tests)


@pytest.mark.parametrize("seed", range(8))
def test_signal_and_noise_both_raise_the_entropy(seed):
    """Figure of the introduction, over seeds: H rises on signal alone, and again on noise."""
    rng = np.random.default_rng(seed)
    task = spiked_teacher(60, 60, [6.0, 6.0, 3.0, 3.0], noise=0.8, rng=rng)
    s, t, a0 = task.modes.s, np.linspace(0, 8, 801), 1e-4
    a, learned = mode_strength(t, s, a0), learning_time(s[:5], a0)
    entropy, signal_only = spectral_entropy(a), spectral_entropy(a[:, :4])
    between = (t > learned[1]) & (t < learned[2])
    assert signal_only[between][-1] > signal_only[between][0] + 0.05
    assert np.abs(entropy[between] - signal_only[between]).max() < 0.05
    assert entropy[-1] - entropy[t < learned[4]][-1] > 0.5
    assert np.ptp(signal_only[t > learned[4]]) < 0.02
