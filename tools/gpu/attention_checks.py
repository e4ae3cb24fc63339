"""Attention on the emulator against NumPy; kernel_checks.py runs it."""

import math

import numpy as np

from emulated import Long, blocks, ids, unwritten

NO_WINDOW = 0xFFFFFFFF


def attention(it, random, heads, keys, length, window):
    batch, width, tiled = 2, it.head_width, it.real == "bf16" and it.head_width <= 128
    stride, group, scale = (heads + 2 * keys) * width, heads // keys, 1 / math.sqrt(width)
    qkv = it.numbers(random.uniform(-1, 1, (batch, length, stride)))
    dresult = it.numbers(random.uniform(-1, 1, (batch, length, heads, width)))
    result, dqkv = it.numbers(np.zeros(dresult.shape)), it.numbers(np.zeros(qkv.shape))
    log_sums, delta, starts = (
        unwritten(batch, heads, length),
        unwritten(batch, heads, length),
        np.zeros((batch, length)),
    )
    starts[0, length // 3 :] = length // 3
    starts = ids(starts)

    def launch(name, count, tiles, inner, addresses):
        arguments = [*addresses, starts, length, heads, keys, window, scale]
        if not tiled:
            items = batch * count * length
            return it.launch(f"attention_{name}_plain", blocks(items, 8), [*arguments, Long(items)])
        head = -(-width // 16) * 16
        shared = (tiles * 64 + inner * (64 if head <= 64 else 32)) * (head + 8) * 2
        grid = (-(-length // 64), count, batch)
        return it.launch(f"attention_{name}_tensor", grid, arguments, threads=128, shared=shared)

    launch("forward", heads, 3, 0, [result, log_sums, qkv])
    items = batch * heads * length
    it.launch("attention_delta", blocks(items, 8), [delta, result, dresult, length, heads, Long(items)])
    launch("queries", heads, 2, 2, [dqkv, qkv, dresult, log_sums, delta])
    launch("keys", keys, 2, 2, [dqkv, qkv, dresult, log_sums, delta])

    wide, gradient = it.wide(qkv).reshape(batch, length, -1, width), it.wide(dresult)
    query, key, value = np.split(wide, [heads, heads + keys], axis=2)
    key, value = (np.repeat(array, group, 2) for array in (key, value))
    at = np.arange(length)
    first = np.maximum(starts.astype(int), at + 1 - min(window, length))
    seen = (at[None, None] <= at[None, :, None]) & (at[None, None] >= first[:, :, None])
    scores = np.where(seen[:, None], np.einsum("bihd,bjhd->bhij", query, key) * scale, -np.inf)
    top = scores.max(-1, keepdims=True)
    sums = np.exp(scores - top).sum(-1, keepdims=True)
    share = np.exp(scores - top) / sums
    expected = np.einsum("bhij,bjhd->bihd", share, value)
    correction = (gradient * expected).sum(-1).transpose(0, 2, 1)[..., None]
    dscores = share * (np.einsum("bihd,bjhd->bhij", gradient, value) - correction) * scale
    dquery = np.einsum("bhij,bjhd->bihd", dscores, key)
    shared = (batch, length, keys, group, width)
    dkey = np.einsum("bhij,bihd->bjhd", dscores, query).reshape(shared).sum(3)
    dvalue = np.einsum("bhij,bihd->bjhd", share, gradient).reshape(shared).sum(3)
    what = f"attention {heads}/{keys} × {length}, window {window}"
    it.check(what, result, expected)
    it.check(f"{what}: log-sum-exps", log_sums, (top + np.log(sums))[..., 0], 1e-5)
    got = dqkv.reshape(batch, length, -1, width)
    parts = np.split(got, [heads, heads + keys], axis=2)
    for name, part, expected in zip("qkv", parts, (dquery, dkey, dvalue), strict=True):
        it.check(f"{what}: {name}", np.ascontiguousarray(part), expected)


def cached_attention(it, random, heads, keys, window):
    """Three sequences of a cache, of which two grow by a row: one has positions before it, the other none."""
    sequences, capacity, width, group = 3, 90, it.head_width, heads // keys
    cache = it.numbers(random.uniform(-1, 1, (sequences, capacity, 2 * keys, width)))
    qkv = it.numbers(random.uniform(-1, 1, (2, heads + 2 * keys, width)))
    rows, positions = ids([2, 0]), ids([70, 0])
    numbers = Long(2 * 2 * keys * width)
    shape = [capacity, (heads + 2 * keys) * width, 2 * keys * width]
    expected = it.wide(cache)
    expected[rows, positions] = it.wide(qkv)[:, heads:]
    it.launch("keep_keys", blocks(numbers), [cache, qkv, rows, positions, *shape, numbers])
    it.check("keep_keys", cache, expected, 1e-9)
    result, scale = it.numbers(np.zeros((2, heads, width))), 1 / math.sqrt(width)
    items = Long(2 * heads)
    tail = [capacity, heads, keys, window, scale, items]
    it.launch("attention_cached", blocks(items, 8), [result, cache, qkv, rows, positions, *tail])
    for row, (sequence, position) in enumerate(zip(rows, positions, strict=True)):
        seen = expected[sequence, max(0, int(position) + 1 - min(window, capacity)) : position + 1]
        key, value = (np.repeat(part, group, 1) for part in np.split(seen, 2, axis=1))
        scores = np.einsum("hd,jhd->hj", it.wide(qkv)[row, :heads], key) * scale
        share = np.exp(scores - scores.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        it.check(f"attention_cached, window {window}", result[row], np.einsum("hj,jhd->hd", share, value))
