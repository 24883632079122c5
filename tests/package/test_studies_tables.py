"""The committed tables are those that their studies make; and what the studies rest on."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dlnlib import __version__
from dlnlib.stopping import Run
from dlnlib.studies import cell_rng, grid_cells, read_table, sweep
from dlnlib.studies.catalogue import STUDIES, TABLES, UNFINISHED, Study, main, make_table
from dlnlib.studies.regret import regrets, spiked_regret, split_teacher, summary
from dlnlib.studies.tables import cell_key, parsed

ROOT = Path(__file__).resolve().parent.parent.parent

# cells that are made again, and how many of their draws
SAMPLE = [
    ("regret_modes", {"dimension": 16}, 50),
    ("regret_modes", {"signal": 1.5, "spikes": "levels", "depth": 2}, 20),
    ("regret_modes", {"signal": 4, "depth": 3}, 20),
    ("regret_training", {"signal": 1.5, "spikes": "one", "depth": 2, "start": "random"}, 12),
    ("regret_training", {"signal": 3, "depth": 3, "start": "random"}, 12),
    ("regret_digits", {"samples": 150, "label_noise": 0.4, "inputs": "white"}, 40),
    ("regret_digits", {"samples": 600, "label_noise": 0.0, "inputs": "raw"}, 8),
]


@pytest.mark.parametrize("name", STUDIES)
def test_tables_are_complete_and_say_where_they_come_from(name):
    path, study = ROOT / TABLES / f"{name}.csv", STUDIES[name]
    header, _, found = parsed(path.read_text(encoding="utf-8"))
    assert header["command"] == f"make tables TABLE={name}"
    assert header["seed"] == str(study.seed)
    assert header["version"] == f"dlnlib {__version__}"
    assert header["function"] == f"{study.function.__module__}.{study.function.__name__}"
    cells = grid_cells(study.grid)
    assert list(found) == [cell_key(cell) for cell in cells], f"make it again: {header['command']}"
    table = read_table(path)
    assert (table.low <= table.regret * (1 + 1e-4)).all()
    assert (table.regret <= table.high * (1 + 1e-4)).all()
    trained = ~table.rule.isin(["zero_map", "shrinker", "validation"])
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
        numbers = ["regret", "low", "high", "upper", "time", "error", "beats"]
        np.testing.assert_allclose(again[numbers], stored[numbers], rtol=2e-3)
    # standard deviation of one draw; 1.96 is near enough to Student's factor
    spread = np.log(stored.high / stored.low).to_numpy() / (2 * 1.96) * np.sqrt(cell[count])
    off = np.log(again.regret.to_numpy() / stored.regret.to_numpy())
    limit = 4 * spread * np.sqrt(1 / draws - 1 / cell[count]) + 2e-3
    assert (np.abs(off) < limit).all()


def coin(side, rng):
    return [{"rule": rule, "value": rng.random()} for rule in ("one", "two")]


def test_a_study_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    fair = Study(coin, [{"side": [1, 2, 3]}], seed=5)
    monkeypatch.setitem(STUDIES, "fair", fair)
    table = make_table("fair", tmp_path / "whole", n_jobs=1)
    target = tmp_path / "whole" / TABLES / "fair.csv"
    assert "make tables TABLE=fair" in target.read_text(encoding="utf-8")
    assert not (tmp_path / "whole" / UNFINISHED / "fair.csv").exists()
    part = tmp_path / "part" / UNFINISHED / "fair.csv"
    sweep(coin, [{"side": 2}], seed=5, path=part)
    part.write_text(part.read_text(encoding="utf-8").replace("one", "kept"), encoding="utf-8")
    again = make_table("fair", tmp_path / "part", n_jobs=1)
    assert (again.rule == "kept").sum() == 1
    assert again.value.tolist() == table.value.tolist()


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


@pytest.mark.parametrize("seed", range(3))
def test_parts_of_the_samples_are_noisier_and_independent(seed):
    rng = np.random.default_rng(seed)
    splits = [split_teacher([2.0], 30, fraction=0.2, rng=rng) for _ in range(40)]
    train, rest, whole = (
        np.array([getattr(s, name) - s.teacher for s in splits]).ravel() * np.sqrt(30)
        for name in ("train", "validation", "all")
    )
    assert train.var() == pytest.approx(1 / 0.8, rel=0.05)
    assert rest.var() == pytest.approx(1 / 0.2, rel=0.05)
    assert whole.var() == pytest.approx(1, rel=0.05)
    assert abs(np.corrcoef(train, rest)[0, 1]) < 0.03
    np.testing.assert_allclose(whole, 0.8 * train + 0.2 * rest, atol=1e-12)


def test_summary_by_hand():
    outcomes = [(1.0, 0.5, 2.0), (4.0, 1.0, 8.0), (2.0, 1.5, 4.0)]
    row, _ = summary([{"rule": x, "validation": (1.0, 1.0, 3.0)} for x in outcomes])
    assert row["regret"] == pytest.approx(2.0)
    spread = np.log([1, 4, 2]).std(ddof=1)
    width = 4.302653 * spread / np.sqrt(3)
    assert row["high"] == pytest.approx(2 * np.exp(width), rel=1e-4)
    assert row["low"] == pytest.approx(2 * np.exp(-width), rel=1e-4)
    assert (row["time"], row["error"], row["beats"]) == (1.0, 4.0, 0.33333)


def test_validation_pays_for_its_samples():
    t = np.linspace(0, 4, 201)
    curves = {"t": t, "entropy": (t - 1) ** 2, "noise_mode": t / 4, "edge_mode": t / 4}
    curves |= {"noise_energy": 0.5, "train_error": 4 - t, "validation_error": (t - 3) ** 2}
    full = Run(**curves, test_error=1 + (t - 2) ** 2)
    part = Run(**curves, test_error=2 + (t - 3) ** 2)
    found = regrets(full, part)
    assert found["validation"] == pytest.approx((2.0, 1.5, 2.0))
    assert found["validation_retrained"] == pytest.approx((2.0, 1.5, 2.0))
    assert found["entropy_minimum"] == pytest.approx((2.0, 0.5, 2.0))
    assert found["oracle"] == pytest.approx((1.0, 1.0, 1.0))
    assert found["end_of_run"] == pytest.approx((5.0, 2.0, 5.0))


@pytest.mark.parametrize("start", ["aligned", "random"])
@pytest.mark.parametrize("depth", [2, 3])
def test_small_teachers_of_every_kind(start, depth):
    cell = {"signal": 3.0, "spikes": "equal", "dimension": 8, "a0": 1e-2, "depth": depth}
    rows = spiked_regret(**cell, start=start, draws=3, rng=np.random.default_rng(0))
    table = {row["rule"]: row["regret"] for row in rows}
    assert table["oracle"] == 1.0
    # other samples, or other maps than those of the run, can do better than it
    assert all(x >= 1 for name, x in table.items() if name not in ("shrinker", "validation"))


def test_a_table_is_made_again_beside_others(tmp_path, monkeypatch):
    """Found by `make mutants`: the folder of the tables is there already."""
    monkeypatch.setitem(STUDIES, "fair", Study(coin, [{"side": [1, 2]}], seed=5))
    tables = [make_table("fair", tmp_path, n_jobs=1) for _ in range(2)]
    assert tables[0].value.tolist() == tables[1].value.tolist()
