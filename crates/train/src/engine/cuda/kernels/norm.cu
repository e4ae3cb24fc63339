// RMSNorm and (with a bias) LayerNorm of rows, and RMSNorm of the heads of queries and keys.

// The number of values of a row that a thread keeps in registers, so that a row waits for memory only once. This covers
// rows of up to 2,048 values; the values beyond are read where they are needed.
#define KEPT 8

template <class Number>
struct Row {
    const Number* from;
    float kept[KEPT];

    __device__ Row(const Number* start, u32 width) : from(start) {
#pragma unroll
        for (u32 k = 0; k < KEPT; k++) {
            u32 i = threadIdx.x + k * THREADS;
            kept[k] = i < width ? wide(start[i]) : 0.0f;
        }
    }

    // Returns column i, which is value k of the thread.
    __device__ float at(u32 i, u32 k) const {
        return k < KEPT ? kept[k] : wide(from[i]);
    }
};

// Calls `body` for each column of a thread, in order.
template <class Body>
__device__ inline void each_column(u32 width, const Body& body) {
#pragma unroll
    for (u32 k = 0; k < KEPT; k++) {
        if (threadIdx.x + k * THREADS < width) body(threadIdx.x + k * THREADS, k);
    }
    // Only two iterations are unrolled, because the registers are full.
#pragma unroll 2
    for (u32 i = threadIdx.x + KEPT * THREADS; i < width; i += THREADS) body(i, KEPT);
}

struct Moments {
    float shift, scale;
};

__device__ inline Moments moments(const Row<float>& x, bool centered, float epsilon, u32 width) {
    float shift = 0.0f, square = 0.0f;
    if (centered) {
        float sum = 0.0f;
        each_column(width, [&](u32 i, u32 k) { sum += x.at(i, k); });
        shift = block_sum(sum) / (float)width;
    }
    each_column(width, [&](u32 i, u32 k) { square += (x.at(i, k) - shift) * (x.at(i, k) - shift); });
    Moments result = {shift, 1.0f / sqrtf(block_sum(square) / (float)width + epsilon)};
    return result;
}

// Normalizes rows, with one thread block per row.
extern "C" __global__ void norm_forward(
    real* y, const float* from, const float* weight, const float* bias, float epsilon, u32 width
) {
    y += (u64)blockIdx.x * width;
    Row<float> x(from + (u64)blockIdx.x * width, width);
    Moments m = moments(x, bias != 0, epsilon, width);
    each_column(width, [&](u32 i, u32 k) {
        put(y + i, (x.at(i, k) - m.shift) * m.scale * weight[i] + (bias ? bias[i] : 0.0f));
    });
}

// Adds the gradient to dx, writes dx to `narrow` in the number format of matrix products unless `narrow` is null, and
// writes the sums for weight and bias to partial [blocks, 2, width]. A thread owns its columns, so shared memory needs
// no barrier. A thread uses at most 64 registers, so that four thread blocks run at once.
extern "C" __global__ void __launch_bounds__(THREADS, 4) norm_backward(
    float* dx, real* narrow, float* partial, const real* dy, const float* from, const float* __restrict__ weight,
    const float* bias, float epsilon, u32 width, u32 rows
) {
    float* dweight = (float*)shared_bytes();
    float* dbias = dweight + width;
    for (u32 i = threadIdx.x; i < width; i += THREADS) dweight[i] = dbias[i] = 0.0f;
    for (u32 row = blockIdx.x; row < rows; row += gridDim.x) {
        u64 start = (u64)row * width;
        Row<float> x(from + start, width), before(dx + start, width);
        Row<real> gradient(dy + start, width);
        Moments m = moments(x, bias != 0, epsilon, width);
        float mean = 0.0f, product = 0.0f;
        each_column(width, [&](u32 i, u32 k) {
            float g = gradient.at(i, k) * weight[i];
            mean += g;
            product += g * (x.at(i, k) - m.shift);
        });
        mean = bias ? block_sum(mean) / (float)width : 0.0f;
        float correction = block_sum(product) * m.scale * m.scale / (float)width;
        each_column(width, [&](u32 i, u32 k) {
            float deviation = x.at(i, k) - m.shift, g = gradient.at(i, k);
            float d = before.at(i, k) + (g * weight[i] - mean - deviation * correction) * m.scale;
            dx[start + i] = d;
            if (narrow) put(narrow + start + i, d);
            dweight[i] += g * deviation * m.scale;
            dbias[i] += g;
        });
    }
    float* to = partial + (u64)blockIdx.x * 2 * width;
    for (u32 i = threadIdx.x; i < width; i += THREADS) {
        to[i] = dweight[i];
        to[width + i] = dbias[i];
    }
}

__device__ inline void load_head(float (&to)[LANE_PARTS], const real* from) {
    for (u32 part = 0; part < LANE_PARTS; part++) {
        u32 i = threadIdx.x % WARP + part * WARP;
        to[part] = i < HEAD_WIDTH ? wide(from[i]) : 0.0f;
    }
}

__device__ inline float head_scale(const float (&x)[LANE_PARTS], float epsilon) {
    float square = 0.0f;
    for (u32 part = 0; part < LANE_PARTS; part++) square += x[part] * x[part];
    return 1.0f / sqrtf(warp_sum(square) / (float)HEAD_WIDTH + epsilon);
}

// Copies queries and keys to raw and normalizes them in place, with one warp per head of a row.
extern "C" __global__ void head_norm_forward(
    real* qkv, real* raw, const float* query, const float* key, float epsilon, u32 heads, u32 normed, u32 stride,
    u32 rows
) {
    u64 item = thread_index() / WARP;
    if (item >= (u64)rows * normed) return;
    u64 row = item / normed;
    u32 head = (u32)(item % normed);
    real* to = qkv + row * stride + (u64)head * HEAD_WIDTH;
    real* kept = raw + item * HEAD_WIDTH;
    const float* weight = head < heads ? query : key;
    float values[LANE_PARTS];
    load_head(values, to);
    float scale = head_scale(values, epsilon);
    for (u32 part = 0; part < LANE_PARTS; part++) {
        u32 i = threadIdx.x % WARP + part * WARP;
        if (i >= HEAD_WIDTH) continue;
        put(kept + i, values[part]);
        put(to + i, values[part] * scale * weight[i]);
    }
}

// Replaces dqkv by the gradient before the norm, and writes the sums for both weights to partial [blocks, 2,
// HEAD_WIDTH].
extern "C" __global__ void head_norm_backward(
    real* dqkv, float* partial, const real* raw, const float* query, const float* key, float epsilon, u32 heads,
    u32 normed, u32 stride, u32 rows
) {
    u32 lane = threadIdx.x % WARP;
    float sums[LANE_PARTS][2];
    for (u32 part = 0; part < LANE_PARTS; part++) sums[part][0] = sums[part][1] = 0.0f;
    for (u64 item = thread_index() / WARP; item < (u64)rows * normed; item += (u64)gridDim.x * (THREADS / WARP)) {
        u32 head = (u32)(item % normed);
        real* d = dqkv + item / normed * stride + (u64)head * HEAD_WIDTH;
        const float* weight = head < heads ? query : key;
        float values[LANE_PARTS], gradients[LANE_PARTS], product = 0.0f;
        load_head(values, raw + item * HEAD_WIDTH);
        load_head(gradients, d);
        for (u32 part = 0; part < LANE_PARTS; part++) {
            u32 i = lane + part * WARP;
            if (i < HEAD_WIDTH) product += gradients[part] * weight[i] * values[part];
        }
        float scale = head_scale(values, epsilon);
        float correction = warp_sum(product) * scale * scale / (float)HEAD_WIDTH;
        for (u32 part = 0; part < LANE_PARTS; part++) {
            u32 i = lane + part * WARP;
            if (i >= HEAD_WIDTH) continue;
            put(d + i, (gradients[part] * weight[i] - values[part] * correction) * scale);
            float sum = gradients[part] * values[part] * scale;
            sums[part][0] += head < heads ? sum : 0.0f;
            sums[part][1] += head < heads ? 0.0f : sum;
        }
    }
    float* to = partial + (u64)blockIdx.x * 2 * HEAD_WIDTH;
    for (u32 part = 0; part < LANE_PARTS; part++) {
        sum_warps(sums[part]);
        u32 i = lane + part * WARP;
        if (threadIdx.x >= WARP || i >= HEAD_WIDTH) continue;
        to[i] = sums[part][0];
        to[HEAD_WIDTH + i] = sums[part][1];
    }
}
