"""Which of the media types that an answer may have is preferred, by the Accept header (RFC 9110, 12.5.1)."""

import re
from collections.abc import Sequence

from fastapi import Request

_QUALITY = re.compile(r"q=([01](\.[0-9]{0,3})?)")


def preferred(request: Request, offered: Sequence[str]) -> str:
    """Find the media type that is accepted with the highest weight; of equals the one that stands first.

    Args:
        request: that is to be answered.
        offered: what there is; the first is for those who accept all, say nothing, or accept none of them.
    """
    ranges = _ranges(",".join(request.headers.getlist("accept")))
    best, weight, place = offered[0], 0.0, 0
    for media_type in offered:
        kinds = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        kind = next((kind for kind in kinds if kind in ranges), None)  # the most specific one counts
        if kind is not None:
            its_weight, its_place = ranges[kind]
            if its_weight > weight or (its_weight == weight > 0 and its_place < place):
                best, weight, place = media_type, its_weight, its_place
    return best


def _ranges(accept: str) -> dict[str, tuple[float, int]]:
    """Give the weight and the place of each range of media types; what cannot be read is left out."""
    found: dict[str, tuple[float, int]] = {}
    for place, part in enumerate(accept.lower().split(",")):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        said = next((text for text in parameters if text.startswith("q=")), "q=1")
        quality = _QUALITY.fullmatch(said)
        if quality is not None:
            found.setdefault(kind, (min(1.0, float(quality[1])), place))
    return found
