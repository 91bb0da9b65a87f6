/* Losses and their derivatives, a vector at a time; panels.h includes it. losses.py says what they are. */

INLINE TARGET VECTOR NAMED(load)(const NUMBER *from) { return *(const UNALIGNED *)from; }
INLINE TARGET void NAMED(store)(NUMBER *to, VECTOR values) { *(UNALIGNED *)to = values; }
INLINE TARGET VECTOR NAMED(all)(NUMBER value) { return value - (VECTOR){0}; }
INLINE TARGET VECTOR NAMED(masked)(VECTOR values, MASK mask) { return (VECTOR)((MASK)values & mask); }
INLINE TARGET VECTOR NAMED(choose)(MASK mask, VECTOR yes, VECTOR no) {
    return (VECTOR)((mask & (MASK)yes) | (~mask & (MASK)no));
}

/* Minimax polynomials (Remez), highest power first: exp(x) = 1 + x + x² p(x) for |x| up to ln 2 / 2, within 3e-9 or
   4e-18 of the value, and atanh(x) = x + x³ q(x²) for x up to 1/3, within 5e-9 or 1e-18. Of ln 2 there is a part with
   so few digits that its products with whole numbers are exact, and the rest. */
static const NUMBER NAMED(exp_series)[] = EXP_SERIES, NAMED(atanh_series)[] = ATANH_SERIES, NAMED(ln_2)[] = LN_2;

INLINE TARGET VECTOR NAMED(polynomial)(VECTOR x, const NUMBER *series, int n) {
    VECTOR value = NAMED(all)(series[0]);
    for (int i = 1; i < n; i++) value = value * x + series[i];
    return value;
}
#define POLYNOMIAL(x, series) NAMED(polynomial)(x, series, sizeof series / sizeof series[0])

/* Gives exp(-size), for sizes from 0 on. */
INLINE TARGET VECTOR NAMED(exp_of_minus)(VECTOR size) {
    const NUMBER to_whole = (NUMBER)(3LL << (FRACTION_BITS - 1)); /* what it is added to is rounded to a whole number */
    size = NAMED(choose)(size > VANISHING, NAMED(all)(VANISHING), size); /* not the other way round: NaN is to stay */
    VECTOR rounded = to_whole - size * (NUMBER)1.4426950408889634, power = rounded - to_whole;
    VECTOR rest = -size - power * NAMED(ln_2)[0] - power * NAMED(ln_2)[1];
    VECTOR value = 1 + (rest + rest * rest * POLYNOMIAL(rest, NAMED(exp_series)));
    /* The power of 2 is in the last bits of `rounded`; it is halved, for there are numbers less than its exponents. */
    MASK exponent = (MASK)rounded - (MASK)NAMED(all)(to_whole) + 2 * EXPONENT_BIAS, half = exponent >> 1;
    return value * (VECTOR)(half << FRACTION_BITS) * (VECTOR)((exponent - half) << FRACTION_BITS);
}

/* Gives log(1 + u) for u from 0 to 1, small ones with all their digits: 2 atanh(u / (2 + u)). */
INLINE TARGET VECTOR NAMED(log_of_1_plus)(VECTOR u) {
    VECTOR x = u / (2 + u), square = x * x;
    return 2 * (x + x * square * POLYNOMIAL(square, NAMED(atanh_series)));
}

/* Gives log(x) for x from 1 on: that of what is left without its power of 2, and the power's. */
INLINE TARGET VECTOR NAMED(log_from_1)(VECTOR x) {
    MASK power = ((MASK)x >> FRACTION_BITS) - EXPONENT_BIAS;
    VECTOR n = __builtin_convertvector(power, VECTOR), rest = x * (VECTOR)((EXPONENT_BIAS - power) << FRACTION_BITS);
    return n * NAMED(ln_2)[0] + (n * NAMED(ln_2)[1] + NAMED(log_of_1_plus)(rest - 1));
}

/* Turns n outputs, whole vectors, into the derivatives of the loss by them, and writes the losses unless for NULL. */
INLINE TARGET void NAMED(lose)(int64_t loss, int64_t n, const NUMBER *targets, const NUMBER *weights, NUMBER *outputs,
                               NUMBER *losses) {
    const VECTOR one = NAMED(all)(1);
    for (int64_t i = 0; i < n; i += LANES) {
        VECTOR output = NAMED(load)(outputs + i), value, slope;
        VECTOR target = NAMED(load)(targets + i);
        if (loss == BINARY_CROSS_ENTROPY) {
            VECTOR sign = 1 - 2 * target, z = output * sign;
            MASK is_positive = z > 0;
            VECTOR u = NAMED(exp_of_minus)(NAMED(choose)(is_positive, z, -z));
            value = NAMED(masked)(z, is_positive) + NAMED(log_of_1_plus)(u);
            slope = NAMED(choose)(is_positive, one, u) / (1 + u) * sign;
        } else {
            VECTOR residual = output - target;
            if (loss == MAE) {
                value = NAMED(choose)(residual > 0, residual, -residual);
                slope = NAMED(masked)(one, residual > 0) - NAMED(masked)(one, residual < 0);
            } else if (loss == HUBER) {
                slope = NAMED(choose)(residual > 1, one, NAMED(choose)(residual < -1, -one, residual));
                value = (residual - slope * (NUMBER)0.5) * slope;
            } else {
                value = residual * residual * (NUMBER)(loss == MSE ? 1 : 0.5);
                slope = residual * (NUMBER)(loss == MSE ? 2 : 1);
            }
        }
        if (weights) {
            value *= NAMED(load)(weights + i);
            slope *= NAMED(load)(weights + i);
        }
        if (losses) NAMED(store)(losses + i, value);
        NAMED(store)(outputs + i, slope);
    }
}
