"""References: what names a version of a model, in a client's words."""

from urllib.parse import quote

from service.client.exchange import get
from service.client.steps import Conversation, Json
from service.errors import ServiceRefused


def version_of(reference: str) -> Conversation[Json]:
    """Give the version that `NAME`, `NAME@latest`, `NAME@3` or `NAME@ALIAS` means.

    Raises:
        ServiceRefused: also when the model has no such alias.
    """
    name, _, meant = reference.partition("@")
    if meant.isdecimal():
        return (yield from get(path_of(name, meant)))
    aliases = (yield from get(path_of(name)))["aliases"]
    if (meant or "latest") not in aliases:
        known = ", ".join(aliases)
        raise ServiceRefused({"detail": f"model {name!r} has no version or alias {meant!r}: there are {known}"})
    return (yield from get(path_of(name, aliases[meant or "latest"])))


def path_of(name: str, version: int | str | None = None) -> str:
    """Give the path of a model, or of a version of it."""
    # A name that was mistyped is none, and not the path of another: "a?b" is not "a".
    model = f"/models/{quote(name, safe='')}"
    return model if version is None else f"{model}/versions/{version}"
