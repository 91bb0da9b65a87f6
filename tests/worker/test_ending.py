import signal
import subprocess
import sys

import pytest

BLOCK = """
import hashlib, sys, threading
from service.worker.ending import ending_in_time

said = threading.Event()
stop = lambda: (print("stop", flush=True), said.set())
leave = lambda: (print("leave", flush=True), {leave})
with ending_in_time(stop, leave, {seconds}):
    print("ready", flush=True)
    {step}
print("ended", flush=True)
sys.exit(7)
"""
ONE_CALL = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
"""Many minutes in which the main thread gets to no other line of Python."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("step", "leave", "seconds", "exit_code", "said"),
    [
        ("said.wait()", "", 60, 7, ["stop", "ended"]),
        (ONE_CALL, "", 0.1, 0, ["stop", "leave"]),
        (ONE_CALL, "threading.Event().wait()", 0.1, 0, ["stop", "leave"]),
    ],
    ids=["in time", "in one long call", "in one long call, without a database"],
)
def test_a_process_ends_soon_after_a_signal_whatever_its_main_thread_is_at(
    number: int, step: str, leave: str, seconds: float, exit_code: int, said: list[str]
) -> None:
    code = BLOCK.format(step=step, leave=leave, seconds=seconds)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.wait(60) == exit_code
            assert process.stdout.read().split() == said
        finally:
            process.kill()
