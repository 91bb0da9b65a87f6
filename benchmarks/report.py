"""The tables that the benchmarks print."""

from collections.abc import Iterator

from benchmarks.measuring import Goal, Row

WIDTH = 57


def table(rows: list[Row]) -> Iterator[str]:
    """Give the lines: each way's time by the clock and on the processor, how many times Descent's, what is wanted."""
    yield f"  {'':<{WIDTH}}{'median':>9}{'ratio':>9}{'CPU':>9}{'ratio':>9}   goal"
    for row in rows:
        times = _seconds(row.seconds), _times(row.ratio), _seconds(row.processor_seconds), _times(row.processor_ratio)
        line = f"  {row.name:<{WIDTH}}" + "".join(f"{number:>9}" for number in times)
        yield line + ("" if row.goal is None else f"   {_verdict(row.goal, row.ratio)}")


def _verdict(goal: Goal, ratio: float) -> str:
    verdict = "met" if goal.is_met(ratio) else "MISSED"
    if goal.kind == "at least":
        return f"at least {_times(goal.factor)}: {verdict}"
    return f"Descent within {_times(goal.factor)} of it: {_times(1 / ratio)}, {verdict}"


def _seconds(seconds: float) -> str:
    """Write a duration with three digits in the unit that suits it."""
    for unit, size in (("s ", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds / 1e-6)} µs"


def _times(ratio: float) -> str:
    return f"{_digits(ratio)} x"


def _digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"
