"""Compiled loops: one set of options, and a cache on disk wherever one can be had.

The cache notices a change in the file of a function, but not in this one: `make clean` empties it.
"""

from collections.abc import Callable
from contextlib import suppress

from numba import njit
from numba.core.dispatcher import Dispatcher

__all__ = ["compiled"]


def compiled(*flags: str) -> Callable[[Callable], Dispatcher]:
    """Compile a function by Numba; ``flags`` are the liberties that `fastmath` may take.

    The function runs beside other threads, and a division by zero is not an error.  Below this
    decorator write ``@no_type_check``: the checks at run time of the tests would wrap the function.
    """

    def decorate(function: Callable) -> Dispatcher:
        dispatcher = njit(nogil=True, error_model="numpy", fastmath=set(flags))(function)
        with suppress(RuntimeError):  # neither the package nor the home folder can be written
            dispatcher.enable_caching()
        return dispatcher

    return decorate
