"""Derivations about weight decay: a mode of two layers, and the barrier of deeper ones.

`dlnlib.symbolic` presents these derivations together with the others.
"""

import sympy as sp

from dlnlib.symbolic.derivation import Derivation, Step, a, a0, ddt, functions, s, t, tau
from dlnlib.symbolic.modes import logistic

gamma = sp.Symbol("gamma", positive=True)


def decay_modes() -> Derivation:
    """Two layers with weight decay gamma: ``tau da/dt = 2 a (s - gamma - a)``, and its solution.

    The first two steps hold for any two weights, the third for a balanced pair.

    Examples
    --------
    >>> step = decay_modes().steps[2]
    >>> print(f"{step.text}: {step.rhs}")
    balanced layers: 2*a*(-a - gamma + s)
    """
    w1, w2 = functions("w_1 w_2")
    mode = sp.Function("a", positive=True)(t)
    error = s - w2 * w1
    flow = (
        (ddt(w1), (error * w2 - gamma * w1) / tau),
        (ddt(w2), (error * w1 - gamma * w2) / tau),
    )
    rate = (w1**2 + w2**2) * error - 2 * gamma * w2 * w1
    steps = (
        Step("product rule", rate, tau * ddt(w1 * w2), flow),
        Step("the balance dies out", -2 * gamma * (w2**2 - w1**2), tau * ddt(w2**2 - w1**2)),
        Step("balanced layers", 2 * a * (s - gamma - a), rate, ((w1, a / w2), (w2, sp.sqrt(a)))),
        Step(
            r"the logistic mode with $s - \gamma$ for $s$, and its clock",
            sp.exp(2 * (s - gamma) * t / tau),
            mode * (s - gamma - a0) / (a0 * (s - gamma - mode)),
            ((mode, logistic(s - gamma)),),
        ),
        Step("it solves this equation", 2 * mode * (s - gamma - mode), tau * ddt(mode)),
        Step(
            r"at $\gamma = s$ it decays algebraically",
            a0 / (1 + 2 * a0 * t / tau),
            sp.Limit(logistic(s - gamma), s, gamma),
        ),
    )
    return Derivation("weight decay with two layers", steps)


def decay_barrier() -> Derivation:
    """Depth L with weight decay gamma: the mode equation, and the largest gamma it can bear.

    With p = 1 - 2/L a mode rests where ``a^p (s - a) = gamma``; the last two steps find the
    largest value of the left side.

    Examples
    --------
    >>> decay_barrier().steps[1].rhs
    -L*a*gamma + L*a**(2 - 2/L)*(-a + s)
    """
    shared, layers = sp.Function("w", positive=True)(t), sp.Symbol("L", positive=True)
    p = sp.Symbol("p", positive=True)
    push = (s - shared**layers) * shared ** (layers - 1) - gamma * shared
    rate = layers * shared ** (2 * layers - 2) * (s - shared**layers)
    rest = a**p * (s - a)
    steps = (
        Step(
            "chain rule",
            rate - layers * gamma * shared**layers,
            tau * ddt(shared**layers),
            ((ddt(shared), push / tau),),
        ),
        Step(
            "each layer carries its share",
            layers * a ** (2 - 2 / layers) * (s - a) - layers * gamma * a,
            given=((shared, a ** (1 / layers)),),
        ),
        Step(
            "where growth and decay balance, the slope in $a$",
            a ** (p - 1) * (p * s - (1 + p) * a),
            sp.Derivative(rest, a),
        ),
        Step(
            "at its zero, the largest decay",
            p**p * (s / (1 + p)) ** (1 + p),
            sp.Subs(rest, a, p * s / (1 + p)),
        ),
    )
    return Derivation("the barrier of weight decay", steps)
