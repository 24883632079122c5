"""Visits to the pages of the built book: where they are, and what a browser notices there."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from live_pages import DESKTOP, PHONE
from playwright.sync_api import Page

HTML = Path(__file__).resolve().parents[2] / "_build" / "html"
STILL = "* { animation: none !important; transition: none !important; }"
# Where a page comes from, and the window and colours in which it is read.
SETTINGS = {
    "light": ("file", DESKTOP | {"color_scheme": "light"}),
    "dark": ("served", DESKTOP | {"color_scheme": "dark"}),
    "phone": ("file", PHONE | {"color_scheme": "light"}),
}
# All rules once; then those whose answer changes with the colours or the width.
AXE_RULES = {
    "light": {},
    "dark": {"runOnly": ["color-contrast", "link-in-text-block"]},
    "phone": {"runOnly": ["scrollable-region-focusable", "target-size"]},
}
# axe looks at every element by itself.  A glyph of a formula has the colour of the formula, and the
# second token of a kind in the code of a page that of the first: one of each is enough.  What
# scrolls goes on doing so.
ONE_OF_EACH = """() => {
  for (const formula of document.querySelectorAll("mjx-container")) {
    const { scrollWidth, clientWidth } = formula;
    const scrolls = /auto|scroll/.test(getComputedStyle(formula).overflowX)
      && scrollWidth > clientWidth + 1;
    formula.innerHTML = scrolls
      ? `<span style="display: inline-block; width: ${scrollWidth}px">x</span>` : "x";
    if (!scrolls) formula.style.overflow = "visible";
  }
  const seen = new Set();
  for (const cell of document.querySelectorAll(".highlight pre")) {
    for (const token of cell.querySelectorAll("span[class]:not(:has(*))")) {
      const look = `${cell.closest("div[class*=highlight-]")?.className} ${token.className}`;
      if (seen.has(look)) token.replaceWith(token.textContent);
      seen.add(look);
    }
    cell.normalize();
  }
}"""


def pages() -> list[str]:
    """The pages of the book by their addresses below its root, without the front page."""
    names = (path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html"))
    return sorted(name for name in names if name != "index.html")


@dataclass
class Visit:
    """An open page and the complaints it has caused so far."""

    name: str
    setting: str
    page: Page
    complaints: list[str] = field(default_factory=list)

    def listen(self, home: str) -> None:
        """Collect errors, warnings, failed requests, and requests that leave the book."""
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("request", lambda request: self._see(request.url, home))
        self.page.on("requestfailed", lambda r: self.complaints.append(f"not loaded: {r.url}"))

    def _hear(self, message) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _see(self, address: str, home: str) -> None:
        if not address.startswith((home, "data:")):
            self.complaints.append(f"request to another place: {address}")

    def settle(self) -> None:
        """Wait until the mathematics is typeset, and open what is folded, without fading it in."""
        self.page.add_style_tag(content=STILL)
        self.page.evaluate("window.MathJax ? MathJax.startup.promise.then(() => null) : null")
        self.page.evaluate(
            "document.querySelectorAll('article details').forEach((part) => (part.open = true))"
        )


def violations(visit: Visit) -> list[str]:
    """What axe-core calls serious or critical, one line for each element."""
    visit.page.evaluate(ONE_OF_EACH)
    options = {"resultTypes": ["violations"], "preload": False} | AXE_RULES[visit.setting]
    found = Axe().run(visit.page, options=options)
    return [
        f"{violation['id']}: {node['target']} {' '.join(node['html'].split())[:200]}"
        for violation in found.response["violations"]
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"]
    ]


def channels(colour: str) -> list[float]:
    """Red, green and blue of a computed colour."""
    return [float(number) for number in re.findall(r"[\d.]+", colour)[:3]]
