// The limit of a mixer: a plain copy of random windows of 16-bit ids out of a warm memory map, as 32-bit
// (or 64-bit) ids, into a batch of 64 rows that stays in the cache. Nothing is planned, checked or drawn.
//
//   cc -O3 -march=native benches/mix/limit.c -o limit && ./limit TOKENS.bin T u32|i64 SECONDS
//
// Prints tokens (T a row) a second, the best of fetching 0, 4, 8 and 16 windows ahead.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { ROWS = 64, AHEAD = 16 };

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static uint64_t next(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void widen32(uint32_t *restrict out, const uint16_t *restrict ids, size_t len) {
    for (size_t i = 0; i < len; i++) out[i] = ids[i];
}

static void widen64(int64_t *restrict out, const uint16_t *restrict ids, size_t len) {
    for (size_t i = 0; i < len; i++) out[i] = ids[i];
}

static double gather(const uint16_t *ids, size_t windows, size_t t, int wide, size_t ahead, double limit) {
    size_t row = t + 1;
    char *out = aligned_alloc(64, (ROWS * row * 8 + 63) / 64 * 64);
    memset(out, 0, ROWS * row * 8);
    uint64_t state = 77, drawn[ROWS + AHEAD];
    for (int i = 0; i < ROWS + AHEAD; i++) drawn[i] = next(&state) % windows;
    double start = seconds(), now;
    uint64_t rows = 0;
    do {
        for (int batch = 0; batch < 8; batch++) {
            for (size_t i = 0; i < ROWS; i++) {
                if (ahead) {
                    const char *later = (const char *)(ids + drawn[i + ahead] * t);
                    for (size_t byte = 0; byte < row * 2; byte += 64) __builtin_prefetch(later + byte);
                }
                const uint16_t *window = ids + drawn[i] * t;
                if (wide) widen64((int64_t *)out + i * row, window, row);
                else widen32((uint32_t *)out + i * row, window, row);
            }
            __asm__ volatile("" : : "r"(out) : "memory");
            memmove(drawn, drawn + ROWS, AHEAD * sizeof drawn[0]);
            for (int i = AHEAD; i < ROWS + AHEAD; i++) drawn[i] = next(&state) % windows;
            rows += ROWS;
        }
        now = seconds();
    } while (now - start < limit);
    free(out);
    return (double)(rows * t) / (now - start);
}

int main(int count, char **argument) {
    if (count != 5) return fprintf(stderr, "usage: limit TOKENS.bin T u32|i64 SECONDS\n"), 2;
    int file = open(argument[1], O_RDONLY);
    struct stat status;
    if (file < 0 || fstat(file, &status)) return perror(argument[1]), 1;
    size_t len = (size_t)status.st_size, t = strtoul(argument[2], 0, 10);
    uint16_t *ids = mmap(0, len, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
    if (ids == MAP_FAILED || t == 0 || len / 2 <= t + 1) return perror("map"), 1;
    int wide = strcmp(argument[3], "i64") == 0;
    double best = 0;
    for (size_t ahead = 0; ahead <= AHEAD; ahead = ahead ? ahead * 2 : 4) {
        double rate = gather(ids, (len / 2 - 1) / t, t, wide, ahead, strtod(argument[4], 0) / 4);
        if (rate > best) best = rate;
    }
    printf("%.0f\n", best);
    return 0;
}
