"""log p(x) of MNIST images by importance sampling, by one contestant in a process of its own, as JSON: `speed.py` starts it.

All have the layers 784-200-200-50 and back, tanh, with weights as they are made: what a draw costs does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from contestants import make_pythae, mlp
from torch import Tensor, nn

HIDDEN, LATENT = [200, 200], 50


def vaekit_work(x: Tensor, samples: int, standard_error: float | None = None) -> Callable[[], Tensor]:
    """`importance_sampling` as a user calls it."""
    import vaekit as vk

    schema = vk.Schema("image", (1, 28, 28), levels=2)
    model = vk.models.vae(schema, latent_dim=LATENT, network="mlp", hidden=tuple(HIDDEN), activation="tanh")
    images = x.view(-1, 1, 28, 28)
    return lambda: vk.evaluation.log_likelihood_per_example(
        model, images, samples=samples, standard_error=standard_error
    )


def pythae_work(x: Tensor, samples: int) -> Callable[[], Tensor]:
    """pythae's `get_nll`: 100 copies of an image at a time through encoder and decoder."""
    model = make_pythae(HIDDEN, LATENT, nn.Tanh).eval()
    return lambda: torch.as_tensor(model.get_nll(x, n_samples=samples))  # type: ignore[operator]


def floor_work(x: Tensor, samples: int) -> Callable[[], Tensor]:
    """The decoder's matrix products for as many draws, 1,024 at a time."""
    weights = [m.weight.T for m in mlp([LATENT, *HIDDEN, x.shape[1]]) if isinstance(m, nn.Linear)]
    z = torch.randn(1024, LATENT)

    def work() -> Tensor:
        for _ in range(-(-len(x) * samples // len(z))):
            h = z
            for weight in weights:
                h = h @ weight
        return h

    return work


WORK = {"vaekit": vaekit_work, "pythae": pythae_work, "floor": floor_work}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contestant", choices=list(WORK))
    parser.add_argument("pixels", type=Path)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--samples", type=int, required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    x = torch.from_numpy(np.load(options.pixels)[: options.rows]).float()
    with torch.no_grad():
        WORK[options.contestant](x[:2], options.samples)()  # libraries start, caches fill
        work = WORK[options.contestant](x, options.samples)
        begin, busy = time.perf_counter(), time.process_time()
        work()
        seconds, cpu = time.perf_counter() - begin, time.process_time() - busy
    print(json.dumps({"seconds": seconds, "cpu": cpu}))


if __name__ == "__main__":
    main()
