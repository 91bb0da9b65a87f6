import re
import time

from service.store.identifiers import new_identifier

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def test_an_identifier_is_its_prefix_and_a_ulid() -> None:
    assert re.fullmatch(rf"job_[0-7][{ALPHABET}]{{25}}", new_identifier("job_"))


def test_ten_thousand_identifiers_are_all_different() -> None:
    assert len({new_identifier("job_") for _ in range(10_000)}) == 10_000


def test_identifiers_sort_by_the_time_they_were_made() -> None:
    made = []
    for _ in range(20):
        made.append(new_identifier("job_"))
        time.sleep(0.002)
    assert made == sorted(made)


def test_an_identifier_tells_when_it_was_made() -> None:
    before = int(time.time() * 1000)
    digits = new_identifier("")[:10]
    milliseconds = sum(ALPHABET.index(digit) * 32**place for place, digit in enumerate(reversed(digits)))
    assert before <= milliseconds <= time.time() * 1000
