"""Cells of a grid of parameters, and what identifies them."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from dlnlib._tables import as_text, key

__all__ = ["Cell", "cell_key", "grid_cells"]

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
        If there is no cell, a cell comes twice, the names differ from grid to grid, or a value is
        neither a number nor a word.

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
