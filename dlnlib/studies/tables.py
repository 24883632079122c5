"""Grids of parameters, and result tables as text: a header, and one block per cell.

The file is CSV.  Its first lines start with ``# `` and hold ``key: value`` pairs; a line of column
names follows; then the rows of each cell, closed by an empty line.  A block without that line was
cut off while it was written, and does not count.
"""

import csv
import io
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

# header, column names, and the rows (still text) of each finished cell under its key
Table = tuple[dict[str, str], list[str], dict[tuple[str, ...], list[list[str]]]]


def as_text(name: str, value: object) -> str:
    """A cell of the table; floats in the shortest form that reads back as the same number."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        if not value or value[0] in "# " or not value.isprintable():
            raise ValueError(
                f"{name}={value!r} does not fit into a table: use a short printable word"
            )
        return value
    if not isinstance(value, bool | int | float):
        raise ValueError(
            f"{name} must be a number or a word to fit into a table: got "
            f"{type(value).__name__}; give each number a name of its own"
        )
    return repr(value)


def key(texts: Iterable[str]) -> tuple[str, ...]:
    """What identifies a cell: its parameters as text, with numbers in one form (1 is 1.0)."""
    return tuple(map(_one_form, texts))


def _one_form(text: str) -> str:
    try:
        return repr(float(text))
    except ValueError:
        return text


def block(rows: Iterable[Sequence[str]]) -> str:
    """The rows of one cell, closed by an empty line."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue() + "\n"


def parsed(text: str) -> Table:
    """Take a table apart; a block that was not closed is left out."""
    header, lines = {}, text.splitlines(keepends=True)
    while lines and lines[0].startswith("# "):
        name, _, value = lines.pop(0)[2:].partition(": ")
        header[name] = value.rstrip("\n")
    if not lines or not lines[0].endswith("\n"):
        return header, [], {}
    columns = next(csv.reader(lines[:1]))
    size = len(header.get("parameters", "").split(", "))
    cells: dict[tuple[str, ...], list[list[str]]] = {}
    rows: list[list[str]] = []
    for line in lines[1:]:
        if line != "\n":
            rows.append(next(csv.reader([line])))
        elif rows and all(len(row) == len(columns) for row in rows):
            cells.setdefault(key(rows[0][:size]), rows)
            rows = []
        else:
            raise ValueError(f"a block without rows of {len(columns)} columns ends: {rows}")
    return header, columns, cells


def _head(header: Mapping[str, str], columns: Sequence[str]) -> str:
    """The lines above the first block."""
    return "".join(f"# {name}: {value}\n" for name, value in header.items()) + (
        block([columns])[:-1] if columns else ""
    )


def write(path: Path, table: Table) -> None:
    """Replace a file by a whole table; whoever reads it sees the old one or the new one."""
    header, columns, cells = table
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    with beside.open("w", encoding="utf-8", newline="") as stream:
        stream.write(_head(header, columns) + "".join(map(block, cells.values())))
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(beside, path)


def as_frame(table: Table) -> pd.DataFrame:
    """The table with typed columns; the header is in ``attrs``."""
    header, columns, cells = table
    text = block([columns, *(row for rows in cells.values() for row in rows)])
    frame = pd.read_csv(io.StringIO(text))
    frame.attrs = dict(header)
    return frame


Cell = dict[str, bool | int | float | str]


def cell_key(cell: Mapping) -> tuple[str, ...]:
    """The values of a cell as text, with numbers in one form."""
    return key(map(as_text, cell, cell.values()))


def grid_cells(grid: Mapping | Sequence[Mapping]) -> list[Cell]:
    """Cells of a grid, the last parameter running fastest.

    Parameters
    ----------
    grid : mapping, or list of mappings
        From the name of a parameter to its values, or to one value; all combinations are cells.  A
        list of grids is their union, so that a list of cells is a grid too.

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
        values = [v if _several(v) else [v] for v in part.values()]
        cells += [dict(zip(part, map(_plain, v), strict=True)) for v in itertools.product(*values)]
    if not cells or not cells[0]:
        raise ValueError("the grid has no cells: give each parameter at least one value")
    if any(list(cell) != list(cells[0]) for cell in cells):
        raise ValueError("all parts of a grid must name the same parameters in the same order")
    names = [cell_key(cell) for cell in cells]
    times = Counter(names)
    for name, cell in zip(names, cells, strict=True):
        if "nan" in name or times[name] > 1:
            raise ValueError(f"the cell {cell} is NaN or comes twice: remove it from the grid")
    return cells


def _several(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
