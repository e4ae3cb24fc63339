// The kernels' side of a GPU on a CPU: the threads of a block are fibers of one thread, which take turns at barriers and
// exchanges between lanes. Blocks run one after the other. What device.cuh takes from the hardware is here by loops.
#pragma once
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <vector>

typedef unsigned int u32;
typedef unsigned long long u64;

struct bf16 {
    unsigned short bits;
};

struct alignas(16) Vector {
    u32 words[4];
};

struct Dimensions {
    u32 x, y, z;
};

namespace emulator {

const u32 LANES = 32;
// No power of two: the tops of all stacks would fall into the same few lines of the cache.
const size_t STACK = (1 << 16) + 1216;

// One rendezvous: those who wait go on when all have come.
struct Meeting {
    u32 come = 0;
    u64 round = 0;
};

// Bytes on their way to shared memory, from nowhere if they are zeros.
struct Copy {
    void* to;
    const void* from;
    size_t bytes;
};

struct Fiber {
    jmp_buf place;
    bool begun = false, done = false;
    std::vector<Copy> copies;
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<unsigned char> stacks, shared;
    std::vector<Meeting> warps;
    // What each lane offers, in two rounds: nobody is two rounds ahead.
    std::vector<u64> offers[2];
    Meeting all;
    u32 current = 0, threads = 0;
    // Counts changes, to tell a standstill.
    u64 events = 0;
    jmp_buf scheduler;
    void (*body)(void*) = nullptr;
    void* argument = nullptr;
};

extern thread_local Block block;
extern thread_local Dimensions thread_index, block_index, block_size, grid_size;
// 0: first thread first, 1: last first, others: pseudorandom.
extern thread_local u32 order;

void meet(Meeting& meeting, u32 expected);
void run(Dimensions grid, u32 threads, u32 shared, void (*body)(void*), void* argument);

// Everyone in the warp offers a value; gives that of `lane`.
inline u64* exchange(u64 value) {
    u32 warp = block.current / LANES;
    Meeting& meeting = block.warps[warp];
    u64* offers = block.offers[meeting.round % 2].data() + warp * LANES;
    offers[block.current % LANES] = value;
    meet(meeting, LANES);
    return offers;
}

}  // namespace emulator

#define threadIdx emulator::thread_index
#define blockIdx emulator::block_index
#define blockDim emulator::block_size
#define gridDim emulator::grid_size
#define __global__
#define __device__
#define __launch_bounds__(...)
#define SHARED(type, name, count) static thread_local type name[count]

inline unsigned char* shared_bytes() {
    return (unsigned char*)(((uintptr_t)emulator::block.shared.data() + 127) / 128 * 128);
}

inline void barrier() {
    emulator::meet(emulator::block.all, emulator::block.threads);
}

inline float from_bits(u32 bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

inline u32 to_bits(float value) {
    u32 bits;
    memcpy(&bits, &value, 4);
    return bits;
}

inline Vector load_vector(const void* from) {
    if ((uintptr_t)from % 16 != 0) abort();
    return *(const Vector*)from;
}

inline void store_vector(void* to, const Vector& vector) {
    if ((uintptr_t)to % 16 != 0) abort();
    *(Vector*)to = vector;
}

namespace emulator {

// What is to come is not a number until it is waited for.
inline void start_copy(void* to, const void* from, size_t bytes, bool inside) {
    if ((uintptr_t)to % bytes != 0 || inside && (uintptr_t)from % bytes != 0) abort();
    memset(to, 0xff, bytes);
    block.fibers[block.current].copies.push_back({to, inside ? from : nullptr, bytes});
}

}  // namespace emulator

inline void copy_ahead(bf16* to, const bf16* from, bool inside) {
    emulator::start_copy(to, from, 16, inside);
}

inline void copy_ahead(float* to, const float* from, bool inside) {
    emulator::start_copy(to, from, 4, inside);
}

inline void wait_for_copies() {
    std::vector<emulator::Copy>& copies = emulator::block.fibers[emulator::block.current].copies;
    for (const emulator::Copy& copy : copies) {
        if (copy.from) memcpy(copy.to, copy.from, copy.bytes);
        else memset(copy.to, 0, copy.bytes);
    }
    copies.clear();
}

inline float power_of_2(float value) {
    return exp2f(value);
}

inline float shuffle(float value, u32 lane) {
    return from_bits((u32)emulator::exchange(to_bits(value))[lane % emulator::LANES]);
}

inline float shuffle_xor(float value, u32 mask) {
    return shuffle(value, emulator::block.current % emulator::LANES ^ mask);
}

inline u32 round_to_bf16(float value) {
    u32 bits = to_bits(value);
    if (value != value) return 0x7fff;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

inline u32 pack(float low, float high) {
    return round_to_bf16(low) | round_to_bf16(high) << 16;
}

inline float half_of(u32 packed, u32 half) {
    return from_bits(half ? packed & 0xffff0000u : packed << 16);
}

// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type": lane l holds of a the rows l / 4 and l / 4 + 8,
// columns l % 4 · 2 and, in the upper two registers, 8 more; of b the rows l % 4 · 2 and 8 more, column l / 4.
inline void mma(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    u32 lane = emulator::block.current % emulator::LANES;
    u64 as[2][emulator::LANES], bs[emulator::LANES];
    for (u32 pair = 0; pair < 2; pair++) {
        memcpy(as[pair], emulator::exchange(a[2 * pair] | (u64)a[2 * pair + 1] << 32), sizeof as[pair]);
    }
    memcpy(bs, emulator::exchange(b0 | (u64)b1 << 32), sizeof bs);
    for (u32 i = 0; i < 4; i++) {
        u32 row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (u32 k = 0; k < 16; k++) {
            u32 from = k % 8 / 2;
            u32 left = (u32)(as[k / 8][row % 8 * 4 + from] >> (row / 8 * 32));
            u32 right = (u32)(bs[column * 4 + from] >> (k / 8 * 32));
            c[i] += half_of(left, k % 2) * half_of(right, k % 2);
        }
    }
}

inline void load_matrices(u32 (&to)[4], const bf16* row) {
    u32 lane = emulator::block.current % emulator::LANES;
    if ((uintptr_t)row % 16 != 0) abort();
    u64* rows = emulator::exchange((u64)(uintptr_t)row);
    for (u32 i = 0; i < 4; i++) memcpy(&to[i], (const bf16*)rows[8 * i + lane / 4] + lane % 4 * 2, 4);
}

inline void load_transposed(u32 (&to)[4], const bf16* row) {
    u32 lane = emulator::block.current % emulator::LANES;
    if ((uintptr_t)row % 16 != 0) abort();
    u64* rows = emulator::exchange((u64)(uintptr_t)row);
    for (u32 i = 0; i < 4; i++) {
        u32 low = ((const bf16*)rows[8 * i + lane % 4 * 2])[lane / 4].bits;
        u32 high = ((const bf16*)rows[8 * i + lane % 4 * 2 + 1])[lane / 4].bits;
        to[i] = low | high << 16;
    }
}
