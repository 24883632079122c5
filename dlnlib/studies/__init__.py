"""Experiments over a grid of parameters, one table each, and the studies of the book.

``python -m dlnlib.studies`` makes the tables of the chapters.
"""

from dlnlib.studies import cell_rng, grid_cells, read_table, sweep

__all__ = [
    "cell_rng",
    "grid_cells",
    "read_table",
    "sweep",
]
