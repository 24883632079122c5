"""Mutation testing: change one place of the package at a time and see whether a test notices.

Usage: ``python -m tools.mutants [number] [seed] [module or folder ...]``
(``make mutants N=300 SEED=0 BELOW=dlnlib/modes``).
The sample takes one mutant from each of ``number`` equal stretches of the numerical code.  A mutant
is tried against the examples of its own module and the test files of its room; survivors are
printed, ``tools/mutants.toml`` names those that change nothing a caller can see.  What noticed a
mutant stands in ``_build/mutants.json`` and is asked first the next time.

Ready-made tools do not serve here.  mutmut (3.8) leaves decorated functions alone, and so every
compiled kernel; cosmic-ray (8.7) rewrites the working tree, knows one test command for all files,
and has no operator for a changed default, a dropped statement, or ``min`` for ``max``.
"""

import ast
import itertools
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ROOMS = "tasks modes entropy measures flow random_matrix stopping sgd studies symbolic".split()
COMPILED = "tests/package/test_compiled.py"  # its imports are in the programs it runs
NOTICED = ROOT / "_build" / "mutants.json"
WORKERS = 2
# One process imports what takes long, and each run of tests is a fork of it.
FORKS = multiprocessing.get_context("forkserver")
SLOW = """numba numpy scipy.optimize scipy.integrate sklearn.datasets sklearn.manifold sympy pandas
joblib matplotlib.pyplot hypothesis.extra.numpy nbval.plugin jupytext mpmath beartype jaxtyping"""
LEFT_OUT = [".git", ".venv*", "_build", "__pycache__", "*.egg-info", ".*_cache", "*.ipynb"]

_OTHER = {
    ast.Lt: [ast.LtE, ast.GtE], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt], ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is], ast.In: [ast.NotIn], ast.NotIn: [ast.In], ast.Add: [ast.Sub],
    ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult], ast.Pow: [ast.Mult],
    ast.FloorDiv: [ast.Div], ast.Mod: [ast.Mult], ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd],
    ast.And: [ast.Or], ast.Or: [ast.And],
}  # fmt: skip
_PAIRS = "min max any all zeros ones floor ceil argmin argmax minimum maximum".split()
_TWIN = dict(zip(_PAIRS[::2] + _PAIRS[1::2], _PAIRS[1::2] + _PAIRS[::2], strict=True))


class Mutant(NamedTuple):
    """One changed place: the lines before and after, and the whole text of the changed file."""

    module: str
    function: str
    old: str
    new: str
    text: str = ""


def _changed(node: ast.AST) -> Iterator[str]:
    """Source of everything that may stand in the place of a node."""
    field = "ops" if isinstance(node, ast.Compare) else "op"
    ops = getattr(node, field, None)
    for i, op in enumerate(ops if field == "ops" else [ops]):
        for other in _OTHER.get(type(op), []) if isinstance(node, ast.expr | ast.AugAssign) else []:
            new = [*ops[:i], other(), *ops[i + 1 :]] if field == "ops" else other()
            swapped = type(node)(**{**dict(ast.iter_fields(node)), field: new})
            statement = isinstance(node, ast.stmt)
            yield ast.unparse(swapped) if statement else f"({ast.unparse(swapped)})"
    match node:
        case ast.Constant(value=bool() as value):
            yield repr(not value)
        case ast.Constant(value=int() as value):
            yield repr(value + 1)
        case ast.Constant(value=float() as value):
            yield repr(2 * value or 1.0)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield f"({ast.unparse(operand)})"
        case ast.Name(id=name) if name in _TWIN:
            yield _TWIN[name]
        case ast.Attribute(value=value, attr=name) if name in _TWIN:
            yield ast.unparse(ast.Attribute(value, _TWIN[name]))
        case ast.AugAssign() | ast.Raise() | ast.Expr(value=ast.Call()):
            yield "pass"
        case ast.Assign(targets=[ast.Subscript()]):
            yield "pass"


def _places(node: ast.AST, function: str) -> Iterator[tuple[ast.AST, str]]:
    """All nodes that do something; messages, annotations and decorators do not."""
    yield node, function
    if isinstance(node, ast.Raise | ast.JoinedStr):
        return
    if isinstance(node, ast.FunctionDef):
        function = node.name
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _places(child, function)


def mutants(module: str) -> Iterator[Mutant]:
    """All mutants of a module, from top to bottom."""
    text = (ROOT / module).read_bytes()
    lines = text.splitlines(keepends=True)
    for node, function in _places(ast.parse(text), "<module>"):
        for new in _changed(node):
            before = lines[node.lineno - 1][: node.col_offset]
            after = lines[node.end_lineno - 1][node.end_col_offset :]
            above, below = lines[: node.lineno - 1], lines[node.end_lineno :]
            old = b"".join(lines[node.lineno - 1 : node.end_lineno]).decode().split()
            line = before + new.encode() + after
            changed = b"".join([*above, line, *below]).decode()
            yield Mutant(module, function, " ".join(old), " ".join(line.decode().split()), changed)


@cache
def _imports(path: str) -> list[tuple[str, str]]:
    """Module and name of each import from the package, doors resolved to what stands behind."""
    found = []
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        for alias in node.names if isinstance(node, ast.ImportFrom) else []:
            place = (node.module or "").replace(".", "/")
            door = f"{place}/__init__.py"
            if (ROOT / f"{place}.py").exists() and place.startswith("dlnlib"):
                found.append((f"{place}.py", alias.name))
            elif place == "dlnlib" and (ROOT / place / alias.name).is_dir():
                found += _imports(f"dlnlib/{alias.name}/__init__.py")
            elif place.startswith("dlnlib/") and (ROOT / door).exists():
                found += [(m, name) for m, name in _imports(door) if name == alias.name]
    return found


@cache
def _reached(path: str) -> frozenset[str]:
    """The modules that a file imports, and what these import."""
    below = {module for module, _ in _imports(path)}
    return frozenset(below.union(*(_reached(module) for module in below if module != path)))


@cache
def tests_of(module: str) -> list[str]:
    """The test files of its room, the room being where a test file takes most of its names from."""
    found = []
    for test in sorted((ROOT / "tests").glob("[pc]*/test_*.py"), reverse=True):
        path = test.relative_to(ROOT).as_posix()
        rooms = Counter(place.split("/")[1] for place, _ in _imports(path))
        if rooms[module.split("/")[1]] == max(rooms.values(), default=-1):
            found += [path] if module in _reached(path) else []
    return found + [COMPILED] * (module in _read_by_kernels())


@cache
def _read_by_kernels() -> frozenset[str]:
    """Modules whose change the cache of numba would not see, or not undo."""
    every = [path.relative_to(ROOT).as_posix() for path in (ROOT / "dlnlib").rglob("*.py")]
    kernels = [path for path in every if ("dlnlib/_compiled.py", "compiled") in _imports(path)]
    return frozenset(kernels).union(*map(_reached, kernels))


class _QuickFirst:
    """Within a file the quick tests come first: most mutants fall at once."""

    def __init__(self, seconds: dict[str, float]):
        self.seconds = seconds

    def pytest_collection_modifyitems(self, items: list) -> None:
        """Sort the tests; files stay in their order."""
        files = list(dict.fromkeys(item.path for item in items))
        items.sort(key=lambda i: (files.index(i.path), self.seconds.get(i.nodeid, 0.0)))


def _pytest(
    copy: Path, asked: list[str], seconds: dict[str, float], limit: float, cache: str, printed: Path
) -> None:
    """Run tests in a copy; called in a process of its own."""
    os.setsid()  # the processes of a test end with it
    os.nice(10)
    os.chdir(copy)
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
    os.environ |= {"NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(copy)}
    sys.path.insert(0, str(copy))
    for name in [name for name in sys.modules if name.split(".")[0] == "tools"]:
        del sys.modules[name]
    with printed.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import pytest

    options = ["-q", "-n", "0", "--tb=line", "--assert=plain", "-p", "no:cacheprovider"]
    status = pytest.main([*options, *asked], plugins=[_QuickFirst(seconds)])
    sys.stdout.flush()  # the names of failed tests come last, and where nobody watches in a buffer
    os._exit(status)


def run(
    copy: Path, asked: list[str], seconds: dict[str, float], limit: float, fresh: bool = False
) -> tuple[bool, str]:
    """Whether tests passed in a copy of the book, and what they printed.

    The limit is one of computing, so that a busy machine does not pass for an endless loop; four
    times as much may pass on the clock.
    """
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder, "printed")
        cache = folder if fresh else str(copy / ".numba")
        process = FORKS.Process(target=_pytest, args=(copy, asked, seconds, limit, cache, printed))
        process.start()
        process.join(4 * limit)
        if process.exitcode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
        text = printed.read_text(errors="replace") if printed.exists() else ""
        return process.exitcode == 0, text


class Copies:
    """Copies of the book, one per worker, and what is known of the tests.

    How long each takes, which fail before anything is changed, and which noticed a mutant the last
    time: that one is asked first, so that a run that was stopped soon stands where it stood.
    """

    def __init__(self, folder: str):
        self.free, self.total, self.seconds, self.failing = SimpleQueue(), {}, {}, []
        self.noticed = json.loads(NOTICED.read_text()) if NOTICED.exists() else {}
        for i in range(WORKERS):
            copy = Path(folder, str(i))
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
            self.free.put(copy)

    def time(self, file: str) -> None:
        """Run a test file as it is."""
        copy, start = self.free.get(), time.monotonic()
        passed, printed = run(copy, ["--durations=0", "-vv", file], {}, 1200)
        self.total[file] = time.monotonic() - start
        self.free.put(copy)
        for took, test in re.findall(r"^([\d.]+)s call +(.+)$", printed, re.MULTILINE):
            self.seconds[test] = float(took)
        failing = sorted({test.split("[")[0] for test in _failures(printed)})
        if not passed and not failing:
            raise SystemExit(f"{file} does not run before anything is changed:\n{printed[-2000:]}")
        for test in failing:
            print(f"left out, as it fails before anything is changed: {test}", flush=True)
            self.failing += ["--deselect", test]

    def survives(self, mutant: Mutant) -> bool:
        """Whether no test notices a mutant."""
        copy, name = self.free.get(), _alike(*mutant[:4])
        file = copy / mutant.module
        file.write_text(mutant.text, encoding="utf-8")
        files = tests_of(mutant.module)
        limit = 60 + 4 * sum(self.total[name] for name in files)
        before = dict.fromkeys(self.noticed.get(name, []), -1.0)
        asked = ["-x", *self.failing, *before, mutant.module, *files]
        fresh = mutant.module in _read_by_kernels()
        survives, printed = run(copy, asked, self.seconds | before, limit, fresh)
        shutil.copy2(ROOT / mutant.module, file)
        self.free.put(copy)
        shown = f"{mutant.module} {mutant.function}: {mutant.old} -> {mutant.new}"
        print(shown if survives else ".", flush=True)
        if not survives:
            self.noticed[name] = _failures(printed)
            NOTICED.parent.mkdir(exist_ok=True)
            NOTICED.write_text(json.dumps(self.noticed, indent=1))
        return survives


def _failures(printed: str) -> list[str]:
    return re.findall(r"^FAILED (.+?)(?: - .*)?$", printed, re.MULTILINE)


def _alike(*parts: str) -> str:
    return "|".join(parts).translate(str.maketrans("'", '"', " ()"))


def equivalents() -> set[str]:
    """The mutants that change nothing a caller can see."""
    named = tomllib.loads((ROOT / "tools" / "mutants.toml").read_text(encoding="utf-8"))
    return {_alike(*mutant) for group in named["group"] for mutant in group["mutants"]}


def out_of_date() -> list[str]:
    """Those of them that no change of the package makes any more."""
    named = equivalents()
    modules = {mutant.split("|")[0] for mutant in named}
    made = {_alike(*mutant[:4]) for module in modules for mutant in mutants(module)}
    return sorted(named - made)


def main(number: int = 300, seed: int = 0, *below: str) -> int:
    """Try a sample, print the survivors."""
    FORKS.set_forkserver_preload(SLOW.split())
    places = below or [f"dlnlib/{room}" for room in ROOMS]
    files = [
        path for place in places for path in sorted((ROOT / place).rglob("*.py")) or [ROOT / place]
    ]
    every = [mutant for path in files for mutant in mutants(path.relative_to(ROOT).as_posix())]
    number, rng = min(number, len(every)), random.Random(seed)
    cuts = [i * len(every) // number for i in range(number + 1)]
    sample = [every[rng.randrange(i, j)] for i, j in itertools.pairwise(cuts)]
    known = equivalents()
    for mutant in out_of_date():
        print(f"tools/mutants.toml names what is not made any more: {mutant}")
    tried = [mutant for mutant in sample if _alike(*mutant[:4]) not in known]
    rng.shuffle(tried)  # so that a run that is stopped has tried all rooms
    needed = {file for mutant in tried for file in tests_of(mutant.module)}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as pool:
        copies = Copies(folder)
        list(pool.map(copies.time, sorted(needed)))
        verdicts = list(pool.map(copies.survives, tried))
    print(f"{number} of {len(every)} mutants, {number - len(tried)} of them equivalent, ", end="")
    print(f"{verdicts.count(False)} of {len(tried)} noticed")
    return any(verdicts)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3]), *sys.argv[3:]))
