"""Find the assertions of the chapters that nothing can break.

Usage: ``python -m tools.asserts [chapter ...]`` (``make asserts CHAPTER=intro``).
A chapter runs many times, each time with one source of its numbers changed: what a function of
`dlnlib` returns (noisy, reversed, stretched, shrunk, negated), or a number given in the code of a
cell, a seed among them.  What the cells make of these sources is left alone, so that an assertion
that holds by construction survives.  Parts of an assertion joined by ``and`` or in a chain of
comparisons count one by one.  The parts that were never false are listed; those that are to stay
stand with their reason in ``tools/asserts_kept.toml``, and any other makes the command fail.

A changed run is a fork of the process just before the first cell that sees the change, and is
left out if no part that still stands can depend on it.  It is stopped after a thirtieth of the
time for the chapter: what comes later is reached from later cells.
"""

import argparse
import ast
import contextlib
import copy
import dataclasses
import functools
import inspect
import os
import select
import signal
import sys
import time
import tomllib
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from tools.bless import CHAPTERS, chapter_cells, chapters

KEPT = Path(__file__).with_name("asserts_kept.toml")
NOTE = "__note__"  # a name that no chapter gives to anything
BUDGET = 300  # seconds for a chapter, unless the command line says otherwise


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


def _noisy(x: np.ndarray) -> np.ndarray:
    return x * np.exp(0.3 * np.random.default_rng(1).standard_normal(x.shape))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "noisy": _noisy,
    "reversed": lambda x: x[::-1] if x.ndim else -x,
    "stretched": lambda x: 1.3 * x,
    "negated": lambda x: -x,
    "shrunk": lambda x: 1e-3 * x,
}


def changed(value: Any, change: Callable) -> Any:
    """The value with the change made to every float in it."""
    if isinstance(value, float | np.floating):
        return type(value)(change(np.asarray(value)))
    if isinstance(value, np.ndarray):
        return change(value) if value.dtype.kind == "f" else value
    if isinstance(value, types.GeneratorType):
        return (changed(item, change) for item in value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(changed(item, change) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(changed(item, change) for item in value)
    if isinstance(value, dict):
        return {key: changed(item, change) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        twin = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(twin, field.name, changed(getattr(value, field.name), change))
        return twin
    return value


def wrapped(function: Callable, change: Callable) -> Callable:
    """The function with its results changed."""

    @functools.wraps(function)
    def twin(*args: Any, **settings: Any) -> Any:
        return changed(function(*args, **settings), change)

    return twin


class _OtherNumber(ast.NodeTransformer):
    """Changes the number at one place of the code, counted from the start.

    Only what is given to a formula: no index or axis, and no term, factor or exponent in it.
    """

    def __init__(self, place: int) -> None:
        self.place, self.seen, self.text = place, 0, ""

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
        other = node.value + 1 if isinstance(node.value, int) else 1.5 * node.value + 1e-6
        self.text = f"{node.value} is {other:g}"
        return ast.copy_location(ast.Constant(other), node)


def other_numbers(source: str) -> Iterator[tuple[str, ast.Module]]:
    """The code with one of its numbers changed, for each number."""
    place = 0
    while True:
        swap = _OtherNumber(place)
        tree = swap.visit(ast.parse(source))
        if not swap.text:
            return
        yield swap.text, tree
        place += 1


# --- running ---


def _names(source: str) -> tuple[set[str], set[str]]:
    """Names that a cell reads, and names that it makes or fills."""
    read, made = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            made.update(n.id for n in ast.walk(node) if isinstance(n, ast.Name))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            # a call that is a statement may fill what it is a method of: rows.append(...)
            function = node.value.func
            if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
                made.add(function.value.id)
    return read, made


class Chapter:
    """A chapter's cells, made to run with notes in place of its assertions."""

    def __init__(self, sources: list[str]) -> None:
        self.parts: list[Part] = []
        self.sources, self.names = sources, [_names(source) for source in sources]
        # Instrumented once here; a changed cell is instrumented again, to the same numbers.
        self.first, self.code = [], []
        for cell, source in enumerate(sources):
            self.first.append(len(self.parts))
            self.code.append(self._compiled(cell, ast.parse(source), self.parts))
        self.unbroken = set(range(len(self.parts)))
        self.used = list(self._used())

    @staticmethod
    def _compiled(cell: int, tree: ast.Module, parts: list[Part]) -> types.CodeType:
        tree = ast.fix_missing_locations(_Recorder(cell, parts).visit(tree))
        return compile(tree, f"cell {cell}", "exec")

    def _used(self) -> Iterator[set[str]]:
        """What each cell reads, also inside the functions that it calls."""
        inside: dict[str, set[str]] = {}
        for source, (read, _) in zip(self.sources, self.names, strict=True):
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.FunctionDef):
                    own = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                    inside[node.name] = own.union(*(inside.get(n, set()) for n in own))
            yield read.union(*(inside.get(name, set()) for name in read))

    def _only_drawn(self, cell: int) -> bool:
        return "plt.show()" in self.sources[cell] and not any(p.cell == cell for p in self.parts)

    def within_reach(self, cell: int, names: set[str]) -> set[int]:
        """The unbroken parts, from a cell on, that a change of these names can reach."""
        names, cells = set(names), {cell}
        for later in range(cell, len(self.sources)):
            read, made = self.names[later]
            if later == cell or read & names:
                cells.add(later)
                names |= made
        return {part for part in self.unbroken if self.parts[part].cell in cells}

    def trial(
        self, space: dict, cell: int, code: types.CodeType, last: int, seconds: float
    ) -> None:
        """Run a changed cell and those up to the last in a fork; note which parts were false."""
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            told = set()

            def note(part: int, holds: Any) -> None:
                # told at once, as a run that takes too long is stopped
                if (fact := (part, bool(holds))) not in told:
                    told.add(fact)
                    os.write(writer, b"%d %d\n" % fact)

            space[NOTE] = note
            signal.setitimer(signal.ITIMER_REAL, seconds)
            for later in range(cell, last + 1):
                if later == cell or not self._only_drawn(later):
                    # What follows a cell that fails lacks its names; only a false part counts.
                    with contextlib.suppress(Exception):
                        exec(code if later == cell else self.code[later], space)
            os._exit(0)
        os.close(writer)
        text = b""
        end = time.perf_counter() + seconds + 5
        while select.select([reader], [], [], max(0, end - time.perf_counter()))[0]:
            piece = os.read(reader, 65536)
            if not piece:
                break
            text += piece
        else:
            os.kill(child, signal.SIGKILL)
        os.close(reader)
        os.waitpid(child, 0)
        facts = [line.split() for line in text.decode().splitlines()]
        self.unbroken -= {int(part) for part, holds in facts if holds == "0"}

    def changes(self, space: dict, cell: int) -> Iterator[tuple[set[str], Callable[[], Any]]]:
        """What can be changed at a cell: names within reach, and how to get the changed code."""
        made = self.names[cell][1]
        for name in sorted(self.used[cell]):
            function = space.get(name)
            home = getattr(function, "__module__", None) or ""
            if not home.startswith("dlnlib.") or home.startswith("dlnlib.plotting"):
                continue
            if inspect.isclass(function) or not callable(function):
                continue
            for change in CHANGES.values():
                twin = wrapped(function, change)
                yield {name}, lambda name=name, twin=twin: {name: twin}
        if not self._only_drawn(cell):
            for _, tree in other_numbers(self.sources[cell]):
                yield made, lambda tree=tree: tree

    def search(self, budget: float) -> bool:
        """Run the chapter with every change; False if time ran out."""
        space: dict[str, Any] = {"__name__": "__main__", NOTE: lambda part, holds: None}
        start, complete = time.perf_counter(), True
        for cell, code in enumerate(self.code):
            for names, change in self.changes(space, cell):
                reach = self.within_reach(cell, names)
                if not reach:
                    continue
                last = max(self.parts[part].cell for part in reach)
                left = budget - (time.perf_counter() - start)
                if left < 0:
                    complete = False
                    break
                what = change()
                if isinstance(what, dict):
                    kept = {name: space[name] for name in what}
                    space.update(what)
                    self.trial(space, cell, code, last, min(left, budget / 30))
                    space.update(kept)
                else:
                    scratch = self.parts[: self.first[cell]]
                    again = self._compiled(cell, what, scratch)
                    self.trial(space, cell, again, last, min(left, budget / 30))
            if not complete or not self.unbroken:
                break
            exec(code, space)
        return complete

    def never_false(self) -> list[str]:
        """The parts that no change has broken, in their order."""
        return [self.parts[part].text for part in sorted(self.unbroken)]


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


def never_false(chapter: Path, budget: float = BUDGET) -> tuple[list[str], int, bool]:
    """Of a chapter: parts that were never false, the number of all, whether all was tried."""
    found = Chapter([cell.source for cell in chapter_cells(chapter)])
    with _quiet(chapter.parent):
        complete = found.search(budget)
    return found.never_false(), len(found.parts), complete


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
    parser.add_argument("--seconds", type=float, default=BUDGET, help="for each chapter")
    given = parser.parse_args()
    known = {path.stem: path for path in chapters()}
    if unknown := [name for name in given.chapters if name not in known]:
        parser.error(f"no chapter with code cells: {', '.join(unknown)}")
    fresh = 0
    for name in given.chapters or known:
        found, number, complete = never_false(CHAPTERS / f"{name}.md", given.seconds)
        reasons = kept().get(name, {})
        short = "" if complete else f", and not all was tried in {given.seconds:g} s"
        print(f"{name}: {len(found)} of {number} parts were never false{short}", flush=True)
        for part in found:
            print(f"  {part}" + (f"  [kept: {reasons[part]}]" if part in reasons else ""))
            fresh += part not in reasons
    return int(fresh > 0)


if __name__ == "__main__":
    sys.exit(main())
