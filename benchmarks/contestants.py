"""One training by one contestant, in a process of its own; `training.py` starts it and reads the JSON it prints last.

It must run where only the contestant itself is installed, so nothing but torch, NumPy and `contest.py` is imported above a function.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from contest import BATCH, LEARNING_RATE, PIXELS, arguments, tell
from torch import Tensor, nn
from torch.nn import functional as F


def mlp(widths: list[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(widths):
        layers += [nn.Linear(width_in, width_out), activation()]
    return nn.Sequential(*layers[:-1])


def networks(
    hidden: list[int], latent: int, activation: type[nn.Module] = nn.ReLU
) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder to mean and log-variance, and decoder to logits."""
    return mlp([PIXELS, *hidden, 2 * latent], activation), mlp([latent, *hidden[::-1], PIXELS], activation)


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


def bound(encoder: nn.Module, decoder: nn.Module, batch: Tensor) -> Tensor:
    """Minus the ELBO, the mean over the batch, in nats."""
    mean, log_variance = encoder(batch).chunk(2, -1)
    z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    distortion = F.binary_cross_entropy_with_logits(decoder(z), batch, reduction="sum")
    rate = -0.5 * torch.sum(1 + log_variance - mean**2 - log_variance.exp())
    return (distortion + rate) / len(batch)


def train_bare(x: Tensor, hidden: list[int], latent: int, epochs: int) -> list[float]:
    """The loop one would write by hand, with nothing in it that could be left out."""
    encoder, decoder = networks(hidden, latent)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], LEARNING_RATE, fused=True)
    seconds = []
    for _ in range(epochs):
        begin = time.perf_counter()
        order = torch.randperm(len(x))
        for start in range(0, len(x), BATCH):
            loss = bound(encoder, decoder, x[order[start : start + BATCH]])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        seconds.append(time.perf_counter() - begin)
    return seconds


def train_floor(x: Tensor, hidden: list[int], latent: int, epochs: int) -> list[float]:
    """The matrix products of a step and nothing else: forward, slopes of the weights, slopes of the inputs."""
    ends = [list(itertools.pairwise(w)) for w in ([PIXELS, *hidden, 2 * latent], [latent, *hidden[::-1], PIXELS])]
    weights = [torch.randn(b, a) / a**0.5 for a, b in itertools.chain(*ends)]
    inputs = [torch.randn(BATCH, w.shape[1]) for w in weights]
    slopes = [torch.randn(BATCH, w.shape[0]) for w in weights]
    seconds = []
    for _ in range(epochs):
        begin = time.perf_counter()
        for _ in range(-(-len(x) // BATCH)):
            for at, (w, h, slope) in enumerate(zip(weights, inputs, slopes, strict=True)):
                h @ w.T
                slope.T @ h
                if at:
                    slope @ w
        seconds.append(time.perf_counter() - begin)
    return seconds


def make_pythae(hidden: list[int], latent: int, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """pythae's VAE of the same layers."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = networks(hidden, latent, activation)[0]

        def forward(self, x: Tensor) -> ModelOutput:
            mean, log_variance = self.network(x).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = networks(hidden, latent, activation)[1]

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))

    config = VAEConfig(input_dim=(PIXELS,), latent_dim=latent, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(), decoder=Decoder())


def train_pythae(x: Tensor, hidden: list[int], latent: int, epochs: int) -> list[float]:
    """pythae's own trainer on the same layers, with its defaults wherever the comparison does not fix them."""
    model = make_pythae(hidden, latent)
    return pythae_trainer(model, x, epochs, per_device_train_batch_size=BATCH, learning_rate=LEARNING_RATE)


def pythae_trainer(model: nn.Module, x: Tensor, epochs: int, **settings: float) -> list[float]:
    """Seconds of every epoch; what `settings` leave out is pythae's default."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class Clock(TrainingCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_epoch_begin(self, training_config: BaseTrainerConfig, **_: object) -> None:
            self.begin = time.perf_counter()

        def on_epoch_end(self, training_config: BaseTrainerConfig, **_: object) -> None:
            self.seconds.append(time.perf_counter() - self.begin)

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        training = BaseTrainerConfig(output_dir=folder, num_epochs=epochs, no_cuda=True, **settings)
        data = BaseDataset(x, torch.zeros(len(x)))
        BaseTrainer(model, data, training_config=training, callbacks=[clock]).train()
    return clock.seconds


def train_lightning(x: Tensor, hidden: list[int], latent: int, epochs: int) -> list[float]:
    """A LightningModule in Lightning's Trainer: a loader that collects rows one by one, the bar, and a logger."""
    import lightning
    from lightning.pytorch.loggers import CSVLogger
    from torch.utils.data import DataLoader, TensorDataset

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = networks(hidden, latent)
            self.seconds: list[float] = []

        def training_step(self, rows: list[Tensor], _: int) -> Tensor:
            loss = bound(self.encoder, self.decoder, rows[0])
            self.log("loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), LEARNING_RATE, fused=True)

        def on_train_epoch_start(self) -> None:
            self.begin = time.perf_counter()

        def on_train_epoch_end(self) -> None:
            self.seconds.append(time.perf_counter() - self.begin)

    module = Module()
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="cpu", max_epochs=epochs, default_root_dir=folder, logger=CSVLogger(folder)
        )
        trainer.fit(module, DataLoader(TensorDataset(x), batch_size=BATCH, shuffle=True))
    print()  # after the bar
    return module.seconds


def write_pixels(path: Path, rows: int) -> int:
    """The binarised training rows as bytes (n, 784), for those who cannot import vaekit; returns n.

    The test rows are written beside them, to test.npy.
    """
    import vaekit as vk

    data = vk.load("mnist", binarize="static")
    train = data.train.head(rows)
    np.save(path, train.values.flatten(1).numpy())
    np.save(path.with_name("test.npy"), data.test.values.flatten(1).numpy())
    return len(train)


LOOPS = {
    "bare": train_bare,
    "bare-flushed": train_bare,
    "bare-kept": train_bare,
    "pythae": train_pythae,
    "pythae-flushed": train_pythae,
    "lightning": train_lightning,
    "floor": train_floor,
}


def main() -> None:
    options = arguments(__doc__, ["vaekit", "vaekit-command", "write-pixels", *LOOPS])
    torch.manual_seed(0)
    if options.contestant == "write-pixels":
        print(write_pixels(options.pixels, options.rows))
        return
    size = (options.hidden, options.latent, options.epochs)
    if options.contestant in ("bare-flushed", "bare-kept", "pythae-flushed", "floor"):
        torch.set_flush_denormal(True)
    if options.contestant in ("vaekit-command", "bare-kept"):
        from vaekit.cli.allocator import keep_memory

        keep_memory()
    if options.contestant in ("vaekit", "vaekit-command"):
        seconds = train_vaekit(options.rows, *size)
    else:
        x = torch.from_numpy(np.load(options.pixels)).float()
        seconds = LOOPS[options.contestant](x, *size)
    tell(seconds, torch=torch.__version__)


if __name__ == "__main__":
    main()
