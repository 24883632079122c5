"""Grids of parameters, the file that a sweep keeps its cells in, and tables as CSV.

The file is an SQLite database, so that several sweeps can write into it and a kill or a full disk
leaves whole cells.  Its one table has a row for each cell, parameters and results as JSON, which
keeps types and integers of any size; the row of the empty name holds what the sweep is.
"""

import csv
import hashlib
import itertools
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd

Cell = dict[str, bool | int | float | str]
MAGIC = b"SQLite format 3\0"
TIMEOUT = 600  # seconds that a writer waits for others


def plain(name: object, value: object) -> bool | int | float | str:
    """A value of the table, as Python's own type."""
    value = value.item() if isinstance(value, np.generic) else value
    if type(name) is not str or type(value) not in (bool, int, float, str):
        raise ValueError(
            f"{name!r} must be a word and {value!r} a number or a word to fit into a table: got "
            f"{type(name).__name__} and {type(value).__name__}; give each number a name of its own"
        )
    return value


def cell_key(cell: Mapping) -> str:
    """What identifies a cell: its parameters, with their types, in any order."""
    return json.dumps(cell, sort_keys=True)


def grid_cells(grid: Mapping | Sequence[Mapping]) -> list[Cell]:
    """Cells of a grid, the last parameter running fastest.

    Parameters
    ----------
    grid : mapping, or list of mappings
        From the name of a parameter to its values, or to one value; all combinations are cells.  A
        list of grids is their union, so that a list of cells is a grid too.  Types count: "1", 1,
        1.0 and True are four values.

    Returns
    -------
    list of dict

    Raises
    ------
    ValueError
        If a cell comes twice, or the grids of a list name different parameters or another order.

    Examples
    --------
    >>> grid_cells({"depth": [2, 3], "start": "random"})
    [{'depth': 2, 'start': 'random'}, {'depth': 3, 'start': 'random'}]
    """
    cells: list[Cell] = []
    for part in [grid] if isinstance(grid, Mapping) else grid:
        values = [
            [plain(name, v) for v in (value if _several(value) else [value])]
            for name, value in part.items()
        ]
        cells += [dict(zip(part, chosen, strict=True)) for chosen in itertools.product(*values)]
    if not cells or not cells[0]:
        raise ValueError("the grid has no cells: give each parameter at least one value")
    if any(list(cell) != list(cells[0]) for cell in cells):
        raise ValueError("all parts of a grid must name the same parameters in the same order")
    met = set()
    for cell in cells:
        if cell_key(cell) in met or any(value != value for value in cell.values()):
            raise ValueError(f"the cell {cell} is NaN or comes twice: remove it from the grid")
        met.add(cell_key(cell))
    return cells


def _several(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


def as_frame(rows: Sequence[Mapping], header: Mapping) -> pd.DataFrame:
    """The table with typed columns; the header is in ``attrs``."""
    frame = pd.DataFrame({name: _column([row[name] for row in rows]) for name in rows[0]})
    frame.attrs = dict(header)
    return frame


def _column(values: list) -> pd.Series:
    """The values as they are; integers among floats become floats where that changes none."""
    kinds = {*map(type, values)}
    whole, floats = ({v for v in values if type(v) is kind} for kind in (int, float))
    largest = max(map(abs, whole), default=0)
    if kinds == {int, float} and largest <= 2**53 and whole.isdisjoint(floats):
        return pd.Series(values, dtype=float)
    mixed = len(kinds) > 1 or largest >= 2**63
    return pd.Series(values, dtype=object if mixed else None)


class CellFile:
    """The cells of one sweep, on disk or, without a path, in memory."""

    def __init__(self, database: sqlite3.Connection):
        self._database = database
        tables = self._ask("SELECT name FROM sqlite_master WHERE type = 'table'")
        if tables not in ([], [("cells",)]) or self._ask("PRAGMA integrity_check") != [("ok",)]:
            raise sqlite3.DatabaseError("it holds other tables, or broken ones")
        # each statement is whole or not at all, and on disk when it returns
        self._ask("CREATE TABLE IF NOT EXISTS cells (cell PRIMARY KEY, place, rows, digest)")

    def _ask(self, command: str, *values: object) -> list[tuple]:
        return self._database.execute(command, values).fetchall()

    def add(self, cell: str, rows: object) -> None:
        """Keep the rows of a cell; those of another sweep that was faster stay."""
        text = json.dumps(rows)
        values = (cell, text, _digest(cell, text))
        self._ask("INSERT OR IGNORE INTO cells (cell, rows, digest) VALUES (?, ?, ?)", *values)

    def cells(self) -> dict[str, list]:
        """Rows of each finished cell under its key."""
        columns, order = "cell, rows, digest", "place IS NULL, place, rowid"
        found = self._ask(f"SELECT {columns} FROM cells ORDER BY {order}")
        for cell, rows, digest in found:
            if _digest(cell, rows) != digest:
                raise sqlite3.DatabaseError(f"the cell {cell} has changed")
        return {cell: json.loads(rows) for cell, rows, _ in found}

    def put_first(self, cells: Sequence[str]) -> None:
        """Put some cells in their order before all others."""
        self._ask("BEGIN IMMEDIATE")
        self._ask("UPDATE cells SET place = place + ?", len(cells))
        places = enumerate(cells)
        self._database.executemany("UPDATE cells SET place = ? WHERE cell = ?", places)
        self._ask("COMMIT")


def _digest(*texts: str) -> str:
    return hashlib.sha256(repr(texts).encode()).hexdigest()


@contextmanager
def cell_file(path: Path | None) -> Iterator[CellFile]:
    """Open a file of cells, or make it; what is wrong with it is said with its name."""
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        name = ":memory:" if path is None else path
        with closing(sqlite3.connect(name, timeout=TIMEOUT, isolation_level=None)) as database:
            yield CellFile(database)
    except sqlite3.OperationalError as error:
        raise OSError(
            f"{path}: {error}; the cells that it holds stay: make room or give another path, "
            "and sweep again"
        ) from error
    except sqlite3.DatabaseError as error:
        raise ValueError(
            f"{path} is no file of a sweep, or damaged ({error}): give another path, or delete it"
        ) from error


def is_cell_file(path: Path) -> bool:
    """Whether a file is a database, which an empty one may become."""
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Replace a file by a table; whoever reads it sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with beside.open("w", encoding="utf-8", newline="") as stream:
            stream.writelines(f"# {name}: {value}\n" for name, value in table.attrs.items())
            table.to_csv(stream, index=False, na_rep="nan", lineterminator="\n")
            stream.flush()
            os.fsync(stream.fileno())
        if not read_csv(beside).equals(table):
            raise ValueError(
                f"this table does not read back from {path} as it is: CSV has no types; use words "
                "that are no numbers, and one type to a column"
            )
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_csv(path: Path) -> pd.DataFrame:
    """A table with lines ``# name: value`` above its columns."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        head = list(itertools.takewhile(lambda line: line.startswith("# "), lines))
        header = dict(line[2:].partition(": ")[::2] for line in head)
        columns, *rows = [row for row in csv.reader(lines[len(head) :]) if row] or [[]]
        parameters = header["parameters"].split(", ") if lines else []
        if columns[: len(parameters)] != parameters or {*map(len, rows)} - {len(columns)}:
            raise ValueError(f"its columns are {columns}")
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is no table of a sweep ({error}): lines like `# seed: 0` must come first, "
            "then the columns, with those that `# parameters:` names; make it again"
        ) from error
    if not rows:
        raise ValueError(f"{path} holds no finished cell: run its sweep first")
    typed = map(_typed, zip(*rows, strict=True))
    return as_frame(
        [dict(zip(columns, row, strict=True)) for row in zip(*typed, strict=True)], header
    )


def _typed(texts: Sequence[str]) -> list:
    """The values of a column of CSV, by its simplest type."""
    if {*texts} <= {"True", "False"}:
        return [text == "True" for text in texts]
    for kind in (int, float):
        with suppress(ValueError):
            return [kind(text) for text in texts]
    return list(texts)
