"""A sweep: cells with random streams of their own, run in processes and kept as they finish."""

import hashlib
import inspect
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from pickle import PicklingError

import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

from dlnlib import __version__
from dlnlib.studies.tables import (
    Cell,
    Table,
    as_frame,
    as_text,
    block,
    cell_key,
    grid_cells,
    parsed,
    write,
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
        File that each finished cell is appended to.  Cells that it already holds are not run
        again; at the end it stands in the order of the grid.
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
        `path` holds the results of another function, seed or version.
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
    header = _header(function, cells[0], seed, command)
    path = None if path is None else Path(path)
    held = _held(path, header)
    asked = {cell_key(cell): cell for cell in cells}
    todo = [cell for name, cell in asked.items() if name not in held[2]]
    bar = partial(tqdm, initial=len(asked) - len(todo), total=len(asked), disable=not progress)
    if todo:
        held = _finish(held, bar(_results(function, todo, seed, n_jobs)), path)
    header, columns, done = held
    table = header, columns, {name: done[name] for name in asked}
    if path is not None:
        write(path, (header, columns, table[2] | done))  # what is not asked for stays, behind
    return as_frame(table)


def cell_rng(seed: int, cell: Mapping) -> np.random.Generator:
    """Random stream of one cell.

    Parameters
    ----------
    seed : int
    cell : mapping
        Parameters; their order does not matter.

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
    ordered = {name: cell[name] for name in sorted(cell)}
    digest = hashlib.sha256(repr((list(ordered), cell_key(ordered))).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, dtype="<u4").tolist()])


def read_table(path: str | os.PathLike) -> pd.DataFrame:
    """A table that `sweep` wrote, also while it is being written.

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
        If the file holds no finished cell.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "table.csv")
    ...     made = sweep(lambda s, rng: {"area": s**2}, {"s": [1, 2]}, seed=0, path=path)
    ...     read_table(path)["area"].tolist()
    [1, 4]
    """
    table = parsed(Path(path).read_text(encoding="utf-8"))
    if not table[2]:
        raise ValueError(f"{path} holds no finished cell: run its sweep first")
    return as_frame(table)


def _check_function(function: Callable, cells: list[Cell], seed: int) -> None:
    if seed < 0:
        raise ValueError(f"seed must be an integer >= 0: got {seed!r}")
    try:
        inspect.signature(function).bind(**cells[0], rng=None)
    except TypeError as error:
        raise ValueError(
            f"the grid does not fit {_name(function)}: {error}; name exactly its parameters, "
            "of which rng is always one"
        ) from None


def _name(function: Callable) -> str:
    if isinstance(function, partial):
        given = [repr(value) for value in function.args]
        given += [f"{name}={value!r}" for name, value in function.keywords.items()]
        return f"{_name(function.func)}({', '.join(given)})"
    return f"{function.__module__}.{function.__qualname__}"


def _header(function: Callable, cell: Cell, seed: int, command: str | None) -> dict[str, str]:
    return {
        "command": command or f"dlnlib.studies.sweep({_name(function)}, ..., seed={seed})",
        "function": _name(function),
        "seed": str(seed),
        "version": f"dlnlib {__version__}",
        "parameters": ", ".join(cell),
    }


def _held(path: Path | None, header: dict[str, str]) -> Table:
    """What a file holds already."""
    if path is None or not path.exists():
        return header, [], {}
    try:
        found, columns, cells = parsed(path.read_text(encoding="utf-8"))
    except (ValueError, StopIteration) as error:
        raise ValueError(f"{path} is no table of a sweep: {error}") from None
    for name in ("function", "seed", "version", "parameters"):
        if found.get(name) != header[name]:
            raise ValueError(
                f"{path} holds the results of another sweep: its {name} is {found.get(name)}, not "
                f"{header[name]}; delete it or give another path"
            )
    return header, columns, cells


def _results(
    function: Callable, cells: list[Cell], seed: int, n_jobs: int | None
) -> Iterator[tuple[Cell, list[dict] | str]]:
    """Results as they come, one cell to a task: batches would hold finished ones back."""
    pool = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
    try:
        yield from pool(joblib.delayed(_run)(function, cell, seed) for cell in cells)
    except PicklingError as error:
        raise ValueError(
            f"{_name(function)} cannot be sent to another process ({error}): "
            "let it open files and make locks itself"
        ) from error


def _run(function: Callable, cell: Cell, seed: int) -> tuple[Cell, list[dict] | str]:
    """Rows of one cell as text, or the traceback of its error.

    An error that were raised here would take the finished cells that are on their way with it.
    """
    try:
        result = function(**cell, rng=cell_rng(seed, cell))
        rows = [result] if isinstance(result, Mapping) else list(result)
        if not rows or any(cell.keys() & row.keys() for row in rows):
            raise ValueError("it must return a row at least, and no parameter in its rows")
        return cell, [{name: as_text(name, value) for name, value in row.items()} for row in rows]
    except Exception:
        return cell, traceback.format_exc()


def _finish(held: Table, results: Iterable, path: Path | None) -> Table:
    """Add results to a table, and to its file one by one."""
    header, columns, done = held
    if path is not None:
        write(path, held)  # without the block that a kill has cut off
    failed = []
    for cell, rows in results:
        if isinstance(rows, str):
            failed.append((cell, rows))
            continue
        names = [*cell, *rows[0]]
        if not columns:
            columns = names
            if path is not None:
                write(path, (header, columns, {}))
        if any([*cell, *row] != columns for row in rows):
            failed.append((cell, f"its columns are {names}, not {columns}"))
            continue
        done[cell_key(cell)] = [[*map(as_text, cell, cell.values()), *row.values()] for row in rows]
        _append(path, block(done[cell_key(cell)]))
    if failed:
        cell, why = failed[0]
        reason = why.strip().splitlines()[-1]
        raise RuntimeError(f"{len(failed)} cells failed, the first at {cell}: {reason}\n\n{why}")
    return header, columns, done


def _append(path: Path | None, text: str) -> None:
    if path is not None:
        with path.open("a", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
