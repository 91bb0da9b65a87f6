/* The arithmetic of a sweep: sweep.c includes it for each INSTRUCTIONS, and it includes itself for each NUMBER.

   Features come in one of two forms. As rows, one after another, of tables that others have; and packed, in panels of
   PANEL_ROWS samples with a column after another, the last panel filled up with noughts: without sums across a vector
   or rests of rows, narrow tables take half the time. */

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

/* Some rows of whole vectors and, beside them or elsewhere, the last vector of each, of which not all may be its. */
struct PANEL {
    const NUMBER *rows, *lasts;
    int64_t n, stride, last_stride;
};

/* What panels have in common: numbers in the whole vectors of a row, which of the last vector are its, their weights. */
struct SHAPE {
    int64_t n_whole;
    MASK mask;
    VECTOR last_weights;
    NUMBER bias;
};

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
#pragma GCC unroll 16
    for (int n = LANES / 2; n; n /= 2)
#pragma GCC unroll 16
        for (int i = 0; i < n; i++) vectors[i] = NAMED(pairs)(vectors[2 * i], vectors[2 * i + 1]);
    return vectors[0];
}

/* Writes the outputs of a group of rows; where there are fewer, the last row's again. */
INLINE TARGET void NAMED(multiply)(const struct PANEL *panel, const struct SHAPE *shape, const NUMBER *weights,
                                   int64_t first, NUMBER *outputs) {
    VECTOR sums[GROUP_ROWS];
    for (int i = 0; i < GROUP_ROWS; i += 4) {
        const NUMBER *rows[4], *lasts[4];
        for (int k = 0; k < 4; k++) {
            int64_t row = first + i + k < panel->n ? first + i + k : panel->n - 1;
            rows[k] = panel->rows + row * panel->stride;
            lasts[k] = panel->lasts + row * panel->last_stride;
        }
        for (uintptr_t at = (uintptr_t)rows[0]; at < (uintptr_t)(rows[3] + panel->stride); at += LINE_BYTES)
            __builtin_prefetch((const void *)(at + AHEAD_BYTES), 0, 2);
        for (int k = 0; k < 4; k++)
            sums[i + k] = NAMED(masked)(NAMED(load)(lasts[k]), shape->mask) * shape->last_weights;
        for (int64_t j = 0; j < shape->n_whole; j += LANES)
            for (int k = 0; k < 4; k++) sums[i + k] += NAMED(load)(rows[k] + j) * NAMED(load)(weights + j);
    }
    for (int i = 0; i < GROUP_ROWS; i += LANES)
        NAMED(store)(outputs + i, NAMED(sums_of)(sums + i) + shape->bias);
}

/* Adds each row times its slope, so many whole vectors of it from a column on, with the last vector or not. */
INLINE TARGET void NAMED(add_rows)(const struct PANEL *panel, MASK mask, const int n_whole, const int has_last,
                                   int64_t column, const NUMBER *slopes, double *gradient) {
    /* Of narrow tables several rows at once, for otherwise each would wait for the sum with the one before. */
    const int n_vectors = n_whole + has_last, n_at_once = n_vectors <= 2 ? 4 : n_vectors <= 4 ? 2 : 1;
    VECTOR sums[4][TILE + 1] = {{{0}}};
    for (int64_t row = 0; row < panel->n; row += n_at_once)
        for (int k = 0; k < n_at_once && row + k < panel->n; k++) {
            const NUMBER *its = panel->rows + (row + k) * panel->stride + column, slope = slopes[row + k];
            for (int v = 0; v < n_whole; v++) sums[k][v] += slope * NAMED(load)(its + v * LANES);
            if (has_last)
                sums[k][n_whole] +=
                    slope * NAMED(masked)(NAMED(load)(panel->lasts + (row + k) * panel->last_stride), mask);
        }
    for (int v = 0; v < n_vectors; v++)
        NAMED(add)(gradient + column + v * LANES, sums[0][v] + sums[1][v] + (sums[2][v] + sums[3][v]));
}

INLINE TARGET void NAMED(add_gradient)(const struct PANEL *panel, const struct SHAPE *shape, const NUMBER *slopes,
                                       double *gradient) {
    int64_t column = 0;
    for (; shape->n_whole - column > TILE * LANES; column += TILE * LANES)
        NAMED(add_rows)(panel, shape->mask, TILE, 0, column, slopes, gradient);
    switch ((shape->n_whole - column) / LANES) {
#define CASE(n) \
    case n: NAMED(add_rows)(panel, shape->mask, n, 1, column, slopes, gradient); break;
        CASE(0) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(TILE)
#undef CASE
    }
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

/* Gives rows as a panel; where the last vector would be read beyond the table, in a copy with space for it. */
INLINE TARGET struct PANEL NAMED(panel_of)(const struct table *table, int64_t n_whole, int64_t first, int64_t n,
                                           NUMBER *space) {
    const int64_t n_columns = table->n_columns, n_left = (table->n_samples - first - n + 1) * n_columns - n_whole;
    const NUMBER *rows = (const NUMBER *)table->features + first * n_columns;
    if (n_left >= LANES) return (struct PANEL){rows, rows + n_whole, n, n_columns, n_columns};
    for (int64_t i = 0; i < n; i++)
        memcpy(space + i * LANES, rows + i * n_columns + n_whole, (size_t)(n_columns - n_whole) * sizeof(NUMBER));
    return (struct PANEL){rows, space, n, n_columns, LANES};
}

static TARGET void NAMED(sweep_block)(const struct table *table, const struct SHAPE *shape, const NUMBER *parameters,
                                      int64_t wants_gradient, int64_t first, double *partial) {
    const int64_t n_columns = table->n_columns, stop = first + table->rows_per_block;
    const int64_t end = stop < table->n_samples ? stop : table->n_samples;
    const int64_t groups = PANEL_BYTES / (GROUP_ROWS * n_columns * (int64_t)sizeof(NUMBER));
    const int64_t some = groups < 1 ? GROUP_ROWS : groups < PANEL_ROWS / GROUP_ROWS ? groups * GROUP_ROWS : PANEL_ROWS;
    const int64_t at_once = table->is_packed ? PANEL_ROWS : some;
    double losses_and_slopes[2][LANES] = {{0}};
    memset(partial, 0, (size_t)table->width * sizeof(double));
    for (; first < end; first += at_once) {
        NUMBER outputs[PANEL_ROWS], losses[PANEL_ROWS], its_targets[PANEL_ROWS], its_weights[PANEL_ROWS];
        NUMBER space[PANEL_ROWS * LANES];
        const NUMBER *targets = table->targets ? (const NUMBER *)table->targets + first : NULL;
        const NUMBER *weights = table->weights ? (const NUMBER *)table->weights + first : NULL;
        const NUMBER *packed = (const NUMBER *)table->features + first * n_columns;
        const int64_t n = end - first < at_once ? end - first : at_once;
        struct PANEL panel = {0};
        int64_t n_padded = 0;
        if (n < at_once && targets) targets = memcpy(its_targets, targets, (size_t)n * sizeof(NUMBER));
        if (n < at_once && weights) weights = memcpy(its_weights, weights, (size_t)n * sizeof(NUMBER));
        if (table->is_packed) {
            NAMED(multiply_packed)(packed, n_columns, parameters, shape->bias, outputs);
            n_padded = PANEL_ROWS;
        } else {
            panel = NAMED(panel_of)(table, shape->n_whole, first, n, space);
            for (; n_padded < n; n_padded += GROUP_ROWS)
                NAMED(multiply)(&panel, shape, parameters, n_padded, outputs + n_padded);
        }
        NAMED(lose)(table->loss, n_padded, targets, weights, outputs, losses);
        for (int64_t i = n; i < n_padded; i++) outputs[i] = losses[i] = 0;
        VECTOR loss = {0}, slope = {0};
        for (int64_t i = 0; i < n_padded; i += LANES) {
            loss += NAMED(load)(losses + i);
            slope += NAMED(load)(outputs + i);
        }
        NAMED(add)(losses_and_slopes[0], loss);
        NAMED(add)(losses_and_slopes[1], slope);
        if (wants_gradient && table->is_packed)
            NAMED(add_gradient_packed)(packed, n_columns, outputs, partial);
        else if (wants_gradient)
            NAMED(add_gradient)(&panel, shape, outputs, partial);
    }
    for (int i = 0; i < LANES; i++) {
        partial[table->width - 1] += losses_and_slopes[0][i];
        partial[table->width - 2] += losses_and_slopes[1][i];
    }
}

/* Evaluates one block after another, as `next` gives them out to this and to other threads. */
EXPORTED TARGET void NAMED(sweep)(const struct table *table, const NUMBER *parameters, int64_t wants_gradient,
                                  int64_t *next) {
    const int64_t n_columns = table->n_columns, n_whole = (n_columns - 1) / LANES * LANES;
    struct SHAPE shape = {.n_whole = n_whole, .bias = table->has_bias ? parameters[n_columns] : 0};
    for (int64_t i = n_whole; i < n_columns; i++) {
        shape.mask[i - n_whole] = -1;
        shape.last_weights[i - n_whole] = parameters[i];
    }
    for (;;) {
        const int64_t block = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED), first = block * table->rows_per_block;
        if (first >= table->n_samples) return;
        NAMED(sweep_block)(table, &shape, parameters, wants_gradient, first, table->partials + block * table->width);
    }
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
