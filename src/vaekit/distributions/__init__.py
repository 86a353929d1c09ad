"""Distributions torch lacks, and the families that make distributions from a network's raw output."""

from vaekit.distributions.continuous_bernoulli import ContinuousBernoulli
from vaekit.distributions.delta import Delta
from vaekit.distributions.discretized_logistic import DiscretizedLogistic
from vaekit.distributions.divergence import closed_kl, closed_kl_per_dim
from vaekit.distributions.likelihoods import LIKELIHOODS
from vaekit.distributions.sequence import Sequence, point_of

__all__ = [
    "LIKELIHOODS",
    "ContinuousBernoulli",
    "Delta",
    "DiscretizedLogistic",
    "Sequence",
    "closed_kl",
    "closed_kl_per_dim",
    "point_of",
]
