// Rotary positions, activations, cross-entropy.

struct Turn {
    real* rows;
    const float* cosines;
    const float* sines;
    const u32* places;
    u32 heads, stride, half;
    float sign;

    template <u32 COUNT>
    __device__ void at(u64 index) const {
        u32 pair = (u32)(index % half);
        u64 row = index / half / heads;
        real* first = rows + row * stride + (u64)(index / half % heads) * HEAD_WIDTH + pair;
        u64 angle = (u64)places[row] * half + pair;
        float cosine[COUNT], sine[COUNT], x[COUNT], y[COUNT];
        load(cosine, cosines + angle);
        load(sine, sines + angle);
        load(x, first);
        load(y, first + half);
        for (u32 i = 0; i < COUNT; i++) {
            float a = x[i], b = y[i], turned = sine[i] * sign;
            x[i] = a * cosine[i] - b * turned;
            y[i] = b * cosine[i] + a * turned;
        }
        store(first, x);
        store(first + half, y);
    }
};

// Rotates pairs (i, i + half) of the first `heads` heads of each row by the angle of its position; a sign of −1 rotates
// back.
extern "C" __global__ void rotary(
    real* rows, const float* cosines, const float* sines, const u32* places, u32 heads, u32 stride, u32 half,
    float sign, u64 len
) {
    Turn work = {rows, cosines, sines, places, heads, stride, half, sign};
    each<AT_ONCE>(work, half % AT_ONCE == 0 && HEAD_WIDTH % AT_ONCE == 0, len);
}

__device__ inline float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

#define SWIGLU 0
#define GELU 1

// Returns the value of an activation of one number, and writes its derivative to `slope`.
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

struct Activation {
    real* y;
    const real* x;
    u32 kind, width;

    template <u32 COUNT>
    __device__ void at(u64 index) const {
        float values[COUNT], ups[COUNT], slope;
        u64 gate = kind == SWIGLU ? index + index / width * width : index;
        load(values, x + gate);
        if (kind == SWIGLU) load(ups, x + gate + width);
        for (u32 i = 0; i < COUNT; i++) {
            values[i] = kind == SWIGLU ? values[i] * sigmoid(values[i]) * ups[i] : gelu(values[i], kind, &slope);
        }
        store(y + index, values);
    }
};

// Computes y [rows, width] from x [rows, width]; for SwiGLU, x is [rows, 2 · width] with the gates before the ups.
extern "C" __global__ void activation_forward(real* y, const real* x, u32 kind, u32 width, u64 len) {
    Activation work = {y, x, kind, width};
    each<AT_ONCE>(work, width % AT_ONCE == 0, len);
}

struct ActivationGradient {
    real* dy;
    real* dx;
    const real* x;
    u32 kind, width;

    template <u32 COUNT>
    __device__ void at(u64 index) const {
        float d[COUNT], values[COUNT], ups[COUNT], slope;
        u64 gate = kind == SWIGLU ? index + index / width * width : index;
        load(d, dy + index);
        load(values, x + gate);
        if (kind == SWIGLU) load(ups, x + gate + width);
        for (u32 i = 0; i < COUNT; i++) {
            if (kind == SWIGLU) {
                float share = sigmoid(values[i]), silu = values[i] * share, up = ups[i];
                values[i] = d[i] * up * (share + silu * (1.0f - share));
                ups[i] = d[i] * silu;
                d[i] = silu * up;
            } else {
                float y = gelu(values[i], kind, &slope);
                values[i] = d[i] * slope;
                d[i] = y;
            }
        }
        store(dx + gate, values);
        if (kind == SWIGLU) store(dx + gate + width, ups);
        store(dy + index, d);
    }
};

// Writes dx, and overwrites dy with y.
extern "C" __global__ void activation_backward(real* dy, real* dx, const real* x, u32 kind, u32 width, u64 len) {
    ActivationGradient work = {dy, dx, x, kind, width};
    each<AT_ONCE>(work, width % AT_ONCE == 0, len);
}

#define IGNORED 0xffffffffu

// Computes the loss of each row of logits [rows, pitch], or 0 if the target does not count. With a scale other than 0,
// the logits are replaced by their gradient times the scale. One thread block handles one row. Rows begin at multiples
// of 16 bytes: a row is padded beyond the vocabulary, and the padding does not count and may change.
extern "C" __global__ void cross_entropy(
    real* logits, float* losses, const u32* targets, float scale, u32 vocabulary, u32 pitch
) {
    const float LOWEST = -3.0e38f;
    u32 target = targets[blockIdx.x];
    real* row = logits + (u64)blockIdx.x * pitch;
    float values[AT_ONCE];
    if (target == IGNORED) {
        for (u32 k = 0; k < AT_ONCE; k++) values[k] = 0.0f;
        u32 end = scale == 0.0f ? 0 : vocabulary;
        for (u32 i = threadIdx.x * AT_ONCE; i < end; i += THREADS * AT_ONCE) store(row + i, values);
        if (threadIdx.x == 0) losses[blockIdx.x] = 0.0f;
        return;
    }
    float top = LOWEST, sum = 0.0f;
    for (u32 i = threadIdx.x * AT_ONCE; i < vocabulary; i += THREADS * AT_ONCE) {
        load(values, row + i);
        float next = top;
        for (u32 k = 0; k < AT_ONCE; k++) {
            if (i + k >= vocabulary) values[k] = LOWEST;
            next = fmaxf(next, values[k]);
        }
        sum *= expf(top - next);
        for (u32 k = 0; k < AT_ONCE; k++) sum += expf(values[k] - next);
        top = next;
    }
    float all = block_max(top);
    sum = block_sum(sum * expf(top - all));
    float logit = wide(row[target]);
    // Every thread has read the target's logit before it changes.
    barrier();
    if (threadIdx.x == 0) losses[blockIdx.x] = logf(sum) + (all - logit);
    if (scale == 0.0f) return;
    float inverse = scale / sum;
    for (u32 i = threadIdx.x * AT_ONCE; i < vocabulary; i += THREADS * AT_ONCE) {
        load(values, row + i);
        for (u32 k = 0; k < AT_ONCE; k++) {
            values[k] = expf(values[k] - all) * inverse - (i + k == target ? scale : 0.0f);
        }
        store(row + i, values);
    }
}
