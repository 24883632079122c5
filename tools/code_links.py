"""Sphinx extension of the book: chapters and the reference of `dlnlib` point at each other.

A name imported from the package is a link wherever the cells of that page use it, a list at the end
of the page gathers these names, and `.. used-in:: name` in the reference lists the chapters.
Names are found in the syntax tree of the cells, so that a keyword or an attribute that happens to
be called like a function is left alone.
"""

import ast
import html
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from api_reference import exported, public_modules
from docutils import nodes
from sphinx import addnodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

__all__ = ["Use", "linked_block", "setup", "uses"]

PACKAGE = "dlnlib"
CELL = "ipython3"  # the language of a code cell; other examples are plain Python
BLOCK = re.compile(
    rf"(<div class=\"highlight-(?:{CELL}|python) notranslate\"><div class=\"highlight\"><pre>)"
    r"(.*?)(?=</pre>)",
    re.DOTALL,
)
PIECE = re.compile(r"<[^>]*>|[^<]+")
CALL = re.compile(r"(?:dlnlib\.)?(\w+\.)?(\w+)(\(.*\))?")


class Use(NamedTuple):
    """A name of the package at a place of a cell."""

    target: str  # its full name
    word: str  # as it stands in the cell
    line: int
    column: int  # in bytes, as `ast` counts
    imported: bool = False  # in an import, not in the code below


class UsedInPlace(nodes.General, nodes.Element):
    """Place for the chapters that use a name, known when all chapters are read."""


def uses(source: str, known: dict[str, str]) -> list[Use]:
    """The names of the package in one cell.

    Parameters
    ----------
    source : str
    known : dict
        What the names of the page stand for; the imports of this cell are added to it.

    Returns
    -------
    list of Use
        In the order of the text; none for a cell that is not plain Python.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            for alias in node.names:
                target = known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                found.append(Use(target, alias.name, alias.lineno, alias.col_offset, True))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in known:
            found.append(Use(known[node.id], node.id, node.lineno, node.col_offset))
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", None) in known:
            column = node.end_col_offset - len(node.attr.encode())
            target = f"{known[node.value.id]}.{node.attr}"
            found.append(Use(target, node.attr, node.end_lineno, column))
    return sorted(found, key=lambda use: (use.line, use.column))


def linked_block(block: str, known: dict[str, str], addresses: dict[str, str]) -> str:
    """A highlighted cell with links around the names of the package.

    Parameters
    ----------
    block : str
        The HTML within ``<pre>``.
    known : dict
        As in `uses`.
    addresses : dict
        Where each name is described; names without an address get no link.

    Returns
    -------
    str
    """
    pieces = PIECE.findall(block)
    text = [html.unescape(piece) if piece[0] != "<" else "" for piece in pieces]
    places = {(u.line, u.column): u for u in uses("".join(text), known) if u.target in addresses}
    line, column = 1, 0
    for i, word in enumerate(text):
        use = places.get((line, column))
        if use and word == use.word:
            link = f'<a class="code-link" href="{addresses[use.target]}" title="{use.target}">'
            pieces[i] = f"{link}{word}</a>"
        line += word.count("\n")
        column = len(word.rpartition("\n")[2].encode()) + (0 if "\n" in word else column)
    return "".join(pieces)


def gather(app: Sphinx, doctree: nodes.document) -> None:
    """Note which names the cells of a page use and where first, and list them at its end."""
    known: dict[str, str] = {}
    places: dict[str, str] = {}
    for cell in doctree.findall(nodes.literal_block):
        if cell.get("language") != CELL:
            continue
        section = next(n for n in ancestors(cell) if isinstance(n, nodes.section))["ids"][0]
        for use in uses(cell.astext(), known):
            if not use.imported:
                places.setdefault(use.target, section)
    public = [
        f"{module}.{name}"
        for module, tree in public_modules(Path(app.srcdir)).items()
        for name in exported(tree)
    ]
    used = {name: place for name, place in places.items() if name in public}
    app.env.dlnlib_uses[app.env.docname] = used
    if used:
        next(doctree.findall(nodes.section)).append(used_list(sorted(used)))
    link_prose(doctree, public, known)


def ancestors(node: nodes.Node) -> Iterator[nodes.Node]:
    """The nodes that hold this one, innermost first."""
    while node.parent is not None:
        node = node.parent
        yield node


def reference_to(target: str, text: str) -> pending_xref:
    """A reference to an entry of the reference, without a complaint where there is none."""
    literal = nodes.literal(text, text, classes=["xref", "py"])
    options = {"reftype": "obj", "reftarget": target, "refexplicit": True, "optional": True}
    return pending_xref("", literal, refdomain="py", **options)


def separated(links: list[nodes.Node]) -> list[nodes.Node]:
    """The links with commas between them."""
    return [part for link in links for part in (nodes.Text(", "), link)][1:]


def used_list(names: list[str]) -> addnodes.only:
    """One line for each module, with its names; on paper there is no reference to link to."""
    lines = nodes.bullet_list()
    for module, group in groupby(names, key=lambda name: name.rpartition(".")[0]):
        links = [reference_to(name, name.rpartition(".")[2]) for name in group]
        head = [reference_to(module, module), nodes.Text(": ")]
        lines += nodes.list_item("", nodes.paragraph("", "", *head, *separated(links)))
    title = nodes.rubric("", "Functions used here")
    listed = nodes.container("", title, lines, classes=["functions-used"])
    return addnodes.only("", listed, expr="html")


def link_prose(doctree: nodes.document, public: list[str], known: dict[str, str]) -> None:
    """Link names that the prose sets as code: those the cells know, and long ones without twin."""
    short = [name.rpartition(".")[2] for name in public]
    targets = {full: full for full in public}
    for name, full in zip(short, public, strict=True):
        if "_" in name and short.count(name) == 1:
            targets[name] = full
    targets |= {name: full for name, full in known.items() if full in public}
    for literal in list(doctree.findall(nodes.literal)):
        name, _, arguments = literal.astext().partition("(")
        inside = (nodes.title, nodes.reference, pending_xref)
        if name in targets and not any(isinstance(n, inside) for n in ancestors(literal)):
            if not arguments or arguments.endswith(")"):
                literal.replace_self(reference_to(targets[name], literal.astext()))


class UsedIn(SphinxDirective):
    """``.. used-in:: dlnlib.modes.mode_strength``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Hold the place."""
        return [UsedInPlace("", name=self.arguments[0])]


def fill(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Name the chapters that use an entry of the reference, in the order of the book."""
    for place in list(doctree.findall(UsedInPlace)):
        links = []
        for chapter in book_order(app.env):
            section = app.env.dlnlib_uses.get(chapter, {}).get(place["name"])
            if section:
                title = nodes.Text(app.env.titles[chapter].astext())
                links.append(make_refnode(app.builder, docname, chapter, section, title))
        head = nodes.Text("Used in ")
        line = nodes.paragraph("", "", head, *separated(links), classes=["used-in"])
        place.replace_self(line if links else [])


def book_order(env: BuildEnvironment, document: str | None = None) -> Iterator[str]:
    """All pages, as the contents list them."""
    document = document or env.config.root_doc
    yield document
    for child in env.toctree_includes.get(document, []):
        yield from book_order(env, child)


def link_cells(app: Sphinx, page: str, template: str, context: dict, doctree) -> None:
    """Put the links into the cells of a page that is about to be written."""
    if page not in app.env.dlnlib_uses:
        return
    known: dict[str, str] = {}
    addresses = {
        name: f"{app.builder.get_relative_uri(page, entry.docname)}#{entry.node_id}"
        for name, entry in app.env.domains["py"].objects.items()
    }
    context["body"] = BLOCK.sub(
        lambda block: block[1] + linked_block(block[2], known, addresses), context["body"]
    )


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Drop what a page has used before it is read again."""
    getattr(env, "dlnlib_uses", {}).pop(docname, None)


def merge(app: Sphinx, env: BuildEnvironment, docnames: list[str], other: BuildEnvironment) -> None:
    """Take over the pages that another process has read."""
    found = other.dlnlib_uses.items()
    env.dlnlib_uses |= {page: names for page, names in found if page in docnames}


def begin(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Start with what the last build has found."""
    env.dlnlib_uses = getattr(env, "dlnlib_uses", {})


def pages_to_write(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """The reference too, when a chapter has another title or uses other names than before."""
    now = {page: (env.titles[page].astext(), used) for page, used in env.dlnlib_uses.items()}
    before, env.dlnlib_uses_written = getattr(env, "dlnlib_uses_written", None), now
    entries = env.domains["py"].objects.values()
    return sorted({entry.docname for entry in entries}) if now != before else []


def setup(app: Sphinx) -> dict[str, object]:
    """Register the steps with Sphinx."""
    app.add_node(UsedInPlace)
    app.add_directive("used-in", UsedIn)
    app.connect("env-before-read-docs", begin)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("doctree-read", gather)
    app.connect("env-updated", pages_to_write)
    app.connect("doctree-resolved", fill)
    app.connect("html-page-context", link_cells)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
