"""Fitting the prior over codes of a trained VQ-VAE, its second stage (van den Oord et al., NeurIPS 2017, section 3.2).

maximise E_data[log p(k(x))],   the codes k(x) given
"""

from __future__ import annotations

from typing import Any

import torch

from vaekit.data import Dataset, as_split
from vaekit.data.batches import steps_per_epoch
from vaekit.errors import UsageError
from vaekit.models.vqvae import VQVAE
from vaekit.objectives import code_length
from vaekit.training.fit import fit
from vaekit.training.history import History
from vaekit.updates import Update

_STEPS, _FEWEST, _MOST, _PATIENCE = 1500, 5, 100, 10


def fit_code_prior(
    model: VQVAE,
    data: Any,
    *,
    epochs: int | None = None,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    seed: int = 0,
    progress: bool = False,
) -> History:
    """Fit the model's autoregressive prior to the codes of the training rows; nothing else of the model moves.

    From then on it is the prior of the model's bound and of `model.sample`, and a run saves it with the weights.

    Args:
        data: a Dataset (where it has validation rows, the prior of the best epoch is kept), a Split, or an array of rows.
        epochs: None takes as many as make 1,500 steps, between 5 and 100.
        batch_size, learning_rate, seed, progress: as in `fit`.

    Returns:
        The history of the fit; its rates are code lengths -log p(k) in nats per example.

    Raises:
        UsageError: the model's prior is uniform for good.
    """
    prior = model.prior
    if prior.network is None:
        raise UsageError("fit_prior: this model's prior over codes stays uniform; make it with prior='autoregressive'")
    rows = data.train if isinstance(data, Dataset) else as_split(data)
    if epochs is None:
        epochs = min(_MOST, max(_FEWEST, -(-_STEPS // steps_per_epoch(len(rows), batch_size))))
    validated = isinstance(data, Dataset) and data.validation is not None
    prior.fitted.fill_(True)
    prior.network.requires_grad_(True)
    try:
        return fit(
            model,
            data,
            updates=[Update(code_length, parameters=prior.network.parameters())],
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_decay="cosine",
            patience=max(5, epochs // _PATIENCE) if validated else None,
            seed=seed,
            progress=progress,
        )
    finally:
        prior.network.requires_grad_(False)


@torch.no_grad()
def mean_log_prior(model: VQVAE, data: Any) -> float:
    """Mean log p(k(x)) of the training rows in nats, by the prior the model has now."""
    rows = data.train if isinstance(data, Dataset) else as_split(data)
    like, total = next(model.parameters()), 0.0
    for x in rows.fixed().batches(1024):
        total += float(model.log_prior(model.codes(x.to(like.device, like.dtype))).sum())
    return total / len(rows)
