"""Sphinx extension: the reference of `dlnlib` from its docstrings.

autodoc, autosummary and numpydoc make it.  They know a name by the module that defines it; readers
know it by its *door*, the public module or folder that names it in ``__all__``.  Here names are
described at their doors only, and links of any docstring lead there.
"""

import pkgutil
import re
import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.ext.autodoc.mock import mock
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.nodes import make_refnode

PACKAGE = "dlnlib"
# What the book describes without it, so that it is built without it.
MOCKED = [] if find_spec("torch") else ["torch"]
SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)


def doors() -> dict[str, ModuleType]:
    """The public modules and folders of the package, by their full names."""
    found = pkgutil.iter_modules(import_module(PACKAGE).__path__, f"{PACKAGE}.")
    names = [module.name for module in found if "._" not in module.name]
    with mock(MOCKED):
        modules = {name: import_module(name) for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "__all__")}


def homes() -> dict[str, str]:
    """The name at its door of each public function and class, by the name where it is defined."""
    found = {}
    for door, module in doors().items():
        for name in module.__all__:
            entry = getattr(module, name)
            if hasattr(entry, "__qualname__"):
                home = f"{entry.__module__}.{entry.__qualname__}"
                found[home] = f"{door}.{name}"
                members = vars(entry) if isinstance(entry, type) else ()
                found |= {f"{home}.{part}": f"{door}.{name}.{part}" for part in members}
    return found


def lead_to_the_doors(app: Sphinx, config: Config) -> None:
    """Tell sphinx-codeautolink the doors, and numpydoc the classes, which may stand as types."""
    config.codeautolink_inventory_map = homes()
    config.numpydoc_xref_ignore = "all"  # all words but these
    config.numpydoc_xref_aliases_complete = {
        name: f"{door}.{name}"
        for door, module in doors().items()
        for name in module.__all__
        if isinstance(getattr(module, name), type)
    }


def find_at_the_door(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element):
    """Link a name from elsewhere in the package; show as code what is no name of it."""
    if node.get("reftype") != "obj":
        return None
    target, entries = node["reftarget"], env.domains["py"].objects
    names = {homes().get(target)} | {name for name in entries if name.endswith(f".{target}")}
    public = sorted(name for name in names & set(entries) if name.count(".") == 2)
    if len(public) == 1:
        entry = entries[public[0]]
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, text)
    return None if target.startswith(f"{PACKAGE}.") else text


def describe(app, what, name, obj, options, lines) -> None:
    """Add to a module the table of its names, and to a constant the comment on its definition."""
    if what == "data":
        lines[:] = constant_comment(name)
    elif what == "module":
        text = SECTION.sub(r".. rubric:: \1\n", "\n".join(lines))
        table = [".. autosummary::", "   :nosignatures:", "", *(f"   {n}" for n in obj.__all__)]
        here = ModuleAnalyzer.for_module(name).find_attr_docs()  # autodoc sees no others
        foreign = [n for n in obj.__all__ if n.isupper() and ("", n) not in here]
        lines[:] = [
            *text.splitlines(),
            "",
            *table,
            "",
            *(f".. autodata:: {n}" for n in foreign),
            "",
        ]


def constant_comment(name: str) -> list[str]:
    """The ``#:`` comment on a constant, in the module of the package that defines it."""
    door, _, short = name.rpartition(".")
    value = getattr(sys.modules[door], short)
    for module in [door, *(m for m in list(sys.modules) if m.startswith(f"{PACKAGE}."))]:
        comments = ModuleAnalyzer.for_module(module).find_attr_docs()
        if ("", short) in comments and getattr(sys.modules[module], short) is value:
            return comments["", short]
    return []


def skip_fields(app, what, name, obj, skip, options) -> bool | None:
    """Leave out the fields of a named tuple as members: its docstring describes them."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def plain_signature(app, what, name, obj, options, signature, annotation):
    """No constructor for a record that only the package makes."""
    if what == "class" and re.search(r"[(,] *_", signature or ""):
        return "", annotation
    return None


def setup(app: Sphinx) -> dict[str, object]:
    """Register the steps with Sphinx."""
    app.connect("config-inited", lead_to_the_doors, priority=600)  # after numpydoc
    app.connect("autodoc-process-docstring", describe, priority=400)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("missing-reference", find_at_the_door)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
