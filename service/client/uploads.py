"""Frames and files, brought to the service to be kept as datasets."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from service.client.exchange import ask, get
from service.client.steps import Conversation, Json, Parts, Send
from service.client.tables import File, columns_of, file_of, is_frame
from service.dataset import id_of_content
from service.errors import ServiceRefused, UnreadableFile, UnsendableData
from service.files import ENDINGS, MAX_TEXT_LENGTH, PACKED_ENDINGS, file_name
from service.terminal import read_with_progress

UPLOAD_SECONDS = 600.0
"""How long the service may take to read a file that has been sent."""


def upload(data: Any, name: str | None, reading: Mapping[str, Any], *, progress: bool) -> Conversation[Json]:
    """Keep a frame or a file as a dataset, and give that; see `Descent.upload`."""
    said = {option: value for option, value in reading.items() if value is not None}
    if "types" in said:
        said["types"] = json.dumps(said["types"])
    if name is not None:
        said["name"] = name
    if is_frame(data):
        return (yield from send(file_of(columns_of(data)), said))
    if not isinstance(data, str | os.PathLike):
        raise UnsendableData(f"give a frame or the path of a file, not {type(data).__name__}: columns need names")
    return (yield from _upload_file(Path(data), said, progress))


def send(file: File, said: Mapping[str, Any]) -> Conversation[Json]:
    """Keep a table that was written as a file, and give the dataset."""
    types = {"types": json.dumps(file.types)} if file.types else {}
    return _post(file.content, {"Content-Type": file.media_type}, {**types, **said})


def _upload_file(path: Path, said: Json, progress: bool) -> Conversation[Json]:
    named = file_name(path.name)
    if not path.is_file():
        raise UnreadableFile(f"there is no file {path}")
    if named.media_type is None:
        known, packed = ", ".join(ENDINGS), " or ".join(PACKED_ENDINGS)
        raise UnreadableFile(f"{path} has no ending that tells its format: {known}, also with {packed} behind")
    content = _sha256(path)
    if not said and named.coding is None:
        # As it stands it may be there, and need not be sent.
        try:
            return (yield from get(f"/datasets/{id_of_content(content)}"))
        except ServiceRefused as unknown:
            if unknown.problem["status"] != 404:
                raise
    headers = {"Content-Type": named.media_type, "Content-Length": str(path.stat().st_size)}
    headers |= {"Content-Encoding": named.coding} if named.coding else {}
    shown = Console(stderr=True)
    said = {"name": named.stem[:MAX_TEXT_LENGTH], **said}
    return (yield from _post(lambda: read_with_progress(path, shown, is_shown=progress), headers, said))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as fault:
        raise UnreadableFile(f"{path} cannot be read: {fault.strerror}") from None


def _post(content: bytes | Parts, headers: Mapping[str, str], said: Mapping[str, Any]) -> Conversation[Json]:
    return ask(Send("POST", "/datasets", said, headers, content=content, timeout_seconds=UPLOAD_SECONDS))
