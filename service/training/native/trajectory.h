/* Many epochs of a descent on a quadratic, from what is known of its modes; panels.h includes it. trajectory.py says
   what is given.

   A few steps are taken at a time: how far each mode is at them stays in the nearest cache, and what follows from the
   modes, the loss, the gradient and the parameters, is written once. All of it is computed in double precision. */

#define SPAN_VECTORS (SPAN / LANES)
#define MOST_ROWS (SUMS / (SPAN * 8 / VECTOR_BYTES)) /* whose sums are kept in registers together */

/* Gives what some terms of a mode add up to over a span of steps. */
INLINE TARGET void NAMED(join)(const double *coarse, const double *fine, int64_t n_terms, int64_t n_fine, WIDE *to) {
    UNROLLED for (int v = 0; v < SPAN_VECTORS; v++) to[v] = (WIDE){0};
    for (int64_t term = 0; term < n_terms; term++)
        UNROLLED for (int v = 0; v < SPAN_VECTORS; v++)
            to[v] += coarse[term] * *(const WIDE_UNALIGNED *)(fine + term * n_fine + v * LANES);
}

/* Writes some rows of modes · along, counted from a start; adds the penalty of weights, not of biases, to a sum. */
INLINE TARGET void NAMED(write_rows)(const struct trajectory *given, const WIDE *along, const double *start,
                                     int64_t row, const int n_rows, double half_l2, NUMBER *to, WIDE *penalty) {
    const int64_t n_modes = given->n_modes, stride = given->n_coarse * given->n_fine;
    const double *modes = given->modes + row * n_modes;
    WIDE sums[MOST_ROWS * SPAN_VECTORS];
    UNROLLED for (int k = 0; k < n_rows; k++)
        UNROLLED for (int v = 0; v < SPAN_VECTORS; v++)
            sums[k * SPAN_VECTORS + v] = (WIDE){0} + (start ? start[row + k] : 0);
    for (int64_t mode = 0; mode < n_modes; mode++)
        UNROLLED for (int k = 0; k < n_rows; k++)
            UNROLLED for (int v = 0; v < SPAN_VECTORS; v++)
                sums[k * SPAN_VECTORS + v] += modes[k * n_modes + mode] * along[mode * SPAN_VECTORS + v];
    UNROLLED for (int k = 0; k < n_rows; k++)
        UNROLLED for (int v = 0; v < SPAN_VECTORS; v++) {
            const WIDE sum = sums[k * SPAN_VECTORS + v];
            *(UNALIGNED *)(to + (row + k) * stride + v * LANES) = __builtin_convertvector(sum, VECTOR);
            if (half_l2 && row + k < given->n_rows - 1) penalty[v] += half_l2 * sum * sum;
        }
}

INLINE TARGET void NAMED(write_all_rows)(const struct trajectory *given, const WIDE *along, const double *start,
                                         double half_l2, NUMBER *to, WIDE *penalty) {
    int64_t row = 0;
#define ROWS_AT_ONCE(n) \
    if (n <= MOST_ROWS)  \
        for (; row + n <= given->n_rows; row += n) NAMED(write_rows)(given, along, start, row, n, half_l2, to, penalty);
    ROWS_AT_ONCE(8)
    ROWS_AT_ONCE(4)
    ROWS_AT_ONCE(2)
    ROWS_AT_ONCE(1)
#undef ROWS_AT_ONCE
}

/* Writes loss and norm: no loss below nought, by rounding, and an infinite one where either is too large, or NaN. */
INLINE TARGET void NAMED(measure)(const double *totals, const double *squares, double largest,
                                  double *restrict losses, int64_t stride) {
    double *restrict norms = losses + stride;
    for (int i = 0; i < SPAN; i++) norms[i] = __builtin_sqrt(squares[i]);
    for (int i = 0; i < SPAN; i++) {
        const double loss = totals[i] < 0 ? 0 : totals[i];
        losses[i] = (loss <= largest) & (totals[i] >= -largest) & (norms[i] <= largest) ? loss : __builtin_inf();
    }
}

/* Evaluates a span of steps: the fine ones from one on, behind a coarse one. */
INLINE TARGET void NAMED(evaluate_span)(const struct trajectory *given, int64_t coarse, int64_t fine) {
    const int64_t n_modes = given->n_modes, n_terms = given->n_terms, n_fine = given->n_fine;
    const int64_t place = coarse * n_fine + fine, stride = given->n_coarse * n_fine;
    const int64_t n_outputs = given->n_outputs, n_of_output = given->n_rows * stride;
    WIDE slopes[MOST_MODES * SPAN_VECTORS], changes[MOST_MODES * SPAN_VECTORS];
    WIDE total[SPAN_VECTORS] = {{0}}, penalty[SPAN_VECTORS] = {{0}}, square[SPAN_VECTORS] = {{0}};
    NUMBER *gradient = (NUMBER *)given->vectors + place, *parameters = gradient + n_outputs * n_of_output;
    for (int64_t output = 0; output < n_outputs; output++) {
        for (int64_t mode = 0; mode < n_modes; mode++) {
            const int64_t its = output * n_modes + mode, n_numbers = n_outputs * n_modes;
            const double *its_coarse = given->coarse + (mode * given->n_coarse + coarse) * n_terms;
            const double *its_fine = given->fine + its * n_terms * n_fine + fine;
            const double *factors = given->factors + its;
            WIDE *slope = slopes + mode * SPAN_VECTORS, *change = changes + mode * SPAN_VECTORS;
            NAMED(join)(its_coarse, its_fine, n_terms, n_fine, slope);
            NAMED(join)(its_coarse, its_fine + n_numbers * n_terms * n_fine, n_terms, n_fine, change);
            for (int v = 0; v < SPAN_VECTORS; v++) {
                const WIDE squared = slope[v] * slope[v];
                square[v] += squared;
                total[v] += factors[0] * squared;
            }
            if (factors[n_numbers] != 0 || factors[2 * n_numbers] != 0) /* a change of others may be infinite */
                for (int v = 0; v < SPAN_VECTORS; v++)
                    total[v] += change[v] * (factors[n_numbers] + factors[2 * n_numbers] * change[v]);
        }
        NAMED(write_all_rows)(given, slopes, NULL, 0, gradient + output * n_of_output, penalty);
        NAMED(write_all_rows)(given, changes, given->start + output * given->n_rows, given->half_l2,
                              parameters + output * n_of_output, penalty);
    }
    /* At last, for what is far smaller would leave nothing of itself in a sum that begins with it. */
    for (int v = 0; v < SPAN_VECTORS; v++) total[v] = total[v] + given->lowest - penalty[v];
    NAMED(measure)((const double *)total, (const double *)square, given->largest, given->measures + place, stride);
}

EXPORTED TARGET void NAMED(evaluate_trajectory)(const struct trajectory *given) {
    for (int64_t coarse = 0; coarse < given->n_coarse; coarse++)
        for (int64_t fine = 0; fine < given->n_fine; fine += SPAN) NAMED(evaluate_span)(given, coarse, fine);
}

#undef SPAN_VECTORS
#undef MOST_ROWS
