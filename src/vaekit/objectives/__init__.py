"""Objectives: plain functions (model, batch, **keywords) -> Terms, in nats per example.

elbo                                  the evidence lower bound: beta, capacity, free bits; three gradients
iwae, miwae, ciwae, piwae, renyi      bounds from importance weights
reconstruction                        -log p(x | z): the autoencoder, denoising, sparse or contractive
"""

from __future__ import annotations

from collections.abc import Callable

from vaekit.objectives.codes import reconstruction
from vaekit.objectives.draw import Draw, Drawing, Inferring, Objective, Terms
from vaekit.objectives.elbo import elbo
from vaekit.objectives.importance import ciwae, iwae, miwae, piwae, renyi

__all__ = [
    "OBJECTIVES",
    "Draw",
    "Drawing",
    "Inferring",
    "Objective",
    "Terms",
    "ciwae",
    "elbo",
    "iwae",
    "miwae",
    "piwae",
    "reconstruction",
    "renyi",
]

OBJECTIVES: dict[str, Callable[..., Terms]] = {
    f.__name__: f for f in (elbo, iwae, miwae, ciwae, piwae, renyi, reconstruction)
}
"""The objectives by name."""
