"""The live figure of the stopping window in Chromium: its curves and times are those of dlnlib."""

import re

import numpy as np
import pytest
from live_pages import (
    DESKTOP,
    PHONE,
    assert_image_without_scripts_and_on_paper,
    drawing,
    fits_a_phone,
    middle,
    output,
    set_params,
    slider,
)

from dlnlib import entropy, modes, random_matrix, stopping

pytestmark = pytest.mark.browser

START = {"strength": 3, "count": 2, "aspect": 1, "size": 2, "scale": -3, "depth": 2}
SLIDERS = list(START)
CHAPTER = "stopping_window"
SETTINGS = {
    "start": {},
    "three layers": {"depth": 3},
    "three layers from a tiny start": {"depth": 3, "scale": -8},
    "five layers from a tiny start": {"depth": 5, "scale": -8, "aspect": 0.3},
    "two layers from a tiny start": {"scale": -8, "strength": 1.15},
    "below the threshold": {"strength": 0.5},
    "below the threshold, three layers": {"strength": 0.5, "depth": 3, "scale": -8},
    "at the threshold": {"strength": 1},
    "many modes": {"size": 4, "aspect": 0.7},
    "many modes and a large start": {"size": 4, "scale": -1, "strength": 5},
    "many modes, three layers": {"size": 4, "depth": 3, "scale": -4.5},
    "few modes, many spikes": {"size": 1, "count": 5, "scale": -1, "strength": 5},
    "modes that start above their end": {"scale": -1, "depth": 4},
    "nearly one noise level": {"aspect": 0.05, "scale": -6.25, "count": 1},
}


def bulk_quantile(share, aspect: float) -> np.ndarray:
    """Quantiles of the noise by the sum of its density over a fine grid of angles."""
    angle = np.pi * (np.arange(400_000) + 0.5) / 400_000
    x = np.sqrt(1 + aspect - 2 * np.sqrt(aspect) * np.cos(angle))
    density = random_matrix.bulk_density(x, aspect=aspect) * np.sin(angle) / x
    total = np.cumsum(density)
    return np.interp(share, (total - density / 2) / total[-1], x)


def ranks(count: int) -> np.ndarray:
    """Shares below the noise modes, in descending order."""
    return 1 - (np.arange(count) + 0.5) / count


# ---- numbers ----


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_curves_and_times_agree_with_the_package(model, changes):
    params = START | changes
    result = set_params(model, params)
    depth, aspect, r = params["depth"], params["aspect"], params["count"]
    a0, groups = 10.0 ** params["scale"], result["modes"]
    s0 = params["strength"] * random_matrix.detection_threshold(aspect=aspect)
    energy = r * s0**2
    s, m = (np.repeat(groups[name], groups["counts"]) for name in ("s", "m"))
    assert s.size == round(10 ** params["size"])
    assert result["levels"]["bound"]["value"] == pytest.approx(np.log(s.size), rel=1e-15)

    spike = random_matrix.spike_forward(s0, aspect=aspect)
    np.testing.assert_allclose(s[:r], spike.s, rtol=1e-14)
    np.testing.assert_allclose(m[:r], spike.m, rtol=1e-12, atol=1e-14)
    assert not m[r:].any()

    shown = slice(None, None, 8)
    t = np.array(result["t"])[shown]
    few = modes.mode_strength(t, groups["s"], a0, depth=depth)
    a = np.repeat(few, groups["counts"], axis=1)
    bulk = modes.mode_strength(t, bulk_quantile([0.75, 0.5], aspect), a0, depth=depth)
    expected = {
        "a.signal": (a[:, 0], 1e-9),
        "a.leading": (a[:, r], 1e-9),
        "a.upper": (bulk[:, 0], 1e-6),
        "a.middle": (bulk[:, 1], 1e-6),
        "h": (entropy.spectral_entropy(a), 1e-9),
        "e": (stopping.excess_error(a, m, energy=energy) / energy, 1e-9),
    }
    assert expected.keys() == result["series"].keys()
    for name, (values, tolerance) in expected.items():
        drawn = np.array(result["series"][name])[shown]
        np.testing.assert_allclose(drawn, values, rtol=tolerance, atol=1e-10, err_msg=name)

    window = stopping.mode_window(s, m, a0, noise_modes=r, depth=depth)
    times = [window.t_star, window.t_opt, window.t_memorisation]
    np.testing.assert_allclose(result["times"], times, rtol=1e-8, atol=1e-12)
    assert [marker["t"] for marker in result["markers"]] == result["times"]
    assert (" holds." in result["note"]) == window.holds
    assert max(times) < result["t"][-1]


@pytest.mark.parametrize("aspect", [0.05, 0.4, 1.0, 2.5])
@pytest.mark.parametrize("count", [1, 64, 65, 500, 9999])
def test_groups_of_noise_modes_are_quantiles_of_the_bulk(model, count, aspect):
    found = model.evaluate("([count, aspect]) => dln.bulkModes(count, 1, aspect)", [count, aspect])
    counts = np.array(found["counts"])
    assert counts.sum() == count
    assert counts.size <= 64 and (counts.size == count or count > 64)
    inside = min(aspect, 1 / aspect)
    centre = 1 - (np.cumsum(counts) - counts / 2) / count
    expected = max(1, aspect) ** 0.5 * bulk_quantile(centre, inside)
    np.testing.assert_allclose(found["s"], expected, rtol=1e-7, atol=1e-7)
    assert max(found["s"]) < random_matrix.bulk_edge(aspect=aspect)


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("changes", [{"size": 3}, {"size": 3, "strength": 1.5, "scale": -6}])
def test_groups_stand_for_all_their_modes(model, changes, depth):
    params = START | changes | {"depth": depth}
    result = set_params(model, params)
    a0, r = 10.0 ** params["scale"], params["count"]
    first, target = result["modes"]["s"][0], result["modes"]["m"][0]
    count = round(10 ** params["size"]) - r
    s = np.r_[np.full(r, first), bulk_quantile(ranks(count), params["aspect"])]
    m = np.r_[np.full(r, target), np.zeros(count)]
    window = stopping.mode_window(s, m, a0, noise_modes=r, depth=depth)
    times = [window.t_star, window.t_opt, window.t_memorisation]
    np.testing.assert_allclose(result["times"], times, rtol=1e-3)
    a = modes.mode_strength(result["t"], s, a0, depth=depth)
    np.testing.assert_allclose(result["series"]["h"], entropy.spectral_entropy(a), atol=0.02)


def test_spikes_agree(model):
    for noise, aspect in ((1.0, 1.0), (0.7, 0.2), (1.3, 3.0)):
        threshold, edge = model.evaluate(
            "([n, c]) => [dln.detectionThreshold(n, c), dln.bulkEdge(n, c)]", [noise, aspect]
        )
        known = {"noise": noise, "aspect": aspect}
        assert threshold == pytest.approx(random_matrix.detection_threshold(**known), rel=1e-15)
        assert edge == pytest.approx(random_matrix.bulk_edge(**known), rel=1e-15)
        s0 = [0.3 * threshold, 1.001 * threshold, 2 * threshold, 50 * threshold]
        theirs = model.evaluate(
            "([s0, n, c]) => s0.map((x) => dln.spikeForward(x, n, c))", [s0, noise, aspect]
        )
        ours = random_matrix.spike_forward(s0, **known)
        np.testing.assert_allclose([spike["s"] for spike in theirs], ours.s, rtol=1e-14)
        np.testing.assert_allclose([spike["m"] for spike in theirs], ours.m, rtol=1e-11)


def test_rates_agree(model):
    a, g, m, counts = (
        [2.0, 0.4, 1e-9, 0.4],
        [0.1, 0.9, 5.0, -0.3],
        [1.5, 0.0, 0.2, 0.0],
        [1, 3, 2, 1],
    )
    rate, slope, error = model.evaluate(
        """([a, g, m, counts]) => [dln.entropyRate(a, g, counts),
             dln.excessErrorRate(a, g, m, counts), dln.excessError(a, m, counts, 3)]""",
        [a, g, m, counts],
    )
    strength, growth, target = (np.repeat(values, counts) for values in (a, g, m))
    assert rate == pytest.approx(entropy.entropy_rate(strength, growth).item(), rel=1e-12)
    assert slope == pytest.approx(2 * ((strength - target) * strength * growth).sum(), rel=1e-14)
    expected = stopping.excess_error(strength, target, energy=3).item()
    assert error == pytest.approx(expected, rel=1e-14)


# ---- words ----


def words(page) -> str:
    return page.locator(".live-note").inner_text()


def test_a_sentence_says_whether_the_order_holds(page):
    note = page.locator(".live-note")
    assert note.get_attribute("aria-live") == "polite"
    assert re.fullmatch(
        r"t\* ≤ topt ≤ t\*\* holds\. First the entropy is least at t\* = 1\.231, then the test "
        r"error is least at topt = 1\.398, last the leading noise mode is half learned at "
        r"t\*\* = 1\.945\.",
        words(page),
    )
    slider(page, "depth").press("ArrowRight")
    assert "fails. First the test error is least" in words(page)
    page.get_by_role("button", name="Reset").click()
    assert "holds. First the entropy is least" in words(page)
    slider(page, "strength").press("Home")
    assert "topt = 0," in words(page)
    assert "No later time has a smaller test error than the start." in words(page)
    assert words(page).endswith("The teacher is not above the detection threshold.")


def test_words_tell_apart_times_that_are_close(model):
    note = set_params(model, START | {"depth": 5, "scale": -8})["note"]
    star, opt = (float(re.search(rf"{name} = ([\d.]+)", note)[1]) for name in (r"</i>\*", "</sub>"))
    assert 0 < star - opt < 1e-3 * star


def test_words_that_stay_are_not_said_again(page):
    page.evaluate(
        """() => {
          window.changes = 0;
          new MutationObserver(() => (window.changes += 1)).observe(
            document.querySelector(".live-note"), { childList: true, subtree: true });
        }"""
    )
    slider(page, "time").press("ArrowRight")
    assert page.evaluate("new Promise((done) => setTimeout(() => done(window.changes)))") == 0
    slider(page, "depth").press("ArrowRight")
    assert page.evaluate("new Promise((done) => setTimeout(() => done(window.changes)))") == 1


# ---- hands and eyes ----


@pytest.mark.parametrize("name", SLIDERS)
def test_a_key_moves_value_and_curves(page, name):
    before, value = drawing(page), output(page, name)
    slider(page, name).focus()
    page.keyboard.press("ArrowLeft" if name == "aspect" else "ArrowRight")
    assert output(page, name) != value
    assert drawing(page) != before
    assert slider(page, name).get_attribute("aria-valuetext") == output(page, name)


def test_mouse_and_finger_move_the_figure(visit):
    page = visit()
    page.mouse.click(*middle(slider(page, "size"), 0.9))
    assert int(output(page, "size")) > 1000
    page = visit(**PHONE)
    page.touchscreen.tap(*middle(slider(page, "depth"), 0.98))
    assert output(page, "depth") == "5"
    page.touchscreen.tap(*middle(page.locator(".live-plot").last, 0.8))
    assert float(output(page, "time")) > 5


def marker_names(page) -> list:
    return page.locator(".live-marker-name").all()


@pytest.mark.parametrize("settings", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize(
    "changes", [{}, {"depth": 5, "scale": -8}, {"strength": 0.5}, {"size": 4, "scale": -1}]
)
def test_the_three_times_are_named_and_legible(visit, settings, changes):
    page = visit(**settings)
    result = set_params(page, START | changes)
    assert page.locator(".live-marker").count() == 9  # in three panels
    texts = [name.text_content().split(" = ") for name in marker_names(page)]
    assert sorted(name for name, _ in texts) == ["t*", "t**", "topt"]
    written = sorted(float(value) for _, value in texts)
    np.testing.assert_allclose(written, sorted(result["times"]), rtol=5e-3)
    grid = page.locator(".live-plot").first.locator("path.live-grid").first.get_attribute("d")
    top = float(re.search(r" ([\d.]+)V", grid)[1])
    placed = []
    for name in marker_names(page):
        box, row = name.bounding_box(), float(name.get_attribute("y"))
        assert 15 <= row < top  # whole, and above the curves
        placed.append((box["x"], box["x"] + box["width"], row))
    placed.sort()
    for i, (_, right, row) in enumerate(placed):
        for left, _, other in placed[i + 1 :]:
            assert right <= left or row != other
    if settings is PHONE:
        assert fits_a_phone(page)


def test_what_is_above_the_ceiling_is_not_drawn(page):
    result = set_params(page, START | {"size": 4})
    assert max(result["series"]["e"]) > 100
    plot = page.locator("[data-panel=error]")
    assert plot.locator("text[text-anchor=end]").last.text_content() == "1.5"
    inner = plot.locator("svg")
    assert inner.evaluate("(e) => getComputedStyle(e).overflow") == "hidden"
    assert plot.locator("circle").count() == 1
    slider(page, "time").press("End")
    assert plot.locator("circle").count() == 0
    assert float(page.locator("output[data-series=e]").inner_text()) > 100


@pytest.mark.parametrize("settings", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_sliders_keep_their_place_while_the_words_change(visit, settings):
    page, places = visit(**settings), set()
    longest = {"size": 4, "scale": -1, "strength": 0.8}
    for changes in ({}, {"depth": 3}, {"strength": 0.5}, longest):
        set_params(page, START | changes)
        places.add(round(slider(page, "depth").bounding_box()["y"]))
    assert len(places) == 1


def test_the_image_shows_where_no_script_runs_and_on_paper(visit):
    assert_image_without_scripts_and_on_paper(visit, "live-window")


def test_the_image_is_drawn_where_the_sliders_start(page):
    """The cell prints the times of the image; the figure starts with the same."""
    printed = page.locator(".output.stream pre").last.inner_text()
    times = [float(value) for value in re.findall(r"\d+\.\d+", printed)]
    shown = page.evaluate("dln.mounted[0].result.times")
    np.testing.assert_allclose(times, shown, atol=2e-3)
    assert page.evaluate("dln.mounted[0].params") == START
