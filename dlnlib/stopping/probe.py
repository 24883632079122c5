"""Degrees of freedom that any training has spent, by training again on outputs moved a little."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import as_count, as_finite, as_scalar, in_range

Path = Float[np.ndarray, "T ..."]


@in_range
def probe_degrees_of_freedom(
    train: Callable[[np.ndarray], ArrayLike],
    y: ArrayLike,
    *,
    probes: int = 1,
    rng: np.random.Generator,
    step: float = 1e-2,
    fitted: ArrayLike | None = None,
) -> Float[np.ndarray, "T"]:
    r"""Degrees of freedom tr(d yhat / d y) along a training, whatever the training is.

    Each probe trains once more, on :math:`y + \epsilon B` with independent signs
    :math:`B_i = \pm 1`, and looks how far the predictions follow::

        df(t) = <B, yhat(t; y + epsilon B) - yhat(t; y)> / epsilon.

    Over B the mean is the trace of the Jacobian :math:`J`, but for terms of order epsilon.  Signs
    vary less than Gaussian probes, always: by :math:`2 \sum_{i \ne j} S_{ij}^2` instead of
    :math:`2 \sum_{ij} S_{ij}^2` with S the symmetric part of J.

    Parameters
    ----------
    train : callable
        From outputs, in the shape of ``y``, to predictions at the same inputs after each of T
        times, (T, n) or (T, n, k).  It must begin with the same weights each time and draw the
        same batches: make its generator inside, from a fixed seed.
    y : (n,) or (n, k) array_like
        Outputs that the training is for.
    probes : int
        Trainings to average over; df varies by 1 / probes.
    rng : numpy.random.Generator
        For the signs, not for the training.
    step : float
        epsilon, in units of the standard deviation of y about the means of its columns.  Curvature
        errs by the order of ``step``; an error r of the training, relative to its predictions, by
        r / ``step``; and where units switch on and off, as with ReLU, the predictions jump a
        little at some outputs: a probe rarely meets a jump, but then divides it by epsilon, so that
        its variance grows as 1 / ``step``.  The default errs by a per cent or two in the trainings
        of this book, less than one probe varies; take 1e-4 for a smooth training and many probes.
    fitted : (T, n) or (T, n, k) array_like, optional
        ``train(y)``, where it is known already: a probe then costs one training and no more.

    Returns
    -------
    (T,) ndarray
        From 0, where predictions do not depend on the outputs, to the number of outputs, where
        they reproduce them.

    Raises
    ------
    RuntimeError
        If the training gives another path when it is repeated on the same outputs.

    References
    ----------
    Ramani, Blu, Unser, "Monte-Carlo SURE", IEEE Trans. Image Process. 17, 2008; Hutchinson,
    Commun. Stat. Simul. Comput. 18, 1989, for the signs.

    Examples
    --------
    >>> rates = [9.0, 1.0, 0.0]  # gradient flow of least squares, one degree for each direction
    >>> learned = 1 - np.exp(-np.outer([0.0, 0.5, 9.0], rates))
    >>> def train(y):
    ...     return learned * y
    >>> rng = np.random.default_rng(0)
    >>> probe_degrees_of_freedom(train, [1.0, 2.0, 4.0], rng=rng).round(2).tolist()
    [0.0, 1.38, 2.0]
    """
    outputs, count = _as_outputs(y), as_count("probes", probes, 1, "each is one training")
    if not callable(train):
        raise ValueError(f"train must be a function of y: got {type(train).__name__}")
    size = as_scalar("step", step) * _spread(outputs)
    start = _path("train(y)" if fitted is None else "fitted", fitted, outputs, train)
    total = np.zeros(len(start))
    for _ in range(count):
        changed = outputs + size * rng.choice([-1.0, 1.0], outputs.shape)
        nudge = changed - outputs  # as it is after rounding
        if (nudge == 0).any():
            raise ValueError("step is lost to rounding: subtract the mean of y, or choose a larger")
        moved = _path("train(y)", None, changed, train)
        if moved.shape != start.shape:
            raise ValueError(f"train gave paths of shapes {start.shape} and {moved.shape}: fix T")
        moved = moved - start
        _assert_repeatable(train, outputs, start, moved, nudge)
        total += (moved / nudge).reshape(len(start), -1).sum(axis=1)
    return total / count


def _as_outputs(y: ArrayLike) -> Float[np.ndarray, "n ..."]:
    outputs = as_finite("y", y)
    if outputs.ndim not in (1, 2) or not outputs.size:
        raise ValueError(
            f"y must have one row per sample, (n,) or (n, k): got shape {outputs.shape}"
        )
    return outputs


def _spread(outputs: np.ndarray) -> float:
    """Standard deviation about the means of the columns; of constant columns, their size."""
    about = outputs - outputs.mean(axis=0)
    spread = np.sqrt(np.mean(about**2)) or np.sqrt(np.mean(outputs**2))
    if not 0 < spread < np.inf:
        raise ValueError(
            "y must have a size to take a step from: these outputs are all zero, or beyond the "
            "range of floats; give those of the training"
        )
    return float(spread)


def _path(name: str, given: ArrayLike | None, outputs: np.ndarray, train: Callable) -> Path:
    """Predictions along a training, one per output."""
    path = as_finite(name, train(outputs.copy()) if given is None else given)
    if path.ndim != outputs.ndim + 1 or path.shape[1:] != outputs.shape or not len(path):
        wanted = ", ".join(map(str, ("T", *outputs.shape)))
        raise ValueError(
            f"{name} must be a path of predictions of the shape ({wanted}): got {path.shape}; "
            "predict the training inputs after each time, time first"
        )
    return path


def _assert_repeatable(
    train: Callable, outputs: np.ndarray, start: Path, moved: Path, nudge: np.ndarray
) -> None:
    """Refuse a training whose own scatter is what moved its predictions.

    Most trainings move less than their outputs did.  One that moves more is asked again, which
    costs one training; a scatter below that is small beside the signs' own.
    """
    far = np.sqrt(np.mean(moved**2, axis=tuple(range(1, moved.ndim)))).max()
    if far <= np.sqrt(np.mean(nudge**2)):
        return
    again = _path("train(y)", None, outputs, train)
    if again.shape != start.shape or np.abs(again - start).max() > 1e-2 * np.abs(moved).max():
        raise RuntimeError(
            "the training gives another path for the same outputs: start it from the same weights "
            "and fix the seed of its shuffles and batches inside train, and let `fitted` be its "
            "own path"
        )
