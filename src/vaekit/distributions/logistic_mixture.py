"""The mixture of discretised logistics, its channels coupled (Salimans, Karpathy, Chen & Kingma, "PixelCNN++", ICLR 2017).

One component m is drawn for each pixel, and in it each channel sees the ones before it:

    p(x) = sum_m pi_m prod_c DL(x_c | mu_mc + sum_{j < c} w_mcj (x_j - 1/2), s_mc)

DL is the discretised logistic of `discretized_logistic.py`, exact in both tails, on levels from 0 to 1 (the paper's run
from -1 to 1, which scales mu and s and leaves w). With one channel it is a plain mixture for each element.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from vaekit.distributions.discretized_logistic import DiscretizedLogistic


class LogisticMixture(Distribution):
    """An event (C, *space) of `levels` values from 0 to 1, each place of `space` a mixture of M components.

    Args:
        logits: (*batch, M, *space), of the components.
        loc, log_scale: (*batch, M, C, *space) mu and log s.
        coupling: (*batch, M, C (C - 1) / 2, *space) w, in the order (1, 0), (2, 0), (2, 1), ...
        levels: number of values, at least 2.
        space_dims: number of dimensions of `space`.
    """

    arg_constraints = {
        "logits": constraints.real,
        "loc": constraints.real,
        "log_scale": constraints.real,
        "coupling": constraints.real,
    }
    support = constraints.unit_interval

    def __init__(
        self, logits: Tensor, loc: Tensor, log_scale: Tensor, coupling: Tensor, levels: int, space_dims: int
    ) -> None:
        self.logits, self.loc, self.log_scale, self.coupling = logits, loc, log_scale, coupling
        self.levels, self.channel = levels, -space_dims - 1
        split = loc.dim() - space_dims - 2
        super().__init__(loc.shape[:split], loc.shape[split + 1 :], validate_args=False)

    def _centre(self, c: int, before: list[Tensor]) -> Tensor:
        """The centre of channel c given the channels before it, (*batch, M, *space)."""
        loc, first = self.loc.select(self.channel, c), c * (c - 1) // 2
        for j, x in enumerate(before):
            loc = loc + self.coupling.select(self.channel, first + j) * (x - 0.5)
        return loc

    def log_prob(self, value: Tensor) -> Tensor:
        x = value.unsqueeze(self.channel - 1).unbind(self.channel)
        centres = [self._centre(c, list(x[:c])) for c in range(len(x))]
        loc = torch.stack(torch.broadcast_tensors(*centres), self.channel)
        p = DiscretizedLogistic(loc, self.log_scale, self.levels)
        given = p.log_prob(torch.stack(x, self.channel)).sum(self.channel)
        # `given` is (*batch, M, *space): its components stand where its channels stood
        each = torch.logsumexp(self.logits.log_softmax(self.channel) + given, self.channel)
        return each.flatten(self.channel + 1).sum(-1)

    @property
    def mean(self) -> Tensor:
        """E[x] of the first channel, exactly; of a later one with the channels before it at their means.

        That is exact where the logistic does not reach the ends of the range, and off by what they cut away otherwise.
        """
        weights, means = self.logits.softmax(self.channel), list[Tensor]()
        for c in range(self.event_shape[0]):
            log_scale = self.log_scale.select(self.channel, c)
            means.append(DiscretizedLogistic(self._centre(c, means), log_scale, self.levels).mean)
        return torch.stack([(weights * m).sum(self.channel) for m in means], self.channel)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            lead = torch.Size(sample_shape)
            noise = torch.empty((*lead, *self.logits.shape), dtype=self.loc.dtype, device=self.loc.device)
            chosen = (self.logits - noise.exponential_().log()).argmax(self.channel, keepdim=True)
            channels = list[Tensor]()
            for c in range(self.event_shape[0]):
                loc = self._centre(c, channels).expand(noise.shape).gather(self.channel, chosen)
                log_scale = self.log_scale.select(self.channel, c).expand(noise.shape).gather(self.channel, chosen)
                channels.append(DiscretizedLogistic(loc, log_scale, self.levels).sample())
            return torch.cat(channels, self.channel)
