"""The package imports only downwards, and its modules keep one form."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "dlnlib"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")

LEVELS = {
    "_checks": 0,
    "symbolic": 0,
    "tasks": 1,
    "modes": 1,
    "entropy": 1,
    "weights": 1,
    "random_matrix": 2,
    "schedules": 1,
    "flow": 2,
    "phases": 2,
    "diagonal": 2,
    "relu": 2,
    "sparsity": 3,
    "stopping": 3,
    "sde": 3,
    "sweeps": 3,
    "studies": 4,
    "plotting": 4,
}
SYMBOLIC_MAY_IMPORT = {"sympy"} | sys.stdlib_module_names

for_each_module = pytest.mark.parametrize("module", MODULES)


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """Full names of the modules that a module imports, anywhere in its text."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports in full"
            found.add(node.module)
            if node.module == "dlnlib":
                found |= {f"dlnlib.{alias.name}" for alias in node.names}
    return frozenset(found)


@cache
def package_imports(module: str) -> frozenset[str]:
    names = (name.split(".")[1] for name in imports(module) if name.startswith("dlnlib."))
    return frozenset(name for name in names if name in MODULES)


def level(module: str, above: tuple[str, ...] = ()) -> float:
    """The level of a module; a private module stands just above what it imports."""
    assert module not in above, f"circular imports: {' -> '.join((*above, module))}"
    if module in LEVELS:
        return LEVELS[module]
    assert module.startswith("_"), f"{module} has no level: add it to LEVELS"
    return max((level(m, (*above, module)) + 0.1 for m in package_imports(module)), default=-1)


def taken_from(module: str, source: str) -> set[str]:
    """Names that one module imports from another."""
    return {
        alias.name
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ImportFrom) and node.module == f"dlnlib.{source}"
        for alias in node.names
    }


def public(module: str) -> list[ast.FunctionDef | ast.ClassDef]:
    return [
        node
        for node in tree(module).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]


def exported(module: str) -> list[str]:
    for node in tree(module).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    pytest.fail(f"dlnlib.{module} has no __all__")


@for_each_module
def test_imports_only_downwards(module):
    upwards = [name for name in package_imports(module) if level(name) >= level(module)]
    assert not upwards, f"dlnlib.{module} (level {level(module)}) imports {upwards}"


@for_each_module
def test_nothing_imports_plotting(module):
    assert "plotting" not in package_imports(module)
    if module != "plotting":
        assert not [name for name in imports(module) if name.startswith("matplotlib")]


def below(module: str) -> set[str]:
    """A module and all that it imports from the package, near and far."""
    if module not in MODULES:
        return set()
    return {module}.union(*(below(name) for name in package_imports(module)))


def test_symbolic_knows_nothing_of_the_numerical_modules():
    # Else a test that compares both would compare a formula with itself.
    for module in below("symbolic"):
        for name in imports(module):
            allowed = name.split(".")[0] in SYMBOLIC_MAY_IMPORT | {"dlnlib"}
            assert allowed, f"{module} imports {name}"
    for module in MODULES:
        if module not in below("symbolic"):
            assert not package_imports(module) & below("symbolic"), module


@for_each_module
def test_all_names_what_is_public(module):
    names = exported(module)
    defined = {node.name for node in public(module)}
    assert len(names) == len(set(names))
    if not module.startswith("_"):
        assert defined <= set(names), f"public, yet not in __all__: {defined - set(names)}"
    bound = {
        name.id
        for node in ast.walk(tree(module))
        for name in getattr(node, "targets", [getattr(node, "target", None)])
        if isinstance(name, ast.Name)
    }
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert set(names) <= defined | bound | imported


@for_each_module
def test_modules_and_public_names_are_described(module):
    assert ast.get_docstring(tree(module)), f"dlnlib.{module} has no docstring"
    for node in public(module):
        text = ast.get_docstring(node)
        assert text, f"{module}.{node.name} has no docstring"
        if isinstance(node, ast.FunctionDef) and not module.startswith("_"):
            for section in sections(node):
                assert f"{section}\n{'-' * len(section)}" in text, (
                    f"the docstring of {module}.{node.name} has no section {section!r}"
                )


def sections(function: ast.FunctionDef) -> list[str]:
    """The numpydoc sections that a function owes its reader."""
    arguments = function.args
    takes = arguments.args + arguments.kwonlyargs + arguments.posonlyargs
    gives = [n for n in ast.walk(function) if isinstance(n, ast.Return) and n.value is not None]
    raises = [n for n in ast.walk(function) if isinstance(n, ast.Raise)]
    owed = {"Parameters": takes, "Returns": takes and gives, "Raises": raises}
    return [name for name, reason in owed.items() if reason]


@for_each_module
def test_nothing_private_is_idle(module):
    names = {node.id for node in ast.walk(tree(module)) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}
    private = [n.name for n in tree(module).body if getattr(n, "name", "")[:1] == "_"]
    idle = [name for name in private if name not in names]
    if module.startswith("_"):
        taken = {name for other in MODULES if other != module for name in taken_from(other, module)}
        idle += sorted(set(exported(module)) - taken - names)
    assert not idle, f"nobody uses {idle} of {module}"


@for_each_module
def test_randomness_is_an_argument(module):
    # A sweep is the one place that makes streams: one per cell, from its seed and parameters.
    allowed = {"default_rng"} if module == "sweeps" else set()
    for node in ast.walk(tree(module)):
        names = {"seed", "default_rng", "RandomState", "SeedSequence", "PCG64"} - allowed
        if isinstance(node, ast.Attribute) and node.attr in names:
            pytest.fail(f"{module}: take rng: np.random.Generator as an argument instead")
