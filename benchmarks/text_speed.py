"""Training throughput on sentences: `fit` of a `text-lm` and a bare `nn.LSTM` + cross-entropy loop, side by side.

    python benchmarks/text_speed.py /path/to/ptb

Both train the same network (embedding 100, LSTM 200, the words of the data) in one process on the same batches, made by
`epoch_batches` (sentences of like length), with Adam. Rounds are interleaved, their order changes, and a ratio is of one round,
so that a drift of the machine favours nobody. Two more rows say what the adaptive softmax gains and what a code costs. Memory
is the peak of fresh processes: at this batch size, and with batches of 512 long sentences, where the softmax of the bare loop
is B T V numbers and that of `fit` is bounded (`distributions/sequence.py: LOGITS`).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

LABELS = {
    "bare": "bare loop",
    "text-lm": "`fit`, text-lm",
    "adaptive": "`fit`, text-lm, softmax adaptive",
    "text-vae": "`fit`, text-vae",
}


def bare_loop(schema: Any) -> Callable[..., float]:
    """(split, batch size, seed) -> seconds of one epoch by hand."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from vaekit.data.batches import epoch_batches

    size = schema.text.size
    embedding, lstm, out = nn.Embedding(size, 100), nn.LSTM(100, 200, batch_first=True), nn.Linear(200, size)
    parameters = [*embedding.parameters(), *lstm.parameters(), *out.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-3, fused=True)

    def epoch(split: Any, batch_size: int, seed: int) -> float:
        started = time.perf_counter()
        for x, _ in epoch_batches(split, batch_size, seed=seed, epoch=1, device=torch.device("cpu")):
            states, _ = lstm(embedding(F.pad(x[:, :-1], (1, 0), value=1)))
            loss = F.cross_entropy(out(states).flatten(0, 1), x.flatten(), ignore_index=0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return time.perf_counter() - started

    return epoch


def fitted(schema: Any, name: str) -> Callable[..., float]:
    """The same by `fit`."""
    import vaekit as vk

    recipe = vk.models.text_vae if name == "text-vae" else vk.models.text_lm
    model = recipe(schema, dropout=0.0, softmax="adaptive" if name == "adaptive" else "full")

    def epoch(split: Any, batch_size: int, seed: int) -> float:
        return vk.fit(model, split, epochs=1, batch_size=batch_size, seed=seed, progress=False)["seconds"][0]

    return epoch


def contestant(schema: Any, name: str) -> Callable[..., float]:
    return bare_loop(schema) if name == "bare" else fitted(schema, name)


def rounds(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Seconds of one epoch of each contestant, round by round; the first round pays for the start and is left out."""
    import vaekit as vk

    data = vk.load(options.data)
    split = data.train.head(options.rows)
    print(
        f"{len(split):,} sentences, {int(split.lengths.sum()):,} tokens, {data.schema.text.size:,} words, "
        f"batches of {options.batch_size}, {options.rounds} rounds of one epoch\n"
    )
    epochs = {name: contestant(data.schema, name) for name in LABELS}
    for number in range(options.rounds + 1):
        names = list(epochs)[number % len(epochs) :] + list(epochs)[: number % len(epochs)]
        seconds = {name: epochs[name](split, options.batch_size, number) for name in names}
        if number:
            yield {name: int(split.lengths.sum()) / s for name, s in seconds.items()}


def peak(options: argparse.Namespace) -> None:
    """In a process of its own: train a few batches and print the peak memory in MiB."""
    import resource

    import vaekit as vk

    data = vk.load(options.data)
    split, batch_size = data.train.head(options.rows), options.batch_size
    if options.peak.endswith("512"):
        rows = split.lengths.argsort(descending=True)[:512].repeat(2)
        split, batch_size = vk.Split(split.values[rows], lengths=split.lengths[rows]), 512
    contestant(data.schema, options.peak.removesuffix("-512"))(split, batch_size, 0)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def peak_of(options: argparse.Namespace, name: str) -> str:
    """Peak memory of a contestant; this process imports no torch before, because a child's peak counts its parent's."""
    command = [sys.executable, __file__, options.data, "--rows", "1000", "--peak", name]
    command += ["--batch-size", str(options.batch_size)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a text file, or a folder with train, valid and test")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        peak(options)
        return
    memory = {name: peak_of(options, name) for name in (*LABELS, "bare-512", "text-lm-512")}
    speeds = list(rounds(options))
    print("| | tokens/s | time of this / bare | peak memory, MiB |\n|---|---|---|---|")
    for name, label in LABELS.items():
        own = [speed[name] for speed in speeds]
        ratios = [speed["bare"] / speed[name] for speed in speeds]
        how = "" if name == "bare" else f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"
        shown = f"{statistics.median(own):,.0f} ({min(own):,.0f} - {max(own):,.0f})"
        print(f"| {label} | {shown} | {how} | {memory[name]} |")
    print(
        f"\nbatches of the 512 longest sentences: bare loop {memory['bare-512']} MiB, `fit` {memory['text-lm-512']} MiB"
    )


if __name__ == "__main__":
    main()
