"""Objectives: plain functions (model, batch, **keywords) -> Terms, in nats per example.

    elbo            log p(x) >= E_q[log p(x|z)] - KL(q(z|x), p(z))            Kingma & Welling, ICLR 2014
    iwae            log p(x) >= E log 1/K sum_k p(x, z_k) / q(z_k|x)          Burda, Grosse & Salakhutdinov, ICLR 2016
    reconstruction  -log p(x | z = encoder(x)): the plain autoencoder

With beta = 1 and no free bits the loss of `elbo` is minus the ELBO, constants included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor

from vaekit.data import Batch
from vaekit.errors import UsageError

Deferred = Tensor | Callable[[], Tensor | None] | None


class Draw:
    """What an objective or an evaluation may see of a model: K samples of z for each of B examples.

    Args:
        z: (K, B, ...) the samples.
        log_px: (K, B) log p(x | z).
        log_pz, log_qz: (K, B) log-densities of z under prior and posterior; None for a model without them.
        kl_per_dim: (B, D) closed-form KL of each latent dimension, None where there is no such form.
        kl: (B,) closed-form KL where it exists and does not split into dimensions.

    Each of the last four may be a function of no arguments, called when it is first read: an ELBO whose KL is closed
    never asks for the densities.
    """

    def __init__(
        self,
        *,
        z: Tensor,
        log_px: Tensor,
        log_pz: Deferred,
        log_qz: Deferred,
        kl_per_dim: Deferred = None,
        kl: Deferred = None,
    ) -> None:
        self.z, self.log_px = z, log_px
        self._log_pz, self._log_qz, self._kl_per_dim, self._kl = log_pz, log_qz, kl_per_dim, kl

    @cached_property
    def log_pz(self) -> Tensor | None:
        return self._log_pz() if callable(self._log_pz) else self._log_pz

    @cached_property
    def log_qz(self) -> Tensor | None:
        return self._log_qz() if callable(self._log_qz) else self._log_qz

    @cached_property
    def kl_per_dim(self) -> Tensor | None:
        return self._kl_per_dim() if callable(self._kl_per_dim) else self._kl_per_dim

    @cached_property
    def kl(self) -> Tensor | None:
        if self.kl_per_dim is not None:
            return self.kl_per_dim.sum(-1)
        return self._kl() if callable(self._kl) else self._kl

    @property
    def log_w(self) -> Tensor:
        """(K, B) log-weights log p(x, z) - log q(z | x). Raises UsageError for a model without a likelihood."""
        if self.log_pz is None or self.log_qz is None:
            raise UsageError(
                "this model has no prior or no posterior density, so no bound on log p(x); use reconstruction"
            )
        return self.log_px + self.log_pz - self.log_qz


@dataclass(frozen=True)
class Terms:
    """An objective's value for each example, (B,): the loss that is minimised, and the rate and distortion behind it."""

    loss: Tensor
    rate: Tensor
    distortion: Tensor


class Drawing(Protocol):
    """Anything an objective can be applied to."""

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1) -> Draw:
        """K = `samples` draws of z for every row of x."""
        ...


class Objective(Protocol):
    """The form of every objective."""

    def __call__(self, model: Drawing, batch: Batch) -> Terms: ...


def elbo(
    model: Drawing,
    batch: Batch,
    *,
    beta: float = 1.0,
    samples: int = 1,
    kl: Literal["closed", "sampled"] = "closed",
    free_bits: float = 0.0,
) -> Terms:
    """Minus the evidence lower bound, with its KL weighted by beta (Higgins et al., "beta-VAE", ICLR 2017).

    Args:
        beta: weight of the rate; 1 is the bound itself.
        samples: L, draws of z for each example.
        kl: "closed" where there is a closed form (else sampled), or "sampled": E_q[log q(z|x) - log p(z)] by the draws.
        free_bits: nats of each latent dimension's KL, for each example, that cost nothing: below them it is held at
            this constant and has no gradient (Kingma et al., NeurIPS 2016, here without their average over a
            minibatch, so that the loss does not depend on how a batch is split).

    Returns:
        Terms: loss = distortion + beta * max(rate, free bits), rate in nats without free bits, distortion
        -E_q[log p(x|z)].
    """
    _check_samples(samples)
    if not 0 <= beta < math.inf:
        raise UsageError(f"beta {beta}: expected a number of at least 0")
    draw = model.draw(batch.x, batch.c, samples)
    distortion = -draw.log_px.mean(0)
    rate = _rate(draw, kl)
    charged = rate
    if free_bits:
        if free_bits < 0 or kl != "closed" or draw.kl_per_dim is None:
            raise UsageError(f"free_bits {free_bits}: needs a positive number and a closed KL for each dimension")
        charged = draw.kl_per_dim.clamp_min(free_bits).sum(-1)
    return Terms(distortion + beta * charged, rate, distortion)


def iwae(model: Drawing, batch: Batch, *, samples: int = 5) -> Terms:
    """Minus the importance-weighted bound of K = `samples` draws, log-mean-exp of the log-weights."""
    _check_samples(samples)
    draw = model.draw(batch.x, batch.c, samples)
    loss = math.log(samples) - torch.logsumexp(draw.log_w, 0)
    return Terms(loss, _rate(draw, "closed"), -draw.log_px.mean(0))


def reconstruction(model: Drawing, batch: Batch) -> Terms:
    """-log p(x | z) at the encoder's code: a plain autoencoder, with a rate of 0 because nothing limits the code."""
    distortion = -model.draw(batch.x, batch.c, 1).log_px.mean(0)
    return Terms(distortion, torch.zeros_like(distortion), distortion)


def _check_samples(samples: int) -> None:
    if samples < 1:
        raise UsageError(f"samples {samples}: expected at least 1")


def _rate(draw: Draw, kl: str) -> Tensor:
    if kl not in ("closed", "sampled"):
        raise UsageError(f"kl {kl!r}: expected closed or sampled")
    if kl == "closed" and draw.kl is not None:
        return draw.kl
    return (draw.log_px - draw.log_w).mean(0)


OBJECTIVES: dict[str, Callable[..., Terms]] = {"elbo": elbo, "iwae": iwae, "reconstruction": reconstruction}
"""The objectives by name."""
