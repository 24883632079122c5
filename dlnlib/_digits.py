"""The handwritten digits of scikit-learn, loaded once."""

from functools import cache

import numpy as np
from jaxtyping import Float, Int

__all__ = ["digits"]


@cache
def digits() -> tuple[Float[np.ndarray, "1797 64"], Int[np.ndarray, "1797"]]:
    """Images and labels; shared by all callers, so not to be written into."""
    from sklearn.datasets import load_digits  # here: its import takes longer than all the rest

    return load_digits(return_X_y=True)
