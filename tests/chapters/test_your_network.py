"""The reader's own network: the order of the counts, collapse, the traps of other code."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlnlib.measures import measure
from tools.bless import CHAPTERS

TEXT = (CHAPTERS / "your_network.md").read_text(encoding="utf-8")


def counts(found):
    return found.stable_rank, found.modes, found.effective_rank, found.rank


@given(st.integers(0, 10**6), st.integers(1, 12), st.floats(0, 6))
def test_order_of_the_counts(seed, modes, decades):
    """Of matrices with singular values of any spread, in any basis."""
    rng = np.random.default_rng(seed)
    sizes = 10 ** -rng.uniform(0, decades, modes)
    u, v = (np.linalg.qr(rng.standard_normal((15, modes)))[0] for _ in range(2))
    found = counts(measure((u * sizes) @ v.T, rank_above=1e-9))
    assert found[0] > 1 - 1e-12
    assert (np.diff(found) > -1e-9).all()


def test_your_order():
    """Strict for unequal values, all equal for equal ones; the powers keep their order."""
    assert (np.diff(counts(measure(np.diag([3.0, 2.0, 1.0])))) > 0.1).all()
    assert counts(measure(2 * np.eye(4))) == pytest.approx([4] * 4)
    s = np.array([3.0, 2.0, 1.0, 0.2])

    def entropy(q):
        p = s**q / (s**q).sum()
        return -(p * np.log(p)).sum(), np.cov(np.log(s), aweights=p, bias=True)

    for q in (0.5, 1.0, 2.0, 3.0):
        slope = (entropy(q + 1e-6)[0] - entropy(q - 1e-6)[0]) / 2e-6
        assert slope == pytest.approx(-q * entropy(q)[1], rel=1e-6)


@pytest.mark.parametrize("dimension", [512, 2048])
def test_a_constant_added_to_each_share_counts_dimensions_that_are_not_there(dimension):
    """The excess of the entropy of rank r is that of the empty dimensions, to first order."""
    for rank in (1, 10):
        p = np.repeat([1 / rank, 0], [rank, dimension - rank]) + 1e-5
        read = np.exp(-(p * np.log(p)).sum())
        empty = (dimension - rank) * 1e-5 * np.log(1e5)
        assert np.log(read / rank) == pytest.approx(empty, abs=3e-4)
        if dimension == 2048:
            assert read == pytest.approx({1: 1.27, 10: 12.65}[rank], abs=0.005)


@pytest.mark.parametrize("size", [1e-9, 1e9])
def test_all_measures_but_the_spread_are_free_of_scale(size):
    """So that the dust that centring leaves is measured as if it were a layer."""
    features = np.maximum(np.random.default_rng(0).standard_normal((50, 20)), 0)
    plain, scaled = measure(features, centred=True), measure(size * features, centred=True)
    assert counts(scaled) == pytest.approx(counts(plain))
    assert (scaled.coefficient, scaled.spread) == pytest.approx((plain.coefficient, plain.spread))
    shifted = measure(5 + 1e-6 * features, centred=True)  # a layer that hardly varies
    assert counts(shifted) == pytest.approx(counts(plain), rel=1e-6)
    assert shifted.spread < 1e-12 < 0.1 < plain.spread


@pytest.mark.parametrize("seed", range(3))
def test_few_samples_bound_every_count(seed):
    features = np.random.default_rng(seed).standard_normal((200, 60))
    for n in (2, 5, 20):
        assert measure(features[:n], centred=True).rank == n - 1
    assert measure(features, centred=True).rank == 60


def test_classes_need_one_direction_less_than_there_are():
    rng = np.random.default_rng(0)
    for classes in (2, 10, 30):
        points = rng.random((classes, 64))[np.arange(300) % classes]
        assert measure(points, centred=True).rank == classes - 1


def test_blocks_that_are_not_executed_have_a_name_and_a_caption():
    """So that the tests with PyTorch find them."""
    blocks = re.findall(r"```\{code-block\} python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        assert re.match(r":caption: \S.*\n:name: code-[\w-]+\n\n", block), block
        compile(block.split("\n\n", 1)[1], "<block>", "exec")
