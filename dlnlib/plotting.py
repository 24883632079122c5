"""The figures that several chapters share: modes, entropy and its phases, matrices.

Every ``plot_*`` function draws on `ax`, or on a figure of its own, and returns the axes.
It names the axes and their units, sets no title and changes no global state.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from dlnlib._checks import as_choice, as_curve, as_matrix, as_numbers, as_times, as_vector
from dlnlib.entropy import Phases

__all__ = [
    "COLOURS",
    "TIME_LABEL",
    "legend_above",
    "mode_colours",
    "plot_band",
    "plot_entropy",
    "plot_matrix",
    "plot_measure",
    "plot_modes",
    "plot_phases",
    "quartiles",
    "use_book_style",
]

#: One colour per quantity, after Okabe and Ito, darkened where it would be pale on white.
COLOURS = {
    "signal": "#0072B2",
    "noise": "#D55E00",
    "entropy": "#009E73",
    "test": "#8A3A6B",
    "train": "#B87F00",
    "theory": "#000000",
    "reference": "#6E6E6E",
}
# Phases differ in hatching too: it falls where the entropy falls and rises where it rises.
_PHASES = {
    "concentration": {"facecolor": "#DCE9F2", "hatch": "\\\\"},
    "plateau": {"facecolor": "#EDEDED", "hatch": None},
    "redistribution": {"facecolor": "#F7E7D0", "hatch": "//"},
}
_BESIDE = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}  # hides no curve
_MEASURES = {
    "nonzero": "share of non-zeros",
    "dead": "dead units",
    "coefficient": "sparsity coefficient",
    "coefficient_scaled": "sparsity coefficient, scaled",
    "entropy": "entropy $H$ (nats)",
    "modes": "effective modes $e^H$",
    "effective_rank": "effective rank",
    "stable_rank": "stable rank",
}
#: Label of an axis of time.
TIME_LABEL = r"time $t$ (units of $\tau$)"


def use_book_style() -> None:
    """Apply the style sheet of the book; in a notebook, also make figures reproducible SVG.

    Examples
    --------
    >>> with plt.rc_context():  # to keep the example to itself
    ...     use_book_style()
    ...     plt.rcParams["axes.spines.top"]
    False
    """
    plt.style.use(["default", "dlnlib.dlnlib"])  # first drops the reader's own matplotlibrc
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", metadata={"Date": None})


def legend_above(ax: Axes, *, ncols: int = 4) -> None:
    """Put the legend above the axes, in rows of `ncols` entries, where it hides no curve.

    Parameters
    ----------
    ax : Axes
    ncols : int

    Examples
    --------
    >>> _, ax = plt.subplots()
    >>> _ = ax.plot([0, 1], [1, 0], label="signal")
    >>> legend_above(ax)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['signal']
    """
    ax.legend(ncols=ncols, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def quartiles(values: ArrayLike, form: str = ".3g") -> str:
    """Median and quartiles of a sample as text, NaN left out.

    Parameters
    ----------
    values : array_like
    form : str
        Format of each number.

    Returns
    -------
    str

    Examples
    --------
    >>> quartiles([1.0, 2.0, 4.0, 8.0, 16.0])
    '4 [2, 8]'
    """
    low, middle, high = np.nanquantile(as_numbers("values", values), [0.25, 0.5, 0.75])
    return f"{middle:{form}} [{low:{form}}, {high:{form}}]"


def mode_colours(n_modes: int) -> list[tuple[float, float, float]]:
    """Colours of the modes in order, dark to light, so that their rank survives in grey.

    Parameters
    ----------
    n_modes : int

    Returns
    -------
    list of K (red, green, blue)

    Examples
    --------
    >>> [round(sum(colour), 2) for colour in mode_colours(3)]  # ever lighter
    [0.61, 1.35, 1.76]
    """
    return [to_rgb(colour) for colour in plt.get_cmap("plasma")(np.linspace(0, 0.7, n_modes))]


def plot_modes(
    t: ArrayLike,
    a: ArrayLike,
    *,
    ax: Axes | None = None,
    theory: ArrayLike | None = None,
    labels: list[str] | None = None,
) -> Axes:
    """Mode strengths over time, the first mode darkest.

    Parameters
    ----------
    t : (T,) array_like
        Times, in units of tau.
    a : (T, K) array_like
        Mode strengths.
    ax : Axes, optional
    theory : (T, K) array_like, optional
        Predicted mode strengths, drawn as black dashes over the measured ones.
    labels : list of K str, optional
        Names of the modes in the legend.

    Returns
    -------
    Axes

    Examples
    --------
    >>> from dlnlib.modes import mode_strength
    >>> t = np.linspace(0, 5, 101)
    >>> _, ax = plt.subplots()
    >>> _ = plot_modes(t, mode_strength(t, [3.0, 1.0], 1e-3), ax=ax, labels=["fast", "slow"])
    >>> [line.get_label() for line in ax.lines], ax.get_ylabel()
    (['fast', 'slow'], 'mode strength $a_k$')
    """
    times = as_times(t)
    strengths = as_matrix("a", a, (times.size, None))
    names = _names(labels, strengths.shape[1])
    curves = None if theory is None else as_matrix("theory", theory, strengths.shape)
    ax = _axes(ax)
    for strength, colour, name in zip(strengths.T, mode_colours(len(names)), names, strict=True):
        ax.plot(times, strength, color=colour, label=name)
    if curves is not None:
        ax.plot(times, curves, "--", color=COLOURS["theory"], linewidth=1.2)
        ax.lines[-1].set_label("theory")
    if labels is not None or curves is not None:
        ax.legend(**_BESIDE)
    ax.set(xlabel=TIME_LABEL, ylabel="mode strength $a_k$")
    return ax


def plot_entropy(
    t: ArrayLike, h: ArrayLike, *, ax: Axes | None = None, n_modes: int | None = None
) -> Axes:
    """Spectral entropy over time, with its upper bound log K if `n_modes` = K is given.

    Parameters
    ----------
    t : (T,) array_like
        Times, in units of tau.
    h : (T,) array_like
        Entropy in nats.
    ax : Axes, optional
    n_modes : int, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> ax = plot_entropy([0.0, 1.0, 2.0], [0.69, 0.1, 0.5], n_modes=2)
    >>> len(ax.lines), ax.get_ylabel()  # the entropy and its bound
    (2, 'entropy $H$ (nats)')
    """
    times = as_times(t)
    entropy = as_curve("h", h, times)
    ax = _axes(ax)
    ax.plot(times, entropy, color=COLOURS["entropy"])
    if n_modes is not None:
        bound = float(np.log(n_modes))
        ax.axhline(bound, color=COLOURS["reference"], linestyle=":", linewidth=1.2)
        ax.annotate(
            rf"$\log\,{n_modes}$",
            (1, bound),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color=COLOURS["reference"],
        )
    ax.set(xlabel=TIME_LABEL, ylabel="entropy $H$ (nats)")
    ax.set_ylim(0, 1.12 * ax.dataLim.y1 or 1)
    return ax


def plot_band(
    x: ArrayLike,
    runs: ArrayLike,
    *,
    ax: Axes | None = None,
    colour: str = COLOURS["signal"],
    style: str = "-",
    label: str | None = None,
    band: tuple[float, float] = (0.25, 0.75),
    line: bool = True,
) -> Axes:
    """Median over runs as a line, in a band between two quantiles.

    Parameters
    ----------
    x : (T,) array_like
        Times, or whatever the runs were recorded at.
    runs : (N, T) array_like
        One run, or seed, per row; NaN (a run that has ended) is left out.
    ax : Axes, optional
    colour, style : str
        Of the line; the band has its colour.
    label : str, optional
        Name in the legend, of the line if there is one, else of the band.
    band : pair of float
        The two quantiles, between 0 and 1; quartiles by default, (0, 1) for the range.
    line : bool
        Whether to draw the median.

    Returns
    -------
    Axes

    Examples
    --------
    >>> ax = plot_band([0.0, 1.0], [[1.0, 5.0], [2.0, 4.0], [3.0, 9.0]], label="three runs")
    >>> ax.lines[0].get_ydata().tolist(), len(ax.collections)
    ([2.0, 5.0], 1)
    """
    x, runs = as_vector("x", x), as_numbers("runs", runs)
    if runs.ndim != 2 or runs.shape[1] != x.size or not len(runs):
        raise ValueError(
            f"runs needs one row per run and one column per entry of x: got shape "
            f"{runs.shape} for {x.size} entries; transpose it if runs are its columns"
        )
    ax = _axes(ax)
    low, middle, high = np.nanquantile(runs, [band[0], 0.5, band[1]], axis=0)
    if line:
        ax.plot(x, middle, style, color=colour, label=label)
    name = None if line else label
    ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0, label=name)
    return ax


def plot_phases(result: Phases, *, ax: Axes | None = None) -> Axes:
    """Spectral entropy over time on a ground that shows its phases, with its least value at t*.

    Parameters
    ----------
    result : Phases
        From `dlnlib.entropy.entropy_phases` or `dlnlib.entropy.mode_phases`.
    ax : Axes, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> from dlnlib.entropy import mode_phases
    >>> from dlnlib.modes import mode_strength
    >>> t = np.geomspace(0.01, 20, 1000)
    >>> ax = plot_phases(mode_phases(t, mode_strength(t, [3.0, 3.0, 1.0, 1.0], 1e-3)))
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['concentration', 'plateau', 'redistribution', '$t^*$']
    """
    ax = plot_entropy(result.t, result.entropy, ax=ax)
    for phase in result.phases:
        first = phase.kind not in ax.get_legend_handles_labels()[1]
        ax.axvspan(
            phase.start,
            phase.end,
            edgecolor="white",
            linewidth=0,
            zorder=0,
            label=phase.kind if first else None,
            **_PHASES[phase.kind],
        )
    ax.axvline(result.t_star, color=COLOURS["reference"], linestyle=":", label="$t^*$")
    ax.set_xlim(result.t[0], result.t[-1])
    ax.legend(**_BESIDE)
    return ax


def plot_matrix(
    m: ArrayLike,
    *,
    ax: Axes | None = None,
    rows: str = "output",
    columns: str = "input",
    label: str = "",
    limit: float | None = None,
) -> Axes:
    """Heat map on a scale symmetric about zero: red positive, blue negative, white zero.

    Parameters
    ----------
    m : (rows, columns) array_like
    ax : Axes, optional
    rows, columns : str
        What the rows and the columns count.
    label : str
        The quantity, written at the colour bar.
    limit : float, optional
        End of the colour scale, to share it between panels; by default the largest entry.

    Returns
    -------
    Axes

    Examples
    --------
    >>> ax = plot_matrix([[1.0, 0.0], [0.0, -3.0]])
    >>> ax.images[0].get_clim(), ax.get_xlabel(), ax.get_ylabel()
    ((-3.0, 3.0), 'input', 'output')
    """
    matrix = as_matrix("m", m)
    ax = _axes(ax)
    end = float(np.abs(matrix).max()) if limit is None else limit
    end = end or 1.0  # a matrix of zeros is white, on any scale
    height, width = matrix.shape
    extent = (0.5, width + 0.5, height + 0.5, 0.5)  # rows and columns count from 1
    image = ax.imshow(matrix, cmap="RdBu_r", vmin=-end, vmax=end, extent=extent)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.set(xlabel=columns, ylabel=rows)
    ax.spines[:].set_visible(False)
    ax.figure.colorbar(image, ax=ax, label=label)
    return ax


def plot_measure(table: pd.DataFrame, measure: str, *, ax: Axes | None = None) -> Axes:
    """One measure of the layers of a network over its training, the first layer darkest.

    Parameters
    ----------
    table : DataFrame
        With two levels of rows, times and layers: ``pandas.concat({0: first, 10: second},
        names=["epoch", "layer"])`` of tables of `dlnlib.measures.measure_layers`.
    measure : str
        One of its columns.
    ax : Axes, optional

    Returns
    -------
    Axes

    Examples
    --------
    >>> from dlnlib.measures import measure_layers
    >>> layers = {"first": np.eye(3), "second": np.ones((3, 3))}
    >>> tables = {0: measure_layers(layers), 10: measure_layers(layers)}
    >>> ax = plot_measure(pd.concat(tables, names=["epoch", "layer"]), "modes")
    >>> [line.get_ydata().round(6).tolist() for line in ax.lines], ax.get_xlabel()
    ([[3.0, 3.0], [1.0, 1.0]], 'epoch')
    """
    if not isinstance(table, pd.DataFrame) or table.index.nlevels != 2:
        raise ValueError(
            "table must have times and layers as its rows: write "
            'pandas.concat({0: first, 10: second}, names=["epoch", "layer"])'
        )
    as_choice("measure", measure, table.columns)
    as_vector("times", table.index.get_level_values(0))
    layers = list(dict.fromkeys(table.index.get_level_values(1)))
    curves = [table.xs(layer, level=1)[measure].sort_index() for layer in layers]
    drawn = [as_numbers(measure, curve) for curve in curves]
    ax = _axes(ax)
    for layer, curve, values, colour in zip(
        layers, curves, drawn, mode_colours(len(layers)), strict=True
    ):
        ax.plot(curve.index, values, "o-", color=colour, markersize=3, label=str(layer))
    ax.set(xlabel=table.index.names[0] or "time", ylabel=_MEASURES.get(measure, measure))
    if len(layers) > 1:
        legend_above(ax, ncols=3)
    return ax


def _names(labels: list[str] | None, count: int) -> list[str] | list[None]:
    """One name per curve, or one None (which matplotlib leaves out of the legend)."""
    if labels is None:
        return [None] * count
    if len(labels) != count:
        raise ValueError(f"labels needs one name per curve: got {len(labels)} for {count} of them")
    return list(labels)


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots()[1] if ax is None else ax
