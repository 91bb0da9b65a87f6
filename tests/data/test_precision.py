from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from service.data.precision import is_blurred
from service.encoding import ColumnEncoding
from tests.data.tables import table_of

NORMAL = np.random.default_rng(0).normal(size=1000)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (NORMAL, False),
        (100 + NORMAL, False),
        (1e4 + NORMAL, True),
        (1.7e9 + NORMAL, True),
        (1e12 * NORMAL, False),
        (np.exp(5 * NORMAL), False),
        (1e-60 * NORMAL, True),
        (1e200 * NORMAL, True),
        (np.where(NORMAL > 0, 1e200, -1e200), True),
        ([0.1] * 10, False),
        ([None, 0.1, None], False),
        ([None, 1e9 + 0.1, 1e9, 1e9 + 0.2], True),
        (2_000_000 + np.arange(10), False),
        (2**40 + np.arange(10), True),
    ],
)
def test_float32_blurs_what_is_far_from_zero_for_its_spread_or_out_of_its_range(values: Any, expected: bool) -> None:
    table = table_of({"x": values, "y": [1] * len(values)})
    assert is_blurred(table, (ColumnEncoding("x", "number"),)) == expected
    assert not is_blurred(table, ())


def test_of_the_parts_of_a_date_the_timestamp_is_blurred() -> None:
    dates = [datetime(2024, 1, 1) + timedelta(minutes=minute) for minute in range(100)]
    table = table_of({"x": dates, "y": range(100)})
    assert is_blurred(table, (ColumnEncoding("x", "date", parts=("year", "timestamp")),))
    assert not is_blurred(table, (ColumnEncoding("x", "date", parts=("year", "day_of_year")),))
