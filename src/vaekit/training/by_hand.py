"""The ELBO of the plain VAE with its backward pass written by hand: what `fit` takes in place of `elbo` where it may.

A step of a small fully connected network is a dozen matrix products and a hundred and fifty small operations around them.
Autograd and the Distribution objects cost each of these its time, together more than a tenth of a step. The plain VAE (fully
connected relu or tanh networks, q(z|x) a diagonal Gaussian, p(z) = N(0, I), a Bernoulli decoder, one draw) has a gradient that
fits on a page, with m, s mean and standard deviation of q, s^2 = exp(bounded(l)) and l the raw log-variance:

    distortion = sum softplus(logits) - x logits        d / dlogits = sigmoid(logits) - x
    rate = 1/2 sum (m^2 + s^2 - 1 - log s^2)            d / dm = m,  d / ds = s - 1/s
    z = m + s eps                                       d / dm = d / dz,  d / ds = eps d / dz

It is the same estimate from the same random numbers; `tests/test_by_hand.py` holds it to `elbo`. Everything else is `elbo`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from vaekit.conditional import Parametric
from vaekit.data import Batch
from vaekit.distributions.families import Bernoulli, Family
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.models.base import LatentModel
from vaekit.networks import MLP
from vaekit.objectives import Terms, elbo
from vaekit.priors import StandardNormal

_ACTIVATIONS: dict[type[nn.Module], tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    # autograd's own operators: masking by `h > 0` takes ten times as long
    nn.ReLU: (torch.relu_, lambda slope, h: torch.ops.aten.threshold_backward(slope, h, 0)),
    nn.Tanh: (torch.tanh_, lambda slope, h: torch.ops.aten.tanh_backward(slope, h)),
}
"""h from what goes in, in place; and the slope by what goes in, from the slope by h."""

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
"""Where a module keeps those who want to hear of its being called; one that is passed by would not call them."""


@dataclass(frozen=True)
class _Layers:
    """A fully connected network: its linear maps, with one activation between them."""

    linear: list[nn.Linear]
    activation: type[nn.Module]

    @property
    def parameters(self) -> list[Tensor]:
        """Weight and bias of each map in turn."""
        return [p for layer in self.linear for p in (layer.weight, layer.bias)]

    def forward(self, x: Tensor, parameters: tuple[Tensor, ...]) -> tuple[list[Tensor], Tensor]:
        """What goes into each map, and what comes out of the last."""
        activate, inputs = _ACTIVATIONS[self.activation][0], [x]
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            inputs.append(activate(torch.addmm(bias, inputs[-1], weight.t())))
        return inputs, torch.addmm(parameters[-1], inputs[-1], parameters[-2].t())

    def backward(
        self, slope: Tensor, inputs: list[Tensor], parameters: tuple[Tensor, ...]
    ) -> tuple[Tensor, list[Tensor]]:
        """From the slope by the output: that by what the first map gives, and those by the parameters."""
        slopes: list[Tensor] = []
        for at in range(len(inputs) - 1, -1, -1):
            slopes[:0] = (slope.t() @ inputs[at], slope.sum(0))
            if at:
                slope = _ACTIVATIONS[self.activation][1](slope @ parameters[2 * at], inputs[at])
        return slope, slopes


class _RateAndDistortion(torch.autograd.Function):
    """(x (B, n), encoder, decoder, bounds of the log-variance, parameters of both) -> rate and distortion, (B,) each."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, encoder: _Layers, decoder: _Layers, low: float, high: float, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        of_encoder, of_decoder = parameters[: 2 * len(encoder.linear)], parameters[2 * len(encoder.linear) :]
        encoded, raw = encoder.forward(x, of_encoder)
        mean, log_variance = raw.chunk(2, -1)
        from_high = high - log_variance
        from_low = (high - low) - F.softplus(from_high)
        log_variance = low + F.softplus(from_low)  # `soft_bound`, its parts kept for the slope
        std = (0.5 * log_variance).exp()
        noise = torch.empty_like(std).normal_()
        decoded, logits = decoder.forward(torch.addcmul(mean, std, noise), of_decoder)
        rate = 0.5 * (mean * mean).addcmul_(std, std).sub_(log_variance).sub_(1.0).sum(-1)
        distortion = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        ctx.save_for_backward(*parameters)
        ctx.networks, ctx.inputs = (encoder, decoder), (encoded, decoded)
        ctx.kept = x, mean, std, noise, logits, torch.sigmoid(from_high).mul_(torch.sigmoid(from_low))
        return rate, distortion

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_rate: Tensor, by_distortion: Tensor) -> tuple[Tensor | None, ...]:
        (encoder, decoder), (encoded, decoded) = ctx.networks, ctx.inputs
        x, mean, std, noise, logits, bound_slope = ctx.kept
        of_encoder, of_decoder = ctx.saved_tensors[: 2 * len(encoded)], ctx.saved_tensors[2 * len(encoded) :]
        by_rate = by_rate.unsqueeze(-1)
        by_logits = torch.sigmoid(logits).sub_(x).mul_(by_distortion.unsqueeze(-1))
        by_first, of_decoder_slopes = decoder.backward(by_logits, decoded, of_decoder)
        by_z = by_first @ of_decoder[0]
        by_mean = torch.addcmul(by_z, by_rate, mean)
        by_log_variance = (by_z * noise).addcmul_(by_rate, std).mul_(std).sub_(by_rate).mul_(0.5).mul_(bound_slope)
        _, of_encoder_slopes = encoder.backward(torch.cat((by_mean, by_log_variance), -1), encoded, of_encoder)
        return (None, None, None, None, None, *of_encoder_slopes, *of_decoder_slopes)


def by_hand(model: nn.Module, objective: Callable[..., Terms]) -> Callable[..., Terms]:
    """`objective`, or where it is `elbo` at one draw of a plain VAE, an equal one with its gradient written out.

    Subclasses, hooks, a frozen parameter, mixed precision and keywords other than beta are left to `objective`.
    """
    networks = _plain_vae(model)
    if networks is None or not _plain_elbo(objective):
        return objective
    encoder, decoder = networks
    beta_set = objective.keywords.get("beta", 1.0) if isinstance(objective, partial) else 1.0
    hooks = [getattr(module, kind) for module in model.modules() for kind in _HOOKS]

    def written_out(model: Any, batch: Batch, **keywords: Any) -> Terms:
        beta, parameters = keywords.get("beta", beta_set), encoder.parameters + decoder.parameters
        usual = batch.c is None and not keywords.keys() - {"beta"} and 0 <= beta < math.inf and not any(hooks)
        mixed = torch.is_autocast_enabled(batch.x.device.type)
        if not usual or mixed or not all(p.requires_grad for p in parameters):
            return objective(model, batch, **keywords)
        q = model.encoder.family
        rate, distortion = _RateAndDistortion.apply(batch.x.flatten(1), encoder, decoder, q.low, q.high, *parameters)
        return Terms(distortion + beta * rate, rate, distortion)

    return written_out


def _plain_elbo(objective: Callable[..., Terms]) -> bool:
    """Whether it is `elbo`, perhaps with keywords, all but beta as they come."""
    if not isinstance(objective, partial):
        return objective is elbo
    usual = (elbo.__kwdefaults__ or {}) | {"beta": objective.keywords.get("beta")}
    return objective.func is elbo and not objective.args and objective.keywords.items() <= usual.items()


def _plain_vae(model: nn.Module) -> tuple[_Layers, _Layers] | None:
    """Encoder and decoder of a plain VAE; None for every other model."""
    if type(model) is not LatentModel or type(model.prior) is not StandardNormal or model.condition_dim:
        return None
    encoder, decoder = _layers(model.encoder, DiagonalGaussian), _layers(model.decoder, Bernoulli)
    return None if encoder is None or decoder is None else (encoder, decoder)


def _layers(part: nn.Module, family: type[Family]) -> _Layers | None:
    """The layers of a fully connected network with this family's output; None for anything else."""
    if type(part) is not Parametric or type(part.family) is not family or type(part.network) is not MLP:
        return None
    layers = list(part.network.layers)
    maps, between = [*layers[::2], part.network.out], {type(m) for m in layers[1::2]}
    linear = [m for m in maps if type(m) is nn.Linear and m.bias is not None]
    (activation, *others) = between or {nn.ReLU}  # a linear network has none to apply
    known = len(linear) == len(maps) and not others and activation in _ACTIVATIONS
    return _Layers(linear, activation) if known else None
