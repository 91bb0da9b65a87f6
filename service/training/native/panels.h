/* The arithmetic of a sweep: sweep.c includes it for each INSTRUCTIONS, and it includes itself for each NUMBER.

   Features come in one of two forms. As rows of tables that others have, see gathered.h; and packed for models of one
   output, in panels of PANEL_ROWS samples with a column after another, the last panel filled up with noughts: without
   sums across a vector narrow tables take half the time. */

#ifndef NUMBER

#define NUMBER float
#define INTEGER int32_t
#define TYPE float32
#define LANES (VECTOR_BYTES / 4)
#define FRACTION_BITS 23
#define EXPONENT_BIAS 127
#define VANISHING 104 /* exp of minus this, or more, is nought */
#define EXP_SERIES {0.0013814599f, 0.0083687168f, 0.041668388f, 0.166665206f, 0.499999934f}
#define ATANH_SERIES {0.140122191f, 0.139995728f, 0.200108494f, 0.333332066f}
#define LN_2 {0.693359375f, -2.12194440e-4f}
#include "panels.h"

#define NUMBER double
#define INTEGER int64_t
#define TYPE float64
#define LANES (VECTOR_BYTES / 8)
#define FRACTION_BITS 52
#define EXPONENT_BIAS 1023
#define VANISHING 746
#define EXP_SERIES \
    {2.5000041132570032e-8,  2.7630247827432852e-7, 2.7557586429014112e-6, 2.4801493100505612e-5, 0.00019841269506529152, \
     0.0013888888943628529,  0.0083333333334944783, 0.041666666666530165,  0.16666666666666413,   0.50000000000000106}
#define ATANH_SERIES \
    {0.085092302940693068, 0.041700825568645332, 0.060530356207103418, 0.066504877763925373, 0.076932798834033063, \
     0.090908719663251126, 0.11111111984748491,  0.14285714273929001,  0.20000000000078603,  0.33333333333333152}
#define LN_2 {6.93147180369123816490e-01, 1.90821492927058770002e-10}
#include "panels.h"

#undef INSTRUCTIONS
#undef TARGET
#undef VECTOR_BYTES
#undef SUMS

#else

#if LANES == 2
#define EVEN 0, 2
#define ODD 1, 3
#elif LANES == 4
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#elif LANES == 8
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#else
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#endif

typedef NUMBER VECTOR __attribute__((vector_size(VECTOR_BYTES)));
typedef NUMBER UNALIGNED __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(NUMBER)), may_alias));
typedef INTEGER MASK __attribute__((vector_size(VECTOR_BYTES)));
typedef double WIDE __attribute__((vector_size(LANES * 8)));
typedef double WIDE_UNALIGNED __attribute__((vector_size(LANES * 8), aligned(8), may_alias));
typedef float SINGLE_UNALIGNED __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#include "losses.h"

INLINE TARGET void NAMED(add)(double *to, VECTOR values) {
    *(WIDE_UNALIGNED *)to += __builtin_convertvector(values, WIDE);
}

/* Adds neighbours: the pairs of `left`, then those of `right`. */
INLINE TARGET VECTOR NAMED(pairs)(VECTOR left, VECTOR right) {
#ifdef __clang__
    return __builtin_shufflevector(left, right, EVEN) + __builtin_shufflevector(left, right, ODD);
#else
    return __builtin_shuffle(left, right, (MASK){EVEN}) + __builtin_shuffle(left, right, (MASK){ODD});
#endif
}

/* Gives the sum of each of LANES vectors, which it overwrites. */
INLINE TARGET VECTOR NAMED(sums_of)(VECTOR *vectors) {
#define ADD_PAIRS(n) \
    UNROLLED for (int i = 0; i < n; i++) vectors[i] = NAMED(pairs)(vectors[2 * i], vectors[2 * i + 1]);
    ADD_PAIRS(LANES / 2)
    ADD_PAIRS(LANES / 4)
    ADD_PAIRS(LANES / 8)
    ADD_PAIRS(LANES / 16)
#undef ADD_PAIRS
    return vectors[0];
}

INLINE TARGET void NAMED(multiply_packed)(const NUMBER *features, int64_t n_columns, const NUMBER *weights, NUMBER bias,
                                          NUMBER *outputs) {
    for (int i = 0; i < PANEL_ROWS; i += 8 * LANES) {
        VECTOR sums[8];
        for (int k = 0; k < 8; k++) sums[k] = NAMED(all)(bias);
        for (int64_t j = 0; j < n_columns; j++)
            for (int k = 0; k < 8; k++) sums[k] += weights[j] * NAMED(load)(features + j * PANEL_ROWS + i + k * LANES);
        for (int k = 0; k < 8; k++) NAMED(store)(outputs + i + k * LANES, sums[k]);
    }
}

INLINE TARGET void NAMED(add_gradient_packed)(const NUMBER *features, int64_t n_columns, const NUMBER *slopes,
                                              double *gradient) {
    for (int64_t column = 0; column < n_columns; column += LANES) {
        VECTOR sums[LANES];
        for (int k = 0; k < LANES; k++) {
            const NUMBER *its = features + (column + k < n_columns ? column + k : column) * PANEL_ROWS;
            VECTOR first = {0}, second = {0};
            for (int i = 0; i < PANEL_ROWS; i += 2 * LANES) {
                first += NAMED(load)(slopes + i) * NAMED(load)(its + i);
                second += NAMED(load)(slopes + i + LANES) * NAMED(load)(its + i + LANES);
            }
            sums[k] = first + second;
        }
        NAMED(add)(gradient + column, NAMED(sums_of)(sums));
    }
}

#include "moments.h"
#include "trajectory.h"

static TARGET void NAMED(packed_block)(const struct table *table, int64_t first, double *partial) {
    const int64_t n_columns = table->n_columns, stop = first + table->rows_per_block;
    const int64_t end = stop < table->n_samples ? stop : table->n_samples;
    const NUMBER *parameters = table->parameters;
    double losses_and_slopes[2][LANES] = {{0}};
    memset(partial, 0, (size_t)table->width * sizeof(double));
    for (; first < end; first += PANEL_ROWS) {
        NUMBER outputs[PANEL_ROWS], losses[PANEL_ROWS], its_targets[PANEL_ROWS], its_weights[PANEL_ROWS];
        const NUMBER *targets = (const NUMBER *)table->targets + first;
        const NUMBER *weights = table->weights ? (const NUMBER *)table->weights + first : NULL;
        const NUMBER *packed = (const NUMBER *)table->features + first * n_columns;
        const int64_t n = end - first < PANEL_ROWS ? end - first : PANEL_ROWS;
        if (n < PANEL_ROWS) targets = memcpy(its_targets, targets, (size_t)n * sizeof(NUMBER));
        if (n < PANEL_ROWS && weights) weights = memcpy(its_weights, weights, (size_t)n * sizeof(NUMBER));
        NAMED(multiply_packed)(packed, n_columns, parameters, parameters[n_columns], outputs);
        NAMED(lose)(table->loss, PANEL_ROWS, targets, weights, outputs, losses);
        for (int64_t i = n; i < PANEL_ROWS; i++) outputs[i] = losses[i] = 0;
        VECTOR loss = {0}, slope = {0};
        for (int64_t i = 0; i < PANEL_ROWS; i += LANES) {
            loss += NAMED(load)(losses + i);
            slope += NAMED(load)(outputs + i);
        }
        NAMED(add)(losses_and_slopes[0], loss);
        NAMED(add)(losses_and_slopes[1], slope);
        if (table->gradient) NAMED(add_gradient_packed)(packed, n_columns, outputs, partial);
    }
    partial[n_columns] = 0; /* where a vector may have ended */
    for (int i = 0; i < LANES; i++) {
        partial[table->width - 1] += losses_and_slopes[0][i];
        partial[n_columns] += losses_and_slopes[1][i];
    }
}

#include "gathered.h"

/* Evaluates one block after another, as they are given out to this and to other threads. */
EXPORTED TARGET void NAMED(sweep)(struct table *table, int64_t thread) {
    const struct SPACE space = NAMED(space_of)(table, thread);
    for (;;) {
        const int64_t block = __atomic_fetch_add(&table->next, 1, __ATOMIC_RELAXED);
        const int64_t row = block * table->rows_per_block;
        double *partial = table->partials + block * table->width;
        if (row >= table->n) return;
        if (table->is_packed)
            NAMED(packed_block)(table, row, partial);
        else
            NAMED(gathered_block)(table, &space, table->first + row, partial);
    }
}

/* Does all of it in this thread. */
EXPORTED TARGET void NAMED(evaluate)(struct table *table) {
    table->next = 0;
    NAMED(sweep)(table, 0);
    FINISH(TYPE)(table);
}

#undef POLYNOMIAL
#undef EVEN
#undef ODD
#undef NUMBER
#undef INTEGER
#undef TYPE
#undef LANES
#undef FRACTION_BITS
#undef EXPONENT_BIAS
#undef VANISHING
#undef EXP_SERIES
#undef ATANH_SERIES
#undef LN_2
#endif
