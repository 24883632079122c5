"""All measures of one matrix, and of the layers of a network as a table."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from dlnlib._checks import as_count, as_flag
from dlnlib.entropy import effective_modes, spectral_entropy
from dlnlib.measures.coefficient import Comparison, as_threshold, share_of
from dlnlib.measures.moments import Moments, Spread
from dlnlib.measures.spectrum import as_ratio, numerical_rank, singular_values
from dlnlib.measures.units import Features, Survey, as_units, survey, with_width

if TYPE_CHECKING:
    import pandas as pd


_LITTLE = 1e-3  # share of the energy about the means below which a note is made


@dataclass(frozen=True)
class Measures:
    """What `measure` finds in one matrix.

    Parameters
    ----------
    samples, units : int
        Rows and columns of the matrix.
    nonzero : float
        Share of its entries that are not zero.
    dead : int
        Units that are zero on all samples.
    spread : float
        Share of the sum of all squares that is about the means of the units: 0 if no unit varies.
        All measures below are free of scale, so that they also describe the dust of a layer whose
        units no longer vary.
    coefficient : float
        `feature_sparsity` with the samples as they are, as for deep networks in the public code;
        NaN if an entry is negative.
    coefficient_scaled : float
        The same with each sample scaled to unit norm, as there for small networks.
    standard_error : float
        Of the coefficients, the larger one, if they are those of a part of the units; else 0.
    entropy : float
        `spectral_entropy` H of the singular values; NaN if these are all zero.
    modes : float
        Effective number of modes e^H; 0 if all singular values are zero.
    effective_rank : float
        e^H with shares from the values and not from their squares, after Roy and Vetterli.
    stable_rank : float
        Sum of the squares of the singular values over the largest square.
    rank : int
        Number of singular values above a threshold.
    notes : tuple of str
        What a reader of the numbers should know: dead units, a single sample, entries below zero.
    """

    samples: int
    units: int
    nonzero: float
    dead: int
    spread: float
    coefficient: float
    coefficient_scaled: float
    standard_error: float
    entropy: float
    modes: float
    effective_rank: float
    stable_rank: float
    rank: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, float | str]:
        """The numbers by their names, and the notes as one text: a row of a table.

        Returns
        -------
        dict
        """
        return asdict(self) | {"notes": "; ".join(self.notes)}

    def table(self, name: str = "") -> "pd.DataFrame":
        """The same as a table of one row.

        Parameters
        ----------
        name : str
            Of the row.

        Returns
        -------
        DataFrame
        """
        import pandas as pd  # takes longer to load than a measurement

        return pd.DataFrame([self.as_dict()], index=[name])


def measure(
    features: Features,
    *,
    correlation: float = 0.95,
    centred: bool = False,
    rank_above: float = 1e-4,
    units: int | None = None,
    rng: np.random.Generator | None = None,
) -> Measures:
    """Sparsity and spectral measures of the activations of a layer, or of a weight matrix.

    Parameters
    ----------
    features : (n, m) or (n, ...) array_like, or iterator of such blocks of samples
        Activations of m units on n samples, or weights; `dlnlib.measures` says what may be given.
    correlation : float
        Threshold above which two units count as one.
    centred : bool
        Whether the mean of each unit over the samples is taken off before the singular values.
    rank_above : float
        Of the largest singular value: those above it count as the rank.
    units : int, optional
        Compute the coefficients from so many units, drawn without replacement.
    rng : Generator, optional
        Draws these units.

    Returns
    -------
    Measures

    Notes
    -----
    Up to 500 rows or columns the singular values are those of the matrix, to rounding.  Beyond, or
    from four million entries on, they are roots of the eigenvalues of the products of its rows, or
    of its columns if these are fewer.  Values below ``sqrt(2.2e-16 min(n, m))`` of the largest then
    count as zero, such as 7e-7 of it for 2,000 rows: e^H of a matrix of low rank is exact, and that
    of a long tail too small by at most what these values add.

    Units that are left out cannot be found to be copies, so that coefficients of a part of the
    units are too large on average; the standard error does not contain this.

    Examples
    --------
    >>> features = [[1.0, 1.0, 0.0], [2.0, 2.0, 3.0], [0.0, 0.0, 1.0]]  # two units alike
    >>> found = measure(features)
    >>> round(found.coefficient, 4), round(found.modes, 4), found.rank
    (0.4444, 1.3076, 2)
    >>> measure([[0.0, 1.0], [0.0, 2.0]]).notes
    ('1 of 2 units is zero on all samples',)
    """
    correlation, centred = as_threshold(correlation), as_flag("centred", centred)
    rank_above = as_ratio("rank_above", rank_above)
    width, matrix = with_width("features", as_units("features", features))
    chosen = _draw(width, units, rng)
    comparisons = [Comparison(matrix, chosen, scaled) for scaled in (False, True)]
    spread = Spread()
    visitors = [spread.add, *(visitor for c in comparisons for visitor in c.visitors)]
    whole = comparisons[0].moments if chosen is None else None
    if whole is None and not isinstance(matrix, np.ndarray):
        whole = Moments()
        visitors.append(whole.add)
    seen = survey("features", matrix, *visitors)
    coefficients, standard_error = [np.nan] * 2, 0.0
    if seen.least >= 0:
        counts = [c.counts("features", seen, correlation) for c in comparisons]
        coefficients = [share_of(each, seen.samples) for each in counts]
        standard_error = _standard_error(np.array(counts) / seen.samples, width)
    sizes = singular_values("features", matrix, whole, rank_above, centred=centred)
    return Measures(
        samples=seen.samples,
        units=width,
        nonzero=float(seen.nonzeros.mean() / seen.samples),
        dead=int((seen.nonzeros == 0).sum()),
        spread=spread.share(),
        coefficient=coefficients[0],
        coefficient_scaled=coefficients[1],
        standard_error=standard_error,
        **_of_spectrum(sizes, rank_above),
        notes=tuple(_notes(seen, sizes, spread.share(), centred)),
    )


def measure_layers(layers: Mapping[str, Features], **options: object) -> "pd.DataFrame":
    """Measures of several matrices, such as the layers of a network: one row each.

    Parameters
    ----------
    layers : mapping of str to array_like
        Activations or weights by name, as what `numpy.load` reads from an npz file.
    **options
        As in `measure`.

    Returns
    -------
    DataFrame
        Columns are the fields of `Measures`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> layers = {"first": rng.random((50, 8)), "second": rng.random((50, 1)) * np.ones(4)}
    >>> measure_layers(layers)[["units", "rank"]]
            units  rank
    first       8     8
    second      4     1
    """
    import pandas as pd

    if not isinstance(layers, Mapping):
        raise ValueError(
            f"layers must map names to matrices: got {type(layers).__name__}; "
            'write {"name": matrix}, or call measure for a single one'
        )
    rows = {str(name): measure(layer, **options).as_dict() for name, layer in layers.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def _draw(
    width: int, units: int | None, rng: np.random.Generator | None
) -> Int[np.ndarray, "k"] | None:
    """The units that are compared; None for all of them."""
    if units is None:
        return None
    count = as_count("units", units, 2, "it is the number of units to compare")
    if not isinstance(rng, np.random.Generator):
        raise ValueError("rng must be a generator to draw units: write numpy.random.default_rng(0)")
    return np.sort(rng.choice(width, count, replace=False)) if count < width else None


def _standard_error(shares: Float[np.ndarray, "2 k"], width: int) -> float:
    """Of the mean over k of all units, the larger of both, for draws without replacement."""
    drawn = shares.shape[1]
    if drawn == width:
        return 0.0
    return float(shares.std(axis=1, ddof=1).max() * np.sqrt((1 - drawn / width) / drawn))


def _of_spectrum(sizes: Float[np.ndarray, "K"], rank_above: float) -> dict[str, float]:
    if not sizes.any():
        return {
            "entropy": np.nan,
            "modes": 0.0,
            "effective_rank": 0.0,
            "stable_rank": 0.0,
            "rank": 0,
        }
    entropy = float(spectral_entropy(sizes))
    return {
        "entropy": entropy,
        "modes": float(np.exp(entropy)),
        "effective_rank": float(effective_modes(sizes, power=1)),
        "stable_rank": float(((sizes / sizes.max()) ** 2).sum()),
        "rank": int(numerical_rank(sizes, rank_above)),
    }


def _notes(
    seen: Survey, sizes: Float[np.ndarray, "K"], spread: float, centred: bool
) -> Iterator[str]:
    """What the numbers alone do not say."""
    dead, width = int((seen.nonzeros == 0).sum()), len(seen.nonzeros)
    if dead == width:
        yield "all entries are zero: no direction is used"
    elif dead:
        yield f"{dead} of {width} units {'is' if dead == 1 else 'are'} zero on all samples"
    if dead < width and not sizes.any():
        yield "constant over the samples: centred, no direction is used"
    elif 0 < spread < _LITTLE:
        yield f"units hardly vary: {spread:.1g} of the energy is about their means"
    if seen.samples == 1 and dead < width:
        yield "one sample: " + (
            "centred, nothing is left" if centred else "every measure of directions reads 1"
        )
    if seen.least < 0:
        yield "negative entries: the coefficient is for outputs of ReLU units"
