"""Check the built pages without a network: links, assets, requests to other hosts, accessibility.

Usage: ``python -m tools.check_site _build/html`` (``make check``).
Every problem is printed with its page; the exit status is 1 if there is one.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tools.outputs import BARE_FIGURE, TRACEBACK

# Attributes whose address the browser fetches while it loads the page.
ASSETS = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src", "srcset"),
    "input": ("src",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
PASSIVE_RELATIONS = {"alternate", "author", "canonical", "help", "license", "me"}
PAGE_RELATIONS = {"index", "next", "prev", "search", "up"}
CSS_ADDRESS = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s;]+)""", re.IGNORECASE)
# MathJax names this file for browsers without XPath (Internet Explorer); no other asks for it.
NEVER_REQUESTED = {
    "https://cdn.jsdelivr.net/npm/wicked-good-xpath@1.3.0/dist/wgxpath.install.js",
}
# Script text that fetches from another host: an import, a fetch, a src, or any script or style.
SCRIPT_REQUEST = re.compile(
    r"""(?:import\s*\(?|from|fetch\s*\(|importScripts\s*\(|\.(?:src|href)\s*=|\.open\s*\([^)]*,)
        \s*["'`](?P<call>(?:https?:)?//[^"'`\s]+)
      | ["'`](?P<file>(?:https?:)?//[^"'`\s]+\.(?:m?js|css|woff2?|json)(?:\?[^"'`]*)?)["'`]""",
    re.VERBOSE,
)


@dataclass
class Page(HTMLParser):
    """What one page holds: its anchors, its links, its assets, and its own problems."""

    text: str
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    assets: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.language = self.title = ""
        self.inside = ""
        self.cells = 0
        self.feed(self.text)
        self.close()
        if not self.language:
            self.problems.append("the page has no <html lang=...>")
        if not self.title.strip():
            self.problems.append("the page has no title")

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Collect the addresses and anchors of one element."""
        given = {name: value or "" for name, value in attributes}
        self.inside = tag
        self.anchors.update(given[name] for name in ("id", "name") if given.get(name))
        self.styles.append(given.get("style", ""))
        classes = set(given.get("class", "").split())
        self.cells += tag == "div" and "cell" in classes
        if "output" in classes and (wrong := classes & {"traceback", "stderr"}):
            self.problems.append(f"cell {self.cells} put out a {wrong.pop()}")
        for name in ASSETS.get(tag, ()):
            self.assets.extend(_addresses(name, given.get(name, "")))
        if tag == "html":
            self.language = given.get("lang", "")
        elif tag in {"a", "area"} and "href" in given:
            self.links.append(given["href"])
        elif tag == "link":
            self._take_link(given)
        elif tag == "meta" and given.get("http-equiv", "").lower() == "refresh":
            self.links.extend(re.findall(r"url=(.+)", given.get("content", ""), re.IGNORECASE))
        elif tag == "img" or (tag == "svg" and given.get("role") == "img"):
            self._check_alternative(tag, given)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Treat ``<tag/>`` as a start tag without content."""
        self.handle_starttag(tag, attributes)
        self.inside = ""

    def handle_endtag(self, tag: str) -> None:
        """Leave the element whose text was of interest."""
        self.inside = ""

    def handle_data(self, data: str) -> None:
        """Read the title, style sheets and scripts that stand in the page itself."""
        if self.inside == "title":
            self.title += data
        elif self.cells and (TRACEBACK in data or data.lstrip().startswith(BARE_FIGURE)):
            self.problems.append(f"cell {self.cells} put out: {data.strip().splitlines()[-1]}")
        elif self.inside == "style":
            self.styles.append(data)
        elif self.inside == "script":
            self.problems.extend(_script_problems(data))

    def _take_link(self, given: dict[str, str]) -> None:
        relations = set(given.get("rel", "").lower().split())
        if relations & PAGE_RELATIONS:
            self.links.append(given.get("href", ""))
        elif not relations <= PASSIVE_RELATIONS:
            self.assets.append(given.get("href", ""))

    def _check_alternative(self, tag: str, given: dict[str, str]) -> None:
        if given.get("aria-hidden") == "true" or given.get("role") in {"presentation", "none"}:
            return
        source = given.get("src", "")
        text = (given.get("alt" if tag == "img" else "aria-label") or "").strip()
        # Without a text of its own, the notebook renderer repeats the name of the file.
        if not text or Path(text).name == Path(source).name:
            self.problems.append(f"<{tag}> without alternative text: {source or '(inline)'}")


def _addresses(attribute: str, value: str) -> list[str]:
    if attribute == "srcset":
        return [part.split()[0] for part in value.split(",") if part.split()]
    return [value] if value else []


def _is_external(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in {"http", "https", "ws", "wss"}


def _script_problems(text: str) -> Iterator[str]:
    for match in SCRIPT_REQUEST.finditer(text):
        address = match["call"] or match["file"]
        if address not in NEVER_REQUESTED:
            yield f"a script requests another host: {address}"


@cache
def _page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def _asset_problems(path: Path, addresses: list[str], root: Path) -> Iterator[str]:
    for address in addresses:
        if _is_external(address):
            yield f"requests another host at load: {address}"
        elif address.startswith("/"):
            yield f"asset with an absolute path: {address}"
        elif not urlsplit(address).scheme and (name := unquote(urlsplit(address).path)):
            target = (path.parent / name).resolve()
            if not target.is_file() or not target.is_relative_to(root):
                yield f"missing asset: {address}"


def _link_problems(path: Path, addresses: list[str], root: Path) -> Iterator[str]:
    for address in addresses:
        parts = urlsplit(address)
        if parts.scheme or address.startswith("//"):
            continue  # a link that the reader may follow, not a request at load
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if target.is_dir():
            target = target / "index.html"
        if parts.path.startswith("/") or not target.is_file() or not target.is_relative_to(root):
            yield f"dead link: {address}"
        elif parts.fragment not in {"", "top"} and target.suffix == ".html":
            if unquote(parts.fragment) not in _page(target).anchors:
                yield f"dead anchor: {address}"


def check_site(root: Path) -> list[str]:
    """List the problems of a built site."""
    root = root.resolve()
    _page.cache_clear()
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.suffix == ".html":
            page = _page(path)
            styles = CSS_ADDRESS.findall("\n".join(page.styles))
            problems = [
                *page.problems,
                *_asset_problems(path, page.assets + styles, root),
                *_link_problems(path, page.links, root),
            ]
        elif path.suffix == ".css":
            addresses = CSS_ADDRESS.findall(path.read_text(encoding="utf-8"))
            problems = [*_asset_problems(path, addresses, root)]
        elif path.suffix in {".js", ".mjs"}:
            problems = [*_script_problems(path.read_text(encoding="utf-8"))]
        else:
            continue
        found.extend(f"{name}: {problem}" for problem in dict.fromkeys(problems))
    if not list(root.glob("*.html")):
        found.append(f"{root.name}: no pages; run `make book` first")
    return found


def main(arguments: list[str]) -> int:
    """Print the problems of the site in the folder given."""
    root = Path(arguments[0] if arguments else "_build/html")
    problems = check_site(root)
    print("\n".join(problems) or f"{len(list(root.rglob('*.html')))} pages checked, no problem")
    return min(len(problems), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
