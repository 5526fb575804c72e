/* What a decoder in C gives, for comparison with Python: raw values on standard output.
 *
 *     conformance noise SEED COUNT DIM START
 *     conformance items MODEL FIRST COUNT        item 0 of the seeds FIRST, FIRST + 1, ...
 *     conformance stream MODEL SEED START COUNT  items of one seed, in one call where there is one
 *
 * Built against the decoder of the target c, with -DITEM=uint8_t for one that gives pixels, or with -DSTANDALONE against that of
 * c-standalone.
 */
#include "vae_decoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef ITEM
#define ITEM float
#endif

static void put(const void *values, size_t count, size_t bytes) {
    if (fwrite(values, bytes, count, stdout) != count) exit(2);
}

#ifdef STANDALONE
static void *open_model(const char *path) { return (void *)path; }
static void sample(void *model, uint64_t seed, uint64_t first, size_t count, ITEM *x) {
    (void)model;
    for (size_t i = 0; i < count; i++) vae_sample(seed, first + i, x + i * VAE_VALUES);
}
static void close_model(void *model) { (void)model; }
#else
static void *open_model(const char *path) {
    vae_error error;
    vae_decoder *decoder = vae_open(path, 1, &error);
    if (!decoder) fprintf(stderr, "%s\n", error.text), exit(1);
    return decoder;
}
static void sample(void *model, uint64_t seed, uint64_t first, size_t count, ITEM *x) {
    vae_error error;
    if (!vae_sample(model, seed, first, count, x, &error)) fprintf(stderr, "%s\n", error.text), exit(1);
}
static void close_model(void *model) { vae_close(model); }
#endif

int main(int argc, char **argv) {
    if (argc == 6 && !strcmp(argv[1], "noise")) {
        const uint64_t seed = strtoull(argv[2], NULL, 10), count = strtoull(argv[3], NULL, 10), start = strtoull(argv[5], NULL, 10);
        const size_t dim = strtoull(argv[4], NULL, 10);
        float *eps = malloc(dim * sizeof *eps);
        for (uint64_t i = 0; i < count; i++) vae_noise(seed, start + i, dim, eps), put(eps, dim, sizeof *eps);
        free(eps);
        return 0;
    }
    const int stream = argc == 6 && !strcmp(argv[1], "stream");
    if (!stream && !(argc == 5 && !strcmp(argv[1], "items"))) return 2;
    void *model = open_model(argv[2]);
    const uint64_t first = strtoull(argv[3], NULL, 10);
    const size_t count = strtoull(argv[argc - 1], NULL, 10);
    ITEM *x = malloc(count * VAE_VALUES * sizeof *x);
    if (stream)
        sample(model, first, strtoull(argv[4], NULL, 10), count, x);
    else
        for (size_t i = 0; i < count; i++) sample(model, first + i, 0, 1, x + i * VAE_VALUES);
    put(x, count * VAE_VALUES, sizeof *x);
    free(x);
    close_model(model);
    return 0;
}
