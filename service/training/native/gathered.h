/* The arithmetic for rows in any order, and for any number of outputs; panels.h includes it.

   Up to PANEL_ROWS rows are copied from where they are to one place, each with a one behind it, for the bias, and
   filled up with noughts to whole vectors: there both products go through them without rests. Rows that come later
   are fetched from memory meanwhile. */

/* Where a thread keeps what it works on. The parameters, (n_outputs, stride), and the rows, (PANEL_ROWS, stride), are
   filled up with noughts; targets and outputs, which become slopes, are by target or output: (n, PANEL_ROWS). */
struct SPACE {
    NUMBER *parameters, *rows, *targets, *outputs, *weights, *losses;
    int64_t stride;
};

INLINE TARGET struct SPACE NAMED(space_of)(const struct table *table, int64_t thread) {
    const int64_t stride = (table->n_columns / LANES + 1) * LANES, n_outputs = table->n_outputs;
    const NUMBER *given = table->parameters;
    struct SPACE space = {.parameters = (NUMBER *)table->space + thread * table->space_width, .stride = stride};
    space.rows = space.parameters + n_outputs * stride;
    space.targets = space.rows + PANEL_ROWS * stride;
    space.outputs = space.targets + n_targets_of(table) * PANEL_ROWS;
    space.weights = space.outputs + n_outputs * PANEL_ROWS;
    space.losses = space.weights + PANEL_ROWS;
    for (int64_t o = 0; o < n_outputs; o++) {
        NUMBER *its = space.parameters + o * stride;
        for (int64_t j = 0; j <= table->n_columns; j++) its[j] = given[o * (table->n_columns + 1) + j];
        for (int64_t j = table->n_columns + 1; j < stride; j++) its[j] = 0;
    }
    return space;
}

/* Copies n rows, from a place in the order on, and what belongs to them; up to n_padded noughts follow. */
INLINE TARGET void NAMED(gather)(const struct table *table, const struct SPACE *space, int64_t first, int64_t n,
                                 int64_t n_padded) {
    const int64_t n_columns = table->n_columns, n_whole = n_columns / LANES * LANES, n_left = n_columns - n_whole;
    const int64_t n_targets = n_targets_of(table), end = table->n_samples * n_columns;
    const NUMBER *features = table->features, *targets = table->targets, *weights = table->weights;
    const int64_t n_ahead = 1 + AHEAD_BYTES / (n_columns * (int64_t)sizeof(NUMBER));
    MASK mask = {0};
    VECTOR one = {0};
    for (int64_t i = 0; i < n_left; i++) mask[i] = -1;
    one[n_left] = 1;
    for (int64_t i = 0; i < n; i++) {
        if (first + i + n_ahead < table->n_samples) {
            const int64_t row = row_at(table, first + i + n_ahead);
            const uintptr_t from = (uintptr_t)(features + row * n_columns);
            const uintptr_t last = (uintptr_t)(features + (row + 1) * n_columns) - 1;
            for (uintptr_t at = from; at < last; at += LINE_BYTES) __builtin_prefetch((const void *)at, 0, 2);
            __builtin_prefetch((const void *)last, 0, 2);
            __builtin_prefetch(targets + row * n_targets, 0, 2);
            if (weights) __builtin_prefetch(weights + row, 0, 2);
        }
        const int64_t row = row_at(table, first + i), left = row * n_columns + n_whole;
        const NUMBER *from = features + row * n_columns;
        NUMBER *to = space->rows + i * space->stride;
        for (int64_t j = 0; j < n_whole; j += LANES) NAMED(store)(to + j, NAMED(load)(from + j));
        if (left + LANES <= end)
            NAMED(store)(to + n_whole, NAMED(masked)(NAMED(load)(from + n_whole), mask) + one);
        else {
            NAMED(store)(to + n_whole, one);
            memcpy(to + n_whole, from + n_whole, (size_t)n_left * sizeof(NUMBER));
        }
        for (int64_t t = 0; t < n_targets; t++) space->targets[t * PANEL_ROWS + i] = targets[row * n_targets + t];
        if (weights) space->weights[i] = weights[row];
    }
    memset(space->rows + n * space->stride, 0, (size_t)((n_padded - n) * space->stride) * sizeof(NUMBER));
    for (int64_t i = n; i < n_padded; i++) {
        for (int64_t t = 0; t < n_targets; t++) space->targets[t * PANEL_ROWS + i] = 0;
        space->weights[i] = 0;
    }
}

/* Writes some outputs of the rows, SUMS of these sums at once. */
INLINE TARGET void NAMED(multiply_gathered)(const struct SPACE *space, const int n_outputs, int64_t first,
                                            int64_t n_rows) {
    const int n_at_once = SUMS / n_outputs;
    const int64_t stride = space->stride;
    const NUMBER *parameters = space->parameters + first * stride;
    for (int64_t i = 0; i < n_rows; i += n_at_once) {
        VECTOR sums[SUMS];
        NUMBER found[SUMS];
        const NUMBER *rows = space->rows + i * stride;
        UNROLLED for (int s = 0; s < SUMS; s++) sums[s] = NAMED(all)(0);
        for (int64_t j = 0; j < stride; j += LANES)
            UNROLLED for (int k = 0; k < n_at_once; k++)
                UNROLLED for (int o = 0; o < n_outputs; o++)
                    sums[o * n_at_once + k] += NAMED(load)(rows + k * stride + j) * NAMED(load)(parameters + o * stride + j);
        UNROLLED for (int s = 0; s < SUMS; s += LANES) NAMED(store)(found + s, NAMED(sums_of)(sums + s));
        UNROLLED for (int o = 0; o < n_outputs; o++)
            memcpy(space->outputs + (first + o) * PANEL_ROWS + i, found + o * n_at_once,
                   (size_t)n_at_once * sizeof(NUMBER));
    }
}

/* Adds each row times its slopes by some outputs, so many vectors of it from a column on. */
INLINE TARGET void NAMED(add_tile)(const struct SPACE *space, const int n_outputs, const int n_vectors, int64_t first,
                                   int64_t column, int64_t n_rows, double *gradient, int64_t width) {
    /* Of small tiles several rows at once, for otherwise each would wait for the sum with the one before. */
    const int n_at_once = n_outputs * n_vectors <= 2 ? 4 : n_outputs * n_vectors <= 4 ? 2 : 1;
    const NUMBER *slopes = space->outputs + first * PANEL_ROWS;
    VECTOR sums[4][4][4];
    UNROLLED for (int k = 0; k < n_at_once; k++)
        UNROLLED for (int v = 0; v < n_vectors; v++)
            UNROLLED for (int o = 0; o < n_outputs; o++) sums[k][o][v] = NAMED(all)(0);
    for (int64_t i = 0; i < n_rows; i += n_at_once)
        UNROLLED for (int k = 0; k < n_at_once; k++)
            UNROLLED for (int v = 0; v < n_vectors; v++)
                UNROLLED for (int o = 0; o < n_outputs; o++)
                    sums[k][o][v] += slopes[o * PANEL_ROWS + i + k] *
                                     NAMED(load)(space->rows + (i + k) * space->stride + column + v * LANES);
    UNROLLED for (int o = 0; o < n_outputs; o++)
        UNROLLED for (int v = 0; v < n_vectors; v++) {
            VECTOR sum = sums[0][o][v];
            UNROLLED for (int k = 1; k < n_at_once; k++) sum += sums[k][o][v];
            NAMED(add)(gradient + (first + o) * width + column + v * LANES, sum);
        }
}

INLINE TARGET void NAMED(add_gathered)(const struct SPACE *space, const int n_outputs, int64_t first, int64_t n_rows,
                                       double *gradient, int64_t width) {
    int64_t column = 0;
    for (; space->stride - column > 4 * LANES; column += 4 * LANES)
        NAMED(add_tile)(space, n_outputs, 4, first, column, n_rows, gradient, width);
    switch ((space->stride - column) / LANES) {
#define CASE(n) \
    case n: NAMED(add_tile)(space, n_outputs, n, first, column, n_rows, gradient, width); break;
        CASE(1) CASE(2) CASE(3) CASE(4)
#undef CASE
    }
}

/* Turns the outputs of whole vectors of samples into slopes of their cross-entropy, and writes it. */
INLINE TARGET void NAMED(lose_classes)(const struct SPACE *space, int64_t n_outputs, int64_t n_rows,
                                       const NUMBER *weights, NUMBER *losses) {
    for (int64_t i = 0; i < n_rows; i += LANES) {
        NUMBER *outputs = space->outputs + i;
        const VECTOR target = NAMED(load)(space->targets + i), weight = weights ? NAMED(load)(weights + i) : NAMED(all)(1);
        VECTOR most = NAMED(load)(outputs), sum = {0}, its = {0};
        for (int64_t o = 1; o < n_outputs; o++) {
            VECTOR output = NAMED(load)(outputs + o * PANEL_ROWS);
            most = NAMED(choose)(output > most, output, most);
        }
        for (int64_t o = 0; o < n_outputs; o++) {
            VECTOR less = most - NAMED(load)(outputs + o * PANEL_ROWS), power = NAMED(exp_of_minus)(less);
            sum += power;
            its += NAMED(masked)(less, target == (NUMBER)o);
            NAMED(store)(outputs + o * PANEL_ROWS, power);
        }
        VECTOR share = weight / sum;
        for (int64_t o = 0; o < n_outputs; o++) {
            VECTOR slope = NAMED(load)(outputs + o * PANEL_ROWS) * share - NAMED(masked)(weight, target == (NUMBER)o);
            NAMED(store)(outputs + o * PANEL_ROWS, slope);
        }
        if (losses) NAMED(store)(losses + i, (its + NAMED(log_from_1)(sum)) * weight);
    }
}

/* Turns outputs into slopes, which are nought where there is no sample, and gives the sum of the losses. */
INLINE TARGET double NAMED(lose_gathered)(const struct table *table, const struct SPACE *space, int64_t n,
                                          int64_t n_padded) {
    const NUMBER *weights = table->weights ? space->weights : NULL;
    NUMBER *losses = table->mean_loss ? space->losses : NULL;
    const int64_t n_targets = n_targets_of(table);
    double total = 0;
    for (int64_t t = 0; t < n_targets; t++) {
        NUMBER *outputs = space->outputs + t * PANEL_ROWS;
        if (table->loss == CROSS_ENTROPY)
            NAMED(lose_classes)(space, table->n_outputs, n_padded, weights, losses);
        else if (losses)
            NAMED(lose)(table->loss, n_padded, space->targets + t * PANEL_ROWS, weights, outputs, losses);
        else
            NAMED(lose)(table->loss, n_padded, space->targets + t * PANEL_ROWS, weights, outputs, NULL);
        if (losses) {
            double sums[LANES] = {0};
            for (int64_t i = n; i < n_padded; i++) losses[i] = 0;
            for (int64_t i = 0; i < n_padded; i += LANES) NAMED(add)(sums, NAMED(load)(losses + i));
            for (int i = 0; i < LANES; i++) total += sums[i];
        }
    }
    for (int64_t o = 0; o < table->n_outputs; o++)
        for (int64_t i = n; i < n_padded; i++) space->outputs[o * PANEL_ROWS + i] = 0;
    return total;
}

/* Takes as many outputs at once as there are registers for. */
#define IN_TILES(DO)                                                    \
    for (int64_t o = 0, left; (left = table->n_outputs - o) > 0;) {     \
        const int n = SUMS == 16 && left >= 4 ? 4 : left >= 2 ? 2 : 1;  \
        if (SUMS == 16 && n == 4) DO(4) else if (n == 2) DO(2) else DO(1) \
        o += n;                                                         \
    }

static TARGET void NAMED(gathered_block)(const struct table *table, const struct SPACE *space, int64_t first,
                                         double *partial) {
    const int64_t stop = first + table->rows_per_block, last = table->first + table->n;
    const int64_t end = stop < last ? stop : last;
    const int64_t groups = GATHERED_BYTES / (GROUP_ROWS * space->stride * (int64_t)sizeof(NUMBER));
    const int64_t some = groups < 1 ? GROUP_ROWS : groups < PANEL_ROWS / GROUP_ROWS ? groups * GROUP_ROWS : PANEL_ROWS;
    memset(partial, 0, (size_t)table->width * sizeof(double));
    for (; first < end; first += some) {
        const int64_t n = end - first < some ? end - first : some, n_padded = (n + GROUP_ROWS - 1) / GROUP_ROWS * GROUP_ROWS;
        NAMED(gather)(table, space, first, n, n_padded);
#define MULTIPLY(n) NAMED(multiply_gathered)(space, n, o, n_padded);
        IN_TILES(MULTIPLY)
        partial[table->width - 1] += NAMED(lose_gathered)(table, space, n, n_padded);
        if (!table->gradient) continue;
#define ADD(n) NAMED(add_gathered)(space, n, o, n_padded, partial, table->stride);
        IN_TILES(ADD)
#undef MULTIPLY
#undef ADD
    }
}
#undef IN_TILES
