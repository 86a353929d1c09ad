"""Variational inference for any log-density: a distribution q fitted to f(z) = Z p(z), of which only log f is known.

    reverse   KL(q, p) = E_q[log q(z) - log f(z)] + log Z        Jordan et al., Machine Learning 1999; seeks a mode
    forward   KL(p, q) = E_p[log p(z) - log q(z)]                Bornschein & Bengio, ICLR 2015; covers the modes

It is the mathematics of the VAE for one example, with log f(z) in the place of log p(x, z) and Z in that of p(x): the
objectives are `vaekit.elbo` and its relatives, q is a learned prior of `vaekit.priors`, and `vaekit.fit` trains it.
"""

from vaekit.inference.fitting import Fitted, fit
from vaekit.inference.target import Target, forward_kl, reverse_kl

__all__ = ["Fitted", "Target", "fit", "forward_kl", "reverse_kl"]
