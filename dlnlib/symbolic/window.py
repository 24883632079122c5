r"""Derivations of the stopping window: r signal modes (s, target m), nu noise modes (n, target 0).

The test error is E = r (a_s^2 - 2 a_s m) + nu a_n^2 up to a constant; the entropy is least where
both levels grow at the same rate (`two_level_minimum`).
`dlnlib.symbolic` presents these derivations together with those of the modes.
"""

import sympy as sp

from dlnlib.symbolic.derivation import Derivation, Step, a0, ddt, s, t, tau
from dlnlib.symbolic.levels import level_flow, n, noise, signal
from dlnlib.symbolic.modes import logistic

m, r, many = sp.symbols("m r nu", positive=True)
layers = sp.Symbol("L", positive=True)
gap, wait = sp.symbols("Delta T", positive=True)  # a_s - a_n; the time the signal takes


def window_test() -> Derivation:
    r"""Two layers: whether the test error still falls at the minimum of the entropy.

    It does where r a_s (m - a_s) > nu a_n^2, since a_n < n (last line): at any start below n.

    Examples
    --------
    >>> window_test().steps[-1].rhs  # the rate of the test error at the minimum of the entropy
    (4*n - 4*a_n(t))*(nu*a_n(t)**2 - r*(m - a_s(t))*a_s(t))/tau
    """
    error = r * (signal**2 - 2 * m * signal) + many * noise**2
    harm, gain = many * noise**2 * (n - noise), r * signal * (m - signal) * (s - signal)
    steps = (
        Step("the rate of the test error", 4 * (harm - gain) / tau, ddt(error), level_flow),
        Step(
            "where signal and noise grow at the same rate",
            4 * (n - noise) * (many * noise**2 - r * signal * (m - signal)) / tau,
            given=((s, signal + n - noise),),
        ),
    )
    return Derivation("window test", steps)


def error_minimum() -> Derivation:
    r"""Two layers: the test error has at most one minimum after the start, before a_s = m.

    E falls where the ratio R of harm to gain is below 1.  Its logarithmic rate D (line 1) rises
    while a_s - a_n does (line 2: the bracket exceeds 6), and a_s - a_n rises until it reaches
    s - n; from there on it stays above, and D > 4 s - 2 n > 0 (line 3, whose left side is what D
    has beyond 4 n - 2 s + 6 (a_s - a_n)).  So R falls first, if at all, then rises for good, and
    it exceeds any bound as a_s -> m.

    Examples
    --------
    >>> step = error_minimum().steps[3]
    >>> print(f"{step.text}: {step.rhs}")
    a gap above s - n: -2*n + 4*s
    """
    harm = sp.log(many) + 2 * sp.log(noise) + sp.log(n - noise)
    gain = sp.log(r) + sp.log(signal) + sp.log(m - signal) + sp.log(s - signal)
    trend = 4 * n - 2 * s - 6 * noise + 4 * signal + 2 * signal * (s - signal) / (m - signal)
    swift = 6 + 2 * m * (s - m) / (m - signal) ** 2
    steps = (
        Step("harm over gain", trend, tau * ddt(harm - gain), level_flow),
        Step(
            "how its rate moves",
            swift * 2 * signal * (s - signal) - 12 * noise * (n - noise),
            tau * ddt(trend),
        ),
        Step(
            "later",
            2 * signal * (s - m) / (m - signal),
            trend - (4 * n - 2 * s + 6 * (signal - noise)),
        ),
        Step("a gap above s - n", 4 * s - 2 * n, sp.Subs(4 * n - 2 * s + 6 * gap, gap, s - n)),
    )
    return Derivation("error minimum", steps)


def window_times() -> Derivation:
    r"""Two layers, small starts: t_opt - t* = (tau/2s) log[m n / ((s - m)(s - n))].

    By the last line the difference has the sign of n - (s - m).

    Examples
    --------
    >>> window_times().steps[2].rhs  # exp(2 s (t_opt - t*) / tau)
    m*n/((-m + s)*(-n + s))
    """
    first = tau / (2 * s) * sp.log((s / a0 - 1) * (s / n - 1))
    best = tau / (2 * s) * sp.log((s / a0 - 1) * m / (s - m))
    steps = (
        Step(r"the signal at $t^*$: soft threshold", s - n, sp.Subs(logistic(s), t, first)),
        Step(r"at $t_{\mathrm{opt}}$: shrinker", m, sp.Subs(logistic(s), t, best)),
        Step(
            r"$t_{\mathrm{opt}} - t^*$, in an exponential",
            m * n / ((s - m) * (s - n)),
            sp.exp(2 * s * (best - first) / tau),
        ),
        Step("numerator less denominator", s * (n - (s - m)), m * n - (s - m) * (s - n)),
    )
    return Derivation("window times", steps)


def spike_gap() -> Derivation:
    r"""Spiked model, any aspect ratio: s - m < n exactly above the detection threshold.

    In units of the noise, with q = sqrt(c) and x = s0^2: the threshold is x = q, the edge
    n = 1 + q.  The quotient in line 2 has the sign of x - q, as all other terms are positive, and
    s (s - m) is positive by line 1; so s - m < n if and only if x > q.

    Examples
    --------
    >>> spike_gap().steps[-1].rhs  # the square of the edge, at the threshold
    (q + 1)**2
    """
    x, q = sp.symbols("x q", positive=True)
    square, product = (x + 1) * (x + q**2) / x, (x**2 - q**2) / x  # s^2 and s m
    rest = x**2 * (1 + 2 * q + q**2) + x * (3 * q + 2 * q**2 + 3 * q**3) + 4 * q**3
    steps = (
        Step(r"$s\,(s - m)$", 1 + q**2 + 2 * q**2 / x, square - product),
        Step(
            r"$n^2 s^2 - s^2 (s - m)^2$",
            (x - q) * rest / x**2,
            (1 + q) ** 2 * square - (square - product) ** 2,
        ),
        Step(r"$s^2$ at the threshold", (1 + q) ** 2, sp.Subs(square, x, q)),
    )
    return Derivation("spike gap", steps)


def deep_window() -> Derivation:
    r"""L >= 3 layers, small starts: at the minimum of the entropy the signal lacks O(a0^(1-2/L)).

    Lines 1 to 3: a^-q falls at the rate (L - 2)(s - a) / tau, q = 1 - 2/L, so that when the
    signal is learned a noise mode has only grown by the factor (1 - n/s)^(-1/q).  Line 4 is what
    equal growth rates then ask of the signal, near s: to lack n a_n^q / s^q.

    Examples
    --------
    >>> step = deep_window().steps[3]
    >>> print(f"{step.text}: {step.rhs}")
    lacking signal: n*s*(a_0/s)**(1 - 2/L)/(-n + s)
    """
    q = 1 - 2 / layers
    rates = (
        (ddt(signal), layers * signal ** (1 + q) * (s - signal) / tau),
        (ddt(noise), layers * noise ** (1 + q) * (n - noise) / tau),
    )
    burnt = tau * a0**-q / ((layers - 2) * s)
    signal_left, noise_left = (a0**-q - (layers - 2) * x * wait / tau for x in (s, n))
    left = noise_left.subs(wait, burnt)
    error = r * (signal**2 - 2 * m * signal) + many * noise**2
    harm = many * noise ** (2 + q) * (n - noise)
    gain = r * signal ** (1 + q) * (m - signal) * (s - signal)
    steps = (
        Step(
            r"fuel of a mode, $q = 1 - 2/L$",
            -(layers - 2) * (n - noise) / tau,
            ddt(noise**-q),
            rates,
        ),
        Step("the signal has used it up at $T$", sp.Integer(0), sp.Subs(signal_left, wait, burnt)),
        Step("what is left to the noise", a0**-q * (1 - n / s), sp.Subs(noise_left, wait, burnt)),
        Step("lacking signal", (a0 / s) ** q * n * s / (s - n), n / (left * s**q)),
        Step("the test error at any depth", 2 * layers * (harm - gain) / tau, ddt(error)),
    )
    return Derivation("deep window", steps)
