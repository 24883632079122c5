"""Compiled steps of a diagonal linear network, with the same bits on every machine.

At large step sizes training is chaotic: a difference in the last digit of one sum changes the
rest of the run.  Every sum here therefore has a fixed order, eight interleaved partial sums joined
by a fixed tree, which vectorises well without any licence to reorder or fuse operations.
The number of columns must be a multiple of eight; columns of zeros change nothing.
"""

from math import log, sqrt
from typing import NamedTuple, no_type_check

import numpy as np

from dlnlib._compiled import compiled


class Data(NamedTuple):
    """Samples, and how far a residual may go before a run counts as diverged."""

    x: np.ndarray  # (n, D)
    columns: np.ndarray  # the transpose of x, in memory as well; empty where it is not needed
    y: np.ndarray  # (n,)
    limit: float


class Drawn(NamedTuple):
    """What the iterations draw: samples (T, B), of one row for all; label noise (T, B) or empty."""

    indices: np.ndarray
    noise: np.ndarray


class Diffusion(NamedTuple):
    """What drives the model of SGD, from iteration to iteration.

    The noise of sample i has the deviation scale[k] * sqrt(r_i^2 + label^2) per unit of time.
    """

    brownian: np.ndarray  # increments (T, S, n or 2 n)
    level: np.ndarray  # (T,), or empty; stands for the loss in the isotropic kind
    scale: np.ndarray  # (T,)
    kind: int  # 0 centred, 1 diagonal, 2 isotropic
    label: float


# no_type_check keeps the run-time checks of the tests out of compiled code.


@compiled()
@no_type_check
def _sum(lanes):
    # Constant indices into rows of eight cost no bounds.
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for row in range(len(lanes)):
        s0 += lanes[row, 0]
        s1 += lanes[row, 1]
        s2 += lanes[row, 2]
        s3 += lanes[row, 3]
        s4 += lanes[row, 4]
        s5 += lanes[row, 5]
        s6 += lanes[row, 6]
        s7 += lanes[row, 7]
    return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))


@compiled()
@no_type_check
def _predict(u, v, x, i, lanes):
    # Products first, then sums: the compiler turns each loop into vector instructions, but not both
    # in one.
    products = lanes.reshape(u.size)
    for j in range(u.size):
        products[j] = u[j] * v[j] * x[i, j]
    return _sum(lanes)


@compiled()
@no_type_check
def _move(u, v, step):
    for j in range(u.size):
        before = u[j]
        u[j] = before - step[j] * v[j]
        v[j] = v[j] - step[j] * before


@compiled()
@no_type_check
def single_steps(data, drawn, lr, weights):
    """SGD with batch 1, in place; the first iteration whose residual leaves the limit, or -1."""
    (u, v), (x, _, y, limit), (indices, noise) = weights, data, drawn
    products = np.empty(u.size)
    lanes = products.reshape(u.size // 8, 8)
    _predict(u, v, x, indices[0, 0], lanes)
    for k in range(lr.size):
        i, following = indices[k, 0], indices[min(k + 1, lr.size - 1), 0]
        residual = _sum(lanes) - y[i]
        if noise.size:
            residual -= noise[k, 0]
        if not abs(residual) < limit:
            return k
        scale = lr[k] * residual
        for j in range(u.size):  # moves the weights and multiplies for the next prediction
            step, before = scale * x[i, j], u[j]
            u[j] = before - step * v[j]
            v[j] = v[j] - step * before
            products[j] = u[j] * v[j] * x[following, j]
    return -1


@compiled()
@no_type_check
def _residuals(u, v, columns, y, out):
    """Fill ``out`` with X (u v) - y, all samples at once; their mean square."""
    for i in range(y.size):
        out[i] = -y[i]
    for j in range(u.size):
        beta = u[j] * v[j]
        for i in range(y.size):
            out[i] += beta * columns[j, i]
    total = 0.0
    for i in range(y.size):
        total += out[i] * out[i]
    return total / y.size


@compiled()  # a step of exactly 1 gives infinite logarithms
@no_type_check
def batch_steps(data, drawn, lr, weights, sums):
    """Any batch, in place, as `single_steps`; with ``columns`` a batch is all samples in order.

    If the two ``sums`` (D,) are not empty, they collect over the iterations log|1 - step^2| and
    log|(1 - step) / (1 + step)| / 2 + step, with step = lr * gradient.
    """
    (u, v), (x, columns, y, limit), (indices, noise) = weights, data, drawn
    gain, shift = sums
    batch, step, lanes = indices.shape[1], np.empty(u.size), np.empty((u.size // 8, 8))
    residual = np.empty(batch)
    for k in range(lr.size):
        rows = indices[min(k, len(indices) - 1)]
        if columns.size:
            _residuals(u, v, columns, y, residual)
        else:
            for b in range(batch):
                residual[b] = _predict(u, v, x, rows[b], lanes) - y[rows[b]]
        step[:] = 0.0
        for b in range(batch):
            if noise.size:
                residual[b] -= noise[k, b]
            if not abs(residual[b]) < limit:
                return k
            i, scale = rows[b], lr[k] * residual[b] / batch
            for j in range(u.size):
                step[j] += scale * x[i, j]
        _move(u, v, step)
        for j in range(gain.size):
            gain[j] += log(abs((1 - step[j]) * (1 + step[j])))
            shift[j] += log(abs((1 - step[j]) / (1 + step[j]))) / 2 + step[j]
    return -1


@compiled()
@no_type_check
def _centre(increments, n):
    total = 0.0
    for i in range(n):
        total += increments[i] / n
    return total


@compiled()
@no_type_check
def diffusion_steps(data, driven, lr, weights):
    """Euler-Maruyama steps of the model of SGD, in place; return as `single_steps`."""
    (u, v), (x, columns, y, limit) = weights, data
    brownian, level, scale, kind, label = driven
    n, substeps = x.shape[0], brownian.shape[1]
    residual, step = np.empty(n), np.empty(u.size)
    for k in range(lr.size):
        for s in range(substeps):
            mean_square = _residuals(u, v, columns, y, residual)
            if not mean_square < limit * limit:
                return k
            if level.size:
                mean_square = 2 * level[k]
            centre = _centre(brownian[k, s], n)
            step[:] = 0.0
            for i in range(n):
                if kind == 0:
                    noise = residual[i] * (brownian[k, s, i] - centre)
                    if label > 0:
                        noise += label * brownian[k, s, n + i]
                else:
                    square = residual[i] * residual[i] if kind == 1 else mean_square
                    noise = sqrt(square + label * label) * brownian[k, s, i]
                part = lr[k] / substeps * residual[i] / n + scale[k] * noise
                for j in range(u.size):
                    step[j] += part * x[i, j]
            _move(u, v, step)
    return -1
