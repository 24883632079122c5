"""Every public name of the package is in the reference, described in full, and linked both ways."""

import ast
import dataclasses
import inspect
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup
from helpers import ROOT, built, toc_files, write
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate

from tools.bless import CHAPTERS, chapter_cells
from tools.sphinx.reference import constant_comment, doors

MODULES = doors()
NAMES = [(module, name) for module, door in MODULES.items() for name in door.__all__]
CALLABLE = [(module, name) for module, name in NAMES if not name.isupper()]
# A summary on one line; each parameter under its name; known sections, in their order.
RULES = {"GL06", "GL07", "GL08", "SS01", "SS06", "PR01", "PR02", "PR10"}

for_each_module = pytest.mark.parametrize("module", MODULES)
for_each_name = pytest.mark.parametrize(("module", "name"), CALLABLE)


def fetch(module: str, name: str) -> object:
    return getattr(MODULES[module], name)


def described(docstring: str) -> list[str]:
    """The names in the sections of parameters and attributes, one by one."""
    found = NumpyDocString(inspect.cleandoc(docstring))
    fields = [*found["Parameters"], *found["Attributes"]]
    return [name.strip("*") for field in fields for name in field.name.split(", ")]


def fields(record: type) -> list[str]:
    """The public fields of a record."""
    named = getattr(record, "_fields", ())
    if dataclasses.is_dataclass(record):
        named = [field.name for field in dataclasses.fields(record)]
    return [name for name in named if not name.startswith("_")]


def members(record: type) -> dict[str, object]:
    """Its public methods and properties."""
    kept = {}
    for name, value in vars(record).items():
        value = getattr(value, "fget", None) or getattr(value, "func", None) or value
        if not name.startswith("_") and inspect.isfunction(value):
            kept[name] = value
    return kept


@for_each_module
def test_every_module_has_its_page_and_shows_all_its_names(module):
    page = CHAPTERS / "api" / f"{module.removeprefix('dlnlib.')}.md"
    text = page.read_text(encoding="utf-8")
    assert re.search(rf"^\.\. automodule:: {module}\n   :members:$", text, re.MULTILINE)
    assert not re.search("exclude-members|no-index", text)


def test_the_reference_lists_every_module_once():
    text = (CHAPTERS / "api.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\.\. autosummary::\n   :nosignatures:\n\n((?:   .+\n)+)", text, re.M)
    listed = [name for names in tables for name in names.split()]
    assert sorted(listed) == sorted(MODULES)
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    (entry,) = [
        page for page in contents["parts"][-1]["chapters"] if page["file"] == "chapters/api"
    ]
    pages = [name.rpartition("/")[2] for name in toc_files(entry)[1:]]
    assert [f"dlnlib.{name}" for name in pages] == listed, "one order in the table and the contents"


@for_each_module
def test_no_private_name_is_public(module):
    assert [name for name in MODULES[module].__all__ if name.startswith("_")] == []


@for_each_name
def test_docstring_is_complete(module, name):
    found = fetch(module, name)
    if isinstance(found, type):
        assert found.__doc__
        assert set(fields(found)) <= set(described(found.__doc__)), "describe each field"
        for member in members(found).values():
            assert member.__doc__, f"{name}.{member.__name__} has no docstring"
        return
    result = validate(f"{module}.{name}")
    broken = [text for rule, text in result["errors"] if rule in RULES]
    assert not broken, broken


@for_each_name
def test_types_and_shapes_are_given(module, name):
    doc = NumpyDocString(inspect.cleandoc(fetch(module, name).__doc__))
    for field in doc["Parameters"]:
        described_elsewhere = (
            any(re.search("(in|see) `", line) for line in field.desc) or "*" in field.name
        )
        assert field.type or described_elsewhere, f"{name}: what type is {field.name}?"


@pytest.mark.parametrize(("module", "name"), [pair for pair in NAMES if pair[1].isupper()])
def test_constants_are_described(module, name):
    assert constant_comment(f"{module}.{name}"), f"put a comment with #: above {name}"


def public_text() -> list[tuple[str, str]]:
    found = [(module, door.__doc__) for module, door in MODULES.items()]
    for module, name in CALLABLE:
        entry = fetch(module, name)
        found.append((name, entry.__doc__))
        parts = members(entry) if isinstance(entry, type) else {}
        found += [(f"{name}.{member}", part.__doc__) for member, part in parts.items()]
    return found


@pytest.mark.parametrize(("name", "text"), public_text(), ids=lambda value: value[:30])
def test_no_private_module_leaks(name, text):
    assert not re.search(r"`~?(dlnlib\.)?_\w+", text)


def test_functions_most_used_have_an_example():
    used = Counter()
    for chapter in CHAPTERS.glob("*.md"):
        code = "\n".join(cell.source for cell in chapter_cells(chapter))
        imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
        used.update({(node.module, alias.name) for node in imports for alias in node.names})
    often = [name for name in CALLABLE if used[name] >= 6 and name[0] != "dlnlib.plotting"]
    assert len(often) >= 3
    for module, name in often:
        assert ">>>" in fetch(module, name).__doc__, f"{module}.{name} needs an example"


def test_example_of_the_page_runs():
    text = (CHAPTERS / "api.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    known = {}
    exec(code, known)
    assert known["a"].shape == (101, 5)
    assert known["h"].shape == (101,)


ROOM = '''"""Numbers, as `Number` holds them."""

from dlnlib.room.inner import SMALLEST, Number, half

__all__ = ["SMALLEST", "Number", "half"]
'''
INNER = '''"""What stands behind the door; see `half`."""

#: The smallest of them.
SMALLEST = 1


class Number:
    """A number, made by `half`."""

    def doubled(self):
        """The next number."""
        return self


def half(x: float) -> Number:
    """Half of x.

    It is::

        x = |a|

    Parameters
    ----------
    x : float
        At least `SMALLEST`.

    Returns
    -------
    Number
    """
    return Number()
'''
OTHER = '''"""Calls of `half`, `dlnlib.room.half` and `dlnlib.room.inner.half`; not of `none`."""

__all__ = ["twice"]


def twice():
    """Two times `half`."""
'''
DOOR_PAGE = "# %s\n\n```{eval-rst}\n.. automodule:: %s\n   :members:\n```\n"
CODE = """from dlnlib.room import half

number = half(x=4)
later = number.doubled()
print(later is number)"""


@pytest.fixture
def referred(book):
    """A book whose package has a folder with a door, and a page for each of the two doors."""
    (book / "dlnlib" / "room").mkdir()
    (book / "dlnlib" / "room" / "__init__.py").write_text(ROOM)
    (book / "dlnlib" / "room" / "inner.py").write_text(INNER)
    (book / "dlnlib" / "other.py").write_text(OTHER)
    (book / "chapters" / "api").mkdir()
    contents = "format: jb-book\nroot: chapters/intro\nchapters:\n"
    for name in ("room", "other"):
        page = DOOR_PAGE % (name, f"dlnlib.{name}")
        (book / "chapters" / "api" / f"{name}.md").write_text(page)
        contents += f"- file: chapters/api/{name}\n"
    (book / "_toc.yml").write_text(contents)
    return book


def text(page: Path) -> str:
    """What stands on a page, without what is around it."""
    return str(BeautifulSoup(page.read_text(), "html.parser").article)


def links(page: Path, selector: str) -> list[tuple[str, str]]:
    """Text and fragment of the links there."""
    found = BeautifulSoup(page.read_text(), "html.parser").select(selector)
    return [(link.get_text(), link["href"].partition("#")[2]) for link in found]


def test_names_are_described_at_their_door_and_links_lead_there(referred):
    write(referred, CODE, "The function `half`, and `half(2)`.")
    pages = built(referred)
    room, other = pages / "api" / "room.html", pages / "api" / "other.html"
    door, half = "dlnlib.room", ("half", "dlnlib.room.half")
    signatures = BeautifulSoup(room.read_text(), "html.parser").select("dt.sig")
    assert [entry["id"] for entry in signatures] == [
        f"{door}.SMALLEST", f"{door}.Number", f"{door}.Number.doubled", f"{door}.half"
    ]  # fmt: skip
    assert links(room, "table.autosummary td:first-child a") == [
        ("SMALLEST", f"{door}.SMALLEST"), ("Number", f"{door}.Number"), half
    ]  # fmt: skip
    shown = BeautifulSoup(text(room), "html.parser").get_text()
    assert "The smallest of them." in shown
    assert "x = |a|" in shown
    assert "_modules/dlnlib/room/inner.html#half" in text(room)
    long = [(name, f"{door}.half") for name in (f"{door}.half", f"{door}.inner.half")]
    assert links(other, "section > p a") == [half, *long]

    intro = pages / "intro.html"
    assert links(intro, "a.sphinx-codeautolink-a") == [
        ("dlnlib.room", "module-dlnlib.room"), half, half,
        ("number.doubled", f"{door}.Number.doubled"),
    ]  # fmt: skip
    assert links(intro, "section > p > a") == [half, ("half(2)", "dlnlib.room.half")]
    assert links(intro, "div.functions-used a") == [("dlnlib.room", "module-dlnlib.room"), half]
    assert links(room, "p.used-in a") == [("A page", "a-page")]


def test_links_in_both_directions_follow_every_build(referred):
    write(referred, CODE)
    pages = built(referred)
    intro, room = pages / "intro.html", pages / "api" / "room.html"
    before = [text(page) for page in (intro, room)]
    (referred / "dlnlib" / "other.py").write_text(OTHER.replace("Two times", "Twice"))
    built(referred)  # the package has changed, all pages are read again
    assert [text(page) for page in (intro, room)] == before
    (referred / "chapters" / "api" / "room.md").touch()
    built(referred)  # the chapter is not read again
    assert [text(page) for page in (intro, room)] == before
    write(referred, CODE.split("\n\n")[0])
    built(referred)
    assert links(intro, "a.sphinx-codeautolink-a")[1:] == [("half", "dlnlib.room.half")]
    assert "Functions used here" not in intro.read_text()
    assert "Used in" not in room.read_text()
