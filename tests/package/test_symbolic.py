"""Every derivation holds and says what the chapters say, by routes of their own."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import sympy as sp

from dlnlib import symbolic
from dlnlib.symbolic import Derivation, DerivationError, Step
from dlnlib.symbolic.derivation import a, a0, s, t, tau

pytestmark = pytest.mark.derivation


def test_mode_equation():
    derivation = symbolic.mode_equation()
    assert derivation.steps[-1].rhs == 2 * a * (s - a)


@pytest.mark.parametrize("depth", [None, 2, 3, 4, 5])
def test_depth_mode_equation(depth):
    derivation = symbolic.depth_mode_equation(depth)
    layers = sp.Symbol("L", positive=True) if depth is None else sp.Integer(depth)
    assert sp.simplify(derivation.steps[-1].rhs - layers * a ** (2 - 2 / layers) * (s - a)) == 0


def test_logistic_mode():
    mode = symbolic.logistic()
    assert sp.simplify(tau * sp.diff(mode, t) - 2 * mode * (s - mode)) == 0
    slower = mode.subs(t, t / 2)  # without the 2 in the exponent it is no solution
    assert sp.simplify(tau * sp.diff(slower, t) - 2 * slower * (s - slower)) != 0


def test_learning_time():
    derivation = symbolic.learning_time()
    eps = sp.Symbol("epsilon", positive=True)
    _, rise, finish, ratio = derivation.steps
    assert rise.rhs == finish.rhs == tau / (2 * s) * sp.log(s / eps - 1)
    assert ratio.rhs == sp.Rational(1, 2)
    # the source note's time, log(s/epsilon) tau/s, is where the mode stands near s - epsilon
    at_note = symbolic.logistic().subs({a0: eps, t: tau / s * sp.log(s / eps)})
    assert sp.limit((s - at_note) / eps, eps, 0) == 1


def test_decay_modes():
    derivation, gamma = symbolic.decay_modes(), sp.Symbol("gamma", positive=True)
    assert sp.expand(derivation.steps[2].rhs - 2 * a * (s - gamma - a)) == 0
    mode = symbolic.logistic(s - gamma)
    wrong = symbolic.logistic(s - 2 * gamma)  # the decay counts once, not for each layer
    for one, solves in ((mode, True), (wrong, False)):
        gap = tau * sp.diff(one, t) - 2 * one * (s - gamma - one)
        assert (sp.simplify(gap) == 0) == solves


@pytest.mark.parametrize("line", range(4))
def test_a_wrong_line_about_the_barrier_is_refused(line):
    derivation = symbolic.decay_barrier()
    steps = list(derivation.steps)
    steps[line] = replace(steps[line], rhs=steps[line].rhs + a)
    with pytest.raises(DerivationError):
        Derivation("wrong", tuple(steps))


@pytest.mark.parametrize("depth", range(3, 9))
def test_implicit_time(depth):
    derivation = symbolic.implicit_time(depth)
    assert len(derivation.steps) == (6 if depth in (3, 4) else 5)


def test_implicit_time_of_depth_four():
    # the form quoted in the chapters, from the real antiderivative
    time = tau * (
        sp.atanh(sp.sqrt(a / s)) / (2 * s ** sp.Rational(3, 2)) - 1 / (2 * s * sp.sqrt(a))
    )
    assert sp.simplify(sp.diff(time, a) * 4 * a ** sp.Rational(3, 2) * (s - a) - tau) == 0


@pytest.mark.parametrize("depth", [3, 5, 7])
def test_root_form_is_the_integral(depth):
    # one number per depth by an independent route: quadrature of the separated rate
    y, omega = sp.Symbol("y", positive=True), sp.Symbol("omega")
    form = symbolic.implicit_time(depth).steps[3].lhs.expr
    form = form.subs(omega, sp.exp(2 * sp.pi * sp.I / depth))
    low, high = sp.Rational(1, 10), sp.Rational(7, 10)
    gain = sp.re((form.subs(y, high) - form.subs(y, low)).evalf(30))
    rate = depth / (y ** (depth - 1) * (1 - y**depth))
    assert abs(gain - sp.Integral(rate, (y, low, high)).evalf(20)) < 1e-12 * abs(gain)


def test_infinite_depth():
    # the mode at the time that the clock shows, where the clock itself is read off there
    inverse = symbolic.infinite_depth().steps[3].given[0][1]
    for part in (0.1, 0.5, 0.9):
        shown = math.log(part / (1 - part)) - 1 / part
        assert inverse.subs(sp.Symbol("F", real=True), shown).evalf() == pytest.approx(part)


def tied_rows(modes: int, hidden: int) -> tuple[sp.Matrix, sp.Matrix, sp.Matrix]:
    """Rational rows W, their targets S and tau dW/dt by the plain sum over vectors."""
    w = sp.Matrix(
        modes, hidden, lambda i, k: sp.Rational((3 * i + 5 * k + i * k * k) % 7 - 2, 3 + i)
    )
    target = sp.diag(*range(1, modes + 1))
    flow = sp.zeros(modes, hidden)
    for i in range(modes):
        flow[i, :] = target[i, i] * w[i, :] - sum(
            (w[i, :].dot(w[j, :]) * w[j, :] for j in range(modes)), sp.zeros(1, hidden)
        )
    return w, target, flow


def cosine_rate(w: sp.Matrix, flow: sp.Matrix) -> sp.Expr:
    """Derivative of the cosine of rows 1 and 2 along a flow, by the calculus of vectors."""
    step = sp.Symbol("step")
    moved = w + step * flow
    overlap = moved[0, :].dot(moved[1, :])
    norms = moved[0, :].dot(moved[0, :]) * moved[1, :].dot(moved[1, :])
    return sp.simplify(sp.diff(overlap / sp.sqrt(norms), step).subs(step, 0))


def at_rows(expr: sp.Expr, w: sp.Matrix) -> sp.Expr:
    """A law in n_i and eps_ij at given rows."""
    gram = w * w.T
    values = {sp.Symbol(f"n_{i + 1}", positive=True): gram[i, i] for i in range(w.rows)}
    for i in range(w.rows):
        for j in range(i + 1, w.rows):
            cosine = gram[i, j] / sp.sqrt(gram[i, i] * gram[j, j])
            values[sp.Symbol(f"epsilon_{i + 1}{j + 1}", real=True)] = cosine
    return expr.subs(values)


def orders(expr: sp.Expr) -> dict[int, sp.Expr]:
    """The parts of a law by their degree in the cosines."""
    scale = sp.Symbol("scale")
    cosines = [c for c in expr.free_symbols if c.name.startswith("epsilon")]
    scaled = sp.expand(expr.subs({c: scale * c for c in cosines}, simultaneous=True))
    return {k: sp.factor(scaled.coeff(scale, k)) for k in range(5) if scaled.coeff(scale, k) != 0}


@pytest.mark.parametrize(("modes", "hidden"), [(2, 3), (3, 4), (4, 4)])
def test_cosine_law(modes, hidden):
    derivation = symbolic.cosine_law(modes)
    law = derivation.steps[1].rhs
    w, _, flow = tied_rows(modes, hidden)
    assert sp.simplify(cosine_rate(w, flow) - at_rows(law, w)) == 0

    n = sp.symbols(f"n_1:{modes + 1}", positive=True)
    assert not {symbol.name for symbol in law.free_symbols} & {"s_1", "s_2"}
    parts = orders(law)
    cosine = sp.Symbol("epsilon_12", real=True)
    assert sp.expand(parts[1] + cosine * (n[0] + n[1])) == 0  # the sum, not the larger norm
    assert (2 in parts) == (modes > 2)
    assert set(parts) <= {1, 2, 3}


def test_interference_alone_gives_the_same_cosine_law():
    # "feature benefit" only stretches a row, so it cannot turn it
    w, target, flow = tied_rows(4, 4)
    norms = sp.diag(*[w[i, :].dot(w[i, :]) for i in range(4)])
    interference = flow - (target - norms) * w
    assert sp.simplify(cosine_rate(w, interference) - cosine_rate(w, flow)) == 0
    gram = w * w.T
    overlap_rate = (interference * w.T + w * interference.T)[0, 1]
    second = sum(gram[0, k] * gram[1, k] for k in (2, 3))
    assert overlap_rate == -gram[0, 1] * (gram[0, 0] + gram[1, 1]) - 2 * second


def test_two_modes_have_an_exact_law():
    # for two rows the law is closed: cotangent of the angle, not the cosine, decays at n_1 + n_2
    law = symbolic.cosine_law(2).steps[1].rhs
    cosine, n1, n2 = sp.Symbol("epsilon_12", real=True), *sp.symbols("n_1 n_2", positive=True)
    cotangent = cosine / sp.sqrt(1 - cosine**2)
    rate = sp.diff(sp.log(cotangent), cosine) * law
    assert sp.simplify(rate + n1 + n2) == 0


def test_residual_cosine_law():
    w, target, flow = tied_rows(4, 4)
    theta = (w * w.T).inv()
    gram_rate = flow * w.T + w * flow.T
    theta_rate = -theta * gram_rate * theta
    assert theta_rate == 2 * sp.eye(4) - target * theta - theta * target
    # 1/Theta_ii is the squared norm of what Gram-Schmidt leaves of row i
    rows = [w[i, :] for i in (1, 2, 3, 0)]
    left = sp.Matrix.orthogonalize(*rows)[-1]
    assert left.dot(left) == 1 / theta[0, 0]


def test_alignment_linearisation():
    # an independent route: a 3 x 2 target, its block matrix and its eigenvalues
    sigma = sp.Matrix([[2, 0], [0, -1], [0, 0]])
    block = sp.zeros(5, 5)
    block[:2, 2:], block[2:, :2] = sigma.T, sigma
    assert block.eigenvals() == {2: 1, -2: 1, 1: 1, -1: 1, 0: 1}
    # for the negative entry the growing direction has encoder = -decoder
    assert block * sp.Matrix([0, 1, 0, -1, 0]) == sp.Matrix([0, 1, 0, -1, 0])


@pytest.mark.parametrize("modes", [None, 2, 3, 4, 5])
def test_covariance_identity(modes):
    derivation = symbolic.covariance_identity(modes)
    assert len(derivation.steps) == 8


def test_covariance_identity_in_plain_calculus():
    # the same without rules of ours: three explicit functions of time
    a = sp.Matrix([sp.exp(t), 1 + t**2, 2 + sp.sin(t)])
    p = a.multiply_elementwise(a) / a.dot(a)
    g = a.diff(t).multiply_elementwise(a.applyfunc(lambda x: 1 / x))
    log_p = p.applyfunc(sp.log)
    rate = sp.diff(-p.dot(log_p), t)
    covariance = p.dot(g.multiply_elementwise(log_p)) - p.dot(g) * p.dot(log_p)
    for moment in (0, sp.Rational(7, 10), 3):
        assert abs((rate + 2 * covariance).subs(t, moment).evalf(30)) < 1e-25


@pytest.mark.parametrize("modes", [None, 3])
def test_each_rule_of_the_covariance_identity_matters(modes):
    steps = symbolic.covariance_identity(modes).steps
    for i, step in enumerate(steps):
        for at, (old, new) in enumerate(step.given):
            given = (*step.given[:at], (old, 2 * new), *step.given[at + 1 :])
            with pytest.raises(DerivationError):
                Derivation("", (*steps[:i], replace(step, given=given), *steps[i + 1 :]))


@pytest.mark.parametrize("modes", [None, 2, 3, 4])
def test_equal_start(modes):
    # two layers: -16 Var(s) / tau^2, whatever the start
    derivation, number = symbolic.equal_start(modes), modes or 5
    target = sp.Function("s", positive=True)
    layers, many = sp.Symbol("L", positive=True), sp.Symbol("K", integer=True, positive=True)
    curvature = derivation.steps[-1].rhs.subs({layers: 2, many: number}).doit()
    goals = [i**2 for i in range(1, number + 1)]
    curvature = curvature.subs({target(i): goal for i, goal in enumerate(goals, start=1)})
    assert float(curvature.subs(tau, 2)) == pytest.approx(
        -4 * np.var([float(goal) for goal in goals])
    )


def test_equal_start_of_generic_strengths():
    # an independent route: H of three functions, differentiated twice, then set equal
    a = [sp.Function(f"a{i}", positive=True)(t) for i in range(3)]
    total = sum(x**2 for x in a)
    h = -sum(x**2 / total * sp.log(x**2 / total) for x in a)
    rates, second = sp.symbols("g_0:3", real=True), sp.symbols("b_0:3", real=True)
    start = [(sp.Derivative(x, (t, 2)), b) for x, b in zip(a, second, strict=True)]
    start += [(sp.Derivative(x, t), g) for x, g in zip(a, rates, strict=True)]
    start += [(x, sp.Integer(1)) for x in a]  # so that g_k is the derivative itself
    variance = sum(g**2 for g in rates) / 3 - (sum(rates) / 3) ** 2
    assert sp.simplify(h.subs(start) - sp.log(3)) == 0
    assert sp.simplify(h.diff(t).subs(start)) == 0
    assert sp.simplify(h.diff(t, 2).subs(start) + 4 * variance) == 0


def test_two_level_rate():
    derivation = symbolic.two_level_rate()
    # the zero of the last line beside a_s = a_n: a_s - a_n = s - n
    signal, noise = (sp.Function(name, positive=True)(t) for name in ("a_s", "a_n"))
    last = derivation.steps[-1].rhs
    n = sp.Symbol("n", positive=True)
    assert last.subs(signal, noise + s - n) == 0


@pytest.mark.parametrize(
    ("start", "changes"), [(0.01, 1), (0.9, 1), (1.0, 0), (2.0, 0), (3.0, 0), (5.0, 0)]
)
def test_two_level_hypothesis(start, changes):
    # from a0 < n one change of sign, upwards; from a0 >= n the entropy falls all along
    n = sp.Symbol("n", positive=True)
    gap = symbolic.two_level_minimum().steps[2].lhs.expr.subs({s: 3, n: 1, tau: 1, a0: start})
    signs = [sp.sign(gap.subs(t, sp.Rational(i, 10)).evalf(60)) for i in range(100)]
    assert signs[0] == -1
    assert sum(before != after for before, after in pairwise(signs)) == changes


def test_two_level_minimum():
    # where the gap is zero it grows, at the rate of line 4
    steps, n = symbolic.two_level_minimum().steps, sp.Symbol("n", positive=True)
    gap = steps[2].lhs.expr.subs({s: 3, n: 1, tau: 2, a0: sp.Rational(1, 100)})
    zero = sp.nsolve(gap, t, 2)
    weak = symbolic.logistic(n).subs({n: 1, tau: 2, a0: 0.01, t: zero})
    rate = steps[3].rhs.subs({s: 3, n: 1, sp.Function("a_n", positive=True)(t): weak}) / 2
    assert float(gap.diff(t).subs(t, zero)) == pytest.approx(float(rate)) and rate > 0


def test_two_level_time():
    derivation = symbolic.two_level_time()
    n, v = sp.symbols("n v", positive=True)
    gap = symbolic.two_level_minimum().steps[2].lhs.expr
    noise = n / (1 + (n / a0 - 1) * sp.exp(-2 * n * t / tau))
    exact, closed, correction = (derivation.steps[i].lhs for i in (0, 1, 4))
    lateness = []
    for start in (1e-2, 1e-4, 1e-6):
        numbers = {s: 3, n: 1, tau: 2, a0: sp.Float(start, 40)}
        early = closed.doit().subs(numbers).evalf(40)
        found = sp.nsolve(gap.subs(numbers), t, early, prec=40)
        left = noise.subs(numbers).subs(t, found)
        assert abs(exact.point[0].subs(numbers).subs(v, left) - found) < 1e-30
        first_order = correction.doit().subs(numbers) * left
        lateness.append(found - early)
        assert 0 < lateness[-1]
        assert abs(first_order / lateness[-1] - 1) < left
    # it vanishes like a0^(1 - n/s): by 100^(2/3) for a factor of 100
    assert abs(lateness[1] / lateness[2] / 100 ** (2 / 3) - 1) < 0.01


def test_a_step_without_left_side_is_refused():
    with pytest.raises(DerivationError, match="step 1"):
        Derivation("nothing", (Step("from nowhere", a),))


@pytest.mark.parametrize(
    ("build", "bad", "message"),
    [
        (symbolic.depth_mode_equation, 1, "at least 2"),
        (symbolic.implicit_time, 2, "at least 3"),
        (symbolic.cosine_law, 1, "modes >= 2"),
        (symbolic.covariance_identity, 1, "modes >= 2"),
        (symbolic.equal_start, 1, "modes >= 2"),
    ],
)
def test_depth_and_modes_are_checked(build, bad, message):
    with pytest.raises(ValueError, match=message):
        build(bad)


def test_derivations_typeset():
    text = symbolic.depth_mode_equation()._repr_latex_()
    assert text.startswith("$$\\begin{aligned}") and text.endswith("\\end{aligned}$$")
    assert r"\left(s - a\right)" in text
    assert r"\text{1. chain rule}" in text
    sums = symbolic.covariance_identity().latex
    assert r"p_{k} = \frac{a_{k}^{2}}{S(t)}" in sums
    assert r"\frac{d}{d t} H(t) = - \sum_{k=1}^{K}" in sums
    assert repr(symbolic.mode_equation()) == "Derivation('mode equation', 5 steps checked)"
