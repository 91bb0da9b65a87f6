"""References: what names a version of a model, in a client's words."""

from service.client.exchange import get, path_of
from service.client.steps import Conversation, Json
from service.errors import ServiceRefused


def version_of(reference: str) -> Conversation[Json]:
    """Give the version that `NAME`, `NAME@latest`, `NAME@3` or `NAME@ALIAS` means.

    Raises:
        ServiceRefused: also when the model has no such alias.
    """
    name, at, meant = reference.partition("@")
    if meant.isdecimal():
        return (yield from get(version_path(name, meant)))
    alias, aliases = meant if at else "latest", (yield from get(path_of("models", name)))["aliases"]
    if alias not in aliases:
        known = ", ".join(aliases)
        raise ServiceRefused(
            {"status": 404, "detail": f"model {name!r} has no version or alias {meant!r}: there are {known}"}
        )
    return (yield from get(version_path(name, aliases[alias])))


def version_path(name: str, version: int | str) -> str:
    """Give the path of a version of a model."""
    return path_of("models", name, "versions", version)
