"""Sphinx extension of the book: the reference of `dlnlib` from its docstrings.

A page of the reference holds one `automodule` directive.  What stands in `__all__` appears under
the name of the public module, wherever it is written, below a table of all names.
"""

import ast
import inspect
import re
from pathlib import Path
from types import ModuleType

from bs4 import BeautifulSoup
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

__all__ = ["exported", "imported_from", "public_modules", "setup"]

PACKAGE = "dlnlib"
REFERENCE = "chapters/api"  # the page above those of the modules
SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)
CODE = re.compile(r"(``.+?``|`[^`]+`)")


def public_modules(root: Path) -> dict[str, ast.Module]:
    """The parsed public modules of the package, by their full names.

    Parameters
    ----------
    root : Path
        The folder that holds the package.

    Returns
    -------
    dict
    """
    paths = sorted((root / PACKAGE).glob("[!_]*.py"))
    return {f"{PACKAGE}.{p.stem}": ast.parse(p.read_text(encoding="utf-8")) for p in paths}


def exported(tree: ast.Module) -> list[str]:
    """The names in ``__all__``, or none where there is no such list."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return []


def imported_from(tree: ast.Module) -> dict[str, str]:
    """The module that each imported name comes from."""
    return {
        alias.asname or alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def link_types(app: Sphinx, config: Config) -> None:
    """Link the package's own classes where a docstring names one as a type."""
    classes = {
        name: f"{module}.{name}"
        for module, tree in public_modules(Path(app.srcdir)).items()
        for name in exported(tree)
        if name[0].isupper() and not name.isupper()
    }
    config.numpydoc_xref_ignore = "all"  # all words but these
    config.numpydoc_xref_aliases_complete = classes


def describe(app, what, name, obj, options, lines) -> None:
    """Make reST of a docstring, and add what the docstring does not say.

    A module gets the table of its names; a constant, the comment above its definition.
    """
    if what == "data":
        lines[:] = constant_comment(*name.rpartition(".")[::2])
    lines[:] = as_rest(lines)
    if what == "module":
        text = SECTION.sub(r".. rubric:: \1\n", "\n".join(lines))
        rows = {f"{name}.{n}": summary(obj, n) for n in obj.__all__}
        foreign = imported_from(ast.parse(inspect.getsource(obj)))  # autodoc sees no comment there
        constants = [f".. autodata:: {n}" for n in obj.__all__ if n.isupper() and n in foreign]
        lines[:] = [*text.splitlines(), "", *table(rows), "", *constants, ""]


def summary(module: ModuleType, name: str) -> str:
    """The first line of what is said about a name of a module."""
    if name.isupper():
        lines = constant_comment(module.__name__, name)
    else:
        lines = inspect.getdoc(getattr(module, name)).splitlines()
    return as_rest(lines[:1])[0].rstrip(":")


def table(rows: dict[str, str]) -> list[str]:
    """A table of names and what they are, as reST."""
    lines = [".. list-table::", "   :class: api-names", "   :widths: auto", ""]
    for name, text in rows.items():
        lines += [f"   * - :py:obj:`~{name}`", f"     - {text}"]
    return lines


class ModuleTable(SphinxDirective):
    """``.. module-table:: modes entropy``: the modules and the first lines of their docstrings."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Parse the table."""
        trees = public_modules(Path(self.env.srcdir))
        names = [f"{PACKAGE}.{name}" for name in self.arguments[0].split()]
        first = {n: ast.get_docstring(trees[n]).splitlines()[:1] for n in names}
        rows = table({name: as_rest(line)[0] for name, line in first.items()})
        rows = [line.replace(":py:obj:`~", ":py:mod:`") for line in rows]
        place = nodes.container()
        self.state.nested_parse(StringList(rows, "module-table"), 0, place)
        return place.children


def add_uses(app, what, name, obj, options, lines) -> None:
    """Leave a place for the chapters that use an entry."""
    if what in {"class", "data", "exception", "function"}:
        lines += ["", f".. used-in:: {name}", ""]


def as_rest(lines: list[str]) -> list[str]:
    """A docstring of this package as reST.

    Indented formulas are literal blocks, and ``|W|`` is a norm, not the name of a substitution.

    Parameters
    ----------
    lines : list of str

    Returns
    -------
    list of str
    """
    result, last, block = [], "", None
    for line in lines:
        depth, stripped = indent(line), line.strip()
        if block is not None and stripped and depth <= block:
            block = None
        if block is None and stripped and not stripped.startswith(">>>"):
            paragraph = last and not last.lstrip().startswith(("- ", "* ", ".. "))
            if paragraph and result and not result[-1].strip() and depth > indent(last):
                result += [" " * indent(last) + "::", ""]
                block = indent(last)
            else:
                parts = CODE.split(line)
                parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
                line = "".join(parts)
                block = depth if stripped.endswith("::") else None
        result.append(line)
        last = line if stripped else last
    return result


def indent(line: str) -> int:
    """Spaces at the start of a line."""
    return len(line) - len(line.lstrip())


def constant_comment(module: str, name: str) -> list[str]:
    """The ``#:`` comment on a constant, in the module that defines it."""
    source = ModuleAnalyzer.for_module(module)
    source.analyze()
    if ("", name) in source.attr_docs:
        return source.attr_docs["", name]
    origin = imported_from(ast.parse(source.code)).get(name)
    return constant_comment(origin, name) if origin else []


def skip_fields(app, what, name, obj, skip, options) -> bool | None:
    """Leave out the fields of a named tuple as members: its docstring describes them."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def plain_signature(app, what, name, obj, options, signature, annotation):
    """No constructor for a record that only the package makes."""
    if what == "class" and re.search(r"[(,] *_", signature or ""):
        return "", annotation
    return None


def fold_contents(app: Sphinx, page: str, template: str, context: dict, doctree) -> None:
    """Fold the modules in the contents at the side, but on the pages of the reference."""
    generate = context.get("generate_toctree_html")
    if generate is None or page.startswith(REFERENCE):
        return

    def folded(kind: str, **settings) -> BeautifulSoup:
        contents = generate(kind, **settings)
        for link in contents.select(
            f'li > a[href="{app.builder.get_relative_uri(page, REFERENCE)}"]'
        ):
            link.parent.details.attrs.pop("open", None)
        return contents

    context["generate_toctree_html"] = folded


def unknown_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element):
    """Show as code what a docstring sets in backticks and is no name of the package."""
    ours = node["reftarget"].startswith(f"{PACKAGE}.") and not node.get("optional")
    return None if ours or node.get("reftype") != "obj" else text


def setup(app: Sphinx) -> dict[str, object]:
    """Register the steps with Sphinx."""
    app.add_directive("module-table", ModuleTable)
    app.connect("config-inited", link_types, priority=600)  # after numpydoc has put in its own
    app.connect("autodoc-process-docstring", describe, priority=400)
    app.connect("autodoc-process-docstring", add_uses, priority=600)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("missing-reference", unknown_name)
    app.connect("html-page-context", fold_contents, priority=800)  # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}
