from collections.abc import Callable

import pytest

from service.files import ENDINGS, MEDIA_TYPES, PACKED_ENDINGS, FileName, file_name


@pytest.mark.parametrize("packed", ["", *PACKED_ENDINGS])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_every_ending_is_known_in_either_case(ending: str, packed: str, case: Callable[[str], str]) -> None:
    named = file_name(f"Houses.v2{case(ending)}{case(packed)}")
    assert named == FileName("Houses.v2", ENDINGS[ending], PACKED_ENDINGS.get(packed))
    assert named.media_type is not None
    assert MEDIA_TYPES[named.media_type] == named.format


@pytest.mark.parametrize(
    ("name", "stem", "coding"), [("", "", None), ("houses.xlsx", "houses.xlsx", None), ("a.gz", "a", "gzip")]
)
def test_a_name_that_tells_no_format_has_no_media_type(name: str, stem: str, coding: str | None) -> None:
    assert file_name(name) == FileName(stem, None, coding)
    assert file_name(name).media_type is None


def test_a_name_is_not_empty_without_its_ending() -> None:
    assert file_name(".csv") == FileName(".csv", "csv", None)
