r"""When to stop training: rules with one signature, and their regret.

A rule takes a `Run`, the record of one training, and returns a time.  A rule that finds no reason
to stop returns the end of the run.  Errors are those of the end-to-end map W(t):

* training: :math:`|W - \Sigma|_F^2`, what gradient flow descends, up to a constant and a factor;
* test: :math:`|W - W^*|_F^2`, or any held-out error; only `oracle` and `regret` look at it;
* validation: the same on samples kept out of training.

References
----------
Prechelt, "Early stopping - but when?", in Neural Networks: Tricks of the Trade, 1998 (validation).
Mahsereci, Balles, Lassner, Hennig, "Early stopping without a validation set", arXiv 1703.09580,
2017 (evidence-based).
"""

from collections.abc import Callable

import numpy as np
from scipy.interpolate import CubicSpline

from dlnlib._checks import as_scalar
from dlnlib._run import Run, first, lowest

__all__ = [
    "RULES",
    "Run",
    "entropy_minimum",
    "evidence_based",
    "noise_edge",
    "oracle",
    "regret",
    "train_threshold",
    "validation_patience",
    "window_end",
    "window_midpoint",
]


def entropy_minimum(run: Run) -> float:
    """Time t* of the least spectral entropy.

    Needs the spectrum of the map during training; no held-out data, no knowledge of the noise.

    Parameters
    ----------
    run : Run

    Returns
    -------
    float
        Between the points of the grid.
    """
    return lowest(run.t, run.entropy)[0]


def window_end(run: Run) -> float:
    """Time t** at which the leading noise mode is half learned.

    Needs to know which modes are noise.

    Parameters
    ----------
    run : Run
        With ``noise_mode``.

    Returns
    -------
    float
    """
    return first(run.t, run.curve("noise_mode"), 0.5)


def window_midpoint(run: Run) -> float:
    """Middle of the stopping window, (t* + t**) / 2.

    Parameters
    ----------
    run : Run
        With ``noise_mode``.

    Returns
    -------
    float
    """
    return (entropy_minimum(run) + window_end(run)) / 2


def noise_edge(run: Run, *, fraction: float = 0.1) -> float:
    """Time at which a mode at the edge of the noise starts to be learned.

    Needs the size of the noise.

    Parameters
    ----------
    run : Run
        With ``edge_mode``.
    fraction : float
        A mode has started when it stands at this fraction of its singular value.

    Returns
    -------
    float
    """
    return first(run.t, run.curve("edge_mode"), as_scalar("fraction", fraction))


def validation_patience(run: Run, *, patience: float = 2.0) -> float:
    """Time of the best validation error, once there was none better for a while.

    Needs samples that training does without.

    Parameters
    ----------
    run : Run
        With ``validation_error``.
    patience : float
        How long to wait for a better one, as a fraction of the time of the best, so that the rule
        does not depend on the unit of time or on how often it looks.

    Returns
    -------
    float
        The weights of that time are the ones to keep.
    """
    t, error = run.t, run.curve("validation_error")
    best = np.minimum.accumulate(error)
    since = t[np.maximum.accumulate(np.where(error <= best, np.arange(t.size), 0))]
    given_up = t > (1 + as_scalar("patience", patience)) * since
    given_up &= since > t[0]  # before the first improvement there is nothing to be impatient about
    end = int(given_up.argmax()) if given_up.any() else t.size
    return lowest(t, error, end)[0]


def train_threshold(run: Run, *, fraction: float = 0.1) -> float:
    """Time at which the training error has fallen to a fraction of its first value.

    Needs nothing but the training error, and a number that somebody has to choose.

    Parameters
    ----------
    run : Run
    fraction : float

    Returns
    -------
    float
    """
    level = as_scalar("fraction", fraction) * run.train_error[0]
    return first(run.t, -run.train_error, -level)


def evidence_based(run: Run) -> float:
    r"""Time at which the gradient can no longer be told from its own sampling noise.

    Mahsereci et al. stop once the squared entries of the gradient, each divided by the variance
    that finite data gives it, are less than one on average.  With respect to the end-to-end map
    the gradient is :math:`W - \Sigma`, and in the spiked model all its entries have the variance
    noise^2 / n_in, so that the rule is Morozov's discrepancy principle::

        |W - Sigma|_F^2 < n_out noise^2.

    Needs the size of the noise, in all rather than at its edge.

    Parameters
    ----------
    run : Run
        With ``noise_energy``.

    Returns
    -------
    float
    """
    return first(run.t, -run.train_error, -float(run.curve("noise_energy")))


def oracle(run: Run) -> float:
    """Time t_opt of the least test error, which no one knows who trains.

    Parameters
    ----------
    run : Run

    Returns
    -------
    float
    """
    return lowest(run.t, run.test_error)[0]


#: The stop rules by name; the oracle, which knows the test error, is the last.
RULES: dict[str, Callable[[Run], float]] = {
    rule.__name__: rule
    for rule in (
        entropy_minimum,
        window_midpoint,
        window_end,
        noise_edge,
        evidence_based,
        train_threshold,
        validation_patience,
        oracle,
    )
}


def regret(run: Run, stop: float, *, best: Run | None = None) -> float:
    """Test error at a stopping time over the least test error, E(stop) / E(t_opt) >= 1.

    Parameters
    ----------
    run : Run
    stop : float
        A time of the run, from a rule.
    best : Run, optional
        Run whose least test error to compare with, where that is another one: `run` may have been
        trained without the validation samples, which its regret then pays for.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If `stop` lies outside the run.
    """
    if not run.t[0] <= stop <= run.t[-1]:
        raise ValueError(f"stop={stop:g} lies outside the run, {run.t[0]:g} to {run.t[-1]:g}")
    other = run if best is None else best
    error = float(CubicSpline(run.t, run.test_error)(stop))
    return error / lowest(other.t, other.test_error)[1]
