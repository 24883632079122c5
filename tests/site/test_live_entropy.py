"""The live figure of the entropy in Chromium: the numbers of dlnlib, in everyone's hands."""

import re

import numpy as np
import pytest
from live_pages import (
    assert_controls_have_names,
    assert_image_without_scripts_and_on_paper,
    drawing,
    fits_a_phone,
    middle,
    output,
    set_params,
    slider,
)

from dlnlib import entropy, modes
from dlnlib.plotting import COLOURS

pytestmark = pytest.mark.browser

SLIDERS = ["s1", "s2", "n", "count", "scale"]
START = {"s1": 3, "s2": 1.5, "n": 0.7, "count": 10, "scale": -3, "log": False}
PAGE = "chapters/covariance_identity.html"


# ---- numbers ----

STRENGTHS = [
    # (s, a0, tau): rising, at rest, falling, never learned, nearly so, far apart
    (3.0, 1e-3, 1.0),
    (0.7, 1e-8, 2.5),
    (0.4, 0.4, 1.0),
    (0.1, 0.5, 1.0),
    (0.0, 0.3, 1.0),
    (1e-12, 0.2, 1.0),
    (4.0, 1e-300, 1.0),
]
DEPTHS = [2, 3, 4, 5]
TIMES = [0.0, 1e-9, 0.1, 1.0, 3.7, 12.0, 400.0, 1e6, 1e300]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("s", "a0", "tau"), STRENGTHS)
def test_mode_strengths_agree(page, s, a0, tau, depth):
    theirs = page.evaluate(
        "([ts, ...mode]) => ts.map((t) => dln.modeStrength(t, ...mode))", [TIMES, s, a0, tau, depth]
    )
    ours = modes.mode_strength(TIMES, s, a0, tau=tau, depth=depth)[:, 0]
    np.testing.assert_allclose(theirs, ours, rtol=1e-12, atol=0)


@pytest.mark.parametrize("depth", DEPTHS)
def test_rates_and_learning_times_agree(page, depth):
    a, s = [1e-9, 0.3, 2.0, 3.0], [3.0, 2.0, 2.0, 0.5]
    rates = page.evaluate(
        "([a, s, depth]) => a.map((value, k) => dln.growthRate(value, s[k], 2.5, depth))",
        [a, s, depth],
    )
    np.testing.assert_allclose(rates, modes.growth_rate(a, s, tau=2.5, depth=depth), rtol=1e-14)
    times = page.evaluate(
        "([a, s, depth]) => a.map((a0, k) => dln.learningTime(s[k], a0, 0.9, 2.5, depth))",
        [a[:2], s[:2], depth],
    )
    expected = modes.learning_time(s[:2], a[:2], 0.9, tau=2.5, depth=depth)
    np.testing.assert_allclose(times, expected, rtol=1e-13)
    assert page.evaluate("(depth) => dln.learningTime(0.4, 0.4, 0.5, 1, depth)", depth) == 0


ENERGIES = {
    "one mode": [2.0],
    "equal": [0.3] * 7,
    "one far ahead": [3.0, 1e-8, 1e-8],
    "a mode of zero": [1.0, 0.0, 0.5],
    "tiny": [3e-170, 1e-170, 2e-200],
    "mixed": [3.0, 1.5, 0.5, 0.49, 0.1, 1e-3],
}


@pytest.mark.parametrize("a", ENERGIES.values(), ids=ENERGIES)
def test_entropy_and_its_rate_agree(page, a):
    g = np.cos(np.arange(len(a)) ** 2.0)
    shares, h, rate = page.evaluate(
        "([a, g]) => [dln.energyShares(a), dln.spectralEntropy(a), dln.entropyRateByMode(a, g)]",
        [a, g.tolist()],
    )
    np.testing.assert_allclose(shares, entropy.energy_shares(a), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(h, entropy.spectral_entropy(a), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(rate, entropy.entropy_rate_by_mode(a, g), rtol=1e-11, atol=1e-14)


def test_counts_stand_for_equal_modes(page):
    a, g, counts = [2.0, 0.4, 9.0], [0.1, 0.9, 5.0], [1, 20, 0]
    shares, h, rate = page.evaluate(
        """([a, g, counts]) => [dln.energyShares(a, counts), dln.spectralEntropy(a, counts),
             dln.entropyRateByMode(a, g, counts)]""",
        [a, g, counts],
    )
    each, growth = np.repeat(a, counts), np.repeat(g, counts)
    np.testing.assert_allclose(shares[:2], entropy.energy_shares(each)[:2], rtol=1e-13)
    np.testing.assert_allclose(h, entropy.spectral_entropy(each), rtol=1e-13)
    np.testing.assert_allclose(rate[:2], entropy.entropy_rate_by_mode(each, growth)[:2], rtol=1e-12)


SETTINGS = {
    "start": {},
    "equal signals": {"s1": 2, "s2": 2},
    "no noise": {"count": 0},
    "all equal": {"s1": 1, "s2": 1, "n": 1, "count": 5},
    "nothing to learn but two equal modes": {"s1": 2, "s2": 2, "count": 0},
    "slow": {"n": 0.1, "count": 100, "scale": -8},
    "noise above the signal": {"s1": 0.5, "s2": 0.2, "n": 2, "scale": -1},
    "logarithmic": {"log": True},
}


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_every_curve_agrees_with_the_package(page, changes):
    params = START | changes
    result = set_params(page, params)
    t, series = np.array(result["t"]), result["series"]
    counts = [1, 1, params["count"]]
    s = np.repeat([params["s1"], params["s2"], params["n"]], counts)
    a = modes.mode_strength(t, s, 10.0 ** params["scale"])
    by_mode = entropy.entropy_rate_by_mode(a, modes.growth_rate(a, s))
    if params["log"]:
        by_mode = by_mode * t[:, None]
        np.testing.assert_allclose(np.diff(np.log(t)), np.log(t[1] / t[0]), rtol=1e-9)
    expected = {
        "a.signal1": a[:, 0],
        "a.signal2": a[:, 1],
        "h": entropy.spectral_entropy(a),
        "h.signal1": by_mode[:, 0],
        "h.signal2": by_mode[:, 1],
        "h.total": by_mode.sum(axis=1),
    }
    if params["count"]:
        expected |= {"a.noise": a[:, 2], "h.noise": by_mode[:, 2:].sum(axis=1)}
    drawn = {name: values for name, values in series.items() if values}
    assert drawn.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(drawn[name], values, rtol=1e-10, atol=1e-11, err_msg=name)
    assert result["levels"]["bound"]["value"] == pytest.approx(np.log(s.size), rel=1e-15)
    assert a[-1].min() > 0.97 * s.min()  # the axis ends when all is learned


def test_the_marked_time_is_the_lowest_entropy(page):
    (marker,) = set_params(page, START)["markers"]
    s = np.r_[3, 1.5, np.full(10, 0.7)]
    near = marker["t"] + np.linspace(-1e-3, 1e-3, 201)
    h = entropy.spectral_entropy(modes.mode_strength(near, s, 1e-3))
    assert abs(int(h.argmin()) - 100) <= 1
    a = modes.mode_strength([marker["t"]], s, 1e-3)
    assert abs(entropy.entropy_rate_by_mode(a, modes.growth_rate(a, s)).sum()) < 1e-10
    equal = START | SETTINGS["nothing to learn but two equal modes"]
    assert set_params(page, equal)["markers"] == []


def test_the_drawing_shows_the_numbers(page):
    """Pixels of the curve are turned back into numbers by the ticks beside it."""
    result = set_params(page, START)
    texts = page.locator(".live-plot").first.locator("text[text-anchor=end]")
    ticks = np.array([[float(x.text_content()), float(x.get_attribute("y"))] for x in texts.all()])
    slope, start = np.polyfit(ticks[:, 1], ticks[:, 0], 1)
    for name in ("a.signal1", "a.noise"):
        path = page.locator(f"path[data-series='{name}']").get_attribute("d")
        y = np.array([float(point.split()[1]) for point in path[1:].split("L")])
        np.testing.assert_allclose(start + slope * y, result["series"][name], atol=0.002)


# ---- hands ----


@pytest.mark.parametrize("name", SLIDERS)
def test_a_key_moves_value_and_curves(page, name):
    before, value = drawing(page), output(page, name)
    slider(page, name).focus()
    page.keyboard.press("ArrowRight")
    assert output(page, name) != value
    assert drawing(page) != before
    assert slider(page, name).get_attribute("aria-valuetext") == output(page, name)
    page.keyboard.press("ArrowLeft")
    assert (output(page, name), drawing(page)) == (value, before)


def test_the_slider_of_time_moves_the_cursor_and_the_values(page):
    slider(page, "time").focus()
    before = page.locator(".live-cursor").first.inner_html()
    curves = drawing(page)
    page.keyboard.press("End")
    assert output(page, "time") == "8.00"
    assert page.locator("output[data-series='a.signal1']").inner_text() == "3.00"
    assert page.locator(".live-cursor").first.inner_html() != before
    assert drawing(page) == curves
    page.keyboard.press("Home")
    assert page.locator("output[data-series='h']").inner_text() == f"{np.log(12):.2f}"


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(page):
    page.locator(".live-reset").focus()
    seen = []
    for _ in range(8):
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.type"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        page.keyboard.press("Tab")
        assert outline == "3px", seen
    names = [re.sub(r"live-entropy-\d+-", "", name) for name in seen]
    assert names == ["button", "time", *SLIDERS, "checkbox"]


def test_reset_and_switch(page):
    before = drawing(page)
    slider(page, "s1").press("ArrowRight")
    page.get_by_label("logarithmic time").check()
    assert "log" in page.locator(".live-title").last.inner_text()
    page.get_by_role("button", name="Reset").click()
    assert drawing(page) == before
    assert not page.get_by_label("logarithmic time").is_checked()


def test_the_mouse_drags_sliders_and_cursor(page):
    before = drawing(page)
    page.mouse.move(*middle(slider(page, "n"), 0.3))
    page.mouse.down()
    page.mouse.move(*middle(slider(page, "n"), 0.8), steps=4)
    page.mouse.up()
    assert 1.5 < float(output(page, "n")) < 1.8
    assert drawing(page) != before
    plot = page.locator(".live-plot").nth(1)
    page.mouse.move(*middle(plot, 0.3))
    page.mouse.down()
    page.mouse.move(*middle(plot, 0.6), steps=4)
    page.mouse.up()
    place, _ = middle(plot, 0.6)
    knob = page.locator(".live-now").nth(1).bounding_box()
    assert knob["x"] == pytest.approx(place, abs=2)


def test_a_finger_moves_sliders_and_cursor(shared):
    page = shared("phone")
    before, time = drawing(page), output(page, "time")
    page.touchscreen.tap(*middle(slider(page, "s2"), 0.9))
    assert float(output(page, "s2")) > 3
    assert drawing(page) != before
    page.touchscreen.tap(*middle(page.locator(".live-plot").first, 0.7))
    assert float(output(page, "time")) > float(time)


# ---- eyes ----


def test_the_image_shows_where_no_script_runs_and_on_paper(visit):
    assert_image_without_scripts_and_on_paper(visit, "live-entropy")


def test_the_image_stays_if_the_figure_cannot_be_drawn(visit):
    page = visit()
    page.emulate_media(media="print")
    assert page.evaluate(
        """() => {
          const broken = { ...dln.figures.entropy, compute: () => { throw new Error("broken"); } };
          const image = document.querySelector("figure.live-entropy figcaption");
          try { dln.mount("broken", broken, image); } catch (error) {
            return error.message === "broken" && !image.classList.contains("live-static")
              && document.querySelectorAll(".live").length === 1;
          }
        }"""
    )


def test_a_phone_needs_no_sideways_scrolling(shared):
    assert fits_a_phone(shared("phone"))


@pytest.mark.parametrize("setting", ["light", "phone"])
def test_targets_are_large_enough(shared, setting):
    page = shared(setting)
    for control in page.locator(".live input[type=range], .live button, .live-switch").all():
        box = control.bounding_box()
        assert min(box["width"], box["height"]) >= 24


def test_the_drawing_follows_the_width_of_the_page(visit):
    page = visit()
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_function(
        """() => [...document.querySelectorAll(".live-plot")].every(
             (svg) => Math.abs(svg.viewBox.baseVal.width - svg.clientWidth) <= 1
               && svg.clientWidth < 400)"""
    )


def luminance(rgb: str) -> float:
    channels = np.array([int(rgb[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def colours(page) -> dict[str, str]:
    return page.evaluate(
        """(names) => {
          const style = getComputedStyle(document.documentElement);
          return Object.fromEntries(names.map((n) => [n, style.getPropertyValue(`--live-${n}`)]));
        }""",
        [*COLOURS, "signal-2"],
    )


def test_colours_are_those_of_the_book(page):
    given = colours(page)
    second = given.pop("signal-2")
    assert {name: value.upper() for name, value in given.items()} == {
        name: value.upper() for name, value in COLOURS.items()
    }
    signal = np.array([int(COLOURS["signal"][i : i + 2], 16) for i in (1, 3, 5)])
    mixed = np.rint(0.7 * signal + 0.3 * 255).astype(int)
    assert second == "#{:02x}{:02x}{:02x}".format(*mixed)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_stand_out_from_the_ground(shared, scheme):
    page = shared(scheme)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    numbers = [int(x) for x in re.findall(r"\d+", ground)[:3]]
    below = luminance("#{:02x}{:02x}{:02x}".format(*numbers))
    for name, colour in colours(page).items():
        light, dark = sorted([luminance(colour), below], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, name


def test_nothing_moves_by_itself(page):
    slider(page, "s1").press("ArrowRight")
    assert page.evaluate("document.querySelector('.live').getAnimations({subtree: true})") == []


def test_each_step_computes_once_and_the_cursor_never(visit):
    page = visit()
    page.wait_for_function("dln.mounted[0].isRehearsed")
    page.evaluate(
        """() => {
          const figure = dln.figures.entropy;
          const compute = figure.compute;
          figure.computed = 0;
          figure.compute = (params) => { figure.computed += 1; return compute(params); };
        }"""
    )
    slider(page, "s1").press("ArrowRight")
    assert page.evaluate("dln.figures.entropy.computed") == 1
    slider(page, "time").press("ArrowRight")
    page.mouse.click(*middle(page.locator(".live-plot").first, 0.6))
    assert page.evaluate("dln.figures.entropy.computed") == 1


def test_controls_have_names(page):
    assert_controls_have_names(page)


def test_another_definition_needs_no_other_script(visit):
    """The component on its own: one slider, two close markers, a curve that comes and goes."""
    page = visit()
    page.evaluate(
        """() => dln.mount("toy", {
          label: "A line",
          time: { label: "time", value: 2 },
          sliders: [
            { id: "slope", label: "slope", min: -2, max: 2, step: 1, value: 1, format: String },
          ],
          panels: [{
            id: "line", label: "line", about: "A line through zero.", height: 100,
            curves: [
              { id: "y", label: "y", colour: "theory" },
              { id: "z", label: "z", colour: "test" },
            ],
          }],
          compute: ({ slope }) => ({
            t: [0, 1, 2, 3],
            series: { y: [0, slope, 2 * slope, 3 * slope], z: slope > 1 ? [0, 1, 0, 1] : null },
            markers: [{ t: 1.01, label: "b" }, { t: 1, label: "a" }],
          }),
        }, document.querySelector("figure.live-entropy figcaption"))"""
    )
    toy = page.locator(".live").last
    assert toy.locator("output[data-series=y]").inner_text() == "2.00"
    assert not toy.locator("output[data-series=z]").is_visible()
    rows = [float(x.get_attribute("y")) for x in toy.locator(".live-marker-name").all()]
    assert toy.locator(".live-marker-name").all_text_contents() == ["a", "b"]
    assert rows[1] - rows[0] == 15
    toy.locator("input").last.press("ArrowRight")
    assert toy.locator("output[data-series=y]").inner_text() == "4.00"
    assert toy.locator("output[data-series=z]").is_visible()
