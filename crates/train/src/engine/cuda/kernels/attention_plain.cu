// Causal attention without tensor cores, for f32 and bf16 and heads of any width, with one warp per query or key. A row
// of qkv is [heads queries, key_heads keys, key_heads values], each HEAD_WIDTH wide. Query i sees the keys from
// max(starts[i], i + 1 − window) to i. The result is [batch · length, heads · HEAD_WIDTH], and log_sums is [batch,
// heads, length].

struct Heads {
    u32 length, heads, key_heads, window;
    float scale;

    __device__ u64 stride() const {
        return (u64)(heads + 2 * key_heads) * HEAD_WIDTH;
    }

    __device__ u32 group() const {
        return heads / key_heads;
    }

    // Returns the first key that a query of the row sees.
    __device__ u32 first(const u32* starts, u32 query) const {
        u32 begin = query >= window ? query + 1 - window : 0;
        return starts[query] > begin ? starts[query] : begin;
    }
};

// Returns the dot product of two heads, each of which starts at a multiple of HEAD_WIDTH numbers from the start of its
// buffer.
__device__ inline float head_dot(const real* a, const real* b) {
    const u32 COUNT = HEAD_WIDTH % AT_ONCE == 0 ? AT_ONCE : 1;
    float sum = 0.0f;
    for (u32 i = 0; i < HEAD_WIDTH; i += COUNT) {
        float left[COUNT], right[COUNT];
        load(left, a + i);
        load(right, b + i);
        for (u32 k = 0; k < COUNT; k++) sum += left[k] * right[k];
    }
    return sum;
}

// The item that a warp computes: a row of the batch, a head and a position.
struct Place {
    u64 row;
    u32 head, position;
};

__device__ inline Place place(u64 item, u32 heads, u32 length) {
    Place at = {item / length / heads, (u32)(item / length % heads), (u32)(item % length)};
    return at;
}

// Writes the gradient of the result times the result, summed over each head, to delta [batch, heads, length].
extern "C" __global__ void attention_delta(
    float* delta, const real* result, const real* dresult, u32 length, u32 heads, u64 items
) {
    u64 item = thread_index() / WARP;
    if (item >= items) return;
    Place at = place(item, heads, length);
    u64 start = ((at.row * length + at.position) * heads + at.head) * HEAD_WIDTH;
    float sum = 0.0f;
    for (u32 i = threadIdx.x % WARP; i < HEAD_WIDTH; i += WARP) {
        sum += wide(result[start + i]) * wide(dresult[start + i]);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) delta[item] = sum;
}

// Computes the attention of one query, with one warp, to the keys and values from `first` to `last`, whose rows are
// `stride` apart. Returns the log-sum-exp: the logarithm of the sum of the query's weights.
__device__ inline float attend(
    real* to, const real* query, const real* keys, const real* values, u64 stride, u32 first, u32 last, float scale
) {
    u32 lane = threadIdx.x % WARP;
    float out[LANE_PARTS], top = -1.0e30f, sum = 0.0f;
    for (u32 part = 0; part < LANE_PARTS; part++) out[part] = 0.0f;
    for (u32 begin = first; begin <= last; begin += WARP) {
        u32 key = begin + lane;
        bool seen = key <= last;
        float score = seen ? head_dot(query, keys + key * stride) * scale : -1.0e30f;
        float next = fmaxf(top, warp_max(score)), shrink = expf(top - next);
        float weight = seen ? expf(score - next) : 0.0f;
        top = next;
        sum = sum * shrink + warp_sum(weight);
        for (u32 part = 0; part < LANE_PARTS; part++) out[part] *= shrink;
        for (u32 other = 0; other < WARP && begin + other <= last; other++) {
            float share = shuffle(weight, other);
            const real* value = values + (begin + other) * stride;
            for (u32 part = 0; part < LANE_PARTS; part++) {
                u32 i = lane + part * WARP;
                if (i < HEAD_WIDTH) out[part] += share * wide(value[i]);
            }
        }
    }
    for (u32 part = 0; part < LANE_PARTS; part++) {
        u32 i = lane + part * WARP;
        if (i < HEAD_WIDTH) put(to + i, out[part] / sum);
    }
    return top + logf(sum);
}

extern "C" __global__ void attention_forward_plain(
    real* result, float* log_sums, const real* qkv, const u32* starts, u32 length, u32 heads, u32 key_heads, u32 window,
    float scale, u64 items
) {
    Heads all = {length, heads, key_heads, window, scale};
    u64 item = thread_index() / WARP;
    if (item >= items) return;
    Place at = place(item, heads, length);
    u32 first = all.first(starts + at.row * length, at.position);
    const real* rows = qkv + at.row * length * all.stride();
    const real* query = rows + at.position * all.stride() + (u64)at.head * HEAD_WIDTH;
    const real* keys = rows + (u64)(heads + at.head / all.group()) * HEAD_WIDTH;
    const real* values = keys + (u64)key_heads * HEAD_WIDTH;
    real* to = result + ((at.row * length + at.position) * heads + at.head) * HEAD_WIDTH;
    float log_sum = attend(to, query, keys, values, all.stride(), first, at.position, scale);
    if (threadIdx.x % WARP == 0) log_sums[item] = log_sum;
}

// Copies the keys and values of rows of qkv to their positions in a cache [sequences, capacity, width].
extern "C" __global__ void keep_keys(
    real* cache, const real* qkv, const u32* sequences, const u32* positions, u32 capacity, u32 stride, u32 width,
    u64 len
) {
    u64 index = thread_index();
    if (index >= len) return;
    u64 row = index / width, i = index % width;
    u64 to = ((u64)sequences[row] * capacity + positions[row]) * width + i;
    cache[to] = qkv[row * stride + (stride - width) + i];
}

// Computes the attention of each row's query to the cached positions of its sequence, from max(0, position + 1 −
// window) to the query's position, with one warp per row and head.
extern "C" __global__ void attention_cached(
    real* result, const real* cache, const real* qkv, const u32* sequences, const u32* positions, u32 capacity,
    u32 heads, u32 key_heads, u32 window, float scale, u64 items
) {
    u64 item = thread_index() / WARP;
    if (item >= items) return;
    u64 row = item / heads;
    u32 head = (u32)(item % heads), last = positions[row], first = last >= window ? last + 1 - window : 0;
    u64 width = (u64)2 * key_heads * HEAD_WIDTH, stride = (u64)heads * HEAD_WIDTH + width;
    const real* query = qkv + row * stride + (u64)head * HEAD_WIDTH;
    const real* keys = cache + (u64)sequences[row] * capacity * width + (u64)(head / (heads / key_heads)) * HEAD_WIDTH;
    attend(result + item * HEAD_WIDTH, query, keys, keys + (u64)key_heads * HEAD_WIDTH, width, first, last, scale);
}

// Computes the gradient of the queries, with one warp per query.
extern "C" __global__ void attention_queries_plain(
    real* dqkv, const real* qkv, const real* dresult, const float* log_sums, const float* delta, const u32* starts,
    u32 length, u32 heads, u32 key_heads, u32 window, float scale, u64 items
) {
    Heads all = {length, heads, key_heads, window, scale};
    u64 item = thread_index() / WARP;
    if (item >= items) return;
    Place at = place(item, heads, length);
    u32 lane = threadIdx.x % WARP, first = all.first(starts + at.row * length, at.position);
    u64 start = at.row * length * all.stride(), own = at.position * all.stride() + (u64)at.head * HEAD_WIDTH;
    const real* query = qkv + start + own;
    const real* keys = qkv + start + (u64)(heads + at.head / all.group()) * HEAD_WIDTH;
    const real* values = keys + (u64)key_heads * HEAD_WIDTH;
    const real* gradient = dresult + ((at.row * length + at.position) * heads + at.head) * HEAD_WIDTH;
    float out[LANE_PARTS];
    for (u32 part = 0; part < LANE_PARTS; part++) out[part] = 0.0f;
    for (u32 begin = first; begin <= at.position; begin += WARP) {
        u32 key = begin + lane;
        float dscore = 0.0f;
        if (key <= at.position) {
            float weight = expf(head_dot(query, keys + key * all.stride()) * scale - log_sums[item]);
            dscore = weight * (head_dot(gradient, values + key * all.stride()) - delta[item]) * scale;
        }
        for (u32 other = 0; other < WARP && begin + other <= at.position; other++) {
            float share = shuffle(dscore, other);
            const real* row = keys + (begin + other) * all.stride();
            for (u32 part = 0; part < LANE_PARTS; part++) {
                u32 i = lane + part * WARP;
                if (i < HEAD_WIDTH) out[part] += share * wide(row[i]);
            }
        }
    }
    for (u32 part = 0; part < LANE_PARTS; part++) {
        u32 i = lane + part * WARP;
        if (i < HEAD_WIDTH) put(dqkv + start + own + i, out[part]);
    }
}

// Computes the gradients of keys and values, with one warp per key, which sums over all query heads that share the key.
extern "C" __global__ void attention_keys_plain(
    real* dqkv, const real* qkv, const real* dresult, const float* log_sums, const float* delta, const u32* starts,
    u32 length, u32 heads, u32 key_heads, u32 window, float scale, u64 items
) {
    Heads all = {length, heads, key_heads, window, scale};
    u64 item = thread_index() / WARP;
    if (item >= items) return;
    Place at = place(item, key_heads, length);
    u32 lane = threadIdx.x % WARP;
    starts += at.row * length;
    u64 start = at.row * length * all.stride();
    u64 own = at.position * all.stride() + (u64)(heads + at.head) * HEAD_WIDTH;
    const real* key = qkv + start + own;
    const real* value = key + (u64)key_heads * HEAD_WIDTH;
    float dkey[LANE_PARTS], dvalue[LANE_PARTS];
    for (u32 part = 0; part < LANE_PARTS; part++) dkey[part] = dvalue[part] = 0.0f;
    for (u32 head = at.head * all.group(); head < (at.head + 1) * all.group(); head++) {
        const real* queries = qkv + start + (u64)head * HEAD_WIDTH;
        const real* gradients = dresult + (at.row * length * heads + head) * HEAD_WIDTH;
        u64 sums = (at.row * heads + head) * length;
        for (u32 begin = at.position; begin < length; begin += WARP) {
            // Starts never decrease within a row: if a query does not see the key, no later query sees it.
            if (all.first(starts, begin) > at.position) break;
            u32 query = begin + lane;
            float weight = 0.0f, dscore = 0.0f;
            if (query < length && all.first(starts, query) <= at.position) {
                weight = expf(head_dot(queries + query * all.stride(), key) * scale - log_sums[sums + query]);
                float dweight = head_dot(gradients + (u64)query * heads * HEAD_WIDTH, value);
                dscore = weight * (dweight - delta[sums + query]) * scale;
            }
            for (u32 other = 0; other < WARP && begin + other < length; other++) {
                float share = shuffle(weight, other), dshare = shuffle(dscore, other);
                const real* row = queries + (begin + other) * all.stride();
                const real* gradient = gradients + (u64)(begin + other) * heads * HEAD_WIDTH;
                for (u32 part = 0; part < LANE_PARTS; part++) {
                    u32 i = lane + part * WARP;
                    if (i >= HEAD_WIDTH) continue;
                    dvalue[part] += share * wide(gradient[i]);
                    dkey[part] += dshare * wide(row[i]);
                }
            }
        }
    }
    for (u32 part = 0; part < LANE_PARTS; part++) {
        u32 i = lane + part * WARP;
        if (i >= HEAD_WIDTH) continue;
        put(dqkv + start + own + i, dkey[part]);
        put(dqkv + start + own + (u64)key_heads * HEAD_WIDTH + i, dvalue[part]);
    }
}
