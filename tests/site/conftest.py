"""A browser, and books of one page with a live figure, for the tests of the built pages."""

import os
import re
import shutil
from pathlib import Path

import pytest
from helpers import FRAME, PAGE, ROOT, build
from live_pages import visitor
from playwright.sync_api import sync_playwright

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
IMPORTS = """import matplotlib.pyplot as plt
import numpy as np

from dlnlib.entropy import spectral_entropy
from dlnlib.modes import mode_strength
from dlnlib.plotting import COLOURS, plot_entropy, use_book_style

use_book_style()"""


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


def one_page_book(book: Path, imports: str, cell: str) -> Path:
    """The page with this cell, built in the frame of the real book."""
    for name in [*FRAME, "dlnlib"]:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, book / name)
    (book / "_toc.yml").write_text("format: jb-book\nroot: chapters/intro\n")
    (book / "references.bib").write_text("")
    (book / "chapters").mkdir()
    (book / "chapters" / "intro.md").write_text(PAGE % (imports, cell))
    result = build(book)
    assert result.returncode == 0, result.stdout + result.stderr
    return book / "_build" / "html" / "chapters" / "intro.html"


@pytest.fixture(scope="session")
def live_page(tmp_path_factory) -> Path:
    """The figure that CONTRIBUTING.md shows."""
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## Add a live figure")[1]
    cell = re.search(r"````md\n(.*?)````", section, re.DOTALL)[1]
    return one_page_book(tmp_path_factory.mktemp("book"), IMPORTS, cell)


def chapter_cells(name: str, *holds: str) -> list[str]:
    """The imports of a chapter's first cell, and its cells that hold one of these texts."""
    chapter = (ROOT / "chapters" / f"{name}.md").read_text()
    first, *cells = re.findall(
        r"^```\{code-cell\} ipython3\n.*?^```$", chapter, re.DOTALL | re.MULTILINE
    )
    imports = re.sub(r"\A:tags:.*\n+", "", "\n".join(first.splitlines()[1:-1]))
    return [imports, "\n\n".join(c for c in cells if any(text in c for text in holds))]


@pytest.fixture(scope="session")
def window_page(tmp_path_factory) -> Path:
    """The live figure of the chapter stopping_window, with the cell that computes it."""
    cells = chapter_cells("stopping_window", "r, K, a0, s0 = ", "classes: live-window")
    return one_page_book(tmp_path_factory.mktemp("window"), *cells)


@pytest.fixture(scope="session")
def sgd_page(tmp_path_factory) -> Path:
    """The live figure of the chapter sgd_sparse_features, with the cells that record its runs."""
    holds = ("streams = ", "def recorded(", "live-sgd-runs", "classes: live-sgd")
    return one_page_book(
        tmp_path_factory.mktemp("sgd"), *chapter_cells("sgd_sparse_features", *holds)
    )


@pytest.fixture(scope="module")
def figure_page(request) -> Path:
    """The page that a module of tests is about."""
    return request.getfixturevalue(request.module.FIGURE_PAGE)


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
