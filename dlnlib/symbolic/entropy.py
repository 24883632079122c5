"""Derivations about the spectral entropy of any modes: the covariance identity, equal starts.

H = -sum p_k log p_k with the energy shares p_k = a_k^2 / sum a_j^2 and the growth rates
g_k = d(log a_k)/dt.  Nothing is assumed of the functions a_k(t) but that they are positive, up to
the point where a step says so.
`dlnlib.symbolic` presents these derivations together with those of the modes.
"""

import sympy as sp

from dlnlib.symbolic.derivation import Derivation, Step, a0, ddt, functions, j, k, t, tau

# functions of the index and of time: a(k, t) is the strength of mode k
strength, share = (sp.Function(name, positive=True) for name in "ap")
growth = sp.Function("g", real=True)
entropy, mean = functions(r"H \bar{g}")
p, g, log_p = share(k, t), growth(k, t), sp.log(share(k, t))


class _Modes:
    """Sums over K modes: a given number, written out when checked, or any number."""

    def __init__(self, modes: int | None) -> None:
        if modes is not None and modes < 2:
            raise ValueError(f"shares need two modes: got modes={modes}; use modes >= 2 or None")
        self.any = modes is None
        self.number = sp.Symbol("K", integer=True, positive=True) if self.any else sp.Integer(modes)

    def sum(self, term: sp.Expr, index: sp.Symbol = k) -> sp.Expr:
        """Sum of a term in k over all modes."""
        return sp.Sum(term.xreplace({k: index}), (index, 1, self.number))

    def adding_to(self, total: sp.Expr, term: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
        """The rule that the terms add to a total, solved for the last one if there is a last."""
        if self.any:
            return self.sum(term), total
        others = sp.Sum(term.xreplace({k: j}), (j, 1, self.number - 1))
        return term.xreplace({k: self.number}), total - others


def covariance_identity(modes: int | None = None) -> Derivation:
    r"""The covariance identity ``dH/dt = -2 Cov_p(g, log p)``, for any positive functions a_k(t).

    The first line is the product rule alone: later the shares may not lose their sum, and then
    nothing could tell ``log p + 1`` from ``log p - 1``.
    The last two lines are the covariance as E[g log p] - E[g] E[log p], and as the mean product
    of deviations (E[log p] = -H); the line before them gives each mode its part.

    Parameters
    ----------
    modes : int, optional
        Number of modes, at least 2: every sum is then written out and checked term by term.
        Without it the number is the symbol K, and sums are used as linear maps only.

    Returns
    -------
    Derivation

    Examples
    --------
    >>> covariance_identity().steps[-3].rhs
    -2*Sum((-\bar{g}(t) + g(k, t))*p(k, t)*log(p(k, t)), (k, 1, K))
    """
    over = _Modes(modes)
    a, energy = strength(k, t), sp.Function("S", positive=True)(t)
    definitions = ((mean, over.sum(p * g, j)), (p, a**2 / energy), (ddt(a), a * g))
    by_shares = -over.sum(ddt(p) * (log_p + 1))
    steps = (
        Step(
            "the entropy, by the product rule",
            by_shares,
            ddt(entropy),
            ((entropy, -over.sum(p * log_p, j)),),
        ),
        Step(
            "the energy of all modes, by the chain rule",
            2 * over.sum(a**2 * g),
            ddt(over.sum(a**2)),
            definitions,
        ),
        Step(
            "one share, by the quotient rule",
            2 * p * (g - mean),
            ddt(a**2 / energy),
            ((ddt(energy), 2 * over.sum(a**2 * g, j)),),
        ),
        Step(
            "what some shares gain the others lose",
            sp.Integer(0),
            over.sum(2 * p * (g - mean)),
            (over.adding_to(energy, a**2),),
        ),
        Step("so in the first line", -over.sum(ddt(p) * log_p), by_shares),
        Step("insert them", -2 * over.sum(p * (g - mean) * log_p)),
        Step("multiply out", -2 * (over.sum(p * g * log_p) - mean * over.sum(p * log_p))),
        Step("a covariance", -2 * over.sum(p * (g - mean) * (log_p + entropy))),
    )
    return Derivation("covariance identity", steps)


def equal_start(modes: int | None = None) -> Derivation:
    r"""Equal strengths: ``H = log K``, ``dH/dt = 0`` and ``d^2H/dt^2 = -4 Var(g) <= 0``.

    The first departure is of second order, whatever the functions g_k(t).
    The second line is the second derivative at any shares; its terms with log p + H vanish where
    all shares are equal.  The last line is that of aligned modes at depth L with targets s_k:
    -4 (L/tau)^2 a0^(2 - 4/L) Var(s), hence -16 Var(s)/tau^2 for two layers.

    Parameters
    ----------
    modes : int, optional
        Number of modes, at least 2; without it the symbol K.

    Returns
    -------
    Derivation

    Examples
    --------
    >>> step = equal_start().steps[2]
    >>> print(f"{step.text}: {step.rhs}")
    equal shares: log(K)
    """
    over = _Modes(modes)
    layers, target = sp.Symbol("L", positive=True), sp.Function("s", positive=True)(k)
    rate = -2 * over.sum(p * (g - mean) * log_p)
    spread = (g - mean) ** 2
    curvature = over.sum(p * (4 * spread * (1 + log_p + entropy) + 2 * ddt(g) * (log_p + entropy)))
    variance = (over.sum(target**2) - over.sum(target) ** 2 / over.number) / over.number
    motion = (
        (entropy, -over.sum(p * log_p, j)),
        (mean, over.sum(p * g, j)),
        (ddt(p), 2 * p * (g - over.sum(p * g, j))),
        over.adding_to(sp.Integer(1), p),
    )
    aligned = layers * a0 ** (1 - 2 / layers) * (target - a0) / tau
    steps = (
        Step("the covariance identity", rate, ddt(entropy), motion),
        Step("once more, at any shares", -curvature, ddt(rate)),
        Step("equal shares", sp.log(over.number), entropy, ((p, 1 / over.number),)),
        Step("the entropy is stationary", sp.Integer(0), rate),
        Step("and falls at second order", -4 * over.sum(spread) / over.number, -curvature),
        Step(
            "aligned modes of a network with L layers, by their equation",
            layers * a0 ** (2 - 2 / layers) * (target - a0) / (tau * a0),
            g,
            ((g, aligned),),
        ),
        Step(
            "their second order",
            -4 * layers**2 * a0 ** (2 - 4 / layers) * variance / tau**2,
            -4 * over.sum(spread) / over.number,
        ),
    )
    return Derivation("equal start", steps)
