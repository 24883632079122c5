"""Derivations about one aligned mode of any depth: its equation, and time in closed form.

`dlnlib.symbolic` presents these derivations together with the others.
"""

import operator

import sympy as sp

from dlnlib.symbolic.derivation import Derivation, Step, a, a0, ddt, functions, s, t, tau

x, y = sp.symbols("x y", positive=True)


def depth_mode_equation(depth: int | None = None) -> Derivation:
    """``tau da/dt = L a^(2 - 2/L) (s - a)`` for an aligned mode of a network of depth L.

    Parameters
    ----------
    depth : int, optional
        Number of weight matrices, at least 2; then the layers start apart and the balance is
        shown to be conserved. Without it the depth is the symbol L and the layers are equal.

    Returns
    -------
    Derivation

    Examples
    --------
    >>> depth_mode_equation().steps[-1].rhs
    L*a**(2 - 2/L)*(-a + s)
    >>> depth_mode_equation(4).steps[-1].rhs
    4*a**(3/2)*(-a + s)
    """
    shared = sp.Function("w", positive=True)(t)
    layers = sp.Symbol("L", positive=True) if depth is None else _as_depth(depth, 2)
    power = layers * a ** (2 - sp.Integer(2) / layers) * (s - a)
    if depth is None:
        flow = (ddt(shared), (s - shared**layers) * shared ** (layers - 1) / tau)
        rate = layers * shared ** (2 * layers - 2) * (s - shared**layers)
        first = (Step("chain rule", rate, tau * ddt(shared**layers), (flow,)),)
    else:
        w = functions(" ".join(f"w_{i + 1}" for i in range(depth)))
        others = [sp.prod(w[:i] + w[i + 1 :]) for i in range(depth)]
        error = s - sp.prod(w)
        flow = tuple((ddt(w[i]), error * others[i] / tau) for i in range(depth))
        rate = sum(rest**2 for rest in others) * error
        first = (
            Step("product rule", rate, tau * ddt(sp.prod(w)), flow),
            Step("the balance never changes", sp.Integer(0), ddt(w[-1] ** 2 - w[0] ** 2)),
            Step(
                "equal layers",
                layers * shared ** (2 * layers - 2) * (s - shared**layers),
                rate,
                tuple((layer, shared) for layer in w),
            ),
        )
    last = Step(
        "each layer carries its share", power, given=((shared, a ** (1 / sp.sympify(layers))),)
    )
    return Derivation("mode equation at depth L", (*first, last))


def implicit_time(depth: int) -> Derivation:
    r"""Depth L >= 3: ``t = tau (F(a/s) - F(a0/s)) / (L s^(2 - 2/L))`` with F in closed form.

    With y = x^(1/L) and omega = exp(2 pi i / L), for 0 < x < 1,
    ``F(x) = L [y^(2-L)/(2-L) - (1/L) sum_j omega^(-2j) log(1 - omega^j y)]``.
    The terms j and L - j are complex conjugates; the last step but one gives the derivative of
    their common real part at the angle theta = 2 pi j / L.
    The last step is the real form of F at depth 3 and 4.

    Parameters
    ----------
    depth : int
        Number of weight matrices, at least 3 (at depth 2, F(x) = log(x/(1-x))).

    Returns
    -------
    Derivation

    Examples
    --------
    >>> implicit_time(3).steps[-1].lhs.expr  # F, with y = (a/s)^(1/3)
    -log(1 - y) + log(y**2 + y + 1)/2 - sqrt(3)*atan(sqrt(3)*y/(y + 2)) - 3/y
    """
    n = _as_depth(depth, 3)
    omega, theta, z = (
        sp.Symbol("omega"),
        sp.Symbol("theta", real=True),
        sp.Symbol("z", positive=True),
    )
    rate = n / (y ** (n - 1) * (1 - y**n))
    roots = [(omega ** ((-2 * j) % n), omega**j * y) for j in range(n)]
    logs = sum(weight * sp.log(1 - point) for weight, point in roots)
    turn = 1 - 2 * y * sp.cos(theta) + y**2
    angle = sp.atan(y * sp.sin(theta) / (1 - y * sp.cos(theta)))
    pair = sp.cos(2 * theta) * sp.log(turn) / 2 - sp.sin(2 * theta) * angle
    scaled = sp.Integral(1 / (z ** (2 - 2 / n) * (1 - z)), (z, a0 / s, a / s))
    steps = [
        Step(
            r"the time, in terms of $x = a/s$",
            tau / (n * a ** (2 - 2 / n) * (s - a)),
            sp.Derivative(tau * scaled / (n * s ** (2 - 2 / n)), a),
        ),
        Step(
            r"substitute $x = y^L$",
            rate,
            sp.diff(y**n, y) * sp.Subs(1 / (x ** (2 - 2 / n) * (1 - x)), x, y**n),
        ),
        Step("split", n * y ** (1 - n) + n * y / (1 - y**n)),
        Step(
            r"integrate, with the root of unity $\omega = e^{2 \pi i / L}$",
            rate,
            sp.Derivative(_root_form(n, logs), y),
        ),
        Step(
            r"the real part of the terms at the angles $\pm\theta$",
            (y * sp.cos(2 * theta) - sp.cos(theta)) / turn,
            sp.Derivative(pair, y),
        ),
    ]
    if depth in _REAL_FORMS:
        steps.append(Step("the same in real terms", rate, sp.Derivative(_REAL_FORMS[depth], y)))
    return Derivation("implicit time", tuple(steps), (sp.cyclotomic_poly(n, omega), omega))


def _root_form(n: sp.Integer, logs: sp.Expr) -> sp.Expr:
    return n * (y ** (2 - n) / (2 - n) - logs / n)


_REAL_FORMS = {
    3: -3 / y
    - sp.log(1 - y)
    + sp.log(1 + y + y**2) / 2
    - sp.sqrt(3) * sp.atan(sp.sqrt(3) * y / (2 + y)),
    4: 2 * sp.atanh(y**2) - 2 / y**2,
}


def infinite_depth() -> Derivation:
    """Infinitely many layers, time in units of tau/L: ``tau da/dt = a^2 (s - a)``.

    The clock is F(x) = -1/x + log(x/(1 - x)) with x = a/s; its inverse is
    ``x = 1/(1 + omega(-(F + 1)))``, omega(z) = W(exp(z)) the Wright omega function.

    Examples
    --------
    >>> step = infinite_depth().steps[1]
    >>> print(f"{step.text}: {step.rhs}")
    integrate: 1/(x**2*(1 - x))
    """
    depth, omega = sp.symbols("L omega", positive=True)
    clock = sp.Symbol("F", real=True)
    inverse = sp.Function("x", positive=True)(clock)
    integral, half = -1 / x + sp.log(x / (1 - x)), sp.Rational(1, 2)
    steps = (
        Step(
            r"the rate divided by $L$",
            a**2 * (s - a),
            sp.Limit(a ** (2 - 2 / depth) * (s - a), depth, sp.oo),
        ),
        Step("integrate", 1 / (x**2 * (1 - x)), sp.Derivative(integral, x)),
        Step(
            r"the time $F$ in terms of $\omega = 1/x - 1$",
            -1 - omega - sp.log(omega),
            integral,
            ((x, 1 / (1 + omega)),),
        ),
        Step(
            "solved for the mode",
            inverse**2 * (1 - inverse),
            sp.Derivative(inverse, clock),
            ((inverse, 1 / (1 + sp.LambertW(sp.exp(-clock - 1)))),),
        ),
        Step("the clock half way", sp.Integer(-2), sp.Subs(integral, x, half)),
        Step("and the mode at that time", half, inverse, ((clock, sp.Integer(-2)),)),
    )
    return Derivation("infinite depth", steps)


def _as_depth(depth: int, least: int) -> sp.Integer:
    if depth < least:
        raise ValueError(
            f"depth counts weight matrices, at least {least} of them here: got {depth}"
        )
    return sp.Integer(operator.index(depth))
