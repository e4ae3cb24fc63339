// Causal attention on tensor cores, in the manner of FlashAttention-2 (Dao, 2023): tiles of 64 queries or keys, a warp
// for each 16, soft-max on the way, probabilities found again from the log-sum-exps. The backward pass is two
// kernels, each with sums of its own in registers: 7 products instead of 5, but no atomic sum and so the same bits.
// For bf16 and heads of at most 128; narrower ones are filled up to a multiple of 16 with zeros. The arguments are
// those of the plain kernels.

#define TILE 64
#define TILE_THREADS 128
#define HEAD ((HEAD_WIDTH + 15) / 16 * 16)
// 16 bytes more than a row: eight rows of a matrix lie in different banks.
#define PITCH (HEAD + 8)
#define STEPS (HEAD / 16)
// Rows that the backward pass takes at once beside its own 64: registers hold two sums of [16, HEAD] a warp.
#define INNER (HEAD <= 64 ? 64 : 32)
#define LOG2_E 1.44269504f

// Rows first..first + rows of one head, `stride` apart, zero from `limit` on and beyond HEAD_WIDTH.
__device__ inline void load_tile(bf16* tile, const bf16* from, u64 stride, u32 first, u32 rows, u32 limit) {
    const u32 COLUMNS = HEAD / 8;
    for (u32 i = threadIdx.x; i < rows * COLUMNS; i += TILE_THREADS) {
        u32 row = i / COLUMNS, column = i % COLUMNS * 8;
        bf16* to = tile + row * PITCH + column;
        const bf16* source = from + (u64)(first + row) * stride + column;
        if (HEAD_WIDTH % 8 == 0) {
            Vector zero = {{0, 0, 0, 0}};
            bool inside = first + row < limit && column < HEAD_WIDTH;
            *(Vector*)to = inside ? *(const Vector*)source : zero;
        } else {
            for (u32 k = 0; k < 8; k++) {
                bf16 zero = {0};
                to[k] = first + row < limit && column + k < HEAD_WIDTH ? source[k] : zero;
            }
        }
    }
}

// Rows row..row + 16, columns of step `step`, as the left side of a product.
__device__ inline void load_left(u32 (&to)[4], const bf16* tile, u32 row, u32 step) {
    u32 lane = threadIdx.x % WARP;
    load_matrices(to, tile + (row + lane % 16) * PITCH + step * 16 + lane / 16 * 8);
}

// sums [16, 8 · tiles] += left [16, HEAD] · right[8 · tiles, HEAD]ᵀ.
template <int TILES>
__device__ inline void product_transposed(float (&sums)[TILES][4], const bf16* left, u32 row, const bf16* right) {
    u32 lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 step = 0; step < STEPS; step++) {
        u32 a[4];
        load_left(a, left, row, step);
#pragma unroll
        for (u32 pair = 0; pair < TILES / 2; pair++) {
            u32 b[4];
            u32 line = pair * 16 + lane / 16 * 8 + lane % 8;
            load_matrices(b, right + line * PITCH + step * 16 + lane / 8 % 2 * 8);
            mma(sums[2 * pair], a, b[0], b[1]);
            mma(sums[2 * pair + 1], a, b[2], b[3]);
        }
    }
}

// out [16, HEAD] += weights [16, 8 · tiles] · right [8 · tiles, HEAD].
template <int TILES>
__device__ inline void product(float (&out)[2 * STEPS][4], const float (&weights)[TILES][4], const bf16* right) {
    u32 lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 step = 0; step < TILES / 2; step++) {
        // What a product leaves and what the next takes lie alike in the lanes.
        const float(&low)[4] = weights[2 * step], (&high)[4] = weights[2 * step + 1];
        u32 a[4] = {pack(low[0], low[1]), pack(low[2], low[3]), pack(high[0], high[1]), pack(high[2], high[3])};
#pragma unroll
        for (u32 pair = 0; pair < STEPS; pair++) {
            u32 b[4];
            load_transposed(b, right + (step * 16 + lane % 16) * PITCH + pair * 16 + lane / 16 * 8);
            mma(out[2 * pair], a, b[0], b[1]);
            mma(out[2 * pair + 1], a, b[2], b[3]);
        }
    }
}

template <int TILES>
__device__ inline void clear(float (&sums)[TILES][4]) {
#pragma unroll
    for (u32 i = 0; i < TILES; i++) {
#pragma unroll
        for (u32 k = 0; k < 4; k++) sums[i][k] = 0.0f;
    }
}

// Writes rows row and row + 8 of a warp's [16, HEAD], each times its factor.
__device__ inline void store(
    bf16* to, u64 stride, const float (&out)[2 * STEPS][4], u32 row, u32 limit, float low, float high
) {
    u32 lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 tile = 0; tile < 2 * STEPS; tile++) {
#pragma unroll
        for (u32 k = 0; k < 4; k++) {
            u32 at = row + k / 2 * 8, column = tile * 8 + lane % 4 * 2 + k % 2;
            if (at < limit && column < HEAD_WIDTH) put(to + at * stride + column, out[tile][k] * (k < 2 ? low : high));
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

// Grid [tiles of queries, heads, batch].
extern "C" __global__ void __launch_bounds__(TILE_THREADS) attention_forward_tensor(
    bf16* result, float* log_sums, const bf16* qkv, const u32* starts, u32 length, u32 heads, u32 key_heads, u32 window,
    float scale
) {
    Heads all = {length, heads, key_heads, window, scale};
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, head = blockIdx.y;
    u64 batch = blockIdx.z;
    // The longest first.
    u32 begin = (gridDim.x - 1 - blockIdx.x) * TILE, end = begin + TILE < length ? begin + TILE : length;
    starts += batch * length;
    const bf16* rows = qkv + batch * length * all.stride();
    const bf16* keys = rows + (u64)(heads + head / all.group()) * HEAD_WIDTH;
    bf16* query_tile = (bf16*)shared_bytes();
    bf16* key_tile = query_tile + TILE * PITCH;
    bf16* value_tile = key_tile + TILE * PITCH;
    load_tile(query_tile, rows + (u64)head * HEAD_WIDTH, all.stride(), begin, TILE, length);
    u32 query[2], first[2];
    for (u32 half = 0; half < 2; half++) {
        query[half] = begin + warp * 16 + half * 8 + lane / 4;
        first[half] = query[half] < length ? all.first(starts, query[half]) : 0;
    }
    float top[2] = {-1.0e30f, -1.0e30f}, sum[2] = {0.0f, 0.0f}, out[2 * STEPS][4];
    clear(out);
    for (u32 at = all.first(starts, begin) / TILE * TILE; at < end; at += TILE) {
        barrier();
        load_tile(key_tile, keys, all.stride(), at, TILE, length);
        load_tile(value_tile, keys + (u64)key_heads * HEAD_WIDTH, all.stride(), at, TILE, length);
        barrier();
        float scores[TILE / 8][4];
        clear(scores);
        product_transposed(scores, query_tile, warp * 16, key_tile);
        float next[2] = {top[0], top[1]};
#pragma unroll
        for (u32 tile = 0; tile < TILE / 8; tile++) {
#pragma unroll
            for (u32 k = 0; k < 4; k++) {
                u32 key = at + tile * 8 + lane % 4 * 2 + k % 2, half = k / 2;
                bool seen = key <= query[half] && key >= first[half];
                scores[tile][k] = seen ? scores[tile][k] * (scale * LOG2_E) : -2.0e30f;
                next[half] = fmaxf(next[half], scores[tile][k]);
            }
        }
        float shrink[2], share[2] = {0.0f, 0.0f};
        for (u32 half = 0; half < 2; half++) {
            next[half] = quad_max(next[half]);
            shrink[half] = exp2f(top[half] - next[half]);
            top[half] = next[half];
        }
#pragma unroll
        for (u32 tile = 0; tile < TILE / 8; tile++) {
#pragma unroll
            for (u32 k = 0; k < 4; k++) {
                // What is not seen is below every maximum by 1e30: zero.
                scores[tile][k] = exp2f(scores[tile][k] - top[k / 2]);
                share[k / 2] += scores[tile][k];
            }
        }
        for (u32 half = 0; half < 2; half++) sum[half] = sum[half] * shrink[half] + quad_sum(share[half]);
#pragma unroll
        for (u32 tile = 0; tile < 2 * STEPS; tile++) {
#pragma unroll
            for (u32 k = 0; k < 4; k++) out[tile][k] *= shrink[k / 2];
        }
        product(out, scores, value_tile);
    }
    bf16* to = result + (batch * length * heads + head) * HEAD_WIDTH;
    store(to, (u64)heads * HEAD_WIDTH, out, query[0], length, 1.0f / sum[0], 1.0f / sum[1]);
    for (u32 half = 0; half < 2; half++) {
        if (lane % 4 == 0 && query[half] < length) {
            log_sums[(batch * heads + head) * length + query[half]] = top[half] / LOG2_E + logf(sum[half]);
        }
    }
}

// Grid [tiles of queries, heads, batch].
extern "C" __global__ void __launch_bounds__(TILE_THREADS) attention_queries_tensor(
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
    bf16* query_tile = (bf16*)shared_bytes();
    bf16* gradient_tile = query_tile + TILE * PITCH;
    bf16* key_tile = gradient_tile + TILE * PITCH;
    bf16* value_tile = key_tile + INNER * PITCH;
    load_tile(query_tile, rows + (u64)head * HEAD_WIDTH, all.stride(), begin, TILE, length);
    load_tile(gradient_tile, dresult + batch * length * width + (u64)head * HEAD_WIDTH, width, begin, TILE, length);
    u32 query[2], first[2];
    float log_sum[2], correction[2];
    for (u32 half = 0; half < 2; half++) {
        query[half] = begin + warp * 16 + half * 8 + lane / 4;
        bool inside = query[half] < length;
        u64 place = (batch * heads + head) * length + query[half];
        first[half] = inside ? all.first(starts, query[half]) : length;
        log_sum[half] = inside ? log_sums[place] * LOG2_E : 0.0f;
        correction[half] = inside ? delta[place] : 0.0f;
    }
    float out[2 * STEPS][4];
    clear(out);
    for (u32 at = all.first(starts, begin) / INNER * INNER; at < end; at += INNER) {
        barrier();
        load_tile(key_tile, keys, all.stride(), at, INNER, length);
        load_tile(value_tile, keys + (u64)key_heads * HEAD_WIDTH, all.stride(), at, INNER, length);
        barrier();
        float weights[INNER / 8][4], dscores[INNER / 8][4];
        clear(weights);
        clear(dscores);
        product_transposed(weights, query_tile, warp * 16, key_tile);
        product_transposed(dscores, gradient_tile, warp * 16, value_tile);
#pragma unroll
        for (u32 tile = 0; tile < INNER / 8; tile++) {
#pragma unroll
            for (u32 k = 0; k < 4; k++) {
                u32 key = at + tile * 8 + lane % 4 * 2 + k % 2, half = k / 2;
                bool seen = key <= query[half] && key >= first[half];
                float weight = seen ? exp2f(weights[tile][k] * (scale * LOG2_E) - log_sum[half]) : 0.0f;
                dscores[tile][k] = weight * (dscores[tile][k] - correction[half]);
            }
        }
        product(out, dscores, key_tile);
    }
    bf16* to = dqkv + batch * length * all.stride() + (u64)head * HEAD_WIDTH;
    store(to, all.stride(), out, query[0], length, scale, scale);
}

// Grid [tiles of keys, heads of keys, batch]. All products are transposed: rows are keys, columns queries.
extern "C" __global__ void __launch_bounds__(TILE_THREADS) attention_keys_tensor(
    bf16* dqkv, const bf16* qkv, const bf16* dresult, const float* log_sums, const float* delta, const u32* starts,
    u32 length, u32 heads, u32 key_heads, u32 window, float scale
) {
    Heads all = {length, heads, key_heads, window, scale};
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, key_head = blockIdx.y;
    u64 batch = blockIdx.z, width = (u64)heads * HEAD_WIDTH;
    u32 begin = blockIdx.x * TILE, last = (begin + TILE < length ? begin + TILE : length) - 1;
    starts += batch * length;
    const bf16* rows = qkv + batch * length * all.stride();
    u64 column = (u64)(heads + key_head) * HEAD_WIDTH, values = (u64)key_heads * HEAD_WIDTH;
    bf16* key_tile = (bf16*)shared_bytes();
    bf16* value_tile = key_tile + TILE * PITCH;
    bf16* query_tile = value_tile + TILE * PITCH;
    bf16* gradient_tile = query_tile + INNER * PITCH;
    SHARED(float, query_log_sums, TILE);
    SHARED(float, corrections, TILE);
    SHARED(u32, firsts, TILE);
    load_tile(key_tile, rows + column, all.stride(), begin, TILE, length);
    load_tile(value_tile, rows + column + values, all.stride(), begin, TILE, length);
    float dkeys[2 * STEPS][4], dvalues[2 * STEPS][4];
    clear(dkeys);
    clear(dvalues);
    for (u32 head = key_head * all.group(); head < (key_head + 1) * all.group(); head++) {
        for (u32 at = begin; at < length; at += INNER) {
            // Starts never fall within a row.
            if (all.first(starts, at) > last) break;
            barrier();
            load_tile(query_tile, rows + (u64)head * HEAD_WIDTH, all.stride(), at, INNER, length);
            load_tile(
                gradient_tile, dresult + batch * length * width + (u64)head * HEAD_WIDTH, width, at, INNER, length
            );
            if (threadIdx.x < INNER) {
                u32 query = at + threadIdx.x;
                bool inside = query < length;
                u64 place = (batch * heads + head) * length + query;
                firsts[threadIdx.x] = inside ? all.first(starts, query) : length;
                query_log_sums[threadIdx.x] = inside ? log_sums[place] * LOG2_E : 0.0f;
                corrections[threadIdx.x] = inside ? delta[place] : 0.0f;
            }
            barrier();
            float weights[INNER / 8][4], dscores[INNER / 8][4];
            clear(weights);
            clear(dscores);
            product_transposed(weights, key_tile, warp * 16, query_tile);
            product_transposed(dscores, value_tile, warp * 16, gradient_tile);
#pragma unroll
            for (u32 tile = 0; tile < INNER / 8; tile++) {
#pragma unroll
                for (u32 k = 0; k < 4; k++) {
                    u32 index = tile * 8 + lane % 4 * 2 + k % 2, key = begin + warp * 16 + k / 2 * 8 + lane / 4;
                    bool seen = key <= at + index && key >= firsts[index];
                    float score = weights[tile][k] * (scale * LOG2_E);
                    weights[tile][k] = seen ? exp2f(score - query_log_sums[index]) : 0.0f;
                    dscores[tile][k] = weights[tile][k] * (dscores[tile][k] - corrections[index]);
                }
            }
            product(dvalues, weights, gradient_tile);
            product(dkeys, dscores, query_tile);
        }
    }
    bf16* to = dqkv + batch * length * all.stride() + column;
    u32 row = begin + warp * 16 + lane / 4;
    store(to, all.stride(), dkeys, row, length, scale, scale);
    store(to + values, all.stride(), dvalues, row, length, 1.0f, 1.0f);
}
