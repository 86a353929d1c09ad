"""M2: a generative model of examples and their classes, trained on rows of which few need a label.

Kingma, Mohamed, Rezende & Welling, "Semi-supervised learning with deep generative models", NeurIPS 2014.

    y ~ p(y),   z ~ p(z) = N(0, I),   x ~ p(x | y, z) = likelihood(decoder(z, y))
    q(y | x) = Categorical(classifier(x)),   q(z | x, y) = N(mu(x, y), diag(sigma^2(x, y)))

    log p(x, y) >= E_q(z|x,y)[log p(x | y, z)] - KL(q(z | x, y), p(z)) + log p(y)              a labelled row
    log p(x)    >= sum_y q(y | x) (the line above - log q(y | x))                              an unlabelled row

are what `objectives/semisupervised.py` trains, with a term for the classifier. An evaluation does not look at labels. It
sees z alone, y being summed out of model and inference,

    p(x | z) = sum_y p(y) p(x | y, z),   q(z | x) = sum_y q(y | x) q(z | x, y)

so that importance weights p(x | z) p(z) / q(z | x) vary less than with y drawn; and the bound
E_q(z|x)[log p(x | z) p(z) / q(z | x)] is at least the second line above, since KL(q(z | x), p(z | x)) is at most
KL(q(y, z | x), p(y, z | x)).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily

from vaekit.conditional import Standardise
from vaekit.data.schema import Schema
from vaekit.distributions.class_mixture import ClassMixture
from vaekit.distributions.families import Sigma
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.errors import DataError, UsageError
from vaekit.models.base import LatentModel, Model
from vaekit.models.parts import (
    ActivationName,
    Architecture,
    LikelihoodName,
    NetworkName,
    check_latent_dim,
    condition_size,
    make_coders,
)
from vaekit.models.recipes import recipe
from vaekit.networks import build_network
from vaekit.objectives import Draw, semisupervised
from vaekit.priors import StandardNormal

_LOUDNESS = 5.0
"""Of a class that is told, less than other models': with 20 a class that the classifier guesses wrongly costs so much at first
that on the digits, with 50 labels, the ELBO after 25 epochs was 4 nats lower and the accuracy by 2 %."""


class M2(Model):
    """p(x, y, z) with its classifier. A condition c (B, C) is a class, one-hot; None, or all 0, where it is not known.

    Args:
        given_class: the conditional VAE p(x, z | y) with q(z | x, y).
        classifier: x (*, *shape) -> logits of q(y | x), (*, C).
        learned: whether p(y) is learned; it starts uniform.
    """

    condition_optional = True

    def __init__(self, given_class: LatentModel, classifier: nn.Module, learned: bool = False) -> None:
        super().__init__()
        self.given_class, self.classifier = given_class, classifier
        self.latent_dim, self.condition_dim = given_class.latent_dim, given_class.condition_dim
        logits = torch.zeros(self.condition_dim)
        if learned:
            self.class_logits = nn.Parameter(logits)
        else:
            self.register_buffer("class_logits", logits)

    @property
    def log_py(self) -> Tensor:
        """log p(y), (C,)."""
        return self.class_logits.log_softmax(-1)

    def classify(self, x: Tensor) -> Tensor:
        """log q(y | x), (*, C)."""
        return self.classifier(x).log_softmax(-1)

    def condition_of(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The classes (B, C), one-hot: those of c where it knows them, else the most probable under q(y | x)."""
        log_q = self.classify(x)
        guess = torch.nn.functional.one_hot(log_q.argmax(-1), self.condition_dim).to(log_q)
        return guess if c is None else torch.where(_known(c), c, guess)

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        if c is not None and bool(_known(c).all()):
            return self.given_class.posterior(x, c)
        every = x.unsqueeze(1).expand(-1, self.condition_dim, *x.shape[1:])  # each row with each class
        return ClassMixture(_or_given(self.classify(x), c), self.given_class.posterior(every, self._classes(x)))

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        if c is not None and bool(_known(c).all()):
            return self.given_class.decode(z, c)
        every = z.unsqueeze(-2).expand(*z.shape[:-1], self.condition_dim, z.shape[-1])
        weights = _or_given(self.log_py, c).expand(every.shape[:-1])
        parts = self.given_class.decode(every, self._classes(z))
        return MixtureSameFamily(Categorical(logits=weights, validate_args=False), parts, validate_args=False)

    def _classes(self, like: Tensor) -> Tensor:
        return torch.eye(self.condition_dim, device=like.device, dtype=like.dtype)

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1, q: Distribution | None = None) -> Draw:
        """As of any model: of p(x, z), and of p(x, y, z) for rows whose class c tells.

        Raises UsageError where a gradient is asked for that a sum over classes does not have.
        """
        if c is not None and bool(_known(c).all()):
            draw = self.given_class.draw(x, c, samples, q)
            return Draw(
                z=draw.z,
                log_px=draw.log_px + c @ self.log_py,
                log_pz=lambda: draw.log_pz,
                log_qz=lambda: draw.log_qz,
                kl_per_dim=lambda: draw.kl_per_dim,
            )
        q = self.posterior(x, c) if q is None else q
        z = _drawn(q, samples)
        log_px = self.decode(z, c).log_prob(x)
        return Draw(
            z=z,
            log_px=log_px if c is None else log_px + c @ self.log_py,
            log_pz=lambda: self._prior().log_prob(z),
            log_qz=lambda: q.log_prob(z),
        )

    def _prior(self) -> Distribution:
        assert self.given_class.prior is not None
        return self.given_class.prior()

    def prior_codes(self, n: int, c: Tensor | None = None) -> Tensor:
        """n draws from the prior, (n, D), which is the same for every class."""
        return self.given_class.prior_codes(n)

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None, *, noise: bool = False) -> Tensor:
        drawn = Categorical(logits=self.log_py.expand(n, -1), validate_args=False).sample()
        y = self._classes(self.log_py)[drawn]
        return self.given_class.sample(n, y if c is None else torch.where(_known(c), c, y), noise=noise)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.given_class.decode(self.encode(x, c), self.condition_of(x, c)).mean

    @torch.no_grad()
    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return self.posterior(x, c).mean


def _known(c: Tensor) -> Tensor:
    """Whether each row of c (*, C) tells a class, (*, 1)."""
    return (c != 0).any(-1, keepdim=True)


def _or_given(log_weights: Tensor, c: Tensor | None) -> Tensor:
    """Log-weights (*, C) of the classes, 0 and minus infinity for a row whose class c tells."""
    return log_weights if c is None else torch.where(_known(c), c.log(), log_weights)


def _drawn(q: Distribution, samples: int) -> Tensor:
    try:
        return q.rsample(torch.Size((samples,)))
    except NotImplementedError:
        if torch.is_grad_enabled():
            raise UsageError(
                "m2: a draw with the class summed out has no gradient by reparameterisation; train it with objective "
                "semisupervised (its bound: elbo or iwae), or take gradient score"
            ) from None
        return q.sample(torch.Size((samples,)))


@recipe(objective=semisupervised)
def m2(
    schema: Schema,
    *,
    latent_dim: int = 16,
    class_prior: Literal["uniform", "learned"] = "uniform",
    network: NetworkName = "auto",
    hidden: tuple[int, ...] | None = None,
    activation: ActivationName = "relu",
    likelihood: LikelihoodName = "auto",
    sigma: Sigma | None = None,
) -> M2:
    """A model of examples and their classes for data of which few rows are labelled.

    Args:
        latent_dim: dimensions of the code.
        class_prior: p(y); uniform, or learned with the rest where classes are not equally frequent.
        network: kind of encoder, decoder and classifier; auto takes mlp up to 1,024 values an example, conv above.
        hidden: layer widths (mlp) or channels per stage (conv, resnet) of encoder and classifier, mirrored in the decoder.
        activation: between the layers.
        likelihood: p(x|y,z); auto: bernoulli for binary data, discretized-logistic for levels of gray, else gaussian.
        sigma: scale of gaussian and student-t (default shared) or discretized-logistic (default element): a number, shared,
            element; for gaussian also optimal.
    """
    check_latent_dim(latent_dim)
    size = condition_size(schema, "m2")
    if schema.conditions is not None or schema.classes is None:
        raise DataError("model m2: classifies, and these data have numbers as conditions; leave them out, or take cvae")
    if size < 2:
        raise DataError(f"model m2: expected at least 2 classes, these data have {size}")
    family = DiagonalGaussian(latent_dim)
    encoder, decoder = make_coders(
        schema, family, network, hidden, activation, likelihood, sigma, told=size, loudness=_LOUDNESS
    )
    given_class = LatentModel(encoder, decoder, StandardNormal(latent_dim), latent_dim, condition_dim=size)
    a = Architecture.resolve(schema, network, hidden, activation)
    classifier: nn.Module = build_network(a.network, schema.shape, (size,), a.hidden, a.activation)
    if schema.support == "real":
        classifier = nn.Sequential(Standardise(schema.shift, schema.scale), classifier)
    return M2(given_class, classifier, class_prior == "learned")
