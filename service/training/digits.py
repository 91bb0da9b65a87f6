"""Numbers that are suggested: of few digits, so that people can read them, and never above what they follow from."""

from decimal import ROUND_FLOOR, Context


def rounded_down(number: float, n_digits: int) -> float:
    """Round a number of at least 0 down to so many digits, in decimal: what has no more digits stays as it is."""
    return float(Context(prec=n_digits, rounding=ROUND_FLOOR).create_decimal(repr(float(number))))
