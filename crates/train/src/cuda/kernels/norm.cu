// RMSNorm and (with a bias) LayerNorm of rows, and RMSNorm of the heads of queries and keys.

struct Moments {
    float shift, scale;
};

__device__ inline Moments moments(const float* x, const float* bias, float epsilon, u32 width) {
    float shift = 0.0f;
    if (bias) {
        float sum = 0.0f;
        for (u32 i = threadIdx.x; i < width; i += blockDim.x) sum += x[i];
        shift = block_sum(sum) / (float)width;
    }
    float square = 0.0f;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) square += (x[i] - shift) * (x[i] - shift);
    Moments result = {shift, 1.0f / sqrtf(block_sum(square) / (float)width + epsilon)};
    return result;
}

// One block a row.
extern "C" __global__ void norm_forward(
    real* y, const float* x, const float* weight, const float* bias, float epsilon, u32 width
) {
    x += (u64)blockIdx.x * width;
    y += (u64)blockIdx.x * width;
    Moments m = moments(x, bias, epsilon, width);
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        put(y + i, (x[i] - m.shift) * m.scale * weight[i] + (bias ? bias[i] : 0.0f));
    }
}

// Adds to dx, writes it in the width of products to `narrow` unless that is null, and leaves sums for weight and bias
// in partial [blocks, 2, width]. A thread owns its columns, so shared memory needs no barrier.
extern "C" __global__ void norm_backward(
    float* dx, real* narrow, float* partial, const real* dy, const float* x, const float* weight, const float* bias,
    float epsilon, u32 width, u32 rows
) {
    float* dweight = (float*)shared_bytes();
    float* dbias = dweight + width;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) dweight[i] = dbias[i] = 0.0f;
    for (u32 row = blockIdx.x; row < rows; row += gridDim.x) {
        u64 start = (u64)row * width;
        const float* values = x + start;
        Moments m = moments(values, bias, epsilon, width);
        float mean = 0.0f, product = 0.0f;
        for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
            float g = wide(dy[start + i]) * weight[i];
            mean += g;
            product += g * (values[i] - m.shift);
        }
        mean = bias ? block_sum(mean) / (float)width : 0.0f;
        float correction = block_sum(product) * m.scale * m.scale / (float)width;
        for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
            float deviation = values[i] - m.shift, g = wide(dy[start + i]);
            float d = dx[start + i] + (g * weight[i] - mean - deviation * correction) * m.scale;
            dx[start + i] = d;
            if (narrow) put(narrow + start + i, d);
            dweight[i] += g * deviation * m.scale;
            dbias[i] += g;
        }
    }
    float* to = partial + (u64)blockIdx.x * 2 * width;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        to[i] = dweight[i];
        to[width + i] = dbias[i];
    }
}

__device__ inline float head_scale(const real* x, float epsilon) {
    float square = 0.0f;
    for (u32 i = threadIdx.x % WARP; i < HEAD_WIDTH; i += WARP) square += wide(x[i]) * wide(x[i]);
    return 1.0f / sqrtf(warp_sum(square) / (float)HEAD_WIDTH + epsilon);
}

// Copies queries and keys to raw and normalises them where they are. One warp a head of a row.
extern "C" __global__ void head_norm_forward(
    real* qkv, real* raw, const float* query, const float* key, float epsilon, u32 heads, u32 normed, u32 stride, u32 rows
) {
    u64 item = thread_index() / WARP;
    if (item >= (u64)rows * normed) return;
    u64 row = item / normed;
    u32 head = (u32)(item % normed);
    real* values = qkv + row * stride + (u64)head * HEAD_WIDTH;
    real* kept = raw + item * HEAD_WIDTH;
    const float* weight = head < heads ? query : key;
    float scale = head_scale(values, epsilon);
    for (u32 i = threadIdx.x % WARP; i < HEAD_WIDTH; i += WARP) {
        kept[i] = values[i];
        put(values + i, wide(values[i]) * scale * weight[i]);
    }
}

// Turns dqkv into the gradient before the norm; partial [blocks · warps, 2, HEAD_WIDTH] gets the sums for both weights.
extern "C" __global__ void head_norm_backward(
    real* dqkv, float* partial, const real* raw, const float* query, const float* key, float epsilon, u32 heads,
    u32 normed, u32 stride, u32 rows
) {
    const u32 PARTS = (HEAD_WIDTH + WARP - 1) / WARP;
    u32 lane = threadIdx.x % WARP;
    u64 warp = thread_index() / WARP, warps = (u64)gridDim.x * blockDim.x / WARP;
    float sums[2][PARTS];
    for (u32 part = 0; part < PARTS; part++) sums[0][part] = sums[1][part] = 0.0f;
    for (u64 item = warp; item < (u64)rows * normed; item += warps) {
        u32 head = (u32)(item % normed);
        real* d = dqkv + item / normed * stride + (u64)head * HEAD_WIDTH;
        const real* x = raw + item * HEAD_WIDTH;
        const float* weight = head < heads ? query : key;
        float scale = head_scale(x, epsilon), product = 0.0f;
        for (u32 i = lane; i < HEAD_WIDTH; i += WARP) product += wide(d[i]) * weight[i] * wide(x[i]);
        float correction = warp_sum(product) * scale * scale / (float)HEAD_WIDTH;
        for (u32 part = 0; part < PARTS; part++) {
            u32 i = lane + part * WARP;
            if (i >= HEAD_WIDTH) continue;
            float g = wide(d[i]), value = wide(x[i]);
            put(d + i, (g * weight[i] - value * correction) * scale);
            float sum = g * value * scale;
            sums[0][part] += head < heads ? sum : 0.0f;
            sums[1][part] += head < heads ? 0.0f : sum;
        }
    }
    float* to = partial + warp * 2 * HEAD_WIDTH;
    for (u32 part = 0; part < PARTS; part++) {
        u32 i = lane + part * WARP;
        if (i >= HEAD_WIDTH) continue;
        to[i] = sums[0][part];
        to[HEAD_WIDTH + i] = sums[1][part];
    }
}
