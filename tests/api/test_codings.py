import gzip
import itertools
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from service.api.codings import CODINGS, Decoder
from service.errors import InvalidDataset

PACK: dict[str, Callable[[bytes], bytes]] = {
    "deflate": zlib.compress,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
}
MIB = 2**20


def decoded(coding: str, packed: bytes, cuts: list[int]) -> bytes:
    """Decode in pieces that end at these places."""
    decoder = Decoder(coding)
    places = [0, *sorted(cut % (len(packed) + 1) for cut in cuts), len(packed)]
    found = [b"".join(decoder.decode(packed[start:end])) for start, end in itertools.pairwise(places)]
    decoder.finish()
    return b"".join(found)


@pytest.mark.parametrize("coding", CODINGS)
@given(members=st.lists(st.binary(max_size=200), min_size=1, max_size=4), cuts=st.lists(st.integers(0, 2000)))
def test_members_in_a_row_come_back_whatever_pieces_they_come_in(
    coding: str, members: list[bytes], cuts: list[int]
) -> None:
    packed = b"".join(PACK[coding](member) for member in members)
    assert decoded(coding, packed, cuts) == b"".join(members)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_long_stream_comes_back(coding: str) -> None:
    content = b"".join(b"%d,%d\n" % (number, number**3) for number in range(200_000))
    assert decoded(coding, PACK[coding](content), [70_000, 140_001]) == content


@pytest.mark.parametrize("coding", CODINGS)
@given(content=st.binary(min_size=1, max_size=200), kept=st.floats(0, 1, exclude_max=True))
def test_a_stream_that_is_cut_off_is_refused(coding: str, content: bytes, kept: float) -> None:
    packed = PACK[coding](content)
    cut = packed[: max(1, int(kept * len(packed)))]
    with pytest.raises(InvalidDataset, match="cut off"):
        decoded(coding, cut, [])


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(
    "content", [b"area,price\n1,2\n", b"\x00" * 100, b"\x1f\x8bnothing", b"\x28\xb5\x2f\xfd" + b"\xff" * 90]
)
def test_what_is_not_of_the_coding_is_refused_by_its_name(coding: str, content: bytes) -> None:
    with pytest.raises(InvalidDataset, match=coding):
        decoded(coding, content, [])


@pytest.mark.parametrize("coding", CODINGS)
def test_what_follows_a_stream_must_be_another(coding: str) -> None:
    with pytest.raises(InvalidDataset, match=f"Content-Encoding says, {coding}"):
        decoded(coding, PACK[coding](b"a,b\n1,2\n") + b"a,b and more of it", [])


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_goes_off_in_parts(coding: str) -> None:
    bomb = PACK[coding](bytes(200 * MIB))
    sizes = [len(part) for part in Decoder(coding).decode(bomb)]
    assert sum(sizes) == 200 * MIB
    assert max(sizes) <= 33 * MIB


def test_nothing_stands_for_nothing() -> None:
    assert decoded("gzip", b"", []) == b""
