"""Files to upload, ways to upload them, and what uploads leave behind."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import zstandard
from httpx2 import Response

from tests.api.conftest import LocalService

HOUSES = pl.DataFrame(
    {
        "area": [50, 80, 120, 64],
        "price": [101.5, 160.0, 239.25, None],
        "kind": ["flat", "house", None, "flat"],
        "sold": [True, False, True, True],
    }
)


def written(format: str, frame: pl.DataFrame = HOUSES) -> bytes:  # noqa: A002  the field's word
    stream = io.BytesIO()
    writers: dict[str, Any] = {
        "csv": frame.write_csv,
        "jsonl": frame.write_ndjson,
        "parquet": frame.write_parquet,
        "arrow": frame.write_ipc,
    }
    writers[format](stream)
    return stream.getvalue()


CSV = written("csv")
MEDIA_TYPES = {
    "csv": "text/csv",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.file",
}
PACK: dict[str, Callable[[bytes], bytes]] = {"none": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}


def upload(
    service: LocalService, content: Any = CSV, media_type: str = MEDIA_TYPES["csv"], query: str = "", **headers: str
) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.http.post(f"/datasets{query}", content=content, headers={"Content-Type": media_type, **named})


def form(*parts: tuple[dict[str, str], bytes], boundary: str = "b0undary") -> tuple[bytes, str]:
    """Write a form of these parts, each with its headers; give it with its Content-Type."""
    lines = b""
    for headers, content in parts:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        lines += f"--{boundary}\r\n{head}\r\n".encode() + content + b"\r\n"
    return lines + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def file_part(content: bytes, name: str = "houses.csv", **headers: str) -> tuple[dict[str, str], bytes]:
    others = {header.replace("_", "-"): value for header, value in headers.items()}
    return {"Content-Disposition": f'form-data; name="file"; filename="{name}"', **others}, content


def field_part(name: str, value: str) -> tuple[dict[str, str], bytes]:
    return {"Content-Disposition": f'form-data; name="{name}"'}, value.encode()


def left_behind(data_dir: Path) -> set[str]:
    """Give the files and folders of uploads under way; there are none when all are over."""
    uploads = data_dir / "uploads"
    return {path.relative_to(uploads).as_posix() for path in uploads.rglob("*")} - {"lock"}


def kept(data_dir: Path) -> set[str]:
    """Give the names of the folders of datasets."""
    folder = data_dir / "datasets"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()
