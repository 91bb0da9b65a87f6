"""Whether this machine has a C compiler that works: Debian's gcc comes without the headers."""

import functools
import os
import shlex
import shutil
import subprocess


@functools.cache
def compiles() -> bool:
    """Try it on a library of nothing."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        return False
    command = [*compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", os.devnull]
    return subprocess.run(command, input=b"#include <string.h>", capture_output=True).returncode == 0
