"""Figures: the data on the axes is the data passed in, and the axes say what they show."""

import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from dlnlib.entropy import entropy_phases
from dlnlib.plotting import (
    COLOURS,
    legend_above,
    mode_colours,
    plot_band,
    plot_entropy,
    plot_matrix,
    plot_measure,
    plot_modes,
    plot_phases,
    quartiles,
    use_book_style,
)

T = np.linspace(0, 3, 7)
A = np.column_stack([T, T / 2, T**2])


@pytest.fixture(autouse=True)
def canvas():
    with matplotlib.rc_context():
        plt.switch_backend("Agg")
        use_book_style()
        yield
        plt.close("all")


def luminance(colour) -> float:
    """Relative luminance of WCAG, 0 for black and 1 for white."""
    rgb = np.asarray(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_modes_draw_their_data():
    ax = plot_modes(T, A)
    assert len(ax.lines) == 3
    for k, line in enumerate(ax.lines):
        np.testing.assert_array_equal(line.get_xydata(), np.column_stack([T, A[:, k]]))
    assert [line.get_color() for line in ax.lines] == mode_colours(3)
    assert ax.get_legend() is None


def test_theory_is_dashed_over_the_modes():
    ax = plot_modes(T, A, theory=A + 1, labels=["a", "b", "c"])
    dashed = ax.lines[3:]
    assert [line.get_linestyle() for line in dashed] == ["--"] * 3
    np.testing.assert_array_equal(dashed[2].get_ydata(), A[:, 2] + 1)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "c", "theory"]
    assert len(plot_modes(T, A, theory=A).get_legend().get_texts()) == 1


def test_entropy_draws_its_data_and_its_bound():
    ax = plot_entropy(T, T / 3, n_modes=4)
    curve, bound = ax.lines
    np.testing.assert_array_equal(curve.get_xydata(), np.column_stack([T, T / 3]))
    np.testing.assert_allclose(bound.get_ydata(), np.log(4))
    assert [text.get_text() for text in ax.texts] == [r"$\log\,4$"]
    assert ax.get_ylim()[0] == 0
    assert len(plot_entropy(T, T / 3).lines) == 1


def test_phases_lie_under_the_entropy():
    t = np.linspace(0, 5, 501)
    found = entropy_phases(t, np.cos(4 * t))
    ax = plot_phases(found)
    curve, least = ax.lines
    np.testing.assert_array_equal(curve.get_xydata(), np.column_stack([t, np.cos(4 * t)]))
    assert least.get_xdata()[0] == found.t_star
    for phase, ground in zip(found.phases, ax.patches, strict=True):
        assert (ground.get_x(), ground.get_x() + ground.get_width()) == pytest.approx(
            (phase.start, phase.end)
        )
    assert ax.patches[0].get_hatch() != ax.patches[1].get_hatch()  # readable in grey
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["concentration", "redistribution", "$t^*$"]  # each kind once


def test_matrix_is_symmetric_about_zero_and_counts_from_one():
    ax = plot_matrix([[1, -3, 0], [0, 2, 0]], label="covariance")
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), [[1, -3, 0], [0, 2, 0]])
    assert image.get_clim() == (-3, 3)
    assert list(image.get_extent()) == [0.5, 3.5, 2.5, 0.5]
    assert image.colorbar.ax.get_ylabel() == "covariance"
    assert plot_matrix(np.eye(2), limit=5).images[0].get_clim() == (-5, 5)
    assert plot_matrix(np.zeros((2, 2))).images[0].get_clim() == (-1, 1)


DRAWINGS = [
    lambda ax: plot_modes(T, A, ax=ax),
    lambda ax: plot_entropy(T, T, ax=ax, n_modes=3),
    lambda ax: plot_phases(entropy_phases(T, T), ax=ax),
    lambda ax: plot_matrix(np.eye(3), ax=ax),
]


@pytest.mark.parametrize("draw", DRAWINGS)
def test_every_figure_uses_the_axes_given_names_them_and_has_no_title(draw):
    _, given = plt.subplots()
    figures, state = plt.get_fignums(), dict(matplotlib.rcParams)
    ax = draw(given)
    assert ax is given
    assert plt.get_fignums() == figures
    assert dict(matplotlib.rcParams) == state
    assert ax.get_xlabel() and ax.get_ylabel()
    assert not any(ax.get_title(loc) for loc in ("left", "center", "right"))


@pytest.mark.parametrize("draw", DRAWINGS[:3])
def test_time_has_a_unit(draw):
    assert r"\tau" in draw(None).get_xlabel()


@pytest.mark.parametrize("n_modes", [1, 2, 5, 10])
def test_mode_colours_grow_lighter_and_stay_readable_on_white(n_modes):
    light = [luminance(colour) for colour in mode_colours(n_modes)]
    assert (np.diff(light) > 0.01).all()
    assert all(1.05 / (value + 0.05) > 2 for value in light)


def test_colours_of_quantities_are_distinct_and_readable_on_white():
    assert len(set(COLOURS.values())) == len(COLOURS)
    for name, colour in COLOURS.items():
        assert 1.05 / (luminance(colour) + 0.05) > 3, name  # the contrast asked of graphics


def test_the_style_gives_the_same_svg_twice():
    def drawn() -> bytes:
        file = io.BytesIO()
        plot_modes(T, A).figure.savefig(file, format="svg", metadata={"Date": None})
        return file.getvalue()

    assert drawn() == drawn()
    assert not plt.rcParams["axes.spines.top"]
    assert min(plt.rcParams[f"{axis}tick.labelsize"] for axis in "xy") >= 9


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot_modes(T, A.T), "a must have shape 7 x any"),
        (lambda: plot_modes(T, A, theory=A[:, :2]), "theory must have shape 7 x 3"),
        (lambda: plot_modes(T, A, labels=["one"]), "labels needs one name per curve"),
        (lambda: plot_modes(T[::-1], A), "t must not decrease"),
        (lambda: plot_entropy(T, T[:-1]), "h needs one value per time: got 6 for 7"),
        (lambda: plot_matrix(T), "m must be a non-empty matrix"),
    ],
)
def test_bad_input_is_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
    assert not plt.get_fignums()  # nothing half drawn is left behind


def layers_over_time():
    """Two layers at three times, which come out of order."""
    times, names = [10, 0, 30], ["first", "second"]
    rows = pd.MultiIndex.from_product([times, names], names=["epoch", "layer"])
    return pd.DataFrame({"modes": [4.0, 5.0, 2.0, 3.0, 6.0, 7.0], "other": 1.0}, index=rows)


def test_measures_draw_a_line_for_each_layer_in_order_of_time():
    ax = plot_measure(layers_over_time(), "modes")
    assert [line.get_label() for line in ax.lines] == ["first", "second"]
    assert [line.get_color() for line in ax.lines] == mode_colours(2)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 2], [10, 4], [30, 6]])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [3, 5, 7])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "effective modes $e^H$")
    one = plot_measure(layers_over_time().drop("second", level="layer"), "other")
    assert one.get_legend() is None
    assert one.get_ylabel() == "other"


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot_measure(layers_over_time().loc[10], "modes"), "times and layers as its rows"),
        (lambda: plot_measure({"modes": [1.0]}, "modes"), "times and layers as its rows"),
        (lambda: plot_measure(layers_over_time(), "mode"), 'must be one of "modes", "other"'),
        (lambda: plot_measure(layers_over_time().astype(str), "modes"), "these are objects"),
        (
            lambda: plot_measure(layers_over_time().rename({10: "ten"}), "modes"),
            "times must hold plain real numbers|times must be a rectangular array",
        ),
    ],
)
@pytest.mark.usefixtures("no_shape_checks")
def test_tables_of_another_form_are_not_drawn(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
    assert not plt.get_fignums()


def test_band_holds_the_quartiles_of_the_runs_that_go_on():
    runs = np.random.default_rng(0).normal(size=(9, T.size))
    runs[0, -1] = np.nan  # a run that has ended
    ax = plot_band(T, runs, label="runs", band=(0.1, 0.9))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.nanmedian(runs, axis=0))
    drawn = ax.collections[0].get_paths()[0].vertices
    low, high = np.nanquantile(runs, [0.1, 0.9], axis=0)
    assert drawn[:, 1].min() == pytest.approx(low.min())
    assert drawn[:, 1].max() == pytest.approx(high.max())
    alone = plot_band(T, runs, label="range", band=(0, 1), line=False)
    assert not alone.lines
    assert alone.collections[0].get_label() == "range"
    with pytest.raises(ValueError, match="transpose it"):
        plot_band(T, runs.T)


def test_legend_above_hides_no_curve():
    ax = plot_modes(T, A, labels=["a", "b", "c"])
    legend_above(ax, ncols=3)
    ax.figure.canvas.draw()
    assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1


def test_quartiles_leave_out_what_is_missing():
    assert quartiles([np.nan, 1, 2, 3], ".1f") == "2.0 [1.5, 2.5]"


@pytest.mark.parametrize("value", [np.ma.array([1.0, 2.0], mask=[0, 1]), [1j, 2.0], ["1", "2"]])
def test_what_has_no_meaning_as_numbers_is_not_drawn(value):
    for draw in (
        lambda: quartiles(value),
        lambda: plot_band([0.0, 1.0], [value, value]),
        lambda: plot_band(value, [[0.0, 1.0]]),
        lambda: plot_entropy(value, [0.0, 1.0]),
    ):
        with pytest.raises(ValueError, match=r"plain real numbers|rectangular array of real"):
            draw()
