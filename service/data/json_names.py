"""Names that stand twice in an object of JSON: parsers take the last value in silence, which may not be meant."""

import json
from collections import Counter
from typing import Any

from service.errors import Fault, InvalidRequest, escape


def check_names(content: bytes, value: Any) -> None:
    """Check that no object has a name twice.

    Args:
        content: JSON.
        value: what was read from it, in which such a name stands once.

    Raises:
        InvalidRequest: with a fault for each.
    """
    faults = names_twice(content, value)
    if faults:
        raise InvalidRequest(faults)


def names_twice(content: bytes, value: Any) -> list[Fault]:
    """Find the names that an object has twice; arguments as of `check_names`."""
    # Each name has a colon behind it: with no more colons than names, as in most bodies, none was lost.
    return [] if _has_names(value, content.count(b":")) else _repeated(content)


def _has_names(value: Any, n_expected: int) -> bool:
    """Tell whether the objects in a value have so many names in all; no deeper than it takes to know."""
    level = [value]
    while level and n_expected > 0:
        n_expected -= sum(len(one) for one in level if type(one) is dict)
        if n_expected > 0:
            inner = (one.values() if type(one) is dict else one for one in level if type(one) in (dict, list))
            level = [one for values in inner for one in values if type(one) in (dict, list)]
    return n_expected <= 0


def _repeated(content: bytes) -> list[Fault]:
    objects = list[dict[str, Any]]()
    twice: dict[int, list[str]] = {}

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            twice[id(found)] = [name for name, count in counts.items() if count > 1]
            objects.append(found)  # so that no other gets its id
        return found

    try:
        # The values do not matter: as text they are read sooner, and however many digits they have.
        places = [("", json.loads(content, object_pairs_hook=object_of, parse_int=str, parse_float=str))]
    except RecursionError:  # which comes some levels sooner than without the hook
        return [Fault("", "the body cannot be read as JSON: it is nested too deeply")]
    faults = []
    while twice and places:
        pointer, value = places.pop()
        if isinstance(value, dict):
            faults += [repeated(pointer, name) for name in twice.get(id(value), ())]
            places += [(f"{pointer}/{escape(name)}", one) for name, one in reversed(value.items())]
        elif isinstance(value, list):
            places += [(f"{pointer}/{row}", one) for row, one in reversed([*enumerate(value)])]
    return faults


def repeated(pointer: str, name: str) -> Fault:
    """Tell of a name that stands twice in the object at a place."""
    return Fault(f"{pointer}/{escape(name)}", f"{name!r} is given several times: give it once")
