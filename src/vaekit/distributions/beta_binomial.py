"""The beta-binomial over an even grid of levels: k of n = levels - 1 successes, whose chance is itself drawn.

    rho ~ Beta(a, b),   k ~ Binomial(n, rho),   x = k / n,   a = m s,   b = (1 - m) s
    log p(x) = log C(n, k) + log B(k + a, n - k + b) - log B(a, b)
    E[x] = m,   Var[x] = m (1 - m) / n * (1 + (n - 1) / (s + 1))

The concentration s runs from two masses at the ends (s -> 0) over a flat law (m = 1/2, s = 2) to the binomial (s -> infinity),
which is the narrowest it can be: a standard deviation of 8 levels at mid-gray of 256.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints


class BetaBinomial(Distribution):
    """Elementwise over `levels` values from 0 to 1.

    The log-gamma functions are of the order of 1,000 and cancel to a few nats, so they are taken in double precision; what
    comes out has the precision that went in.

    Args:
        logits: logit of the mean m, any shape.
        log_concentration: log s, broadcastable to `logits`.
        levels: number of values, at least 2.
    """

    arg_constraints = {"logits": constraints.real, "log_concentration": constraints.real}
    support = constraints.unit_interval

    def __init__(self, logits: Tensor, log_concentration: Tensor, levels: int) -> None:
        self.logits, self.log_concentration, self.levels = logits, log_concentration, levels
        super().__init__(torch.broadcast_shapes(logits.shape, log_concentration.shape), validate_args=False)

    @property
    def _parameters(self) -> tuple[Tensor, Tensor]:
        """(a, b) in double precision; both by a sigmoid of their own, so that neither loses digits near 0."""
        logits, s = self.logits.double(), self.log_concentration.double().exp()
        return torch.sigmoid(logits) * s, torch.sigmoid(-logits) * s

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(self.logits).expand(self.batch_shape)

    @property
    def variance(self) -> Tensor:
        n, spread = self.levels - 1, self.mean * torch.sigmoid(-self.logits)
        return spread / n * (1 + (n - 1) / (self.log_concentration.exp() + 1))

    def log_prob(self, value: Tensor) -> Tensor:
        n = self.levels - 1
        k = (value.double() * n).round()
        a, b = self._parameters
        choose = torch.lgamma(k.new_tensor(n + 1.0)) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
        heads, tails = torch.lgamma(k + a) - torch.lgamma(a), torch.lgamma(n - k + b) - torch.lgamma(b)
        result = choose + heads + tails + torch.lgamma(a + b) - torch.lgamma(a + b + n)
        return result.to(self.logits.dtype)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """rho from two gammas in logarithms, since for a small shape the gammas themselves underflow."""
        with torch.no_grad():
            shape, n = (*sample_shape, *self.batch_shape), self.levels - 1
            log_a, log_b = (_log_gamma_draw(v.expand(shape)) for v in self._parameters)
            chance = torch.sigmoid(log_a - log_b)
            return (torch.binomial(torch.full_like(chance, n), chance) / n).to(self.logits.dtype)


def _log_gamma_draw(shape: Tensor) -> Tensor:
    """log of a Gamma(shape, 1) draw: Gamma(a) is Gamma(a + 1) times U^(1 / a)."""
    uniform = torch.rand_like(shape)
    return torch._standard_gamma(shape + 1).log() + torch.log1p(-uniform) / shape
