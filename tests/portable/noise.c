/* Portable noise, version 1, in C11, written from exports/NOISE.md alone.
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
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD != 0
#error "every double operation must be rounded to double: no -ffast-math, no x87"
#endif

static const uint64_t GOLDEN = UINT64_C(0x9E3779B97F4A7C15);

static uint64_t mix(uint64_t x) {
    x ^= x >> 30;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    x ^= x >> 27;
    x *= UINT64_C(0x94D049BB133111EB);
    x ^= x >> 31;
    return x;
}

static double horner(const double *c, int terms, double y) {
    double total = c[terms - 1];
    for (int k = terms - 2; k >= 0; k--) total = c[k] + y * total;
    return total;
}

static double natural_log(double u) {
    double c[11];
    for (int k = 0; k < 11; k++) c[k] = 1.0 / (double)(2 * k + 1);

    double m = u, e = 0.0;
    while (m < 0.7071067811865476) {
        m = 2.0 * m;
        e = e - 1.0;
    }
    const double t = (m - 1.0) / (m + 1.0);
    return e * 0.6931471805599453 + (2.0 * t) * horner(c, 11, t * t);
}

static void box_muller(uint64_t a, uint64_t b, double pair[2]) {
    const double u1 = (double)((a >> 11) + 1) * 0x1p-53;
    const double u2 = (double)(b >> 11) * 0x1p-53;
    const double radius = sqrt(-2.0 * natural_log(u1));

    double cos_c[9], sin_c[9], factorial = 1.0; /* factorial is exact up to 18! */
    for (int k = 0; k < 9; k++) {
        const double sign = k % 2 ? -1.0 : 1.0;
        cos_c[k] = sign / factorial;
        factorial *= 2 * k + 1;
        sin_c[k] = sign / factorial;
        factorial *= 2 * k + 2;
    }

    int q = 0; /* nearest quarter turn */
    while (q < 4 && 4.0 * u2 + 0.5 >= q + 1) q++;
    const double x = 6.283185307179586 * (u2 - 0.25 * q);
    const double y = x * x;
    const double cos_x = horner(cos_c, 9, y);
    const double sin_x = x * horner(sin_c, 9, y);
    double c, s;
    switch (q % 4) {
        case 0: c = cos_x, s = sin_x; break;
        case 1: c = -sin_x, s = cos_x; break;
        case 2: c = -cos_x, s = -sin_x; break;
        default: c = sin_x, s = -cos_x; break;
    }
    pair[0] = radius * c;
    pair[1] = radius * s;
}

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
