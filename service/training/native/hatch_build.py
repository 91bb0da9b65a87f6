"""Compiles the sweep when Descent is installed or its wheel is built; else NumPy and torch do its work."""

import hashlib
import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("service", "training", "native")
LIBRARY = "libsweep.so"
# Without -march=native, for a wheel goes to other machines, and without -ffast-math, for NaN must be found. A product
# and a sum may be one operation, as they are in BLAS, and roots may be taken of whole vectors, for nobody asks errno.
FLAGS = (
    "-std=gnu11",
    "-O3",
    "-ffp-contract=fast",
    "-fno-trapping-math",
    "-fno-math-errno",
    "-shared",
    "-fPIC",
    "-fvisibility=hidden",
    "-w",
)


def compile_sweep(source: Path, target: Path) -> str | None:
    """Compile the sources in a folder with $CC or cc, to a file that appears whole or not at all.

    Returns:
        Why it could not be done, or None when it was.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if os.name == "nt" or shutil.which(compiler[0]) is None:
        return f"there is no C compiler {compiler[0]}"
    sources = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(source.glob("*.[ch]")))).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, LIBRARY)
        command = [*compiler, *FLAGS, f'-DSOURCES="{sources}"', str(source / "sweep.c"), "-o", str(made)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                said = [line for line in done.stderr.splitlines() if "error" in line] or [f"status {done.returncode}"]
                return f"{compiler[0]} says: {said[0]}"
            # In the target's own folder first: what runs with the old file keeps it.
            beside = target.with_name(f".{LIBRARY}.{os.getpid()}")
            shutil.copyfile(made, beside)
            beside.replace(target)
        except OSError as error:
            return str(error)
    return None


class CompiledSweep(BuildHookInterface):  # type: ignore[type-arg]
    """Puts what is compiled beside its sources for an editable install, else into a wheel for its platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See hatchling."""
        if self.target_name != "wheel":
            return
        source = Path(self.root, FOLDER)
        if version == "editable":
            reason = compile_sweep(source, source / LIBRARY)
        else:
            self._space = tempfile.TemporaryDirectory()  # until the wheel is made
            made = Path(self._space.name, LIBRARY)
            reason = compile_sweep(source, made)
            if reason is None:
                build_data["force_include"][str(made)] = (FOLDER / LIBRARY).as_posix()
                build_data["pure_python"] = False
                # It is called by ctypes: any Python takes it.
                build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")
        if reason is not None:
            self.app.display_warning(f"Descent's sweep is not compiled, NumPy and torch will do its work: {reason}")
