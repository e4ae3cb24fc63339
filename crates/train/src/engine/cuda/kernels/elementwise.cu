// Casts, biases, embedding tables, and sums over rows in two stages.

extern "C" __global__ void cast(real* to, const float* from, u64 len) {
    u64 index = thread_index();
    if (index < len) put(to + index, from[index]);
}

// to = base + scale * delta, in the number format of matrix products: a matrix with a merged low-rank adapter.
extern "C" __global__ void merge(real* to, const float* base, const real* delta, float scale, u64 len) {
    u64 index = thread_index();
    if (index < len) put(to + index, base[index] + scale * wide(delta[index]));
}

template <class Number>
struct AddBias {
    Number* to;
    const Number* from;
    const float* bias;
    u32 width;

    template <u32 COUNT>
    __device__ void at(u64 index) const {
        float values[COUNT], biases[COUNT];
        load(values, from + index);
        if (bias) {
            load(biases, bias + index % width);
            for (u32 i = 0; i < COUNT; i++) values[i] += biases[i];
        }
        store(to + index, values);
    }
};

// to = from + bias, the initial value of a product that is added to a residual stream; bias may be null.
extern "C" __global__ void add_bias_to_stream(float* to, const float* from, const float* bias, u32 width, u64 len) {
    AddBias<float> work = {to, from, bias, width};
    each<4>(work, width % 4 == 0 && is_aligned(bias), len);
}

extern "C" __global__ void add_bias(real* rows, const float* bias, u32 width, u64 len) {
    AddBias<real> work = {rows, rows, bias, width};
    each<AT_ONCE>(work, width % AT_ONCE == 0 && is_aligned(bias), len);
}

// Writes the rows of the table for `ids` to rows [tokens, width], and adds the rows of `positions` unless it is null.
extern "C" __global__ void embed(
    float* rows, const float* table, const u32* ids, const float* positions, const u32* places, u32 width, u64 len
) {
    u64 index = thread_index();
    if (index >= len) return;
    u64 token = index / width;
    u32 column = (u32)(index % width);
    float value = table[(u64)ids[token] * width + column];
    if (positions) value += positions[(u64)places[token] * width + column];
    rows[index] = value;
}

// Adds rows of `gradient` to rows of `table`: entry i of `entries` gets the rows order[begins[i]..begins[i + 1]], one
// after the other. The grid is [entries, width / threads].
extern "C" __global__ void embed_backward(
    float* table, const float* gradient, const u32* entries, const u32* begins, const u32* order, u32 width
) {
    u32 begin = begins[blockIdx.x], end = begins[blockIdx.x + 1], column = blockIdx.y * THREADS + threadIdx.x;
    if (column >= width) return;
    float sum = 0.0f;
    for (u32 at = begin; at < end; at++) sum += gradient[(u64)order[at] * width + column];
    table[(u64)entries[blockIdx.x] * width + column] += sum;
}

// Computes part y of the sums of the columns of [rows, width]: each warp of the thread block adds one of every `parts`
// · (THREADS / WARP) rows. The grid is [width / threads, parts].
extern "C" __global__ void column_sums(float* partial, const real* from, u32 rows, u32 width) {
    // Each lane has as many columns as the thread block has warps; the columns are consecutive if they are loaded at
    // once.
    const u32 WARPS = THREADS / WARP;
    bool together = width % WARPS == 0;
    u32 lane = threadIdx.x % WARP, apart = together ? 1 : WARP;
    u32 first = blockIdx.x * THREADS + lane * (together ? WARPS : 1);
    float sums[WARPS] = {0.0f};
    for (u32 row = blockIdx.y * WARPS + threadIdx.x / WARP; row < rows && first < width; row += gridDim.y * WARPS) {
        const real* at = from + (u64)row * width + first;
        float values[WARPS];
        if (together) load(values, at);
        for (u32 i = 0; i < WARPS; i++) {
            if (!together) values[i] = first + i * WARP < width ? wide(at[i * WARP]) : 0.0f;
            sums[i] += values[i];
        }
    }
    sum_warps(sums);
    for (u32 i = 0; i < WARPS; i++) {
        u32 column = first + i * apart;
        if (threadIdx.x < WARP && column < width) partial[(u64)blockIdx.y * width + column] = sums[i];
    }
}

// Adds the sum of `parts` rows of `partial`, which are `stride` apart, to `to`. A thread block handles 32 columns, and
// each of its warps adds every eighth part, in order.
extern "C" __global__ void add_partial(float* to, const float* partial, u32 parts, u32 stride, u32 width) {
    const u32 WARPS = THREADS / WARP;
    u32 column = blockIdx.x * WARP + threadIdx.x % WARP, warp = threadIdx.x / WARP;
    // The parts are counted before the loop, so that the compiler can load several values before it adds them.
    u32 own = (parts + WARPS - 1 - warp) / WARPS;
    float sum[1] = {0.0f};
    if (column < width) {
#pragma unroll 8
        for (u32 i = 0; i < own; i++) sum[0] += partial[(u64)(warp + i * WARPS) * stride + column];
    }
    sum_warps(sum);
    if (threadIdx.x < WARP && column < width) to[column] += sum[0];
}
