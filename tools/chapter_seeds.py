"""The seeds of a chapter, read from its code cells without running them."""

import ast
from collections.abc import Iterator, Sequence

__all__ = ["chapter_seeds"]

GENERATORS = {"RandomState", "SeedSequence", "default_rng"}
SEED_ARGUMENTS = {"random_state", "seed"}
LOOPS = (ast.DictComp, ast.For, ast.GeneratorExp, ast.ListComp, ast.SetComp)
DRAWN = "drawn"


def chapter_seeds(cells: Sequence[str]) -> list[str]:
    """All seeds that a chapter gives to a random generator or a sweep.

    Parameters
    ----------
    cells : sequence of str
        Code cells in order; those that are no Python, such as magics, are skipped.

    Returns
    -------
    list of str
        Each once, in order of appearance: a number, a range such as "0 to 4", or the expression.
    """
    chapter = _Chapter([node for cell in cells for node in _statements(cell)])
    return list(dict.fromkeys(text for call in chapter.calls for text in chapter.given(call)))


def _statements(cell: str) -> list[ast.stmt]:
    try:
        return ast.parse(cell).body
    except SyntaxError:
        return []


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _in_order(child)


class _Chapter:
    """Where the names of a chapter get their values."""

    def __init__(self, statements: list[ast.stmt]) -> None:
        nodes = [node for statement in statements for node in _in_order(statement)]
        self.parents = {child: node for node in nodes for child in ast.iter_child_nodes(node)}
        self.calls = [node for node in nodes if isinstance(node, ast.Call)]
        self.assignments = [node for node in nodes if isinstance(node, ast.Assign)]
        self.functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}

    def given(self, call: ast.Call) -> list[str]:
        """Seeds that a call gives to a random generator or a sweep."""
        seeds = [k.value for k in call.keywords if k.arg in SEED_ARGUMENTS]
        if _name(call.func) in GENERATORS:
            seeds += call.args[:1]
        elif _name(call.func) in self.functions:
            return []  # what a function of the chapter is given is found where it uses it
        return [text for seed in seeds for text in self._values(seed)]

    def _values(self, node: ast.expr, depth: int = 0) -> list[str]:
        """Values of an expression; itself, where they cannot be read off."""
        if isinstance(node, ast.Constant):
            return [] if node.value is None else [str(node.value)]
        if depth < 5 and isinstance(node, ast.Call):
            return self._of_call(node, depth)
        found = self._of_name(node, depth) if depth < 5 and isinstance(node, ast.Name) else []
        return found or [ast.unparse(node)]

    def _of_call(self, node: ast.Call, depth: int) -> list[str]:
        name, arguments = _name(node.func), [ast.unparse(value) for value in node.args]
        if name == "range" and all(text.lstrip("-").isdigit() for text in arguments):
            values = range(*map(int, arguments))
            whole = values.step == 1 and len(values) > 2
            return [f"{values[0]} to {values[-1]}" if whole else ", ".join(map(str, values))]
        if name == "enumerate":
            start = [*node.args[1:], *(k.value for k in node.keywords), ast.Constant(0)][0]
            return [f"{ast.unparse(start)} and up"]
        if name in {"int", "next"} and node.args:
            return self._values(node.args[0], depth + 1)
        return [DRAWN] if name in {"integers", "spawn"} else [ast.unparse(node)]

    def _of_name(self, name: ast.Name, depth: int) -> list[str]:
        above = self.parents.get(name)
        while above is not None:
            if isinstance(above, LOOPS):
                for loop in getattr(above, "generators", [above]):
                    if name.id in _targets(loop.target):
                        return self._values(loop.iter, depth + 1)
            if isinstance(above, ast.FunctionDef) and name.id in _parameters(above):
                return self._of_parameter(above, name.id, depth)
            above = self.parents.get(above)
        return self._of_assignment(name.id, depth)

    def _of_parameter(self, function: ast.FunctionDef, name: str, depth: int) -> list[str]:
        names, found = _parameters(function), []
        for call in (call for call in self.calls if _name(call.func) == function.name):
            given = dict(zip(names, call.args, strict=False))
            given |= {k.arg: k.value for k in call.keywords}
            if name in given:
                found += self._values(given[name], depth + 1)
        defaults = dict(zip(names[::-1], function.args.defaults[::-1], strict=False))
        return found + (self._values(defaults[name], depth + 1) if name in defaults else [])

    def _of_assignment(self, name: str, depth: int) -> list[str]:
        for target, value in (pair for node in self.assignments for pair in _pairs(node)):
            if isinstance(target, ast.Name) and target.id == name:
                return self._values(value, depth + 1)
        return []


def _name(function: ast.expr) -> str:
    return getattr(function, "attr", getattr(function, "id", ""))


def _targets(node: ast.expr) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _parameters(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in function.args.args]


def _pairs(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Targets with their values, one by one also in ``a, b = 1, 2``."""
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=False)
        else:
            yield target, node.value
