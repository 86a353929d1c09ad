"""How long the command line takes to say what it can do: median wall time of `python -m vaekit --help`."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import time

RUNS = 7


def seconds(*arguments: str) -> list[float]:
    """Wall times of `python ARGUMENTS`, after one run that fills the caches."""
    times = []
    for _ in range(RUNS + 1):
        begin = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    return times[1:]


def main() -> None:
    if importlib.util.find_spec("vaekit.__main__") is None:
        sys.exit("this vaekit has no command line")
    print(f"Median (min - max) of {RUNS} runs\n\n| | seconds |\n|---|---|")
    for arguments in (["-m", "vaekit", "--help"], ["-c", "pass"]):
        times = seconds(*arguments)
        span = f"{statistics.median(times):.3f} ({min(times):.3f} - {max(times):.3f})"
        print(f"| `python {' '.join(arguments)}` | {span} |")


if __name__ == "__main__":
    main()
