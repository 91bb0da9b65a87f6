from pathlib import Path

import pytest

from service.training.native import hatch_build, sweep
from service.training.native.library import Library
from tests.compiling import compiles


def test_without_a_compiler_or_with_one_that_fails_the_reason_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(sweep.__file__).parent
    for compiler, reason in (("no-such-compiler", "there is no C compiler no-such-compiler"), ("false", "false says")):
        monkeypatch.setenv("CC", compiler)
        assert reason in (hatch_build.compile_sweep(source, tmp_path / "libsweep.so") or "")
    assert not list(tmp_path.iterdir())


def test_a_library_of_other_sources_or_none_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="libsweep"):
        Library(tmp_path / "libsweep.so")
    if not compiles():
        pytest.skip("there is no C compiler that works")
    exported = '__attribute__((visibility("default"))) const char *'
    (tmp_path / "sweep.c").write_text(
        f'{exported}compiled_from(void) {{ return SOURCES; }} {exported}best_instructions(void) {{ return "base"; }}'
    )
    assert hatch_build.compile_sweep(tmp_path, tmp_path / "libsweep.so") is None
    with pytest.raises(OSError, match="other sources"):
        Library(tmp_path / "libsweep.so")
