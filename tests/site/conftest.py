"""A browser, and visits to the live figures, for the tests of the built pages."""

import os
import shutil
from pathlib import Path

import pytest
from live_pages import visitor
from playwright.sync_api import sync_playwright
from visits import HTML

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
]


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


@pytest.fixture(scope="session")
def browser():
    path = browser_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def figure_page(request) -> Path:
    """The chapter whose live figure a module of tests is about."""
    page = HTML / "chapters" / f"{request.module.CHAPTER}.html"
    assert page.exists(), "no page in _build/html: run `make book` first"
    return page


@pytest.fixture
def visit(browser, figure_page):
    with visitor(browser, figure_page) as open_page:
        yield open_page


@pytest.fixture
def page(visit):
    return visit()


@pytest.fixture(scope="module")
def model(browser, figure_page):
    """One page for all the tests that only ask for numbers."""
    with visitor(browser, figure_page) as open_page:
        yield open_page()
