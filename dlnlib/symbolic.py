"""Derivations that sympy checks line by line: modes, learning times, entropy, stopping windows.

Every public function but `logistic` returns a `Derivation`, a chain of equations that is proved
when it is built and typeset when it ends a notebook cell.

The network has weights W1 (hidden x in) and W2 (out x hidden), whitened inputs and gradient flow
``tau dW1/dt = W2^T (Sigma - W2 W1)``, ``tau dW2/dt = (Sigma - W2 W1) W1^T``.
Nothing numerical of the package is used here: comparing the two compares two routes to a result.

References
----------
Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear
neural networks", ICLR 2014, arXiv 1312.6120.
"""

import operator

import sympy as sp

from dlnlib._derivation import Derivation, DerivationError, Step, a, a0, functions, s, t, tau
from dlnlib._symbolic_entropy import covariance_identity, equal_start
from dlnlib._symbolic_levels import two_level_minimum, two_level_rate, two_level_time
from dlnlib._symbolic_weights import (
    alignment_linearisation,
    cosine_law,
    residual_cosine_law,
    rotation_invariance,
)
from dlnlib._symbolic_window import (
    deep_window,
    error_minimum,
    spike_gap,
    window_test,
    window_times,
)

__all__ = [
    "Derivation",
    "DerivationError",
    "Step",
    "alignment_linearisation",
    "cosine_law",
    "covariance_identity",
    "deep_window",
    "depth_mode_equation",
    "equal_start",
    "error_minimum",
    "implicit_time",
    "infinite_depth",
    "learning_time",
    "logistic",
    "logistic_mode",
    "mode_equation",
    "residual_cosine_law",
    "rotation_invariance",
    "spike_gap",
    "two_level_minimum",
    "two_level_rate",
    "two_level_time",
    "window_test",
    "window_times",
]

x, y = sp.symbols("x y", positive=True)


def mode_equation() -> Derivation:
    """Two layers: ``tau da/dt = 2 a (s - a)`` for one aligned mode ``a = w2 w1``.

    The first two steps hold for any two weights, the third for a lambda-balanced pair, the
    last for a balanced one.
    """
    w1, w2 = functions("w_1 w_2")
    lam = sp.Symbol("lambda", real=True)
    norms = sp.sqrt(lam**2 + 4 * a**2)
    error = s - w2 * w1
    flow = (
        (sp.Derivative(w1, t), error * w2 / tau),
        (sp.Derivative(w2, t), error * w1 / tau),
    )
    balanced = ((w1, a / w2), (w2, sp.sqrt((lam + norms) / 2)))
    steps = (
        Step("product rule", (w1**2 + w2**2) * error, tau * sp.Derivative(w1 * w2, t), flow),
        Step("the balance never changes", sp.Integer(0), sp.Derivative(w2**2 - w1**2, t)),
        Step(
            r"layers with $w_2^2 - w_1^2 = \lambda$",
            norms * (s - a),
            (w1**2 + w2**2) * error,
            balanced,
        ),
        Step(r"balanced layers, $\lambda = 0$", 2 * a * (s - a), given=((lam, sp.Integer(0)),)),
    )
    return Derivation("mode equation", steps)


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

    Raises
    ------
    ValueError
        If `depth` is below 2.
    """
    shared = sp.Function("w", positive=True)(t)
    layers = sp.Symbol("L", positive=True) if depth is None else _as_depth(depth, 2)
    power = layers * a ** (2 - sp.Integer(2) / layers) * (s - a)
    if depth is None:
        flow = (sp.Derivative(shared, t), (s - shared**layers) * shared ** (layers - 1) / tau)
        rate = layers * shared ** (2 * layers - 2) * (s - shared**layers)
        first = (Step("chain rule", rate, tau * sp.Derivative(shared**layers, t), (flow,)),)
    else:
        w = functions(" ".join(f"w_{i + 1}" for i in range(depth)))
        others = [sp.prod(w[:i] + w[i + 1 :]) for i in range(depth)]
        error = s - sp.prod(w)
        flow = tuple((sp.Derivative(w[i], t), error * others[i] / tau) for i in range(depth))
        rate = sum(rest**2 for rest in others) * error
        first = (
            Step("product rule", rate, tau * sp.Derivative(sp.prod(w), t), flow),
            Step(
                "the balance never changes", sp.Integer(0), sp.Derivative(w[-1] ** 2 - w[0] ** 2, t)
            ),
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


def logistic() -> sp.Expr:
    """Mode strength ``s / (1 + (s/a0 - 1) exp(-2 s t / tau))`` in the symbols t, s, a_0, tau."""
    return s / (1 + (s / a0 - 1) * sp.exp(-2 * s * t / tau))


def logistic_mode() -> Derivation:
    """Two layers: the logistic mode, by separation of variables, with its limits."""
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
        Step("it solves the mode equation", 2 * mode * (s - mode), tau * sp.Derivative(mode, t)),
        Step("it starts at its initial value", a0, sp.Subs(logistic(), t, 0)),
        Step(
            "a mode without target decays",
            a0 / (1 + 2 * a0 * t / tau),
            sp.Limit(logistic(), s, 0),
        ),
    )
    return Derivation("logistic mode", steps)


def learning_time() -> Derivation:
    """Two layers: time to reach the fraction f of s, and the two halves of a rise."""
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

    Raises
    ------
    ValueError
        If `depth` is below 3.
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
    """
    depth, omega = sp.symbols("L omega", positive=True)
    clock = sp.Symbol("F", real=True)
    inverse = sp.Function("x", positive=True)(clock)
    integral = -1 / x + sp.log(x / (1 - x))
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
    )
    return Derivation("infinite depth", steps)


def _as_depth(depth: int, least: int) -> sp.Integer:
    if depth < least:
        raise ValueError(
            f"depth counts weight matrices, at least {least} of them here: got {depth}"
        )
    return sp.Integer(operator.index(depth))
