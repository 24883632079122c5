"""Links to the repository: all of them follow from one address, and none is there without it."""

import re

import nbformat
from helpers import built, write

ADDRESS = "https://github.com/someone/some-book"
SETTING = 'repository_url: ""\n'
BINDER = "https://mybinder.org/v2/gh/someone/some-book/main?urlpath=lab/tree/chapters/intro.md"


def outside_links(page: str) -> set[str]:
    """Links of a page to other hosts, without that to the licence of its icons and the like."""
    return {x.replace("&amp;", "&") for x in re.findall(r'href="(https?://[^"]+)"', page)}


def test_one_address_gives_links_and_a_button_for_binder(book):
    write(book, "print(6 * 7)")
    before = (built(book) / "intro.html").read_text(encoding="utf-8")
    assert "mybinder" not in before
    assert "repository-button" not in before
    settings = (book / "_config.yml").read_text(encoding="utf-8")
    assert settings.count(SETTING) == 1
    named = settings.replace(SETTING, f"repository_url: {ADDRESS}\n")
    (book / "_config.yml").write_text(named, encoding="utf-8")
    pages = built(book)
    after = (pages / "intro.html").read_text(encoding="utf-8")
    new = outside_links(after) - outside_links(before)
    assert {ADDRESS, BINDER, f"{ADDRESS}/edit/main/chapters/intro.md"} <= new
    assert all(link == BINDER or link.startswith(ADDRESS) for link in new)
    assert any("/issues/new" in link for link in new)
    # what Binder adds does not take the outputs from the notebook that is offered
    notebook = nbformat.read(pages.parent / "_sources/chapters/intro.ipynb", as_version=4)
    assert any("42" in str(cell.get("outputs")) for cell in notebook.cells)


def test_the_book_has_no_address_that_is_made_up(book):
    settings = (book / "_config.yml").read_text(encoding="utf-8")
    (address,) = re.findall(r"repository_url: (\S+)", settings)
    assert address == '""' or re.fullmatch(r"https://\S+/\S+/\S+", address)
