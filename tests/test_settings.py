import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from service.errors import InvalidSettings
from service.settings import PREFIX, Settings, read_settings

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(variable)


def test_without_any_variable_the_defaults_hold() -> None:
    settings = read_settings()
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert settings.database_path == Path("descent-data/descent.sqlite3")
    assert settings.datasets_path == Path("descent-data/datasets")
    assert settings.uploads_path == Path("descent-data/uploads")


def test_a_variable_sets_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESCENT_PORT", "9000")
    monkeypatch.setenv("descent_data_dir", "/srv/descent")
    monkeypatch.setenv("DESCENT_LOG_LEVEL", "debug")
    settings = read_settings()
    assert (settings.port, settings.log_level) == (9000, "debug")
    assert settings.database_path == Path("/srv/descent/descent.sqlite3")


def test_every_setting_survives_the_journey_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """So are they handed to the child processes."""
    settings = Settings(
        data_dir=Path("a b/c"),
        port=0,
        workers=3,
        lease_seconds=2.5,
        log_level="error",
        host="::1",
        allow_remote=True,
        database_url=SecretStr("postgresql://me:secret@db/descent"),
    )
    for variable, text in settings.as_environment().items():
        monkeypatch.setenv(variable, text)
    assert read_settings() == settings


def test_an_override_wins_over_its_variable_unless_it_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESCENT_PORT", "9000")
    monkeypatch.setenv("DESCENT_WORKERS", "5")
    settings = read_settings(port=9001, workers=0, host=None)
    assert (settings.port, settings.workers, settings.host) == (9001, 0, "127.0.0.1")
    assert read_settings(port=None).port == 9000


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("DESCENT_PROT", "DESCENT_PORT"),
        ("DESCENT_LOGLEVEL", "DESCENT_LOG_LEVEL"),
        ("descent_worker", "DESCENT_WORKERS"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant(
    monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(InvalidSettings, match=f"^{variable} is no setting: did you mean {meant}\\?$"):
        read_settings()


def test_an_unheard_of_variable_is_refused_with_all_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESCENT_ZZZZZZZZ", "1")
    with pytest.raises(InvalidSettings) as refused:
        read_settings()
    for name in Settings.model_fields:
        assert f"{PREFIX}{name.upper()}" in refused.value.detail


def test_variables_of_other_programs_are_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESCENTE_PORT", "x")
    monkeypatch.setenv("PORT", "x")
    assert read_settings().port == 8000


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("DESCENT_PORT", "65536"),
        ("DESCENT_PORT", "-1"),
        ("DESCENT_PORT", "http"),
        ("DESCENT_PORT", ""),
        ("DESCENT_PORT", "x" * 1000),
        ("DESCENT_WORKERS", "1.5"),
        ("DESCENT_WORKERS", "65"),
        ("DESCENT_ALLOW_REMOTE", "perhaps"),
        ("DESCENT_MAX_BODY_BYTES", "1023"),
        ("DESCENT_MAX_UPLOAD_BYTES", "1023"),
        ("DESCENT_MAX_STORAGE_BYTES", "-1"),
        ("DESCENT_MIN_FREE_BYTES", "1 GB"),
        ("DESCENT_LEASE_SECONDS", "0.5"),
        ("DESCENT_LEASE_SECONDS", "nan"),
        ("DESCENT_LEASE_SECONDS", "inf"),
        ("DESCENT_MAX_LOST_WORKERS", "0"),
        ("DESCENT_LOG_LEVEL", "loud"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(InvalidSettings, match=f"^{variable}: Input should be .*, not '{text[:60]}'$"):
        read_settings()


def test_a_setting_of_several_kinds_is_refused_once_with_what_it_may_be() -> None:
    with pytest.raises(
        InvalidSettings, match=r"^DESCENT_WORKERS: .* less than or equal to 64; or: .* 'auto', not '65'$"
    ):
        read_settings(workers="65")


def test_every_fault_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESCENT_PORT", "x")
    with pytest.raises(InvalidSettings, match=r"DESCENT_PORT: .*; DESCENT_WORKERS: "):
        read_settings(workers=-1)


def test_settings_do_not_change() -> None:
    settings = read_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_every_setting_has_its_sentence() -> None:
    for name, field in Settings.model_fields.items():
        assert (field.description or "").endswith("."), name


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_readme_names_every_setting(name: str) -> None:
    assert f"`{PREFIX}{name.upper()}`" in README.read_text(encoding="utf-8")
