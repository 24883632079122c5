"""The sweeps behind the tables of the book, by name.

A study is run in a folder of its own and its table moved beside the chapters when it is complete,
so that an interrupted run goes on where it stood and a committed table is never half made.
"""

import argparse
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dlnlib.studies.regret import spiked_regret
from dlnlib.studies.regret_digits import digits_regret
from dlnlib.studies.regret_probe import digits_probe_regret, flow_regret, sgd_regret
from dlnlib.studies.regret_regression import leave_one_out_regret, regression_regret
from dlnlib.studies.sweeps import sweep
from dlnlib.studies.tables import write_csv

#: Folder of the tables, from the root of the book.
TABLES = Path("chapters", "tables")
UNFINISHED = Path("_build", "tables")


class Study(NamedTuple):
    """All that a table depends on.

    Parameters
    ----------
    function : callable
        Gives the rows of one cell, see `dlnlib.studies.sweep`.
    grid : list of mappings
        Its parameters, see `dlnlib.studies.grid_cells`.
    seed : int
    """

    function: Callable[..., list[dict]]
    grid: Sequence[Mapping]
    seed: int


def _spiked(**changes: object) -> dict:
    """Part of a grid; what is not changed stays at the middle of all scans."""
    middle = {"signal": 2, "spikes": "one", "n_out": 64, "n_in": 64, "a0": 1e-6, "depth": [2, 3]}
    return middle | {"start": "aligned", "draws": 200} | changes


def _trained(**changes: object) -> dict:
    """The same for small networks, in which all weights can be trained."""
    small = {"n_out": 20, "n_in": 20, "a0": 1e-3, "start": ["aligned", "random"], "draws": 100}
    return _spiked(**small | changes)


def _estimated(**changes: object) -> dict:
    """The same for what the estimates of the test error depend on."""
    return _spiked(**{"noise": "gaussian", "judged": 1.0} | changes)


NOT_WHITE = ["heavy tails", "signs", "unequal outputs", "unequal inputs", "correlated outputs"]


def _probed(**changes: object) -> dict:
    """Part of a grid of probes in the training of a small network from random weights."""
    return {"signal": 1.5, "spikes": "one", "dimension": 20} | changes


def _regression(**changes: object) -> dict:
    """Part of a grid of networks on sets of scikit-learn; ``step`` is that of the probes."""
    middle = {"data": "diabetes", "network": "relu", "samples": 60, "scale": 0.3, "step": 0.1}
    return middle | {"splits": 80} | changes


def _left_out(**changes: object) -> dict:
    """Part of a grid of linear regression with every sample left out in turn."""
    return {"layers": 1, "ratio": 1.5, "signal": 8.0, "samples": 60, "draws": 40} | changes


#: The studies by name, each a `Study`.
STUDIES = {
    "regret_modes": Study(
        spiked_regret,
        [
            _spiked(signal=[0.5, 1, 1.25, 1.5, 2, 3, 4, 8]),
            _spiked(signal=[1.5, 3], spikes=["equal", "levels"]),
            _spiked(a0=[1e-1, 1e-2, 1e-4, 1e-8, 1e-12]),
            *(_spiked(a0=1e-2, n_out=d, n_in=d, depth=2) for d in (16, 32, 128)),
            *(_spiked(signal=[1.5, 3], n_out=c, n_in=d) for c, d in ((32, 128), (128, 32))),
        ],
        seed=41,
    ),
    "regret_estimates": Study(
        spiked_regret,
        [
            _estimated(signal=[0.5, 1.25, 1.5, 2, 3, 8], depth=[4, math.inf]),
            _estimated(signal=[1.5, 3], spikes=["equal", "levels"], depth=[4, math.inf]),
            _estimated(a0=[1e-1, 1e-2, 1e-4, 1e-8], depth=[4, math.inf]),
            *(_estimated(signal=[1.5, 3], n_out=d, n_in=d) for d in (16, 32, 128, 256)),
            _estimated(signal=[1.5, 3], noise=NOT_WHITE),
            _estimated(signal=3, spikes="levels", noise=NOT_WHITE),
            _estimated(signal=[1.5, 3], judged=[0.8, 0.9, 1.1, 1.25]),
        ],
        seed=44,
    ),
    "regret_training": Study(
        spiked_regret,
        [_trained(signal=[1.5, 3]), _trained(signal=1.5, spikes="levels", depth=2)],
        seed=42,
    ),
    "regret_digits": Study(
        digits_regret,
        [
            {"samples": [150, 600], "wrong_labels": [0.0, 0.4, 0.7], "inputs": ["white", "raw"]}
            | {"scale": 1e-2, "splits": 40},
            {"samples": 150, "wrong_labels": 0.4, "inputs": "white", "scale": 1e-4, "splits": 40},
        ],
        seed=43,
    ),
    "regret_probe_flow": Study(
        flow_regret,
        [
            _probed(signal=[1.25, 1.5, 3], a0=1e-3, depth=[2, 3], draws=100),
            _probed(spikes="levels", a0=1e-3, depth=[2, 3], draws=100),
        ],
        seed=44,
    ),
    "regret_probe_sgd": Study(
        sgd_regret,
        [
            _probed(signal=[1.25, 1.5, 3], samples=100, batch=10, a0=1e-3, draws=200),
            _probed(spikes="levels", samples=100, batch=10, a0=1e-3, draws=200),
        ],
        seed=45,
    ),
    "regret_probe_digits": Study(
        digits_probe_regret,
        {"samples": [150, 600], "wrong_labels": [0.0, 0.4, 0.7], "inputs": ["white", "raw"]}
        | {"scale": 1e-2, "splits": 40},
        seed=46,
    ),
    "regret_probe_regression": Study(
        regression_regret,
        [
            _regression(network="linear", samples=[60, 200], step=0.01),
            _regression(step=[1e-4, 1e-2, 0.1]),
            _regression(samples=200),
            _regression(data="linnerud", network="linear", samples=15, step=0.01),
            _regression(data="linnerud", samples=15),
        ],
        seed=47,
    ),
    "regret_leave_one_out": Study(
        leave_one_out_regret,
        [
            _left_out(layers=[1, 2], ratio=[0.5, 1.5, 3.0], signal=[1.0, 8.0]),
            _left_out(samples=[120, 240]),
        ],
        seed=48,
    ),
}


def make_table(
    name: str, folder: str | os.PathLike = ".", *, n_jobs: int = -1, progress: bool = False
) -> pd.DataFrame:
    """Run a study from nothing, or from where it was interrupted, and put its table in place.

    Parameters
    ----------
    name : str
        One of `STUDIES`.
    folder : path
        Root of the book.
    n_jobs : int
        Processes, -1 for all cores; the table does not depend on it.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    pandas.DataFrame
    """
    if name not in STUDIES:
        raise ValueError(f"no study {name!r}: there are {', '.join(STUDIES)}")
    function, grid, seed = STUDIES[name]
    path, target = Path(folder, UNFINISHED, f"{name}.sqlite"), Path(folder, TABLES, f"{name}.csv")
    options = {"path": path, "n_jobs": n_jobs, "progress": progress}
    table = sweep(function, grid, seed=seed, command=f"make tables TABLE={name}", **options)
    write_csv(target, table)
    path.unlink()
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the named tables, or all.

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
        prog="python -m dlnlib.studies", description="Make the result tables."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(STUDIES))
    parser.add_argument("--jobs", type=int, default=-1, help="processes; all cores by default")
    parser.add_argument("--folder", default=".", help="root of the book")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in STUDIES]
    if unknown:
        parser.error(f"no study {', '.join(unknown)}: there are {', '.join(STUDIES)}")
    for name in given.names or STUDIES:
        print(f"{name} ...", flush=True)
        make_table(name, given.folder, n_jobs=given.jobs, progress=True)
        print(f"{Path(given.folder, TABLES, name)}.csv", flush=True)
    return 0
