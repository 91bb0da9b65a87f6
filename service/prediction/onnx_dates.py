"""Parts of dates in whole numbers, for a runtime that knows no dates.

The calendar is that of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2013): years begin in March, so
that a leap day is a year's last, and 400 of them have 146,097 days.
"""

from service.encoding import DatePart
from service.prediction.onnx_nodes import Nodes

_DAY = 86_400_000_000
_MICROSECONDS = {"hour": (3_600_000_000, 24), "minute": (60_000_000, 60)}


def date_part(nodes: Nodes, microseconds: str, part: DatePart) -> str:
    """Give a part of dates.

    Args:
        nodes: of the graph.
        microseconds: since 1970 in UTC, int64.
        part: `timestamp` is in seconds, float64; all others are int64.
    """
    if part == "timestamp":
        return nodes.add("Div", nodes.to_double(microseconds), nodes.to_double(nodes.whole(1_000_000)))
    if part in _MICROSECONDS:
        unit, cycle = _MICROSECONDS[part]
        return nodes.remainder(nodes.divided(microseconds, unit), cycle)
    days = nodes.divided(microseconds, _DAY)
    if part == "weekday":  # 1970 began on a Thursday
        return nodes.plus(nodes.remainder(nodes.plus(days, 3), 7), 1)
    return _of_calendar(nodes, days, part)


def _of_calendar(nodes: Nodes, days: str, part: DatePart) -> str:
    days = nodes.plus(days, 719_468)  # since the first of March of the year 0
    of_era = nodes.remainder(days, 146_097)
    year = nodes.divided(
        nodes.total(
            nodes.minus(of_era, nodes.divided(of_era, 1460), nodes.divided(of_era, 146_096)),
            nodes.divided(of_era, 36_524),
        ),
        365,
    )
    before = nodes.minus(nodes.total(nodes.times(year, 365), nodes.divided(year, 4)), nodes.divided(year, 100))
    of_year = nodes.minus(of_era, before)
    month = nodes.divided(nodes.plus(nodes.times(of_year, 5), 2), 153)  # 0 is March
    if part == "day":
        first = nodes.divided(nodes.plus(nodes.times(month, 153), 2), 5)
        return nodes.plus(nodes.minus(of_year, first), 1)
    is_next = nodes.at_least(month, 10)  # January and February belong to the next year
    if part == "month":
        return nodes.minus(nodes.plus(month, 3), nodes.times(is_next, 12))
    year = nodes.total(year, nodes.times(nodes.divided(days, 146_097), 400), is_next)
    if part == "year":
        return year
    is_leap = nodes.total(
        nodes.minus(nodes.is_multiple(year, 4), nodes.is_multiple(year, 100)), nodes.is_multiple(year, 400)
    )
    # From the first of March to that of January there are 306 days; before March there are 59, or 60.
    since_january = nodes.minus(nodes.plus(nodes.total(of_year, is_leap), 60), nodes.times(is_next, 365))
    return nodes.minus(since_january, nodes.add("Mul", is_next, is_leap))
