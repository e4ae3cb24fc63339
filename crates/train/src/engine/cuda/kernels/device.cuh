// The hardware functions that the kernels use. tools/gpu/emulator/emulator.h defines the same names for a CPU. The
// kernels are compiled with -DREAL=bf16|float and -DHEAD_WIDTH=n for sm_80 and later; they need no header.

typedef unsigned int u32;
typedef unsigned long long u64;

// The upper half of an f32. The type is defined here because NVRTC ships no headers.
struct bf16 {
    unsigned short bits;
};

// 16 bytes that are moved at once.
struct __align__(16) Vector {
    u32 words[4];
};

#define SHARED(type, name, count) __shared__ type name[count]

extern __shared__ __align__(16) unsigned char dynamic_shared[];

__device__ inline unsigned char* shared_bytes() {
    return dynamic_shared;
}

__device__ inline void barrier() {
    __syncthreads();
}

__device__ inline float shuffle_xor(float value, u32 mask) {
    return __shfl_xor_sync(0xffffffffu, value, mask);
}

__device__ inline float shuffle(float value, u32 lane) {
    return __shfl_sync(0xffffffffu, value, lane);
}

__device__ inline float from_bits(u32 bits) {
    return __uint_as_float(bits);
}

__device__ inline u32 to_bits(float value) {
    return __float_as_uint(value);
}

// The addresses of vectors are multiples of 16 bytes.
__device__ inline Vector load_vector(const void* from) {
    return *(const Vector*)from;
}

__device__ inline void store_vector(void* to, const Vector& vector) {
    *(Vector*)to = vector;
}

// Starts to copy 16 bytes to shared memory, or zeros if the bytes are not `inside`.
__device__ inline void copy_ahead(bf16* to, const bf16* from, bool inside) {
    u32 address = (u32)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(address), "l"(from), "r"(inside ? 16 : 0)
                 : "memory");
}

// Starts to copy one number to shared memory, or zero if the number is not `inside`.
__device__ inline void copy_ahead(float* to, const float* from, bool inside) {
    u32 address = (u32)__cvta_generic_to_shared(to);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
                 :
                 : "r"(address), "l"(from), "r"(inside ? 4 : 0)
                 : "memory");
}

// Waits until the copies that this thread started have arrived; other threads may read them after a barrier.
__device__ inline void wait_for_copies() {
    asm volatile("cp.async.wait_all;" : : : "memory");
}

// Returns 2 to the power of `value`, accurate to 2 units in the last place, or 0 below the smallest normal number.
__device__ inline float power_of_2(float value) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(value));
    return power;
}

// Packs two numbers rounded to bf16, the first in the lower half.
__device__ inline u32 pack(float low, float high) {
    u32 packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

// c [16, 8] += a [16, 16] · b [16, 8], each spread over the warp as the PTX manual says.
__device__ inline void mma(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
                 "{%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Loads four [8, 8] matrices from shared memory; lanes 8i to 8i + 7 give the rows of matrix i.
__device__ inline void load_matrices(u32 (&to)[4], const bf16* row) {
    u32 address = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
}

// Loads four matrices like `load_matrices`, each transposed.
__device__ inline void load_transposed(u32 (&to)[4], const bf16* row) {
    u32 address = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
}
