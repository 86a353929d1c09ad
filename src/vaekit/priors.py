"""Priors p(z) and p(z | c): Conditionals over the code, each with `sample`, `log_prob` and a `mean`.

    normal    N(0, I); given c, N(m(c), diag s^2(c))             Sohn, Lee & Yan, NeurIPS 2015
    uniform   on the box (-BOX, BOX)^D, for posteriors that stay inside it
    mixture   sum_k w_k N(m_k, diag s_k^2), learned
    vamp      1/M sum_m q(z | u_m) with learned pseudo-inputs u  Tomczak & Welling, "VAE with a VampPrior", AISTATS 2018
    flow      an invertible map of N(0, I), learned              Chen et al., "Variational lossy autoencoder", ICLR 2017

With `condition_dim` a prior is a function of c (B, condition_dim): what it learns becomes a linear map of c, or a network
with `hidden` layers, that starts at the prior without a condition. A prior without one gives the same p(z) for every c.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import (
    AffineTransform,
    Distribution,
    Independent,
    Normal,
    TransformedDistribution,
    Uniform,
)
from torch.distributions import Categorical as CategoricalDistribution

from vaekit.conditional import Conditional, Laborious
from vaekit.data.schema import Schema
from vaekit.distributions.families import Family
from vaekit.distributions.gaussian_mixture import mixture
from vaekit.distributions.posteriors import BOX, Box, DiagonalGaussian, Flow, FullGaussian, Mixture
from vaekit.errors import UsageError
from vaekit.networks import MLP

PRIORS = ("normal", "uniform", "mixture", "vamp", "flow")


class StandardNormal(Conditional):
    """The prior N(0, I) over `dim` latent dimensions."""

    loc: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("loc", torch.zeros(dim), persistent=False)

    def forward(self, *given: Tensor) -> Distribution:
        return Independent(Normal(self.loc, torch.ones_like(self.loc), validate_args=False), 1, validate_args=False)


class UniformBox(Conditional):
    """The uniform prior on (-BOX, BOX) in each of `dim` latent dimensions."""

    unit: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("unit", torch.ones(dim), persistent=False)

    def forward(self, *given: Tensor) -> Distribution:
        high = BOX * self.unit  # in the precision of the moment: a rounded box would not hold a posterior's
        return Independent(Uniform(-high, high, validate_args=False), 1, validate_args=False)


class Learned(Conditional):
    """A family whose raw value is learned, or learned as a function of a condition: p(z) or p(z | c).

    Args:
        family: what the raw value means.
        condition_dim: length of the condition c; 0 for a prior that does not look at one.
        hidden: widths of the network from c to the raw value; none is a linear map.
    """

    def __init__(self, family: Family, condition_dim: int = 0, hidden: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.family, self.condition_dim = family, condition_dim
        start = family.start(torch.zeros(family.event_shape))
        if not condition_dim:
            self.raw = nn.Parameter(start)
            return
        self.network = MLP((condition_dim,), family.raw_shape, hidden)
        with torch.no_grad():
            self.network.out.weight.zero_()
            self.network.bias.copy_(start)

    def forward(self, *given: Tensor) -> Distribution:
        if not self.condition_dim:
            return self.family(self.raw)
        if not given or given[0].shape[-1] != self.condition_dim:
            got = f"one of length {given[0].shape[-1]}" if given else "none"
            raise UsageError(f"prior: expected a condition c of length {self.condition_dim}, got {got}; give it c")
        return self.family(self.network(given[0]))


class VampPrior(Laborious):
    """The mixture of the encoder's own posteriors at learned pseudo-inputs, all of the same weight.

    Args:
        encoder: q(z | x) or q(z | x, c), the model's own. It is used here and belongs to the model: its parameters are
            not this module's.
        schema: of the examples. Pseudo-inputs start at its `examples`, nearly; without these around its mean. They keep to
            [0, 1] by a sigmoid, except for real-valued data, where they are shift + scale * raw.
        components: M, the number of pseudo-inputs.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, encoder: Conditional, schema: Schema, components: int) -> None:
        super().__init__()
        if components < 1:
            raise UsageError(f"vamp prior of {components} pseudo-inputs: expected at least 1")
        self._encoder = (encoder,)  # in a tuple, so that it is not registered a second time
        self.bounded = schema.support != "real"
        self.register_buffer("shift", torch.tensor(schema.shift), persistent=False)
        self.register_buffer("scale", torch.tensor(schema.scale), persistent=False)
        self.raw = nn.Parameter(self._start(schema, components))

    def _start(self, schema: Schema, components: int) -> Tensor:
        """Raw values (M, *shape). From training rows a VampPrior learns far faster than from around their mean."""
        if schema.examples is not None:
            n = len(schema.examples)
            at = (
                torch.linspace(0, n - 1, components).round().long() if components <= n else torch.arange(components) % n
            )
            begin, apart = schema.examples[at], 0.1  # two that were the same would stay the same
        else:
            middle = torch.full(schema.shape, 0.5 * (schema.low + schema.high)) if schema.mean is None else schema.mean
            begin, apart = middle, 1.0
        # a pixel that is quite black would start where the sigmoid has no slope
        raw = torch.logit(begin, 0.01) if self.bounded else (begin - self.shift) / self.scale
        return raw + apart * torch.randn(components, *schema.shape)

    @property
    def pseudo_inputs(self) -> Tensor:
        """(M, *shape) in the values that the encoder sees."""
        return torch.sigmoid(self.raw) if self.bounded else self.shift + self.scale * self.raw

    def make(self, *given: Tensor) -> Distribution:
        (encoder,), u = self._encoder, self.pseudo_inputs
        if given:
            (c,) = given  # (B, C): every row of c with every pseudo-input
            u = u.expand(len(c), *u.shape)
            parts = encoder(u, c.unsqueeze(1).expand(-1, u.shape[1], *c.shape[1:]))
        else:
            parts = encoder(u)
        return self.mixed(parts)

    def mixed(self, parts: Distribution) -> Distribution:
        """1/M sum_m of M posteriors, the last batch dimension of `parts`."""
        weights = CategoricalDistribution(logits=self.raw.new_zeros(parts.batch_shape), validate_args=False)
        return mixture(weights, parts)


class SecondStage(Conditional):
    """A prior that is fitted to the codes of a trained model (`vaekit.fit_prior`), saved with the model's weights.

        z = shift + scale * u,   u ~ prior

    Its parameters need no gradient outside that fit, so that training the model leaves them alone. Where the model is told a
    condition, u ~ prior given told(c), which brings c to scale.
    """

    fitted: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, prior: Learned, told: nn.Module | None = None) -> None:
        super().__init__()
        self.prior, self.told = prior.requires_grad_(False), nn.Identity() if told is None else told
        self.register_buffer("fitted", torch.tensor(False))
        self.register_buffer("shift", torch.zeros(prior.family.event_shape))
        self.register_buffer("scale", torch.ones(prior.family.event_shape))

    def forward(self, *given: Tensor) -> Distribution:
        if not self.fitted:
            raise UsageError(
                "second stage: it is not fitted yet; train the model, then call vaekit.fit_prior(model, data)"
            )
        return self._moved(*given)

    def at(self, z: Tensor, *given: Tensor) -> Tensor:
        """log p2(z) of codes (*, D), fitted or not."""
        return self._moved(*given).log_prob(z)

    def _moved(self, *given: Tensor) -> Distribution:
        move = AffineTransform(self.shift, self.scale, event_dim=1)
        return TransformedDistribution(self.prior(*map(self.told, given)), [move], validate_args=False)


def make_second_stage(
    name: str, dim: int, components: int = 10, condition_dim: int = 0, told: nn.Module | None = None
) -> SecondStage | None:
    """A second stage to be fitted: "mixture" of Gaussians with full covariance, or "flow"; None for "none".

    With `condition_dim` it is p2(z | c), which only a flow can be; `told` brings c to scale. Raises UsageError on other names.
    """
    if name == "none":
        return None
    if name not in ("mixture", "flow"):
        raise UsageError(f"second_stage {name!r}: expected none, mixture or flow")
    if condition_dim and name == "mixture":
        raise UsageError(
            "second_stage mixture: is the same for every condition; take flow for a model that is told one"
        )
    family = (
        Mixture(FullGaussian(dim), components) if name == "mixture" else Flow(dim, context=16 if condition_dim else 0)
    )
    return SecondStage(Learned(family, condition_dim), told)


def make_prior(
    name: str,
    dim: int,
    *,
    components: int = 10,
    condition_dim: int = 0,
    hidden: tuple[int, ...] = (),
    encoder: Conditional | None = None,
    schema: Schema | None = None,
) -> Conditional:
    """The prior called `name` over `dim` latent dimensions.

    Args:
        components: of the mixture, or pseudo-inputs of the VampPrior.
        condition_dim, hidden: see `Learned`; the uniform prior and the VampPrior have none of their own (the VampPrior
            passes a condition on to its encoder).
        encoder, schema: of the model; only the VampPrior needs them.

    Raises:
        UsageError: an unknown name, fewer than one component, or a VampPrior without an encoder.
    """
    if name == "normal":
        return Learned(DiagonalGaussian(dim), condition_dim, hidden) if condition_dim else StandardNormal(dim)
    if name == "uniform":
        return UniformBox(dim)
    if name == "mixture":
        return Learned(Mixture(DiagonalGaussian(dim), components), condition_dim, hidden)
    if name == "flow":
        return Learned(Flow(dim, context=16 if condition_dim else 0), condition_dim, hidden)
    if name != "vamp":
        raise UsageError(f"prior {name!r}: expected one of {', '.join(PRIORS)}")
    if encoder is None or schema is None:
        raise UsageError("prior vamp: is made of the encoder's posteriors; give it encoder and schema")
    return VampPrior(encoder, schema, components)


def check_support(posterior: str, prior: str) -> None:
    """Raise UsageError where a posterior reaches outside its prior's support: the KL would be infinite."""
    if prior == "uniform" and posterior != "box":
        raise UsageError(
            f"prior uniform with posterior {posterior}: the posterior reaches outside the prior's box, so its KL is infinite; "
            "take posterior box, or another prior"
        )


def leaves_box(posterior: nn.Module, prior: nn.Module | None) -> bool:
    """Whether p(z) reaches where no q(z|x) does: E_q[p(x, z) / q(z|x)] is then p(x) without the part outside the box."""
    boxed = any(isinstance(part, Box) for part in posterior.modules())
    return boxed and prior is not None and not isinstance(prior, (UniformBox, VampPrior))
