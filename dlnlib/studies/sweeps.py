"""A sweep: cells with random streams of their own, run in processes and kept as they finish."""

import hashlib
import inspect
import json
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from pickle import PicklingError

import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

from dlnlib import __version__
from dlnlib.studies.identity import function_name, identity
from dlnlib.studies.tables import (
    Cell,
    CellFile,
    as_frame,
    cell_file,
    cell_key,
    grid_cells,
    is_cell_file,
    plain,
    read_csv,
)


def sweep(
    function: Callable,
    grid: Mapping | Sequence[Mapping],
    *,
    seed: int,
    path: str | os.PathLike | None = None,
    n_jobs: int | None = None,
    progress: bool = False,
    command: str | None = None,
) -> pd.DataFrame:
    """Run ``function(**cell, rng=rng)`` on every cell of a grid.

    Parameters
    ----------
    function : callable
        Returns the results of one cell as a mapping from names to numbers or words, or a list of
        such mappings, one per row of the table.
    grid : mapping, or list of mappings
        As for `grid_cells`.
    seed : int
        Together with the parameters of a cell it fixes the random stream of that cell.
    path : path, optional
        File that keeps each finished cell, with its types; any name, as ``steps.sqlite``.  Cells
        that it already holds are not run again, and other sweeps may write into it at the same
        time.  `read_table` reads it, and ``table.to_csv`` writes a table for other programs.
    n_jobs : int, optional
        Processes; by default one, or what `joblib.parallel_config` says.
    progress : bool
        Show a bar on stderr.
    command : str, optional
        How to make the file again, for its header.

    Returns
    -------
    pandas.DataFrame
        The parameters of a cell, then its results; rows in the order of the grid.  ``attrs`` holds
        the header: command, function, seed, version.

    Raises
    ------
    ValueError
        If the grid does not fit the function, the function cannot be sent to another process, or
        `path` holds the results of another function (other code, defaults, closed-over or global
        values), seed or version, or is no such file.
    OSError
        If `path` cannot be written, as on a full disk; finished cells stay in it.
    RuntimeError
        If a cell fails: the message names its parameters, the cells finished before stay in
        `path`, all others are run, and the traceback follows.

    Examples
    --------
    >>> def walk(steps, *, rng):
    ...     return {"end": rng.choice([-1, 1], steps).sum()}
    >>> table = sweep(walk, {"steps": [10, 100]}, seed=0)
    >>> table.to_dict("list")
    {'steps': [10, 100], 'end': [-2, 4]}
    """
    cells = grid_cells(grid)
    _check_function(function, cells, seed)
    path = None if path is None else Path(path)
    asked = {cell_key(cell): cell for cell in cells}
    parts = {} if path is None else identity(function)
    with cell_file(path) as file:
        header = _header(function, cells[0], seed, command)
        _claim(file, path, header, parts)
        held = file.cells()
        todo = [cell for name, cell in asked.items() if name not in held]
        bar = partial(tqdm, initial=len(asked) - len(todo), total=len(asked), disable=not progress)
        if todo:
            _finish(file, bar(_results(function, todo, seed, n_jobs)))
        file.put_first([*asked])  # what is not asked for stays, behind
        done = file.cells()
    return as_frame([row for name in asked for row in done[name]], header)


def cell_rng(seed: int, cell: Mapping) -> np.random.Generator:
    """Random stream of one cell.

    Parameters
    ----------
    seed : int
    cell : mapping
        Parameters; their order does not matter, nor whether a whole number is 1 or 1.0.

    Returns
    -------
    numpy.random.Generator

    Examples
    --------
    >>> cell_rng(0, {"depth": 2, "run": 1}).integers(100, size=4).tolist()
    [76, 30, 72, 77]
    >>> cell_rng(0, {"run": 1, "depth": 2}).integers(100, size=4).tolist()
    [76, 30, 72, 77]
    """
    ordered = {name: plain(name, cell[name]) for name in sorted(cell)}
    texts = tuple(map(_stream_text, ordered.values()))
    digest = hashlib.sha256(repr((list(ordered), texts)).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, dtype="<u4").tolist()])


def _stream_text(value: bool | int | float | str) -> str:
    """A value for its stream: numbers in one form (1 is 1.0), words apart from all of them."""
    if type(value) is int and abs(value) <= 2**53:
        return repr(float(value))
    if not isinstance(value, str):
        return repr(value)
    with suppress(ValueError):
        float(value)
        return json.dumps(value)
    return json.dumps(value) if value in ("True", "False") or value[:1] == '"' else value


def read_table(path: str | os.PathLike) -> pd.DataFrame:
    """A table that `sweep` keeps, also while it runs, or one of the tables beside the chapters.

    Parameters
    ----------
    path : path

    Returns
    -------
    pandas.DataFrame
        With the header of the file in ``attrs``.

    Raises
    ------
    ValueError
        If the file holds no finished cell, or is no table.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "table.sqlite")
    ...     made = sweep(lambda s, rng: {"area": s**2}, {"s": [1, 2]}, seed=0, path=path)
    ...     read_table(path)["area"].tolist()
    [1, 4]
    """
    path = Path(path)
    if not is_cell_file(path):
        return read_csv(path)
    with cell_file(path) as file:
        found = file.cells()
    header, _ = found.pop("", ({}, {}))
    if not found:
        raise ValueError(f"{path} holds no finished cell: run its sweep first")
    return as_frame([row for rows in found.values() for row in rows], header)


def _check_function(function: Callable, cells: list[Cell], seed: int) -> None:
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0: got {seed!r}")
    try:
        inspect.signature(function).bind(**cells[0], rng=None)
    except TypeError as error:
        raise ValueError(
            f"the grid does not fit {function_name(function)}: {error}; name exactly its "
            "parameters, of which rng is always one"
        ) from None


def _header(function: Callable, cell: Cell, seed: int, command: str | None) -> dict[str, str]:
    name = function_name(function)
    return {
        "command": command or f"dlnlib.studies.sweep({name}, ..., seed={seed})",
        "function": name,
        "seed": str(seed),
        "version": f"dlnlib {__version__}",
        "parameters": ", ".join(cell),
    }


def _claim(file: CellFile, path: Path | None, header: dict, parts: dict) -> None:
    """Write into a new file what the sweep is; any other must hold the same."""
    file.add("", [header, parts])
    found, known = file.cells()[""]
    old, new = found | known, header | parts
    for name in (name for name in new | old if name != "command"):
        if old.get(name) != new.get(name):
            raise ValueError(
                f"{path} holds the results of another sweep: its {name} is {old.get(name)}, not "
                f"{new.get(name)}; delete it or give another path"
            )


def _results(
    function: Callable, cells: list[Cell], seed: int, n_jobs: int | None
) -> Iterator[tuple[Cell, list[dict] | str]]:
    """Results as they come, one cell to a task: batches would hold finished ones back."""
    pool = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
    try:
        yield from pool(joblib.delayed(_run)(function, cell, seed) for cell in cells)
    except PicklingError as error:
        raise ValueError(
            f"{function_name(function)} cannot be sent to another process ({error}): "
            "let it open files and make locks itself"
        ) from error


def _run(function: Callable, cell: Cell, seed: int) -> tuple[Cell, list[dict] | str]:
    """Rows of one cell, or the traceback of its error.

    An error that were raised here would take the finished cells that are on their way with it.
    """
    try:
        result = function(**cell, rng=cell_rng(seed, cell))
        rows = [result] if isinstance(result, Mapping) else list(result)
        if not rows or any(cell.keys() & row.keys() for row in rows):
            raise ValueError("it must return a row at least, and no parameter in its rows")
        return cell, [
            cell | {name: plain(name, value) for name, value in row.items()} for row in rows
        ]
    except Exception:
        return cell, traceback.format_exc()


def _finish(file: CellFile, results: Iterable) -> None:
    """Keep results one by one; what fails is told when all others are kept."""
    columns = next((list(rows[0]) for name, rows in file.cells().items() if name), None)
    failed = []
    for cell, rows in results:
        if isinstance(rows, str):
            failed.append((cell, rows))
            continue
        columns = columns or list(rows[0])
        other = [list(row) for row in rows if list(row) != columns]
        if other:
            failed.append((cell, f"its columns are {other[0]}, not {columns}"))
        else:
            file.add(cell_key(cell), rows)
    if failed:
        cell, why = failed[0]
        reason = why.strip().splitlines()[-1]
        raise RuntimeError(f"{len(failed)} cells failed, the first at {cell}: {reason}\n\n{why}")
