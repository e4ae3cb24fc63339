// The kernels as a shared library: `emulate` runs one by its name. Compiled with the options of the kernels and with
// -DKERNELS=file, where the file is all .cu files in order, and -DNAMES=file, a line `KERNEL(name)` for each.
#include "emulator.h"

#include <tuple>
#include <utility>

namespace emulator {

thread_local Block block;
thread_local Dimensions thread_index, block_index, block_size, grid_size;
thread_local u32 order = 0;

static void start() {
    block.body(block.argument);
    Fiber& fiber = block.fibers[block.current];
    if (!fiber.copies.empty()) {
        fprintf(stderr, "emulator: copies that nobody waits for\n");
        abort();
    }
    fiber.done = true;
    block.events++;
    _longjmp(block.scheduler, 1);
}

static void resume(u32 index) {
    Fiber& fiber = block.fibers[index];
    block.current = index;
    thread_index = {index, 0, 0};
    if (_setjmp(block.scheduler) != 0) return;
    if (fiber.begun) _longjmp(fiber.place, 1);
    fiber.begun = true;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = block.stacks.data() + index * STACK;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, start, 0);
    setcontext(&context);
}

void meet(Meeting& meeting, u32 expected) {
    u64 round = meeting.round;
    block.events++;
    if (++meeting.come == expected) {
        meeting.come = 0;
        meeting.round++;
        return;
    }
    u32 own = block.current;
    while (meeting.round == round) {
        if (_setjmp(block.fibers[own].place) == 0) _longjmp(block.scheduler, 1);
    }
    thread_index = {own, 0, 0};
}

// Puts turns in the order that was asked for; of random ones the next.
static void arrange(std::vector<u32>& turns, u32& seed) {
    u32 count = turns.size();
    for (u32 i = 0; i < count; i++) turns[i] = order == 1 ? count - 1 - i : i;
    for (u32 i = count - 1; order > 1 && i > 0; i--) {
        seed = seed * 1664525 + 1013904223 + order;
        std::swap(turns[i], turns[(seed >> 8) % (i + 1)]);
    }
}

// Until all its threads are done or wait for other warps: no warp keeps step with another without a barrier.
static void run_warp(u32 warp, u32& seed) {
    std::vector<u32> lanes(LANES);
    u64 before;
    do {
        before = block.events;
        arrange(lanes, seed);
        for (u32 lane : lanes) {
            if (!block.fibers[warp * LANES + lane].done) resume(warp * LANES + lane);
        }
    } while (before != block.events);
}

static void run_block() {
    u32 left = block.threads, seed = block_index.x * 7919 + 12345;
    for (Fiber& fiber : block.fibers) fiber.begun = fiber.done = false;
    std::vector<u32> warps(block.threads / LANES);
    while (left > 0) {
        u64 before = block.events;
        arrange(warps, seed);
        for (u32 warp : warps) run_warp(warp, seed);
        left = 0;
        for (const Fiber& fiber : block.fibers) left += !fiber.done;
        if (left > 0 && before == block.events) {
            fprintf(stderr, "emulator: %u of %u threads wait for those that are done\n", left, block.threads);
            abort();
        }
    }
    for (const Meeting& meeting : block.warps) {
        if (meeting.come != 0) abort();
    }
}

void run(Dimensions grid, u32 threads, u32 shared, void (*body)(void*), void* argument) {
    if (threads == 0 || threads % LANES != 0 || threads > 1024) {
        fprintf(stderr, "emulator: a block of %u threads\n", threads);
        abort();
    }
    block.threads = threads;
    block.body = body;
    block.argument = argument;
    block.fibers = std::vector<Fiber>(threads);
    block.stacks.resize(threads * STACK);
    block.shared.assign(shared + 128, 0xff);
    grid_size = grid;
    block_size = {threads, 1, 1};
    for (u32 z = 0; z < grid.z; z++) {
        for (u32 y = 0; y < grid.y; y++) {
            for (u32 x = 0; x < grid.x; x++) {
                block.warps.assign(threads / LANES, Meeting());
                block.offers[0].assign(threads, 0);
                block.offers[1].assign(threads, 0);
                block.all = Meeting();
                // Whatever the block before left there is as good as random: all bits set are not a number.
                memset(block.shared.data(), 0xff, block.shared.size());
                block_index = {x, y, z};
                run_block();
            }
        }
    }
}

}  // namespace emulator

#include "common.cuh"
#include KERNELS

namespace {

template <class... Arguments>
struct Call {
    void (*kernel)(Arguments...);
    void** arguments;

    template <size_t... I>
    void go(std::index_sequence<I...>) {
        kernel(*(Arguments*)arguments[I]...);
    }

    static void body(void* self) {
        ((Call*)self)->go(std::index_sequence_for<Arguments...>());
    }
};

template <class... Arguments>
bool call(void (*kernel)(Arguments...), Dimensions grid, u32 threads, u32 shared, void** arguments, u32 count) {
    if (count != sizeof...(Arguments)) return false;
    Call<Arguments...> it = {kernel, arguments};
    emulator::run(grid, threads, shared, Call<Arguments...>::body, &it);
    return true;
}

}  // namespace

// 0: done; 1: no such kernel; 2: another number of arguments.
extern "C" int emulate(
    const char* name, u32 x, u32 y, u32 z, u32 threads, u32 shared, void** arguments, u32 count, u32 order
) {
    emulator::order = order;
    Dimensions grid = {x, y, z};
#define KERNEL(kernel) \
    if (strcmp(name, #kernel) == 0) return call(kernel, grid, threads, shared, arguments, count) ? 0 : 2;
#include NAMES
    return 1;
}

static float number(const void* from, u64 index, u32 is_float) {
    return is_float ? ((const float*)from)[index] : wide(((const real*)from)[index]);
}

// What cuBLAS does, by loops: c[m, n] (+)= Σ a[i, k] b[k, j], each given by the strides of its two sides.
extern "C" void emulate_product(
    const void* a, u64 a_row, u64 a_inner, const void* b, u64 b_inner, u64 b_column, void* c, u64 c_row, u32 m, u32 n,
    u32 k, u32 adds
) {
    for (u32 i = 0; i < m; i++) {
        for (u32 j = 0; j < n; j++) {
            float sum = 0.0f;
            for (u32 l = 0; l < k; l++) sum += number(a, i * a_row + l * a_inner, 0) * number(b, l * b_inner + j * b_column, 0);
            u64 at = i * c_row + j;
            if (adds) ((float*)c)[at] += sum;
            else put((real*)c + at, sum);
        }
    }
}
