"""Every setting: name, default, one sentence. Each is an environment variable with the prefix DESCENT_."""

import difflib
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.errors import InvalidSettings
from service.keys import Key, read_keys

PREFIX = "DESCENT_"
SHOWN_CHARACTERS = 60


class Settings(BaseSettings):
    """How this installation runs."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data_dir: Path = Field(
        default=Path("descent-data"),
        description="Where everything is kept: the SQLite file descent.sqlite3, the folders datasets and uploads. All "
        "processes share it.",
    )
    database_url: SecretStr = Field(
        default=SecretStr(""),
        repr=False,
        description="Database on a PostgreSQL server that is used in place of the SQLite file: "
        "postgresql://USER:PASSWORD@HOST/DATABASE.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    workers: Annotated[int, Field(ge=0, le=64)] | Literal["auto"] = Field(
        default=1,
        description="Worker processes that `descent serve` keeps alive; `auto` is DESCENT_JOBS_PER_GPU for each GPU, "
        "or without any half as many as there are processors, 8 at the most.",
    )
    jobs_per_gpu: int = Field(
        default=1,
        ge=1,
        le=64,
        description="So many of the workers share a GPU; where there are more workers, the rest has none.",
    )
    api_processes: int = Field(
        default=1, ge=1, le=64, description="Processes that answer requests, on one address, kept alive likewise."
    )
    allow_remote: bool = Field(
        default=False,
        description="Listen where other machines reach it also without keys: whoever does may use it.",
    )
    api_keys: str = Field(
        default="",
        repr=False,
        description="Access keys beside those in the database: NAME:SCOPE:SHA256, several with commas between.",
    )
    api_key: str = Field(
        default="",
        repr=False,
        description="The key that the command line and the Python client send.",
    )
    max_body_bytes: int = Field(
        default=32 * 2**20, ge=1024, description="Largest request body accepted; beyond it the answer is 413."
    )
    max_upload_bytes: int = Field(
        default=16 * 2**30, ge=1024, description="Largest dataset accepted, unpacked, also inside its file; else 413."
    )
    max_storage_bytes: int = Field(
        default=64 * 2**30, ge=0, description="What all datasets may take together; beyond it the answer is 507."
    )
    min_free_bytes: int = Field(
        default=2**30, ge=0, description="Uploads leave so much of the disk free; beyond it the answer is 507."
    )
    lease_seconds: float = Field(
        default=15.0, ge=1, le=3600, description="A worker not heard of for so long is taken for dead."
    )
    max_lost_workers: int = Field(
        default=3,
        ge=1,
        le=100,
        description="A job that lost its worker so many times without getting on fails instead.",
    )
    max_queued_jobs: int = Field(
        default=10_000,
        ge=1,
        description="So many jobs may be queued, paused ones too; beyond it the answer is 429.",
    )
    max_jobs_per_key: int = Field(
        default=0,
        ge=0,
        description="So many jobs may be queued or running for the keys of a name; 429 beyond it; 0 is no limit.",
    )
    max_samples: int = Field(
        default=0, ge=0, description="Most samples that are trained on, 422 beyond it; 0 is no limit."
    )
    max_features: int = Field(
        default=0, ge=0, description="Most features that are trained on, 422 beyond it; 0 is no limit."
    )
    max_epochs: int = Field(
        default=10_000_000, ge=1, le=10_000_000, description="Most epochs of a training; beyond it the answer is 422."
    )
    max_parameters: int = Field(
        default=10_000_000, ge=1, le=10_000_000, description="Most parameters of a model; beyond it the answer is 422."
    )
    max_job_seconds: float = Field(
        default=0, ge=0, le=1e9, description="Trainings that last longer stop there with what they have; 0 is no limit."
    )
    max_memory_bytes: int = Field(
        default=0,
        ge=0,
        description="Most memory that a training may take, estimated, 422 beyond it; 0 is no limit.",
    )
    job_retention_days: float = Field(
        default=0,
        ge=0,
        le=36_500,
        description="Jobs are deleted so long after their end, models never; 0 is for ever.",
    )
    dataset_retention_days: float = Field(
        default=0, ge=0, le=36_500, description="Datasets that no job used for so long are deleted; 0 is for ever."
    )
    job_retention_bytes: int = Field(
        default=0,
        ge=0,
        description="The oldest ended jobs are deleted while the histories of all take more; 0 is no limit.",
    )
    dataset_retention_bytes: int = Field(
        default=0,
        ge=0,
        description="Datasets are deleted while all take more, the longest unused first; 0 is no limit.",
    )
    audit_retention_days: float = Field(
        default=365, gt=0, le=36_500, description="Entries of the audit are kept for so long."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log lines that are written."
    )

    @field_validator("api_keys")
    @classmethod
    def _api_keys_can_be_read(cls, text: str) -> str:
        read_keys(text)
        return text

    @property
    def keys(self) -> list[Key]:
        """The access keys of `api_keys`."""
        return read_keys(self.api_keys)

    @property
    def database_place(self) -> Path | str:
        """Where the database is: the path of the SQLite file, or the URL of another one, which has its password."""
        return self.database_url.get_secret_value() or self.database_path

    @property
    def database_path(self) -> Path:
        """Where the SQLite file lies."""
        return self.data_dir / "descent.sqlite3"

    @property
    def datasets_path(self) -> Path:
        """The folder that has one for each uploaded dataset."""
        return self.data_dir / "datasets"

    @property
    def uploads_path(self) -> Path:
        """The folder that has one for each upload under way."""
        return self.data_dir / "uploads"

    @property
    def scratch_path(self) -> Path:
        """The folder for large arrays under way, in files without a name."""
        return self.data_dir / "scratch"

    def as_environment(self) -> dict[str, str]:
        """Give each setting as its variable, for another process to read; secrets as they are."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            PREFIX + name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in values.items()
        }


def read_settings(**overrides: object) -> Settings:
    """Read the settings from the environment; overrides that are not None win.

    Raises:
        InvalidSettings: for a value out of bounds, and for a variable with our prefix that is no setting.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for variable in sorted(os.environ):
        if variable.upper().startswith(PREFIX) and variable.upper() not in known:
            close = difflib.get_close_matches(variable.upper(), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the settings are {', '.join(sorted(known))}"
            raise InvalidSettings(f"{variable} is no setting: {hint}")
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as invalid:
        raise InvalidSettings("; ".join(_faults(invalid))) from None


def _faults(invalid: ValidationError) -> Iterator[str]:
    """Say of each setting what it should be, and what it is unless that is to be shown nowhere."""
    for name, errors in groupby(invalid.errors(), lambda error: str(error["loc"][0])):
        found = list(errors)  # of a setting of several kinds there is one for each kind
        said = "; or: ".join(error["msg"].removeprefix("Value error, ") for error in found)
        given = f", not {str(found[0]['input'])[:SHOWN_CHARACTERS]!r}" if Settings.model_fields[name].repr else ""
        yield f"{PREFIX}{name.upper()}: {said}{given}"
