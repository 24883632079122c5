"""Sphinx extension: prose and code of the chapters lead to the reference, and it leads back.

sphinx-codeautolink finds and links the names in the cells.  It has no list of the names that a
page uses, lists examples without the order of the book, and links no prose: that is done here, from
what it has found.  It also forgets what earlier builds have read, as it looks for `.rst` only.
"""

from collections.abc import Iterator
from itertools import groupby

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode
from sphinx_codeautolink.extension import SphinxCodeAutoLink
from sphinx_codeautolink.parse import LinkContext, Name, NameBreak

PACKAGE = "dlnlib"
IMPORTS = {LinkContext.import_from, LinkContext.import_target}


def remember(app: Sphinx) -> None:
    """Hand the pages of earlier builds to sphinx-codeautolink, and let it link what is written."""
    handlers = [listener.handler for listener in app.events.listeners["build-finished"]]
    (state,) = [
        handler.__self__
        for handler in handlers
        if isinstance(getattr(handler, "__self__", None), SphinxCodeAutoLink)
    ]
    if state.cache is None:
        return  # no HTML
    state.cache.transforms.update(getattr(app.env, "dlnlib_links", {}))
    app.env.dlnlib_links = state.cache.transforms
    state.outdated_docs.clear()

    def note(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
        if doctree is not None:
            state.outdated_docs.add(page)

    app.connect("html-page-context", note)


def pages_to_write(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """The reference too, when a chapter has another title or uses other names than before.

    A variable that holds a result is no name of the package, and gets no link.
    """
    for block in (block for blocks in links(env).values() for block in blocks):
        block.names = [n for n in block.names if not is_variable(n)]
    now = {page: (env.titles[page].astext(), used(env, page)) for page in links(env)}
    before, env.dlnlib_uses = getattr(env, "dlnlib_uses", None), now
    entries = env.domains["py"].objects.values()
    return sorted({entry.docname for entry in entries}) if now != before else []


def links(env: BuildEnvironment) -> dict[str, list]:
    """What sphinx-codeautolink has found on each page."""
    return getattr(env, "dlnlib_links", {})


def used(env: BuildEnvironment, page: str) -> dict[str, str]:
    """The public names that the cells of a page use, and the section of the first use."""
    found: dict[str, str] = {}
    if "exec_data" not in getattr(env, "nb_metadata", {}).get(page, {}):
        return found  # examples of the reference are no chapters
    for block in links(env).get(page, []):
        for name in block.names:
            *door, short = name.resolved_location.split(".")[:3]
            whole = ".".join([*door, short]) if short.isupper() else name.resolved_location
            if name.context not in IMPORTS and is_public(whole):
                found.setdefault(whole, block.example.ref_id)
    return found


def is_variable(name: Name) -> bool:
    """Whether a name in a cell stands for a result, and not for what the package calls so."""
    *_, last = name.import_components
    return NameBreak.call in name.import_components and name.code_str.rpartition(".")[2] != last


def is_public(name: str) -> bool:
    """Whether a name is that of a function, class or constant at its door."""
    return name.startswith(f"{PACKAGE}.") and name.count(".") == 2


def complete(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Add the links of the prose, the list of a chapter's names, and the chapters of an entry."""
    if not links(app.env):
        return  # on paper there is no reference
    entries = app.env.domains["py"].objects

    def link(name: str, text: str) -> nodes.reference:
        literal = nodes.literal(text, text, classes=["xref", "py"])
        entry = entries[name]
        return make_refnode(app.builder, page, entry.docname, entry.node_id, literal, name)

    targets = known_names(app.env, page)
    for literal in list(doctree.findall(nodes.literal)):
        name, _, arguments = literal.astext().partition("(")
        if name in targets and (not arguments or arguments.endswith(")")):
            if not inside(literal, (nodes.title, nodes.reference)):
                literal.replace_self(link(targets[name], literal.astext()))

    if names := sorted(set(used(app.env, page)) & set(entries)):
        lines = nodes.bullet_list()
        for door, group in groupby(names, key=lambda name: name.rpartition(".")[0]):
            head = [link(door, door) if door in entries else nodes.Text(door), nodes.Text(": ")]
            listed = separated([link(name, name.rpartition(".")[2]) for name in group])
            lines += nodes.list_item("", nodes.paragraph("", "", *head, *listed))
        title = nodes.rubric("", "Functions used here")
        box = nodes.container("", title, lines, classes=["functions-used"])
        next(doctree.findall(nodes.section)).append(box)

    for entry in doctree.findall(addnodes.desc):
        name = next(iter(entry[0].get("ids", [])), "")
        chapters = [c for c in book_order(app.env) if name in used(app.env, c)]
        titles = [
            make_refnode(
                app.builder, page, c, used(app.env, c)[name], nodes.Text(app.env.titles[c].astext())
            )
            for c in chapters
        ]
        if titles:
            head = nodes.Text("Used in ")
            entry[-1] += nodes.paragraph("", "", head, *separated(titles), classes=["used-in"])


def known_names(env: BuildEnvironment, page: str) -> dict[str, str]:
    """What names in the prose stand for: those the cells import, and long ones without a twin."""
    public = [name for name in env.domains["py"].objects if is_public(name)]
    short = [name.rpartition(".")[2] for name in public]
    known = {full: full for full in public}
    for name, full in zip(short, public, strict=True):
        if "_" in name and short.count(name) == 1:
            known[name] = full
    for block in links(env).get(page, []):
        for name in block.names:
            if name.context == LinkContext.import_target and is_public(name.resolved_location):
                known[name.code_str] = name.resolved_location
    return known


def inside(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    """Whether a node stands in one of these kinds."""
    return node is not None and (isinstance(node, kinds) or inside(node.parent, kinds))


def separated(parts: list[nodes.Node]) -> list[nodes.Node]:
    """The parts with commas between them."""
    return [piece for part in parts for piece in (nodes.Text(", "), part)][1:]


def book_order(env: BuildEnvironment, page: str | None = None) -> Iterator[str]:
    """All pages, as the contents list them."""
    page = page or env.config.root_doc
    yield page
    for child in env.toctree_includes.get(page, []):
        yield from book_order(env, child)


def setup(app: Sphinx) -> dict[str, object]:
    """Register the steps with Sphinx, after those of sphinx-codeautolink."""
    app.setup_extension("sphinx_codeautolink")
    app.connect("builder-inited", remember, priority=600)
    app.connect("env-updated", pages_to_write, priority=600)
    app.connect("doctree-resolved", complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
