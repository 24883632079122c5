r"""Stop rules with one signature, and their regret.

Errors are those of the end-to-end map W(t):

* training: :math:`|W - \Sigma|_F^2`, what gradient flow descends, up to a constant and a factor;
* test: :math:`|W - W^*|_F^2`, or any held-out error; only `oracle` and `regret` look at it;
* validation: the same on samples kept out of training.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import as_amount, as_curve, as_scalar, as_single, as_times
from dlnlib._curves import first, lowest, smooth


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
    risk_estimate, plugin_error, cross_validation : (T,) array_like, optional
        Estimates of the test error without spare samples, see `stop_estimates`.
    noise_energy : float, optional
        Expected :math:`|\Sigma - W^*|_F^2`; n_out noise^2 in the spiked model.

    Examples
    --------
    >>> t = np.linspace(0, 4, 81)
    >>> run = Run(t, entropy=(t - 1) ** 2, train_error=np.exp(-t), test_error=1 + (t - 2) ** 2)
    >>> oracle(run), regret(run, stop=3.0)
    (2.0, 2.0)
    """

    t: ArrayLike
    entropy: ArrayLike
    train_error: ArrayLike
    test_error: ArrayLike
    validation_error: ArrayLike | None = None
    noise_mode: ArrayLike | None = None
    edge_mode: ArrayLike | None = None
    risk_estimate: ArrayLike | None = None
    plugin_error: ArrayLike | None = None
    cross_validation: ArrayLike | None = None
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


def entropy_minimum(run: Run) -> float:
    """Time t* of the least spectral entropy.

    Needs the spectrum of the map during training; no held-out data, no knowledge of the noise.

    Parameters
    ----------
    run : Run

    Returns
    -------
    float
        In the unit of ``run.t``, between the points of the grid.

    Examples
    --------
    >>> t = np.linspace(0, 4, 81)
    >>> run = Run(t, entropy=(t - 1) ** 2, train_error=np.exp(-t), test_error=1 + (t - 2) ** 2)
    >>> round(entropy_minimum(run), 3)
    1.0
    """
    return lowest(run.t, run.entropy)[0]


def entropy_rest(run: Run) -> float:
    """Time of the last rest of the entropy before it passes half of its final value.

    H rests where it turns, and between two levels that it climbs: where dH/dt is smaller in size
    than at the points beside it.  Noise makes up most of the final value, so that the last rest
    below half of it comes when the signal is learned and the noise is not.  Needs the spectrum of
    the map up to the end of a run in which the noise is learned.

    Parameters
    ----------
    run : Run

    Returns
    -------
    float
        A time of the grid, in the unit of ``run.t``; the end of the run if there is no such rest.

    Examples
    --------
    >>> from dlnlib.entropy import spectral_entropy
    >>> from dlnlib.modes import mode_strength
    >>> t = np.linspace(0, 10, 501)
    >>> a = mode_strength(t, [8.0, 4.0, *[1.0] * 20], 1e-6)  # two levels of signal, then noise
    >>> run = Run(t, spectral_entropy(a), train_error=np.exp(-t), test_error=1 + (t - 2) ** 2)
    >>> round(entropy_minimum(run), 1), round(entropy_rest(run), 1)
    (1.0, 3.5)
    """
    below = np.flatnonzero(run.entropy < run.entropy[-1] / 2)
    speed = np.abs(np.gradient(run.entropy, run.t))
    rests = 1 + np.flatnonzero((speed[1:-1] < speed[:-2]) & (speed[1:-1] <= speed[2:]))
    rests = rests[rests <= below.max(initial=0)]
    return float(run.t[rests[-1] if rests.size else -1])


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
        In the unit of ``run.t``; the end of the run if the time never comes.

    Examples
    --------
    >>> t = np.linspace(0, 4, 81)
    >>> entropy, train, test = (t - 1) ** 2, np.exp(-t), 1 + (t - 2) ** 2
    >>> run = Run(t, entropy, train, test, noise_mode=t / 6)
    >>> round(window_end(run), 3)
    3.0
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
        In the unit of ``run.t``.

    Examples
    --------
    >>> t = np.linspace(0, 4, 81)
    >>> entropy, train, test = (t - 1) ** 2, np.exp(-t), 1 + (t - 2) ** 2
    >>> run = Run(t, entropy, train, test, noise_mode=t / 6)
    >>> round(window_midpoint(run), 3)  # of 1 and 3
    2.0
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
        In the unit of ``run.t``; the end of the run if the time never comes.

    Examples
    --------
    >>> t = np.linspace(0, 4, 81)
    >>> entropy, train, test = (t - 1) ** 2, np.exp(-t), 1 + (t - 2) ** 2
    >>> run = Run(t, entropy, train, test, edge_mode=t / 6)
    >>> round(noise_edge(run, fraction=0.1), 3)
    0.6
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
        In the unit of ``run.t``; the weights of that time are the ones to keep.

    Examples
    --------
    >>> t = np.linspace(0, 4, 81)
    >>> entropy, train, test = (t - 1) ** 2, np.exp(-t), 1 + (t - 2) ** 2
    >>> run = Run(t, entropy, train, test, validation_error=1 + (t - 1.5) ** 2)
    >>> round(validation_patience(run), 3)
    1.5
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
        Of the training error at the start of the run.

    Returns
    -------
    float
        In the unit of ``run.t``; the end of the run if the time never comes.

    Examples
    --------
    >>> t = np.linspace(0, 4, 81)
    >>> run = Run(t, entropy=(t - 1) ** 2, train_error=np.exp(-t), test_error=1 + (t - 2) ** 2)
    >>> round(train_threshold(run, fraction=0.1), 3)  # log 10
    2.303
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
        In the unit of ``run.t``; the end of the run if the time never comes.

    Examples
    --------
    >>> t = np.linspace(0, 4, 81)
    >>> entropy, train, test = (t - 1) ** 2, np.exp(-t), 1 + (t - 2) ** 2
    >>> run = Run(t, entropy, train, test, noise_energy=0.5)
    >>> round(evidence_based(run), 3)  # log 2
    0.693
    """
    return first(run.t, -run.train_error, -float(run.curve("noise_energy")))


def risk_minimum(run: Run) -> float:
    """Time of the least unbiased estimate of the test error (SURE).

    Needs the size of the noise.

    Parameters
    ----------
    run : Run
        With ``risk_estimate``.

    Returns
    -------
    float
        In the unit of ``run.t``, between the points of the grid.

    Examples
    --------
    >>> t = np.linspace(0, 4, 81)
    >>> entropy, train, test = (t - 1) ** 2, np.exp(-t), 1 + (t - 2) ** 2
    >>> run = Run(t, entropy, train, test, risk_estimate=(t - 2.2) ** 2)
    >>> round(risk_minimum(run), 3)
    2.2
    """
    return lowest(run.t, run.curve("risk_estimate"))[0]


def plugin_minimum(run: Run) -> float:
    """Time of the least test error with the targets of the optimal shrinker.

    Needs all singular values of the training correlation, nothing else.

    Parameters
    ----------
    run : Run
        With ``plugin_error``.

    Returns
    -------
    float
        In the unit of ``run.t``, between the points of the grid.

    Examples
    --------
    >>> t = np.linspace(0, 4, 81)
    >>> entropy, train, test = (t - 1) ** 2, np.exp(-t), 1 + (t - 2) ** 2
    >>> run = Run(t, entropy, train, test, plugin_error=(t - 2.1) ** 2)
    >>> round(plugin_minimum(run), 3)
    2.1
    """
    return lowest(run.t, run.curve("plugin_error"))[0]


def cross_validation_minimum(run: Run) -> float:
    """Time of the least generalised cross-validation.

    Needs the degrees of freedom that training has spent, and no size of the noise.

    Parameters
    ----------
    run : Run
        With ``cross_validation``.

    Returns
    -------
    float
        In the unit of ``run.t``, between the points of the grid.

    Examples
    --------
    >>> t = np.linspace(0, 4, 81)
    >>> entropy, train, test = (t - 1) ** 2, np.exp(-t), 1 + (t - 2) ** 2
    >>> run = Run(t, entropy, train, test, cross_validation=(t - 1.8) ** 2)
    >>> round(cross_validation_minimum(run), 3)
    1.8
    """
    return lowest(run.t, run.curve("cross_validation"))[0]


def oracle(run: Run) -> float:
    """Time t_opt of the least test error, which no one knows who trains.

    Parameters
    ----------
    run : Run

    Returns
    -------
    float
        In the unit of ``run.t``, between the points of the grid.

    Examples
    --------
    >>> t = np.linspace(0, 4, 81)
    >>> run = Run(t, entropy=(t - 1) ** 2, train_error=np.exp(-t), test_error=1 + (t - 2) ** 2)
    >>> round(oracle(run), 3)
    2.0
    """
    return lowest(run.t, run.test_error)[0]


#: The stop rules by name; the oracle, which knows the test error, is the last.
RULES: dict[str, Callable[[Run], float]] = {
    rule.__name__: rule
    for rule in (
        entropy_minimum,
        entropy_rest,
        window_midpoint,
        window_end,
        noise_edge,
        evidence_based,
        train_threshold,
        validation_patience,
        oracle,
    )
}


#: The rules that read an estimate of the test error, by name.
ESTIMATE_RULES: dict[str, Callable[[Run], float]] = {
    rule.__name__: rule for rule in (plugin_minimum, risk_minimum, cross_validation_minimum)
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
        A ratio without a unit.

    Examples
    --------
    >>> t = np.linspace(0, 4, 81)
    >>> run = Run(t, entropy=(t - 1) ** 2, train_error=np.exp(-t), test_error=1 + (t - 2) ** 2)
    >>> round(regret(run, entropy_minimum(run)), 3)
    2.0
    """
    if not run.t[0] <= (stop := as_single("stop", stop)) <= run.t[-1]:
        raise ValueError(f"stop={stop:g} lies outside the run: {run.t[0]:g} to {run.t[-1]:g}")
    least = lowest(run.t, run.test_error)[1]
    error = max(float(smooth(run.t, run.test_error)(stop)), least)  # a near tie between two dips
    return error / (least if best is None else lowest(best.t, best.test_error)[1])
