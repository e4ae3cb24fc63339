// Numbers of either width, and sums in a fixed order.

typedef REAL real;

#define WARP 32
#define THREADS 256
// Numbers of a head that a lane has where a warp shares it: i, i + 32, ..
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

__device__ inline float warp_sum(float value) {
    for (u32 mask = WARP / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
    return value;
}

__device__ inline float warp_max(float value) {
    for (u32 mask = WARP / 2; mask > 0; mask /= 2) value = fmaxf(value, shuffle_xor(value, mask));
    return value;
}

// The sum over a block of THREADS; every thread gets it.
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

// Adds up what the warps of a block of THREADS have in each lane, first to last; the first warp gets it.
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
