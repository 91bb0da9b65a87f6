/* A sweep over all samples, or a mini-batch of them, for linear models: the loss and its gradient in one pass over the
   features.

   Rows are taken a panel at a time: their outputs, the losses and derivatives there, and the panel's share of the
   gradient follow one another while the panel is in the nearest cache, so that a table is read from memory once. What
   is summed over more than a panel is summed in double precision.

   Threads share the blocks of rows out as they go. Each block writes to a place of its own, and these are summed in
   their order: results depend neither on the number of threads nor on who took which block.

   panels.h has the arithmetic, with gathered.h, for any type of numbers and size of vectors; it is compiled here for
   each set of instructions that a processor may have. `best_instructions` tells which to take. With it come moments.h
   and trajectory.h, which are for the exact engine. */

#include <stdint.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 16") /* or what is in arrays of vectors would not stay in registers */

enum {
    PANEL_ROWS = 128,       /* at most, and always of packed features */
    GROUP_ROWS = 16,        /* a panel is filled up to a multiple: as many as the longest vectors have numbers */
    GATHERED_BYTES = 16384, /* of features, half of a small first cache; but a group at least */
    LINE_BYTES = 64,
    AHEAD_BYTES = 32768, /* fetched so long before it is multiplied, or memory would be waited for, half of the time */
    PRODUCTS = 11, /* vectors of products in registers: beside two of factors, in as few as AVX2 has */
    SPAN = 16,     /* steps of a descent that are evaluated together: as many as the longest vectors have numbers */
    MOST_MODES = 64, /* of a descent, as trajectory.py knows */
};

/* The binding, sweep.py, fills it in and says what is in it. */
struct table {
    const void *features, *targets, *weights, *order, *parameters;
    void *gradient, *mean_loss, *space;
    double *partials;
    int64_t width, stride, space_width, n_samples, n_columns, n_outputs, rows_per_block, is_packed, is_wide, loss;
    int64_t first, n, next;
};

/* What moments are summed from; moments.py fills it in. */
struct products {
    const void *features, *targets, *shift, *target_shift, *plane;
    const double *weights;
    double *sums;
    int64_t n_samples, n_columns, n_targets, width, rows_per_block, is_float32;
};

/* A descent whose modes are known; trajectory.py fills it in. */
struct trajectory {
    const double *coarse, *fine, *modes, *start, *factors;
    double *measures;
    void *vectors;
    double lowest, half_l2, largest;
    int64_t n_outputs, n_rows, n_modes, n_terms, n_coarse, n_fine;
};

enum loss { MSE, HALF_MSE, MAE, HUBER, BINARY_CROSS_ENTROPY, CROSS_ENTROPY };

static inline int64_t n_targets_of(const struct table *table) {
    return table->loss == CROSS_ENTROPY ? 1 : table->n_outputs;
}

/* Gives the row that is at a place of the order. */
static inline int64_t row_at(const struct table *table, int64_t place) {
    if (!table->order) return place;
    return table->is_wide ? ((const int64_t *)table->order)[place] : ((const int32_t *)table->order)[place];
}

/* Adds up what the blocks have written, over the first one's. */
static void add_up(const struct table *table) {
    const double *its = table->partials;
    for (int64_t row = table->rows_per_block; row < table->n; row += table->rows_per_block) {
        its += table->width;
        for (int64_t i = 0; i < table->width; i++) table->partials[i] += its[i];
    }
}

/* Writes the mean loss of the samples, and its gradient, unless they are NULL. */
#define DEFINE_FINISH(type, number)                                                                      \
    EXPORTED void finish_##type(const struct table *table) {                                             \
        const double share = 1.0 / ((double)table->n * (table->loss <= HUBER ? table->n_outputs : 1));   \
        number *gradient = table->gradient;                                                              \
        add_up(table);                                                                                   \
        if (table->mean_loss) *(number *)table->mean_loss = table->partials[table->width - 1] * share;   \
        if (!gradient) return;                                                                           \
        for (int64_t o = 0; o < table->n_outputs; o++)                                                   \
            for (int64_t j = 0; j <= table->n_columns; j++)                                              \
                *gradient++ = (number)(table->partials[o * table->stride + j] * share);                  \
    }
DEFINE_FINISH(float32, float)
DEFINE_FINISH(float64, double)

#define JOINED_(name, type, instructions) name##_##type##_##instructions
#define JOINED(name, type, instructions) JOINED_(name, type, instructions)
#define NAMED(name) JOINED(name, TYPE, INSTRUCTIONS)
#define VECTOR NAMED(vector)
#define UNALIGNED NAMED(unaligned)
#define MASK NAMED(mask)
#define WIDE NAMED(wide)
#define WIDE_UNALIGNED NAMED(wide_unaligned)
#define SINGLE_UNALIGNED NAMED(single_unaligned)
#define SPACE NAMED(space)
#define FINISH_(type) finish_##type
#define FINISH(type) FINISH_(type)

#ifdef __x86_64__
#define INSTRUCTIONS avx512
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")))
#define VECTOR_BYTES 64
#define SUMS 16 /* that are kept in registers */
#include "panels.h"

#define INSTRUCTIONS avx2
#define TARGET __attribute__((target("avx2,fma")))
#define VECTOR_BYTES 32
#define SUMS 8
#include "panels.h"
#endif

#define INSTRUCTIONS base
#define TARGET
#define VECTOR_BYTES 16
#define SUMS 8
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
