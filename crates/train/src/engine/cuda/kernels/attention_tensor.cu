// Causal attention on tensor cores, after FlashAttention-2 (Dao, 2023). A tile has 64 queries or keys, of which each
// warp processes 16. The softmax is computed online, and the backward pass recomputes the probabilities from the
// log-sum-exps. The backward pass is two kernels, each with separate sums in registers: this takes 7 matrix products
// instead of 5, but no atomic addition, so the bits are always the same. The kernels are for bf16 and heads of at most
// 128 numbers; heads are padded with zeros to a multiple of 16. The arguments are those of the plain kernels.

#define TILE 64
#define TILE_THREADS 128
#define HEAD ((HEAD_WIDTH + 15) / 16 * 16)
// The pitch of a tile is 16 bytes more than a row, so that eight rows of a matrix lie in different banks of shared
// memory.
#define PITCH (HEAD + 8)
#define STEPS (HEAD / 16)
// The number of rows that the backward pass processes at once against its own 64. The limit is the registers, which
// hold two sums of [16, HEAD] per warp.
#define INNER (HEAD <= 64 ? 64 : 32)
// The numbers of thread blocks that the registers of a multiprocessor hold at once.
#define FORWARD_BLOCKS (HEAD <= 64 ? 4 : 3)
#define QUERIES_BLOCKS 3
#define KEYS_BLOCKS (HEAD <= 64 ? 3 : 2)
#define LOG2_E 1.44269504f
// The score of a key that a query does not see; its weight is 0 next to any other score.
#define UNSEEN -3.0e38f

// Starts to load rows first..first + ROWS of one head, which are `stride` apart. Rows from `limit` on and columns
// beyond HEAD_WIDTH are zero.
template <u32 ROWS>
__device__ inline void load_tile(bf16* tile, const bf16* from, u32 stride, u32 first, u32 limit) {
    // A thread has the same columns in all its rows, so it needs only one address and constant steps.
    const u32 COLUMNS = HEAD / 8, STEP = TILE_THREADS / COLUMNS;
    u32 row = threadIdx.x / COLUMNS, column = threadIdx.x % COLUMNS * 8;
    if (TILE_THREADS % COLUMNS != 0 && row >= STEP) return;
    from += (u64)(first + row) * stride + column;
#pragma unroll
    for (u32 start = 0; start < ROWS; start += STEP) {
        bf16* to = tile + (start + row) * PITCH + column;
        const bf16* source = from + (u64)start * stride;
        bool inside = first + start + row < limit && column < HEAD_WIDTH;
        if (ROWS % STEP != 0 && start + row >= ROWS) return;
        if (HEAD_WIDTH % 8 == 0) {
            copy_ahead(to, source, inside);
        } else {
            for (u32 k = 0; k < 8; k++) {
                bf16 zero = {0};
                to[k] = inside && column + k < HEAD_WIDTH ? source[k] : zero;
            }
        }
    }
}

// Waits until the copies of every thread have arrived and every thread has finished its earlier reads.
__device__ inline void wait_for_tiles() {
    wait_for_copies();
    barrier();
}

// sums [16, 8 · tiles] += left[row..row + 16, HEAD] · right[8 · tiles, HEAD]ᵀ.
template <u32 TILES>
__device__ inline void product_transposed(float (&sums)[TILES][4], const bf16* left, u32 row, const bf16* right) {
    u32 lane = threadIdx.x % WARP;
    // The addresses at which a lane begins; the compiler knows all distances from there, so they use no registers.
    left += (row + lane % 16) * PITCH + lane / 16 * 8;
    right += (lane / 16 * 8 + lane % 8) * PITCH + lane / 8 % 2 * 8;
#pragma unroll
    for (u32 step = 0; step < STEPS; step++) {
        u32 a[4];
        load_matrices(a, left + step * 16);
#pragma unroll
        for (u32 pair = 0; pair < TILES / 2; pair++) {
            u32 b[4];
            load_matrices(b, right + pair * 16 * PITCH + step * 16);
            mma(sums[2 * pair], a, b[0], b[1]);
            mma(sums[2 * pair + 1], a, b[2], b[3]);
        }
    }
}

// out [16, HEAD] += weights [16, 8 · tiles] · right [8 · tiles, HEAD]. The result of one product and the left operand
// of the next have the same layout over the lanes: pairs of columns of a row and of the row 8 below it.
template <u32 TILES>
__device__ inline void product(float (&out)[2 * STEPS][4], const u32 (&weights)[TILES][2], const bf16* right) {
    right += threadIdx.x % 16 * PITCH + threadIdx.x % WARP / 16 * 8;
#pragma unroll
    for (u32 step = 0; step < TILES / 2; step++) {
        const u32(&low)[2] = weights[2 * step], (&high)[2] = weights[2 * step + 1];
        u32 a[4] = {low[0], low[1], high[0], high[1]};
#pragma unroll
        for (u32 pair = 0; pair < STEPS; pair++) {
            u32 b[4];
            load_transposed(b, right + step * 16 * PITCH + pair * 16);
            mma(out[2 * pair], a, b[0], b[1]);
            mma(out[2 * pair + 1], a, b[2], b[3]);
        }
    }
}

template <u32 TILES>
__device__ inline void clear(float (&sums)[TILES][4]) {
#pragma unroll
    for (u32 i = 0; i < TILES; i++) {
#pragma unroll
        for (u32 k = 0; k < 4; k++) sums[i][k] = 0.0f;
    }
}

// Writes rows `row` and `row` + 8 of a warp's [16, HEAD] result, multiplied by `low` and `high`.
__device__ inline void store(
    bf16* to, u64 stride, const float (&out)[2 * STEPS][4], u32 row, u32 limit, float low, float high
) {
    for (u32 half = 0; half < 2; half++) {
        u32 at = row + half * 8;
        if (at >= limit) continue;
        float factor = half ? high : low;
#pragma unroll
        for (u32 tile = 0; tile < 2 * STEPS; tile++) {
            u32 column = tile * 8 + threadIdx.x % 4 * 2;
            bf16* pair = to + at * stride + column;
            float first = out[tile][half * 2] * factor, second = out[tile][half * 2 + 1] * factor;
            if (HEAD_WIDTH % 2 == 0) {
                if (column < HEAD_WIDTH) *(u32*)pair = pack(first, second);
            } else {
                if (column < HEAD_WIDTH) put(pair, first);
                if (column + 1 < HEAD_WIDTH) put(pair + 1, second);
            }
        }
    }
}

__device__ inline float quad_sum(float value) {
    value += shuffle_xor(value, 1);
    return value + shuffle_xor(value, 2);
}

__device__ inline float quad_max(float value) {
    value = fmaxf(value, shuffle_xor(value, 1));
    return fmaxf(value, shuffle_xor(value, 2));
}

// Sets the scores of the keys from `at` on that queries `query` and `query` + 8 do not see to UNSEEN.
template <u32 TILES>
__device__ inline void hide(float (&scores)[TILES][4], const Heads& all, const u32* starts, u32 at, u32 query) {
    at += threadIdx.x % 4 * 2;
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        u32 own = query + half * 8;
        // Both bounds are relative to `at`, so that places known to the compiler are compared with only two variables.
        int last = (int)own - (int)at, first = (own < all.length ? (int)all.first(starts, own) : 0) - (int)at;
#pragma unroll
        for (int place = 0; place < (int)TILES * 8; place += place % 2 ? 7 : 1) {
            if (place > last || place < first) scores[place / 8][half * 2 + place % 2] = UNSEEN;
        }
    }
}

// Like `hide`, for scores whose rows are keys `key` and `key` + 8 and whose columns are queries from `at` on.
template <u32 TILES>
__device__ inline void hide_transposed(
    float (&scores)[TILES][4], const Heads& all, const u32* starts, u32 at, u32 key
) {
    u32 query = at + threadIdx.x % 4 * 2;
#pragma unroll
    for (u32 i = 0; i < TILES * 2; i++) {
        u32 other = query + i / 2 * 8 + i % 2, first = other < all.length ? all.first(starts, other) : 0;
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            u32 own = key + half * 8;
            if (own > other || own < first) scores[i / 2][half * 2 + i % 2] = UNSEEN;
        }
    }
}

// Computes the softmax weights of a tile of scores; the weight of a score is 2 to the power of score · unit − top.
// `top` is the largest score · unit so far, `sum` is each lane's part of the sum of all weights, and `shrink` is the
// factor by which earlier weights must be multiplied.
__device__ inline void soft_max(
    u32 (&weights)[TILE / 8][2], const float (&scores)[TILE / 8][4], float unit, float (&top)[2], float (&sum)[2],
    float (&shrink)[2]
) {
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        float largest = UNSEEN;
#pragma unroll
        for (u32 i = 0; i < TILE / 4; i++) largest = fmaxf(largest, scores[i / 2][half * 2 + i % 2]);
        float next = fmaxf(top[half], quad_max(largest) * unit), added = 0.0f;
        shrink[half] = power_of_2(top[half] - next);
        top[half] = next;
#pragma unroll
        for (u32 tile = 0; tile < TILE / 8; tile++) {
            const float* pair = scores[tile] + half * 2;
            float low = power_of_2(pair[0] * unit - next), high = power_of_2(pair[1] * unit - next);
            added += low + high;
            weights[tile][half] = pack(low, high);
        }
        sum[half] = sum[half] * shrink[half] + added;
    }
}

// The grid is [tiles of queries, heads, batch]. The values are loaded while the scores are computed, and the next keys
// while the values are used.
extern "C" __global__ void __launch_bounds__(TILE_THREADS, FORWARD_BLOCKS) attention_forward_tensor(
    bf16* result, float* log_sums, const bf16* qkv, const u32* starts, u32 length, u32 heads, u32 key_heads, u32 window,
    float scale
) {
    Heads all = {length, heads, key_heads, window, scale};
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, head = blockIdx.y;
    u64 batch = blockIdx.z;
    // The tiles with the most keys start first.
    u32 begin = (gridDim.x - 1 - blockIdx.x) * TILE, end = begin + TILE < length ? begin + TILE : length;
    starts += batch * length;
    const bf16* rows = qkv + batch * length * all.stride();
    const bf16* keys = rows + (u64)(heads + head / all.group()) * HEAD_WIDTH;
    const bf16* values = keys + (u64)key_heads * HEAD_WIDTH;
    u32 stride = (u32)all.stride();
    bf16* query_tile = (bf16*)shared_bytes();
    bf16* key_tile = query_tile + TILE * PITCH;
    bf16* value_tile = key_tile + TILE * PITCH;
    // All queries of the tile see all keys from `whole` to the start of the tile.
    u32 whole = all.first(starts, end - 1), at = all.first(starts, begin) / TILE * TILE;
    load_tile<TILE>(query_tile, rows + (u64)head * HEAD_WIDTH, stride, begin, length);
    load_tile<TILE>(key_tile, keys, stride, at, length);
    u32 query = begin + warp * 16 + lane / 4;
    float unit = scale * LOG2_E, top[2] = {-1.0e30f, -1.0e30f}, sum[2] = {0.0f, 0.0f}, out[2 * STEPS][4];
    clear(out);
    for (; at < end; at += TILE) {
        wait_for_tiles();
        load_tile<TILE>(value_tile, values, stride, at, length);
        float scores[TILE / 8][4];
        clear(scores);
        product_transposed(scores, query_tile, warp * 16, key_tile);
        if (at < whole || at + TILE > begin) hide(scores, all, starts, at, query);
        wait_for_tiles();
        if (at + TILE < end) load_tile<TILE>(key_tile, keys, stride, at + TILE, length);
        u32 weights[TILE / 8][2];
        float shrink[2];
        soft_max(weights, scores, unit, top, sum, shrink);
#pragma unroll
        for (u32 tile = 0; tile < 2 * STEPS; tile++) {
#pragma unroll
            for (u32 k = 0; k < 4; k++) out[tile][k] *= shrink[k / 2];
        }
        product(out, weights, value_tile);
    }
    for (u32 half = 0; half < 2; half++) sum[half] = quad_sum(sum[half]);
    bf16* to = result + (batch * heads * length + head) * HEAD_WIDTH;
    store(to, (u64)heads * HEAD_WIDTH, out, query, length, 1.0f / sum[0], 1.0f / sum[1]);
    for (u32 half = 0; half < 2; half++) {
        u32 own = query + half * 8;
        if (lane % 4 == 0 && own < length) {
            log_sums[(batch * heads + head) * length + own] = top[half] / LOG2_E + logf(sum[half]);
        }
    }
}

// The grid is [tiles of queries, heads, batch]. The keys are loaded while the values are used, and the next values
// while the keys are used.
extern "C" __global__ void __launch_bounds__(TILE_THREADS, QUERIES_BLOCKS) attention_queries_tensor(
    bf16* dqkv, const bf16* qkv, const bf16* dresult, const float* log_sums, const float* delta, const u32* starts,
    u32 length, u32 heads, u32 key_heads, u32 window, float scale
) {
    Heads all = {length, heads, key_heads, window, scale};
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, head = blockIdx.y;
    u64 batch = blockIdx.z, width = (u64)heads * HEAD_WIDTH;
    u32 begin = (gridDim.x - 1 - blockIdx.x) * TILE, end = begin + TILE < length ? begin + TILE : length;
    starts += batch * length;
    const bf16* rows = qkv + batch * length * all.stride();
    const bf16* keys = rows + (u64)(heads + head / all.group()) * HEAD_WIDTH;
    const bf16* values = keys + (u64)key_heads * HEAD_WIDTH;
    const bf16* gradients = dresult + batch * length * width + (u64)head * HEAD_WIDTH;
    u32 stride = (u32)all.stride();
    bf16* query_tile = (bf16*)shared_bytes();
    bf16* gradient_tile = query_tile + TILE * PITCH;
    bf16* key_tile = gradient_tile + TILE * PITCH;
    bf16* value_tile = key_tile + INNER * PITCH;
    u32 whole = all.first(starts, end - 1), at = all.first(starts, begin) / INNER * INNER;
    load_tile<TILE>(query_tile, rows + (u64)head * HEAD_WIDTH, stride, begin, length);
    load_tile<TILE>(gradient_tile, gradients, (u32)width, begin, length);
    load_tile<INNER>(value_tile, values, stride, at, length);
    u32 query = begin + warp * 16 + lane / 4;
    float unit = scale * LOG2_E, log_sum[2], correction[2];
    for (u32 half = 0; half < 2; half++) {
        bool inside = query + half * 8 < length;
        u64 place = (batch * heads + head) * length + query + half * 8;
        log_sum[half] = inside ? log_sums[place] * LOG2_E : 0.0f;
        correction[half] = inside ? delta[place] : 0.0f;
    }
    float out[2 * STEPS][4];
    clear(out);
    for (; at < end; at += INNER) {
        wait_for_tiles();
        load_tile<INNER>(key_tile, keys, stride, at, length);
        float scores[INNER / 8][4], dweights[INNER / 8][4];
        clear(scores);
        clear(dweights);
        product_transposed(dweights, gradient_tile, warp * 16, value_tile);
        wait_for_tiles();
        if (at + INNER < end) load_tile<INNER>(value_tile, values, stride, at + INNER, length);
        product_transposed(scores, query_tile, warp * 16, key_tile);
        if (at < whole || at + INNER > begin) hide(scores, all, starts, at, query);
        u32 dscores[INNER / 8][2];
#pragma unroll
        for (u32 i = 0; i < INNER / 8 * 2; i++) {
            const float *pair = scores[i / 2] + i % 2 * 2, *dpair = dweights[i / 2] + i % 2 * 2;
            float low = power_of_2(pair[0] * unit - log_sum[i % 2]), high = power_of_2(pair[1] * unit - log_sum[i % 2]);
            dscores[i / 2][i % 2] = pack(low * (dpair[0] - correction[i % 2]), high * (dpair[1] - correction[i % 2]));
        }
        product(out, dscores, key_tile);
    }
    bf16* to = dqkv + batch * length * all.stride() + (u64)head * HEAD_WIDTH;
    store(to, all.stride(), out, query, length, scale, scale);
}

// The grid is [tiles of keys, heads of keys, batch]. All products are transposed: rows are keys, and columns are
// queries.
extern "C" __global__ void __launch_bounds__(TILE_THREADS, KEYS_BLOCKS) attention_keys_tensor(
    bf16* dqkv, const bf16* qkv, const bf16* dresult, const float* log_sums, const float* delta, const u32* starts,
    u32 length, u32 heads, u32 key_heads, u32 window, float scale
) {
    Heads all = {length, heads, key_heads, window, scale};
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, key_head = blockIdx.y;
    u64 batch = blockIdx.z, width = (u64)heads * HEAD_WIDTH;
    u32 begin = blockIdx.x * TILE, last = (begin + TILE < length ? begin + TILE : length) - 1;
    starts += batch * length;
    log_sums += batch * heads * length;
    delta += batch * heads * length;
    dresult += batch * length * width;
    const bf16* rows = qkv + batch * length * all.stride();
    u64 column = (u64)(heads + key_head) * HEAD_WIDTH, values = (u64)key_heads * HEAD_WIDTH;
    bf16* key_tile = (bf16*)shared_bytes();
    bf16* value_tile = key_tile + TILE * PITCH;
    bf16* query_tile = value_tile + TILE * PITCH;
    bf16* gradient_tile = query_tile + INNER * PITCH;
    SHARED(float, query_log_sums, INNER);
    SHARED(float, corrections, INNER);
    u32 stride = (u32)all.stride();
    load_tile<TILE>(key_tile, rows + column, stride, begin, length);
    load_tile<TILE>(value_tile, rows + column + values, stride, begin, length);
    float unit = scale * LOG2_E, dkeys[2 * STEPS][4], dvalues[2 * STEPS][4];
    clear(dkeys);
    clear(dvalues);
    for (u32 head = key_head * all.group(); head < (key_head + 1) * all.group(); head++) {
        const bf16* queries = rows + (u64)head * HEAD_WIDTH;
        const bf16* gradients = dresult + (u64)head * HEAD_WIDTH;
        load_tile<INNER>(query_tile, queries, stride, begin, length);
        bool more = true;
        for (u32 at = begin; more; at += INNER) {
            // Starts never decrease within a row, so the last query of a tile has the largest first key.
            u32 next = at + INNER < length ? at + INNER : length;
            bool hides = at < last || all.first(starts, next - 1) > begin;
            more = next < length && all.first(starts, next) <= last;
            wait_for_tiles();
            load_tile<INNER>(gradient_tile, gradients, (u32)width, at, length);
            if (threadIdx.x < INNER) {
                u32 query = at + threadIdx.x, place = head * length + query;
                copy_ahead(query_log_sums + threadIdx.x, log_sums + place, query < length);
                copy_ahead(corrections + threadIdx.x, delta + place, query < length);
            }
            float scores[INNER / 8][4], dweights[INNER / 8][4];
            clear(scores);
            product_transposed(scores, key_tile, warp * 16, query_tile);
            if (hides) hide_transposed(scores, all, starts, at, begin + warp * 16 + lane / 4);
            wait_for_tiles();
            clear(dweights);
            product_transposed(dweights, value_tile, warp * 16, gradient_tile);
            u32 weights[INNER / 8][2], dscores[INNER / 8][2];
#pragma unroll
            for (u32 i = 0; i < INNER / 8 * 2; i++) {
                const float *pair = scores[i / 2] + i % 2 * 2, *dpair = dweights[i / 2] + i % 2 * 2;
                u32 query = i / 2 * 8 + lane % 4 * 2;
                float low = power_of_2(pair[0] * unit - query_log_sums[query] * LOG2_E);
                float high = power_of_2(pair[1] * unit - query_log_sums[query + 1] * LOG2_E);
                weights[i / 2][i % 2] = pack(low, high);
                low *= dpair[0] - corrections[query];
                high *= dpair[1] - corrections[query + 1];
                dscores[i / 2][i % 2] = pack(low, high);
            }
            product(dkeys, dscores, query_tile);
            barrier();
            if (more) load_tile<INNER>(query_tile, queries, stride, at + INNER, length);
            product(dvalues, weights, gradient_tile);
        }
    }
    bf16* to = dqkv + batch * length * all.stride() + column;
    u32 row = begin + warp * 16 + lane / 4;
    store(to, all.stride(), dkeys, row, length, scale, scale);
    store(to + values, all.stride(), dvalues, row, length, 1.0f, 1.0f);
}
