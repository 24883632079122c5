"""Derivations as chains of equations that sympy checks when they are built.

A step whose two sides differ under its hypotheses raises `DerivationError`, so a page cannot
typeset a wrong sign or factor.
With a derivation on the last line of a cell, the notebook typesets it.
"""

import random
import re
from dataclasses import dataclass
from functools import lru_cache

import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.printing.latex import LatexPrinter

# the symbols every derivation shares
t, tau, s, a, a0 = sp.symbols("t tau s a a_0", positive=True)
# the index of a rule stands for any index; that of a sum is bound; a(k, t) is typeset a_k
k, j = sp.symbols("k j", integer=True, positive=True)
Rule = tuple[sp.Expr, sp.Expr]


class DerivationError(ValueError):
    """A step of a derivation does not follow from its left side and its hypotheses.

    Examples
    --------
    >>> try:
    ...     Derivation("a wrong sign", (Step("square", a**2 + s**2, (a - s) ** 2),))
    ... except DerivationError as error:
    ...     print(str(error).split(":")[0])
    a wrong sign, step 1 (square)
    """


@dataclass(frozen=True)
class Step:
    """One equation ``lhs = rhs`` of a derivation.

    Parameters
    ----------
    text : str
        Why the equation holds.
    rhs : sympy expression
    lhs : sympy expression, optional
        Without it the step continues the line before.
    given : tuple of (old, new), optional
        Hypotheses that enter here and stay: each `old` may be replaced by `new`, in this order.
        A rule about the index k holds at every index.

    Examples
    --------
    >>> step = Step("binomial formula", a**2 - 2 * a * s + s**2, (a - s) ** 2)
    >>> step.lhs, step.rhs
    ((a - s)**2, a**2 - 2*a*s + s**2)
    """

    text: str
    rhs: sp.Expr
    lhs: sp.Expr | None = None
    given: tuple[Rule, ...] = ()


@dataclass(frozen=True, repr=False)
class Derivation:
    """A chain of equations, each checked by sympy when the derivation is built.

    Parameters
    ----------
    name : str
        What is derived, in words.
    steps : tuple of Step
        The equations.
    vanishing : (polynomial, symbol), optional
        A polynomial known to be zero, such as the minimal polynomial of a root of unity.

    Raises
    ------
    DerivationError
        If the two sides of a step are not equal under the hypotheses made so far.

    Examples
    --------
    >>> first = Step("binomial formula", a**2 - 2 * a * s + s**2, (a - s) ** 2)
    >>> Derivation("a square", (first, Step("at the target", sp.Integer(0), given=((a, s),))))
    Derivation('a square', 2 steps checked)
    """

    name: str
    steps: tuple[Step, ...]
    vanishing: Rule | None = None

    def __post_init__(self) -> None:
        left, rules = None, ()
        for number, step in enumerate(self.steps, start=1):
            left = left if step.lhs is None else step.lhs
            rules += step.given
            if left is None or not _agree(left, step.rhs, rules, self.vanishing):
                raise DerivationError(
                    f"{self.name}, step {number} ({step.text}): {left} is not {step.rhs} "
                    "under the hypotheses; check its signs and factors"
                )
            left = step.rhs

    def __repr__(self) -> str:
        return f"Derivation({self.name!r}, {len(self.steps)} steps checked)"

    def _repr_latex_(self) -> str:
        return f"$${self.latex}$$"

    @property
    def latex(self) -> str:
        """The steps as one ``aligned`` block: each reason, its hypotheses, its equation."""
        rows = []
        for number, step in enumerate(self.steps, start=1):
            rows.append(rf"&\text{{{number}. {step.text}}}")
            rows += [rf"&\qquad\text{{given }} {rules}" for rules in _packed(step.given)]
            rows.append(rf"&\qquad {_equation(step.lhs, step.rhs)}")
        return "\\begin{aligned}\n" + " \\\\[4pt]\n".join(rows) + "\n\\end{aligned}"


def _agree(left: sp.Expr, right: sp.Expr, rules: tuple[Rule, ...], vanishing: Rule | None) -> bool:
    """Whether ``left - right`` is zero once the rules are applied in turn."""
    gap = _reduced(left, rules) - _reduced(right, rules)  # equal terms cancel
    if vanishing is not None:
        gap = sp.rem(sp.expand(sp.numer(sp.together(gap))), *vanishing)
    if gap == 0:
        return True
    if gap.has(sp.Sum) or not gap.is_commutative:
        return sp.expand(sp.numer(sp.together(gap))) == 0
    if _nonzero_somewhere(gap, vanishing):
        return False
    return sp.expand(sp.numer(sp.together(gap)).rewrite(sp.exp)) == 0 or sp.simplify(gap) == 0


@lru_cache(maxsize=1024)
def _reduced(expr: sp.Expr, rules: tuple[Rule, ...]) -> sp.Expr:
    """An expression with the rules applied in turn."""
    if not rules:
        return _expanded(expr)
    old, new = rules[-1]
    return _expanded(_applied(_reduced(expr, rules[:-1]), old, new))


def _nonzero_somewhere(gap: sp.Expr, vanishing: Rule | None) -> bool:
    """Whether it is plainly not zero at one of some points: `simplify` would look long for a zero.

    Functions, their derivatives and symbols are numbers there.  A point where a term is not real
    says nothing, as the branch of a logarithm may be to blame.
    """
    draw = random.Random(0)
    atoms = sorted(gap.atoms(sp.Derivative, AppliedUndef, sp.Symbol), key=str)
    root = {} if vanishing is None else {vanishing[1]: sp.Poly(*vanishing).nroots(n=40)[0]}
    for _ in range(6):
        point = {atom: sp.Float(draw.uniform(0.1, 2), 40) for atom in atoms} | root
        values = [sp.N(term.xreplace(point), 40) for term in sp.Add.make_args(gap)]
        if all(value.is_finite and (root or value.is_real) for value in values):
            if abs(sp.N(sum(values))) > 1e-20 * sum(abs(sp.N(value)) for value in values):
                return True
    return False


def _applied(expr: sp.Expr, old: sp.Expr, new: sp.Expr) -> sp.Expr:
    if k not in old.free_symbols:
        return expr.subs(old, new)
    index = sp.Wild("index")
    return expr.replace(old.xreplace({k: index}), new.xreplace({k: index}))


def _expanded(expr: sp.Expr) -> sp.Expr:
    """Derivatives carried out, products expanded, sums in the one form that `_sorted` gives them.

    A sum of a given number of terms is written out; the others are left alone by `doit`, which
    would look long for a closed form that a sum of unknown functions does not have.
    """
    if all(total.limits[0][2].is_number for total in expr.atoms(sp.Sum)):
        return sp.expand(expr.doit(integrals=False))
    expr = expr.replace(sp.Derivative, lambda inner, *by: inner.diff(*by))
    return sp.expand(expr).replace(sp.Sum, _sorted)


def _sorted(body: sp.Expr, limits: sp.Tuple) -> sp.Expr:
    """A sum as a sum of sums over k, each of one product without constant factors."""
    index, first, last = limits
    total = sp.Integer(0)
    for term in sp.Add.make_args(sp.expand(body)):
        constant, rest = term.as_independent(index, as_Add=False)
        many = rest == 1
        total += constant * (
            last - first + 1 if many else sp.Sum(rest.xreplace({index: k}), (k, first, last))
        )
    return total


class _Printer(LatexPrinter):
    """Writes s - a, not -a + s, a_k for a(k, t), and every derivative with a straight d."""

    def _print_Function(self, expr, exp=None):
        if not isinstance(expr, AppliedUndef) or not expr.args[0].is_integer:
            return super()._print_Function(expr, exp)
        name = f"{self._deal_with_super_sub(expr.func.__name__)}_{{{self._print(expr.args[0])}}}"
        return name if exp is None else f"{name}^{{{exp}}}"

    def _as_ordered_terms(self, expr, order=None):
        terms = super()._as_ordered_terms(expr, order)
        return sorted(terms, key=lambda term: term.could_extract_minus_sign())

    def doprint(self, expr):
        text = super().doprint(expr).replace(r"\partial", "d")
        return re.sub(r"\{\\left\((\w) \\right\)\}", r"(\1)", text)  # a(t) with plain brackets


def _equation(left: sp.Expr | None, right: sp.Expr) -> str:
    printer = _Printer({"inv_trig_style": "full"})
    return ("" if left is None else printer.doprint(left)) + " = " + printer.doprint(right)


def _packed(rules: tuple[Rule, ...], width: int = 64) -> list[str]:
    """Hypotheses in rows that stay readable on a narrow screen."""
    rows, room = [], 0
    for rule in rules:
        size = len(f"{rule[0]} = {rule[1]}")
        if size > room:
            rows, room = [*rows, _equation(*rule)], width
        else:
            rows[-1] += rf",\quad {_equation(*rule)}"
        room -= size
    return rows


def functions(names: str) -> list[sp.Expr]:
    """Real functions of t."""
    return [sp.Function(name, real=True)(t) for name in names.split()]


def ddt(expr: sp.Expr) -> sp.Expr:
    """The derivative by t, not yet carried out."""
    return sp.Derivative(expr, t)


def operators(names: str) -> list[sp.Symbol]:
    """Matrices of any shapes that fit, as non-commuting symbols; ``W'`` is the transpose of W."""
    transpose = {name: name.replace("'", r"^{\top}") for name in names.split()}
    return [sp.Symbol(name, commutative=False) for name in transpose.values()]
