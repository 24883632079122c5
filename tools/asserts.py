"""Find the assertions of the chapters that nothing can break.

Usage: ``python -m tools.asserts [chapter ...]`` (``make asserts CHAPTER=intro``).
Each trial changes one source of a chapter's numbers in one cell: what a function of `dlnlib`
returns there (noisy, reversed, stretched, ...), or a number given in the code, a seed among them.
What the cells make of these sources is left alone, so that an assertion that holds by
construction survives.  Parts of an assertion joined by ``and`` or in a chain of comparisons count
one by one.  The parts that were never false, or never asked, are listed; those that are to stay
stand with their reason in ``tools/asserts_kept.toml``, and any other makes the command fail.

The chapter runs once as it is; the names before each cell and the results of `dlnlib` are kept.
A trial is a fork of the process.  It runs the changed cell and those through which the change
reaches one assertion, and notes every part that is false on the way.  Cheap trials come first,
and the search ends when all that has no reason is broken.
"""

import argparse
import ast
import collections
import contextlib
import copy
import dataclasses
import dis
import functools
import hashlib
import importlib
import inspect
import os
import pickle
import select
import signal
import sys
import time
import tomllib
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sympy

from tools.bless import CHAPTERS, chapter_cells, chapters

KEPT = Path(__file__).with_name("asserts_kept.toml")
NOTE = "__note__"  # a name that no chapter gives to anything
BUDGET = 300  # seconds of the processor for the trials of a chapter, unless told otherwise


# --- what is asserted ---


class Part(NamedTuple):
    """One thing that an assertion asks, and the cell in which it stands."""

    cell: int
    text: str


def parts_of(test: ast.expr) -> Iterator[ast.expr]:
    """The conditions that ``and`` and chains of comparisons join."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        for value in test.values:
            yield from parts_of(value)
    elif isinstance(test, ast.Compare) and len(test.ops) > 1:
        sides = [test.left, *test.comparators]
        for left, op, right in zip(sides, test.ops, sides[1:], strict=False):
            if not (isinstance(left, ast.Constant) and isinstance(right, ast.Constant)):
                yield ast.Compare(left, [op], [right])
    else:
        yield test


class _Recorder(ast.NodeTransformer):
    """Replaces an assertion by notes on its parts, so that a run goes on after a false one."""

    def __init__(self, cell: int, parts: list[Part]) -> None:
        self.cell, self.parts = cell, parts

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        notes = []
        for test in parts_of(node.test):
            note = ast.parse(f"try: {NOTE}(0, 0)\nexcept Exception: pass").body[0]
            note.body[0].value.args = [ast.Constant(len(self.parts)), test]
            self.parts.append(Part(self.cell, ast.unparse(test)))
            notes.append(ast.fix_missing_locations(ast.copy_location(note, node)))
        return notes


# --- what is changed ---


_noise = np.random.default_rng(1)  # goes on from result to result: no two have the same error


def _noisy(x: np.ndarray) -> np.ndarray:
    return x * np.exp(0.3 * _noise.standard_normal(x.shape))


def _other(x: np.ndarray) -> np.ndarray:
    """Another count, the opposite verdict, something finite in place of infinity."""
    if x.dtype.kind in "bi":
        return ~x if x.dtype.kind == "b" else x + 1
    return np.nan_to_num(x, nan=1.0, posinf=1.0, neginf=-1.0)


def _fewer(x: np.ndarray) -> np.ndarray:
    """Half of a list; `changed` sees to it."""
    return x


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "noisy": _noisy,
    "reversed": lambda x: x[::-1] if x.ndim else -x,
    "stretched": lambda x: 1.3 * x,
    "negated": lambda x: -x,
    "shrunk": lambda x: 1e-3 * x,
    "shifted": lambda x: x + 0.5,
    "bent": lambda x: np.sign(x) * np.sqrt(np.abs(x)),
    "other": _other,
    "fewer": _fewer,
}


CALLS = ((0, 1), (0,), (1,))  # all calls of a function in a cell, or every other one


def changed(value: Any, change: Callable) -> Any:
    """The value with the change made to every number in it."""
    if isinstance(value, sympy.Expr):
        return value + 1 if change is _other else 2 * value
    if isinstance(value, bool | int | float | np.generic):
        return changed(np.asarray(value), change)[()]
    if isinstance(value, np.ndarray):
        return change(value) if value.dtype.kind in ("bif" if change is _other else "f") else value
    if isinstance(value, pd.DataFrame):
        twin = value.copy()
        for name in twin:
            if twin[name].nunique() > len(twin) / 2:  # a result: parameters come again
                twin[name] = changed(twin[name].to_numpy(), change)
        return twin
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(changed(item, change) for item in value))
    if isinstance(value, list | tuple):
        value = value[: len(value) // 2] if change is _fewer else value
        return type(value)(changed(item, change) for item in value)
    if isinstance(value, dict):
        return {key: changed(item, change) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        twin = object.__new__(type(value))  # without what the old one has worked out
        for field in dataclasses.fields(value):
            object.__setattr__(twin, field.name, changed(getattr(value, field.name), change))
        return twin
    return value


@dataclasses.dataclass
class Now:
    """What the sources have to know: the cell that runs, and in a trial what is changed."""

    cell: int = 0
    trial: "Trial | None" = None
    calls: int = 0  # so far, of the source that is changed


class Source:
    """A function of `dlnlib`, whose results are kept in the first run and changed in a trial."""

    def __init__(self, function: Callable, now: Now) -> None:
        functools.update_wrapper(self, function)
        self.function, self.now = function, now
        self.results: dict[bytes, tuple[Any, list]] = {}  # by the input
        self.calls: collections.Counter[int] = collections.Counter()  # by the cell that runs
        self.spent: collections.Counter[int] = collections.Counter()

    def __reduce__(self) -> tuple:
        return _named, (self.function.__module__, self.function.__qualname__)

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """The result, as the chapter is to see it."""
        trial, cell = self.now.trial, self.now.cell
        streams = [x for x in (*args, *settings.values()) if isinstance(x, np.random.Generator)]
        try:
            key = hashlib.sha1(pickle.dumps((args, settings))).digest()
        except Exception:  # a function of the page, for example
            key = b""
        if key in self.results:
            value, states = self.results[key]
            for stream, state in zip(streams, states, strict=True):
                stream.bit_generator.state = state
        else:
            start = time.process_time()
            value = self.function(*args, **settings)
            if isinstance(value, types.GeneratorType):
                value = _Items(value)
            self.spent[cell] += time.process_time() - start
            if not trial and key:
                self.results[key] = value, [stream.bit_generator.state for stream in streams]
        self.calls[cell] += 1
        if trial and trial.source is self and trial.cell == cell:
            self.now.calls += 1
            if self.now.calls % 2 in trial.calls:
                value = changed(value, trial.what)
        return iter(value) if isinstance(value, _Items) else value


class _Items(list):
    """What a generator gave."""


def _named(module: str, name: str) -> Callable:
    return getattr(importlib.import_module(module), name)


class _OtherNumber(ast.NodeTransformer):
    """Changes the number at one place of the code, counted from the start.

    Only what is given to a formula: no index or axis, and no term, factor or exponent in it.
    """

    def __init__(self, place: int) -> None:
        self.place, self.seen, self.values = place, 0, ()

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.Subscript:
        node.value = self.visit(node.value)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.BinOp:
        for side in ("left", "right"):
            if not isinstance(getattr(node, side), ast.Constant):
                setattr(node, side, self.visit(getattr(node, side)))
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.keyword:
        return node if node.arg == "axis" else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if type(node.value) not in (int, float):
            return node
        self.seen += 1
        if self.seen - 1 != self.place:
            return node
        if isinstance(node.value, int):
            self.values = (node.value + 1, max(node.value // 20, 1))
        else:
            self.values = (1.5 * node.value + 1e-6, node.value / 20)
        self.found = ast.copy_location(ast.Constant(node.value), node)
        return self.found


def other_numbers(source: str) -> Iterator[ast.Module]:
    """The code with one of its numbers changed: somewhat larger, or much smaller."""
    place = 0
    while True:
        swap = _OtherNumber(place)
        swap.visit(ast.parse(source))
        if not swap.values:
            return
        for value in swap.values:
            swap = _OtherNumber(place)
            tree = swap.visit(ast.parse(source))
            if swap.found.value != value:
                swap.found.value = value
                yield tree
        place += 1


# --- running ---


def _loaded(code: types.CodeType) -> set[str]:
    """Names of the page that a cell reads before it gives them, also inside its functions."""
    read, given = set(), set()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
            read |= {step.argval} - given
        elif step.opname == "STORE_NAME":
            given.add(step.argval)
        elif isinstance(step.argval, types.CodeType):
            read |= _loaded(step.argval) - given
    return read


def _imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (name.asname or name.name for name in node.names)


def _made(source: str, code: types.CodeType) -> tuple[set[str], set[str]]:
    """Names that a cell gives anew, and those that it fills."""
    given = {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_NAME"}
    filled = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            filled.update(n.id for n in ast.walk(node) if isinstance(n, ast.Name))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            # a call that is a statement may fill what it is a method of: rows.append(...)
            function = node.value.func
            if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
                filled.add(function.value.id)
    return given, filled


def _twin(value: Any) -> Any:
    """What later cells cannot use up or fill, for the usual ways."""
    if isinstance(value, np.random.Generator):
        return copy.deepcopy(value)
    return copy.copy(value) if type(value) in (list, dict, set) else value


def _spent() -> float:
    """Seconds of the processor, those of finished trials with them."""
    return sum(os.times()[:4])


GONE = object()  # the value of a name whose cell failed


class Trial(NamedTuple):
    """A change in a cell: of a source, or of the cell's code."""

    cell: int
    source: Source | None
    what: Any  # the change of the source, or the changed code
    calls: tuple[int, ...] = (0, 1)  # of the source, that are changed: even and odd ones


class Chapter:
    """A chapter's cells, made to run with notes in place of its assertions."""

    def __init__(self, sources: list[str]) -> None:
        self.parts: list[Part] = []
        while sources and not any(
            isinstance(x, ast.Assert) for x in ast.walk(ast.parse(sources[-1]))
        ):
            sources = sources[:-1]  # what comes after the last assertion
        self.sources, self.now = sources, Now()
        # Instrumented once here; a changed cell is instrumented again, to the same numbers.
        self.first, self.code, self.made = [], [], []
        modules = {name for source in sources for name in _imported(source)}
        for cell, source in enumerate(sources):
            self.first.append(len(self.parts))
            self.code.append(self._compiled(cell, ast.parse(source), self.parts))
            given, filled = _made(source, compile(source, "cell", "exec"))
            self.made.append((given, filled - modules))
        self.used = list(self._used())
        self.ways = [self.paths(cell) for cell in range(len(sources))]
        self.asked: set[int] = set()
        self.broken: set[int] = set()

    @staticmethod
    def _compiled(cell: int, tree: ast.Module, parts: list[Part]) -> types.CodeType:
        tree = ast.fix_missing_locations(_Recorder(cell, parts).visit(tree))
        return compile(tree, f"cell {cell}", "exec")

    def _used(self) -> Iterator[set[str]]:
        """What each cell reads, also inside the functions that it calls."""
        inside: dict[str, set[str]] = {}
        for code, (given, _) in zip(self.code, self.made, strict=True):
            read = _loaded(code)
            read = read.union(*(inside.get(name, set()) for name in read))
            inside = {name: names for name, names in inside.items() if name not in given}
            for constant in code.co_consts:
                if isinstance(constant, types.CodeType) and constant.co_name in given:
                    own = _loaded(constant)
                    inside[constant.co_name] = own.union(*(inside.get(n, set()) for n in own))
            yield read

    def run(self) -> None:
        """Run the chapter as it is; keep the names before each cell and the time that it takes."""
        self.before, self.cost = [], []
        self.space = {"__name__": "__main__", NOTE: lambda part, holds: self.asked.add(part)}
        self.known = []  # how much of it for results that are kept
        sources: dict[Callable, Source] = {}
        for cell, code in enumerate(self.code):
            self.now.cell = cell
            for name, value in self.space.items():
                home = getattr(value, "__module__", None) or ""
                if home.startswith("dlnlib.") and not home.startswith("dlnlib.plotting"):
                    if inspect.isfunction(inspect.unwrap(value)) and not isinstance(value, Source):
                        self.space[name] = sources.setdefault(value, Source(value, self.now))
            self.before.append({name: _twin(value) for name, value in self.space.items()})
            start = time.process_time()
            exec(code, self.space)
            self.cost.append(time.process_time() - start)
            self.known.append(sum(source.spent[cell] for source in sources.values()))

    def reach(self, cell: int) -> list[tuple[int, set[str]]]:
        """The cells that a change in a cell can reach, with the names that it changed before."""
        names, cells = set(), []
        for later in range(cell, len(self.sources)):
            given, filled = self.made[later]
            if later == cell or self.used[later] & names:
                cells.append((later, set(names)))
                names |= given | filled
            else:
                names -= given
        return [(later, names) for later, names in cells if not self._only_drawn(later)]

    def _only_drawn(self, cell: int) -> bool:
        return "plt.show()" in self.sources[cell] and not any(p.cell == cell for p in self.parts)

    def trials(self) -> Iterator[Trial]:
        """All that can be changed."""
        for cell, source in enumerate(self.sources):
            if self._only_drawn(cell):
                continue
            sources = {s for s in self.before[cell].values() if isinstance(s, Source)}
            for changing in sorted(sources, key=lambda s: s.__name__):
                for which in CALLS[: min(changing.calls[cell] ** 2, len(CALLS))]:
                    for change in CHANGES.values():
                        yield Trial(cell, changing, change, which)
            for tree in other_numbers(source):
                yield Trial(cell, None, tree)

    def paths(self, cell: int) -> dict[int, list[tuple[int, set[str]]]]:
        """By the cell of an assertion: the cells through which a change in a cell reaches it."""
        reached, found = self.reach(cell), {}
        for goal in {part.cell for part in self.parts} & {later for later, _ in reached}:
            way, used = [], set()
            for later, names in reversed(reached):
                if later == goal or (later < goal and used & set.union(*self.made[later])):
                    way.append((later, names))
                    used |= self.used[later]
            if way[-1][0] == cell:
                found[goal] = way[::-1]
        return found

    def seconds(self, trial: Trial, goal: int) -> float:
        """What a trial will take, without what is known from the first run."""
        saved = self.known[trial.cell] if trial.source else 0
        cost = sum(self.cost[later] for later, _ in self.ways[trial.cell][goal])
        return max(cost - saved, 0.05)  # a fork

    def attempt(self, trial: Trial, cells: list[tuple[int, set[str]]], seconds: float) -> None:
        """Run the cells with a change in a fork; note which parts were false."""
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            told = set()

            def note(part: int, holds: Any) -> None:
                # told at once, as a run that takes too long is stopped
                if not holds and part not in told:
                    told.add(part)
                    os.write(writer, b"%d\n" % part)

            signal.setitimer(signal.ITIMER_PROF, seconds)
            with contextlib.suppress(Exception):
                self._changed_run(trial, cells, note)
            os._exit(0)
        os.close(writer)
        text = b""
        end = time.perf_counter() + 20 * seconds
        while select.select([reader], [], [], max(0, end - time.perf_counter()))[0]:
            piece = os.read(reader, 65536)
            if not piece:
                break
            text += piece
        else:
            os.kill(child, signal.SIGKILL)
        os.close(reader)
        os.waitpid(child, 0)
        self.broken |= {int(part) for part in text.split()}

    def _changed_run(self, trial: Trial, cells: list, note: Callable) -> None:
        self.now.trial, space = trial, self.space
        if not trial.source:
            scratch = self.parts[: self.first[trial.cell]]
            again = self._compiled(trial.cell, trial.what, scratch)
        values: dict[str, Any] = {}
        for cell, names in cells:
            self.now.cell = cell
            space.clear()
            space.update(self.before[cell])
            space[NOTE] = note
            for name in names & values.keys():
                space[name] = values[name]
                if values[name] is GONE:
                    del space[name]
            old = dict(space)
            given, filled = self.made[cell]
            try:
                exec(again if cell == trial.cell and not trial.source else self.code[cell], space)
            except Exception:
                # What follows lacks its names; only a false part counts.
                new = {name for name in given if space.get(name, GONE) is not old.get(name, GONE)}
                values.update(dict.fromkeys(given - new, GONE))
                given = new
            values.update({name: space[name] for name in given | filled if name in space})

    def search(self, spared: set[str], budget: float) -> bool:
        """Run the trials until all but the spared is broken; False if time ran out."""
        self.run()
        start = _spent()
        wanted = {n for n, part in enumerate(self.parts) if part.text not in spared} & self.asked
        queue = [(trial, at) for trial in self.trials() for at in self.ways[trial.cell]]
        spent, failed = collections.Counter(), collections.Counter()
        while True:
            at = {self.parts[part].cell for part in wanted - self.broken}
            queue = [(trial, goal) for trial, goal in queue if goal in at]
            if not queue:
                return True
            if _spent() - start > budget:
                return False
            # cheap and near ones first, as much for each goal, rather from where few have failed
            costs = [
                spent[goal]
                + (1 + failed[trial.cell, goal])
                * (1 + goal - trial.cell)
                * (1 if trial.source else 3)
                * self.seconds(trial, goal)
                for trial, goal in queue
            ]
            trial, goal = queue.pop(costs.index(min(costs)))
            begin, count = _spent(), len(self.broken)
            self.attempt(trial, self.ways[trial.cell][goal], 3 * self.seconds(trial, goal) + 5)
            spent[goal] += _spent() - begin
            failed[trial.cell, goal] += len(self.broken) == count


@contextlib.contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    """No figures, no output, no warnings; the folder of the chapters as the current one."""
    here, errors = Path.cwd(), np.seterr(all="ignore")
    mpl.use("Agg")
    show, plt.show = plt.show, lambda: plt.close("all")
    os.chdir(folder)
    try:
        with (
            Path(os.devnull).open("w") as nothing,
            contextlib.redirect_stdout(nothing),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.chdir(here)
        plt.show = show
        np.seterr(**errors)


class Verdict(NamedTuple):
    """Of a chapter: all its parts, the numbers of those that were false, whether all was tried."""

    parts: list[str]
    broken: set[int]
    complete: bool

    @property
    def never_false(self) -> list[str]:
        """The parts that no trial has broken."""
        return [text for part, text in enumerate(self.parts) if part not in self.broken]


def judge(chapter: Path, spared: Iterable[str] = (), budget: float = BUDGET) -> Verdict:
    """Try to break all parts of a chapter but those that are spared."""
    found = Chapter([cell.source for cell in chapter_cells(chapter)])
    with _quiet(chapter.parent):
        complete = found.search(set(spared), budget)
    return Verdict([part.text for part in found.parts], found.broken, complete)


def asserted(chapter: Path) -> list[str]:
    """All that a chapter asserts, part by part."""
    cells = chapter_cells(chapter)
    return [part.text for part in Chapter([cell.source for cell in cells]).parts]


def kept() -> dict[str, dict[str, str]]:
    """By chapter: the parts that stay although nothing breaks them, with the reason."""
    return tomllib.loads(KEPT.read_text(encoding="utf-8"))


def main() -> int:
    """List what was never false, chapter by chapter."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="all of them, if none is named")
    parser.add_argument(
        "--seconds",
        type=float,
        default=BUDGET,
        help="of the processor, for a chapter",
    )
    given = parser.parse_args()
    known = {path.stem: path for path in chapters()}
    if unknown := [name for name in given.chapters if name not in known]:
        parser.error(f"no chapter with code cells: {', '.join(unknown)}")
    os.environ["JOBLIB_MULTIPROCESSING"] = "0"  # a stopped run would leave its workers behind
    fresh = 0
    for name in given.chapters or known:
        reasons = kept().get(name, {})
        start = _spent()
        found = judge(CHAPTERS / f"{name}.md", reasons, given.seconds)
        spent = _spent() - start
        stay = [part for part in found.never_false if part in reasons]
        open_ = [part for part in found.never_false if part not in reasons]
        short = "" if found.complete else ", not all tried"
        print(
            f"{name}: {len(found.broken)} parts broken, {len(stay)} kept with a reason, "
            f"{len(open_)} unexplained ({spent:.0f} s{short})",
            flush=True,
        )
        for part in open_:
            print(f"  {part}")
        for part in reasons.keys() - set(stay):
            print(f"  broken, needs no reason any more: {part}")
        fresh += len(open_)
    return int(fresh > 0)


if __name__ == "__main__":
    sys.exit(main())
