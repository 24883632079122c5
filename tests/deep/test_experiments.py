"""The runs of the chapter: what is measured, the committed rows again, and the command."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import plain_coefficient
from torch import nn

from dlnlib.deep import (
    DenseNet,
    Run,
    Standard,
    experiments,
    load_images,
    planned_runs,
    run_rows,
    training,
)
from dlnlib.deep import command as module
from dlnlib.deep.experiments import CORRELATIONS, LAYERS, RECORDS, measured, run_table
from dlnlib.studies.tables import read_csv

SMALL = Run("digits", 10, 4, "basic", 0.1, None, trial=0, epochs=2, n=128)


@pytest.fixture(scope="module")
def rows():
    return run_rows(SMALL)


def test_the_same_run_again_has_the_same_rows(rows):
    np.testing.assert_equal(run_rows(SMALL), rows)


def test_threads_of_the_reader_change_nothing(rows):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        np.testing.assert_equal(run_rows(SMALL), rows)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("change", [{"trial": 1}, {"lr": 0.2}, {"setting": "full"}, {"n": 64}])
def test_all_that_names_a_run_decides_it(rows, change):
    other = replace(SMALL, **change)
    assert other.name != SMALL.name
    assert run_rows(other)[1]["loss"] != rows[1]["loss"]


def test_trials_are_paired_over_schedules(rows):
    other = run_rows(replace(SMALL, lr=0.2))
    np.testing.assert_equal(other[0], rows[0])


def test_a_row_holds_what_its_names_say():
    images = load_images("digits").few(100, 60)
    data = Standard(images, "cpu")
    network = DenseNet(10, 4, 1, 10, rng=np.random.default_rng(0))
    row = measured(network, data, 0, 10)
    network.eval()
    parts = list(network.children())
    names = [name for name, _ in network.named_children()]
    with torch.no_grad():
        x = data.x
        outputs = {}
        for name, part in zip(names, parts, strict=True):
            x = outputs[name] = part(x)
    assert row["train_loss"] == pytest.approx(nn.functional.cross_entropy(x, data.y).item())
    assert row["train_error"] == pytest.approx((x.argmax(1) != data.y).float().mean().item())
    for name in LAYERS:
        z = outputs[name].flatten(1).double().numpy()
        assert z.shape[1] <= 1000  # all units
        assert row[f"{name}_nonzero"] == pytest.approx((z > 0).mean())
        s = np.linalg.svd(z, compute_uv=False)
        for power, key in ((2, "modes"), (1, "modes1")):
            p = s**power / (s**power).sum()
            p = p[p > 1e-13]
            expected = np.exp(-(p * np.log(p)).sum())
            assert row[f"{name}_{key}"] == pytest.approx(expected, rel=1e-3)
        assert row[f"{name}_rank"] == (s > 1e-4 * s[0]).sum()
        for rho in CORRELATIONS:
            for suffix, scaled in (("", False), ("_scaled", True)):
                expected = plain_coefficient(z, rho, normalise=scaled)
                assert row[f"{name}_{rho:g}{suffix}"] == pytest.approx(expected)


def test_the_jacobian_is_that_of_the_true_classes_logit():
    images = load_images("digits").few(100, 60)
    data = Standard(images, "cpu")
    network = DenseNet(7, 2, 1, 10, rng=np.random.default_rng(0))
    row = measured(network, data, 0, 10)
    network.eval()
    state = dict(network.named_parameters())

    def logits(state):
        out = torch.func.functional_call(network, state, data.x[:100])
        return out[torch.arange(100), data.y[:100]]

    phi = torch.cat([j.flatten(1) for j in torch.func.jacrev(logits)(state).values()], dim=1)
    s = torch.linalg.svdvals(phi.detach().double()).numpy()
    p = s**2 / (s**2).sum()
    assert row["jacobian_modes"] == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-4)


def test_a_layer_that_died_has_no_modes_and_fails_nothing():
    data = Standard(load_images("digits").few(64, 30), "cpu")
    network = DenseNet(7, 2, 1, 10, rng=np.random.default_rng(0))
    with torch.no_grad():
        network.norm4.weight.zero_()
        network.norm4.bias.fill_(-1)
    row = measured(network, data, 0, 10)
    assert row["block4_0.95"] == row["block4_nonzero"] == row["block4_rank"] == 0
    assert np.isnan(row["block4_modes"])


def test_between_the_records_nothing_is_measured():
    data, network = Standard(load_images("digits").few(64, 30), "cpu"), nn.Linear(1, 1)
    asked = {round(share * 40) for share in RECORDS}
    assert {0, 2, 4, 40} <= asked
    for epoch in set(range(41)) - asked:
        assert measured(network, data, epoch, 40) == {}


def test_plans_hold_every_schedule_in_every_trial():
    runs = planned_runs("mnist5k", 22, settings=("basic", "full"), trials=3, epochs=40)
    assert len({run.name for run in runs}) == len(runs) == 3 * (8 + 6)
    deep = planned_runs("digits", 100, settings=("basic", "full"))
    assert len({run.name for run in deep}) == 6 + 6
    assert {(run.lr, run.until) for run in deep if run.setting == "basic"} < {
        (run.lr, run.until) for run in runs if run.setting == "basic"
    }
    shares = {(run.setting, run.until) for run in runs}
    assert {("basic", None), ("basic", 0.1), ("basic", 0.3), ("full", 0.5)} <= shares


def test_a_table_reads_back_as_it_is(rows, tmp_path):
    table = run_table([SMALL], [rows])
    module.write_csv(tmp_path / "table.csv", table)
    again = read_csv(tmp_path / "table.csv")
    assert again.equals(table)
    assert table["loss"][1:].tolist() == [float(f"{row['loss']:.5g}") for row in rows[1:]]
    assert module.compare(table, again) == "All 3 rows are those of the book."
    moved = again.assign(loss=again["loss"].where(again["epoch"] < 2, 9.0))
    assert "2 of 3 rows are those of the book, the first that differs is of epoch 2" in (
        module.compare(table, moved)
    )
    assert module.compare(table, again.assign(trial=7)) == "The book has no such runs."


def test_published_runs_replace_their_own_and_stand_beside_the_others(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TABLE", tmp_path / "tables" / "table.csv")
    monkeypatch.setattr(module, "run_rows", lambda *_, **__: rows)
    monkeypatch.setattr(module, "KEPT", tmp_path)
    one, two = SMALL, replace(SMALL, lr=0.2)
    module.publish(module.train_all([one, two]))
    again = module.train_all([replace(SMALL, trial=1), one])
    again.loc[again["trial"] == 0, "loss"] = 7.0
    module.publish(again)
    table = read_csv(module.TABLE)
    assert table["schedule"].tolist() == ["0.2, constant"] * 3 + ["0.1, constant"] * 6
    assert table["trial"].tolist() == [0] * 6 + [1] * 3
    assert (table["loss"] == 7).tolist() == [False] * 3 + [True] * 3 + [False] * 3
    assert (table["machine"] == 1).all()


def test_runs_of_two_machines_stand_beside_each_other_but_not_in_one_trial(
    rows, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "TABLE", tmp_path / "table.csv")
    monkeypatch.setattr(module, "run_rows", lambda *_, **__: rows)
    monkeypatch.setattr(module, "KEPT", tmp_path)
    one, two, later = SMALL, replace(SMALL, lr=0.2), replace(SMALL, trial=1)
    module.publish(module.train_all([one, two]))
    table = read_csv(module.TABLE)
    monkeypatch.setattr(module, "machine", lambda: "another")
    with pytest.raises(ValueError, match="from another machine"):
        module.publish(module.train_all([one]))
    assert read_csv(module.TABLE).equals(table)
    module.publish(module.train_all([later]))
    both = read_csv(module.TABLE)
    assert both["machine"].tolist() == [1] * 6 + [2] * 3
    assert both.attrs["machine 2"] == "another"
    module.publish(module.train_all([one, two]))
    assert read_csv(module.TABLE)["machine"].tolist() == [2] * 9
    assert "All 3 rows" in module.compare(table[:3], both)


@pytest.mark.parametrize(
    ("flags", "fast"),
    [("fma avx512_bf16 sse", True), ("asimd bf16", True), ("avx2 avx512f", False), (None, False)],
)
def test_bfloat16_is_used_where_the_processor_has_it(flags, fast, tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    if flags is not None:
        file.write_text(f"flags : {flags}\n", encoding="utf-8")
    monkeypatch.setattr(training, "Path", lambda _: file)
    assert training.has_fast_bfloat16("cpu") is fast
    assert Standard(load_images("digits").few(8, 4), "cpu").autocast()._enabled is fast


def test_the_command_trains_and_compares(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "planned_runs", lambda *_, **__: [SMALL])
    assert module.main(["--jobs", "1"]) == 0
    assert "1 runs" in capsys.readouterr().out
    table = read_csv(tmp_path / "_build" / "deep" / "digits-22.csv")
    assert table["epoch"].tolist() == [0, 1, 2]
    assert table.attrs["machine"] == module.machine()
    assert "torch" in module.machine()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "cifar10", "--depth", "100"], "DOWNLOAD=yes"),
        (["--depth", "23"], "3 m"),
        (["--data", "imagenet"], "digits"),
        (["--trials", "0"], "trials"),
    ],
)
def test_what_the_command_cannot_do_is_said_at_once(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        module.main(words)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_cost_is_that_of_one_step(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "COSTS", tmp_path / "cost.csv")
    whole = module.cost_table
    monkeypatch.setattr(module, "cost_table", lambda: whole([7, 22], [8], 1))
    ticks = iter([0, 4, 10, 12, 20, 30, 40, 56])  # of 7-12, then of 22-12
    monkeypatch.setattr(experiments.time, "process_time", lambda: next(ticks))
    assert module.main(["--cost"]) == 0
    table = read_csv(tmp_path / "cost.csv")
    assert table["seconds"].tolist() == [float(f"{1000 * s / 64:.2g}") for s in (2, 10)]
    assert table[["depth", "size", "batch"]].to_numpy().tolist() == [[7, 8, 64], [22, 8, 64]]


def test_the_loss_of_a_table_is_the_mean_since_the_row_before():
    rows = [{"epoch": k, "lr": 0.1, "loss": float(k)} for k in range(4)]
    for k in (0, 1, 3):
        rows[k]["train_loss"] = 1.0
    table = run_table([SMALL], [rows])
    assert table["epoch"].tolist() == [0, 1, 3]
    assert table["loss"].tolist() == [0, 1, 2.5]
