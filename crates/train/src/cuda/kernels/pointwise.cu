// Rotary positions, activations, cross-entropy.

// Turns pairs (i, i + half) of the first `heads` heads of each row by the angle of its position; sign −1 turns back.
extern "C" __global__ void rotary(
    real* rows, const float* cosines, const float* sines, const u32* places, u32 heads, u32 stride, u32 half, float sign,
    u64 len
) {
    u64 index = thread_index();
    if (index >= len) return;
    u32 pair = (u32)(index % half);
    u32 head = (u32)(index / half % heads);
    u64 row = index / half / heads;
    real* first = rows + row * stride + (u64)head * HEAD_WIDTH + pair;
    u64 angle = (u64)places[row] * half + pair;
    float cosine = cosines[angle], sine = sines[angle] * sign;
    float x = wide(first[0]), y = wide(first[half]);
    put(first, x * cosine - y * sine);
    put(first + half, y * cosine + x * sine);
}

__device__ inline float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

#define SWIGLU 0
#define GELU 1

// The value of an activation that takes one number, and its slope.
__device__ inline float gelu(float x, u32 kind, float* slope) {
    if (kind == GELU) {
        float share = 0.5f + 0.5f * erff(x * 0.70710678f);
        *slope = share + x * 0.39894228f * expf(-0.5f * x * x);
        return x * share;
    }
    float scale = 2.0f * 0.79788456f, cube = 0.044715f;
    float share = sigmoid(scale * (x + cube * x * x * x));
    *slope = share + x * share * (1.0f - share) * scale * (1.0f + 3.0f * cube * x * x);
    return x * share;
}

// y [rows, width] of x [rows, width], of SwiGLU [rows, 2 · width]: gates, then ups.
extern "C" __global__ void activation_forward(real* y, const real* x, u32 kind, u32 width, u64 len) {
    u64 index = thread_index();
    if (index >= len) return;
    if (kind == SWIGLU) {
        u64 gate = index / width * 2 * width + index % width;
        float g = wide(x[gate]);
        put(y + index, g * sigmoid(g) * wide(x[gate + width]));
    } else {
        float slope;
        put(y + index, gelu(wide(x[index]), kind, &slope));
    }
}

// Writes dx, and y over dy.
extern "C" __global__ void activation_backward(real* dy, real* dx, const real* x, u32 kind, u32 width, u64 len) {
    u64 index = thread_index();
    if (index >= len) return;
    float d = wide(dy[index]);
    if (kind == SWIGLU) {
        u64 gate = index / width * 2 * width + index % width;
        float g = wide(x[gate]), up = wide(x[gate + width]);
        float share = sigmoid(g), silu = g * share;
        put(dx + gate, d * up * (share + silu * (1.0f - share)));
        put(dx + gate + width, d * silu);
        put(dy + index, silu * up);
    } else {
        float slope, value = gelu(wide(x[index]), kind, &slope);
        put(dx + index, d * slope);
        put(dy + index, value);
    }
}

#define IGNORED 0xffffffffu

// The loss of each row of logits [rows, pitch], 0 where the target does not count; with a scale other than 0 the logits
// become their own gradient times it. One block a row.
extern "C" __global__ void cross_entropy(
    real* logits, float* losses, const u32* targets, float scale, u32 vocabulary, u32 pitch
) {
    u32 target = targets[blockIdx.x];
    real* row = logits + (u64)blockIdx.x * pitch;
    if (target == IGNORED) {
        if (scale != 0.0f) {
            for (u32 i = threadIdx.x; i < vocabulary; i += blockDim.x) put(row + i, 0.0f);
        }
        if (threadIdx.x == 0) losses[blockIdx.x] = 0.0f;
        return;
    }
    float top = -3.0e38f, sum = 0.0f;
    for (u32 i = threadIdx.x; i < vocabulary; i += blockDim.x) {
        float value = wide(row[i]);
        if (value > top) {
            sum *= expf(top - value);
            top = value;
        }
        sum += expf(value - top);
    }
    float all = block_max(top);
    sum = block_sum(sum * expf(top - all));
    float logit = wide(row[target]);
    // Everyone has read the target's logit before it changes.
    barrier();
    if (threadIdx.x == 0) losses[blockIdx.x] = logf(sum) + (all - logit);
    if (scale == 0.0f) return;
    float inverse = scale / sum;
    for (u32 i = threadIdx.x; i < vocabulary; i += blockDim.x) {
        put(row + i, expf(wide(row[i]) - all) * inverse - (i == target ? scale : 0.0f));
    }
}
