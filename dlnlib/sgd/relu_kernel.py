"""The inner loop of SGD on a ReLU network, compiled; eight runs side by side.

The last axis of every array holds the runs, and one vector instruction handles them all.  So each
run adds its terms one after another in the order written here, which nothing may change: the
compiler reorders no sum and fuses no multiply-add unless ``fastmath`` allows it.  Hence the same
numbers on every machine; with large steps a last digit decides what becomes of a run.

The parameters of a layer with ``m`` inputs and ``k`` units form a block of ``m`` rows of length
``k``, one row per input, then one row of biases if the layer has them.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from dlnlib._compiled import compiled

LANES = 8
_INDEX, _ROW = ir.IntType(64), ir.VectorType(ir.DoubleType(), LANES)


class Layers(NamedTuple):
    """The shape of the networks, from inputs to output."""

    widths: np.ndarray
    at: np.ndarray  # where the block of each layer begins
    bias: np.ndarray  # whether it has biases


class Data(NamedTuple):
    """Samples, and how far a residual may go before a run counts as diverged."""

    x: np.ndarray  # (n, in)
    y: np.ndarray  # (n,)
    limit: float


class _Work(NamedTuple):
    """Units (m, 8) from inputs to the last hidden layer, steps of the units of a layer, and 1."""

    h: np.ndarray
    delta: np.ndarray
    one: np.ndarray


class _Rows:
    """An array (rows, 8) of doubles inside compiled code, one row at a time."""

    def __init__(self, context, builder, kind, array):
        self.builder = builder
        data = cgutils.create_struct_proxy(kind)(context, builder, array).data
        self.rows = builder.bitcast(data, _ROW.as_pointer())

    def load(self, index):
        row = self.builder.load(self.builder.gep(self.rows, [index]))
        row.align = 8  # as NumPy aligns its arrays, not as vector registers would like
        return row

    def store(self, index, row):
        self.builder.store(row, self.builder.gep(self.rows, [index])).align = 8


@no_type_check
def _loop(plain):
    """A compiled function of three (array, index) pairs and a number of rows ``n``.

    ``plain`` does the same in NumPy, for where nothing is compiled.
    """
    return (lambda body: plain) if config.DISABLE_JIT else _compiled_loop


@no_type_check
def _compiled_loop(body):
    def definition(typingctx, c, i, a, j, b, k, n):
        number = types.int64
        signature = types.void(c, number, a, number, b, number, number)

        def codegen(context, builder, signature, args):
            rows = [
                _Rows(context, builder, kind, array)
                for kind, array in zip((c, a, b), args[0:6:2], strict=True)
            ]
            body(builder, *rows, *args[1:6:2], args[6])
            return context.get_dummy_value()

        return signature, codegen

    return intrinsic(definition)


@_loop(lambda c, i, a, j, b, k, n: np.add(c[i : i + n], a[j] * b[k : k + n], out=c[i : i + n]))
@no_type_check
def _add_scaled(builder, c, a, b, i, j, k, n):
    """Rows c[i + q] += a[j] b[k + q], q < n."""
    scale = a.load(j)
    with cgutils.for_range(builder, n, intp=_INDEX) as loop:
        place = builder.add(i, loop.index)
        product = builder.fmul(scale, b.load(builder.add(k, loop.index)))
        c.store(place, builder.fadd(c.load(place), product))


@_loop(lambda c, i, a, j, b, k, n: np.multiply(a[j], b[k : k + n], out=c[i : i + n]))
@no_type_check
def _set_scaled(builder, c, a, b, i, j, k, n):
    """Rows c[i + q] = a[j] b[k + q], q < n."""
    scale = a.load(j)
    with cgutils.for_range(builder, n, intp=_INDEX) as loop:
        row = b.load(builder.add(k, loop.index))
        c.store(builder.add(i, loop.index), builder.fmul(scale, row))


@no_type_check
def _plain_dot(c, i, a, j, b, k, n):
    for q in range(n):
        c[i] += a[j + q] * b[k + q]


@_loop(_plain_dot)
@no_type_check
def _add_dot(builder, c, a, b, i, j, k, n):
    """Row c[i] += sum over q < n of a[j + q] b[k + q], in this order."""
    total = cgutils.alloca_once_value(builder, c.load(i))
    with cgutils.for_range(builder, n, intp=_INDEX) as loop:
        left, right = (r.load(builder.add(s, loop.index)) for r, s in ((a, j), (b, k)))
        builder.store(builder.fadd(builder.load(total), builder.fmul(left, right)), total)
    c.store(i, builder.load(total))


@no_type_check
def _plain_choice(c, i, a, j, b, k, n):
    c[i : i + n] = np.where(b[k : k + n] > 0, a[j : j + n], 0.0)


@_loop(_plain_choice)
@no_type_check
def _where_positive(builder, c, a, b, i, j, k, n):
    """Rows c[i + q] = a[j + q] where b[k + q] > 0, and 0 elsewhere; q < n."""
    zero = ir.Constant(_ROW, [0.0] * LANES)
    with cgutils.for_range(builder, n, intp=_INDEX) as loop:
        place, source, sign = (builder.add(s, loop.index) for s in (i, j, k))
        positive = builder.fcmp_ordered(">", b.load(sign), zero)
        c.store(place, builder.select(positive, a.load(source), zero))


@compiled()
@no_type_check  # compiled, so that run-time shape checks stay out
def _predict(theta, layers, work, output):
    """Fill ``output`` (1, 8) for the inputs in the first rows of ``h``; units go behind them."""
    (widths, at, bias), (h, _, one) = layers, work
    i, last = 0, widths.size - 2
    for layer in range(last):
        start, m, k = at[layer], widths[layer], widths[layer + 1]
        out = i + m
        if bias[layer]:
            _set_scaled(h, out, one, 0, theta, start + m * k, k)
        else:
            _set_scaled(h, out, h, i, theta, start, k)
        for row in range(0 if bias[layer] else 1, m):
            _add_scaled(h, out, h, i + row, theta, start + row * k, k)
        _where_positive(h, out, h, out, h, out, k)
        i = out
    output[0] = 0.0
    if bias[last]:
        _add_scaled(output, 0, one, 0, theta, at[last] + widths[last], 1)
    _add_dot(output, 0, h, i, theta, at[last], widths[last])


@compiled()
@no_type_check
def _update(theta, target, layers, work, step):
    """Add ``step`` (1, 8) times the gradient of the output to ``target``, with the units in ``h``.

    Going down, ``delta`` holds the steps of the units of a layer; where the unit is active, its
    step takes its place in ``h``.  The target may be ``theta`` itself.
    """
    (widths, at, bias), (h, delta, one) = layers, work
    last = widths.size - 2
    i, m, start = widths[:last].sum(), widths[last], at[last]
    _set_scaled(delta, 0, step, 0, theta, start, m)
    _add_scaled(target, start, step, 0, h, i, m)
    if bias[last]:
        _add_scaled(target, start + m, one, 0, step, 0, 1)
    for layer in range(last - 1, -1, -1):
        start, m, k, out = at[layer], widths[layer], widths[layer + 1], i
        i -= m
        _where_positive(h, out, delta, 0, h, out, k)
        if layer > 0:
            delta[:m] = 0.0
            for row in range(m):
                _add_dot(delta, row, theta, start + row * k, h, out, k)
        for row in range(m):
            _add_scaled(target, start + row * k, h, i + row, h, out, k)
        if bias[layer]:
            _add_scaled(target, start + m * k, one, 0, h, out, k)


@compiled()
@no_type_check
def sgd_steps(theta, layers, data, steps, stopped):
    """Train eight networks in place on the mean square over a batch.

    ``theta`` (P, 8) holds the parameters, ``steps`` the samples (T, B, 8) and the sizes (T,) of
    the steps.  A run whose residual leaves the limit stops there: ``stopped`` (8,) receives the
    step, and is -1 for a run that goes on.
    """
    widths, (x, y, limit), (order, lr) = layers.widths, data, steps
    h, delta = np.empty((widths.sum(), LANES)), np.empty((widths.max(), LANES))
    work = _Work(h, delta, np.ones((1, LANES)))
    output, step = np.empty((1, LANES)), np.empty((1, LANES))
    batch = order.shape[1]
    moved = theta if batch == 1 else np.empty(theta.shape)
    for t in range(lr.size):
        if batch > 1:
            moved[:] = 0.0
        for b in range(batch):
            for run in range(LANES):
                for j in range(widths[0]):
                    h[j, run] = x[order[t, b, run], j]
            _predict(theta, layers, work, output)
            for run in range(LANES):
                residual = output[0, run] - y[order[t, b, run]]
                if stopped[run] < 0 and not abs(residual) <= limit:
                    stopped[run] = t
                step[0, run] = -2.0 * lr[t] / batch * residual if stopped[run] < 0 else 0.0
            _update(theta, moved, layers, work, step)
        if batch > 1:
            _add_scaled(theta, 0, work.one, 0, moved, 0, len(theta))
