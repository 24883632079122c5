"""What a function will compute, as text that another day's function can be compared with."""

import copyreg
import dis
import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType

WORDS = (type(None), bool, int, float, complex, str, bytes, type(...), range)


def function_name(function: Callable) -> str:
    """Where a function is defined; of a partial, the function that it completes."""
    while isinstance(function, partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def identity(function: Callable) -> dict[str, str]:
    """All that a function depends on, by name: code, defaults, closed-over and global values.

    What it reaches is followed into all code that is not installed, and into the state of objects
    as `pickle` sees it.
    """
    found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}  # compiles the code
    for name, value in _named_parts(function):
        try:
            digest = hashlib.sha256("\n".join(_pieces(value, {})).encode(errors="replace"))
        except Exception as error:  # what objects raise that cannot be pickled is their own choice
            raise ValueError(
                f"the {name} of {function_name(function)}, of type {type(value).__name__}, cannot "
                f"be compared with that of a later run ({error}): make it inside the function, or "
                "sweep without path"
            ) from error
        text = repr(value) if isinstance(value, WORDS) else type(value).__name__
        short = isinstance(value, WORDS) and len(text) <= 40
        found[name] = text if short else f"{text[:40]} ({digest.hexdigest()[:16]})"
    return found


def _named_parts(function: Callable) -> Iterator[tuple[str, object]]:
    """The parts of a function under the names that its author knows."""
    if isinstance(function, partial):
        yield from ((f"argument {i}", value) for i, value in enumerate(function.args))
        yield from ((f"argument {key}", value) for key, value in function.keywords.items())
        yield from _named_parts(function.func)
    elif isinstance(function, MethodType):
        yield "object", function.__self__
        yield from _named_parts(function.__func__)
    elif not isinstance(function, FunctionType):
        yield "object", function
    else:
        code, wrapped = function.__code__, getattr(function, "__wrapped__", None)
        if wrapped is not None:
            yield "wrapped function", wrapped
        yield "code", code
        arguments = code.co_varnames[: code.co_argcount]
        defaults = function.__defaults__ or ()
        filled = zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True)
        yield from ((f"default of {key}", value) for key, value in filled)
        for key, value in (function.__kwdefaults__ or {}).items():
            yield f"default of {key}", value
        for key, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            yield f"closed-over value {key}", _content(cell)
        names = _looked_up(code, "LOAD_GLOBAL", "LOAD_NAME") - {"__file__", "__name__"}
        taken = _looked_up(code, "LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")
        reached = {key: function.__globals__[key] for key in names & function.__globals__.keys()}
        reached |= _imported(code)
        for key in sorted(reached):
            for path, value in _inside(key, reached[key], taken):
                yield f"global {path}", value


def _content(cell) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return "not yet set"


def _looked_up(code: CodeType, *operations: str) -> set[str]:
    """Names that some operations of a code, and of those inside it, look up."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    names = {i.argval for i in dis.get_instructions(code) if i.opname in operations}
    return names.union(*(_looked_up(part, *operations) for part in inner))


def _imported(code: CodeType) -> dict[str, ModuleType]:
    """Modules of the reader's own that a code imports while it runs."""
    found = {}
    for name in _looked_up(code, "IMPORT_NAME"):
        with suppress(ImportError):
            if not _installed(name):
                found[f"import {name}"] = import_module(name)
    return found


def _inside(path: str, value: object, names: set[str]) -> Iterator[tuple[str, object]]:
    """A global value; in place of a module of the reader's own, what is taken from it."""
    if not isinstance(value, ModuleType) or _installed(value.__name__):
        yield path, value
        return
    for name, part in sorted(vars(value).items()):
        if name in names:
            yield from _inside(f"{path}.{name}", part, names)


def _installed(module: str | None) -> bool:
    """Whether a module is part of Python or of an installed package: these go by their name."""
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    parts = Path(file).parts if file else ()
    top = (module or "").partition(".")[0]
    return top in sys.stdlib_module_names or bool({"site-packages", "dist-packages"} & {*parts})


def _pieces(value: object, seen: dict) -> Iterator[str]:
    """A value as a sequence of texts; ``seen`` numbers the functions and classes met before."""
    kind = type(value)
    yield f"{kind.__module__}.{kind.__qualname__}"
    if kind in WORDS:
        yield repr(value)
    elif kind in (tuple, list):
        yield str(len(value))
        for item in value:
            yield from _pieces(item, seen)
    elif kind is dict:
        yield from _pieces([*value.items()], seen)
    elif kind in (set, frozenset):  # in an order of its own in every process
        yield from sorted("\n".join(_pieces(item, {})) for item in value)
    elif kind is CodeType:
        yield from (value.co_code.hex(), value.co_exceptiontable.hex())
        yield repr((value.co_flags, value.co_argcount, value.co_posonlyargcount))
        yield repr((value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars))
        yield from _pieces(value.co_consts, seen)
    elif kind is ModuleType:
        yield value.__name__
    elif isinstance(value, type | FunctionType) or hasattr(value, "__wrapped__"):
        yield f"{value.__module__}.{getattr(value, '__qualname__', '')}"
        if id(value) in seen:
            yield f"again {seen[id(value)][0]}"
        elif not _installed(value.__module__):
            seen[id(value)] = len(seen), value  # held, so that its id stays its own
            yield from _pieces([*_parts(value)], seen)
    elif isinstance(value, property | cached_property | MethodType | partial):
        yield from _pieces([*_parts(value)], seen)
    else:
        copy = copyreg.dispatch_table.get(kind)
        made = copy(value) if copy else value.__reduce_ex__(4)
        if isinstance(made, str):
            yield f"{getattr(value, '__module__', '')} {made}"
        else:
            function, arguments, state, *rest = (*made, None, None, None)[:5]
            items = [None if more is None else [*more] for more in rest]
            yield from _pieces([function, arguments, state, *items], seen)


def _parts(value: object) -> Iterator[object]:
    """What a function, class or descriptor is made of."""
    if isinstance(value, type):
        yield value.__bases__
        for name, part in vars(value).items():
            if isinstance(part, FunctionType) or not name.startswith(("__", "_abc_")):
                yield name, part
    elif isinstance(value, property):
        yield from (value.fget, value.fset)
    elif isinstance(value, cached_property):
        yield value.func
    elif isinstance(value, FunctionType | MethodType | partial):
        yield from _named_parts(value)
    else:
        yield value.__wrapped__
