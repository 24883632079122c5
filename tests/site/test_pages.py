"""Every page of the built book in Chromium: light and dark, wide and narrow, file and server.

A page is visited once in each setting, and the tests are the questions asked there, so that a
failure names the question, the page and the setting.
"""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from visits import HTML, SETTINGS, Visit, Window, channels, pages, violations

pytestmark = pytest.mark.browser

PAGES = pages() or ["no-book.html"]  # so that there is a test that fails
INTRO = "chapters/intro.html"
MADE_ALIKE = ("_modules/", "chapters/api/")  # from docstrings and source code, by one template


def settings_of(number: int, name: str) -> list[str]:
    """All settings; pages that one template makes take turns."""
    settings = list(SETTINGS)
    return [settings[number % len(settings)]] if name.startswith(MADE_ALIKE) else settings


VISITS = [
    pytest.param((name, setting), id=f"{name}-{setting}")
    for number, name in enumerate(PAGES)
    for setting in settings_of(number, name)
]


@pytest.fixture(scope="module", params=VISITS)
def visit(request, windows) -> Visit:
    name, setting = request.param
    window = windows(setting)
    window.open(name)
    window.settle()
    return Visit(name, setting, window)


# ---- every page ----


def test_nothing_fails_and_nothing_leaves_the_book(visit):
    assert visit.complaints == []


def test_mathematics_is_typeset(visit):
    """Each formula of the source has become one element of MathJax, and none is an error."""
    source = (HTML / visit.name).read_text(encoding="utf-8")
    found = visit.page.evaluate(
        r"""() => {
          const formulas = [...document.querySelectorAll(".math")];
          const single = (e) => e.querySelectorAll("mjx-container").length === 1;
          const errors = document.querySelectorAll("merror, mtext[mathcolor=red]");
          return {
            formulas: formulas.length,
            typeset: document.querySelectorAll("mjx-container").length,
            raw: formulas.filter((e) => !single(e)).map((e) => e.textContent),
            errors: [...errors].map((e) => e.title || e.textContent),
          };
        }"""
    )
    count = source.count("math notranslate nohighlight")
    assert found == {"formulas": count, "typeset": count, "raw": [], "errors": []}


def test_no_markup_is_left_in_the_text(visit):
    """A dollar or a backslash outside code is a formula that was not read as one."""
    left = visit.page.evaluate(
        r"""() => {
          const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          const found = [];
          while (texts.nextNode()) {
            const { parentElement: parent, data } = texts.currentNode;
            if (parent.closest("pre, code, script, style, mjx-container, svg")) continue;
            if (/\$|\\[()[\]]|\\[a-zA-Z]+|\{[a-z:]+\}`/.test(data)) found.push(data);
          }
          return found;
        }"""
    )
    assert left == []


def test_images_load_and_are_described(visit):
    broken = visit.page.evaluate(
        """() => [...document.images]
             .filter((e) => !(e.complete && e.naturalWidth > 0 && e.alt.trim()))
             .map((e) => e.outerHTML)"""
    )
    assert broken == []


def test_links_within_the_page_have_a_target(visit):
    """Also those that scripts have written."""
    lost = visit.page.evaluate(
        """() => [...document.links]
             .filter((e) => e.hash.length > 1 && e.href.split("#")[0] === location.href)
             .filter((e) => !document.getElementById(decodeURIComponent(e.hash.slice(1))))
             .map((e) => e.outerHTML)"""
    )
    assert lost == []


def test_the_page_has_the_colours_of_the_reader(visit):
    theme, ground, text = visit.page.evaluate(
        """() => {
          const style = getComputedStyle(document.body);
          return [document.documentElement.dataset.theme, style.backgroundColor, style.color];
        }"""
    )
    assert theme == ("dark" if "dark" in visit.setting else "light")
    assert (sum(channels(ground)) < sum(channels(text))) == (theme == "dark")


# What a reader cannot bring into view: wider than the page, or hidden by its own box.
OUTSIDE = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = (e) => e && (/auto|scroll/.test(getComputedStyle(e).overflowX)
    || scrolls(e.parentElement));
  const found = [];
  for (const e of document.querySelectorAll(".bd-article-container *")) {
    if (e.closest("mjx-container")?.contains(e.parentElement)) continue;
    const box = e.getBoundingClientRect();
    if (!e.checkVisibility() || box.width <= 1 || box.height <= 1) continue;
    if (box.right > width + 1 && !scrolls(e)) found.push(["outside", e.outerHTML.slice(0, 150)]);
    const style = getComputedStyle(e);
    const cutX = /hidden|clip/.test(style.overflowX) && e.scrollWidth > e.clientWidth + 1;
    const cutY = /hidden|clip/.test(style.overflowY) && e.scrollHeight > e.clientHeight + 3;
    if (e.clientWidth > 1 && (cutX || cutY)) found.push(["cut", e.outerHTML.slice(0, 150),
      e.scrollWidth, e.clientWidth, e.scrollHeight, e.clientHeight]);
  }
  return found;
}"""


def test_nothing_is_cut_off_or_scrolls_sideways(visit):
    page = visit.page
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_what_scrolls_is_reached_by_keyboard(visit):
    unreached = visit.page.evaluate(
        """() => [...document.querySelectorAll(".bd-article *")]
             .filter((e) => /auto|scroll/.test(getComputedStyle(e).overflowX))
             .filter((e) => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1)
             .filter((e) => e.tabIndex < 0 && !e.querySelector("a, button, input, [tabindex='0']"))
             .map((e) => e.outerHTML.slice(0, 150))"""
    )
    assert unreached == []


def test_what_scrolls_fades_where_there_is_more(visit):
    """So that nobody takes a formula, a table or a program for whole that is not."""
    hard = visit.page.evaluate(
        """() => [...document.querySelectorAll(".bd-article :is(mjx-container, table, pre)")]
             .filter((e) => /auto|scroll/.test(getComputedStyle(e).overflowX))
             .filter((e) => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1)
             .filter((e) => e !== document.activeElement)
             .filter((e) => getComputedStyle(e).maskImage === "none")
             .map((e) => e.outerHTML.slice(0, 150))"""
    )
    assert hard == []


LIGHT = 2_500_000  # bytes of a page with its styles, scripts and fonts, without its pictures


def test_a_page_is_light(visit, record_property):
    """What it loads is printed at the end, see conftest.py."""
    if visit.setting != "light":
        return
    paths = {unquote(urlsplit(address).path) for address in visit.window.requests}
    files = {Path(path) for path in paths if path and "/_images/" not in path}
    weight = sum(file.stat().st_size for file in files if file.is_file())
    record_property("weight", (weight, visit.name))
    assert weight < LIGHT


WATCH = """() => {
  window.parts = [...document.querySelectorAll("article details")];
  window.states = [];
  const note = () => states.push(document.activeElement.closest("details")?.open);
  document.addEventListener("keyup", note);
  return parts.map((e) => e.className);
}"""
STAND_ON = "(n) => parts[n].querySelector('summary').focus({ preventScroll: true })"
SHOWN = "parts.every((e) => e.querySelector(':scope > :not(summary)').checkVisibility())"


def test_folded_parts_open_by_keyboard(visit):
    """They are open after the settling: a key closes each, and opens it again.

    All of them in the light; one of each kind where only colours or widths differ.
    """
    page = visit.page
    kinds = page.evaluate(WATCH)
    all_of_them = visit.setting == "light" or visit.name.startswith(MADE_ALIKE)
    tried = range(len(kinds)) if all_of_them else map(kinds.index, dict.fromkeys(kinds))
    expected = []
    for number in tried:
        page.evaluate(STAND_ON, number)
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        expected += [False, True]
    assert page.evaluate("states") == expected
    assert page.evaluate(SHOWN)


def test_live_figures_replace_their_images_and_move(visit):
    for figure in visit.page.locator("figure[class*='live-']").all():
        assert figure.locator("> .live").count() == 1
        assert not figure.locator("> a img, > img").first.is_visible()
        before = figure.locator(".live-drawing").first.inner_html()
        figure.locator(".live-slider input").nth(1).press("ArrowRight")
        assert figure.locator(".live-drawing").first.inner_html() != before


def test_live_figures_alone_load_their_scripts(visit):
    figures = visit.page.locator("figure[class*='live-']").evaluate_all(
        "(all) => all.flatMap((e) => [...e.classList]).filter((name) => name.startsWith('live-'))"
    )
    loaded = visit.page.evaluate(
        """() => [...document.scripts].map((e) => e.getAttribute("src") ?? "")
             .flatMap((src) => src.match(/_static\\/live\\/([^?]*)/)?.[1] ?? [])"""
    )
    defined = [f"live-{x[8:-3]}" for x in loaded if x.startswith("figures/")]
    assert defined == sorted(figures)
    assert bool(loaded) is bool(figures)


def test_axe_finds_no_barrier(visit):
    """The last question of a visit: it changes the page."""
    assert violations(visit) == []


# ---- figures ----

DRAWINGS = """() => [...document.images]
  .filter((e) => e.closest("article") && /\\.svg$/.test(e.src) && /_images/.test(e.src))
  .filter((e) => e.checkVisibility())
  .map((e) => [e.src.split("/").at(-1), e.naturalWidth, e.clientWidth,
    e.closest("figure")?.id ?? ""])"""
# What matplotlib draws as paths: the text stands in a comment above its group of glyphs.
GLYPHS = re.compile(
    r'<!-- (?P<text>[^\n]*) -->\s*<g (?:style="[^"]*" )?transform="translate\([^)]*\)'
    r"(?: rotate\([^)]*\))? scale\((?P<scale>[\d.]+) "
)
POINT = 4 / 3  # pixels
# The setting, the width of a window, the least and the largest letters in pixels.
LEGIBLE = {"light": (1280, 13, 17), "phone": (390, 11, 17)}
TOLERANCE = 0.3


@cache
def letters(name: str) -> list[tuple[float, str]]:
    """The sizes of the letters of a drawing at its own size, in pixels, and what they say."""
    drawing = (HTML / "_images" / name).read_text(encoding="utf-8")
    return [(100 * POINT * float(m["scale"]), m["text"]) for m in GLYPHS.finditer(drawing)]


@pytest.mark.parametrize("setting", LEGIBLE)
def test_letters_in_figures_are_as_large_as_the_text(windows, setting):
    """All offenders of the book: page, figure, the least and the largest letters."""
    width, least, most = LEGIBLE[setting]
    window = windows(setting)
    usual = window.page.viewport_size
    wrong, count = [], 0
    for name in (name for name in PAGES if re.match(r"chapters/\w+\.html", name)):
        window.open(name)
        window.page.set_viewport_size(usual | {"width": width})
        for file, natural, shown, figure in window.page.evaluate(DRAWINGS):
            sizes = sorted((size * shown / natural, text) for size, text in letters(file))
            count += len(sizes)
            if sizes and not least - TOLERANCE <= sizes[0][0] <= sizes[-1][0] <= most + TOLERANCE:
                ends = ", ".join(
                    f"{size:.1f} px ({text})" for size, text in sizes[:: len(sizes) - 1 or 1]
                )
                wrong.append(f"{name} {figure}: {ends}")
    window.page.set_viewport_size(usual)
    assert count > 100
    assert not wrong, "\n".join(wrong)


# ---- ways through the book ----


@pytest.fixture
def opened(browser, homes):
    """A function that opens a page in a window of its own, which remembers no other visit."""
    windows = []

    def open_page(name: str, setting: str = "light", source: str | None = None) -> Visit:
        """The page from a source of its own, or where the setting has it."""
        usual, settings = SETTINGS[setting]
        window = Window.new(browser, homes[source or usual], **settings)
        windows.append(window)
        window.open(name)
        if name == "index.html":
            window.page.wait_for_url(f"**/{INTRO}")
        window.settle()
        return Visit(name, setting, window)

    yield open_page
    for window in windows:
        window.close()


def test_the_front_page_leads_to_the_introduction(opened):
    visit = opened("index.html")
    assert visit.page.url.endswith(INTRO)
    assert visit.complaints == []


@pytest.mark.parametrize("source", ["file", "served"])
def test_the_search_finds_a_term(opened, source):
    visit = opened(INTRO, source=source)
    page = visit.page
    page.keyboard.press("Control+k")
    page.keyboard.type("Riccati")
    page.keyboard.press("Enter")
    results = page.locator("#search-results li a")
    results.first.wait_for()
    page.locator("#search-results li a[href*='exact_dynamics.html']").first.click()
    page.wait_for_url("**/exact_dynamics.html*")
    visit.window.settle()
    assert "Riccati" in page.locator("article").inner_text()
    assert visit.complaints == []


def test_the_search_says_when_it_finds_nothing(opened):
    page = opened("search.html").page
    page.goto(page.url.split("?")[0] + "?q=zyzzyva")
    page.get_by_text("did not match any documents").wait_for()


REFERENCES = {
    "citation": r'internal" href="(bibliography\.html#[^"]+)"',
    "equation": r'internal" href="([^"]*#equation-[^"]+)"',
    "theorem": r'internal" href="([^"]*#thm-[^"]+)"',
    "figure": r'internal" href="([^"]*#fig-[^"]+)"',
}
IN_VIEW = """() => {
  const target = document.querySelector(":target");
  const box = target?.getBoundingClientRect();
  return box && box.bottom > 0 && box.top < innerHeight;
}"""


@pytest.mark.parametrize("kind", REFERENCES)
def test_a_reference_leads_to_its_target(opened, kind):
    """By keyboard, from the first chapter that has one."""
    texts = {name: (HTML / name).read_text(encoding="utf-8") for name in PAGES if "/" in name}
    found = {name: re.search(REFERENCES[kind], text) for name, text in texts.items()}
    name, match = next((name, match) for name, match in found.items() if match)
    page = opened(name).page
    page.locator(f"article a.reference[href='{match[1]}']").first.press("Enter")
    page.wait_for_url(f"**/*#{match[1].split('#')[1]}")
    page.wait_for_function(IN_VIEW)


# ---- hands on the keyboard ----

FOCUSED = """() => {
  const e = document.activeElement;
  const style = getComputedStyle(e);
  return {
    what: e.className,
    text: e.textContent.trim(),
    shown: e.checkVisibility() && parseFloat(style.outlineWidth) >= 2
      && style.outlineStyle !== "none",
  };
}"""


def test_tab_reaches_skip_link_search_contents_and_switch(opened):
    page = opened(INTRO).page
    seen = []
    while len(seen) < 60 and not (seen and "theme-switch-button" in seen[-1]["what"]):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUSED))
    assert seen[0]["text"] == "Skip to main content"
    assert [stop for stop in seen if not stop["shown"]] == []
    assert any("search-button" in stop["what"] for stop in seen)
    assert any(stop["text"] == "Notation" for stop in seen)
    assert "theme-switch-button" in seen[-1]["what"]


def test_the_skip_link_leads_past_the_contents(opened):
    page = opened(INTRO).page
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#main-content, .bd-main') !== null")


def test_the_switch_goes_through_the_themes(opened):
    page = opened(INTRO).page
    switch = page.locator(".theme-switch-button:visible").first
    seen = set()
    for _ in range(3):
        switch.press("Enter")
        seen.add(page.evaluate("document.documentElement.dataset.theme"))
    assert seen == {"light", "dark"}


def test_the_choice_of_theme_is_kept_on_the_next_page(opened):
    page = opened(INTRO, "dark").page
    switch = page.locator(".theme-switch-button:visible").first
    while page.evaluate("document.documentElement.dataset.theme") != "light":
        switch.press("Enter")
    page.get_by_role("link", name="Notation").first.click()
    page.wait_for_url("**/notation.html")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_contents_open_on_the_phone(opened):
    page = opened(INTRO, "phone").page
    link = page.locator(".bd-links a", has_text="Notation").first
    assert not link.is_visible()
    page.locator(".primary-toggle:visible").press("Enter")
    link.wait_for(state="visible")
    link.press("Enter")
    page.wait_for_url("**/notation.html")


def test_a_finger_opens_the_search_after_another_button(opened):
    """The name of the button that was touched would stay, and cover its neighbours."""
    page = opened(INTRO, "phone").page
    page.locator(".theme-switch-button:visible").first.tap()
    page.locator(".tooltip").wait_for(state="attached")
    assert page.locator(".tooltip").is_hidden()
    page.locator(".search-button:visible").first.tap()
    page.locator("#pst-search-dialog input").wait_for(state="visible")


def test_a_formula_a_little_too_wide_is_set_smaller(opened):
    """It fits a phone without scrolling, and has its size again in a wider window."""
    page = opened("chapters/three_phases.html", "phone").page
    formula = "#equation-eq-two-level-rate mjx-container"
    fits = f"""() => {{
      const e = document.querySelector("{formula}");
      return e?.style.fontSize.endsWith("px") && e.scrollWidth <= e.clientWidth + 1;
    }}"""
    page.wait_for_function(fits)
    page.set_viewport_size({"width": 1000, "height": 740})
    page.wait_for_function(f"!document.querySelector('{formula}').style.fontSize.endsWith('px')")
