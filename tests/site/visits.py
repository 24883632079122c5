"""Windows in which the pages of the built book are read, and what a browser notices there."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from axe_playwright_python.base import AXE_SCRIPT
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

HTML = Path(__file__).resolve().parents[2] / "_build" / "html"
DESKTOP = {"viewport": {"width": 1280, "height": 1000}}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
# Where a page comes from, and the window and colours in which it is read.
SETTINGS = {
    "light": ("file", DESKTOP | {"color_scheme": "light"}),
    "dark": ("served", DESKTOP | {"color_scheme": "dark"}),
    "phone": ("file", PHONE | {"color_scheme": "light"}),
}
# The mathematics is typeset, what is folded is open, and nothing fades in.
SETTLE = """async () => {
  const still = document.createElement("style");
  still.textContent = "* { animation: none !important; transition: none !important; }";
  document.head.append(still);
  await window.MathJax?.startup?.promise;
  for (const part of document.querySelectorAll("article details")) part.open = true;
}"""
# All rules once; then those whose answer changes with the colours or the width.
AXE_RULES = {
    "light": {},
    "dark": {"runOnly": ["color-contrast", "link-in-text-block"]},
    "phone": {"runOnly": ["scrollable-region-focusable", "target-size"]},
}
# axe looks at every element by itself.  One of each kind is enough: a glyph of a formula has the
# colour of the formula, the second token of a kind in the code of a page that of the first, and the
# contrast of any text follows from its colour and size and from what is painted behind it.  What
# scrolls goes on doing so.
ONE_OF_EACH = """() => {
  const formulas = [...document.querySelectorAll("mjx-container")];
  const widths = formulas.map((e) => {
    const scrolls = /auto|scroll/.test(getComputedStyle(e).overflowX);
    return scrolls && e.scrollWidth > e.clientWidth + 1 ? e.scrollWidth : 0;
  });
  formulas.forEach((e, i) => {
    e.textContent = "x";
    if (!widths[i]) e.style.overflow = "visible";
    else e.innerHTML = `<span style="display: inline-block; width: ${widths[i]}px">x</span>`;
  });
  const tokens = new Set();
  for (const cell of document.querySelectorAll(".highlight pre")) {
    const language = cell.closest("div[class*=highlight-]")?.className;
    for (const token of cell.querySelectorAll("span[class]:not(:has(*))")) {
      const kind = `${language} ${token.className}`;
      if (tokens.has(kind)) token.replaceWith(token.textContent);
      tokens.add(kind);
    }
    cell.normalize();
  }
  const behind = new Map([[null, ""]]);
  const ground = (e) => {
    if (!behind.has(e)) {
      const { backgroundColor, backgroundImage, opacity, position } = getComputedStyle(e);
      const isPlain = /, 0\\)$/.test(backgroundColor) && backgroundImage === "none"
        && opacity === "1" && position === "static";
      const own = isPlain ? "" : [backgroundColor, backgroundImage, opacity, position].join();
      behind.set(e, `${ground(e.parentElement)}>${own}`.replace(/>$/, ""));
    }
    return behind.get(e);
  };
  const kinds = new Set();
  const hasText = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  for (const e of document.body.querySelectorAll("*")) {
    if (!hasText(e) && !e.matches("input, select, textarea") || !e.checkVisibility()) continue;
    const { color, fontSize, fontWeight, textShadow } = getComputedStyle(e);
    const kind = [color, fontSize, fontWeight, textShadow, ground(e)].join("|");
    e.toggleAttribute("data-one-of-its-kind", !kinds.has(kind));
    kinds.add(kind);
  }
}"""
AXE = Axe(
    AXE_SCRIPT
    + """;axe.configure({
      rules: [{ id: "color-contrast", selector: "[data-one-of-its-kind]" }],
    });"""
)


def pages() -> list[str]:
    """The pages of the book by their addresses below its root, without the front page."""
    names = (path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html"))
    return sorted(name for name in names if name != "index.html")


@dataclass
class Window:
    """A window, and what went wrong in it since its page was opened.

    It opens one page after another: a new window for each would cost as much as the page.
    """

    page: Page
    home: str
    complaints: list[str] = field(default_factory=list)
    requests: set[str] = field(default_factory=set)

    @classmethod
    def new(cls, browser: Browser, home: str, **settings) -> "Window":
        """A window that knows nothing of others: it has a memory of its own."""
        return cls(browser.new_context(**settings).new_page(), home)

    def __post_init__(self) -> None:
        """Collect errors, warnings, failed requests, and requests that leave the book."""
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("request", lambda request: self._see(request.url))
        self.page.on("requestfailed", self._miss)

    def _hear(self, message) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _see(self, address: str) -> None:
        self.requests.add(address)
        if not address.startswith((self.home, "data:", "about:")):
            self.complaints.append(f"request to another place: {address}")

    def _miss(self, request) -> None:
        if request.failure != "net::ERR_ABORTED":  # so end the requests of a page that is left
            self.complaints.append(f"not loaded: {request.url}")

    def open(self, name: str) -> None:
        """Open a page of the book."""
        self.page.goto("about:blank")  # what the page before has still to say is not of this one
        self.complaints.clear()
        self.requests.clear()
        self.page.goto(self.home + name)

    def settle(self) -> None:
        """Wait until the mathematics is typeset, and open what is folded, without fading it in."""
        self.page.evaluate(SETTLE)

    def close(self) -> None:
        """Close the window and forget what the book has stored there."""
        self.page.context.close()


@dataclass
class Visit:
    """A page that is open in a setting."""

    name: str
    setting: str
    window: Window

    @property
    def page(self) -> Page:
        """The page in the browser."""
        return self.window.page

    @property
    def complaints(self) -> list[str]:
        """What went wrong so far."""
        return self.window.complaints


def violations(visit: Visit) -> list[str]:
    """What axe-core calls serious or critical, one line for each element."""
    visit.page.evaluate(ONE_OF_EACH)
    options = {"resultTypes": ["violations"], "preload": False} | AXE_RULES[visit.setting]
    found = AXE.run(visit.page, options=options)
    return [
        f"{violation['id']}: {node['target']} {' '.join(node['html'].split())[:200]}"
        for violation in found.response["violations"]
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"]
    ]


def channels(colour: str) -> list[float]:
    """Red, green and blue of a computed colour."""
    return [float(number) for number in re.findall(r"[\d.]+", colour)[:3]]


@contextmanager
def closed_at_the_end() -> Iterator[list[Window]]:
    """A list for the windows of a test: they are closed, and none may have complained."""
    opened: list[Window] = []
    yield opened
    complaints = [complaint for window in opened for complaint in window.complaints]
    for window in opened:
        window.close()
    assert complaints == []
