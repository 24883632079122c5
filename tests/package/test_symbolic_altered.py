"""Every line of every derivation, and every hypothesis, altered: refused, or still an equality."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import sympy as sp
from sympy.core.function import AppliedUndef

from dlnlib import symbolic
from dlnlib.symbolic import Derivation, DerivationError, Step

pytestmark = pytest.mark.derivation

SIZES = {
    "cosine_law": (2, 3),
    "covariance_identity": (None, 2),
    "depth_mode_equation": (None, 2, 3),
    "equal_start": (None, 2),
    "implicit_time": (3, 4),
    "spectral_divergence": (2, 3),
}
NAMES = [
    name
    for name, build in vars(symbolic).items()
    if inspect.isfunction(build) and inspect.signature(build).return_annotation is Derivation
]
CASES = [(name, (size,)) for name in NAMES if name in SIZES for size in SIZES[name]]
CASES += [(name, ()) for name in NAMES if name not in SIZES]

# The alterations that are equalities themselves: how many, of which line or rule, and why.
TRUE_LINES = {
    # Cov(g, x) = E[(g - c)(x - E x)] = E[(g - E g)(x - c)] for any c: one factor centred is enough
    ("covariance_identity", "a covariance"): 6,
}
TRUE_RULES = {
    # w^L = a has two real roots if L is even
    ("depth_mode_equation", (2,), "w(t)"): 1,
    # w_2 -> -w_2 turns w_1 = a/w_2 as well: the same mode
    ("mode_equation", (), "w_2(t)"): 1,
    ("decay_modes", (), "w_2(t)"): 1,
    # even in s, and the shrinker in q
    ("risk_targets", (), "s"): 1,
    ("risk_targets", (), "q"): 1,
    # s_2 - s_1: either value may be the larger one
    ("spectral_divergence", (2,), "D"): 1,
    ("spectral_divergence", (3,), "D"): 1,
}


def places(
    expr: sp.Expr, rebuild: Callable[[sp.Expr], sp.Expr]
) -> Iterator[tuple[sp.Expr, Callable[[sp.Expr], sp.Expr]]]:
    """Each part of an expression, with what puts another one in its place."""
    yield expr, rebuild
    bound = isinstance(expr, sp.Derivative | sp.Integral | sp.Sum | sp.Limit | sp.Subs)
    inner = () if isinstance(expr, AppliedUndef) else expr.args[:1] if bound else expr.args
    for i, part in enumerate(inner):

        def put(new: sp.Expr, i: int = i) -> sp.Expr:
            return rebuild(expr.func(*expr.args[:i], new, *expr.args[i + 1 :]))

        yield from places(part, put)


def alterations(expr: sp.Expr) -> set[sp.Expr]:
    """The sign turned, doubled; each term of each sum turned, doubled, dropped."""
    found = {-expr, 2 * expr, *([expr + 1] if expr == 0 else [])}
    for part, rebuild in places(expr, lambda new: new):
        if part.is_Add:
            for term in part.args:
                found |= {rebuild(part + more * term) for more in (-2, -1, 1)}
    return found - {expr}


def passes(name: str, steps: tuple[Step, ...], vanishing: tuple | None) -> bool:
    try:
        Derivation(name, steps, vanishing)
    except DerivationError as error:
        assert "signs and factors" in str(error)
        return False
    return True


def build(name: str, size: tuple) -> Derivation:
    return getattr(symbolic, name)(*size)


@pytest.mark.parametrize(("name", "size"), CASES)
def test_altered_lines_are_refused(name, size):
    derivation = build(name, size)
    left, given, lines = None, (), 0
    for step in derivation.steps:
        left, given = (left if step.lhs is None else step.lhs), given + step.given
        wrong = alterations(step.rhs)
        lines += len(wrong)
        passed = [
            other
            for other in wrong
            if passes(name, (Step(step.text, other, left, given),), derivation.vanishing)
        ]
        assert len(passed) == TRUE_LINES.get((name, step.text), 0), (step.text, passed)
        left = step.rhs
    assert lines >= 3 * len(derivation.steps) - 3


@pytest.mark.parametrize(("name", "size"), CASES)
def test_altered_or_dropped_hypotheses_are_refused(name, size):
    derivation = build(name, size)
    if derivation.vanishing is not None:
        with pytest.raises(DerivationError):
            replace(derivation, vanishing=None)
    left, earlier = None, ()
    for i, step in enumerate(derivation.steps):
        left = left if step.lhs is None else step.lhs
        for at, (old, new) in enumerate(step.given):
            before, after = step.given[:at], step.given[at + 1 :]
            rules = [before + after]
            rules += [(*before, (old, other), *after) for other in alterations(new)]
            passed = []
            for given in rules:
                line = replace(step, lhs=left, given=earlier + given)
                passed += [given] * passes(name, (line, *derivation.steps[i + 1 :]), None)
            assert len(passed) == TRUE_RULES.get((name, size, str(old)), 0), (old, passed)
        left, earlier = step.rhs, earlier + step.given
