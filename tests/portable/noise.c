/* The noise that `vaekit embed c` and `c-standalone` ship, on the command line; portable_noise.c is that very code.
 *
 *   gcc -std=c11 -O2 -ffp-contract=off -o noise noise.c -lm
 *   ./noise [--double] SEED COUNT DIM START [SEED COUNT DIM START ...] > rows.f32
 *
 * writes raw little-endian float32, row after row; with --double the doubles from which they are rounded.
 *
 * -ffp-contract=off matters: a fused multiply-add rounds once where the page rounds twice. Never -ffast-math.
 */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "portable_noise.c"

static int as_double = 0;

static void put(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (!as_double) {
        const float rounded = (float)value;
        uint32_t bits32;
        memcpy(&bits32, &rounded, sizeof bits32);
        bits = bits32;
    }
    for (int shift = 0; shift < (as_double ? 64 : 32); shift += 8) putchar((int)(bits >> shift & 0xFF));
}

static uint64_t argument(const char *text) {
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-') {
        fprintf(stderr, "noise: '%s' is not an integer in 0 .. 2^64 - 1\n", text);
        exit(2);
    }
    return value;
}

static void put_noise(uint64_t seed, uint64_t count, uint64_t dim, uint64_t start) {
    const uint64_t stream_key = mix(seed + GOLDEN);
    for (uint64_t row = 0; row < count; row++) {
        const uint64_t item_key = mix(stream_key + GOLDEN * (start + row + 1));
        for (uint64_t d = 0; d < dim; d += 2) {
            double pair[2];
            box_muller(mix(item_key + GOLDEN * (d + 1)), mix(item_key + GOLDEN * (d + 2)), pair);
            put(pair[0]);
            if (d + 1 < dim) put(pair[1]);
        }
    }
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--double") == 0) {
        as_double = 1;
        argc--;
        argv++;
    }
    if (argc < 5 || argc % 4 != 1) {
        fprintf(stderr, "usage: noise [--double] SEED COUNT DIM START [SEED COUNT DIM START ...]\n");
        return 2;
    }
    for (char **arg = argv + 1; arg < argv + argc; arg += 4)
        put_noise(argument(arg[0]), argument(arg[1]), argument(arg[2]), argument(arg[3]));
    return fflush(stdout) == 0 ? 0 : 1;
}
