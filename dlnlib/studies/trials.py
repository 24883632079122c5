"""Trials of deep networks: those that hold all that is compared in them."""

import pandas as pd

#: What identifies a network and its pictures.
NETWORK = ["data", "depth", "growth", "setting", "epochs", "n"]
#: Schedules of a trial, by setting, and from the depth 40 on.
PLANNED = {"basic": 8, "full": 6}
PLANNED_DEEP = 6


def complete_trials(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the trials in which all schedules of their setting were run to the end.

    Parameters
    ----------
    table : DataFrame
        With the columns ``data``, ``depth``, ``growth``, ``setting``, ``epochs``, ``n``, ``trial``,
        ``schedule`` and ``epoch``, as in the table of the DenseNets.

    Returns
    -------
    DataFrame
        With three more columns: ``first``, the first step size; ``share``, "constant" or for how
        long the steps are large; and ``network``, its name.  The schedules are ordered: constant
        steps, then large ones, by their first step and share.

    Examples
    --------
    >>> ends = {"data": "digits", "depth": 22, "growth": 12, "setting": "full", "epochs": 30}
    >>> names = ["0.3, 50 %", "0.1, 50 %", "0.3, 10 %", "0.3, 30 %", "0.05, constant"]
    >>> rows = [ends | {"n": 9, "epoch": 30, "trial": 0, "schedule": name} for name in names]
    >>> rows += [row | {"trial": 1} for row in rows]
    >>> rows.append(rows[0] | {"schedule": "0.01, constant"})
    >>> found = complete_trials(pd.DataFrame(rows))
    >>> found["trial"].unique().tolist(), found["network"].unique().tolist()
    ([0], ['digits, 22-12, full'])
    >>> found["schedule"].cat.categories.tolist()[:3]
    ['0.01, constant', '0.05, constant', '0.1, 50 %']
    """
    keys = [*NETWORK, "trial"]
    ends = table[table["epoch"] == table["epochs"]]
    found = ends.groupby(keys, dropna=False)["schedule"].transform("nunique")
    planned = ends["setting"].map(PLANNED).where(ends["depth"] < 40, PLANNED_DEEP)
    whole = ends[found == planned]
    table = table.merge(whole[keys].drop_duplicates())
    parts = table["schedule"].str.split(", ", n=1, expand=True).reindex(columns=range(2))
    size = table["depth"].astype(str) + "-" + table["growth"].astype(str)
    table = table.assign(
        first=parts[0].astype(float),
        share=parts[1],
        network=table["data"] + ", " + size + ", " + table["setting"],
    )
    order = table.assign(large=table["share"] != "constant")
    order = order.sort_values(["large", "first", "share"])["schedule"].unique()
    return table.assign(schedule=pd.Categorical(table["schedule"], order))
