"""The peak memory of a training, in a process of its own: `python -m benchmarks.memory N_SAMPLES N_FEATURES EPOCHS`."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import descent
from benchmarks.tables import regression
from service.dataset import Dataset

STATUS = Path("/proc/self/status")
"""Where Linux says the largest memory that this process has had resident since it began (ru_maxrss, which it also has,
may be that of the process which started it)."""
ALLOWED = 0.1


def measure(n_samples: int, n_features: int, epochs: int) -> str:
    """Give a sentence about it."""
    if not STATUS.exists():
        return "the peak memory is measured on Linux only"
    command = [sys.executable, "-m", "benchmarks.memory", str(n_samples), str(n_features), str(epochs)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    idle, loaded, trained = (found[moment] / 2**20 for moment in ("idle", "loaded", "trained"))
    data = n_samples * (n_features + 1) * 4 / 2**20
    share = (trained - loaded) / data
    verdict = "met" if share <= ALLOWED else "MISSED"
    return (
        f"peak memory: {idle:.0f} MiB after the imports, {loaded:.0f} MiB with the data ({data:.0f} MiB), "
        f"{trained:.0f} MiB trained: {share:.1%} of the data more; goal {ALLOWED:.0%}: {verdict}"
    )


def peak_bytes() -> int:
    """Give the largest resident memory so far."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Print the peaks as JSON."""
    n_samples, n_features, epochs = map(int, sys.argv[1:])
    peaks = {"idle": peak_bytes()}
    dataset = Dataset(*regression(n_samples, n_features))
    peaks["loaded"] = peak_bytes()
    descent.learned(descent.prepare("linear_regression", dataset, epochs=epochs))
    peaks["trained"] = peak_bytes()
    sys.stdout.write(json.dumps(peaks))


if __name__ == "__main__":
    main()
