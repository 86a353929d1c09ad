"""Training throughput on MNIST: vaekit's `fit`, a bare PyTorch loop, pythae, Lightning, JAX and the matrix products alone.

    VAEKIT_DATA=/path/to/data python benchmarks/training.py --pythae-python .venv-pythae/bin/python \
        --lightning-python .venv-lightning/bin/python --jax-python .venv-jax/bin/python

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
    "lightning": "Lightning's Trainer, loader by row, bar and logger",
    "jax": "JAX, an epoch one compiled scan",
    "floor": "matrix products alone",
}


@dataclass(frozen=True)
class Peer:
    """Who needs an interpreter of its own: what to import to see that it is there, and how to get it."""

    module: str
    packages: str
    script: str = "contestants.py"


PEERS = {
    "pythae": Peer("pythae.trainers", "torch==2.13.0 pythae==0.1.2"),
    "lightning": Peer("lightning", "torch==2.13.0 lightning==2.6.6"),
    "jax": Peer("jax", "jax==0.10.2", "jax_scan.py"),
}


def peer_of(contestant: str) -> str | None:
    """The peer that a contestant is, None for those that run beside vaekit."""
    return next((name for name in PEERS if contestant.startswith(name)), None)


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


def has(python: str, peer: str) -> bool:
    """Whether this interpreter can import the peer."""
    return subprocess.run([python, "-c", f"import {PEERS[peer].module}"], capture_output=True).returncode == 0


def how_to_have(peer: str) -> str:
    """The commands that install a peer, and the option that names it."""
    folder = f".venv-{peer}"
    return (
        f"    python -m venv {folder} && {folder}/bin/pip install {PEERS[peer].packages}\n"
        f"then give --{peer}-python {folder}/bin/python"
    )


def measure(
    options: argparse.Namespace, contestants: list[str], pythons: dict[str, str], pixels: Path, rows: int
) -> dict[str, dict[str, Series]]:
    """Series by network and contestant."""
    results = {network: {name: Series() for name in contestants} for network in NETWORKS}
    for turn in range(1, options.rounds + 1):
        for network, (hidden, latent) in NETWORKS.items():
            for name in contestants:
                peer = peer_of(name)
                python, script = (
                    (sys.executable, "contestants.py") if peer is None else (pythons[peer], PEERS[peer].script)
                )
                size = ["--hidden", *map(str, hidden), "--latent", str(latent), "--epochs", str(options.epochs)]
                said = run(
                    python, name, str(pixels), "--rows", str(rows), *size, threads=options.threads, script=script
                )
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
    for peer in PEERS:
        parser.add_argument(f"--{peer}-python", default=sys.executable, help=f"can import {peer} (default: this one)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4, help="of each training; the first is not counted")
    parser.add_argument("--rows", type=int, default=50_000, help="training rows, at most 50,000")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=list(LABELS), default=list(LABELS))
    options = parser.parse_args()
    if options.rounds < 1 or options.epochs < 2 or options.rows < 1:
        parser.error("expected at least 1 round, 2 epochs and 1 row")
    pythons = {peer: getattr(options, f"{peer}_python") for peer in PEERS}
    contestants = [name for name in LABELS if name in ("vaekit", *options.only)]
    absent = [peer for peer in PEERS if peer in map(peer_of, contestants) and not has(pythons[peer], peer)]
    contestants = [name for name in contestants if peer_of(name) not in absent]
    with tempfile.TemporaryDirectory() as folder:
        pixels = Path(folder) / "pixels.npy"
        rows = int(run(sys.executable, "write-pixels", str(pixels), "--rows", str(options.rows)))
        results = measure(options, contestants, pythons, pixels, rows)
    print(
        f"{rows:,} rows, {options.rounds} rounds of {options.epochs} epochs, {options.threads} threads; median (min - max) "
        "over the rounds of the epochs after the first"
    )
    for network, series in results.items():
        print(f"\n## {network}\n\n{table(series)}")
    for peer in absent:
        print(f"\n{peer} was left out: {pythons[peer]} cannot import it. To have it:\n{how_to_have(peer)}")


if __name__ == "__main__":
    main()
