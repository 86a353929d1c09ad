"""Evaluation: functions of (model, rows) that return Estimates."""

from vaekit.evaluation.aggregate import aggregate_posterior
from vaekit.evaluation.annealed import (
    annealed_importance_sampling,
    annealed_importance_sampling_per_example,
    annealed_log_weights,
    bidirectional,
)
from vaekit.evaluation.codebook import codebook_usage
from vaekit.evaluation.doctor import diagnose
from vaekit.evaluation.estimate import Estimate
from vaekit.evaluation.examples import per_example
from vaekit.evaluation.figures import reconstruction_error
from vaekit.evaluation.findings import Finding
from vaekit.evaluation.gaps import gaps
from vaekit.evaluation.inversion import inversion_error, invert
from vaekit.evaluation.latent import active_dimensions, active_units, codes, kl_per_dim, kl_per_layer
from vaekit.evaluation.likelihood import (
    effective_sample_size,
    elbo,
    importance_sampling,
    iwae_bound,
    log_likelihood,
    log_likelihood_per_example,
    trust,
)
from vaekit.evaluation.probes import probes
from vaekit.evaluation.quality import sample_figures
from vaekit.evaluation.summary import evaluate, to_json

__all__ = [
    "Estimate",
    "Finding",
    "active_dimensions",
    "active_units",
    "aggregate_posterior",
    "annealed_importance_sampling",
    "annealed_importance_sampling_per_example",
    "annealed_log_weights",
    "bidirectional",
    "codebook_usage",
    "codes",
    "diagnose",
    "effective_sample_size",
    "elbo",
    "evaluate",
    "gaps",
    "importance_sampling",
    "inversion_error",
    "invert",
    "iwae_bound",
    "kl_per_dim",
    "kl_per_layer",
    "log_likelihood",
    "log_likelihood_per_example",
    "per_example",
    "probes",
    "reconstruction_error",
    "sample_figures",
    "to_json",
    "trust",
]
