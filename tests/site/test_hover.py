"""Boxes that show what a link leads to, by pointer, keyboard and finger; and the symbols."""

import html
import json
import re

import pytest
from visits import HTML, SETTINGS, Visit, Window, closed_at_the_end, violations

pytestmark = pytest.mark.browser

CHAPTER = "chapters/exact_dynamics.html"
SETTLED = "window.MathJax?.startup?.promise.then(() => null)"
LINKS = {
    "word": "a:has(.std-term)",
    "equation": "a.reference.internal[href*='#equation-']",
    "theorem": "a.reference.internal[href*='#thm-']",
    "figure": "a.reference.internal[href*='#fig-']",
    "citation": "a.reference.internal[href*='bibliography.html#id']",
}
HREF = {
    "word": r'href="([^"]*#term-[^"]*)"',
    "equation": r'href="([^"]*#equation-eq-[^"]*)"',
    "theorem": r'href="([^"]*#(?:thm|def|prop|cor|lem)-[^"]*)"',
    "figure": r'class="reference internal" href="([^"]*#fig-[^"]*)"',
    "citation": r'href="([^"]*bibliography\.html#id\d+)"',
}


def chapters() -> dict[str, str]:
    """The pages with prose, by their addresses, without lists of everything."""
    return {
        f"chapters/{path.name}": path.read_text(encoding="utf-8")
        for path in sorted((HTML / "chapters").glob("*.html"))
    }


def article(text: str) -> str:
    """The article of a page, without the list of symbols."""
    found = re.search(r"<article.*</article>", text, re.DOTALL)[0]
    return re.sub(r'<details class="symbols-here">.*?</details>', "", found, flags=re.DOTALL)


def written(page: str) -> dict[str, str]:
    """The previews of a page."""
    script = (HTML / "_static/previews" / page).with_suffix(".js")
    found = re.fullmatch(
        r"dlnPreviews\.take\((\".*?\"), (\{.*\})\);\n",
        script.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert json.loads(found[1]) == page
    return json.loads(found[2])


@pytest.mark.parametrize("kind", HREF)
def test_all_that_links_lead_to_has_a_preview(kind):
    known: dict[str, dict] = {}
    missing, count = [], 0
    for page, text in chapters().items():
        for address in set(re.findall(HREF[kind], article(text))):
            other, name = html.unescape(address).split("#")
            target = f"chapters/{other}" if other else page
            if target not in known:
                known[target] = written(target)
            count += 1
            if not known[target].get(name):
                missing.append(f"{page}: {address}")
    assert missing == []
    assert count > 10


@pytest.fixture
def opened(browser, homes):
    """A function that opens a page in a window of its own."""
    with closed_at_the_end() as windows:

        def open_page(name: str, setting: str = "light"):
            source, settings = SETTINGS[setting]
            window = Window.new(browser, homes[source], **settings)
            windows.append(window)
            window.open(name)
            window.page.evaluate(SETTLED)
            return window.page

        yield open_page


def first_link(page, kind: str):
    """The first link of a kind that is seen."""
    return page.locator(f"article {LINKS[kind]}").locator("visible=true").first


def with_link(kind: str) -> str:
    """A chapter with a link of a kind, the shortest."""
    found = {
        page: len(text)
        for page, text in chapters().items()
        if re.search(HREF[kind], article(text))
        and page.removeprefix("chapters/") not in {"bibliography.html", "glossary.html"}
    }
    return min(found, key=found.get)


@pytest.mark.parametrize("kind", LINKS)
def test_a_pointer_that_rests_on_a_link_opens_its_preview(opened, kind):
    page = opened(with_link(kind), "dark" if kind == "theorem" else "light")
    box, link = page.locator("#preview"), first_link(page, kind)
    link.hover()
    box.wait_for(state="visible")
    assert box.inner_text().strip()
    assert box.locator(".math:not(:has(mjx-container))").count() == 0
    box.hover()  # the pointer may go there
    page.wait_for_timeout(400)
    assert box.is_visible()
    page.mouse.move(2, 2)
    box.wait_for(state="hidden")


def test_the_keyboard_opens_and_closes_a_preview(opened):
    page = opened(CHAPTER)
    box, link = page.locator("#preview"), first_link(page, "equation")
    page.keyboard.press("Tab")  # from now on focus is shown
    link.focus()
    box.wait_for(state="visible")
    assert link.get_attribute("aria-describedby") == box.get_attribute("id")
    assert box.get_attribute("role") == "tooltip"
    assert box.locator("mjx-container").count() == 1
    page.keyboard.press("Escape")
    assert box.is_hidden()
    assert link.get_attribute("aria-describedby") is None
    assert link.evaluate("(e) => e === document.activeElement")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    box.wait_for(state="visible")
    page.keyboard.press("Tab")
    box.wait_for(state="hidden")


def test_a_tap_opens_a_preview_and_a_second_one_follows_the_link(opened):
    page = opened(CHAPTER, "phone")
    box, link = page.locator("#preview"), first_link(page, "theorem")
    before = page.url
    link.tap()
    box.wait_for(state="visible")
    assert page.url == before
    sides = box.bounding_box()
    assert sides["x"] >= 0 and sides["x"] + sides["width"] <= page.viewport_size["width"]
    page.locator("article h1").tap()
    box.wait_for(state="hidden")
    link.tap()
    box.wait_for(state="visible")
    link.tap()
    page.wait_for_url(lambda url: "#thm-" in url)


def test_symbols_have_a_list_and_show_their_entry(opened):
    page = opened(CHAPTER)
    fold = page.locator("details.symbols-here")
    assert fold.locator("dl").is_hidden()
    fold.locator("summary").press("Enter")
    assert fold.locator("dt").count() == fold.locator("dd").count() > 5
    symbol = page.locator("article .symbol").nth(1)
    number = symbol.evaluate("(e) => e.className.match(/symbol-\\d+/)[0]")
    meaning = page.locator(f"#{number} + dd").inner_text()
    symbol.hover()
    page.locator("#preview").wait_for(state="visible")
    assert meaning in page.locator("#preview").inner_text()
    assert page.evaluate("[...document.querySelectorAll('.symbol')].every((e) => e.tabIndex < 0)")


@pytest.mark.parametrize("setting", ["light", "dark"])
def test_axe_finds_no_barrier_in_a_preview(opened, setting):
    page = opened(CHAPTER, setting)
    first_link(page, "theorem").hover()
    page.locator("#preview").wait_for(state="visible")
    page.evaluate("document.querySelector('article').remove()")  # that is asked elsewhere
    assert violations(Visit(CHAPTER, setting, Window(page, page.url))) == []
