"""Which trials of the deep networks count, and how their schedules are ordered."""

import pandas as pd

from dlnlib.studies import complete_trials


def test_only_whole_trials_are_complete():
    """A trial without one schedule, or without the end of one, is left out; others stay."""
    schedules = ["0.05, constant", "0.3, constant"]
    schedules += [f"{lr}, {q} %" for lr in (0.3, 0.75) for q in (10, 30, 50)]
    rows = [
        {"data": "x", "depth": 22, "growth": 12, "setting": "basic", "epochs": 4, "n": 9,
         "trial": trial, "schedule": schedule, "epoch": epoch}
        for trial in range(3) for schedule in schedules for epoch in (0, 2, 4)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    lacks_one = table[~((table["trial"] == 1) & (table["schedule"] == "0.3, 50 %"))]
    found = complete_trials(lacks_one)
    assert sorted(found["trial"].unique()) == [0, 2]
    assert len(found) == 2 * 8 * 3
    last = (table["trial"] == 2) & (table["schedule"] == "0.3, 50 %") & (table["epoch"] == 4)
    assert sorted(complete_trials(table[~last])["trial"].unique()) == [0, 1]
    deep = table[table["schedule"].isin(schedules[:6])].assign(depth=40)
    assert sorted(complete_trials(deep)["trial"].unique()) == [0, 1, 2]
    assert complete_trials(deep.assign(depth=22)).empty
    order = complete_trials(table.sample(frac=1, random_state=0))
    assert list(order["schedule"].cat.categories) == schedules
    assert set(order["network"]) == {"x, 22-12, basic"}
