"""`pretrain`: an encoder that has learned to write its examples down, before the KL is charged.

Li, He, Neubig, Berg-Kirkpatrick & Yang, "A surprisingly effective fix for deep latent variable modeling of text", EMNLP 2019:

    1. train encoder and decoder on -E_q(z|x) log p(x|z): an autoencoder, beta = 0
    2. give the decoder back the weights it began with, and keep the encoder's
    3. train as usual, with free bits and a warm-up of the KL

The decoder begins anew because one that reads such sharp codes would not bear the noise that the KL asks for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaekit.models.base import Model
from vaekit.objectives import reconstruction
from vaekit.training.aggressive import encoder_of
from vaekit.training.engine import Device, Precision
from vaekit.training.fit import check_numbers, fit
from vaekit.training.history import History
from vaekit.training.progress import Progress
from vaekit.updates import Update


def pretrain(
    model: Model,
    data: Any,
    *,
    epochs: int = 5,
    batch_size: int = 128,
    learning_rate: float | None = None,
    gradient_clip: float | None = None,
    seed: int = 0,
    device: Device = "auto",
    precision: Precision = "no",
    progress: bool | Progress = True,
) -> History:
    """Train a model's encoder as an autoencoder's, and reset all else to what it was. Then call `fit`.

    Args:
        model: with a likelihood and an encoder: a VAE of any kind.
        data, epochs, batch_size, learning_rate, gradient_clip, seed, device, precision, progress: as in `fit`.

    Returns:
        The History of this training, of the autoencoder before its decoder was reset.

    Raises UsageError for a model without a likelihood or without an encoder, and all that `fit` raises.
    """
    check_pretraining(model, epochs)
    kept = {id(tensor) for tensor in encoder_of(model, "pretrain").state_dict(keep_vars=True).values()}
    others = [t for t in model.state_dict(keep_vars=True).values() if id(t) not in kept]
    before = [tensor.detach().clone() for tensor in others]
    history = fit(
        model, data, updates=[Update(reconstruction)], epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        gradient_clip=gradient_clip, seed=seed, device=device, precision=precision, progress=progress,
    )  # fmt: skip
    _restore(others, before)
    return history


def check_pretraining(model: Model, epochs: int) -> None:
    """Raise UsageError unless the model can be pre-trained for so many epochs."""
    check_numbers(epochs=epochs)
    encoder_of(model, "pretrain")


@torch.no_grad()
def _restore(tensors: list[Tensor], values: list[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
