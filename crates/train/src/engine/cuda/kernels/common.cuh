// Numbers in f32 or bf16, and sums in a fixed order.

typedef REAL real;

#define WARP 32
#define THREADS 256
// The number of values of a head per lane if a warp shares the head; lane i has values i, i + 32, ..
#define LANE_PARTS ((HEAD_WIDTH + WARP - 1) / WARP)

__device__ inline float wide(float value) {
    return value;
}

__device__ inline float wide(bf16 value) {
    return from_bits((u32)value.bits << 16);
}

__device__ inline void put(float* to, float value) {
    *to = value;
}

__device__ inline void put(bf16* to, float value) {
    to->bits = (unsigned short)(pack(value, 0.0f) & 0xffffu);
}

// The number of values in 16 bytes, which a thread moves at once if they are aligned.
#define AT_ONCE ((u32)(16 / sizeof(real)))

__device__ inline bool is_aligned(const void* place) {
    return (u64)place % 16 == 0;
}

__device__ inline void unpack(float* to, const Vector& from, float) {
    for (u32 i = 0; i < 4; i++) to[i] = from_bits(from.words[i]);
}

__device__ inline void unpack(float* to, const Vector& from, bf16) {
    for (u32 i = 0; i < 8; i++) to[i] = from_bits(i % 2 ? from.words[i / 2] & 0xffff0000u : from.words[i / 2] << 16);
}

__device__ inline Vector packed(const float* from, float) {
    Vector to = {{to_bits(from[0]), to_bits(from[1]), to_bits(from[2]), to_bits(from[3])}};
    return to;
}

__device__ inline Vector packed(const float* from, bf16) {
    Vector to = {{pack(from[0], from[1]), pack(from[2], from[3]), pack(from[4], from[5]), pack(from[6], from[7])}};
    return to;
}

// Loads COUNT consecutive numbers: 16 bytes at once, from a multiple of 16 bytes, if COUNT has that many.
template <u32 COUNT, class Number>
__device__ inline void load(float (&to)[COUNT], const Number* from) {
    const u32 EACH = 16 / sizeof(Number);
#pragma unroll
    for (u32 i = 0; i < COUNT; i += COUNT < EACH ? 1 : EACH) {
        if (COUNT < EACH) to[i] = wide(from[i]);
        else unpack(to + i, load_vector(from + i), Number());
    }
}

template <u32 COUNT, class Number>
__device__ inline void store(Number* to, const float (&from)[COUNT]) {
    const u32 EACH = 16 / sizeof(Number);
#pragma unroll
    for (u32 i = 0; i < COUNT; i += COUNT < EACH ? 1 : EACH) {
        if (COUNT < EACH) put(to + i, from[i]);
        else store_vector(to + i, packed(from + i, Number()));
    }
}

__device__ inline float warp_sum(float value) {
    for (u32 mask = WARP / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
    return value;
}

__device__ inline float warp_max(float value) {
    for (u32 mask = WARP / 2; mask > 0; mask /= 2) value = fmaxf(value, shuffle_xor(value, mask));
    return value;
}

// Returns the sum over a thread block of THREADS to every thread.
__device__ inline float block_sum(float value) {
    SHARED(float, sums, THREADS / WARP);
    value = warp_sum(value);
    barrier();
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = value;
    barrier();
    value = 0.0f;
    for (u32 warp = 0; warp < THREADS / WARP; warp++) value += sums[warp];
    return value;
}

__device__ inline float block_max(float value) {
    SHARED(float, maxima, THREADS / WARP);
    value = warp_max(value);
    barrier();
    if (threadIdx.x % WARP == 0) maxima[threadIdx.x / WARP] = value;
    barrier();
    value = maxima[0];
    for (u32 warp = 1; warp < THREADS / WARP; warp++) value = fmaxf(value, maxima[warp]);
    return value;
}

// Adds the values of all warps of a thread block of THREADS lane by lane, from the first warp to the last; the first
// warp gets the sums.
template <u32 COUNT>
__device__ inline void sum_warps(float (&values)[COUNT]) {
    SHARED(float, all, COUNT * THREADS);
    barrier();
    for (u32 i = 0; i < COUNT; i++) all[i * THREADS + threadIdx.x] = values[i];
    barrier();
    if (threadIdx.x >= WARP) return;
    for (u32 i = 0; i < COUNT; i++) {
        for (u32 other = WARP; other < THREADS; other += WARP) values[i] += all[i * THREADS + other + threadIdx.x];
    }
}

__device__ inline u64 thread_index() {
    return (u64)blockIdx.x * blockDim.x + threadIdx.x;
}

// Calls work.at<COUNT>(index) for every COUNT-th of `len` indices if COUNT numbers always lie `together`, and otherwise
// work.at<1>(index) for every index.
template <u32 COUNT, class Work>
__device__ inline void each(const Work& work, bool together, u64 len) {
    u64 threads = (u64)gridDim.x * blockDim.x;
    if (together) {
        for (u64 index = thread_index() * COUNT; index < len; index += threads * COUNT) work.template at<COUNT>(index);
    } else {
        for (u64 index = thread_index(); index < len; index += threads) work.template at<1>(index);
    }
}
