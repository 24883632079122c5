"""Many runs of one experiment over a grid of parameters, into one tidy table; those of the book.

Each cell of the grid has a random stream of its own, made from the seed and the parameters of the
cell alone.  So a table does not depend on the order of the cells, the number of processes, the
machines they run on, or the rest of the grid, and any row can be made again on its own.

Finished cells are on disk before the next ones are taken: a sweep that was killed goes on where it
stood.  Cells run in joblib processes, or on a Dask cluster::

    with joblib.parallel_config(backend="dask"):
        sweep(experiment, grid, seed=0, path="table.csv")

``python -m dlnlib.studies`` makes the tables of the chapters.
"""

# fmt: off
from dlnlib.studies.sweeps import cell_rng, read_table, sweep
from dlnlib.studies.tables import grid_cells
from dlnlib.studies.trials import complete_trials

__all__ = [
    "cell_rng", "complete_trials", "grid_cells", "read_table", "sweep",
]
