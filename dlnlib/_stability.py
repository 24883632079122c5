r"""The largest step size at which SGD with batch 1 settles at an interpolator.

Near weights with residuals zero a step on sample i changes the residuals by -eta J J_i^T r_i, with
J the Jacobian.  Their mean square decays from every start if and only if eta < 1 / rho(B)::

    B_ij = int_0^inf (a_i^T exp(-t G) a_j)^2 dt,    G = sum_i a_i a_i^T,    a_i = row i of J,

with rho the largest eigenvalue: the exact threshold of Mulayoff & Michaeli (COLT 2024), reduced to
one symmetric matrix of the size of the data.
"""

import numpy as np
from numpy.typing import ArrayLike

from dlnlib._checks import as_matrix

__all__ = ["stability_threshold"]


def stability_threshold(jacobian: ArrayLike) -> float:
    """Mean-square stability threshold of SGD with batch 1 at an interpolator.

    Parameters
    ----------
    jacobian : (n, p) array_like
        Gradient of each output in the parameters, at the interpolator.

    Returns
    -------
    float
        Step size for the loss ``|r|^2 / (2 n)``; for ``|r|^2 / n`` it is half as large.

    Raises
    ------
    ValueError
        If the Jacobian is zero.

    References
    ----------
    .. [1] Mulayoff, Michaeli. Exact mean square linear stability analysis for SGD. COLT 2024.

    Examples
    --------
    >>> round(stability_threshold([[1.0, 0.0], [0.0, 2.0]]), 12)  # orthogonal rows: 2 / max |a|^2
    0.5
    """
    rows = as_matrix("jacobian", jacobian)
    rates, basis = np.linalg.eigh(rows @ rows.T)
    kept = rates > 1e-12 * rates[-1]
    if not kept.any():
        raise ValueError("jacobian is zero: at such weights no step moves the outputs")
    rates = rates[kept]
    turned = basis[:, kept] * np.sqrt(rates)
    pairs = (turned[:, :, None] * turned[:, None, :]).reshape(len(rows), -1)
    weights = 1 / (rates[:, None] + rates).ravel()
    return float(1 / np.linalg.eigvalsh((pairs * weights) @ pairs.T)[-1])
