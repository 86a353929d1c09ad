"""Posteriors that are the same distribution with another gradient, for `model.draw(x, c, K, q=wrapped)`.

With z = g(eps, phi) the derivative of log q(z; phi) by phi has two parts, along the path and the score:

    d log q(g(eps, phi); phi) / dphi = d log q / dz dz/dphi + d log q(z; phi) / dphi at fixed z

    PathDerivative    keeps the first                Roeder, Wu & Duvenaud, "Sticking the landing", NeurIPS 2017
    ScoreFunction     keeps the second               Williams, "REINFORCE", Machine Learning 1992
    Given             draws values known already, to see the rest of a model at them

Each wraps any distribution, a flow with parameters of its own too: nothing is asked of it but `rsample` and `log_prob`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

Shape = torch.Size | list[int] | tuple[int, ...]


class PathDerivative(Distribution):
    """`plain` whose log-density has no score: its parameters are felt through the sample alone."""

    has_rsample = True

    def __init__(self, plain: Distribution) -> None:
        self.plain = plain
        super().__init__(plain.batch_shape, plain.event_shape, validate_args=False)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        return self.plain.rsample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Its value to the bit: the score of the same density at a sample held fixed is taken off the gradient."""
        log_q, held = self.plain.log_prob(value), self.plain.log_prob(value.detach())
        return log_q - held + held.detach()


class ScoreFunction(Distribution):
    """`plain` whose samples have no path: its parameters are felt through the log-density alone."""

    has_rsample = True

    def __init__(self, plain: Distribution) -> None:
        self.plain = plain
        super().__init__(plain.batch_shape, plain.event_shape, validate_args=False)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        draw = self.plain.rsample if self.plain.has_rsample else self.plain.sample
        with torch.no_grad():
            return draw(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.plain.log_prob(value)


class Given(Distribution):
    """`plain` whose draws are `value` (K, B, *event), whatever is asked for."""

    has_rsample = True

    def __init__(self, plain: Distribution, value: Tensor) -> None:
        self.plain, self.value = plain, value
        super().__init__(plain.batch_shape, plain.event_shape, validate_args=False)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        return self.value

    def log_prob(self, value: Tensor) -> Tensor:
        return self.plain.log_prob(value)
