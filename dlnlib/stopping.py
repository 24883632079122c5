r"""When to stop: least entropy t*, least test error t_opt, start of memorisation t**.

The network holds aligned modes a_k(t) (see `dlnlib.modes`), the teacher W* has the targets
m_k = u_k^T W* v_k in their directions, and the test error of whitened inputs is::

    E(t) = |W(t) - W*|_F^2 = sum_k (a_k^2 - 2 a_k m_k) + |W*|_F^2.

The spectral entropy sees the a_k alone, the test error also the m_k: the *stopping window*
t* <= t_opt <= t** asks how much of the second the first can tell.
Rules that stop a run without knowing the m_k share one signature, ``rule(run) -> time``.

References
----------
Gavish, Donoho, "Optimal shrinkage of singular values", IEEE Trans. Inf. Theory 2017, for the
targets m_k; Saxe, McClelland, Ganguli, ICLR 2014, for the modes.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib._checks import as_positive, as_scalar
from dlnlib._mode_windows import StoppingWindow, memorisation_time, mode_window, mode_windows
from dlnlib._spiked_draws import SpikedDraws, spiked_draws, spiked_spectra
from dlnlib._stop_rules import (
    RULES,
    Run,
    entropy_minimum,
    evidence_based,
    noise_edge,
    oracle,
    regret,
    train_threshold,
    validation_patience,
    window_end,
    window_midpoint,
)
from dlnlib.tasks import Task
from dlnlib.weights import project

__all__ = [
    "RULES",
    "Run",
    "SpikedDraws",
    "StoppingWindow",
    "entropy_minimum",
    "evidence_based",
    "excess_error",
    "memorisation_time",
    "mode_window",
    "mode_windows",
    "noise_edge",
    "oracle",
    "regret",
    "spiked_draws",
    "spiked_spectra",
    "teacher_targets",
    "train_threshold",
    "two_level_window",
    "validation_patience",
    "window_end",
    "window_midpoint",
]


def two_level_window(
    s: ArrayLike, m: ArrayLike, n: float, a0: float, *, tau: float = 1.0
) -> StoppingWindow:
    """Closed forms of the window for two levels and two layers, as a0 -> 0.

    With signal modes (s, target m) and noise modes (n, target 0), noise still small when the
    signal is learned::

        t*    = tau/(2s) log[(s/a0 - 1) (s/n - 1)],       where a_s = s - n,
        t_opt = tau/(2s) log[(s/a0 - 1) m/(s - m)],       where a_s = m,
        t**   = tau/(2n) log(n/a0 - 1),                   where a_n = n/2.

    Parameters
    ----------
    s : float or array_like
        Singular values of the signal, at least n.
    m : float or array_like
        Their targets, below s.
    n : float
        Singular value of the noise modes, or the edge of the noise.
    a0 : float
        Strength at t = 0, between 0 and n/2.
    tau : float

    Returns
    -------
    StoppingWindow
        Floats, or arrays of the common shape of s and m.  A level below the start was passed
        before t = 0: t* = 0 where s - n <= a0, and t_opt = 0 where m <= a0.

    Raises
    ------
    ValueError
        If s < n, m >= s, or a0 is not in (0, n/2).

    Examples
    --------
    >>> window = two_level_window(3.0, 2.7, 1.0, 1e-3)
    >>> round(window.t_star, 3), round(window.t_opt, 3), round(window.t_memorisation, 3)
    (1.45, 1.701, 3.453)
    """
    strong, target = np.broadcast_arrays(np.asarray(s, dtype=float), np.asarray(m, dtype=float))
    n, a0, tau = as_scalar("n", n), as_scalar("a0", a0), as_scalar("tau", tau)
    as_positive("s", strong.ravel())
    if a0 >= n / 2:
        raise ValueError(f"a0 must be below n/2: got a0={a0:g} for n={n:g}; start smaller")
    if not (strong >= n).all():
        raise ValueError(f"s must be at least n={n:g}: got {strong.min():g}; it would be noise")
    if not (target < strong).all():
        raise ValueError("m must be below s: noise adds to every mode that it does not hide")

    levels = np.maximum([strong - n, target], a0)
    first = tau / (2 * strong) * np.log((strong / a0 - 1) * levels / (strong - levels))
    late = np.full(strong.shape, tau / (2 * n) * np.log(n / a0 - 1))
    return StoppingWindow(*(x if strong.ndim else float(x) for x in (*first, late)))


def excess_error(a: ArrayLike, m: ArrayLike, *, energy: float = 0.0) -> Float[np.ndarray, "..."]:
    """Test error ``|W - W*|_F^2`` of aligned modes, sum_k (a_k^2 - 2 a_k m_k) + energy.

    Parameters
    ----------
    a : (..., K) array_like
        Mode strengths.
    m : scalar or (K,) array_like
        Targets of the modes in the teacher, of any sign.
    energy : float
        ``|W*|_F^2``; without it the error is counted from that of the zero map.

    Returns
    -------
    (...,) ndarray

    Raises
    ------
    ValueError
        If the shapes do not match.

    Examples
    --------
    >>> excess_error([3.0, 1.0], [2.0, 0.0], energy=4.0).item()
    2.0
    """
    strength, target = np.asarray(a, dtype=float), np.asarray(m, dtype=float)
    if target.ndim > 1 or (target.size > 1 and strength.shape[-1:] != target.shape):
        raise ValueError(
            f"m needs one target per mode: got shape {target.shape} for a of {strength.shape}"
        )
    return np.asarray((strength * (strength - 2 * target)).sum(axis=-1) + energy)


def teacher_targets(task: Task) -> Float[np.ndarray, "r"]:
    """Targets m_k = u_k^T W* v_k: the teacher as seen in the modes of the observed correlation.

    Parameters
    ----------
    task : Task
        With a teacher, see `dlnlib.tasks.spiked_teacher`.

    Returns
    -------
    (r,) ndarray
        In the order of ``task.modes``.

    Raises
    ------
    ValueError
        If the task has no teacher.
    """
    if task.teacher is None:
        raise ValueError("this task has no teacher: build it with spiked_teacher")
    return project(task.teacher, task.modes)
