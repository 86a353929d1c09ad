"""`fit_prior`: a prior fitted after training to the codes that the data have.

    z_i ~ q(z | x_i),   maximise 1/n sum_i log p2(z_i)

Dai & Wipf, "Diagnosing and enhancing VAE models", ICLR 2019 (two-stage sampling); Ghosh et al., ICLR 2020 (a mixture on
the codes of an autoencoder). Codes are draws, not means: a VAE's codes are as wide as its posteriors make them.

`model.sample` then draws z from p2, which is close to the aggregate posterior, instead of from p. The likelihood of a VAE
stays that of its own prior: p2 is no part of its ELBO or of its importance-sampled log p(x).
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, Literal

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from vaekit.data import Batch, Dataset, Split, as_split
from vaekit.distributions.posteriors import Flow, FullGaussian, Mixture
from vaekit.errors import DataError, UsageError
from vaekit.models.base import LatentModel, Model
from vaekit.models.parts import condition_scale
from vaekit.models.recipes import Origin
from vaekit.models.vqvae import VQVAE
from vaekit.objectives import Terms
from vaekit.priors import SecondStage, make_second_stage
from vaekit.training.code_prior import fit_code_prior, mean_log_prior
from vaekit.training.fit import fit
from vaekit.updates import Update

_MOST_ROWS = 20_000
"""Rows whose codes a mixture is fitted to; more change it little."""


def fit_prior(
    model: Model,
    data: Any,
    kind: Literal["mixture", "flow"] | None = None,
    *,
    components: int | None = None,
    epochs: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    seed: int = 0,
    progress: bool = False,
) -> float:
    """Fit the model's second stage to the codes of the training rows; `model.sample` draws from it from then on.

    Args:
        model: a trained LatentModel (a VAE or an autoencoder), or a trained VQVAE, whose prior over codes this is.
        data: a Dataset (its training rows are used), a Split, or an array or tensor of rows.
        kind: "mixture" of `components` Gaussians with full covariances, by expectation-maximisation, or "flow", by
            gradient; None for the second stage that the model's recipe made (its `second_stage`).
        components: of a mixture; left out, as many as the recipe's `prior_components`, else 10.
        epochs, batch_size, learning_rate: of a flow (epochs: 20 unless given), or of a VQ-VAE's prior over codes (epochs: see
            `fit_code_prior`).
        seed: of the draws of codes and of the fit.
        progress: a bar on the terminal while a flow is fitted.

    Returns:
        Mean log p2(z) of the codes that it was fitted to, in nats; of a VQ-VAE, of all training codes.

    Raises:
        UsageError: a model without a second stage and no `kind`, or one that is no LatentModel.
        DataError: fewer rows than components.
    """
    if isinstance(model, VQVAE):
        if kind is not None:
            raise UsageError(f"fit_prior: kind {kind!r}: codes of a VQ-VAE have the prior their model was made with")
        fit_code_prior(
            model, data, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed, progress=progress
        )
        return mean_log_prior(model, data)
    second = _second_stage_of(model, kind, components)
    rows = data.train if isinstance(data, Dataset) else as_split(data)
    model.eval()
    z, c = draw_codes(model, rows, seed=seed)
    _standardise(second, z)
    if isinstance(second.prior.family, Flow):
        _fit_flow(model, second, rows, 20 if epochs is None else epochs, batch_size, learning_rate, seed, progress)
    else:
        _fit_mixture(second, z, seed)
    second.fitted.fill_(True)
    model.eval()
    with torch.no_grad():
        return float(second.at(z, *([] if c is None else [c])).mean())


def _second_stage_of(model: Model, kind: str | None, components: int | None) -> SecondStage:
    """The model's second stage, made now where `kind` asks for one; a run of the model then has it too."""
    if not isinstance(model, LatentModel):
        raise UsageError(f"fit_prior: {type(model).__name__} is no LatentModel, its prior cannot be replaced")
    if kind is None:
        if model.second_stage is None:
            raise UsageError("fit_prior: this model has no second stage; say which kind, mixture or flow")
        if components is not None:
            raise UsageError(f"fit_prior: components {components}: this model's second stage is made; give kind too")
        return model.second_stage
    origin = getattr(model, "origin", None)
    if isinstance(origin, Origin):
        if "second_stage" not in origin.arguments:
            raise UsageError(f"fit_prior: recipe {origin.recipe} has no second_stage, so a run could not keep it")
        components = _kept_components(origin, components)
    scale = condition_scale(origin.schema) if model.condition_dim and isinstance(origin, Origin) else None
    second = make_second_stage(
        kind, model.latent_dim, 10 if components is None else components, model.condition_dim, scale
    )
    if second is None:
        raise UsageError(f"fit_prior: kind {kind!r}: expected mixture or flow")
    if isinstance(origin, Origin):
        kept = {"second_stage": kind} | ({} if components is None else {"prior_components": components})
        model.origin = replace(origin, arguments=origin.arguments | kept)  # type: ignore[assignment]
    like = next(model.parameters())
    model.second_stage = second.to(like.device, like.dtype)
    return second


def _kept_components(origin: Origin, asked: int | None) -> int | None:
    """The number of components, which a run keeps once for the prior and the second stage."""
    own = origin.arguments.get("prior_components")
    if asked is None or own is None or asked == own:
        return own if asked is None else asked
    if origin.arguments.get("prior") in ("mixture", "vamp"):
        raise UsageError(
            f"fit_prior: components {asked}: the model's prior has {own} and a run keeps one number; leave components out"
        )
    return asked


@torch.no_grad()
def draw_codes(model: Model, rows: Split, *, seed: int = 0, most: int = _MOST_ROWS) -> Batch:
    """One draw z ~ q(z | x), or q(z | x, c), for each of at most `most` rows, (n, D), with what the model is told of them."""
    fixed, drawn, told = rows.fixed(seed), [], []
    like = next(model.parameters())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for part in torch.randperm(len(fixed))[:most].split(1024):
            x, c = Batch(fixed.rows(part), fixed.condition(part, model.condition_dim)).to(like.device, like.dtype)
            told += [] if c is None else [c]
            drawn.append(model.posterior(x, c).sample())
    return Batch(torch.cat(drawn), torch.cat(told) if told else None)


@torch.no_grad()
def _standardise(second: SecondStage, z: Tensor) -> None:
    """Measure the codes: an autoencoder's have no scale of their own."""
    spread = z.std(0, correction=0)
    second.shift.copy_(z.mean(0))
    second.scale.copy_(torch.where(spread > 0, spread, 1.0))


@torch.no_grad()
def _fit_mixture(second: SecondStage, z: Tensor, seed: int) -> None:
    """Expectation-maximisation (Dempster, Laird & Rubin, 1977) by scikit-learn, its result written into the prior."""
    mixture = second.prior.family
    assert isinstance(mixture, Mixture)
    family, components = mixture.component, mixture.components
    assert isinstance(family, FullGaussian)
    if len(z) < components:
        raise DataError(f"fit_prior: a mixture of {components} needs at least as many rows, there are {len(z)}")
    standard = ((z - second.shift) / second.scale).double().cpu().numpy()
    found = GaussianMixture(components, reg_covar=1e-4, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a hundred rounds are enough to sample from
        found.fit(standard)
    means, covariances = torch.from_numpy(found.means_), torch.from_numpy(found.covariances_)
    parts = family.raw_of(means, torch.linalg.cholesky(covariances))
    second.prior.raw.copy_(torch.cat([torch.from_numpy(found.weights_).log()[:, None], parts], 1))


def _fit_flow(
    model: Model,
    second: SecondStage,
    rows: Split,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    progress: bool,
) -> None:
    """Maximum likelihood by gradient, with new draws of the codes at every step."""

    def minus_log_p(model: Model, batch: Batch) -> Terms:
        with torch.no_grad():
            z = model.posterior(batch.x, batch.c).sample()
        loss = -second.at(z, *([] if batch.c is None else [batch.c]))
        return Terms(loss, torch.zeros_like(loss), loss)

    second.requires_grad_(True)
    try:
        player = Update(minus_log_p, parameters=second.parameters())
        fit(
            model,
            rows,
            updates=[player],
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_decay="cosine",
            seed=seed,
            progress=progress,
        )
    finally:
        second.requires_grad_(False)
