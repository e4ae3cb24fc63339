"""Every kernel on the emulator against NumPy, in f32 and bf16 and three orders of threads.

Usage: kernel_checks.py, with NumPy and a C++ compiler named c++. Fails where a kernel is further off than rounding.
"""

import math
import tempfile

import numpy as np

from attention_checks import NO_WINDOW, attention, cached_attention
from emulated import Library, Long, blocks, ids, single, unwritten

IGNORED, EPSILON = 0xFFFFFFFF, 1e-5


def add_partial(it, partial, offset, width, parts, before):
    """What add_partial makes of the parts that lie `offset` numbers into each row."""
    to = single(before)
    stride = partial.size // parts
    it.launch("add_partial", blocks(width, 32), [to, partial.reshape(-1)[offset:], parts, stride, width])
    return to


def norms(it, random):
    check_norms(it, random, 300, 301, 101)
    # Wider than what threads keep in registers.
    check_norms(it, random, 5, 2501, 2)


def check_norms(it, random, rows, width, parts):
    x, weight = single(random.normal(1, 2, (rows, width))), single(random.normal(1, 0.5, width))
    dy = it.numbers(random.normal(0, 1, (rows, width)))
    for bias in (None, single(random.normal(0, 1, width))):
        y = it.numbers(np.zeros((rows, width)))
        it.launch("norm_forward", (rows,), [y, x, weight, bias, EPSILON, width])
        wide, gradient = x.astype(float), it.wide(dy)
        shift = 0 if bias is None else wide.mean(1, keepdims=True)
        scale = 1 / np.sqrt(((wide - shift) ** 2).mean(1, keepdims=True) + EPSILON)
        normed = (wide - shift) * scale
        it.check("norm_forward", y, normed * weight + (0 if bias is None else bias))
        d, narrow, partial = single(random.normal(0, 1, (rows, width))), it.numbers(x), unwritten(parts, 2, width)
        weighted = gradient * weight
        mean = 0 if bias is None else weighted.mean(1, keepdims=True)
        expected = d + scale * (weighted - mean - normed * (weighted * normed).mean(1, keepdims=True))
        arguments = [d, narrow, partial, dy, x, weight, bias, EPSILON, width, rows]
        it.launch("norm_backward", (parts,), arguments, shared=8 * width)
        it.check("norm_backward: stream", d, expected, 3e-6)
        it.check("norm_backward: its copy", narrow, expected)
        sums = add_partial(it, partial, 0, width, parts, np.ones(width))
        it.check("norm_backward: weight", sums, 1 + (gradient * normed).sum(0), 1e-5)
        sums = add_partial(it, partial, width, width, parts, np.ones(width))
        it.check("norm_backward: bias", sums, 1 + gradient.sum(0), 1e-5)


def head_norms(it, random):
    rows, heads, keys, width = 77, 3, 2, it.head_width
    normed, stride, parts = heads + keys, (heads + 2 * keys) * width, 21
    qkv = it.numbers(random.normal(0, 1, (rows, stride)))
    before, raw = it.wide(qkv), it.numbers(np.zeros((rows, normed * width)))
    weights = [single(random.normal(1, 0.3, width)) for _ in range(2)]
    shape = [EPSILON, heads, normed, stride, rows]
    it.launch("head_norm_forward", blocks(rows * normed, 8), [qkv, raw, *weights, *shape])
    x = before[:, : normed * width].reshape(rows, normed, width)
    weight = np.stack([weights[0]] * heads + [weights[1]] * keys)
    scale = 1 / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON)
    expected = np.concatenate([(x * scale * weight).reshape(rows, -1), before[:, normed * width :]], 1)
    it.check("head_norm_forward", qkv, expected)
    dqkv, partial = it.numbers(random.normal(0, 1, (rows, stride))), unwritten(parts, 2, width)
    gradient = it.wide(dqkv)[:, : normed * width].reshape(rows, normed, width)
    it.launch("head_norm_backward", (parts,), [dqkv, partial, raw, *weights, *shape])
    weighted, unit = gradient * weight, x * scale
    expected = scale * (weighted - unit * (weighted * unit).mean(-1, keepdims=True))
    it.check("head_norm_backward", dqkv[:, : normed * width], expected.reshape(rows, -1))
    for offset, part in ((0, slice(0, heads)), (width, slice(heads, None))):
        sums = add_partial(it, partial, offset, width, parts, np.zeros(width))
        it.check("head_norm_backward: weight", sums, (gradient * unit)[:, part].sum((0, 1)), 1e-5)


def activations(it, random):
    # Numbers of 16 bytes lie together in a row of 40, not in one of 37.
    for width in (37, 40):
        check_activations(it, random, 50, width)


def check_activations(it, random, rows, width):
    step = 1e-6
    erf = np.vectorize(math.erf)

    def swiglu(x):
        return x[:, :width] / (1 + np.exp(-x[:, :width])) * x[:, width:]

    def gelu(x):
        return x * 0.5 * (1 + erf(x / math.sqrt(2)))

    def gelu_tanh(x):
        return x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    for kind, function in enumerate((swiglu, gelu, gelu_tanh)):
        x = it.numbers(random.normal(0, 2, (rows, width * (2 if kind == 0 else 1))))
        wide, y, dx = it.wide(x), it.numbers(np.zeros((rows, width))), it.numbers(np.zeros_like(x, float))
        tail = [kind, width, Long(rows * width)]
        it.launch("activation_forward", blocks(rows * width, 2048), [y, x, *tail])
        it.check(f"activation_forward {kind}", y, function(wide))
        dy = it.numbers(random.normal(0, 1, (rows, width)))
        gradient = it.wide(dy)
        it.launch("activation_backward", blocks(rows * width, 2048), [dy, dx, x, *tail])
        it.check(f"activation_backward {kind}: y", dy, function(wide))
        halves = [slice(0, width), slice(width, None)] if kind == 0 else [slice(None)]
        slopes = []
        for half in halves:
            above, below = wide.copy(), wide.copy()
            above[:, half] += step
            below[:, half] -= step
            slopes.append(gradient * (function(above) - function(below)) / (2 * step))
        it.check(f"activation_backward {kind}", dx, np.concatenate(slopes, 1))


def tables(it, random):
    tokens, width = 30, 301
    table, positions = single(random.normal(0, 1, (20, width))), single(random.normal(0, 1, (9, width)))
    tokens_ids, places = ids(random.integers(0, 20, tokens)), ids(random.integers(0, 9, tokens))
    rows = unwritten(tokens, width)
    length = tokens * width
    it.launch("embed", blocks(length), [rows, table, tokens_ids, positions, places, width, Long(length)])
    it.check("embed", rows, table[tokens_ids].astype(float) + positions[places], 1e-6)
    order = ids(np.argsort(tokens_ids, kind="stable"))
    entries, begins = np.unique(tokens_ids[order], return_index=True)
    entries, begins = ids(entries), ids(np.append(begins, tokens))
    gradient = single(np.ones((20, width)))
    it.launch("embed_backward", (len(entries), *blocks(width)), [gradient, rows, entries, begins, order, width])
    expected = np.ones((20, width))
    np.add.at(expected, tokens_ids, rows.astype(float))
    it.check("embed_backward", gradient, expected, 3e-6)


def elementwise(it, random):
    for width in (301, 304):
        check_elementwise(it, random, 300, width, 0)
    # A bias that does not begin at a multiple of 16 bytes.
    check_elementwise(it, random, 300, 304, 1)


def check_elementwise(it, random, rows, width, start):
    length = Long(rows * width)
    matrix, bias = it.numbers(random.normal(0, 1, (rows, width))), single(random.normal(0, 1, start + width))[start:]
    parts = 13
    partial = unwritten(parts, width)
    it.launch("column_sums", (*blocks(width), parts), [partial, matrix, rows, width])
    sums = add_partial(it, partial, 0, width, parts, np.zeros(width))
    it.check("column_sums", sums, it.wide(matrix).sum(0), 1e-5)
    expected = it.wide(matrix) + bias
    it.launch("add_bias", blocks(length, 2048), [matrix, bias, width, length])
    it.check("add_bias", matrix, expected)
    stream, to, narrow = single(random.normal(0, 1, (rows, width))), unwritten(rows, width), it.numbers(expected)
    it.launch("add_bias_to_stream", blocks(length, 2048), [to, stream, bias, width, length])
    it.check("add_bias_to_stream", to, stream.astype(float) + bias, 1e-6)
    it.launch("cast", blocks(length), [narrow, stream, length])
    it.check("cast", narrow, stream.astype(float))


def rotary(it, random):
    # All of a head, and all but a pair.
    for half in (it.head_width // 2, it.head_width // 2 - 1):
        check_rotary(it, random, half)


def check_rotary(it, random, half):
    rows, heads, stride, width = 77, 5, 7 * it.head_width, it.head_width
    cosines, sines = (single(random.normal(0, 1, (9, half))) for _ in range(2))
    places, qkv = ids(random.integers(0, 9, rows)), it.numbers(random.normal(0, 1, (rows, stride)))
    before = it.wide(qkv)
    length = Long(rows * heads * half)
    it.launch("rotary", blocks(length, 2048), [qkv, cosines, sines, places, heads, stride, half, -1.0, length])
    expected = before.copy()
    turned = expected[:, : heads * width].reshape(rows, heads, width)
    x, y = turned[:, :, :half].copy(), turned[:, :, half : 2 * half].copy()
    cosine, sine = cosines[places].astype(float)[:, None], -sines[places].astype(float)[:, None]
    turned[:, :, :half], turned[:, :, half : 2 * half] = x * cosine - y * sine, y * cosine + x * sine
    expected[:, : heads * width] = turned.reshape(rows, -1)
    it.check("rotary", qkv, expected)


def losses(it, random):
    rows, vocabulary, pitch, scale = 40, 1001, 1008, 0.25
    logits, found = it.numbers(random.normal(0, 3, (rows, pitch))), unwritten(rows)
    targets = ids(random.integers(0, vocabulary, rows))
    targets[3] = IGNORED
    wide = it.wide(logits)[:, :vocabulary]
    top = wide.max(1, keepdims=True)
    sums = np.exp(wide - top).sum(1, keepdims=True)
    expected, gradient = np.zeros(rows), np.exp(wide - top) / sums * scale
    for row, target in enumerate(targets):
        if target == IGNORED:
            gradient[row] = 0
        else:
            expected[row] = np.log(sums[row, 0]) + top[row, 0] - wide[row, target]
            gradient[row, target] -= scale
    it.launch("cross_entropy", (rows,), [logits, found, targets, scale, vocabulary, pitch])
    it.check("cross_entropy", found, expected, 3e-6)
    it.check("cross_entropy: logits", logits[:, :vocabulary], gradient)


def optimizer(it, random):
    length = 200_000
    from_numbers, sums = single(random.normal(0, 1, length)), unwritten(4)
    it.launch("square_sums", (4,), [sums, from_numbers, Long(65536), Long(length)])
    it.check("square_sums", sums.sum(keepdims=True), (from_numbers.astype(float) ** 2).sum(keepdims=True), 1e-5)
    length = 1000
    parameters, gradients, first, second = (single(random.normal(0, 1, length)) for _ in range(4))
    np.abs(second, out=second)
    narrow = it.numbers(np.zeros(length))
    p, g, m, v = (array.astype(float) for array in (parameters, gradients, first, second))
    factors = [0.5, 0.9, 0.1, 0.95, 0.05, 0.01, 1.5, 1e-8, 0.999]
    it.launch("adamw", blocks(length), [parameters, gradients, first, second, narrow, *factors, Long(length)])
    g *= 0.5
    m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
    p = 0.999 * p - 0.01 * m / (1.5 * np.sqrt(v) + 1e-8)
    for what, got, expected in (("first", first, m), ("second", second, v), ("parameters", parameters, p)):
        it.check(f"adamw: {what}", got, expected, 3e-6)
    it.check("adamw: copy", narrow, p)
    it.check("adamw: gradients", gradients, np.zeros(length))
    averages = single(random.normal(0, 1, length))
    expected = averages + 0.1 * (parameters.astype(float) - averages)
    it.launch("average", blocks(length), [averages, parameters, 0.1, Long(length)])
    it.check("average", averages, expected, 3e-6)
    merged, delta = unwritten(length) if it.real == "float" else it.numbers(np.zeros(length)), it.numbers(first)
    it.launch("merge", blocks(length), [merged, parameters, delta, 2.0, Long(length)])
    it.check("merge", merged, parameters + 2.0 * it.wide(delta))


def main():
    with tempfile.TemporaryDirectory() as folder:
        for real in ("float", "bf16"):
            it = Library(folder, real, 6)
            for it.order in (0, 1, 5):
                random = np.random.default_rng(1)
                for check in (norms, head_norms, activations, tables, elementwise, rotary, losses, optimizer):
                    check(it, random)
            for width, heads, keys, length, window in (
                (64, 2, 1, 150, NO_WINDOW),
                (128, 2, 2, 130, 70),
                (80, 3, 1, 65, 64),
                (72, 1, 1, 70, NO_WINDOW),
                (6, 4, 2, 200, 100),
                (160, 2, 1, 40, 7),
                (16, 1, 1, 1, NO_WINDOW),
            ):
                it = Library(folder, real, width)
                for it.order in (0, 1, 5):
                    head_norms(it, np.random.default_rng(1))
                    rotary(it, np.random.default_rng(1))
                    attention(it, np.random.default_rng(2), heads, keys, length, window)
                    cached_attention(it, np.random.default_rng(3), heads, keys, window)
    print(f"{Library.checked} comparisons passed")


if __name__ == "__main__":
    main()
