"""Sphinx extension: the directive ``{book-status}``, facts about this build as tables.

The facts are gathered when a page is written, after all chapters have run, and pages that show
them are written at every build.  Nothing of them is read or compared by the tests of the chapters.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from build_facts import (
    as_utc,
    build_time,
    commit,
    lock_hash,
    machine,
    packages,
    result_tables,
    settings,
)
from chapter_seeds import chapter_seeds
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors import EnvironmentCollector
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

__all__ = ["KINDS", "code_cells", "setup"]

CELL = re.compile(r"^(`{3,}|:{3,})\{code-cell\}[^\n]*\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)
CELL_HEAD = re.compile(r"\A(---\n.*?^---\n|(:[\w-]+:[^\n]*\n)+)", re.MULTILINE | re.DOTALL)

Entry = str | nodes.Node | list[nodes.Node]
Row = tuple[Entry, ...]


class StatusNode(nodes.General, nodes.Element):
    """The place of a table until all chapters have run."""


class StatusDirective(SphinxDirective):
    """Leave a place for a table."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Check the kind of facts."""
        return [StatusNode(kind=directives.choice(self.arguments[0], tuple(KINDS)))]


class StatusTransform(SphinxPostTransform):
    """Put the tables in their places, before references are resolved."""

    default_priority = 8

    def run(self, **_: object) -> None:
        """Gather the facts that this page shows."""
        for place in list(self.document.findall(StatusNode)):
            head, rows = KINDS[place["kind"]](self.env)
            place.replace_self(as_table(head, rows))


class Collector(EnvironmentCollector):
    """Remember the seeds of each chapter, and the pages to write again at every build."""

    def clear_doc(self, app: Sphinx, env: BuildEnvironment, docname: str) -> None:
        """Forget a page that is about to be read again."""
        _known(env, "seeds").pop(docname, None)
        _known(env, "pages").pop(docname, None)

    def merge_other(
        self, app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment
    ) -> None:
        """Take over what a parallel reader found."""
        for kind in ("seeds", "pages"):
            found = _known(other, kind)
            _known(env, kind).update((name, found[name]) for name in docnames if name in found)

    def process_doc(self, app: Sphinx, doctree: nodes.document) -> None:
        """Look at a page that has been read."""
        env = app.env
        if cells := code_cells(Path(env.doc2path(env.docname)).read_text(encoding="utf-8")):
            _known(env, "seeds")[env.docname] = chapter_seeds(cells)
        if any(doctree.findall(StatusNode)):
            _known(env, "pages")[env.docname] = True

    def get_updated_docs(self, app: Sphinx, env: BuildEnvironment) -> list[str]:
        """Pages to write although their sources may not have changed."""
        return list(_known(env, "pages"))


def _known(env: BuildEnvironment, kind: str) -> dict:
    """What is kept with the environment of Sphinx from build to build."""
    if not hasattr(env, "book_status"):
        env.book_status = {"seeds": {}, "pages": {}}
    return env.book_status[kind]


def code_cells(text: str) -> list[str]:
    """Code of the cells of a chapter in MyST, without their heads."""
    return [CELL_HEAD.sub("", match[2], count=1) for match in CELL.finditer(text)]


def as_table(head: Row, rows: list[Row]) -> nodes.table:
    """A table of docutils; a column has the width that its entries need."""
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=width) for width in _widths([head, *rows])]
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group, classes=["colwidths-auto", "book-status"])


def _row(entries: Row) -> nodes.row:
    return nodes.row("", *(nodes.entry("", _paragraph(entry)) for entry in entries))


def _paragraph(entry: Entry) -> nodes.paragraph:
    if isinstance(entry, str):
        return nodes.paragraph(text=entry)
    return nodes.paragraph("", "", *([entry] if isinstance(entry, nodes.Node) else entry))


def _widths(rows: list[Row]) -> list[int]:
    """Lengths of the longest entries, within bounds; LaTeX shares the line by them."""
    lengths = [[len(_paragraph(entry).astext()) for entry in row] for row in rows]
    return [min(max(column), 40) for column in zip(*lengths, strict=True)]


def _code(text: str) -> nodes.literal:
    return nodes.literal(text=text)


def _page(env: BuildEnvironment, name: str) -> pending_xref:
    """A link to a page, which shows its title."""
    link = pending_xref(
        refdoc=env.docname, refdomain="std", reftype="doc", reftarget=f"/{name}",
        refexplicit=True, refwarn=True,
    )  # fmt: skip
    link += nodes.inline(text=env.titles[name].astext())
    return link


def _chapters(env: BuildEnvironment) -> Iterator[str]:
    """Names of all pages in the order of the book."""
    root, seen = env.config.root_doc, set()
    waiting = [root]
    while waiting:
        name = waiting.pop(0)
        if name not in seen:
            seen.add(name)
            yield name
            waiting = [*env.toctree_includes.get(name, []), *waiting]


def build_table(env: BuildEnvironment) -> tuple[Row, list[Row]]:
    """When, from what, on what."""
    root = Path(env.srcdir)
    facts = {"Built": build_time(), "Version of dlnlib": _version(root)}
    if found := commit(root):
        facts["Commit"] = found
    facts["SHA-256 of the lock"] = lock_hash(root)
    rows: list[Row] = [(name, _breakable(value)) for name, value in (facts | machine()).items()]
    return ("Fact", "Value"), rows + [(_code(name), text) for name, text in settings().items()]


def _version(root: Path) -> str:
    text = Path(root, "dlnlib", "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return found[1] if found else "unknown"


def _breakable(value: str) -> Entry:
    """Long hexadecimal numbers in groups of eight, on which a line may break."""
    first, comma, rest = value.partition(",")
    if not re.fullmatch(r"[0-9a-f]{40,}", first):
        return value
    return _code(" ".join(re.findall(".{8}", first)) + comma + rest)


def package_table(env: BuildEnvironment) -> tuple[Row, list[Row]]:
    """Direct dependencies: what is installed, and whether the lock says the same."""
    rows = [
        (name, by, installed or "not installed", "as locked" if installed == locked
         else f"locked: {locked or 'no version'}")
        for name, by, locked, installed in packages(Path(env.srcdir))
    ]  # fmt: skip
    return ("Package", "Needed by", "Installed", "Lock"), rows


def seed_table(env: BuildEnvironment) -> tuple[Row, list[Row]]:
    """Seeds of each chapter with code."""
    seeds = _known(env, "seeds")
    named = [name for name in _chapters(env) if name in seeds]
    return ("Chapter", "Seeds"), [(_page(env, n), ", ".join(seeds[n]) or "none") for n in named]


def time_table(env: BuildEnvironment) -> tuple[Row, list[Row]]:
    """Execution time of each chapter, when the cache last ran it."""
    found = {name: getattr(env, "nb_metadata", {}).get(name, {}) for name in _chapters(env)}
    runs = {name: data["exec_data"] for name, data in found.items() if data.get("exec_data")}
    rows: list[Row] = [
        (_page(env, name), _seconds(run["runtime"]), as_utc(run["mtime"]))
        for name, run in runs.items()
    ]
    total = sum(run["runtime"] or 0 for run in runs.values())
    return ("Chapter", "Seconds", "Executed"), [*rows, ("All chapters", _seconds(total), "")]


def _seconds(time: float | None) -> str:
    return "unknown" if time is None else f"{time:.1f}"


def result_table(env: BuildEnvironment) -> tuple[Row, list[Row]]:
    """Tables beside the chapters, and what makes them again."""
    tables = result_tables(Path(env.srcdir, "chapters", "tables"))
    names = ("command", "seed", "rows", "version")
    rows = [
        (
            _code(f"{name}.csv"),
            _code(head.get("command", "")),
            *(head.get(n, "") for n in names[1:]),
        )
        for name, head in tables.items()
    ]
    return ("Table", "Command", "Seed", "Rows", "Version"), rows


KINDS: dict[str, Callable[[BuildEnvironment], tuple[Row, list[Row]]]] = {
    "build": build_table,
    "packages": package_table,
    "seeds": seed_table,
    "times": time_table,
    "tables": result_table,
}


def setup(app: Sphinx) -> dict[str, object]:
    """Register the directive with Sphinx."""
    app.add_node(StatusNode)
    app.add_directive("book-status", StatusDirective)
    app.add_post_transform(StatusTransform)
    app.add_env_collector(Collector)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
