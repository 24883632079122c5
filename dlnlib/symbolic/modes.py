"""Derivations about one aligned mode of two layers: its equation, its solution, its learning time.

`dlnlib.symbolic` presents these derivations together with the others.

References
----------
Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear
neural networks", ICLR 2014, arXiv 1312.6120.
"""

import sympy as sp

from dlnlib.symbolic.derivation import Derivation, Step, a, a0, ddt, functions, s, t, tau


def mode_equation() -> Derivation:
    """Two layers: ``tau da/dt = 2 a (s - a)`` for one aligned mode ``a = w2 w1``.

    The first two steps hold for any two weights, the next two for a lambda-balanced pair, the
    last for a balanced one.

    Examples
    --------
    >>> step = mode_equation().steps[1]
    >>> print(f"{step.text}: {step.rhs}")
    the balance never changes: 0
    """
    w1, w2 = functions("w_1 w_2")
    lam = sp.Symbol("lambda", real=True)
    norms = sp.sqrt(lam**2 + 4 * a**2)
    error = s - w2 * w1
    flow = (
        (ddt(w1), error * w2 / tau),
        (ddt(w2), error * w1 / tau),
    )
    balanced = ((w1, a / w2), (w2, sp.sqrt((lam + norms) / 2)))
    steps = (
        Step("product rule", (w1**2 + w2**2) * error, tau * ddt(w1 * w2), flow),
        Step("the balance never changes", sp.Integer(0), ddt(w2**2 - w1**2)),
        Step(r"$\lambda$-balanced layers", lam, w2**2 - w1**2, balanced),
        Step("their rate", norms * (s - a), (w1**2 + w2**2) * error),
        Step(r"balanced layers, $\lambda = 0$", 2 * a * (s - a), given=((lam, sp.Integer(0)),)),
    )
    return Derivation("mode equation", steps)


def logistic(target: sp.Expr = s) -> sp.Expr:
    """Mode strength ``s / (1 + (s/a0 - 1) exp(-2 s t / tau))`` in the symbols t, s, a_0, tau.

    Parameters
    ----------
    target : sympy expression, optional
        In the place of s.

    Returns
    -------
    sympy expression

    Examples
    --------
    >>> logistic()
    s/((-1 + s/a_0)*exp(-2*s*t/tau) + 1)
    >>> logistic().subs(t, 0)
    a_0
    """
    return target / (1 + (target / a0 - 1) * sp.exp(-2 * target * t / tau))


def logistic_mode() -> Derivation:
    """Two layers: the logistic mode, by separation of variables, with its limits.

    Examples
    --------
    >>> step = logistic_mode().steps[3]
    >>> print(f"{step.text}: {step.rhs}")
    it solves the mode equation: 2*(s - a(t))*a(t)
    """
    mode = sp.Function("a", positive=True)(t)
    clock = sp.log(a * (s - a0) / (a0 * (s - a))) / s
    steps = (
        Step("separate the variables", (1 / a + 1 / (s - a)) / s, 1 / (a * (s - a))),
        Step("integrate", 1 / (a * (s - a)), sp.Derivative(clock, a)),
        Step(
            r"this clock shows $2 t / \tau$: take exponentials, solve for the mode",
            sp.exp(2 * s * t / tau),
            mode * (s - a0) / (a0 * (s - mode)),
            ((mode, logistic()),),
        ),
        Step("it solves the mode equation", 2 * mode * (s - mode), tau * ddt(mode)),
        Step("it starts at its initial value", a0, sp.Subs(logistic(), t, 0)),
        Step(
            "a mode without target decays", a0 / (1 + 2 * a0 * t / tau), sp.Limit(logistic(), s, 0)
        ),
    )
    return Derivation("logistic mode", steps)


def learning_time() -> Derivation:
    """Two layers: time to reach the fraction f of s, and the two halves of a rise.

    Examples
    --------
    >>> learning_time().steps[1].rhs  # from epsilon to s/2
    tau*log(-1 + s/epsilon)/(2*s)
    """
    f, eps = sp.symbols("f epsilon", positive=True)
    reach = tau / (2 * s) * sp.log((s / a0 - 1) * f / (1 - f))
    half = tau / (2 * s) * sp.log(s / eps - 1)
    steps = (
        Step(r"at this time the mode stands at $f s$", f * s, sp.Subs(logistic(), t, reach)),
        Step(r"from $\epsilon$ to $s/2$", half, sp.Subs(reach, (a0, f), (eps, sp.Rational(1, 2)))),
        Step(r"from $s/2$ to $s - \epsilon$", half, sp.Subs(reach, (a0, f), (s / 2, 1 - eps / s))),
        Step(
            r"small starts: half of $(\tau/s) \log(s/\epsilon)$",
            sp.Rational(1, 2),
            sp.Limit(half / (tau / s * sp.log(s / eps)), eps, 0),
        ),
    )
    return Derivation("learning time", steps)
