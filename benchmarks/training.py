"""Training throughput on MNIST: vaekit's `fit`, a bare PyTorch loop, pythae's trainer and the matrix products alone.

    VAEKIT_DATA=/path/to/data python benchmarks/training.py --pythae-python .venv-pythae/bin/python

All train the same fully connected VAE on the same statically binarised pixels in memory: batches of 128, Adam. Rounds are
interleaved and every training has a fresh process, so that neither a drift of the machine nor one contestant's threads
favour another. The first epoch is left out: it pays for the start, and the denormal numbers that slow an optimiser down
appear only after it. This process imports no torch, because on Linux a child's peak memory counts that of the process
which started it. `speed.py` has the other measurements.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

NETWORKS = {"784-500-500-50": ([500, 500], 50), "784-200-200-16": ([200, 200], 16)}

LABELS = {
    "vaekit": "vaekit `fit`",
    "vaekit-command": "vaekit `fit` in the command's process",
    "bare": "bare loop",
    "bare-flushed": "bare loop, `torch.set_flush_denormal(True)`",
    "bare-kept": "bare loop, flushed, memory kept as the command does",
    "pythae": "pythae 0.1.2",
    "pythae-flushed": "pythae 0.1.2, `torch.set_flush_denormal(True)`",
    "floor": "matrix products alone",
}

INSTALL = "python -m venv .venv-pythae && .venv-pythae/bin/pip install torch==2.13.0 pythae==0.1.2"


@dataclass
class Series:
    """What one contestant did on one network, round by round."""

    speed: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)


def run(python: str, *arguments: str, threads: int = 2, script: str = "contestants.py") -> str:
    """Run a script beside this one and return the last line it prints; what it shows besides is discarded."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    arguments = (str(Path(__file__).with_name(script)), *arguments)
    done = subprocess.run([python, *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return done.stdout.strip().splitlines()[-1]


def has_pythae(python: str) -> bool:
    """Whether pythae can be imported by this interpreter."""
    return subprocess.run([python, "-c", "import pythae.trainers"], capture_output=True).returncode == 0


def measure(
    options: argparse.Namespace, contestants: list[str], pixels: Path, rows: int
) -> dict[str, dict[str, Series]]:
    """Series by network and contestant."""
    results = {network: {name: Series() for name in contestants} for network in NETWORKS}
    for turn in range(1, options.rounds + 1):
        for network, (hidden, latent) in NETWORKS.items():
            for name in contestants:
                python = options.pythae_python if name.startswith("pythae") else sys.executable
                size = ["--hidden", *map(str, hidden), "--latent", str(latent), "--epochs", str(options.epochs)]
                said = run(python, name, str(pixels), "--rows", str(rows), *size, threads=options.threads)
                done = json.loads(said)
                later = done["seconds"][1:]
                series = results[network][name]
                series.speed.append(rows / statistics.median(later))
                series.peak.append(done["peak_bytes"] / 2**20)
                epochs = " ".join(f"{rows / s:,.0f}" for s in done["seconds"])
                print(f"round {turn}, {network}, {name}: {epochs} examples/s by epoch", file=sys.stderr, flush=True)
    return results


def spread(values: list[float], form: str) -> str:
    """Median (min - max)."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):{form}} ({low:{form}} - {high:{form}})"


def table(series: dict[str, Series]) -> str:
    """One network's results as a Markdown table; ratios are taken within each round."""
    ours = [name for name in ("vaekit", "vaekit-command") if name in series]
    over = " | ".join("fit / this" if name == "vaekit" else "command / this" for name in ours)
    lines = [f"| | examples/s | {over} | peak memory, MiB |", "|---" * (3 + len(ours)) + "|"]
    for name, other in series.items():
        ratios = " | ".join("" if name in ours else ratio(series[own], other) for own in ours)
        lines.append(f"| {LABELS[name]} | {spread(other.speed, ',.0f')} | {ratios} | {max(other.peak):,.0f} |")
    return "\n".join(lines)


def ratio(ours: Series, other: Series) -> str:
    """Speed against another's, round by round."""
    return spread([a / b for a, b in zip(ours.speed, other.speed, strict=True)], ".2f")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pythae-python", default=sys.executable, help="can import pythae (default: this one)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4, help="of each training; the first is not counted")
    parser.add_argument("--rows", type=int, default=50_000, help="training rows, at most 50,000")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=list(LABELS), default=list(LABELS))
    options = parser.parse_args()
    if options.rounds < 1 or options.epochs < 2 or options.rows < 1:
        parser.error("expected at least 1 round, 2 epochs and 1 row")
    contestants, absent = (
        [name for name in LABELS if name in ("vaekit", *options.only)],
        not has_pythae(options.pythae_python),
    )
    if absent:
        contestants = [name for name in contestants if not name.startswith("pythae")]
    with tempfile.TemporaryDirectory() as folder:
        pixels = Path(folder) / "pixels.npy"
        rows = int(run(sys.executable, "write-pixels", str(pixels), "--rows", str(options.rows)))
        results = measure(options, contestants, pixels, rows)
    print(
        f"{rows:,} rows, {options.rounds} rounds of {options.epochs} epochs, {options.threads} threads; median (min - max) "
        "over the rounds of the epochs after the first"
    )
    for network, series in results.items():
        print(f"\n## {network}\n\n{table(series)}")
    if absent:
        print(f"\npythae was left out: {options.pythae_python} cannot import it. To have it:\n    {INSTALL}")
        print("then give --pythae-python .venv-pythae/bin/python")


if __name__ == "__main__":
    main()
