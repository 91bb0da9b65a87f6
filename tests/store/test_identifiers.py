import re
import time
from datetime import UTC, datetime

import pytest

from service.store.identifiers import first_identifier, is_identifier, new_identifier

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def test_an_identifier_is_its_prefix_and_a_ulid() -> None:
    assert re.fullmatch(rf"job_[0-7][{ALPHABET}]{{25}}", new_identifier("job_"))


def test_ten_thousand_identifiers_are_all_different() -> None:
    assert len({new_identifier("job_") for _ in range(10_000)}) == 10_000


def test_identifiers_sort_by_the_order_in_which_they_were_made_however_quickly() -> None:
    made = [new_identifier("job_") for _ in range(10_000)]
    assert made == sorted(made)


def test_the_first_identifier_of_a_moment_parts_those_made_before_from_those_made_after() -> None:
    before = new_identifier("job_")
    time.sleep(0.002)
    moment = datetime.now(UTC)
    time.sleep(0.002)
    assert before < first_identifier("job_", moment) < new_identifier("job_")


@pytest.mark.parametrize("text", ["", "job_", "job_nowhere", "ds_" + "0" * 26, "job_" + "U" * 26, "job_" + "0" * 27])
def test_what_is_no_identifier_is_told_from_those_that_are(text: str) -> None:
    assert not is_identifier(text, "job_")
    assert is_identifier(new_identifier("job_"), "job_")


def test_an_identifier_tells_when_it_was_made() -> None:
    before = int(time.time() * 1000)
    digits = new_identifier("")[:10]
    milliseconds = sum(ALPHABET.index(digit) * 32**place for place, digit in enumerate(reversed(digits)))
    assert before <= milliseconds <= time.time() * 1000
