"""What a step of IWAE costs with the gradient through all K draws and through S of them, taken by their weights.

    VAEKIT_DATA=/path/to/data OMP_NUM_THREADS=1 python benchmarks/resampling.py

Forward and backward of the 784-200-200-50 network on 250 images, K = 50, doubly reparameterised, in turns. The noise is that of the
gradient by the decoder's last weights from one step to the next, on the same images: root mean square of its deviations.
"""

from __future__ import annotations

import statistics
import time
from functools import partial

import torch
from tables import BURDA

import vaekit as vk
from vaekit.models import make_model

COUNTS = (0, 1, 3, 5, 10)


def main(rounds: int = 9, rows: int = 250, samples: int = 50) -> None:
    """Train a little, so that the weights are not all alike, then time and compare."""
    data = vk.load("mnist", binarize="dynamic")
    torch.manual_seed(0)
    model = make_model("vae", data.schema, BURDA)
    vk.fit(model, data, partial(vk.iwae, samples=5), epochs=2, progress=False, device="cpu")
    batch = vk.Batch(data.train.fixed(0).rows(slice(0, rows)))
    last = [p for p in model.decoder.parameters() if p.ndim == 2][-1]
    seconds: dict[int, list[float]] = {count: [] for count in COUNTS}
    slopes: dict[int, list[torch.Tensor]] = {count: [] for count in COUNTS}
    for _ in range(rounds):
        for count in COUNTS:
            model.zero_grad()
            begin = time.process_time()
            vk.iwae(model, batch, samples=samples, gradient="doubly", resampled=count).loss.mean().backward()
            seconds[count].append(time.process_time() - begin)
            slopes[count].append(last.grad.clone())
    spread = {count: float(torch.stack(found).var(0).mean().sqrt()) for count, found in slopes.items()}
    print("| gradient through | ms | all / this | noise / that of all |\n|---|---|---|---|")
    for count in COUNTS:
        ratio = statistics.median(a / b for a, b in zip(seconds[0], seconds[count], strict=True))
        name = count or f"all {samples}"
        print(
            f"| {name} | {1e3 * statistics.median(seconds[count]):.0f} | {ratio:.2f} | {spread[count] / spread[0]:.2f} |"
        )


if __name__ == "__main__":
    main()
