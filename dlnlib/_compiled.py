"""Compiled loops, their cache on disk, and the threads that share a large array.

The cache notices a change in the file of a function, but not in this one: `make clean` empties it.
It saves time and decides nothing: where it cannot be read or written, functions are compiled again,
and under ``NUMBA_DISABLE_JIT=1`` they run as the plain Python that they are.
Numba is imported by the first kernel, since that takes longer than all the rest.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress


def compiled(*flags: str) -> Callable[[Callable], Callable]:
    """Compile a function by Numba; ``flags`` are the liberties that `fastmath` may take.

    The function runs beside other threads, and a division by zero is not an error.  Below this
    decorator write ``@no_type_check``: the checks at run time of the tests would wrap the function.
    """
    from numba import config, njit

    def decorate(function: Callable) -> Callable:
        if config.DISABLE_JIT:
            return _plain(function)
        dispatcher = njit(nogil=True, error_model="numpy", fastmath=set(flags))(function)
        try:
            dispatcher.enable_caching()
            dispatcher._cache = _Careful(dispatcher._cache)
        except Exception as error:  # neither the package nor the home folder can be written
            _without_cache(error)
        return dispatcher

    return decorate


def _plain(function: Callable) -> Callable:
    """The function as Python runs it, with the silence of compiled code about infinities."""
    from functools import wraps

    import numpy as np

    @wraps(function)
    def quiet(*args):
        with np.errstate(all="ignore"):
            return function(*args)

    return quiet


class _Careful:
    """A cache of Numba whose troubles are not those of the computation."""

    def __init__(self, cache):
        self._cache = cache

    def __getattr__(self, name):
        return getattr(self._cache, name)

    def load_overload(self, signature, target):
        """What was compiled before, or None."""
        try:
            return self._cache.load_overload(signature, target)
        except Exception as error:  # an index or a file that was cut short, or cannot be read
            _without_cache(error)
            with suppress(Exception):
                self._cache.flush()  # what is compiled now can be saved again
            return None

    def save_overload(self, signature, compiled):
        """Keep what was compiled for the next start."""
        try:
            self._cache.save_overload(signature, compiled)
        except Exception as error:  # a full disk, a folder that lost its rights, a cut index
            _without_cache(error)


_warned = False


def _without_cache(error: Exception) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"compiled code is not cached, so that each start compiles it again: {error!r}; empty "
            "the folder __pycache__ of dlnlib, or set NUMBA_CACHE_DIR to one that can be written",
            RuntimeWarning,
            stacklevel=4,
        )


_THREADED = 1_000_000  # entries from which a second thread pays for itself


def in_blocks(work: Callable[[Iterator[slice]], None], rows: int, columns: int, block: int) -> None:
    """Call ``work`` with an iterator over consecutive slices of at most ``block`` rows.

    Large arrays are shared by up to four threads.  Each of them makes one call, in which it can
    keep its own buffers, and all draw their slices from the same iterator, so that a thread that
    is held up leaves its rows to the others.
    """
    slices = [slice(start, start + block) for start in range(0, rows, block)]
    turns = iter(slices)  # the iterator of a list hands out each of its items once
    few = rows * columns < _THREADED  # asking for the number of cores takes longer than some work
    threads = 1 if few else min(4, os.cpu_count() or 1, len(slices))
    if threads == 1:
        work(turns)
        return
    with ThreadPoolExecutor(threads) as pool:
        for running in [pool.submit(work, turns) for _ in range(threads)]:
            running.result()
