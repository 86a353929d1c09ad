"""Model: the interface that objectives, evaluations, runs and reports work on, and the usual way to fill it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaekit.conditional import Conditional
from vaekit.distributions.divergence import Layered, closed_kl, closed_kl_per_dim
from vaekit.distributions.seeded import RowSeeded, unseeded
from vaekit.distributions.sequence import point_of
from vaekit.errors import RunError, UsageError
from vaekit.objectives import Draw, Terms
from vaekit.priors import SecondStage
from vaekit.updates import Update


class Model(nn.Module, ABC):
    """A latent-variable model p(x, z | c) with its inference q(z | x, c).

    What it can do is said by its attributes: `latent_dim` is the number of latent dimensions; `has_likelihood` is False
    for models that define no log p(x); `has_posterior` is False for models that cannot encode; `quantised` is True where a
    code is one of finitely many, so that the posterior is that one code.
    """

    latent_dim: int
    has_likelihood: bool = True
    has_posterior: bool = True
    quantised: bool = False
    observes: str = "x"
    """What `Draw.log_px` is a density of."""
    condition_dim: int = 0
    """Number of values in a condition c; 0 for a model that takes none."""
    condition_optional: bool = False
    """Whether rows may come without their class. In training c is then all 0 for them; an evaluation tells no class at all."""

    @property
    def can_sample(self) -> bool:
        """Whether `sample` has something to sample from."""
        return self.has_likelihood

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
        """n new examples (n, *shape): means E[x | z] of codes from the prior, or with `noise` draws of x itself.

        Sentences have no mean: there it is the best guess, token by token."""

    @abstractmethod
    def reconstruct(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """E[x | z] at the posterior's mean, (B, *shape); of sentences the best guess."""

    @abstractmethod
    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The posterior's mean, (B, D)."""

    def condition_of(self, x: Tensor, c: Tensor | None = None) -> Tensor | None:
        """What to decode the codes of x with: c, unless the model has a guess of its own where c is not known."""
        return c

    def updates(self, objective: Callable[..., Terms]) -> list[Update]:
        """The players of a training with `objective`: one that moves everything. A model with a critic has its own list,
        and the first of it is the one that the history tells of."""
        return [Update(objective)]


class LatentModel(Model):
    """Encoder, decoder and prior, each a Conditional. Without a prior it is an autoencoder and has no likelihood.

    A `second_stage`, once `vaekit.fit_prior` has fitted it to the codes, is what `sample` draws from. The likelihood stays
    with the prior that the model was trained with: `draw` knows nothing of a second stage.
    """

    def __init__(
        self,
        encoder: Conditional,
        decoder: Conditional,
        prior: Conditional | None,
        latent_dim: int,
        second_stage: SecondStage | None = None,
        condition_dim: int = 0,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.prior, self.latent_dim = encoder, decoder, prior, latent_dim
        self.second_stage, self.condition_dim = second_stage, condition_dim
        self.has_likelihood = prior is not None

    @property
    def can_sample(self) -> bool:
        return self.has_likelihood or self._is_fitted

    @property
    def _is_fitted(self) -> bool:
        return self.second_stage is not None and bool(self.second_stage.fitted)

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        c = self._told(c, x)
        return self.encoder(x) if c is None else self.encoder(x, c)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        c = self._told(c, z)
        return self.decoder(z) if c is None else self.decoder(z, c)

    def _told(self, c: Tensor | None, like: Tensor) -> Tensor | None:
        """The condition in the form that the parts take. Raises UsageError where there has to be none, or another one."""
        if not self.condition_dim:
            by_hand = not hasattr(self, "origin")  # such parts may take what they like
            if c is not None and not by_hand:
                raise UsageError("condition: this model takes none; leave c out")
            return c
        if c is None:
            raise UsageError(f"condition: this model has to be told one; give c (n, {self.condition_dim})")
        found = torch.as_tensor(c)
        if not found.dim() or found.shape[-1] != self.condition_dim:
            hint = "; classes are told as one-hot rows" if found.dim() == 1 else ""
            raise UsageError(f"condition: shape {tuple(found.shape)}, expected (n, {self.condition_dim}){hint}")
        return found.to(like) if like.is_floating_point() else found.float()

    def _prior(self, c: Tensor | None) -> Distribution:
        if self.condition_dim:
            c = self._told(c, next(self.parameters()))
        if self.prior is None:
            raise UsageError(
                "an autoencoder has no prior to sample from; train a vae, or an autoencoder with a second_stage"
            )
        return self.prior() if c is None else self.prior(c)

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1, q: Distribution | None = None) -> Draw:
        q = self.posterior(x, c) if q is None else q
        z = drawn_from(q, torch.Size((samples,)))
        log_px = self.decode(z, c).log_prob(x)
        if log_px.shape != z.shape[:2]:
            raise UsageError(
                f"likelihood: log p(x|z) has shape {tuple(log_px.shape)}, expected one number for each draw and row "
                f"{tuple(z.shape[:2])}; wrap the decoder's distribution in torch.distributions.Independent"
            )
        if self.prior is None:
            return Draw(z=z, log_px=log_px, log_pz=None, log_qz=None)
        p, plain = self._prior(c), unseeded(q)
        # a KL by layers has a gradient through the draws of the layers before, which only q's own draws have
        given = z if q is plain or isinstance(q, RowSeeded) else None
        return Draw(
            z=z,
            log_px=log_px,
            log_pz=lambda: p.log_prob(z),
            log_qz=lambda: q.log_prob(z),  # by q as it was given: a gradient estimator has a log-density of its own
            kl_per_dim=lambda: closed_kl_per_dim(plain, p, given),
            kl=lambda: closed_kl(plain, p, given),
            kl_per_layer=lambda: plain.kl_per_layer(p, z) if isinstance(plain, Layered) else None,
        )

    @torch.no_grad()
    def prior_codes(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws from the prior, (n, D); with conditions c (n, ...), one for each of them."""
        return _sampled(self._prior(c), n)

    @torch.no_grad()
    def sample_codes(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws (n, D) from what `sample` decodes: the prior, or the second stage where there is one."""
        fitted = self.second_stage if self._is_fitted else None
        return self.prior_codes(n, c) if fitted is None else _sampled(fitted() if c is None else fitted(c), n)

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None, *, noise: bool = False) -> Tensor:
        p = self.decode(self.sample_codes(n, c), c)
        return p.sample() if noise else point_of(p)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return point_of(self.decode(self.posterior(x, c).mean, c))

    @torch.no_grad()
    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.posterior(x, c).mean


def drawn_from(q: Distribution, shape: torch.Size) -> Tensor:
    """Draws of q with their gradient; without one where none is asked for and q has none to give."""
    if q.has_rsample:
        return q.rsample(shape)
    if torch.is_grad_enabled():
        raise UsageError(
            f"posterior {type(q).__name__}: its draws have no gradient; take vaekit.elbo with gradient='score'"
        )
    return q.sample(shape)


def _sampled(p: Distribution, n: int) -> Tensor:
    """n draws (n, D): one from each of p's n rows, or all from p where it has no rows."""
    if n < 0 or (p.batch_shape and p.batch_shape[0] not in (1, n)):
        told = f" for {p.batch_shape[0]} conditions" if p.batch_shape else ""
        raise UsageError(f"sample: {n} examples{told}; give at least 0, and one condition for each")
    return p.sample() if p.batch_shape else p.sample(torch.Size((n,)))


def check_weights(model: nn.Module, owner: str) -> None:
    """Raise RunError where a weight or a buffer is not finite: no figure of such a model means anything."""
    for name, value in model.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise RunError(f"{owner}: weight {name} is not finite; train it again")
