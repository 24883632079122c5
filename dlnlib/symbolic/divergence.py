r"""Derivations of the risk estimate: what a spectral function spends, its slope, its targets.

A spectral function keeps the singular vectors of a matrix and replaces each singular value s by
f(s).  It commutes with rotations from either side, so its derivatives may be taken at a diagonal
matrix.  There a change of the entry (j, k) meets the modes j and k alone: matrices with two rows
prove the formula for all shapes.
`dlnlib.symbolic` presents these derivations together with those of the modes.

References
----------
Stein, "Estimation of the mean of a multivariate normal distribution", Ann. Statist. 9, 1135 (1981).
Candes, Sing-Long, Trzasko, "Unbiased risk estimates for singular value thresholding and spectral
estimators", IEEE Trans. Signal Process. 61, 4643 (2013), arXiv 1210.4139.
"""

import operator
from collections.abc import Callable

import sympy as sp

from dlnlib.symbolic.derivation import Derivation, Step, a, a0, s, t, tau
from dlnlib.symbolic.modes import logistic

s1, s2 = sp.symbols("s_1 s_2", positive=True)
total, apart = sp.symbols("S D", positive=True)  # s_1 + s_2 and s_1 - s_2
layers, theta, q, x = sp.symbols("L theta q x", positive=True)
y, z = sp.symbols("y z", positive=True)


def spectral_divergence(columns: int = 2) -> Derivation:
    r"""Divergence of a spectral function f, any function, from the entries of two rows.

    With K singular values s_k in a matrix of shape (n_out, n_in) the same three kinds of entries
    add up to::

        sum_k [f'(s_k) + |n_out - n_in| f(s_k)/s_k]
        + 2 sum_(j<k) [s_k f(s_k) - s_j f(s_j)] / (s_k^2 - s_j^2)

    An entry z that mixes the modes has s_1 + s_2 and s_1 - s_2 become sqrt(S^2 + z^2) and
    sqrt(D^2 + z^2).  The last two lines: a mixing entry at equal values, and what f = s spends.

    Parameters
    ----------
    columns : int
        n_in, at least 2.

    Returns
    -------
    Derivation

    Examples
    --------
    >>> spectral_divergence(3).steps[2].rhs  # each further column
    f(s_1)/s_1
    >>> spectral_divergence(3).steps[-1].rhs  # f = s: as many as there are entries
    6
    """
    columns = operator.index(columns)
    if columns < 2:
        raise ValueError(f"two singular values need two columns: got columns={columns}")
    f = sp.Function("f", real=True)
    slope = sp.Derivative(f(s1), s1)
    pair = (s1 * f(s1) - s2 * f(s2)) / (s1**2 - s2**2)
    spent = slope + slope.subs(s1, s2) + 2 * pair + (columns - 2) * (f(s1) / s1 + f(s2) / s2)
    entries = [(i, j) for i in range(2) for j in range(columns)]
    divergence = sum(_entry_slope(f, columns, entry) for entry in entries)
    mixed = ((total, s1 + s2), (apart, s1 - s2))
    steps = [
        Step("an entry on the diagonal", slope, _entry_slope(f, columns, (0, 0))),
        Step("an entry that mixes two modes", pair, _entry_slope(f, columns, (0, 1)), mixed),
    ]
    if columns > 2:
        further = _entry_slope(f, columns, (0, 2))
        steps.append(Step("an entry in a further column", f(s1) / s1, further))
    steps += [
        Step("all entries: the divergence", spent, divergence),
        Step(
            "equal values: a quotient of derivatives",
            (slope + f(s1) / s1) / 2,
            sp.Derivative(s1 * f(s1), s1) / sp.Derivative(s1**2, s1),
        ),
        Step("the identity", sp.Integer(2 * columns), spent.replace(f, lambda value: value)),
    ]
    return Derivation("divergence of a spectral function", tuple(steps))


def _entry_slope(f: Callable[[sp.Expr], sp.Expr], columns: int, entry: tuple[int, int]) -> sp.Expr:
    """The derivative of f(M)_ij by M_ij at the diagonal M of s_1 and s_2, not yet carried out.

    f(M) = (alpha + beta M M') M with the line alpha + beta p^2 that is f(p)/p at both values.
    """
    i, j = entry
    moved = sp.zeros(2, columns)
    moved[0, 0], moved[1, 1] = s1, s2
    moved[entry] += z
    p, r = s1, s2
    if j > 1:
        p, r = [sp.sqrt(value**2 + z**2) if k == i else value for k, value in enumerate((p, r))]
    elif i == j:
        p, r = [value + z if k == i else value for k, value in enumerate((p, r))]
    else:
        more, less = sp.sqrt(total**2 + z**2), sp.sqrt(apart**2 + z**2)
        p, r = (more + less) / 2, (more - less) / 2
    beta = (f(p) / p - f(r) / r) / (p**2 - r**2)
    image = (f(p) / p - beta * p**2) * moved + beta * moved * moved.T * moved
    return sp.Subs(sp.Derivative(image[entry], z), z, 0)


def mode_slope() -> Derivation:
    r"""Slope da/ds of a mode at depth L, from its clock; time and start are held.

    With x = a/s the clock is F(x) - F(a0/s) = L s^(2 - 2/L) t / tau, F' = 1/(x^(2 - 2/L) (1 - x)).
    Line 3 holds at infinite depth as well, with 2 - 2/L and da/dt = L a^(2 - 2/L) (s - a) / tau
    in their limits.  Line 4 is two layers by the quotient rule.  Line 5 is what a small start
    leaves of line 3 at L > 2, where t is the wait tau/((L - 2) s a0^(1 - 2/L)): all modes rise
    after waits in inverse proportion to s, so that the later the rise the steeper the slope.

    Examples
    --------
    >>> step = mode_slope().steps[-1]
    >>> print(f"{step.text}: {step.rhs}")
    a small start: L*(a/s)**(2 - 2/L)*(s/a_0)**(1 - 2/L)*(-a/s + 1)/(L - 2)
    """
    power, fuel = 2 - 2 / layers, 1 - 2 / layers
    part, start = sp.Function("x", positive=True)(s), a0 / s
    clock = sp.Integral(1 / (z**power * (1 - z)), (z, start, part))
    ends = sp.Derivative(part, s) / (part**power * (1 - part))
    ends += start / s / (start**power * (1 - start))
    turn = (2 * layers - 2) * s ** (power - 1) * t / tau
    moved = part**power * (1 - part) * (turn - start / s / (start**power * (1 - start)))
    velocity = layers * a**power * (s - a) / tau
    slope = a / s + power * t * velocity / s - (a / a0) ** power * a0 * (s - a) / (s * (s - a0))
    wait = tau / ((layers - 2) * s * a0**fuel)
    steep = layers * (a / s) ** power * (1 - a / s) * (s / a0) ** fuel / (layers - 2)
    early = power * t * velocity / s - (a / a0) ** power * a0 * (s - a) / s**2
    steps = (
        Step(r"both ends of the clock, $x = a/s$", ends, sp.Derivative(clock, s)),
        Step(
            "must move as its reading does",
            ends,
            sp.Derivative(layers * s**power * t / tau, s),
            ((sp.Derivative(part, s), moved),),
        ),
        Step("the slope of the mode", slope, sp.Derivative(s * part, s), ((part, a / s),)),
        Step(
            "two layers, by the quotient rule",
            slope.subs(layers, 2).subs(a, logistic()),
            sp.Derivative(logistic(), s),
        ),
        Step("a small start", steep, early, ((t, wait),)),
    )
    return Derivation("slope of a mode", steps)


def risk_targets() -> Derivation:
    r"""The targets in Stein's estimate tend to those of the optimal shrinker, at any aspect.

    The target is ``s - (2 w + |n_out - n_in|/s) noise^2/n_in``, with w the sum of
    s/(s^2 - s_j^2) over the other modes.  For an outlier in large matrices the sum is an integral
    over the bulk.
    In units of the noise, with q = sqrt(c), x = s0^2 > q, s^2 = (x + 1)(x + q^2)/x and bulk values
    X = 1 + q^2 + 2 q cos(theta): line 1 is the density of the bulk with root = 2 q sin(theta),
    line 2 splits the integrand, lines 3 and 4 integrate either part.  The first part is the last
    integral at y = q (or 1/q, divided by q^2, where q > 1), the second at y = -q/x.

    Examples
    --------
    >>> step = risk_targets().steps[-1]
    >>> print(f"{step.text}: {step.rhs}")
    a square matrix: s**2 - 4
    """
    sine, cosine = sp.sin(theta), sp.cos(theta)
    value = 1 + q**2 + 2 * q * cosine
    spike = ((s, sp.sqrt((x + 1) * (x + q**2) / x)),)

    def part(y: sp.Expr) -> sp.Expr:
        return sine**2 / (1 + y**2 + 2 * y * cosine)

    area = theta / 2 - sine / (2 * y)
    area += (1 - y**2) / (2 * y**2) * sp.atan(y * sine / (1 + y * cosine))
    target = (x - q**2 / x) / s
    far = sp.pi / (2 * x)
    steps = (
        Step(
            "the density of the bulk",
            4 * q**2 * sine**2,
            ((1 + q) ** 2 - value) * (value - (1 - q) ** 2),
        ),
        Step(
            "what it adds to the sum",
            4 * q**2 / (sp.pi * s) * (part(q) + part(-q / x) / x),
            2 * s / (s**2 - value) * 2 * q**2 * sine**2 / (sp.pi * value),
            spike,
        ),
        Step("integrate", part(y), sp.Derivative(area, theta)),
        Step("from 0 to half a turn", sp.pi / 2, sp.Subs(area, theta, sp.pi)),
        Step(r"for $y > 1$", part(1 / y) / y**2, part(y)),
        Step(
            "the target, wide",
            target,
            s - 4 * q**2 / (sp.pi * s) * (sp.pi / 2 + far) - (1 - q**2) / s,
        ),
        Step(
            "the target, tall",
            target,
            s - 4 * q**2 / (sp.pi * s) * (sp.pi / (2 * q**2) + far) - (q**2 - 1) / s,
        ),
        Step(
            "its square: the optimal shrinker",
            (s**2 - (1 + q) ** 2) * (s**2 - (1 - q) ** 2) / s**2,
            target**2,
        ),
        Step("a square matrix", s**2 - 4, given=((q, sp.Integer(1)),)),
    )
    return Derivation("targets of the risk estimate", steps)
