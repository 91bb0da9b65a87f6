from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.training.digits import rounded_down

POSITIVE = st.floats(min_value=5e-324, allow_nan=False, allow_infinity=False)


@given(POSITIVE, st.integers(1, 5))
def test_a_rounded_number_is_never_above_what_is_given_and_has_so_many_digits(number: float, n_digits: int) -> None:
    found = rounded_down(number, n_digits)
    assert found <= number
    assert len(Decimal(repr(found)).normalize().as_tuple().digits) <= n_digits


@given(POSITIVE)
def test_a_rounded_number_lacks_less_than_a_unit_of_its_last_digit(number: float) -> None:
    given = Decimal(repr(number))
    assert given - Decimal(repr(rounded_down(number, 3))) < Decimal(1).scaleb(given.adjusted() - 2)


@given(st.integers(1, 999), st.integers(-300, 300))
def test_a_number_of_so_few_digits_stays_as_it_is(digits: int, exponent: int) -> None:
    number = float(f"{digits}e{exponent}")
    assert rounded_down(number, 3) == number


@pytest.mark.parametrize("number", [1e-7, 1e-6, 0.001, 0.3, 1.0, 123.0])
def test_a_number_that_people_write_stays_as_it_is(number: float) -> None:
    assert rounded_down(number, 3) == number
