"""Model: the interface that objectives, evaluations, runs and reports work on, and the usual way to fill it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaekit.conditional import Conditional
from vaekit.distributions.divergence import closed_kl, closed_kl_per_dim
from vaekit.distributions.seeded import unseeded
from vaekit.errors import UsageError
from vaekit.objectives import Draw


class Model(nn.Module, ABC):
    """A latent-variable model p(x, z | c) with its inference q(z | x, c).

    `latent_dim` is the number of latent dimensions; `has_likelihood` is False for models that define no log p(x).
    """

    latent_dim: int
    has_likelihood: bool = True

    @abstractmethod
    def posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """q(z | x, c), batch shape (B,)."""

    @abstractmethod
    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """p(x | z, c) for codes (*, D)."""

    @abstractmethod
    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1, q: Distribution | None = None) -> Draw:
        """K = `samples` draws of z for every row of x (B, *shape). `q` is `posterior(x, c)` where that is known already."""

    @abstractmethod
    def sample(self, n: int, c: Tensor | None = None, *, noise: bool = False) -> Tensor:
        """n new examples (n, *shape): means E[x | z] of codes from the prior, or with `noise` draws of x itself."""

    @abstractmethod
    def reconstruct(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """E[x | z] at the posterior's mean, (B, *shape)."""

    @abstractmethod
    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The posterior's mean, (B, D)."""


class LatentModel(Model):
    """Encoder, decoder and prior, each a Conditional. Without a prior it is an autoencoder and has no likelihood."""

    def __init__(self, encoder: Conditional, decoder: Conditional, prior: Conditional | None, latent_dim: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.prior, self.latent_dim = encoder, decoder, prior, latent_dim
        self.has_likelihood = prior is not None

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        return self.encoder(x) if c is None else self.encoder(x, c)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        return self.decoder(z) if c is None else self.decoder(z, c)

    def _prior(self, c: Tensor | None) -> Distribution:
        if self.prior is None:
            raise UsageError("an autoencoder has no prior to sample from; train a vae")
        return self.prior() if c is None else self.prior(c)

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1, q: Distribution | None = None) -> Draw:
        q = self.posterior(x, c) if q is None else q
        z = q.rsample(torch.Size((samples,)))
        log_px = self.decode(z, c).log_prob(x)
        if self.prior is None:
            return Draw(z=z, log_px=log_px, log_pz=None, log_qz=None)
        p, plain = self._prior(c), unseeded(q)
        return Draw(
            z=z,
            log_px=log_px,
            log_pz=lambda: p.log_prob(z),
            log_qz=lambda: plain.log_prob(z),
            kl_per_dim=lambda: closed_kl_per_dim(plain, p),
            kl=lambda: closed_kl(plain, p),
        )

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None, *, noise: bool = False) -> Tensor:
        prior = self._prior(c)
        p = self.decode(prior.sample() if prior.batch_shape else prior.sample(torch.Size((n,))), c)
        return p.sample() if noise else p.mean

    @torch.no_grad()
    def reconstruct(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.decode(self.posterior(x, c).mean, c).mean

    @torch.no_grad()
    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.posterior(x, c).mean
