"""Derivations about two levels: r signal modes of target s and nu noise modes of target n < s.

All start at the strength a0 and follow the logistic flow of two layers; a_s and a_n are the
strengths of a signal and of a noise mode.
`dlnlib.symbolic` presents these derivations together with those of the modes.
"""

import sympy as sp

from dlnlib.symbolic.derivation import Derivation, Step, a0, ddt, functions, s, t, tau
from dlnlib.symbolic.modes import logistic

n = sp.Symbol("n", positive=True)  # target of the noise modes; that of the signal modes is s
signal, noise = (sp.Function(name, positive=True)(t) for name in ("a_s", "a_n"))
level_flow = (
    (ddt(signal), 2 * signal * (s - signal) / tau),
    (ddt(noise), 2 * noise * (n - noise) / tau),
)


def two_level_rate() -> Derivation:
    r"""Two levels: ``dH/dt = -2 P (1 - P) (g_s - g_n) (log p_s - log p_n)``.

    P is the share of the signal as a whole, p_s and p_n are those of one mode; the strengths
    and their growth rates g are any functions, up to the last line.
    That line is for two layers: where a_s > a_n, the entropy is stationary exactly at
    a_s - a_n = s - n.

    Examples
    --------
    >>> step = two_level_rate().steps[0]
    >>> print(f"{step.text}: {step.rhs}")
    the share of the signal: 2*(1 - P(t))*(-g_n(t) + g_s(t))*P(t)
    """
    r, many = sp.symbols("r nu", positive=True)
    fast, slow, whole, one, other = functions("g_s g_n P p_s p_n")
    definitions = (
        (one, whole / r),
        (other, (1 - whole) / many),
        (whole, r * signal**2 / (r * signal**2 + many * noise**2)),
        (ddt(signal), signal * fast),
        (ddt(noise), noise * slow),
    )
    groups = -whole * sp.log(whole) - (1 - whole) * sp.log(1 - whole)
    within = whole * sp.log(r) + (1 - whole) * sp.log(many)
    flow = 2 * whole * (1 - whole) * (fast - slow)
    ratio = sp.log(signal) - sp.log(noise)
    layers = ((fast, 2 * (s - signal) / tau), (slow, 2 * (n - noise) / tau))
    gap = (s - n) - (signal - noise)
    steps = (
        Step("the share of the signal", flow, ddt(whole), definitions),
        Step(
            "the entropy between and within the groups",
            groups + within,
            -r * one * sp.log(one) - many * other * sp.log(other),
        ),
        Step("its rate", -flow * (sp.log(one) - sp.log(other)), ddt(groups + within)),
        Step("in terms of the strengths", -2 * flow * ratio),
        Step("two layers", -8 * whole * (1 - whole) * gap * ratio / tau, given=layers),
    )
    return Derivation("two-level rate", steps)


def two_level_minimum() -> Derivation:
    r"""Two levels, two layers, ``a0 < n < s``: H has exactly one minimum, where a_s - a_n = s - n.

    By `two_level_rate` the sign of dH/dt is that of the gap D = (a_s - a_n) - (s - n), since
    a_s > a_n at t > 0 (line 2).  D starts at -(s - n) < 0 (line 3); wherever it is zero it grows
    (line 4), since a_n < n (line 5); at late times, with x = exp(-2 n t / tau), it is
    n (n/a0 - 1) x > 0 up to higher orders (lines 6 and 7, for s = n (1 + q)).  So D changes sign
    once, upwards: H falls, then rises ever after.

    From a0 >= n the noise modes cannot grow (line 5).  D is then never positive, since by line 4
    it could only pass zero downwards, and H has no minimum: it falls all along.

    Examples
    --------
    >>> step = two_level_minimum().steps[2]
    >>> print(f"{step.text}: {step.rhs}")
    the gap at the start: n - s
    """
    x, q = sp.symbols("x q", positive=True)
    velocity = 2 * signal * (s - signal) - 2 * noise * (n - noise)
    gap = logistic(s) - logistic(n) - (s - n)
    late_noise = n - n / (1 + (n / a0 - 1) * x)
    late_signal = s - s / (1 + (s / a0 - 1) * x ** (1 + q))
    steps = (
        Step("the flow", velocity, tau * ddt(signal - noise), level_flow),
        Step("a tie goes to the signal", 2 * (s - n) * noise, sp.Subs(velocity, signal, noise)),
        Step("the gap at the start", -(s - n), sp.Subs(gap, t, 0)),
        Step(
            "where the gap is zero, it grows",
            2 * (s - n) * (n - noise),
            sp.Subs(velocity, signal, noise + s - n),
        ),
        Step(
            r"what the noise lacks keeps the sign of $n - a_0$",
            (n / a0 - 1) * sp.exp(-2 * n * t / tau) * logistic(n),
            n - logistic(n),
        ),
        Step("what it lacks late", n * (n / a0 - 1), sp.Limit(late_noise / x, x, 0)),
        Step(
            "what the signal lacks is of higher order",
            s * (s / a0 - 1) * x**q / (1 + (s / a0 - 1) * x ** (1 + q)),
            late_signal / x,
        ),
    )
    return Derivation("two-level minimum", steps)


def two_level_time() -> Derivation:
    r"""Two levels, two layers, small starts: ``t* = (tau/2s) log[(s/a0 - 1)(s/n - 1)]``.

    The minimum stands exactly at the time of line 1 with v = a_n(t*): the signal is at s - n + v.
    The closed form takes v = 0 (line 2), so that it comes before the minimum.  The noise reaches
    at most a0 exp(2 n t / tau) (line 3), of order a0^(1 - n/s) there, which vanishes with a0 since
    n < s (line 4, with n = s (1 - q)).  So the difference of the two times, tau v / (2 n (s - n))
    to first order (line 5), vanishes too, though slowly if n is close to s.

    Examples
    --------
    >>> step = two_level_time().steps[1]
    >>> print(f"{step.text}: {step.rhs}")
    a noise mode still small: tau*log((-1 + s/a_0)*(-1 + s/n))/(2*s)
    """
    v, q = sp.symbols("v q", positive=True)
    exact = tau / (2 * s) * sp.log((s / a0 - 1) * (s - n + v) / (n - v))
    closed = tau / (2 * s) * sp.log((s / a0 - 1) * (s / n - 1))
    bound = a0 * ((s / a0 - 1) * q / (1 - q)) ** (1 - q)
    steps = (
        Step("the signal at the minimum", s - n + v, sp.Subs(logistic(s), t, exact)),
        Step("a noise mode still small", closed, sp.Subs(exact, v, 0)),
        Step(
            "the noise grows at most exponentially",
            -2 * logistic(n) / tau,
            ddt(sp.log(logistic(n) / (a0 * sp.exp(2 * n * t / tau)))),
        ),
        Step("and vanishes with the start", sp.Integer(0), sp.Limit(bound, a0, 0)),
        Step("first correction", tau / (2 * n * (s - n)), sp.Subs(sp.Derivative(exact, v), v, 0)),
    )
    return Derivation("two-level time", steps)
