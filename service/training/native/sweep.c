/* A sweep over all samples, for models of one output: the loss and its gradient in one pass over the features.

   Rows are taken a panel at a time: their outputs, the losses and derivatives there, and the panel's share of the
   gradient follow one another while the panel is in the nearest cache, so that a table is read from memory once. What
   is summed over more than a panel is summed in double precision.

   Threads share the blocks of rows out as they go. Each block writes to a place of its own, and these are summed in
   their order: results depend neither on the number of threads nor on who took which block.

   panels.h has the arithmetic, for any type of numbers and size of vectors; it is compiled here for each set of
   instructions that a processor may have. `best_instructions` tells which to take. */

#include <stdint.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

enum {
    PANEL_ROWS = 128,    /* at most, and always of packed features */
    GROUP_ROWS = 16,     /* whose outputs are computed together: as many as the longest vectors have numbers */
    PANEL_BYTES = 16384, /* of features, half of a small first cache; but a group at least */
    LINE_BYTES = 64,
    AHEAD_BYTES = 32768, /* fetched so long before it is multiplied, or memory would be waited for, half of the time */
    TILE = 8,            /* vectors of the gradient that are kept in registers */
    PRODUCTS = 11,       /* vectors of products that are: beside two of factors, in as few as AVX2 has */
};

/* The binding, sweep.py, fills it in and says what is in it. */
struct table {
    const void *features, *targets, *weights;
    double *partials;
    int64_t width, n_samples, n_columns, rows_per_block, is_packed, has_bias, loss;
};

/* What moments are summed from; moments.py fills it in. */
struct products {
    const void *features, *targets, *shift, *target_shift, *plane;
    const double *weights;
    double *sums;
    int64_t n_samples, n_columns, n_targets, width, rows_per_block, is_float32;
};

enum loss { MSE, HALF_MSE, MAE, HUBER, BINARY_CROSS_ENTROPY };

#define JOINED_(name, type, instructions) name##_##type##_##instructions
#define JOINED(name, type, instructions) JOINED_(name, type, instructions)
#define NAMED(name) JOINED(name, TYPE, INSTRUCTIONS)
#define VECTOR NAMED(vector)
#define UNALIGNED NAMED(unaligned)
#define MASK NAMED(mask)
#define WIDE NAMED(wide)
#define WIDE_UNALIGNED NAMED(wide_unaligned)
#define SINGLE_UNALIGNED NAMED(single_unaligned)
#define PANEL NAMED(panel)
#define SHAPE NAMED(shape)

#ifdef __x86_64__
#define INSTRUCTIONS avx512
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")))
#define VECTOR_BYTES 64
#include "panels.h"

#define INSTRUCTIONS avx2
#define TARGET __attribute__((target("avx2,fma")))
#define VECTOR_BYTES 32
#include "panels.h"
#endif

#define INSTRUCTIONS base
#define TARGET
#define VECTOR_BYTES 16
#include "panels.h"

/* Names the best of these that the processor, and the system, can run. */
EXPORTED const char *best_instructions(void) {
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
                   ? "avx512"
                   : "avx2";
#endif
    return "base";
}

/* Tells what it was compiled from, so that a library of older sources is not taken. */
EXPORTED const char *compiled_from(void) { return SOURCES; }

/* Adds up what the blocks have written, over the first one's. */
static void add_up(const struct table *table) {
    const double *its = table->partials;
    for (int64_t row = table->rows_per_block; row < table->n_samples; row += table->rows_per_block) {
        its += table->width;
        for (int64_t i = 0; i < table->width; i++) table->partials[i] += its[i];
    }
}

/* Writes the mean loss of all samples and, unless that is NULL, its gradient. */
#define DEFINE_FINISH(type, number)                                                                             \
    EXPORTED void finish_##type(const struct table *table, number *gradient, number *loss) {                    \
        const double share = 1.0 / (double)table->n_samples;                                                    \
        add_up(table);                                                                                          \
        *loss = (number)(table->partials[table->width - 1] * share);                                            \
        if (!gradient) return;                                                                                  \
        for (int64_t i = 0; i < table->n_columns; i++) gradient[i] = (number)(table->partials[i] * share);      \
        if (table->has_bias) gradient[table->n_columns] = (number)(table->partials[table->width - 2] * share);  \
    }
DEFINE_FINISH(float32, float)
DEFINE_FINISH(float64, double)
