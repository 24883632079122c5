"""The live figure of recorded SGD runs in Chromium: its curves are runs of dlnlib, made again."""

import re
from functools import cache

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

from dlnlib import entropy, sgd

pytestmark = pytest.mark.browser

PAGE = "chapters/sgd_sparse_features.html"
RATIOS = [0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1, 1.05, 1.1, 1.15, 1.2]
START = {"step": RATIOS.index(1.05), "seed": 2, "divided": False}
CURVES = ["train", "test", "rank", "amplitudes", "energies"]
SEEDS = 8
ROUNDING = 10 ** (1 / 8000) - 1  # half a step of the recorded logarithms
FLOOR, CEILING = 1e-9, 1e6  # of what is recorded


@cache
def task() -> sgd.SparseTask:
    return sgd.sparse_regression(80, 200, 20, rng=np.random.default_rng(0).spawn(1)[0])


@cache
def eta_star() -> float:
    root = np.sqrt(task().teacher)
    return round(sgd.stability_threshold(sgd.diagonal_jacobian(task().x, root, root)), 4)


def runs(step: int, is_divided: bool, t) -> sgd.DiagonalRuns:
    size = round(RATIOS[step] * eta_star(), 4)
    lr = sgd.step_decay(size, 50_000, at=0.2, by=1.5) if is_divided else sgd.constant(size, 50_000)
    rng = np.random.default_rng(0)
    return sgd.train_diagonal(task().x, task().y, lr, runs=SEEDS, record=t, rng=rng)


def measures(u, v) -> dict[str, np.ndarray]:
    """What the figure shows of weights (T, d)."""
    size, beta = np.hypot(u, v), u * v
    of = task()
    return {
        "train": ((beta @ of.x.T - of.y) ** 2).mean(axis=1) / 2,
        "test": ((beta @ of.x_test.T - of.y_test) ** 2).mean(axis=1) / 2,
        "rank": (size > 1e-15 * size.max(axis=1, keepdims=True)).sum(axis=1),
        "amplitudes": np.exp(entropy.spectral_entropy(beta, power=1)),
        "energies": np.exp(entropy.spectral_entropy(beta)),
    }


def diverged(page, is_divided: bool) -> np.ndarray:
    """The recorded iterations of divergence (step, seed), or -1."""
    kind = "divided" if is_divided else "kept"
    text = page.locator("#live-sgd-runs").text_content()
    return np.array(page.evaluate("([t, k]) => JSON.parse(t)[k].diverged", [text, kind]))


# ---- numbers ----


@pytest.mark.parametrize("is_divided", [False, True], ids=["kept", "divided"])
@pytest.mark.parametrize("step", range(len(RATIOS)), ids=map(str, RATIOS))
def test_every_curve_is_a_run_of_the_package(page, step, is_divided):
    seed = 1 + step % SEEDS
    result = set_params(page, {"step": step, "seed": seed, "divided": is_divided})
    again = runs(step, is_divided, result["t"])
    assert diverged(page, is_divided)[step].tolist() == again.diverged_at.tolist()
    order = [seed - 1, *(k for k in range(SEEDS) if k != seed - 1)]
    for place, k in enumerate(order):
        stays = ~np.isnan(again.u[k, :, 0])
        for name, values in measures(again.u[k, stays], again.v[k, stays]).items():
            drawn = result["others"][name][place - 1] if place else result["series"][name]
            assert drawn[stays.sum() :] == [None] * (~stays).sum()
            expected = np.clip(values, FLOOR, CEILING)
            np.testing.assert_allclose(
                drawn[: stays.sum()], expected, rtol=1.01 * ROUNDING, err_msg=name
            )


def test_steps_are_shares_of_the_threshold(page):
    for step, share in enumerate(RATIOS):
        note = set_params(page, START | {"step": step})["note"]
        size, edge = (float(x) for x in re.findall(r"0\.\d+", note))
        assert edge == eta_star()
        assert size == pytest.approx(share * edge, abs=5.1e-5)
        assert f"{'above' if share > 1 else 'at' if share == 1 else 'below'} the" in note


def test_iterations_are_recorded_densely_and_cost_little(page):
    t = np.array(set_params(page, START)["t"])
    assert (t[0], t[-1]) == (10, 50_000) and 10_000 in t
    assert 50 <= t.size <= 80 and (t[1:] / t[:-1]).max() < 1.25
    assert len(page.locator("#live-sgd-runs").text_content()) < 120_000


def test_the_level_is_the_test_loss_of_gradient_flow(page):
    end = sgd.implicit_bias(task().x, task().y, 0.1**2)
    expected = ((task().x_test @ end - task().y_test) ** 2).mean() / 2
    level = set_params(page, START)["levels"]["flow"]["value"]
    assert level == pytest.approx(expected, abs=5.1e-5)


def test_the_logarithmic_axis_shows_the_numbers(page):
    result = set_params(page, START)
    plot = page.locator("[data-panel=modes]")
    texts = plot.locator("text[text-anchor=end]").all()
    ticks = np.array([[float(x.text_content()), float(x.get_attribute("y"))] for x in texts])
    slope, start = np.polyfit(ticks[:, 1], np.log(ticks[:, 0]), 1)
    for name in ("rank", "amplitudes", "energies"):
        path = plot.locator(f"path.live-curve[data-series='{name}']").get_attribute("d")
        y = np.array([float(point.split()[1]) for point in path[1:].split("L")])
        np.testing.assert_allclose(np.exp(start + slope * y), result["series"][name], rtol=0.005)


# ---- runs that diverge ----


def test_a_run_that_diverges_says_so_and_ends(page):
    ends = diverged(page, is_divided=False)[START["step"]]
    seed = 1 + int(np.argmax(ends >= 0))
    set_params(page, START | {"seed": seed})
    said = f"diverged at {ends[seed - 1]:,}"
    assert page.locator(".live-marker-name").all_text_contents() == [said]
    note = page.locator(".live-note").inner_text()
    assert f"Seed {seed} {said.replace('at', 'at iteration')}." in note
    assert f"{(ends >= 0).sum()} of 8 seeds diverge within 50,000 iterations." in note
    assert page.locator("path.live-curve.live-end").count() == len(CURVES)
    slider(page, "time").press("End")
    for name in CURVES:
        assert page.locator(f"output[data-series={name}]").inner_text() == "–"
    assert page.locator(".live-cursor circle").count() == 0
    slider(page, "time").press("Home")
    assert float(page.locator("output[data-series=rank]").inner_text()) == 200
    assert page.locator(".live-cursor circle").count() == len(CURVES)


def test_no_setting_draws_what_is_no_number(page):
    wrong = page.evaluate(
        """([steps, seeds]) => {
          const figure = dln.mounted[0];
          const wrong = [];
          for (let step = 0; step < steps; step += 1)
            for (let seed = 1; seed <= seeds; seed += 1)
              for (const divided of [false, true]) {
                Object.assign(figure.params, { step, seed, divided });
                figure.update();
                if (/NaN|Infinity|undefined|null/.test(figure.root.innerHTML))
                  wrong.push([step, seed, divided]);
              }
          return wrong;
        }""",
        [len(RATIOS), SEEDS],
    )
    assert wrong == []


def test_the_divided_step_is_marked_unless_the_run_diverged_before(page):
    for step, seed in ((2, 1), (len(RATIOS) - 1, 1)):
        result = set_params(page, {"step": step, "seed": seed, "divided": True})
        marked = [marker["label"] for marker in result["markers"]]
        early = bool(0 <= diverged(page, is_divided=True)[step, seed - 1] < 10_000)
        assert ("step / 1.5" in marked) is not early
        assert any("diverged" in label for label in marked) is early


def test_without_recorded_runs_the_image_stays(visit):
    page = visit()
    assert page.evaluate(
        """() => {
          document.getElementById("live-sgd-runs").remove();
          const caption = document.querySelector("figure.live-sgd figcaption");
          try { dln.mount("sgd", dln.figures.sgd, caption); } catch {
            return document.querySelectorAll(".live").length === 1
              && !caption.classList.contains("live-static");
          }
        }"""
    )


# ---- hands ----


@pytest.mark.parametrize("name", ["step", "seed"])
def test_a_key_moves_value_and_curves(page, name):
    before, value = drawing(page), output(page, name)
    slider(page, name).focus()
    page.keyboard.press("ArrowRight")
    assert output(page, name) != value
    assert drawing(page) != before
    assert slider(page, name).get_attribute("aria-valuetext") == output(page, name)
    page.keyboard.press("ArrowLeft")
    assert (output(page, name), drawing(page)) == (value, before)


def test_the_keyboard_divides_the_step(page):
    before = drawing(page)
    page.locator(".live-switch input").press("Space")
    assert drawing(page) != before
    assert page.locator(".live-marker-name").all_text_contents() == ["step / 1.5"]
    page.get_by_role("button", name="Reset").press("Enter")
    assert drawing(page) == before
    assert page.evaluate("dln.mounted[0].params") == START


def test_mouse_and_finger_move_the_figure(shared):
    page = shared()
    page.mouse.click(*middle(slider(page, "step"), 0.02))
    assert output(page, "step") == "0.02"
    page = shared("phone")
    page.touchscreen.tap(*middle(slider(page, "seed"), 0.98))
    assert output(page, "seed") == "8"
    page.touchscreen.tap(*middle(page.locator(".live-plot").last, 0.5))
    assert 300 < int(output(page, "time")) < 1500
    page.touchscreen.tap(*middle(page.locator(".live-switch"), 0.5))
    assert page.locator(".live-switch input").is_checked()


# ---- eyes ----


def test_the_other_seeds_are_thin_curves_behind(page):
    for name in CURVES:
        found = page.locator(f"path[data-series={name}]")
        kinds = [x.get_attribute("class") for x in found.all()]
        assert kinds == ["live-other"] * (SEEDS - 1) + ["live-curve"]
    widths = [
        page.locator(kind).first.evaluate("(e) => parseFloat(getComputedStyle(e).strokeWidth)")
        for kind in ("path.live-other", ".live-drawing path.live-curve")
    ]
    assert widths[0] < widths[1] / 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_line_has_a_colour_of_its_scheme(shared, scheme):
    page = shared(scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for name in CURVES:
        strokes = {
            path.evaluate("(e) => getComputedStyle(e).stroke")
            for path in page.locator(f"path[data-series={name}]").all()
        }
        assert len(strokes) == 1 and not strokes & {"none", ground}


def test_a_phone_needs_no_sideways_scrolling(shared):
    page = shared("phone")
    for changes in ({}, {"divided": True}, {"seed": 3}, {"step": 0}):
        set_params(page, START | changes)
        assert fits_a_phone(page)


@pytest.mark.parametrize("setting", ["light", "phone"])
def test_sliders_keep_their_place_while_the_words_change(shared, setting):
    page, places = shared(setting), set()
    for changes in ({}, {"step": 0}, {"seed": 3}, {"step": len(RATIOS) - 1, "divided": True}):
        set_params(page, START | changes)
        places.add(round(slider(page, "step").bounding_box()["y"]))
    assert len(places) == 1


def test_controls_have_names(page):
    assert_controls_have_names(page)


def test_the_image_shows_where_no_script_runs_and_on_paper(visit):
    assert_image_without_scripts_and_on_paper(visit, "live-sgd")


def test_the_image_is_drawn_where_the_sliders_start(page):
    assert page.evaluate("dln.mounted[0].params") == START
    assert output(page, "step") == "1.05"
    caption = page.locator("figure.live-sgd figcaption").inner_text()
    assert "1.05" in caption and f"seed {START['seed']} (thick)" in caption
