"""Reconstruction from a code, with what may be asked of the code: the plain autoencoder and its regularised forms.

    plain          -log p(x | z),  z = encoder(x)                                Hinton & Salakhutdinov, Science 2006
    denoising      -log p(x | z),  z = encoder(corrupted x)                      Vincent et al., JMLR 2010
    sparse         + l1 sum_d |z_d|                                              Ng, "Sparse autoencoder", 2011
    contractive    + contractive || d encoder(x) / dx ||_F^2                     Rifai et al., ICML 2011

(The k-sparse code of Makhzani & Frey, ICLR 2014, is a property of the model: `autoencoder(k_sparse=)`.)
"""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
from torch import Tensor

from vaekit.data import Batch
from vaekit.errors import UsageError
from vaekit.objectives.draw import Drawing, Inferring, Terms

Corruption = Literal["gaussian", "mask", "salt"]


def reconstruction(
    model: Drawing,
    batch: Batch,
    *,
    noise: float = 0.0,
    corruption: Corruption = "gaussian",
    l1: float = 0.0,
    contractive: float = 0.0,
) -> Terms:
    """-log p(x | z) at the encoder's code: an autoencoder, with a rate of 0 because no prior limits the code.

    Args:
        noise: how much the encoder's input is corrupted, while the clean example stays the target: the standard deviation,
            in units of the data, or the part of the elements that are hit; 0 leaves it clean.
        corruption: "gaussian" adds noise; "mask" sets elements to 0; "salt" sets them to 0 or 1.
        l1: weight of sum |z|, for a sparse code.
        contractive: weight of the squared Frobenius norm of the Jacobian of the code by the input; exact, by one backward
            pass for each latent dimension.

    Returns:
        Terms: loss = distortion + penalties, rate 0, distortion -log p(x|z).
    """
    for name, value in (("noise", noise), ("l1", l1), ("contractive", contractive)):
        if not 0 <= value < math.inf:
            raise UsageError(f"{name} {value}: expected a number of at least 0")
    if not noise and not contractive:
        draw = model.draw(batch.x, batch.c, 1)
        distortion = -draw.log_px.mean(0)
        return Terms(distortion + _sparse(draw.z, l1), torch.zeros_like(distortion), distortion)
    if not batch.x.is_floating_point():
        raise UsageError("noise, contractive: need values to move; sentences have none, take the model's word_dropout")
    inferring, seen = cast(Inferring, model), corrupt(batch.x, noise, corruption)
    with torch.set_grad_enabled(torch.is_grad_enabled() or contractive > 0):
        seen = seen.detach().requires_grad_(contractive > 0)
        q = inferring.posterior(seen, batch.c)
        penalty = contractive * squared_jacobian(q.mean, seen) if contractive else 0.0
    draw = inferring.draw(batch.x, batch.c, 1, q)
    distortion = -draw.log_px.mean(0)
    return Terms(distortion + _sparse(draw.z, l1) + penalty, torch.zeros_like(distortion), distortion)


def _sparse(z: Tensor, weight: float) -> Tensor | float:
    return weight * z.abs().flatten(2).sum(2).mean(0) if weight else 0.0


def corrupt(x: Tensor, noise: float, corruption: str = "gaussian") -> Tensor:
    """x (B, *shape) with noise of the kind `corruption`; see `reconstruction`."""
    if corruption not in ("gaussian", "mask", "salt"):
        raise UsageError(f"corruption {corruption!r}: expected gaussian, mask or salt")
    if not noise:
        return x
    if corruption == "gaussian":
        return x + noise * torch.randn_like(x)
    if noise > 1:
        raise UsageError(f"noise {noise}: {corruption} hits a part of the elements, expected a number up to 1")
    value = torch.randint_like(x, 2) if corruption == "salt" else torch.zeros_like(x)
    return torch.where(torch.rand_like(x) < noise, value, x)


def squared_jacobian(code: Tensor, x: Tensor) -> Tensor:
    """|| d code_i / dx_i ||_F^2 of every row, (B,): `code` (B, D) a function of `x` (B, *shape), row by row."""
    total = code.new_zeros(len(code))
    for unit in code.flatten(1).unbind(1):
        (slope,) = torch.autograd.grad(unit.sum(), x, create_graph=True)
        total = total + slope.square().flatten(1).sum(1)
    return total
