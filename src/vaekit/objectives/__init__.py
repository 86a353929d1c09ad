"""Objectives: plain functions (model, batch, **keywords) -> Terms.

    elbo                                  the evidence lower bound: beta, capacity, free bits; three gradients
    iwae, miwae, ciwae, piwae, renyi      bounds from importance weights
    beta_tc, mmd, factor                  the aggregate posterior: total correlation, distance from the prior
    adversarial, wasserstein              a generator's side of its game against a critic
    reconstruction                        -log p(x | z): the autoencoder, denoising, sparse or contractive
    vq                                    -log p(x | z) and what binds a codebook and its encoder together
    semisupervised                        bounds of labelled and of unlabelled rows, and a classifier's loss

In nats per example, summed over the event, constants included.
"""

from __future__ import annotations

from collections.abc import Callable

from vaekit.objectives.adversarial import adversarial, wasserstein
from vaekit.objectives.aggregate import beta_tc, mmd
from vaekit.objectives.codes import reconstruction
from vaekit.objectives.critic import factor
from vaekit.objectives.draw import Draw, Drawing, Inferring, Objective, Terms
from vaekit.objectives.elbo import elbo
from vaekit.objectives.importance import ciwae, iwae, miwae, piwae, renyi
from vaekit.objectives.quantised import code_length, vq
from vaekit.objectives.semisupervised import semisupervised

__all__ = [
    "OBJECTIVES",
    "Draw",
    "Drawing",
    "Inferring",
    "Objective",
    "Terms",
    "adversarial",
    "beta_tc",
    "ciwae",
    "code_length",
    "elbo",
    "factor",
    "iwae",
    "miwae",
    "mmd",
    "piwae",
    "reconstruction",
    "renyi",
    "semisupervised",
    "vq",
    "wasserstein",
]

OBJECTIVES: dict[str, Callable[..., Terms]] = {
    f.__name__: f
    for f in (
        elbo,
        iwae,
        miwae,
        ciwae,
        piwae,
        renyi,
        beta_tc,
        mmd,
        factor,
        reconstruction,
        vq,
        semisupervised,
        adversarial,
        wasserstein,
    )
}
"""The objectives by name."""
