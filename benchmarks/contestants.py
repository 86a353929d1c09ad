"""One training by one contestant, in a process of its own; `training.py` starts it and reads the JSON it prints last.

It must run where only the contestant itself is installed, so nothing but torch and NumPy is imported above a function.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH = 128
THREADS = 2
LEARNING_RATE = 1e-3
PIXELS = 784


def mlp(widths: list[int]) -> nn.Sequential:
    """Linear layers with a relu between them."""
    layers: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def networks(hidden: list[int], latent: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder to mean and log-variance, and decoder to logits."""
    return mlp([PIXELS, *hidden, 2 * latent]), mlp([latent, *hidden[::-1], PIXELS])


def train_vaekit(rows: int, hidden: list[int], latent: int, epochs: int) -> list[float]:
    """`fit` as a user calls it; without validation rows: the speed of a record leaves validation out."""
    import vaekit as vk

    data = vk.load("mnist", binarize="static")
    model = vk.models.vae(data.schema, latent_dim=latent, network="mlp", hidden=tuple(hidden))
    training = vk.Dataset(data.schema, data.train.head(rows))
    history = vk.fit(
        model, training, epochs=epochs, batch_size=BATCH, learning_rate=LEARNING_RATE, device="cpu", progress=False
    )
    return [rows / speed for speed in history["examples_per_second"]]


def train_bare(x: Tensor, hidden: list[int], latent: int, epochs: int) -> list[float]:
    """The loop one would write by hand, with nothing in it that could be left out."""
    encoder, decoder = networks(hidden, latent)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], LEARNING_RATE, fused=True)
    seconds = []
    for _ in range(epochs):
        begin = time.perf_counter()
        order = torch.randperm(len(x))
        for start in range(0, len(x), BATCH):
            batch = x[order[start : start + BATCH]]
            mean, log_variance = encoder(batch).chunk(2, -1)
            z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            distortion = F.binary_cross_entropy_with_logits(decoder(z), batch, reduction="sum")
            rate = -0.5 * torch.sum(1 + log_variance - mean**2 - log_variance.exp())
            loss = (distortion + rate) / len(batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        seconds.append(time.perf_counter() - begin)
    return seconds


def train_pythae(x: Tensor, hidden: list[int], latent: int, epochs: int) -> list[float]:
    """pythae's own trainer on the same layers, with its defaults wherever the comparison does not fix them."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = networks(hidden, latent)[0]

        def forward(self, x: Tensor) -> ModelOutput:
            mean, log_variance = self.network(x).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = networks(hidden, latent)[1]

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))

    class Clock(TrainingCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_epoch_begin(self, training_config: BaseTrainerConfig, **_: object) -> None:
            self.begin = time.perf_counter()

        def on_epoch_end(self, training_config: BaseTrainerConfig, **_: object) -> None:
            self.seconds.append(time.perf_counter() - self.begin)

    config = VAEConfig(input_dim=(PIXELS,), latent_dim=latent, reconstruction_loss="bce")
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        training = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            num_epochs=epochs,
            learning_rate=LEARNING_RATE,
            no_cuda=True,
        )
        data = BaseDataset(x, torch.zeros(len(x)))
        model = VAE(config, encoder=Encoder(), decoder=Decoder())
        BaseTrainer(model, data, training_config=training, callbacks=[clock]).train()
    return clock.seconds


def write_pixels(path: Path, rows: int) -> int:
    """The binarised training rows as bytes (n, 784), for those who cannot import vaekit; returns n."""
    import vaekit as vk

    train = vk.load("mnist", binarize="static").train.head(rows)
    np.save(path, train.values.flatten(1).numpy())
    return len(train)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contestant", choices=["vaekit", "bare", "bare-flushed", "pythae", "write-pixels"])
    parser.add_argument("pixels", type=Path)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--hidden", type=int, nargs="+", default=[])
    parser.add_argument("--latent", type=int)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    if options.contestant == "write-pixels":
        print(write_pixels(options.pixels, options.rows))
        return
    size = (options.hidden, options.latent, options.epochs)
    if options.contestant == "bare-flushed":
        torch.set_flush_denormal(True)
    if options.contestant == "vaekit":
        seconds = train_vaekit(options.rows, *size)
    else:
        x = torch.from_numpy(np.load(options.pixels)).float()
        seconds = (train_pythae if options.contestant == "pythae" else train_bare)(x, *size)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
