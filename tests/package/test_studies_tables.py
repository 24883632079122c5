"""The committed tables are those that their studies make; and what the studies rest on."""

import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dlnlib import __version__
from dlnlib.stopping import Run, validation_patience
from dlnlib.studies import cell_rng, grid_cells, read_table, sweep
from dlnlib.studies.catalogue import STUDIES, TABLES, UNFINISHED, Study, main, make_table
from dlnlib.studies.regret import (
    BLOCKS,
    HELD_OUT,
    NOISES,
    Split,
    _averaged_maps,
    _random,
    averaged,
    kept,
    part_run,
    regrets,
    spiked_regret,
    split_teacher,
    summary,
)
from dlnlib.studies.regret_digits import evidence, noisy_digits
from dlnlib.studies.tables import write_csv
from dlnlib.tasks import svd_modes

ROOT = Path(__file__).resolve().parent.parent.parent

# They can do better than the best stop of a run on all samples.
OTHER_MAPS = ["shrinker", "validation", "validation_10", "validation_averaged"]
# cells that are made again, and how many of their draws
SAMPLE = [
    ("regret_modes", {"n_out": 16}, 50),
    ("regret_modes", {"signal": 1.5, "spikes": "levels", "depth": 2}, 10),
    ("regret_modes", {"signal": 4, "depth": 3}, 10),
    ("regret_modes", {"signal": 3, "n_out": 32, "depth": 2}, 10),
    ("regret_modes", {"signal": 1.5, "n_out": 128, "n_in": 32, "depth": 3}, 10),
    ("regret_estimates", {"noise": "correlated outputs", "signal": 1.5, "depth": 2}, 10),
    ("regret_estimates", {"judged": 1.1, "signal": 3, "depth": 3}, 10),
    ("regret_estimates", {"signal": 1.25, "depth": math.inf}, 10),
    ("regret_training", {"signal": 1.5, "spikes": "one", "depth": 2, "start": "random"}, 6),
    ("regret_training", {"signal": 3, "depth": 3, "start": "random"}, 6),
    ("regret_digits", {"samples": 150, "wrong_labels": 0.4, "inputs": "white"}, 6),
    ("regret_digits", {"samples": 600, "wrong_labels": 0.0, "inputs": "raw"}, 4),
    ("regret_probe_flow", {"signal": 1.5, "spikes": "levels", "depth": 2}, 4),
    ("regret_probe_flow", {"signal": 3, "depth": 3}, 3),
    ("regret_probe_sgd", {"signal": 1.5, "spikes": "one"}, 5),
    ("regret_probe_digits", {"samples": 150, "wrong_labels": 0.7, "inputs": "white"}, 4),
    ("regret_probe_digits", {"samples": 600, "wrong_labels": 0.4, "inputs": "raw"}, 3),
    ("regret_probe_regression", {"network": "linear", "samples": 60}, 4),
    ("regret_probe_regression", {"data": "linnerud", "network": "relu"}, 4),
    ("regret_leave_one_out", {"layers": 1, "ratio": 1.5, "samples": 60}, 10),
    ("regret_leave_one_out", {"layers": 2, "ratio": 0.5}, 3),
]


@pytest.mark.parametrize("name", STUDIES)
def test_tables_are_complete_and_say_where_they_come_from(name):
    path, study = ROOT / TABLES / f"{name}.csv", STUDIES[name]
    table = read_table(path)
    header = table.attrs
    assert header["command"] == f"make tables TABLE={name}"
    assert header["seed"] == str(study.seed)
    assert header["version"] == f"dlnlib {__version__}"
    assert header["function"] == f"{study.function.__module__}.{study.function.__name__}"
    cells = grid_cells(study.grid)
    found = table[list(cells[0])].drop_duplicates().to_dict("records")
    assert found == cells, f"make it again: {header['command']}"
    assert (table.low <= table.regret * (1 + 1e-4)).all()
    assert (table.regret <= table.high * (1 + 1e-4)).all()
    for rival, column in (("validation", "to_split"), ("validation_folds", "to_folds")):
        assert (table[column][table.rule == rival] == 1).all()
        assert (table[f"{column}_low"] <= table[column] * (1 + 1e-4)).all()
        assert (table[column] <= table[f"{column}_high"] * (1 + 1e-4)).all()
        cell = table.set_index(list(cells[0]))
        base = cell.regret[cell.rule == rival].reindex(cell.index)
        np.testing.assert_allclose(cell[column], cell.regret / base, rtol=3e-4)  # of 5 digits
        # other samples, other maps, or another training than that of the best
        trained = ~table.rule.isin([*OTHER_MAPS, "zero_map", "reml", "lazy_oracle"])
    assert (table.regret[trained] > 1 - 1e-9).all()


@pytest.mark.parametrize(("name", "where", "draws"), SAMPLE, ids=str)
def test_a_sample_of_rows_is_made_again(name, where, draws):
    """All draws must give the row; the first of them its mean, within their spread."""
    study = STUDIES[name]
    cell = next(c for c in grid_cells(study.grid) if where.items() <= c.items())
    table = read_table(ROOT / TABLES / f"{name}.csv")
    stored = table[(table[list(cell)] == list(cell.values())).all(axis=1)]
    count = "splits" if "splits" in cell else "draws"
    part = {**cell, count: draws}
    again = pd.DataFrame(study.function(**part, rng=cell_rng(study.seed, cell)))
    assert again.rule.tolist() == stored.rule.tolist()
    if draws == cell[count]:
        numbers = again.columns.drop("rule")
        np.testing.assert_allclose(again[numbers], stored[numbers], rtol=2e-3)
    # standard deviation of one draw; 1.96 is near enough to Student's factor
    spread = np.log(stored.high / stored.low).to_numpy() / (2 * 1.96) * np.sqrt(cell[count])
    off = np.log(again.regret.to_numpy() / stored.regret.to_numpy())
    limit = 4 * spread * np.sqrt(1 / draws - 1 / cell[count]) + 2e-3
    assert (np.abs(off) < limit).all()


def coin(side, rng):
    return [{"rule": rule, "value": rng.random()} for rule in ("one", "two")]


def marked(side, marks, rng):
    tempfile.mkstemp(dir=marks)
    return coin(side, rng)


def test_a_study_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    marks = tmp_path / "marks"
    marks.mkdir()
    grid = {"side": [1, 2, 3], "marks": str(marks)}
    monkeypatch.setitem(STUDIES, "fair", Study(marked, [grid], seed=5))
    part = tmp_path / UNFINISHED / "fair.sqlite"
    sweep(marked, [{**grid, "side": 2}], seed=5, path=part)
    table = make_table("fair", tmp_path, n_jobs=1)
    assert len(list(marks.iterdir())) == 3
    assert not part.exists()
    target = tmp_path / TABLES / "fair.csv"
    assert "make tables TABLE=fair" in target.read_text(encoding="utf-8")
    pd.testing.assert_frame_equal(read_table(target), table)
    streams = [cell_rng(5, {"side": k, "marks": str(marks)}) for k in (1, 2, 3)]
    assert table.value.tolist() == [rng.random() for rng in streams for _ in "ab"]


def edited(path, change):
    """A copy of a table, as another program may leave it."""
    copy = path.with_name(f"edited-{path.name}")
    copy.write_bytes(change(path.read_bytes()))
    return copy


def test_csv_reads_back_as_it_was_or_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    values = {"word": ["None", "NA", "true story"], "x": [1 / 3, np.nan, 1e-300]}
    table = pd.DataFrame({**values, "n": [2**62, 2**62 + 1, 0]})
    table.attrs = {"seed": "0", "parameters": "word, x"}
    write_csv(path, table)
    pd.testing.assert_frame_equal(read_table(path), table)
    for change in (lambda b: b"\xef\xbb\xbf" + b, lambda b: b.replace(b"\n", b"\r\n")):
        pd.testing.assert_frame_equal(read_table(edited(path, change)), table)
    before = path.read_bytes()
    for column in (["007", "8", "9"], [1, "1", 2], ["nan", "2", "3"], ["a\n# b", "c", "d"]):
        with pytest.raises(ValueError, match="does not read back"):
            write_csv(path, table.assign(word=column))
    with pytest.raises(ValueError, match="is no table"):
        write_csv(path, table.rename(columns={"word": "# word"}))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if "new" in p.name] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b"", "no finished cell"),
        (lambda b: b.split(b"\n1,")[0] + b"\n", "no finished cell"),
        (lambda b: b.replace(b"# ", b'"# '), "is no table"),
        (lambda b: b.replace(b",", b";"), "is no table"),
        (lambda b: b"\xff\xfe" + b, "is no table"),
        (lambda b: b.replace(b"one,", b"one,,"), "is no table"),
    ],
)
def test_a_table_that_another_program_has_spoilt_is_refused(change, message, tmp_path):
    path = tmp_path / "coin.csv"
    write_csv(path, sweep(coin, {"side": [1, 2]}, seed=0))
    with pytest.raises(ValueError, match=message):
        read_table(edited(path, change))


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(STUDIES, "fair", Study(coin, [{"side": [1, 2, 3]}], seed=5))
    assert main(["fair", "--jobs", "1", "--folder", str(tmp_path)]) == 0
    assert "fair.csv" in capsys.readouterr().out
    assert len(read_table(tmp_path / TABLES / "fair.csv")) == 6
    with pytest.raises(SystemExit):
        main(["unfair"])
    with pytest.raises(ValueError, match="no study 'unfair'"):
        make_table("unfair")
    command = [sys.executable, "-m", "dlnlib.studies", "unfair"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 2
    assert "regret_modes" in run.stderr


@pytest.mark.parametrize("shape", [(30, 30), (10, 40), (40, 10)])
@pytest.mark.parametrize("held", [(0, 1), (0,), (8, 9)])
def test_parts_of_the_samples_are_noisier_and_independent(shape, held):
    rng = np.random.default_rng(0)
    splits = [split_teacher([2.0], shape, rng=rng) for _ in range(60)]
    train, rest, whole = (
        np.array([s.of(blocks) - s.teacher for s in splits]).ravel() * np.sqrt(shape[1])
        for blocks in (kept(held), held, range(BLOCKS))
    )
    share = len(held) / BLOCKS
    assert train.var() == pytest.approx(1 / (1 - share), rel=0.05)
    assert rest.var() == pytest.approx(1 / share, rel=0.05)
    assert whole.var() == pytest.approx(1, rel=0.05)
    assert abs(np.corrcoef(train, rest)[0, 1]) < 0.03
    np.testing.assert_allclose(whole, (1 - share) * train + share * rest, atol=1e-12)


def test_every_rival_keeps_out_what_it_says():
    assert [len(out) for out in HELD_OUT["validation"]] == [0.2 * BLOCKS]
    assert [len(out) for out in HELD_OUT["validation_10"]] == [0.1 * BLOCKS]
    folds = sum(HELD_OUT["validation_folds"], ())
    assert sorted(folds) == list(range(BLOCKS))
    assert len(HELD_OUT["validation_folds"]) == 5


def test_summary_by_hand():
    outcomes = [(1.0, 0.5, 2.0), (4.0, 1.0, 8.0), (2.0, 1.5, 4.0)]
    rivals = {"validation": (1.0, 1.0, 3.0), "validation_folds": (2.0, 1.0, 3.0)}
    row, _, other = summary([{"rule": x} | rivals for x in outcomes])
    assert row["regret"] == pytest.approx(2.0)
    spread = np.log([1, 4, 2]).std(ddof=1)
    width = 4.302653 * spread / np.sqrt(3)
    assert row["high"] == pytest.approx(2 * np.exp(width), rel=1e-4)
    assert row["low"] == pytest.approx(2 * np.exp(-width), rel=1e-4)
    assert (row["time"], row["error"], row["beats"]) == (1.0, 4.0, 0)
    assert (row["to_split"], row["to_folds"], other["to_split"]) == (2.0, 1.0, 2.0)
    assert row["to_folds_high"] == pytest.approx(np.exp(width), rel=1e-4)


def test_ratios_are_paired():
    """Draws that differ a thousandfold, and two rules that differ by a tenth on each of them."""
    rng = np.random.default_rng(0)
    found = []
    for hard in 10 ** rng.uniform(0, 3, 40):
        ours, theirs = hard * np.exp(0.1 + 0.01 * rng.standard_normal()), hard
        found.append(
            {
                "rule": (ours, 1.0, ours),
                "validation": (theirs, 1.0, theirs),
                "validation_folds": (theirs, 1.0, theirs),
            }
        )
    row = summary(found)[0]
    assert row["high"] / row["low"] > 3
    assert 1.09 < row["to_split_low"] < np.exp(0.1) < row["to_split_high"] < 1.12


def test_validation_pays_for_its_samples():
    t = np.linspace(0, 4, 201)
    curves = {"t": t, "entropy": (t - 1) ** 2, "noise_mode": t / 4, "edge_mode": t / 4}
    curves |= {"noise_energy": 0.5, "train_error": 4 - t}
    full = Run(**curves, test_error=1 + (t - 2) ** 2)
    part = part_run(t, 2 + (t - 3) ** 2, (t - 3) ** 2)
    folds = [part_run(t, 9 + 0 * t, (t - x) ** 2) for x in (2.0, 2.2, 2.4)]
    held = {"validation": [part], "validation_folds": folds}
    found = regrets(full, held)
    assert found["validation"] == pytest.approx((2.0, 1.5, 2.0))
    assert found["validation_retrained"] == pytest.approx((2.0, 1.5, 2.0))
    assert found["validation_folds"] == pytest.approx((1.04, 1.1, 1.04))
    assert found["entropy_minimum"] == pytest.approx((2.0, 0.5, 2.0))
    assert found["oracle"] == pytest.approx((1.0, 1.0, 1.0))
    assert found["end_of_run"] == pytest.approx((5.0, 2.0, 5.0))


def test_folds_are_averaged_at_times_of_their_own():
    """Grids that differ, also by rounding alone, and runs of different length."""
    grids = [np.linspace(0, end, 301) for end in (3.0, 4.0, 3.0 * (1 + 1e-15))]
    runs = [part_run(t, 1 + t, (t - x) ** 2) for t, x in zip(grids, (1.0, 1.5, 2.0), strict=True)]
    mean = averaged(runs)
    assert mean.t[-1] == 3.0
    assert (np.diff(mean.t) > 1e-9).all()
    exact = np.mean([(mean.t - x) ** 2 for x in (1.0, 1.5, 2.0)], axis=0)
    np.testing.assert_allclose(mean.validation_error, exact, atol=1e-4)
    assert validation_patience(mean) == pytest.approx(1.5, abs=1e-3)


@pytest.mark.parametrize("start", ["aligned", "random"])
@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("shape", [(8, 8), (4, 12), (12, 4)])
def test_small_teachers_of_every_kind(start, depth, shape):
    cell = {"signal": 3.0, "spikes": "equal", "a0": 1e-2, "depth": depth}
    cell |= {"n_out": shape[0], "n_in": shape[1], "start": start, "draws": 3}
    rows = spiked_regret(**cell, rng=np.random.default_rng(0))
    table = {row["rule"]: row["regret"] for row in rows}
    assert table["oracle"] == 1.0
    # other samples, or other maps than those of the run, can do better than it
    assert all(x >= 1 for name, x in table.items() if name not in OTHER_MAPS)
    estimates = {"plugin_minimum"} | (
        {"risk_minimum", "risk_median", "plugin_known", "cross_validation_minimum"}
        if start == "aligned"
        else set()
    )
    assert {name for name in table if "risk" in name or "plugin" in name or "cross" in name} == (
        estimates
    )


@pytest.mark.parametrize("kind", NOISES)
def test_noise_of_every_kind_has_the_same_size_and_a_law_of_its_own(kind):
    shape = (200, 40, 60)
    noise = NOISES[kind](np.random.default_rng(0), shape)
    assert noise.shape == shape
    limit = 0.1 if kind == "heavy tails" else 0.02
    assert np.mean(noise**2) == pytest.approx(1, abs=limit)
    rows, columns = (noise**2).mean(axis=(0, 2)), (noise**2).mean(axis=(0, 1))
    unequal = {"unequal outputs": rows, "unequal inputs": columns}
    for name, sizes in unequal.items():
        assert (sizes[::2].mean() > 8 * sizes[1::2].mean()) == (name == kind)
    beside = np.mean(noise[:, 1:] * noise[:, :-1])
    assert beside == pytest.approx(0.5 if kind == "correlated outputs" else 0, abs=0.03)
    fourth = np.mean(noise**4) / np.mean(noise**2) ** 2
    assert (fourth > 5) == (kind == "heavy tails")
    assert (fourth == pytest.approx(1)) == (kind == "signs")


def test_a_misjudged_level_moves_those_who_were_told_it():
    cell = {"signal": 1.5, "spikes": "one", "n_out": 20, "n_in": 20, "a0": 1e-4, "depth": 2}
    cell |= {"start": "aligned", "draws": 4}
    right, wrong = (
        {
            row["rule"]: row["error"]
            for row in spiked_regret(**cell, **judged, rng=np.random.default_rng(0))
        }
        for judged in ({}, {"judged": 1.5})
    )
    moved = {name for name, error in right.items() if wrong[name] != error}
    assert {"plugin_known", "risk_minimum", "shrinker", "evidence_based"} <= moved
    assert not moved & {"plugin_minimum", "risk_median", "cross_validation_minimum", "validation"}


def test_averaged_maps_by_hand():
    """Two folds that miss the teacher on opposite sides: their mean does not."""
    teacher, t = np.eye(3), np.linspace(0, 4, 81)
    split = Split(teacher, np.repeat(teacher[None], BLOCKS, axis=0))
    full = part_run(t, 0.5 + (t - 2) ** 2, t)
    folds = [
        (part_run(t, t + 1, (t - 1) ** 2), lambda time, c=c: (1 + c) * time * teacher)
        for c in (0.3, -0.3)
    ]
    found = _averaged_maps(split, full, folds)["validation_averaged"]
    assert found == pytest.approx((0.0, 0.5, 0.0), abs=1e-9)


def test_all_trainings_of_a_draw_begin_with_the_same_weights():
    split = split_teacher([2.0], (6, 6), rng=np.random.default_rng(0))
    train = _random(split, 1, 1e-3, 2, np.random.default_rng(1))
    parts = [svd_modes(split.of(kept(held))) for held in ((), (0, 1), (0,))]
    starts = []
    for modes in parts:
        distance = train(modes)[3]
        starts.append([distance(target)[0] for target in np.eye(36).reshape(36, 6, 6)])
    np.testing.assert_array_equal(starts[0], starts[1])
    np.testing.assert_array_equal(starts[0], starts[2])


@pytest.mark.parametrize("white", [True, False])
@pytest.mark.parametrize("samples", [60, 150])
def test_digits_begin_alike_and_lose_what_is_held_out(white, samples):
    data = noisy_digits(samples, 0.4, np.random.default_rng(0))
    for held in ((), (0,), (2, 3)):
        task, out = data.task(held, white)
        assert out == samples - len(task.x) == samples * len(held) // BLOCKS
        assert task.x.shape[1] == 64  # one set of weights fits all
        assert len(task.x_test) == len(data.x) - len(task.x)
        tenth = samples // BLOCKS
        labels, mine = data.y[:samples], np.isin(np.arange(samples) // tenth, held)
        expected = labels[mine] - labels[~mine].mean(axis=0)
        np.testing.assert_allclose(task.y_test[:out], expected, atol=1e-12)
        spread = task.x.T @ task.x / len(task.x)
        if white:  # a projection: the identity where the images vary
            np.testing.assert_allclose(spread @ spread, spread, atol=1e-8)
        else:
            assert np.trace(spread) == pytest.approx(64)


def test_a_table_is_made_again_beside_others(tmp_path, monkeypatch):
    """Found by `make mutants`: the folder of the tables is there already."""
    monkeypatch.setitem(STUDIES, "fair", Study(coin, [{"side": [1, 2]}], seed=5))
    tables = [make_table("fair", tmp_path, n_jobs=1) for _ in range(2)]
    assert tables[0].value.tolist() == tables[1].value.tolist()


def test_evidence_by_hand_and_without_pixels_that_never_vary():
    """Found by `make mutants`: what is zero but for rounding is no evidence for anything."""
    rng = np.random.default_rng(0)
    x, y, w = (rng.standard_normal(shape) for shape in ((50, 3), (50, 2), (4, 2, 3)))
    gradients = (x @ w.mT - y)[..., None] * x[:, None]  # maps, samples, outputs, inputs
    expected = (gradients.mean(axis=1) ** 2 / (gradients.var(axis=1) / 50)).mean(axis=(1, 2))
    np.testing.assert_allclose(evidence(w, x, y), expected)
    pixels = np.hstack([x, np.zeros((50, 1)), 1e-17 * rng.standard_normal((50, 1))])
    wide = np.concatenate([w, np.zeros((4, 2, 2))], axis=2)
    np.testing.assert_allclose(evidence(wide, pixels, y), expected)
