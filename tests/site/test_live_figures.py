"""What holds for every live figure: it says how it is moved, fits a window, and moves at once."""

import re

import pytest
from live_pages import middle
from visits import SETTINGS

pytestmark = pytest.mark.browser

PAGES = [
    "chapters/intro.html",
    "chapters/covariance_identity.html",
    "chapters/stopping_window.html",
    "chapters/risk_estimate.html",
    "chapters/sgd_sparse_features.html",
]
# The least time of each move of each control, of a few: the machine may be busy with other things.
MOVES = """() => {
  const { root, update, params } = dln.mounted[0];
  const times = {};
  const note = (name, act) => {
    for (let i = 0; i < 5; i += 1) {
      const start = performance.now();
      act(i);
      root.getBoundingClientRect();
      times[name] = Math.min(times[name] ?? Infinity, performance.now() - start);
    }
  };
  for (const input of root.querySelectorAll("input")) {
    const name = input.id || input.closest("label").textContent;
    if (input.type !== "range") note(name, () => input.click());
    else
      for (const share of [0, 0.5, 1])
        note(`${name} ${share}`, (i) => {
          const [low, high] = [Number(input.min), Number(input.max)];
          input.value = low + (high - low) * (share || 0.01 * i);
          input.dispatchEvent(new Event("input", { bubbles: true }));
        });
  }
  return times;
}"""


@pytest.fixture(params=PAGES)
def window(request, windows):
    """A function that opens the page in a setting."""

    def opened(setting: str = "light"):
        window = windows(setting)
        window.open(request.param)
        window.settle()
        return window.page

    yield opened
    for setting in SETTINGS:
        assert windows(setting).complaints == []


def test_it_says_how_it_is_moved(window):
    page = window("light")
    hint = page.locator(".live-hint")
    assert re.search(r"Drag .* Keyboard: Tab, then arrow keys\.", hint.inner_text())
    before = page.locator(".live-cursor").first.inner_html()
    page.mouse.click(*middle(page.locator(".live-plot").last, 0.3))  # as it says
    assert page.locator(".live-cursor").first.inner_html() != before
    assert "Drag" in window("phone").locator(".live-hint").inner_text()


def test_its_caption_is_true_wherever_the_sliders_are(window):
    """Values stand in the sentence about what is drawn first, and in no other."""
    caption = window("light").locator("figure:has(> .live) figcaption").inner_text()
    about, first = caption.split("Drawn first")
    assert re.search(r"page[ ,].*slider|slider.*page", first)
    assert not re.search(r"\bdepth\b|\blayers\b|\d\.\d|strengths? \d|seed \d", about), about


def test_it_fits_a_phone_with_its_controls(window):
    page = window("phone")
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.querySelector('.live').clientWidth > 330")
    assert page.locator(".live").bounding_box()["height"] <= 844
    page.set_viewport_size(SETTINGS["phone"][1]["viewport"])


@pytest.mark.parametrize(("setting", "least"), [("light", 13), ("dark", 13), ("phone", 11)])
def test_its_letters_are_as_large_as_those_of_the_text(window, setting, least):
    sizes = window(setting).evaluate(
        """() => [...document.querySelectorAll(".live text, .live tspan, .live label, .live p")]
             .filter((e) => !e.closest("tspan[dy]"))
             .map((e) => parseFloat(getComputedStyle(e).fontSize))"""
    )
    assert least <= min(sizes) and max(sizes) <= 17


def test_a_rehearsal_in_idle_moments_leaves_what_is_drawn(window):
    page = window("light")
    page.wait_for_function("dln.mounted[0].isRehearsed")
    drawn = page.locator(".live").inner_html()
    page.evaluate("dln.mounted[0].update()")
    assert page.locator(".live").inner_html() == drawn


def test_every_control_moves_it(window, record_property):
    """The slowest move is printed at the end: a frame has 16 ms, and the machine may be busy."""
    page = window("light")
    times = page.evaluate(MOVES)
    assert len(times) >= page.locator(".live input").count()
    record_property("move", (max(times.values()), page.url.rpartition("/")[2]))
