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
    """A function that opens the page; every complaint and every foreign request is an error.

    The mathematics of the chapter is not typeset, which takes longer than all the rest.
    """
    contexts, problems = [], []

    def open_page(**settings):
        context = browser.new_context(**(DESKTOP | settings))
        context.route("**/mathjax/**", lambda route: route.fulfill(body=""))
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


def assert_image_without_scripts_and_on_paper(visit, name: str) -> None:
    """The static image shows exactly where the figure does not, above the same caption."""
    plain = visit(java_script_enabled=False)
    assert plain.locator(f"figure.{name} img").is_visible()
    assert plain.locator(".live").count() == 0
    live = visit()
    assert not live.locator(f"figure.{name} img").is_visible()
    assert live.locator(f"figure.{name} .live").is_visible()
    assert live.locator(f"figure.{name} figcaption").is_visible()
    live.emulate_media(media="print")
    assert live.locator(f"figure.{name} img").is_visible()
    assert not live.locator(".live").is_visible()


def assert_controls_have_names(page) -> None:
    """Every slider and every drawing says to a screen reader what it is."""
    for control in page.locator(".live input").all():
        assert control.evaluate("(e) => e.labels.length === 1 && e.labels[0].innerText.length > 3")
    for plot in page.locator(".live-plot").all():
        assert plot.get_attribute("role") == "img"
        assert len(plot.get_attribute("aria-label")) > 20


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
