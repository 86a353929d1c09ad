"""Seconds of training until a test ELBO on statically binarised MNIST, by one contestant, as JSON: `speed.py` starts it.

pythae trains by its default recipe (its own MLP of 512 units, Adam 1e-4, batches of 64, 100 epochs) and says where it
ends; vaekit trains by its own defaults until its test ELBO is there. The code has 16 dimensions in both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contestants import pythae_trainer

LATENT = 16


class Reached(Exception):
    """The test ELBO is there."""


def pythae_end(train: torch.Tensor, test: torch.Tensor, epochs: int) -> dict[str, Any]:
    """Seconds of training and the test ELBO at its end."""
    from pythae.models import VAE, VAEConfig

    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce")
    model = VAE(config)
    seconds = pythae_trainer(model, train.view(-1, 1, 28, 28), epochs)
    model.eval()
    torch.manual_seed(1)
    with torch.no_grad():
        parts = test.view(-1, 1, 28, 28).split(1000)
        losses = [float(model({"data": x}).loss) * len(x) for x in parts]
    return {"seconds": sum(seconds), "elbo": -sum(losses) / len(test)}


def vaekit_to(rows: int, target: float, epochs: int) -> dict[str, Any]:
    """Seconds of training until the ELBO of the test rows, by the same one draw a row, is at the target."""
    import vaekit as vk

    data = vk.load("mnist", binarize="static")
    model = vk.models.vae(data.schema, latent_dim=LATENT)
    seen = []

    def watch(record: dict[str, Any]) -> None:
        seen.append(record)
        if record["validation_elbo"] >= target:
            raise Reached

    watched = vk.Dataset(data.schema, data.train.head(rows), validation=data.test)
    with contextlib.suppress(Reached):
        vk.fit(model, watched, epochs=epochs, on_epoch=watch, device="cpu", progress=False)
    last = seen[-1]["validation_elbo"]
    return {"seconds": sum(r["seconds"] for r in seen), "elbo": last, "epochs": len(seen), "reached": last >= target}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contestant", choices=["vaekit", "pythae"])
    parser.add_argument("pixels", type=Path, help="training rows; test rows lie beside it as test.npy")
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--target", type=float, help="the ELBO that vaekit is to reach")
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.contestant == "vaekit":
        done = vaekit_to(options.rows, options.target, options.epochs)
    else:
        paths = options.pixels, options.pixels.with_name("test.npy")
        done = pythae_end(*(torch.from_numpy(np.load(p)).float() for p in paths), options.epochs)
    print(json.dumps(done))


if __name__ == "__main__":
    main()
