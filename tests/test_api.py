"""Every public name of the package is in the reference, described in full, and linked both ways."""

import dataclasses
import importlib
import inspect
import re

import pytest
import yaml
from api_reference import as_rest, constant_comment, exported, public_modules
from code_links import linked_block, uses
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate
from references import CHAPTERS, chapter_cells
from test_build import book, build, write  # noqa: F401 (book is a fixture)
from test_chapters import toc_files

ROOT = CHAPTERS.parent
MODULES = public_modules(ROOT)
NAMES = [(module, name) for module, tree in MODULES.items() for name in exported(tree)]
CALLABLE = [(module, name) for module, name in NAMES if not name.isupper()]
# A summary on one line; each parameter under its name; known sections, in their order.
RULES = {"GL06", "GL07", "GL08", "SS01", "SS06", "PR01", "PR02", "PR10"}

for_each_module = pytest.mark.parametrize("module", MODULES)
for_each_name = pytest.mark.parametrize(("module", "name"), CALLABLE)


def fetch(module: str, name: str) -> object:
    return getattr(importlib.import_module(module), name)


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
    tables = re.findall(r"^\.\. module-table:: (.+)$", text, re.MULTILINE)
    listed = [f"dlnlib.{name}" for names in tables for name in names.split()]
    assert sorted(listed) == sorted(MODULES)
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    (entry,) = [part for part in contents["chapters"] if part["file"] == "chapters/api"]
    pages = [name.rpartition("/")[2] for name in toc_files(entry)[1:]]
    assert [f"dlnlib.{name}" for name in pages] == listed, "one order in the table and the contents"


@for_each_module
def test_no_private_name_is_public(module):
    assert [name for name in exported(MODULES[module]) if name.startswith("_")] == []


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
    assert constant_comment(module, name), f"put a comment with #: above {name}"


def public_text() -> list[tuple[str, str]]:
    found = [(module, importlib.import_module(module).__doc__) for module in MODULES]
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
    used = {}
    for chapter in CHAPTERS.glob("*.md"):
        known = {}
        found = {use.target for cell in chapter_cells(chapter) for use in uses(cell.source, known)}
        for target in found:
            used.setdefault(target, set()).add(chapter.stem)
    often = [target for target, chapters in used.items() if len(chapters) >= 6]
    assert len(often) >= 5
    for target in often:
        module, _, name = target.rpartition(".")
        if module not in {"dlnlib.plotting", "dlnlib"}:
            assert ">>>" in fetch(module, name).__doc__, f"{target} needs an example"


def test_example_of_the_page_runs():
    text = (CHAPTERS / "api.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    known = {}
    exec(code, known)
    assert known["a"].shape == (101, 5)
    assert known["h"].shape == (101,)


CELL = """from dlnlib import symbolic
from dlnlib.entropy import spectral_entropy as entropy
from dlnlib.modes import mode_strength

a = mode_strength(t, s, a0=entropy)  # π mode_strength
plot(a, entropy=a.entropy, text="mode_strength")
symbolic.mode_equation()"""


def test_uses_are_read_from_the_syntax():
    found = [(use.target, use.line, use.imported) for use in uses(CELL, {})]
    assert found == [
        ("dlnlib.symbolic", 1, True),
        ("dlnlib.entropy.spectral_entropy", 2, True),
        ("dlnlib.modes.mode_strength", 3, True),
        ("dlnlib.modes.mode_strength", 5, False),
        ("dlnlib.entropy.spectral_entropy", 5, False),
        ("dlnlib.symbolic", 7, False),
        ("dlnlib.symbolic.mode_equation", 7, False),
    ]


def test_uses_know_the_imports_of_earlier_cells():
    known = {}
    uses("from dlnlib.modes import mode_strength", known)
    assert [use.target for use in uses("mode_strength(t)", known)] == ["dlnlib.modes.mode_strength"]
    assert uses("mode_strength(t)", {}) == []
    assert uses("%timeit mode_strength(t)", known) == []


def test_links_leave_the_text_of_a_cell_as_it_is():
    marked = re.sub(r"\b([a-z_]\w*)\b", r'<span class="n">\1</span>', CELL)
    addresses = {
        "dlnlib.modes.mode_strength": "m.html#a",
        "dlnlib.symbolic.mode_equation": "s.html#b",
    }
    linked = linked_block(marked, {}, addresses)
    assert re.sub("<[^>]*>", "", linked) == CELL
    links = re.findall(r'href="([^"]*)" title="([^"]*)">(\w+)</a>', linked)
    strength = ("m.html#a", "dlnlib.modes.mode_strength", "mode_strength")
    equation = ("s.html#b", "dlnlib.symbolic.mode_equation", "mode_equation")
    assert links == [strength, strength, equation]


@pytest.mark.parametrize(
    ("lines", "rest"),
    [
        (["The norm |W|_F."], [r"The norm \|W\|_F."]),
        (["Code ``a | b`` and `|x|`."], ["Code ``a | b`` and `|x|`."]),
        (
            ["It is", "", "    a = |b|,", "", "with |b|."],
            ["It is", "", "::", "", "    a = |b|,", "", r"with \|b\|."],
        ),
        (["So::", "", "    |a|", "", "|b|"], ["So::", "", "    |a|", "", r"\|b\|"]),
        (["x : int", "    Size |x|."], ["x : int", r"    Size \|x\|."]),
        ([">>> abs(-1) | 2", "3"], [">>> abs(-1) | 2", "3"]),
        (["- a", "", "  b"], ["- a", "", "  b"]),
    ],
)
def test_docstrings_become_rest(lines, rest):
    assert as_rest(lines) == rest


SMALL = '''"""Numbers."""

__all__ = ["VALUE", "half"]

#: A number.
VALUE = 11


def half(x):
    """Half of x, as |x| / 2.

    Parameters
    ----------
    x : float
        Not `VALUE`.
    """
    return x / 2
'''
SMALL_PAGE = """# dlnlib.constant

```{eval-rst}
.. automodule:: dlnlib.constant
   :members:
```
"""


def test_links_in_both_directions_follow_a_change_of_the_chapter(book):  # noqa: F811
    (book / "dlnlib" / "constant.py").write_text(SMALL)
    (book / "_toc.yml").write_text(
        "format: jb-book\nroot: chapters/intro\nchapters:\n- file: chapters/api/constant\n"
    )
    (book / "chapters" / "api").mkdir()
    (book / "chapters" / "api" / "constant.md").write_text(SMALL_PAGE)
    html = book / "_build" / "html" / "chapters"
    code = "from dlnlib.constant import half\n\nhalf(x=4)"
    for cell, used in [(code.replace("half(x=4)", "x = 2"), False), (code, True)]:
        write(book, cell, "The function `half`.")
        result = build(book)
        assert result.returncode == 0, result.stdout + result.stderr
        links = (
            html.joinpath("intro.html").read_text().count("api/constant.html#dlnlib.constant.half")
        )
        assert links == 2 + 2 * used  # import and prose; then the call and the list at the end
        entry = html.joinpath("api", "constant.html").read_text()
        assert ("Used in" in entry) == used
        assert ("../intro.html#a-page" in entry) == used
        assert "|x| / 2" in entry
        assert "A number." in entry
