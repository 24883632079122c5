"""The record of one training, and where its curves are lowest or cross a level.

Public in `dlnlib.stopping`.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from dlnlib._checks import as_amount, as_curve, as_times
from dlnlib._spans import crossings

__all__ = ["Run", "first", "lowest"]


@dataclass(frozen=True, eq=False)
class Run:
    r"""One training, as the stop rules see it; what a rule needs and the run lacks is None.

    Parameters
    ----------
    t : (T,) array_like
        Increasing times, at least four, in any unit.
    entropy : (T,) array_like
        Spectral entropy of the map, in nats.
    train_error, test_error : (T,) array_like
        See the module; the test error is positive.
    validation_error : (T,) array_like, optional
        On samples that this run was not trained on.
    noise_mode : (T,) array_like, optional
        Strength of the leading noise mode in units of its singular value.  Known only to who knows
        which modes are noise.
    edge_mode : (T,) array_like, optional
        The same for a mode whose singular value is the upper edge of the noise spectrum.  Known to
        who knows the size of the noise.
    noise_energy : float, optional
        Expected :math:`|\Sigma - W^*|_F^2`; n_out noise^2 in the spiked model.
    """

    t: ArrayLike
    entropy: ArrayLike
    train_error: ArrayLike
    test_error: ArrayLike
    validation_error: ArrayLike | None = None
    noise_mode: ArrayLike | None = None
    edge_mode: ArrayLike | None = None
    noise_energy: float | None = None

    def __post_init__(self) -> None:
        times = as_times(self.t)
        if times.size < 4 or (np.diff(times) == 0).any():
            raise ValueError("a run needs at least four times, each once: use numpy.unique on t")
        for name in [field.name for field in fields(self)][:-1]:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, as_curve(name, getattr(self, name), times))
        if (self.test_error <= 0).any():
            raise ValueError("test_error must be positive: regret divides by its minimum")
        if self.noise_energy is not None:
            as_amount("noise_energy", self.noise_energy)

    def curve(self, name: str) -> Float[np.ndarray, "T"] | float:
        """A curve of the run that a rule cannot do without."""
        found = getattr(self, name)
        if found is None:
            raise ValueError(f"this rule needs {name}: give it to the Run")
        return found


def lowest(t: np.ndarray, y: np.ndarray, end: int | None = None) -> tuple[float, float]:
    """Time and value of the global minimum of a smooth curve, before the point ``end``."""
    spline = CubicSpline(t, y)
    turns = spline.derivative().roots(discontinuity=False, extrapolate=False)
    last = t[-1 if end is None else end - 1]
    at = np.concatenate([t[:end], turns[turns <= last]])  # NaN where the curve is constant
    values = spline(at)
    i = int(np.nanargmin(values))
    return float(at[i]), float(values[i])


def first(t: np.ndarray, y: np.ndarray, level: float) -> float:
    """First time at which a curve stands at a level or above; the last time if it never does."""
    if y[0] >= level:
        return float(t[0])
    times = crossings(t, y, level)
    return float(times[0]) if times.size else float(t[-1])
