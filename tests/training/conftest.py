from collections.abc import Iterator
from pathlib import Path

import pytest

from service.training.native import hatch_build
from service.training.native.library import LIBRARY, Library
from tests.compiling import compiles
from tests.threads import one_thread


@pytest.fixture(autouse=True)
def single_threaded() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """What is installed, or else compiled here."""
    if LIBRARY is not None:
        return LIBRARY
    if not compiles():
        pytest.skip("there is no C compiler that works")
    target = tmp_path_factory.mktemp("native") / "libsweep.so"
    assert hatch_build.compile_sweep(Path(hatch_build.__file__).parent, target) is None
    return Library(target)
