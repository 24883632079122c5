"""Measures of any matrix: by hand, against plain versions, by every route, in every dress."""

import subprocess
import sys
import tracemalloc
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from helpers import plain_coefficient
from hypothesis import given
from hypothesis import strategies as st

from dlnlib.entropy import effective_modes, map_entropy
from dlnlib.measures import (
    distinct_units,
    feature_sparsity,
    measure,
    measure_layers,
    numerical_rank,
)


def draw_features(seed, n, m):
    """Random units, some dead, some copies of others up to scale."""
    rng = np.random.default_rng(seed)
    features = np.maximum(rng.standard_normal((n, m)), 0)
    features[:, rng.random(m) < 0.2] = 0
    copies = rng.integers(m, size=m // 3)
    features[:, rng.integers(m, size=m // 3)] = features[:, copies] * rng.uniform(0.5, 2, m // 3)
    return features


@given(
    st.integers(0, 10**6),
    st.integers(3, 20),
    st.integers(1, 15),
    st.floats(0.3, 0.999),
    st.booleans(),
)
def test_sparsity_coefficient(seed, n, m, threshold, normalise):
    features = draw_features(seed, n, m)
    found = feature_sparsity(features, correlation=threshold, normalise=normalise)
    expected = plain_coefficient(features, threshold, normalise=normalise)
    assert found == pytest.approx(expected, abs=1e-12)


def test_coefficient_by_hand():
    features = np.array(
        [
            [1.0, 0.0, 2.0, 0.0, 3.0],
            [0.0, 0.0, 0.0, 2.0, 3.0],
            [2.0, 0.0, 4.0, 1.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.0],
        ]
    )
    kept = distinct_units(features, correlation=0.99)
    assert kept.tolist() == [False, False, True, True, True]  # of two copies the later one stays
    assert feature_sparsity(features, correlation=0.99) == 6 / 20


def test_limits_of_the_coefficient():
    assert feature_sparsity(np.zeros((4, 3)), correlation=0.9) == 0
    assert feature_sparsity([[1.0, 0.0], [0.0, 1.0]], correlation=0.9) == 0.25  # opposite units
    rng = np.random.default_rng(0)
    assert feature_sparsity(rng.uniform(0.1, 1, (200, 7)), correlation=0.9) == 1
    assert feature_sparsity([[2.0], [3.0]], correlation=0.9) == 1  # constant once scaled


@given(st.integers(0, 10**6), st.floats(0.3, 0.99))
def test_invariances_of_the_coefficient(seed, threshold):
    """Scale of a sample, and of all units."""
    features = draw_features(seed, 12, 9)
    sizes = np.random.default_rng(seed).uniform(0.5, 2, (12, 1))
    expected = feature_sparsity(features, correlation=threshold)
    assert feature_sparsity(8 * features, correlation=threshold) == expected
    near = [feature_sparsity(sizes * features, correlation=threshold * f) for f in (1 - 1e-9, 1)]
    assert expected in near


def deleting(features, threshold):
    """The public code of deep networks: units are deleted from the matrix of correlations."""
    active = np.flatnonzero((features > 0).sum(axis=0))
    left = np.corrcoef(features[:, active].T) - np.eye(len(active))
    deleted, place, turn = [], 0, 0
    while place < len(left):
        if (np.abs(left[place]) > threshold).any():
            left = np.delete(np.delete(left, place, axis=0), place, axis=1)
            deleted.append(turn)
        else:
            place += 1
        turn += 1
    kept = np.delete(active, deleted)
    return (features[:, kept] > 0).sum() / features.size


def families(m):
    """Layers of many units: independent, few inputs, copies and opposites, dead and constant."""
    rng = np.random.default_rng(0)
    n = 150
    few = np.maximum(rng.standard_normal((n, 3)) @ rng.standard_normal((3, m)) + 0.3, 0)
    mixed = draw_features(1, n, m)
    mixed[:, rng.integers(m, size=20)] = 0.7
    mixed[:, rng.integers(m, size=20)] = 5 - mixed[:, rng.integers(m, size=20)]
    return {
        "independent": np.maximum(rng.standard_normal((n, m)), 0),
        "few inputs": few,
        "mixed": np.maximum(mixed, 0),
        "one loud sample": np.vstack([1e6 * few[:1], few]),
    }


@pytest.mark.parametrize("threshold", [0.3, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("name", families(2))
def test_many_units_are_compared_as_few(name, threshold, monkeypatch):
    """By bounds and in single precision, or by the products of all pairs."""
    features = families(1300)[name]
    for normalise in (False, True):
        options = {"correlation": threshold, "normalise": normalise}
        bounds = distinct_units(features, **options)
        with monkeypatch.context() as changed:
            changed.setattr("dlnlib.measures.coefficient._FEW", 10**6)
            assert (distinct_units(features, **options) == bounds).all()
        assert (distinct_units(features.astype(np.float32), **options) == bounds).mean() > 0.99


@pytest.mark.parametrize("name", ["independent", "few inputs"])
def test_many_units_are_compared_as_in_the_public_code(name):
    features = families(1100)[name]
    found = feature_sparsity(features, correlation=0.95, normalise=False)
    assert found == pytest.approx(deleting(features, 0.95), abs=1e-12)
    if name == "few inputs":
        assert found < 0.5 * np.count_nonzero(features) / features.size


@pytest.mark.parametrize("gap", [1e-9, -1e-9])
def test_pairs_at_the_threshold_are_decided_in_double_precision(gap):
    """1,100 units of correlation 0.9 + gap with one other each, and with nothing else."""
    x = np.linalg.qr(np.random.default_rng(0).standard_normal((1200, 1101)))[0][:, 1:]
    x -= x.mean(axis=0)
    x = np.linalg.qr(x)[0]
    rho = 0.9 + gap
    other = rho * x[:, ::2] + np.sqrt(1 - rho**2) * x[:, 1::2]
    features = 1 + np.hstack([x[:, ::2], other])
    kept = distinct_units(features, correlation=0.9, normalise=False)
    assert kept.tolist() == [gap < 0] * 550 + [True] * 550


def test_many_units_take_little_memory():
    """8,000 units: 300 MB beside the matrix itself are allowed, and less is used."""
    features = np.maximum(np.random.default_rng(0).standard_normal((1000, 8000)), 0)
    tracemalloc.start()
    feature_sparsity(features, correlation=0.95)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150e6


def test_rank_and_its_threshold():
    s = [4.0, 2.0, 1e-3, 0.0]
    assert numerical_rank(s, 1e-4) == 3
    assert numerical_rank(s, 0.0) == 3
    assert numerical_rank(s, [0.0, 1e-3, 0.5, 0.9]).tolist() == [3, 2, 1, 1]
    assert numerical_rank([s, [1.0] * 4, [0.0] * 4], 0.1).tolist() == [2, 4, 0]
    assert numerical_rank([s, [1.0] * 4], [0.1, 0.6]).tolist() == [[2, 1], [4, 4]]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=9), st.floats(0, 0.99))
def test_ranks_are_ordered_and_free_of_scale(s, threshold):
    values = np.array([*s, 1.0])
    assert numerical_rank(values, [0.0, threshold, 0.999]).tolist() == sorted(
        numerical_rank(values, [0.0, threshold, 0.999]).tolist(), reverse=True
    )
    doubled = 2.0**5 * values  # an exact change of scale, so that no entry crosses a threshold
    assert numerical_rank(doubled, threshold) == numerical_rank(values, threshold)


def plain(w, centred=False):
    """e^H of both powers and the stable rank, from the singular values as they come."""
    s = np.linalg.svd(w - centred * w.mean(axis=0), compute_uv=False)
    modes = [effective_modes(s, power=power).item() for power in (2, 1)]
    return *modes, (s**2).sum() / s[0] ** 2


ROUTES = {
    "small": (40, 30),
    "many samples": (1400, 520),
    "many units": (520, 1400),
    "very many samples": (9000, 480),
}


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("route", ROUTES)
def test_spectral_measures_by_every_route(route, centred):
    rng = np.random.default_rng(0)
    n, m = ROUTES[route]
    w = rng.standard_normal((n, m)) * np.geomspace(1, 1e-3, m) + 2.0
    found = measure(w, centred=centred)
    expected = plain(w, centred)
    values = found.modes, found.effective_rank, found.stable_rank
    assert values == pytest.approx(expected, rel=1e-9)
    assert found.modes == pytest.approx(np.exp(found.entropy))
    if not centred:
        assert found.entropy == pytest.approx(map_entropy(w).item(), rel=1e-9)
    direct = measure(w, centred=centred, rank_above=0)
    assert direct.effective_rank == pytest.approx(found.effective_rank, rel=1e-9)
    blocks = measure(iter(np.array_split(w, 7)), centred=centred)
    assert blocks.effective_rank == pytest.approx(found.effective_rank, rel=1e-9)
    assert blocks.rank == found.rank


@pytest.mark.parametrize("shape", [(60, 50), (600, 2048), (2048, 600)])
def test_rank_ten_reads_ten(shape):
    """Equal singular values: by either route e^H is 10, to rounding, at both powers."""
    rng = np.random.default_rng(0)
    u = np.linalg.qr(rng.standard_normal((shape[0], 10)))[0]
    v = np.linalg.qr(rng.standard_normal((shape[1], 10)))[0]
    found = measure(u @ v.T)
    values = found.modes, found.effective_rank, found.stable_rank
    assert values == pytest.approx((10, 10, 10), rel=1e-12)
    assert found.rank == 10


def test_error_of_a_long_tail():
    """A tail below the rounding of the products is cut off; the error is what it adds."""
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.standard_normal((n, 600)))[0] for n in (900, 600))
    w = (u * np.geomspace(1, 1e-14, 600)) @ v.T
    rough, exact = measure(w), measure(w, rank_above=0)
    assert rough.modes == pytest.approx(exact.modes, rel=1e-10)
    assert 0 < exact.effective_rank / rough.effective_rank - 1 < 1e-5
    assert exact.rank > 500


def test_options_reach_the_measures():
    w = np.diag([4.0, 2.0, 1e-3, 0.0])
    assert [measure(w, rank_above=r).rank for r in (0, 1e-3, 0.9)] == [3, 2, 1]
    features = draw_features(0, 12, 9)
    for threshold in (0.3, 0.9):
        found = measure(features, correlation=threshold)
        scaled = feature_sparsity(features, correlation=threshold)
        plain_rows = feature_sparsity(features, correlation=threshold, normalise=False)
        assert (found.coefficient, found.coefficient_scaled) == (plain_rows, scaled)
    assert (found.samples, found.units) == (12, 9)
    assert found.nonzero == np.count_nonzero(features) / features.size
    assert found.dead == np.count_nonzero(~features.any(axis=0)) > 0


DRESSES = {
    "list": lambda f: f.tolist(),
    "single precision": lambda f: f.astype(np.float32),
    "half precision": lambda f: f.astype(np.float16),
    "integers": lambda f: f.astype(int),
    "Fortran order": np.asfortranarray,
    "frame": pd.DataFrame,
    "four axes": lambda f: f.reshape(len(f), 3, 1, 4),
    "read-only": lambda f: np.lib.stride_tricks.as_strided(f, writeable=False),
    "one block": lambda f: iter([f]),
    "blocks": lambda f: (f[k : k + 5] for k in range(0, len(f), 5)),
    "blocks of four axes": lambda f: (part.reshape(len(part), 3, 1, 4) for part in [f[:1], f[1:]]),
}


@pytest.mark.parametrize("dress", DRESSES)
def test_input_in_any_dress(dress):
    """Whole numbers, which each type holds."""
    features = np.random.default_rng(0).integers(0, 3, (23, 12)).astype(float)
    found, expected = measure(DRESSES[dress](features)), measure(features)
    *values, notes = asdict(found).values()
    *numbers, expected_notes = asdict(expected).values()
    assert values == pytest.approx(numbers, rel=1e-12) and notes == expected_notes
    for normalise in (False, True):
        options = {"correlation": 0.5, "normalise": normalise}
        assert feature_sparsity(DRESSES[dress](features), **options) == pytest.approx(
            feature_sparsity(features, **options), rel=1e-12
        )


def test_a_file_larger_than_what_is_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("dlnlib.measures.units._BLOCK", 500)
    features = draw_features(3, 200, 30)
    stored = np.memmap(tmp_path / "units", np.float32, "w+", shape=features.shape)
    stored[:] = features
    found, expected = measure(stored), measure(features.astype(np.float32).astype(float))
    assert found.coefficient_scaled == expected.coefficient_scaled < expected.nonzero
    assert found.coefficient == expected.coefficient


def test_blocks_far_from_zero_do_not_cancel():
    """Units of mean 1e6 and spread 1, also where the first block has another mean."""
    rng = np.random.default_rng(0)
    w = 1e6 + rng.standard_normal((300, 20))
    w[:50] += 1e4
    found = measure(iter(np.array_split(w, 9)), centred=True)
    assert found.effective_rank == pytest.approx(plain(w, True)[1], rel=1e-8)


@given(st.integers(0, 10**6), st.integers(1, 9))
def test_spread_is_the_energy_about_the_means(seed, blocks):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((12, 5)) + rng.uniform(-9, 9, 5)
    expected = ((w - w.mean(axis=0)) ** 2).sum() / (w**2).sum()
    assert measure(w).spread == pytest.approx(expected, rel=1e-12)
    assert measure(iter(np.array_split(w, blocks))).spread == pytest.approx(expected, rel=1e-12)


def test_part_of_the_units():
    """The standard error is the spread over draws; without copies the mean is right."""
    features = np.maximum(np.random.default_rng(0).standard_normal((60, 300)) - 1.0, 0)
    features *= np.random.default_rng(1).random(300) < 0.6
    rng = np.random.default_rng(2)
    draws = [measure(features, units=60, rng=rng) for _ in range(300)]
    values = np.array([draw.coefficient for draw in draws])
    claimed = np.mean([draw.standard_error for draw in draws])
    assert values.std() == pytest.approx(claimed, rel=0.15)
    whole = measure(features)
    assert values.mean() == pytest.approx(whole.coefficient, abs=4 * claimed / np.sqrt(300))
    assert {draw.modes for draw in draws} == {whole.modes}
    assert whole.standard_error == measure(features, units=300, rng=rng).standard_error == 0


def test_a_part_of_the_units_finds_fewer_copies():
    features = np.repeat(np.random.default_rng(0).random((30, 50)), 4, axis=1)
    rng = np.random.default_rng(1)
    values = [measure(features, units=50, rng=rng).coefficient for _ in range(40)]
    assert measure(features).coefficient == 0.25
    assert min(values) > 0.25


def test_a_part_of_blocks_as_of_the_whole():
    features = draw_features(0, 40, 30)
    options = {"units": 12, "correlation": 0.9}
    whole = measure(features, rng=np.random.default_rng(0), **options)
    blocks = measure(iter([features[:9], features[9:]]), rng=np.random.default_rng(0), **options)
    assert blocks.coefficient == whole.coefficient
    assert blocks.coefficient_scaled == whole.coefficient_scaled
    assert blocks.modes == pytest.approx(whole.modes, rel=1e-12)
    many = np.maximum(np.random.default_rng(1).standard_normal((30, 4000)), 0)
    part = measure(many, units=2000, rng=np.random.default_rng(0))  # by bounds
    chosen = np.sort(np.random.default_rng(0).choice(4000, 2000, replace=False))
    assert part.coefficient == feature_sparsity(many[:, chosen], correlation=0.95, normalise=False)


def test_degenerate_matrices_have_a_result_and_a_note():
    dead = measure([[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]])
    assert (dead.dead, dead.rank, dead.modes) == (2, 1, 1.0)
    assert dead.notes == ("2 of 3 units are zero on all samples",)
    nothing = measure(np.zeros((4, 3)))
    assert nothing.notes == ("all entries are zero: no direction is used",)
    assert (nothing.coefficient, nothing.modes, nothing.stable_rank, nothing.rank) == (0, 0, 0, 0)
    assert np.isnan(nothing.entropy) and nothing.spread == 0
    constant = measure(np.full((7, 3), 0.1), centred=True)
    assert (constant.modes, constant.rank, constant.coefficient, constant.spread) == (0, 0, 1, 0)
    assert constant.notes == ("constant over the samples: centred, no direction is used",)
    assert measure(np.full((7, 3), 0.1)).rank == 1
    dust = measure(1 + 1e-4 * np.eye(4))
    assert dust.notes == ("units hardly vary: 2e-09 of the energy is about their means",)
    assert measure(1 + np.eye(4)).notes == ()
    assert measure(np.full((900, 600), 0.1), centred=True).rank == 0
    assert measure(np.full((600, 900), 0.1), centred=True).rank == 0
    single = measure([[1.0, 2.0]])
    assert (single.rank, single.coefficient) == (1, 1)
    assert single.notes == ("one sample: every measure of directions reads 1",)
    assert measure([[1.0, 2.0]], centred=True).notes[-1] == "one sample: centred, nothing is left"
    signed = measure([[1.0, -2.0], [3.0, 1.0]])
    assert np.isnan(signed.coefficient) and signed.rank == 2
    assert signed.notes == ("negative entries: the coefficient is for outputs of ReLU units",)


def test_tables():
    features = draw_features(0, 12, 9)
    found = measure(features, correlation=0.9)
    table = found.table("hidden")
    assert table.index.tolist() == ["hidden"] and table.loc["hidden", "rank"] == found.rank
    assert found.as_dict()["notes"] == "; ".join(found.notes) != ""
    layers = measure_layers({"a": features, "b": np.eye(3)}, correlation=0.9)
    assert layers.loc["a"].to_dict() == found.as_dict()
    assert layers.loc["b", "modes"] == pytest.approx(3)


@pytest.mark.usefixtures("no_shape_checks")
def test_layers_need_names():
    with pytest.raises(ValueError, match="layers must map names to matrices: got ndarray"):
        measure_layers(np.eye(2))


class Tensor:
    """As tensors behave: no array before it is detached, and not on another device."""

    def __init__(self, values, device="cpu", layout="torch.strided", dtype="torch.float32"):
        self.values, self.device, self.layout, self.dtype = values, device, layout, dtype
        self.detached = False

    def detach(self):
        self.detached = True
        return self

    def float(self):
        return Tensor(self.values, dtype="torch.float32").detach()

    def numpy(self):
        assert self.detached
        if self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return np.asarray(self.values)

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


def test_tensors_are_read_without_their_library():
    values = [[1.0, 0.0], [2.0, 3.0]]
    for dtype in ("torch.float32", "torch.bfloat16"):
        assert measure(Tensor(values, dtype=dtype)) == measure(values)
    with pytest.raises(ValueError, match=r"tensor on cuda:0: .*features.cpu\(\)"):
        measure(Tensor(values, device="cuda:0"))
    with pytest.raises(ValueError, match="sparse tensor: give its to_dense"):
        measure(Tensor(values, layout="torch.sparse_coo"))
    with pytest.raises(ValueError, match=r"list of tensors; stack them by torch.stack"):
        measure([Tensor([1.0, 0.0]), Tensor([2.0, 3.0])])
    blocks = (Tensor([row]) for row in values)
    assert measure(blocks).modes == pytest.approx(measure(values).modes)
    code = "import sys, dlnlib.measures; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


ERRORS = {
    r"features must have a row for each sample .* got shape \(3,\)": lambda: measure([1.0, 2, 3]),
    r"at least one sample and one unit: got shape \(0, 3\)": lambda: measure(np.empty((0, 3))),
    r"at least one sample and one unit: got shape \(3, 0, 2\)": lambda: measure(
        np.empty((3, 0, 2))
    ),
    "got no block": lambda: measure(iter([])),
    "same units: got 2 and 3": lambda: measure(iter([np.eye(2), np.eye(3)])),
    "at most 4096 units": lambda: measure(iter([np.ones((1, 5000))])),
    "NaN or infinity, in 1 of 2 units and 1 of 3": lambda: measure([[1, 2], [3, np.nan], [1, 1]]),
    "rank_above must be at least .* for blocks": lambda: measure(iter([np.eye(2)]), rank_above=0),
    r"rank_above must lie in \[0, 1\)": lambda: measure(np.eye(2), rank_above=1),
    "rng must be a generator": lambda: measure(np.eye(3), units=2),
    "units must be an integer >= 2": lambda: measure(np.eye(3), units=1),
    "largest entry of 1e-80": lambda: measure([[1e-80, 0.0]]),
    "largest entry of 1e\\+80": lambda: measure([[1e80, 0.0]]),
    "must not be negative: got -1": lambda: feature_sparsity([[1.0, -1.0]], correlation=0.9),
    r"correlation must lie in \(0, 1\]": lambda: feature_sparsity([[1.0, 1.0]], correlation=1.5),
    r"threshold must lie in \[0, 1\)": lambda: numerical_rank([1.0], 1.0),
    "leave out the runs that diverged": lambda: numerical_rank([np.nan, 1.0], 0.1),
    "singular_values must not be negative": lambda: numerical_rank([-1.0, 1.0], 0.1),
}


@pytest.mark.parametrize("message", ERRORS)
def test_bad_input(message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message]()
