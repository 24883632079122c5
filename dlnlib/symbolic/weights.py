"""Derivations about the rows of the weights: interference, rotation, alignment.

The hidden vectors of different modes interfere; a change of basis turns any target into a
diagonal one; small weights align before they grow.
`dlnlib.symbolic` presents these derivations together with those of the modes.

References
----------
Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear
neural networks", ICLR 2014, arXiv 1312.6120.
"""

import sympy as sp

from dlnlib.symbolic.derivation import Derivation, Step, a0, ddt, functions, operators, s, t, tau
from dlnlib.symbolic.modes import logistic


def cosine_law(modes: int = 3) -> Derivation:
    r"""Cosines of tied vectors: the exact law, its first and its second order.

    Tied means that encoder and decoder of a mode start, and so stay, equal: e_i = d_i = w_i.
    Then tau dw_i/dt = s_i w_i - sum_j (w_i . w_j) w_j, for any hidden size.
    With ``n_i = |w_i|^2`` and eps_ij the cosine of w_i and w_j, for any number of modes::

        tau d eps_ij/dt = -(n_i + n_j) eps_ij (1 - eps_ij^2)
                          - sum_{k != i,j} n_k [2 eps_ik eps_jk - eps_ij (eps_ik^2 + eps_jk^2)]

    The source note is right that "feature benefit" does not turn the vectors (the targets drop out
    exactly, at every order), right to first order, -(n_i + n_j) eps_ij, and right in its second
    order, -2 sum_k n_k eps_ik eps_jk. It leaves out the third order, the change of the norms by
    interference, and its "rate proportional to the larger of the two squared norms" is their sum.
    For two vectors the law is exact for the cotangent of their angle, which decays at n_1 + n_2.
    The last step integrates the first-order law along norms that follow isolated modes.

    Parameters
    ----------
    modes : int
        Number of tied vectors, at least 2; the law shown is that of vectors 1 and 2.

    Returns
    -------
    Derivation

    Examples
    --------
    >>> cosine_law(2).steps[1].rhs
    -epsilon_12*(1 - epsilon_12**2)*(n_1 + n_2)
    """
    if modes < 2:
        raise ValueError(f"a cosine needs two vectors: got modes={modes}; use modes >= 2")
    gram, target, norm, cosine = _gram_symbols(modes)
    n1, n2, e = norm[0], norm[1], cosine[0, 1]
    flow = tuple((ddt(gram[i]), _gram_rate(gram, target, *i)) for i in _PAIRS)
    polar = tuple(
        (gram[i, j], norm[i] if i == j else cosine[i, j] * sp.sqrt(norm[i] * norm[j]))
        for i in (0, 1)
        for j in range(i, modes)
    )
    others = [(norm[k], cosine[0, k], cosine[1, k]) for k in range(2, modes)]
    norms = sum((n * (c1**2 + c2**2) for n, c1, c2 in others), sp.Integer(0))
    second = 2 * sum((n * c1 * c2 for n, c1, c2 in others), sp.Integer(0))
    rate = -(e * (1 - e**2) * (n1 + n2)) - sum(
        n * (2 * c1 * c2 - e * (c1**2 + c2**2)) for n, c1, c2 in others
    )
    sorted_rate = -(e * (n1 + n2)) - second + e * ((n1 + n2) * e**2 + norms)
    overlap = ddt(gram[0, 1] / sp.sqrt(gram[0, 0] * gram[1, 1]))
    steps = (
        *_gram_flow(),
        Step("quotient rule for the cosine", rate, tau * overlap, flow + polar),
        Step("the same, sorted into first, second and third order", sorted_rate),
        _first_order_solution(target),
    )
    return Derivation("cosine law", steps)


_PAIRS = ((0, 0), (1, 1), (0, 1))


def _gram_symbols(modes: int) -> tuple[dict, tuple, tuple, dict]:
    """Gram functions G_ij(t), targets, squared norms and cosines, symmetric in their indices."""
    label = {(i, j): f"{min(i, j) + 1}{max(i, j) + 1}" for i in range(modes) for j in range(modes)}
    gram = {pair: sp.Function(f"G_{k}", real=True)(t) for pair, k in label.items()}
    cosine = {pair: sp.Symbol(f"epsilon_{k}", real=True) for pair, k in label.items()}
    target = sp.symbols(f"s_1:{modes + 1}", real=True)
    return gram, target, sp.symbols(f"n_1:{modes + 1}", positive=True), cosine


def _gram_rate(gram: dict, target: tuple, i: int, j: int) -> sp.Expr:
    products = sum(gram[i, k] * gram[k, j] for k in range(len(target)))
    return ((target[i] + target[j]) * gram[i, j] - 2 * products) / tau


def _gram_flow() -> tuple[Step]:
    """The flow of the matrix w of rows w_i, tau dw/dt = S w - w w' w, is closed in w w'."""
    w, wt, dw, dwt, target, gram = operators(r"w w' \dot{w} \dot{w}' S G")
    flow = ((dw, (target * w - w * wt * w) / tau), (dwt, (wt * target - wt * w * wt) / tau))
    right = target * gram + gram * target - 2 * gram**2
    rules = (*flow, (gram, w * wt))
    rate = tau * (dw * wt + w * dwt)
    return (Step("all vectors at once, as rows of $w$: the Gram matrix", right, rate, rules),)


def _first_order_solution(target: tuple) -> Step:
    n1, n2 = (sp.Function(f"n_{i}", positive=True)(t) for i in (1, 2))
    cosine = sp.sqrt(n1 * n2) * sp.exp(-((target[0] + target[1]) * t / tau))
    isolated = tuple((ddt(n), 2 * n * (target[i] - n) / tau) for i, n in enumerate((n1, n2)))
    left = tau * ddt(sp.log(cosine))
    return Step(
        "first order along isolated modes: what the cosine is proportional to",
        -(n1 + n2),
        left,
        isolated,
    )


def residual_cosine_law() -> Derivation:
    """Tied vectors: the cosine law that is exact at every order, for any number of modes.

    For linearly independent vectors (at least as many hidden units as modes) the precision matrix
    Theta = G^-1 obeys a linear equation. Its entries give r_i = 1/Theta_ii, the squared norm of
    the part of w_i orthogonal to all other vectors, and the partial cosine
    c_ij = -Theta_ij / sqrt(Theta_ii Theta_jj), the cosine of w_i and w_j once their parts along
    the other vectors are taken off. Then r_i is exactly the logistic mode, and c_ij obeys exactly
    the law that the plain cosines obey to first order. Dependent vectors have no such cosines.

    Examples
    --------
    >>> residual_cosine_law().steps[-1].rhs
    -c_12*(r_1 + r_2)
    """
    s1, s2 = sp.symbols("s_1 s_2", positive=True)
    r1, r2 = sp.symbols("r_1 r_2", positive=True)
    cosine = sp.Symbol("c_12", real=True)
    gram, theta, gram_rate, target = operators(r"G Theta \dot{G} S")
    theta11, theta22, theta12 = (
        sp.Function(f"Theta_{k}", real=True)(t) for k in ("11", "22", "12")
    )
    flow = (
        (ddt(theta11), (2 - 2 * s1 * theta11) / tau),
        (ddt(theta22), (2 - 2 * s2 * theta22) / tau),
        (ddt(theta12), -(theta12 * (s1 + s2) / tau)),
    )
    polar = ((theta11, 1 / r1), (theta22, 1 / r2), (theta12, -cosine / sp.sqrt(r1 * r2)))
    rules = (
        (gram_rate, (target * gram + gram * target - 2 * gram**2) / tau),
        (gram * theta, sp.Integer(1)),
        (theta * gram, sp.Integer(1)),
    )
    linear = 2 - target * theta - theta * target
    residual = 1 / (1 / s + (1 / a0 - 1 / s) * sp.exp(-2 * s * t / tau))
    overlap = -theta12 / sp.sqrt(theta11 * theta22)
    steps = (
        Step(
            r"the precision matrix $\Theta = G^{-1}$, 2 being twice the identity",
            linear,
            -tau * theta * gram_rate * theta,
            rules,
        ),
        Step(
            r"the squared residual norm $r_1$",
            2 * r1 * (s1 - r1),
            tau * ddt(1 / theta11),
            flow + polar,
        ),
        Step(
            r"$1/\Theta_{11}$ with its linear flow solved: the logistic mode", logistic(), residual
        ),
        Step(r"the partial cosine $c_{12}$", -(cosine * (r1 + r2)), tau * ddt(overlap)),
    )
    return Derivation("residual cosine law", steps)


def rotation_invariance() -> Derivation:
    """The flow on Sigma = U S V^T is the flow on S of the rotated weights B1 and B2.

    W1 = R B1 V^T and W2 = U B2 R^T with orthogonal U, V and R of any size. The last step says
    that a rotation keeps the norm of the weights, hence the density of an i.i.d. Gaussian start.

    Examples
    --------
    >>> step = rotation_invariance().steps[0]
    >>> print(f"{step.text}: {step.rhs}")
    the map of the network: B_2*B_1
    """
    u, v, r, sigma, w1, w2, b1, b2, target = operators("U V R Sigma W_1 W_2 B_1 B_2 S")
    ut, vt, rt, w1t, w2t, b1t, b2t = operators("U' V' R' W_1' W_2' B_1' B_2'")
    rules = (
        (sigma, u * target * vt),
        (w1, r * b1 * vt),
        (w2, u * b2 * rt),
        (w1t, v * b1t * rt),
        (w2t, r * b2t * ut),
        *((pair, sp.Integer(1)) for pair in (rt * r, ut * u, vt * v)),
    )
    error, rotated = sigma - w2 * w1, target - b2 * b1
    steps = (
        Step("the map of the network", b2 * b1, ut * w2 * w1 * v, rules),
        Step("the flow of the first layer", b2t * rotated, rt * w2t * error * v),
        Step("the flow of the second layer", rotated * b1t, ut * error * w1t * r),
        Step("the norm of the weights", b1t * b1, vt * w1t * w1 * v),
    )
    return Derivation("rotation invariance", steps)


def alignment_linearisation() -> Derivation:
    """Small weights: encoder and decoder of a mode align, with the sign of its target.

    To first order in the weights, tau d[W1^T; W2]/dt = F [W1^T; W2] with the off-diagonal blocks
    Sigma^T and Sigma: eigenvalues ±s_k with vectors (v_k, ±u_k)/sqrt(2). The sum of encoder
    e = W1 v_k and decoder d = W2^T u_k grows like exp(s t / tau), their difference decays.
    Of their cosine c, with equal norms, artanh(c) grows at the rate 2 s / tau: c tends to 1 for
    s > 0 and to -1 for s < 0, the negative entries of a diagonal target.

    Examples
    --------
    >>> step = alignment_linearisation().steps[4]
    >>> print(f"{step.text}: {step.rhs}")
    encoder plus decoder grows: s*(d(t) + e(t))
    """
    sigma, sigma_t, w1, w2, w1t, w2t = operators("Sigma Sigma' W_1 W_2 W_1' W_2'")
    u, v = operators("u v")
    sk, c, c0, sign, delta = sp.symbols("s c c_0 sigma delta", real=True)
    n = sp.Symbol("n", positive=True)
    e, d, ee, dd, ed = functions("e d E D X")
    pair = ((ddt(e), sk * d / tau), (ddt(d), sk * e / tau))
    norms = (
        (ddt(ed), sk * (ee + dd) / tau),
        (ddt(ee), 2 * sk * ed / tau),
        (ddt(dd), 2 * sk * ed / tau),
    )
    singular = ((sigma * v, sk * u), (sigma_t * u, sk * v), (sign**2, sp.Integer(1)))
    equal = ((ee, n), (dd, n), (ed, c * n))
    angle = sp.tanh(2 * sk * t / tau + sp.atanh(c0))

    def first_order(flow: sp.Expr) -> sp.Expr:
        return sp.Subs(sp.Derivative(flow, delta), delta, 0)

    steps = (
        Step(
            "small weights",
            sigma_t * w2,
            first_order((sigma_t - delta**2 * w1t * w2t) * delta * w2),
        ),
        Step("both layers", sigma * w1t, first_order((sigma - delta**2 * w2 * w1) * delta * w1t)),
        Step("upper half of an eigenvector", sign * sk * v, sigma_t * sign * u, singular),
        Step("lower half", sign * sk * sign * u, sigma * v),
        Step("encoder plus decoder grows", sk * (e + d), tau * ddt(e + d), pair),
        Step("their difference decays", -sk * (e - d), tau * ddt(e - d)),
        Step(
            "equal norms: the rate of $c$",
            2 * sk * (1 - c**2),
            tau * ddt(ed / sp.sqrt(ee * dd)),
            norms + equal,
        ),
        Step("which is the cosine", c, ed / sp.sqrt(ee * dd)),
        Step("its solution", 2 * sk * (1 - angle**2), tau * ddt(angle)),
        Step("it starts at its initial value", c0, angle.subs(t, 0)),
    )
    return Derivation("alignment linearisation", steps)
