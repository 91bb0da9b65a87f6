/* Sums of products, of features with one another and with residuals; panels.h includes it. moments.py says of what.

   The rows of a panel are counted from their origin first, in a copy that stays in the nearest cache: features, then
   residuals, then a one. Of these columns the products are summed, some times a vector of others in registers; of each
   pair but once, for they are symmetric. */

/* Reads a vector of features, which may be float32 where their products are not. */
INLINE TARGET VECTOR NAMED(read)(const char *from, const int is_float32) {
    return is_float32 ? __builtin_convertvector(*(const SINGLE_UNALIGNED *)from, VECTOR)
                      : NAMED(load)((const NUMBER *)from);
}

INLINE TARGET NUMBER NAMED(read_one)(const char *from, const int is_float32) {
    return is_float32 ? (NUMBER) * (const float *)from : *(const NUMBER *)from;
}

/* Copies some columns of n rows, one vector: counted from the origin, and times the roots of weights if there are. */
INLINE TARGET void NAMED(copy_columns)(const char *from, int64_t row_size, int64_t n, VECTOR shift, MASK mask,
                                       const NUMBER *roots, const int is_float32, NUMBER *to, int64_t width) {
    for (int64_t row = 0; row < n; row++) {
        VECTOR its = NAMED(masked)(NAMED(read)(from + row * row_size, is_float32) - shift, mask);
        NAMED(store)(to + row * width, roots ? its * roots[row] : its);
    }
}

/* Copies the features of n rows. What would be read beyond the table with the last vectors is read from elsewhere. */
INLINE TARGET void NAMED(copy_features)(const struct products *given, int64_t first, int64_t n, const NUMBER *roots,
                                        const int is_float32, NUMBER *copies) {
    const int64_t n_columns = given->n_columns, width = given->width, size = is_float32 ? 4 : sizeof(NUMBER);
    const int64_t row_size = n_columns * size, n_whole = (n_columns - 1) / LANES * LANES;
    const int64_t n_readable = (given->n_samples * n_columns - n_whole - LANES) / n_columns + 1 - first;
    const int64_t n_plain = n < n_readable ? n : n_readable < 0 ? 0 : n_readable;
    const char *features = (const char *)given->features + first * row_size;
    const NUMBER *shift = given->shift;
    const MASK all = ~(MASK){0};
    MASK mask = {0};
    for (int64_t i = n_whole; i < n_columns; i++) mask[i - n_whole] = -1;
    for (int64_t ahead = 0; ahead < n * row_size; ahead += LINE_BYTES)
        __builtin_prefetch(features + AHEAD_BYTES + ahead, 0, 2);
    for (int64_t i = 0; i < n_whole; i += LANES)
        NAMED(copy_columns)(features + i * size, row_size, n, NAMED(load)(shift + i), all, roots, is_float32,
                            copies + i, width);
    const VECTOR last_shift = NAMED(load)(shift + n_whole);
    NAMED(copy_columns)(features + n_whole * size, row_size, n_plain, last_shift, mask, roots, is_float32,
                        copies + n_whole, width);
    for (int64_t row = n_plain; row < n; row++) {
        char space[VECTOR_BYTES] = {0};
        memcpy(space, features + row * row_size + n_whole * size, (size_t)((n_columns - n_whole) * size));
        NAMED(copy_columns)(space, 0, 1, last_shift, mask, roots ? roots + row : NULL, is_float32,
                            copies + row * width + n_whole, width);
    }
}

/* Writes what the plane says of a group of copied rows, as many as a vector has numbers. */
INLINE TARGET void NAMED(multiply_plane)(const NUMBER *copies, int64_t width, int64_t n_columns, const NUMBER *weights,
                                         NUMBER *on_plane) {
    const int64_t n_whole = (n_columns - 1) / LANES * LANES;
    VECTOR sums[LANES];
    MASK mask = {0}; /* behind the features are the residuals of other targets */
    for (int64_t i = n_whole; i < n_columns; i++) mask[i - n_whole] = -1;
    for (int k = 0; k < LANES; k++)
        sums[k] = NAMED(masked)(NAMED(load)(copies + k * width + n_whole), mask) * NAMED(load)(weights + n_whole);
    for (int64_t i = 0; i < n_whole; i += LANES)
        for (int k = 0; k < LANES; k++) sums[k] += NAMED(load)(copies + k * width + i) * NAMED(load)(weights + i);
    NAMED(store)(on_plane, NAMED(sums_of)(sums));
}

/* Puts the residuals of a target beside n copied rows: what is left of it above the plane. */
INLINE TARGET void NAMED(put_residuals)(const struct products *given, int64_t target, int64_t first, int64_t n,
                                        const NUMBER *roots, const int is_float32, NUMBER *copies) {
    const int64_t n_columns = given->n_columns, n_targets = given->n_targets, width = given->width;
    const NUMBER shift = ((const NUMBER *)given->target_shift)[target];
    const int64_t size = is_float32 ? 4 : sizeof(NUMBER);
    const char *targets = (const char *)given->targets + (first * n_targets + target) * size;
    NUMBER on_plane[PANEL_ROWS] = {0};
    for (int64_t row = 0; given->plane && row < n; row += LANES)
        NAMED(multiply_plane)(copies + row * width, width, n_columns,
                              (const NUMBER *)given->plane + target * width, on_plane + row);
    for (int64_t row = 0; row < n; row++) {
        const NUMBER above = NAMED(read_one)(targets + row * n_targets * size, is_float32) - shift;
        copies[row * width + n_columns + target] = (roots ? above * roots[row] : above) - on_plane[row];
    }
}

/* Adds the sums of n rows, of some columns from one on times a vector of others. */
INLINE TARGET void NAMED(add_products)(const NUMBER *copies, int64_t width, int64_t n, int64_t column, const int n_some,
                                       int64_t others, double *to) {
    VECTOR sums[PRODUCTS] = {{0}};
    const NUMBER *some = copies + column, *its = copies + others;
    for (int64_t row = 0; row < n; row++, some += width, its += width) {
        const VECTOR factor = NAMED(load)(its);
        for (int k = 0; k < n_some; k++) sums[k] += some[k] * factor;
    }
    for (int k = 0; k < n_some; k++) NAMED(add)(to + (column + k) * width + others, sums[k]);
}

static TARGET void NAMED(add_all_products)(const NUMBER *copies, int64_t width, int64_t n_used, int64_t n, double *to) {
    for (int64_t others = 0; others < n_used; others += LANES) {
        int64_t column = others;
        for (; column + PRODUCTS <= n_used; column += PRODUCTS)
            NAMED(add_products)(copies, width, n, column, PRODUCTS, others, to);
        switch (n_used - column) {
#define REST(n_some) \
    case n_some: NAMED(add_products)(copies, width, n, column, n_some, others, to); break;
            REST(1) REST(2) REST(3) REST(4) REST(5) REST(6) REST(7) REST(8) REST(9) REST(10)
#undef REST
        }
    }
}

INLINE TARGET void NAMED(add_panel)(const struct products *given, int64_t first, int64_t n, const int is_float32,
                                    NUMBER *copies, double *to) {
    const int64_t n_used = given->n_columns + given->n_targets + 1;
    const double *weights = given->weights;
    NUMBER its_roots[PANEL_ROWS], *roots = weights ? its_roots : NULL;
    for (int64_t row = 0; roots && row < n; row++) roots[row] = (NUMBER)__builtin_sqrt(weights[first + row]);
    NAMED(copy_features)(given, first, n, roots, is_float32, copies);
    for (int64_t target = 0; target < given->n_targets; target++)
        NAMED(put_residuals)(given, target, first, n, roots, is_float32, copies);
    for (int64_t row = 0; row < n; row++) copies[row * given->width + n_used - 1] = roots ? roots[row] : 1;
    NAMED(add_all_products)(copies, given->width, n_used, n, to);
}

/* Sums one block of rows after another, as `next` gives them out to this and to other threads. */
EXPORTED TARGET void NAMED(multiply_out)(const struct products *given, int64_t *next) {
    NUMBER copies[GATHERED_BYTES / sizeof(NUMBER)] __attribute__((aligned(64))) = {0};
    const int64_t n_sums = given->width * given->width, fit = GATHERED_BYTES / (given->width * (int64_t)sizeof(NUMBER));
    const int64_t at_once = fit < PANEL_ROWS ? fit / GROUP_ROWS * GROUP_ROWS : PANEL_ROWS;
    for (;;) {
        const int64_t block = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED), start = block * given->rows_per_block;
        const int64_t stop = start + given->rows_per_block, end = stop < given->n_samples ? stop : given->n_samples;
        double *sums = given->sums + block * n_sums;
        if (start >= end) return;
        memset(sums, 0, (size_t)n_sums * sizeof(double));
        for (int64_t first = start; first < end; first += at_once) {
            const int64_t n = end - first < at_once ? end - first : at_once;
            if (sizeof(NUMBER) == 4 || given->is_float32)
                NAMED(add_panel)(given, first, n, 1, copies, sums);
            else
                NAMED(add_panel)(given, first, n, 0, copies, sums);
        }
    }
}
