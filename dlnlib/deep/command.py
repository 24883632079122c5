"""The command ``make deep``: train all runs of a comparison, and compare them with the book's."""

import argparse
import platform
import re
from collections.abc import Sequence
from pathlib import Path

import joblib
import pandas as pd
import torch
from tqdm import tqdm

from dlnlib import __version__
from dlnlib.deep.experiments import (
    PARAMETERS,
    Run,
    cost_table,
    planned_runs,
    run_rows,
    run_table,
)
from dlnlib.deep.images import ARCHIVES
from dlnlib.deep.training import SETTINGS, has_fast_bfloat16
from dlnlib.studies.tables import read_csv, write_csv

#: The tables of the chapter, and where the runs of the reader are kept.
TABLE, KEPT = Path("chapters", "tables", "densenet.csv"), Path("_build", "deep")
COSTS = TABLE.with_name("densenet_cost.csv")
_NUMBERED = re.compile(r"machine \d+").fullmatch
_EPOCHS = {("mnist5k", 22): 40, ("digits", 100): 20, ("tiny-imagenet", 100): 100}


def options_of(data: str, depth: int) -> dict[str, int | None]:
    """Epochs, batch and pictures: those of the book for small sets, of the paper for large ones."""
    large = data in ARCHIVES
    epochs = _EPOCHS.get((data, depth), 200 if large else 30)
    return {"epochs": epochs, "batch": 256 if large else 64, "n": None if large else 1000}


def train_all(
    runs: Sequence[Run], *, jobs: int = 1, folder: str = "data", download: bool = False
) -> pd.DataFrame:
    """Rows of all runs, kept in `KEPT` as they are made."""
    call = joblib.delayed(run_rows)
    calls = [call(run, KEPT, folder=folder, download=download) for run in runs]
    done = joblib.Parallel(n_jobs=jobs, return_as="generator")(calls)
    table = run_table(runs, [*tqdm(done, "runs", total=len(runs))])
    command = "make deep DATA=... DEPTH=... TRIALS=... SETTINGS=... PUBLISH=yes"
    table.attrs |= {"command": command, "function": "dlnlib.deep.experiments.run_rows"}
    table.attrs |= {"seed": "the column trial"}
    table.attrs |= {"version": f"dlnlib {__version__}", "machine": machine()}
    return table


def machine(*, gpu: bool | None = None) -> str:
    """What decides the last digits: PyTorch, precision, the processor's name and arithmetic."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    names = re.findall(r"^model name\s*: (.*)$", text, re.MULTILINE) or [platform.processor()]
    kinds = sorted(set(re.findall(r"\b(?:amx|avx512)_\w+", text)))
    gpu = torch.cuda.is_available() if gpu is None else gpu
    precision = "bfloat16" if has_fast_bfloat16("cuda" if gpu else "cpu") else "float32"
    processor = [torch.cuda.get_device_name()] if gpu else [names[0], *kinds]
    return ", ".join([f"torch {torch.__version__}", precision, *processor])


def compare(table: pd.DataFrame, published: pd.DataFrame) -> str:
    """How many rows are those of the book, and how far the others are from them."""
    keys = [*PARAMETERS, "epoch"]
    both = table.merge(published, on=keys, suffixes=("", " of the book"))
    names = [c for c in table.columns if f"{c} of the book" in both and c != "machine"]
    gaps = pd.DataFrame({c: (both[c] - both[f"{c} of the book"]).abs() for c in names})
    equal = int((gaps.fillna(0) == 0).all(axis=1).sum())
    if not len(both):
        return "The book has no such runs."
    if equal == len(both):
        return f"All {equal} rows are those of the book."
    first = both.loc[(gaps.fillna(0) > 0).any(axis=1), "epoch"].min()
    return (
        f"{equal} of {len(both)} rows are those of the book, the first that differs is of epoch "
        f"{first}: another processor or version of PyTorch rounds otherwise, and large steps carry "
        "that on; compare means over trials."
    )


def publish(table: pd.DataFrame) -> None:
    """Put the runs of a table in the place of the same runs of the book, or beside the others.

    The header lists the machines, and the column ``machine`` has their numbers.  All schedules of a
    trial come from one, since they are compared with each other.
    """
    head, own, books = dict(table.attrs), table.attrs["machine"], []
    if TABLE.exists():
        book = read_csv(TABLE)
        head = dict(book.attrs)
        new = table[PARAMETERS].drop_duplicates()
        others = book.merge(new, how="left", indicator=True)["_merge"] == "left_only"
        books = [book[others.to_numpy()]]
    head.pop("machine", None)
    known = {value: int(key.split()[1]) for key, value in head.items() if _NUMBERED(key)}
    number = known.setdefault(own, len(known) + 1)
    head[f"machine {number}"] = own
    table = pd.concat([*books, table.assign(machine=number)])
    trial = [key for key in PARAMETERS if key not in ("schedule", "batch")]
    if (table.groupby(trial)["machine"].nunique() > 1).any():
        raise ValueError(
            f"{TABLE} has runs of these trials from another machine: make all schedules of a trial "
            "here, in their place, or none"
        )
    runs = [key for key in PARAMETERS if key != "schedule"]
    table = table.sort_values(runs, kind="stable").reset_index(drop=True)
    table.attrs = head
    write_csv(TABLE, table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, write ``_build/deep/<data>-<depth>.csv``, and say how it compares.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the command line by default.

    Returns
    -------
    int
        Exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m dlnlib.deep", description="Train the DenseNets of a comparison."
    )
    add = parser.add_argument
    add("--data", default="digits", help=f"digits, mnist5k, {', '.join(ARCHIVES)}")
    add("--depth", type=int, default=22, help="of the DenseNet: 22, 40, 100")
    add("--settings", nargs="+", default=["basic"], choices=SETTINGS)
    add("--trials", type=int, default=1)
    add("--epochs", type=int, help="by default those of the book")
    add("--jobs", type=int, default=1, help="processes")
    add("--publish", action="store_true", help=f"put the runs into {TABLE}")
    add("--folder", default="data", help="of the archives of pictures")
    add("--download", action="store_true", help="fetch an archive that is missing")
    add("--cost", action="store_true", help=f"only time single steps, and write {COSTS}")
    given = parser.parse_args(arguments)
    if given.cost:
        table = cost_table()
        table.attrs = {"command": "python -m dlnlib.deep --cost", "seed": "0"}
        table.attrs |= {
            "function": "dlnlib.deep.experiments.cost_table",
            "machine": machine(gpu=False),
        }
        table.attrs |= {"version": f"dlnlib {__version__}", "parameters": "depth, size, batch"}
        write_csv(COSTS, table)
        return 0
    options = options_of(given.data, given.depth)
    options |= {} if given.epochs is None else {"epochs": given.epochs}
    try:
        runs = planned_runs(
            given.data, given.depth, settings=given.settings, trials=given.trials, **options
        )
        table = train_all(runs, jobs=given.jobs, folder=given.folder, download=given.download)
    except (ValueError, OSError, ImportError) as error:
        parser.exit(2, f"{error}\n")
    target = KEPT / f"{given.data}-{given.depth}.csv"
    write_csv(target, table)
    print(f"{target}: {len(runs)} runs")
    if TABLE.exists():
        print(compare(table, read_csv(TABLE)))
    if given.publish:
        publish(table)
        print(f"{TABLE} holds them")
    return 0
