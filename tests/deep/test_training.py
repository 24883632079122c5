"""Training on pictures: the steps themselves, the same run again, kills, schedules, shifts."""

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import ROOT
from torch import nn

from dlnlib.deep import Setting, Standard, load_images, step_sizes, train_epochs
from dlnlib.deep.training import SETTINGS

DATA = Standard(load_images("digits").few(96, 50), "cpu")


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def train(network, lr, *, epochs=3, setting=None, measure=lambda net, epoch: {}, **options):
    streams = [np.random.default_rng([0, k]) for k in range(1, epochs + 1)]
    setting = setting or Setting()
    return train_epochs(
        network, DATA, lr, batch=32, setting=setting, streams=streams, measure=measure, **options
    )


def test_a_step_is_that_of_sgd_on_the_next_pictures_of_the_permutation():
    network, plain = linear(), linear()
    rows = train(network, np.full(9, 0.1))
    losses = []
    for epoch in (1, 2, 3):
        order = np.random.default_rng([0, epoch]).permutation(96)
        for k in range(3):
            pick = torch.from_numpy(order[32 * k : 32 * k + 32])
            with DATA.autocast():
                loss = nn.functional.cross_entropy(plain(DATA.x[pick]), DATA.y[pick])
            slopes = torch.autograd.grad(loss, list(plain.parameters()))
            with torch.no_grad():
                for p, slope in zip(plain.parameters(), slopes, strict=True):
                    p -= 0.1 * slope
            losses.append(loss.item())
    for p, q in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    means = np.reshape(losses, (3, 3)).mean(axis=1)
    np.testing.assert_allclose([row["loss"] for row in rows[1:]], means, rtol=1e-6)
    assert rows[0]["epoch"] == 0
    assert np.isnan(rows[0]["loss"])


def test_the_last_step_size_of_each_epoch_is_in_its_row():
    rows = train(linear(), np.arange(1, 10) / 1000)
    assert [row["lr"] for row in rows[1:]] == [0.003, 0.006, 0.009]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_that_is_broken_off_goes_on_as_if_it_had_not_been(name, tmp_path):
    lr, setting = np.full(9, 0.05), SETTINGS[name]
    whole = linear()
    rows = train(whole, lr, setting=setting)

    def broken(_, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return {}

    file = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        train(linear(), lr, setting=setting, measure=broken, checkpoint=file)
    parts = linear()
    seen = []
    again = train(
        parts,
        lr,
        setting=setting,
        checkpoint=file,
        measure=lambda _, epoch: seen.append(epoch) or {},
    )
    assert seen == [2, 3]
    np.testing.assert_equal(again, rows)
    for p, q in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(p, q)
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_a_finished_run_only_gives_its_rows(tmp_path):
    file = tmp_path / "run.pt"
    rows = train(linear(), np.full(9, 0.05), checkpoint=file)
    fresh = linear()
    np.testing.assert_equal(train(fresh, np.full(9, 0.05), checkpoint=file), rows)


def test_a_kill_loses_one_epoch_at_most(tmp_path):
    """A process is killed between its checkpoints, without a chance to clean up."""
    code = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "deep")!r}, {str(ROOT / "tests")!r}]
import time
import numpy as np
from test_training import linear, train
def slow(net, epoch):
    print(epoch, flush=True)
    time.sleep(0.2)
    return {{}}
lr, file = np.full(300, 0.05), {str(tmp_path / "run.pt")!r}
train(linear(), lr, epochs=100, measure=slow, checkpoint=file)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        for line in run.stdout:
            if line.strip() == "5":
                os.kill(run.pid, signal.SIGKILL)
                break
    seen = []

    def stop(_, epoch):
        seen.append(epoch)
        raise KeyboardInterrupt

    time.sleep(0.1)
    with pytest.raises(KeyboardInterrupt):
        train(
            linear(), np.full(300, 0.05), epochs=100, measure=stop, checkpoint=tmp_path / "run.pt"
        )
    assert seen == [5]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_named(content, tmp_path):
    (tmp_path / "run.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.pt is no checkpoint of this run .* delete it"):
        train(linear(), np.full(9, 0.05), checkpoint=tmp_path / "run.pt")


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    train(linear(), np.full(9, 0.05), checkpoint=tmp_path / "run.pt")
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.Linear(20, 10))
    with pytest.raises(ValueError, match="no checkpoint of this run"):
        train(other, np.full(9, 0.05), checkpoint=tmp_path / "run.pt")


def test_nothing_foreign_is_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"network": {}, "optimiser": {}, "rows": [Evil()]}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="no checkpoint of this run"):
        train(linear(), np.full(9, 0.05), checkpoint=tmp_path / "run.pt")
    assert not (tmp_path / "made").exists()


def test_schedules_are_those_of_the_public_code():
    """`piecewise_03epochs` with `warmup_exp=1.05`, written as its rule reads."""
    steps = 1000
    ours = step_sizes(SETTINGS["basic"], 0.75, 0.3, steps)
    for k in (0, 100, 299, 300, 899, 900, 999):
        share = k / steps
        grown = 0.75 * 1.05 ** (100 * min(share, 0.3))
        divisor = 1 if share < 0.3 else 10 if share < 0.9 else 100
        assert ours[k] == pytest.approx(grown / divisor, rel=1e-12)
    full = step_sizes(SETTINGS["full"], 0.1, 0.5, 100)
    assert full[[0, 49, 50, 89, 90]] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])
    assert (step_sizes(SETTINGS["basic"], 0.05, None, 7) == 0.05).all()


def test_shifted_pictures_are_the_picture_somewhere_else():
    ((moved, y),) = list(DATA.epoch(96, True, np.random.default_rng(3)))
    order = np.random.default_rng(3).permutation(96)
    shifts = set()
    for one, k in zip(moved, order, strict=True):
        wide = nn.functional.pad(DATA.x[k], [1] * 4)
        found = [
            (i, j)
            for i in range(3)
            for j in range(3)
            if torch.equal(wide[:, i : i + 8, j : j + 8], one)
        ]
        assert found
        shifts.update(found)
    assert len(shifts) == 9
    assert torch.equal(y, DATA.y[torch.from_numpy(order)])


def test_only_coloured_pictures_are_mirrored():
    images = load_images("digits").few(64, 10)
    x, x_test = images.x.repeat(3, 1), images.x_test.repeat(3, 1)
    data = Standard(replace(images, x=x, x_test=x_test), "cpu")
    ((moved, _),) = list(data.epoch(64, True, np.random.default_rng(0)))
    order = np.random.default_rng(0).permutation(64)

    def same(one, picture):
        wide = nn.functional.pad(picture, [1] * 4)
        places = itertools.product(range(3), repeat=2)
        return any(torch.equal(wide[:, i : i + 8, j : j + 8], one) for i, j in places)

    straight = [same(one, data.x[k]) for one, k in zip(moved, order, strict=True)]
    mirrored = [same(one, data.x[k].flip(2)) for one, k in zip(moved, order, strict=True)]
    assert all(a or b for a, b in zip(straight, mirrored, strict=True))
    assert 15 < sum(mirrored) < 49
