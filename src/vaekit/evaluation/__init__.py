"""Evaluation: functions of (model, rows) that return Estimates."""

from vaekit.evaluation.codebook import codebook_usage
from vaekit.evaluation.estimate import Estimate
from vaekit.evaluation.latent import active_dimensions, active_units, codes, kl_per_dim, kl_per_layer
from vaekit.evaluation.likelihood import elbo, iwae_bound, log_likelihood, log_likelihood_per_example
from vaekit.evaluation.probes import probes
from vaekit.evaluation.summary import evaluate, reconstruction_error, to_json

__all__ = [
    "Estimate",
    "active_dimensions",
    "active_units",
    "codebook_usage",
    "codes",
    "elbo",
    "evaluate",
    "iwae_bound",
    "kl_per_dim",
    "kl_per_layer",
    "log_likelihood",
    "log_likelihood_per_example",
    "probes",
    "reconstruction_error",
    "to_json",
]
