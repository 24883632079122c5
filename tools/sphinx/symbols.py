"""Sphinx extension: the meaning of symbols, from the tables of the page on notation.

Each chapter gets a folded list, *Symbols on this page*: one stop for who reads by keyboard.  Where
a section names one of them first, alone between dollars, its meaning is shown on hover; the list
is where `_static/previews.js` finds it.

A letter has several meanings in a book.  A chapter uses the tables that name it in their line
`Chapter:`, and of the tables about the network, its modes and the entropy those symbols that have
one meaning only.
"""

import re
from dataclasses import dataclass

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform

NOTATION = "chapters/notation"
WITHOUT = re.compile(r"chapters/(api|notation|glossary|results|errata|status|bibliography)")
EVERYWHERE = {"the-network-and-its-data", "modes-over-time", "trees-and-entropy", "the-entropy"}
AMBIGUOUS = "letters-with-several-meanings"
NAMES_NOTHING = (nodes.title, nodes.reference, pending_xref, nodes.term, nodes.rubric)


class symbol_list(nodes.comment, nodes.General, nodes.Element):
    """The list of symbols: a comment for the search, which would find each word on each page."""


@dataclass(frozen=True)
class Row:
    """A row of a table: its number on the page, its section, and what its cells hold."""

    number: int
    section: str
    pages: frozenset[str]
    symbols: frozenset[str]
    cells: tuple[nodes.entry, ...]


def plain(formula: str) -> str:
    """A formula without the blanks that do not matter."""
    return re.sub(r"\s+", " ", formula).strip().replace(" _", "_").replace("{ ", "{")


def names(cell: nodes.entry) -> frozenset[str]:
    """The symbols of a cell: its formulas, and what stands before an equals sign."""
    found = {plain(m.astext()) for m in cell.findall(nodes.math)}
    return frozenset(found | {plain(formula.split("=")[0]) for formula in found})


def read_rows(notation: nodes.document) -> tuple[list[Row], set[str]]:
    """The rows of all tables of symbols, and the symbols said to have several meanings."""
    rows, several = [], set()
    for section in notation.findall(nodes.section):
        (name, *_) = section["ids"]
        if name == AMBIGUOUS:
            several = {plain(m.astext()) for m in section.findall(nodes.math)}
        links = [x for p in section.children[1:2] for x in p.findall(pending_xref)]
        pages = frozenset(x["reftarget"] for x in links if x["refdomain"] == "doc")
        for table in (child for child in section if isinstance(child, nodes.table) and pages):
            for row in table.next_node(nodes.tbody).children:
                rows.append(Row(len(rows), name, pages, names(row[0]), tuple(row.children)))
    return rows, several


def meanings(page: str, rows: list[Row], several: set[str]) -> dict[str, Row]:
    """The row that says what a symbol means on a page, for those where it is certain."""
    found = {}
    for symbol in {symbol for row in rows for symbol in row.symbols}:
        all_rows = [row for row in rows if symbol in row.symbols]
        own = [row for row in all_rows if page in row.pages]
        if len(own) == 1:
            found[symbol] = own[0]
        elif len(all_rows) == 1 and all_rows[0].section in EVERYWHERE and symbol not in several:
            found[symbol] = all_rows[0]
    return found


def inside(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    """Whether a node stands in one of these kinds."""
    return node is not None and (isinstance(node, kinds) or inside(node.parent, kinds))


def section_of(node: nodes.Node) -> nodes.Node:
    """The section in which a node stands, the innermost."""
    return node if isinstance(node, nodes.section) else section_of(node.parent)


class Symbols(SphinxPostTransform):
    """Mark symbols and add the list, before the references in it are resolved."""

    default_priority = 5
    formats = ("html",)

    def run(self, **kwargs) -> None:
        """Change the page that is about to be written."""
        page = self.env.docname
        if not page.startswith("chapters/") or WITHOUT.match(page):
            return
        if NOTATION not in self.env.found_docs:
            return
        known = meanings(page, *read_rows(self.env.get_doctree(NOTATION)))
        used, seen = set(), set()
        for formula in list(self.document.findall(nodes.math)):
            row = known.get(plain(formula.astext()))
            if row is None or inside(formula, NAMES_NOTHING):
                continue
            used.add(row)
            place = (section_of(formula), plain(formula.astext()))
            if place not in seen:
                seen.add(place)
                mark = nodes.inline(classes=["symbol", f"symbol-{row.number}"])
                formula.replace_self(mark)
                mark += formula
        if used:
            self._add(self._list(sorted(used, key=lambda row: row.number)))

    def _list(self, rows: list[Row]) -> symbol_list:
        entries = nodes.definition_list()
        for row in rows:
            symbols, meaning, _, first = (
                [child.deepcopy() for part in cell for child in part] for cell in row.cells
            )
            place = [nodes.Text(", "), *first] if first else []
            entry = nodes.definition_list_item()
            entry += nodes.term("", "", *symbols, ids=[f"symbol-{row.number}"])
            entry += nodes.definition("", nodes.paragraph("", "", *meaning, *place))
            entries += entry
        for link in entries.findall(pending_xref):
            link["refdoc"] = self.env.docname
        box = symbol_list()
        box += entries
        return box

    def _add(self, box: symbol_list) -> None:
        """Put the list under the box *Before you read*, or else before the first section."""
        for before in self.document.findall(nodes.Admonition):
            if "before" in before.get("classes", ()):
                before.parent.insert(before.parent.index(before) + 1, box)
                return
        top = next(self.document.findall(nodes.section))
        inner = (i for i, child in enumerate(top) if isinstance(child, nodes.section))
        top.insert(next(inner, len(top)), box)


def pages_to_write(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """All chapters, when the tables have changed."""
    if NOTATION not in env.found_docs:
        return []
    rows, several = read_rows(env.get_doctree(NOTATION))
    now = ([tuple(cell.pformat() for cell in row.cells) for row in rows], sorted(several))
    before, env.dlnlib_symbols = getattr(env, "dlnlib_symbols", None), now
    return sorted(env.found_docs) if now != before else []


def open_list(self, node: symbol_list) -> None:
    """Start the fold."""
    summary = "<summary>Symbols on this page</summary>"
    self.body.append(f'<details class="symbols-here">{summary}\n')


def close_list(self, node: symbol_list) -> None:
    """End the fold."""
    self.body.append("</details>\n")


def setup(app: Sphinx) -> dict[str, object]:
    """Register the steps with Sphinx."""
    app.add_node(symbol_list, html=(open_list, close_list))
    app.add_post_transform(Symbols)
    app.connect("env-updated", pages_to_write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
