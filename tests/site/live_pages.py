"""Visits to a page with a live figure, for the tests in Chromium."""

import re
from contextlib import contextmanager

DESKTOP = {"viewport": {"width": 1280, "height": 1000}}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
UPDATE = """(changes) => {
  const figure = dln.mounted[0];
  Object.assign(figure.params, changes);
  figure.update();
  const result = figure.result;
  const lists = Object.entries(result.series).map(([id, v]) => [id, v && Array.from(v)]);
  return { ...result, t: Array.from(result.t), series: Object.fromEntries(lists) };
}"""


@contextmanager
def visitor(browser, live_page):
    """A function that opens the page; every complaint and every foreign request is an error."""
    contexts, problems = [], []

    def open_page(**settings):
        context = browser.new_context(**(DESKTOP | settings))
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda m: problems.append(m.text) if m.type in {"error", "warning"} else None,
        )
        page.on(
            "request",
            lambda r: None if re.match("file:|data:", r.url) else problems.append(r.url),
        )
        page.goto(live_page.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def set_params(page, params: dict) -> dict:
    """The result behind the figure with these values of its sliders."""
    return page.evaluate(UPDATE, params)


def drawing(page) -> str:
    return page.locator(".live-drawing").first.inner_html()


def slider(page, name: str):
    return page.locator(f".live-slider input[id$='-{name}']")


def output(page, name: str) -> str:
    return page.locator(f".live-slider output[for$='-{name}']").inner_text()


def middle(locator, share: float) -> tuple[float, float]:
    """The place to point at, at a share of the width of an element."""
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    return box["x"] + share * box["width"], box["y"] + box["height"] / 2


def fits_a_phone(page) -> bool:
    """Whether nothing reaches beyond 360 pixels or is written smaller than 11."""
    root = page.locator(".live").bounding_box()
    edges = [page.evaluate("document.documentElement.scrollWidth"), root["x"] + root["width"]]
    for text in page.locator(".live-plot text").all():
        box = text.bounding_box()
        edges.append(box["x"] + box["width"])
        if box["x"] < root["x"] - 1:
            return False
    sizes = page.evaluate(
        """() => [...document.querySelectorAll(
             ".live-plot text, .live label, .live output, .live-note",
           )].map((e) => {
             const svg = e.ownerSVGElement;
             const scale = svg ? svg.clientWidth / svg.viewBox.baseVal.width : 1;
             return scale * parseFloat(getComputedStyle(e).fontSize);
           })"""
    )
    return max(edges) <= 360 and min(sizes) >= 11
