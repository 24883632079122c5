"""A task, and tasks from samples, from a spiked teacher, and from handwritten digits."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from dlnlib._checks import as_count, as_finite, as_pairs, as_share, as_spiked, in_range
from dlnlib.tasks.basis import AffineMap, Modes, haar, project, svd_modes, whiten


@cache
def digits() -> tuple[Float[np.ndarray, "1797 64"], Int[np.ndarray, "1797"]]:
    """Images and labels; shared by all callers, so not to be written into."""
    from sklearn.datasets import load_digits  # here: its import takes longer than all the rest

    return load_digits(return_X_y=True)


@dataclass(frozen=True, eq=False)
class Task:
    """What a network is trained on; fields that a task does not have are None.

    Parameters
    ----------
    sigma, teacher : (out, in) ndarray
        Observed input-output correlation, and the noise-free map W*.
    x, y, x_test, y_test : ndarray, optional
        Samples behind ``sigma``, (P, in) and (P, out), and held-out ones, (Q, in) and (Q, out).

    Examples
    --------
    >>> task = Task(sigma=np.array([[1.0, 2.0], [2.0, 1.0]]))
    >>> task.modes.s.round(4).tolist()
    [3.0, 1.0]
    """

    sigma: Float[np.ndarray, "out in"]
    teacher: Float[np.ndarray, "out in"] | None = None
    x: Float[np.ndarray, "P in"] | None = None
    y: Float[np.ndarray, "P out"] | None = None
    x_test: Float[np.ndarray, "Q in"] | None = None
    y_test: Float[np.ndarray, "Q out"] | None = None

    @cached_property
    def modes(self) -> Modes:
        """Modes of ``sigma``, computed once."""
        return svd_modes(self.sigma)

    @in_range
    def loss(self, product: ArrayLike) -> Float[np.ndarray, "..."]:
        """Training loss, mean of ``1/2 |y - W x|^2``, of maps W (..., out, in); shape (...)."""
        return self._half_mean_square("training", product, self.x, self.y)

    @in_range
    def test_loss(self, product: ArrayLike) -> Float[np.ndarray, "..."]:
        """The same mean over the held-out samples."""
        return self._half_mean_square("held-out", product, self.x_test, self.y_test)

    def _half_mean_square(self, which, product, x, y) -> Float[np.ndarray, "..."]:
        maps = as_finite("product", product)
        if x is None or y is None:
            raise ValueError(f"this task has no {which} samples: build it with linear_task")
        if maps.shape[-2:] != self.sigma.shape:
            raise ValueError(
                f"product must have shape (..., {self.sigma.shape[0]}, {self.sigma.shape[1]}) "
                f"like sigma: got {maps.shape}; a transpose may be missing"
            )
        # One map at a time: the residuals of a long training run would not fit in memory.
        sums = [((y - x @ w.T) ** 2).sum() for w in maps.reshape(-1, *self.sigma.shape)]
        return np.reshape(np.divide(sums, 2 * len(x)), maps.shape[:-2])


def linear_task(
    x: ArrayLike,
    y: ArrayLike,
    x_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    *,
    whiten_inputs: bool = True,
) -> Task:
    """Linear regression of ``y`` on ``x`` as a task.

    Inputs and outputs are centred and inputs whitened (see `whiten`) with the statistics of the
    training samples alone; the test samples go through the same maps.

    Parameters
    ----------
    x, y : array_like (P, in) and (P, out)
        Training samples, at least two with different inputs.
    x_test, y_test : array_like (Q, in) and (Q, out), optional
        Held-out samples.
    whiten_inputs : bool
        If False, inputs are only centred: the modes then no longer decouple.

    Returns
    -------
    Task
        ``sigma`` (out, d), d <= in, and the samples; no teacher.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((200, 3))
    >>> task = linear_task(x, x @ [[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    >>> task.sigma.shape, task.modes.rank, task.loss(task.sigma).round(6).item()
    ((2, 3), 2, 0.0)
    """
    x, y = as_pairs(x, y)
    white, transform = whiten(x)
    if not whiten_inputs:
        transform = AffineMap(mean=transform.mean, matrix=np.eye(x.shape[1]))
        white = transform(x)
    centre = AffineMap(mean=y.mean(axis=0), matrix=np.eye(y.shape[1]))
    task = {"sigma": centre(y).T @ white / len(x), "x": white, "y": centre(y)}
    if x_test is not None or y_test is not None:
        x_test, y_test = as_pairs(x_test, y_test, "_test")
        task |= {"x_test": transform(x_test), "y_test": centre(y_test)}
    return Task(**task)


def spiked_teacher(
    n_out: int, n_in: int, strengths: ArrayLike, *, noise: ArrayLike, rng: np.random.Generator
) -> Task:
    """Low-rank teacher seen through noise: Sigma = W* + noise / sqrt(n_in) Z, Z_ij ~ N(0, 1).

    W* = sum_k strengths_k u_k v_k^T with orthonormal u_k and v_k in directions drawn uniformly.
    Noise alone has its largest singular value near ``noise * (1 + sqrt(n_out / n_in))``.

    Parameters
    ----------
    n_out, n_in : int
        Numbers of outputs and inputs.
    strengths : array_like (K,)
        Positive, K <= min(n_out, n_in); an empty list leaves noise alone.
    noise : float
        At least 0.
    rng : numpy.random.Generator

    Returns
    -------
    Task
        ``sigma`` (n_out, n_in) and ``teacher``; no samples.

    Examples
    --------
    >>> task = spiked_teacher(20, 10, [3.0, 1.0], noise=0.0, rng=np.random.default_rng(0))
    >>> task.modes.s[:3].round(6).tolist()
    [3.0, 1.0, 0.0]
    """
    shape, spikes, level = as_spiked(n_out, n_in, strengths, noise)
    u, v = (haar(n, spikes.size, rng) for n in shape)
    teacher = (u * spikes) @ v.T
    sigma = teacher + level / np.sqrt(n_in) * rng.standard_normal(shape)
    return Task(sigma=sigma, teacher=teacher)


def digits_task(
    *, n_train: int = 1000, rng: np.random.Generator, wrong_labels: float = 0.0
) -> Task:
    """Handwritten digits (8 x 8 pixels) regressed onto one-hot labels, whitened and split.

    Parameters
    ----------
    n_train : int
        Training images, 2 to 1796, drawn at random; the rest of the 1797 is held out.
    rng : numpy.random.Generator
    wrong_labels : float
        Share of the training labels, in [0, 1], replaced by a digit drawn uniformly.

    Returns
    -------
    Task
        ``sigma`` (10, d), with d <= 64 pixel directions of non-zero variance.  Its last mode has
        s = 0, since one-hot labels sum to one and outputs are centred.

    Examples
    --------
    >>> task = digits_task(rng=np.random.default_rng(0))
    >>> task.sigma.shape, task.x_test.shape, task.modes.rank
    ((10, 60), (797, 60), 9)
    """
    images, labels = digits()
    n_train = as_count("n_train", n_train, 2, "whitening needs two images")
    if n_train >= len(images):
        raise ValueError(f"n_train must be below {len(images)}: got {n_train}; hold some out")
    replaced = round(
        as_share("wrong_labels", wrong_labels, "it is a share of the labels") * n_train
    )
    order = rng.permutation(len(images))
    images, labels = images[order], labels[order]
    labels[:replaced] = rng.integers(10, size=replaced)
    y = np.eye(10)[labels]
    return linear_task(images[:n_train], y[:n_train], images[n_train:], y[n_train:])


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

    Examples
    --------
    >>> task = spiked_teacher(40, 40, [3.0, 2.0], noise=0.5, rng=np.random.default_rng(0))
    >>> task.modes.s[:3].round(2).tolist(), teacher_targets(task)[:3].round(2).tolist()
    ([2.99, 2.2, 0.97], [2.91, 1.87, 0.01])
    """
    if task.teacher is None:
        raise ValueError("this task has no teacher: build it with spiked_teacher")
    return project(task.teacher, task.modes)
