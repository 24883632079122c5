"""Compiled loops, their cache on disk, and the threads that share a large array.

The cache notices a change in the file of a function, but not in this one: `make clean` empties it.
Numba is imported by the first kernel, since that takes longer than all the rest.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress


def compiled(*flags: str) -> Callable[[Callable], Callable]:
    """Compile a function by Numba; ``flags`` are the liberties that `fastmath` may take.

    The function runs beside other threads, and a division by zero is not an error.  Below this
    decorator write ``@no_type_check``: the checks at run time of the tests would wrap the function.
    """
    from numba import njit

    def decorate(function: Callable) -> Callable:
        dispatcher = njit(nogil=True, error_model="numpy", fastmath=set(flags))(function)
        with suppress(RuntimeError):  # neither the package nor the home folder can be written
            dispatcher.enable_caching()
        return dispatcher

    return decorate


_THREADED = 1_000_000  # entries from which a second thread pays for itself


def in_blocks(work: Callable[[Iterator[slice]], None], rows: int, columns: int, block: int) -> None:
    """Call ``work`` with an iterator over consecutive slices of at most ``block`` rows.

    Large arrays are shared by up to four threads.  Each of them makes one call, in which it can
    keep its own buffers, and all draw their slices from the same iterator, so that a thread that
    is held up leaves its rows to the others.
    """
    slices = [slice(start, start + block) for start in range(0, rows, block)]
    turns = iter(slices)  # the iterator of a list hands out each of its items once
    threads = min(4, os.cpu_count() or 1, len(slices))
    if rows * columns < _THREADED or threads == 1:
        work(turns)
        return
    with ThreadPoolExecutor(threads) as pool:
        for running in [pool.submit(work, turns) for _ in range(threads)]:
            running.result()
