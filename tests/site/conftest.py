"""A browser, and windows on the pages of the built book."""

import functools
import http.server
import os
import shutil
import threading

import pytest
from playwright.sync_api import sync_playwright
from visits import HTML, SETTINGS, Window, closed_at_the_end, pages

NO_BOOK = "no page in _build/html: run `make book` first"
# Debian's name first; CHROMIUM names any other.
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--renderer-process-limit=1",  # else each page starts a process
]
# A figure as on the page when it has been opened.
RESET = """() => {
  document.querySelector(".live-reset").click();
  document.activeElement.blur();
  scrollTo(0, 0);
}"""


def browser_path() -> str:
    """The browser to test with, or a failure that says how to get one."""
    names = [os.environ["CHROMIUM"]] if os.environ.get("CHROMIUM") else BROWSERS
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.fail(
            "no Chromium found: `apt-get install chromium` on Debian, or name one: "
            "CHROMIUM=/path/to/it make browser",
            pytrace=False,
        )
    return found


def pytest_terminal_summary(terminalreporter) -> None:
    """What the heaviest pages make a browser load, without their pictures, and slowest moves."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])]
    noted = [dict(getattr(report, "user_properties", ())) for report in reports]
    for time, name in (found["move"] for found in noted if "move" in found):
        terminalreporter.write_line(f"slowest move of a live figure: {time:.1f} ms  {name}")
    found = [each.get("weight") for each in noted]
    weights = sorted((tuple(weight) for weight in found if weight), reverse=True)
    if weights:
        middle = weights[len(weights) // 2][0]
        terminalreporter.write_line(f"a page loads {middle / 1e6:.2f} MB (median); the heaviest:")
        for weight, name in weights[:3]:
            terminalreporter.write_line(f"  {weight / 1e6:.2f} MB  {name}")


@pytest.fixture(scope="session")
def browser():
    if not pages():
        pytest.fail(NO_BOOK, pytrace=False)
    path = browser_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server that does not write each request to the terminal."""

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def homes():
    """The addresses of the book, in a folder and on a server."""
    handler = functools.partial(Quiet, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            "file": f"{HTML.as_uri()}/",
            "served": f"http://127.0.0.1:{server.server_port}/",
        }
        server.shutdown()


@pytest.fixture(scope="module")
def windows(browser, homes):
    """A function that gives the window of a setting, the same each time."""
    found = {}

    def window(setting: str) -> Window:
        if setting not in found:
            source, settings = SETTINGS[setting]
            found[setting] = Window.new(browser, homes[source], **settings)
        return found[setting]

    yield window
    for each in found.values():
        each.close()


# ---- a module about a live figure names its page, PAGE ----


def typeset(page) -> None:
    """Wait for the mathematics, which moves what is below it."""
    page.evaluate("window.MathJax?.startup?.promise.then(() => null)")


@pytest.fixture
def shared(windows, request):
    """A function that gives the page in a setting, for tests that move no more than its figure.

    All of them share one window, in which the figure is reset; every complaint is an error.
    """
    used = []

    def page(setting: str = "light"):
        window = windows(setting)
        if not window.page.url.endswith(request.module.PAGE):
            window.open(request.module.PAGE)
            typeset(window.page)
        window.page.evaluate(RESET)
        used.append(window)
        return window.page

    yield page
    complaints = [complaint for window in used for complaint in window.complaints]
    for window in used:
        window.complaints.clear()
    assert complaints == []


@pytest.fixture
def page(shared):
    return shared()


@pytest.fixture
def visit(browser, homes, request):
    """A function that opens the page in a window of its own."""
    with closed_at_the_end() as opened:

        def open_page(setting: str = "light", scripts: bool = True):
            known = SETTINGS[setting][1] | {"java_script_enabled": scripts}
            window = Window.new(browser, homes["file"], **known)
            opened.append(window)
            window.open(request.module.PAGE)
            if scripts:
                typeset(window.page)
            else:
                window.complaints.clear()  # of scripts that are not loaded
            return window.page

        yield open_page
