import pytest

from service.errors import InvalidSettings
from service.keys import PREFIX, Key, is_name, new_secret, read_keys, sha256_of, write_keys
from service.settings import Settings, read_settings

HASH = "ab" * 32


def test_a_key_is_random_and_long_enough_that_a_fast_hash_is_right() -> None:
    found = {new_secret() for _ in range(100)}
    assert len(found) == 100
    for secret in found:
        assert secret.startswith(PREFIX)
        assert len(secret.removeprefix(PREFIX)) * 6 >= 256


def test_keys_survive_the_journey_through_a_setting() -> None:
    keys = [Key("web/1", "web", "train", sha256_of("a")), Key("ops/2", "ops", "admin", sha256_of("b"))]
    assert read_keys(write_keys(keys)) == keys
    assert read_keys(" " + write_keys(keys).replace(",", " ,\n ") + ",") == keys
    assert read_keys("") == []


@pytest.mark.parametrize(
    "entry",
    [
        "web",
        f"web:{HASH}",
        f"web:write:{HASH}",
        f":read:{HASH}",
        f"a b:read:{HASH}",
        f"web:read:{HASH}:x",
        "web:read:descent_secret",
        f"web:read:{HASH[1:]}",
        f"web:read:{HASH.upper()}",
    ],
)
def test_an_entry_of_another_form_is_refused_by_its_number_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setenv("DESCENT_API_KEYS", f"ok:read:{HASH},{entry}")
    with pytest.raises(
        InvalidSettings, match=r"DESCENT_API_KEYS: .*entry 2 .*NAME:SCOPE:SHA256.*read, train, admin"
    ) as why:
        read_settings()
    assert entry not in why.value.detail


def test_settings_that_are_shown_show_no_key() -> None:
    shown = repr(Settings(api_keys=f"ok:read:{HASH}", api_key="descent_secret"))
    assert HASH not in shown
    assert "descent_secret" not in shown


@pytest.mark.parametrize(
    ("text", "is_one"), [("a", True), ("A-b.c_9", True), ("", False), ("-a", False), ("a:b", False)]
)
def test_names_are_of_letters_digits_and_a_few_signs(text: str, is_one: bool) -> None:
    assert is_name(text) is is_one
    assert not is_name("a" * 101)
