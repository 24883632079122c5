"""The rooms of the package: who may import whom, one door each, every public name described."""

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent.parent / "dlnlib"

# A room imports from the floors below it.  Plotting comes last, and nothing imports it.
FLOORS = [
    {"_checks", "_compiled", "_curves"},
    {"tasks", "modes", "entropy"},
    {"measures"},
    {"flow", "random_matrix", "sgd"},
    {"stopping"},
    {"studies"},
    {"deep"},
    {"plotting"},
]
ALONE = "symbolic"  # else a test that compares it with numbers would compare a formula with itself
MAY_IMPORT = {"sympy"} | sys.stdlib_module_names
MOST_ARROWS = 36

ROOMS = sorted({*set().union(*FLOORS), ALONE})
DOORS = [room for room in ROOMS if not room.startswith("_")]
MODULES = sorted(
    path.relative_to(PACKAGE).with_suffix("").as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__init__"
)

for_each_module = pytest.mark.parametrize("module", MODULES)
for_each_door = pytest.mark.parametrize("room", DOORS)


def room_of(name: str) -> str:
    """The room of ``flow/training`` or of ``dlnlib.flow.training``."""
    return name.removeprefix("dlnlib.").replace("/", ".").split(".")[0]


@cache
def tree(module: str) -> ast.Module:
    path = PACKAGE / f"{module}.py"
    path = path if path.exists() else PACKAGE / module / "__init__.py"
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(module: str) -> dict[str, set[str]]:
    """From the full name of a module to the names taken from it, anywhere in the text."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name: set() for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports in full"
            found.setdefault(node.module, set()).update(alias.name for alias in node.names)
    return found


def arrows() -> set[tuple[str, str]]:
    """Pairs of rooms of which the first imports the second."""
    pairs = {
        (room_of(module), room_of(name))
        for module in MODULES
        for name in imports(module)
        if name.startswith("dlnlib.")
    }
    return {(first, second) for first, second in pairs if first != second}


def named(module: str) -> list[ast.FunctionDef | ast.ClassDef]:
    return [n for n in tree(module).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]


def exported(room: str) -> list[str]:
    for node in tree(room).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            return ast.literal_eval(node.value)
    pytest.fail(f"dlnlib.{room} has no __all__")


@cache
def public(room: str) -> dict[str, ast.stmt]:
    """What a door names, with its definition in one of the rooms' files."""
    files = [module for module in MODULES if room_of(module) == room]
    defined: dict[str, ast.stmt] = {}
    for node in (node for module in files for node in tree(module).body):
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        names = [node.name] if hasattr(node, "name") else [getattr(t, "id", "") for t in targets]
        defined |= dict.fromkeys(names, node)
    return {name: defined[name] for name in exported(room)}


def test_every_module_is_in_a_room_with_a_floor():
    assert {room_of(module) for module in MODULES} == set(ROOMS)
    assert len(ROOMS) == sum(map(len, FLOORS)) + 1


@pytest.mark.parametrize("room", ROOMS)
def test_imports_only_downwards(room):
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    below = {name for name, level in floor.items() if level < floor.get(room, 0)}
    assert {second for first, second in arrows() if first == room} <= below


def test_few_arrows_join_the_rooms():
    assert len(arrows()) <= MOST_ARROWS, sorted(arrows())


@for_each_module
def test_files_of_a_room_do_not_import_in_a_circle(module):
    def follow(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        for other in imports(name):
            inside = other.removeprefix("dlnlib.").replace(".", "/")
            if inside in MODULES and room_of(inside) == room_of(module):
                follow(inside, (*above, name))

    follow(module, ())
    assert f"dlnlib.{room_of(module)}" not in imports(module), "a room goes in by its own door"


@for_each_module
def test_only_plotting_draws(module):
    if module != "plotting":
        assert not [name for name in imports(module) if name.startswith("matplotlib")]


@for_each_module
def test_symbolic_knows_nothing_of_the_numerical_rooms(module):
    if room_of(module) == ALONE:
        for name in imports(module):
            allowed = name.split(".")[0] in MAY_IMPORT or room_of(name) == ALONE
            assert allowed, f"{module} imports {name}"


@for_each_module
def test_what_is_private_stays_in_its_file(module):
    taken = [n for name, names in imports(module).items() if "dlnlib" in name for n in names]
    assert not [name for name in taken if name.startswith("_") and name != "__version__"]


@for_each_module
def test_nothing_is_idle(module):
    """What no door names is used, in its file or by another one."""
    names = {node.id for node in ast.walk(tree(module)) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}
    own = f"dlnlib.{module.replace('/', '.')}"
    taken = set().union(*(imports(other).get(own, set()) for other in MODULES))
    doors = set(exported(room_of(module))) if room_of(module) in DOORS else set()
    idle = {node.name for node in named(module)} - names - taken - doors
    assert not idle, f"nobody uses {sorted(idle)} of {module}"


@for_each_door
def test_doors_name_what_they_open_to(room):
    names = exported(room)
    assert len(names) == len(set(names))
    assert set(public(room)) == set(names)


@for_each_module
def test_only_doors_have_a_list_of_names(module):
    text = ast.dump(tree(module))
    assert module in DOORS or "__all__" not in text


@for_each_door
def test_public_names_are_described(room):
    assert ast.get_docstring(tree(room)), f"dlnlib.{room} has no docstring"
    for name, node in public(room).items():
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        text = ast.get_docstring(node)
        assert text, f"{room}.{name} has no docstring"
        if isinstance(node, ast.FunctionDef):
            for section in sections(node):
                assert f"{section}\n{'-' * len(section)}" in text, (
                    f"the docstring of {room}.{name} has no section {section!r}"
                )


@for_each_door
def test_public_names_have_an_example(room):
    """Classes that functions return may do without: the examples of the functions show them."""
    functions = [n for n in public(room).values() if isinstance(n, ast.FunctionDef)]
    returned = " ".join(ast.unparse(node.returns) for node in functions if node.returns)
    for name, node in public(room).items():
        made = isinstance(node, ast.ClassDef) and re.search(rf"\b{name}\b", returned)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not made:
            assert "Examples\n--------\n>>> " in ast.get_docstring(node), f"{room}.{name}"


def sections(function: ast.FunctionDef) -> list[str]:
    """The numpydoc sections that a function owes its reader."""
    arguments = function.args
    takes = arguments.args + arguments.kwonlyargs + arguments.posonlyargs
    gives = [n for n in ast.walk(function) if isinstance(n, ast.Return) and n.value is not None]
    yields = "Yields" in ast.get_docstring(function)
    owed = {"Parameters": takes, "Returns": takes and gives and not yields}
    return [name for name, reason in owed.items() if reason]


@for_each_module
def test_every_file_says_what_it_holds(module):
    assert ast.get_docstring(tree(module))
    for node in named(module):
        if not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module}.{node.name} has no docstring"


@for_each_module
def test_randomness_is_an_argument(module):
    # A sweep is the one place that makes streams: one per cell, from its seed and parameters.
    # So does a training of a deep network, one per epoch, from its trial; pictures that come
    # without a split get one that is always the same.
    makers = {"studies/sweeps", "deep/experiments", "deep/images"}
    allowed = {"default_rng"} if module in makers else set()
    names = {"seed", "default_rng", "RandomState", "SeedSequence", "PCG64"} - allowed
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute) and node.attr in names:
            pytest.fail(f"{module}: take rng: np.random.Generator as an argument instead")
