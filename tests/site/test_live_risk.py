"""The live figure of the estimated test error in Chromium: its matrices are those of NumPy, its
curves and stops those of dlnlib, in the chapter and, cut down, on the front page."""

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
from visits import DESKTOP

from dlnlib import entropy, modes, random_matrix, stopping, tasks

pytestmark = pytest.mark.browser

START = {
    "strength": 8, "levels": 3, "noise": 1, "size": 60, "scale": -3,
    "depth": 2, "draw": 1, "signal": False, "known": False,
}  # fmt: skip
SLIDERS = ["strength", "levels", "noise", "size", "scale", "depth", "draw"]
PAGE = "chapters/risk_estimate.html"
FRONT = "chapters/intro.html"
NORMAL = np.random.default_rng(13).normal(size=(3, 80, 80))
SETTINGS = {
    "start": {},
    "another draw": {"draw": 2},
    "strong, large, third draw": {"draw": 3, "strength": 12, "size": 80},
    "one weak spike": {"levels": 1, "strength": 2},
    "one hidden spike": {"levels": 1, "strength": 0.5},
    "one strong spike": {"levels": 1, "strength": 12, "scale": -6},
    "two levels, three layers": {"levels": 2, "depth": 3},
    "four layers from a small start": {"depth": 4, "scale": -4.5},
    "four layers from the least start": {"depth": 4, "scale": -6, "size": 20},
    "a large start": {"scale": -1, "depth": 3},
    "few modes": {"size": 10, "strength": 6},
    "little noise": {"noise": 0.1, "size": 30},
    "much noise": {"noise": 2.5, "strength": 7, "depth": 3},
    "noise told": {"known": True, "noise": 1.4},
    "all signal": {"signal": True},
    "all signal, three layers": {"signal": True, "depth": 3, "draw": 2},
    "all signal and told": {"signal": True, "known": True},
    "all signal and told, four layers": {"signal": True, "known": True, "depth": 4, "levels": 1},
}


def task(params: dict) -> tuple[np.ndarray, np.ndarray, float]:
    """Singular values, true targets and the energy of the teacher."""
    d, parts = params["size"], np.array([1, 2, 4])[: params["levels"]]
    teacher = np.zeros((d, d))
    teacher[range(parts.size), range(parts.size)] = params["strength"] / parts
    sixteenths = np.rint(16 * NORMAL)[params["draw"] - 1, :d, :d] / 16
    found = tasks.svd_modes(teacher + params["noise"] / np.sqrt(d) * sixteenths)
    if params["signal"]:  # all that is observed is the teacher's
        return found.s, found.s, np.square(found.s).sum()
    return found.s, np.diag(found.u.T @ teacher @ found.v), np.square(teacher).sum()


def belief(params: dict, s: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Targets and energy of the teacher as the network believes them, and the noise level."""
    level = np.median(s) / random_matrix.bulk_quantiles(1).item()
    if params["known"]:
        level = 0.0 if params["signal"] else params["noise"]
    target = random_matrix.optimal_shrinker(s, noise=level)
    return target, np.square(s).sum() - s.size * level**2, level


def assert_is_the_run_of_the_package(params: dict, result: dict) -> None:
    s, m, energy = task(params)
    believed, believed_energy, level = belief(params, s)
    found = result["modes"]
    for name, values in {"s": s, "m": m, "believed": believed}.items():
        # beside the edge of the bulk a target is a root of what is nearly zero
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(found["s"], s, atol=1e-12)
    assert found["level"] == pytest.approx(level, rel=1e-6)

    a0, depth, t = 10.0 ** params["scale"], params["depth"], np.array(result["t"])
    a = modes.mode_strength(t, s, a0, depth=depth)
    first = params["levels"]
    other = (*task(params | {"signal": not params["signal"]})[1:],)
    error, estimate, otherwise = (
        stopping.excess_error(a, target, energy=total) / np.square(s).sum()
        for target, total in ((m, energy), (believed, believed_energy), other)
    )
    np.testing.assert_allclose(result["others"]["e"][0], otherwise, rtol=1e-6, atol=1e-6)
    expected = {"e": error, "estimate": estimate, "h": entropy.spectral_entropy(a)}
    expected["a.signal"] = a[:, 0]
    expected["a.weak" if params["signal"] else "a.noise"] = a[:, first]
    drawn = {name: values for name, values in result["series"].items() if values}
    assert drawn.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(drawn[name], values, rtol=1e-6, atol=1e-6, err_msg=name)

    known = {"noise_modes": first, "depth": depth}
    window = stopping.mode_window(s, m, a0, **known)
    theirs = stopping.mode_window(s, believed, a0, **known)
    times = {"star": window.t_star, "estimate": theirs.t_opt, "best": window.t_opt}
    stops = result["stops"]
    least = None if params["signal"] else error_at(window.t_opt, s, m, energy, a0, depth)
    for name, time in times.items():
        assert stops[name]["t"] == pytest.approx(time, rel=1e-5, abs=1e-9), name
        if np.isfinite(time):
            there = error_at(time, s, m, energy, a0, depth)
            assert stops[name]["error"] == pytest.approx(there, rel=1e-5)
            if least is not None:
                assert stops[name]["regret"] == pytest.approx(there / least, rel=1e-5)
    finite = [time for time in times.values() if np.isfinite(time)]
    shown = [marker["t"] for marker in result["markers"]]
    np.testing.assert_allclose(shown, finite, rtol=1e-5)
    assert max(finite) < t[-1]


def error_at(time, s, m, energy, a0, depth) -> float:
    a = modes.mode_strength([time], s, a0, depth=depth)
    return (stopping.excess_error(a, m, energy=energy) / np.square(s).sum()).item()


# ---- numbers ----


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_curves_and_stops_agree_with_the_package(page, changes):
    params = START | changes
    assert_is_the_run_of_the_package(params, set_params(page, params))


def test_singular_values_and_targets_of_any_matrix(page):
    """Also of one with nothing but zeros in it, or with equal singular values."""
    rng = np.random.default_rng(3)
    orthogonal = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    for matrix in (rng.normal(size=(2, 2)), rng.normal(size=(40, 40)), orthogonal, np.eye(5)):
        d = len(matrix)
        teacher = np.diag(np.append([3.0, 1.5], np.zeros(d - 2)))
        observed = teacher + 0.7 / np.sqrt(d) * matrix
        u, s, vt = np.linalg.svd(observed)
        found = page.evaluate(
            "([Z, d]) => dln.spikedSpectrum(Z, d, [3, 1.5], 0.7)", [matrix.tolist(), d]
        )
        np.testing.assert_allclose(found["s"], s, atol=1e-13)
        if np.diff(-s).min() > 1e-6:
            np.testing.assert_allclose(found["m"], np.diag(u.T @ teacher @ vt.T), atol=1e-11)
        assert np.dot(found["s"], found["m"]) == pytest.approx((observed * teacher).sum())
    found = page.evaluate("dln.spikedSpectrum([[0, 0], [0, 0]], 2, [2], 1)")
    np.testing.assert_allclose([found["s"], found["m"]], [[2, 0], [2, 0]], atol=1e-15)


def test_shrinker_agrees(page):
    s = np.linspace(0, 6, 25)
    for noise, aspect in ((1.0, 1.0), (0.6, 0.25), (1.2, 3.0)):
        found = page.evaluate(
            "([s, n, c]) => s.map((x) => dln.optimalShrinker(x, n, c))", [s.tolist(), noise, aspect]
        )
        ours = random_matrix.optimal_shrinker(s, noise=noise, aspect=aspect)
        np.testing.assert_allclose(found, ours, rtol=1e-12, atol=1e-12)


def test_a_tick_moves_the_error_and_neither_entropy_nor_estimate(page):
    before = set_params(page, START)
    after = set_params(page, START | {"signal": True})
    np.testing.assert_array_equal(after["modes"]["s"], before["modes"]["s"])
    np.testing.assert_array_equal(after["series"]["h"], before["series"]["h"])
    np.testing.assert_array_equal(after["series"]["estimate"], before["series"]["estimate"])
    np.testing.assert_array_equal(after["others"]["e"][0], before["series"]["e"])
    np.testing.assert_array_equal(before["others"]["e"][0], after["series"]["e"])
    for name in ("star", "estimate"):
        assert after["stops"][name]["t"] == before["stops"][name]["t"]
    late = np.array(before["t"]) > before["stops"]["best"]["t"]
    assert (np.diff(np.array(before["series"]["e"])[late]) > 0).all()
    assert (np.diff(after["series"]["e"]) < 0).all()
    told = set_params(page, START | {"signal": True, "known": True})
    np.testing.assert_allclose(told["series"]["estimate"], told["series"]["e"], atol=1e-12)


# ---- words ----


def words(page) -> str:
    return page.locator(".live-note").inner_text()


def tick(page, name: str):
    return page.get_by_role("checkbox", name=name)


def test_a_sentence_says_what_each_stop_costs(page):
    assert page.locator(".live-note").get_attribute("aria-live") == "polite"
    stops = page.evaluate("dln.mounted[0].result.stops")
    pattern = (
        r"A stop at the entropy minimum: ([\d.]+) times the least error\. At that of the "
        r"estimate: ([\d.]+) times\. It reads the noise, 1\.00, as 1\.02, from the median "
        r"singular value\."
    )
    found = re.fullmatch(pattern, words(page)).groups()
    assert found == tuple(f"{stops[name]['regret']:.2f}" for name in ("star", "estimate"))
    tick(page, "noise level told").check()
    assert words(page).endswith("It is told the noise.")
    tick(page, "all modes signal").check()
    assert words(page).endswith("the estimate, told that there is no noise, nothing.")
    tick(page, "noise level told").uncheck()
    share = page.evaluate("dln.mounted[0].result.stops.estimate.error")
    assert words(page).endswith(
        f"the estimate {100 * share:.0f} %: the singular values cannot tell."
    )
    assert "never stop" in words(page)
    page.get_by_role("button", name="Reset").click()
    assert re.fullmatch(pattern, words(page))
    assert not tick(page, "all modes signal").is_checked()


# Whether the names in the first panel are in it, and those that lie on each other.
INSIDE = """() => {
  const plot = document.querySelector(".live-plot");
  const ground = plot.getBoundingClientRect();
  const names = [...plot.querySelectorAll(".live-marker-name, .live-end-name")];
  const boxes = names.map((e) => [e.textContent, e.getBoundingClientRect()]);
  const isInside = ([, b]) => b.left >= ground.left && b.right <= ground.right + 1
    && b.top >= ground.top && b.bottom <= ground.bottom;
  const meet = (a, b) => a.left < b.right && b.left < a.right
    && a.top < b.bottom - 4 && b.top < a.bottom - 4;
  const pairs = boxes.flatMap(([one, a], i) =>
    boxes.slice(i + 1).filter(([, b]) => meet(a, b)).map(([two]) => [one, two]));
  return [boxes.every(isInside), pairs];
}"""


@pytest.mark.parametrize("setting", ["light", "phone"])
@pytest.mark.parametrize(
    "changes", [{}, {"depth": 3}, {"levels": 1, "strength": 2}, {"signal": True}]
)
def test_the_stops_are_named_with_their_regret(shared, setting, changes):
    page = shared(setting)
    result = set_params(page, START | changes)
    assert page.locator(".live-marker").count() == 3 * len(result["markers"])  # in three panels
    names = page.locator(".live-drawing .live-marker-name").all_text_contents()
    said = {"best": "best"}
    for name, word in (("star", "entropy"), ("estimate", "estimate")):
        stop = result["stops"][name]
        cost = (
            f"× {stop['regret']:.2f}" if not changes.get("signal") else f"{stop['error']:.0%} left"
        )
        said[name] = f"{word} {cost.replace('%', ' %')}"
    finite = [name for name in said if np.isfinite(result["stops"][name]["t"] or np.inf)]
    assert sorted(names) == sorted(said[name] for name in finite)
    assert page.evaluate(INSIDE) == [True, []]
    if setting == "phone":
        assert fits_a_phone(page)


# ---- hands and eyes ----


@pytest.mark.parametrize("name", SLIDERS)
def test_a_key_moves_value_and_curves(page, name):
    before, value = drawing(page), output(page, name)
    slider(page, name).focus()
    page.keyboard.press("ArrowLeft" if name == "levels" else "ArrowRight")
    assert output(page, name) != value
    assert drawing(page) != before
    assert slider(page, name).get_attribute("aria-valuetext") == output(page, name)


def test_mouse_finger_and_key_move_the_figure(shared):
    page = shared()
    page.mouse.click(*middle(page.locator(".live-plot").first, 0.5))
    assert float(output(page, "time")) == pytest.approx(1.9, abs=0.1)
    before = drawing(page)
    tick(page, "all modes signal").focus()
    page.keyboard.press("Space")
    assert drawing(page) != before
    page = shared("phone")
    page.touchscreen.tap(*middle(slider(page, "depth"), 0.98))
    assert output(page, "depth") == "4"


def test_every_control_has_a_name(page):
    assert_controls_have_names(page)


def test_it_fits_a_window_with_its_controls(visit):
    for setting, width in (("light", 1280), ("phone", 390)):
        page = visit(setting)
        page.set_viewport_size({"width": width, "height": 844})
        for changes in ({}, {"signal": True}, {"signal": True, "known": True}, {"known": True}):
            set_params(page, START | changes)
            assert page.locator(".live").bounding_box()["height"] <= 844


@pytest.mark.parametrize("setting", ["light", "phone"])
def test_sliders_keep_their_place_while_the_words_change(shared, setting):
    page, places = shared(setting), set()
    for changes in ({}, {"depth": 3}, {"signal": True}, {"signal": True, "known": True}):
        set_params(page, START | changes)
        figure = page.locator(".live").bounding_box()["y"]
        places.add(round(slider(page, "depth").bounding_box()["y"] - figure))
    assert len(places) == 1


def test_the_image_shows_where_no_script_runs_and_on_paper(visit):
    assert_image_without_scripts_and_on_paper(visit, "live-risk")


PRINTED = """() => {
  const said = [...document.querySelectorAll(".output.stream pre, .bd-article p")];
  const two = /(Test error over the least:|least entropy costs)\\s+\\d\\.\\d\\d/;
  return said.map((e) => e.innerText).find((text) => two.test(text));
}"""


def regrets(page) -> list[float]:
    return [float(x) for x in re.findall(r"\d\.\d\d", page.evaluate(PRINTED))]


def test_the_image_is_drawn_where_the_sliders_start(page):
    """The page says the regrets in the image; the figure starts with the same."""
    stops = page.evaluate("dln.mounted[0].result.stops")
    shown = [stops[name]["regret"] for name in ("star", "estimate")]
    np.testing.assert_allclose(regrets(page), shown, atol=6e-3)
    assert START.items() >= page.evaluate("dln.mounted[0].params").items()


# ---- the front page ----


@pytest.fixture
def front(windows):
    window = windows("phone")
    window.open(FRONT)
    window.page.evaluate("window.MathJax?.startup?.promise.then(() => null)")
    yield window.page
    assert window.complaints == []
    window.complaints.clear()


def test_the_front_page_has_the_same_figure_with_fewer_controls(front):
    inputs = front.locator(".live-board input").all()
    names = [name.get_attribute("id") for name in inputs]
    assert [name and name.split("-")[-1] for name in names] == [
        "strength", "levels", "noise", "depth",
    ]  # fmt: skip
    assert front.locator(".live-plot").count() == 2
    result = set_params(front, {})
    assert_is_the_run_of_the_package(START, result)
    printed = re.findall(r"\d\.\d\d", front.evaluate(PRINTED))
    costs = [f"{result['stops'][name]['regret']:.2f}" for name in ("star", "estimate")]
    assert printed == costs
    moved = {"strength": 5, "levels": 2, "depth": 3, "signal": True}
    assert_is_the_run_of_the_package(START | moved, set_params(front, moved))


def test_the_front_page_fits_a_phone(front):
    assert front.locator(".live").bounding_box()["height"] < 660
    assert fits_a_phone(front)
    assert_controls_have_names(front)


def test_the_front_page_asks_its_question_and_answers_on_the_first_screen(windows):
    window = windows("light")
    window.open(FRONT)
    window.page.set_viewport_size({"width": 1280, "height": 800})
    window.settle()
    page = window.page
    question = page.get_by_role("group", name="Are the weak modes signal or noise?")
    error, entropy_ = (page.locator(".live-plot").nth(i) for i in range(2))
    for part in (page.locator(".live-hint"), question, error):
        box = part.bounding_box()
        assert box["y"] + box["height"] <= 800
    drawn = "path.live-curve[data-series={}]"

    def curves() -> dict[str, str]:
        return {
            name: plot.locator(drawn.format(name)).get_attribute("d")
            for name, plot in (("e", error), ("estimate", error), ("h", entropy_))
        }

    before = curves()
    assert question.get_by_label("noise").is_checked()
    question.get_by_label("signal").check()
    after = curves()
    assert {name: after[name] == before[name] for name in before} == {
        "e": False, "estimate": True, "h": True,
    }  # fmt: skip
    assert error.locator("[data-series=e].live-other").get_attribute("d") == before["e"]
    assert "left" in error.locator(".live-cursor text").text_content()
    question.get_by_label("signal").press("ArrowLeft")
    assert curves() == before
    assert re.fullmatch(r"↔ you × \d\.\d\d", error.locator(".live-cursor text").text_content())
    page.set_viewport_size(DESKTOP["viewport"])
    assert window.complaints == []
