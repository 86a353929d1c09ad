"""Speed against what others need and against the matrix products alone, on MNIST.

    VAEKIT_DATA=/path/to/data python benchmarks/speed.py likelihood --pythae-python .venv-pythae/bin/python
    VAEKIT_DATA=/path/to/data python benchmarks/speed.py growth
    VAEKIT_DATA=/path/to/data python benchmarks/speed.py reaching --pythae-python .venv-pythae/bin/python
    VAEKIT_DATA=/path/to/data python benchmarks/training.py --pythae-python .venv-pythae/bin/python

`likelihood`: log p(x) by importance sampling, 784-200-200-50 tanh: vaekit, pythae's `get_nll`, and the decoder's matrix
products for as many draws. `growth`: vaekit's seconds as rows and draws double. `reaching`: training until the test ELBO
at which pythae's default recipe ends. Rounds are interleaved, every measurement has a process of its own, ratios are taken
within a round. Throughput of training is `training.py`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from training import has, how_to_have, run, spread

NAMES = {"vaekit": "vaekit", "pythae": "pythae 0.1.2 `get_nll`", "floor": "matrix products alone"}
TEST_ROWS = 10_000


def sampled(name: str, options: argparse.Namespace, pixels: Path, rows: int, samples: int) -> float:
    """Seconds of one contestant's importance sampling, by the clock or, on a machine that others use, of the processor."""
    python = options.pythae_python if name == "pythae" else sys.executable
    asked = (name, str(pixels), "--rows", str(rows), "--samples", str(samples))
    return float(
        json.loads(run(python, *asked, threads=options.threads, script="sampling.py"))[
            "cpu" if options.cpu else "seconds"
        ]
    )


def likelihood(options: argparse.Namespace, pixels: Path) -> None:
    """Seconds that the 10,000 test images would take, and each as a multiple of the others."""
    rows = {"vaekit": options.rows, "pythae": max(1, options.rows // 8), "floor": options.rows}
    names = [name for name in NAMES if name != "pythae" or has(options.pythae_python, "pythae")]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(1, options.rounds + 1):
        for name in names:
            taken = sampled(name, options, pixels, rows[name], options.samples)
            seconds[name].append(taken * TEST_ROWS / rows[name])
            print(f"round {turn}, {name}: {seconds[name][-1]:,.0f} s", file=sys.stderr, flush=True)
    clock = "processor's seconds" if options.cpu else "seconds by the clock"
    print(f"K = {options.samples:,}, {options.threads} threads, {options.rounds} rounds of {options.rows} images,")
    print(f"{clock}, median (min - max)\n\n| | seconds for 10,000 images | this / vaekit |\n|---|---|---|")
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values, seconds["vaekit"], strict=True)]
        print(f"| {NAMES[name]} | {spread(values, ',.0f')} | {spread(ratios, '.2f')} |")
    if "pythae" not in names:
        print(f"\npythae was left out: {options.pythae_python} cannot import it. To have it:\n{how_to_have('pythae')}")


def growth(options: argparse.Namespace, pixels: Path) -> None:
    """Microseconds a draw as rows and draws double: even, where the cost is linear in both."""
    sizes = [(options.rows * a, options.samples * b // 4) for a, b in ((1, 1), (2, 1), (4, 1), (1, 2), (1, 4), (4, 4))]
    taken: dict[tuple[int, int], list[float]] = {size: [] for size in sizes}
    for _ in range(options.rounds):
        for size in sizes:
            taken[size].append(sampled("vaekit", options, pixels, *size))
    print("| rows | draws | seconds | microseconds a draw |\n|---|---|---|---|")
    for (rows, samples), values in taken.items():
        each = 1e6 * statistics.median(values) / (rows * samples)
        print(f"| {rows:,} | {samples:,} | {spread(values, '.2f')} | {each:.2f} |")


def reaching(options: argparse.Namespace, pixels: Path) -> None:
    """How long vaekit's defaults take to where pythae's default recipe ends."""
    if not has(options.pythae_python, "pythae"):
        sys.exit(f"{options.pythae_python} cannot import pythae. To have it:\n{how_to_have('pythae')}")
    shared = (str(pixels), "--rows", str(options.training_rows), "--epochs", str(options.epochs))
    how = {"threads": options.threads, "script": "reaching.py"}
    theirs = json.loads(run(options.pythae_python, "pythae", *shared, **how))
    print(f"pythae's default recipe: {theirs['seconds']:,.0f} s, test ELBO {theirs['elbo']:.2f}", flush=True)
    ours = json.loads(run(sys.executable, "vaekit", *shared, "--target", str(theirs["elbo"]), **how))
    end = "" if ours["reached"] else ", which is not there yet"
    print(f"vaekit's defaults: {ours['seconds']:,.0f} s, {ours['epochs']} epochs, test ELBO {ours['elbo']:.2f}{end}")
    print(f"vaekit / pythae: {ours['seconds'] / theirs['seconds']:.3f}")


MODES = {"likelihood": likelihood, "growth": growth, "reaching": reaching}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=list(MODES))
    parser.add_argument("--pythae-python", default=sys.executable, help="can import pythae (default: this one)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", action="store_true", help="count the processor's seconds: others use this machine")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=64, help="images of the importance sampling (pythae: an eighth)")
    parser.add_argument("--samples", type=int, default=5000, help="K of the importance sampling")
    parser.add_argument("--epochs", type=int, default=100, help="reaching: pythae's default is 100")
    parser.add_argument("--training-rows", type=int, default=50_000, help="reaching: of the training")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pixels = Path(folder) / "pixels.npy"
        run(sys.executable, "write-pixels", str(pixels), "--rows", str(options.training_rows), threads=options.threads)
        MODES[options.mode](options, pixels)


if __name__ == "__main__":
    main()
