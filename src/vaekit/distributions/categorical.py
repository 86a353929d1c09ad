"""The categorical over an even grid of levels: a probability of its own for each, with no notion of which are close.

    p(x = l / (levels - 1)) = exp(logit_l) / sum_j exp(logit_j)

(van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel recurrent neural networks", ICML 2016)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints


class CategoricalLevels(Distribution):
    """An event whose every element takes one of `levels` values from 0 to 1.

    Args:
        logits: (*batch, levels, *event).
        event_dims: how many of its last dimensions make one event.
    """

    arg_constraints = {"logits": constraints.real}
    support = constraints.unit_interval

    def __init__(self, logits: Tensor, event_dims: int) -> None:
        self.logits, self.at = logits, -event_dims - 1
        self.levels = logits.shape[self.at]
        split = logits.dim() + self.at
        super().__init__(logits.shape[:split], logits.shape[split + 1 :], validate_args=False)

    def _grid(self, power: int) -> Tensor:
        """level^power, shaped to be multiplied with the logits."""
        values = torch.arange(self.levels, dtype=self.logits.dtype, device=self.logits.device) / (self.levels - 1)
        return values.pow(power).view(-1, *[1] * len(self.event_shape))

    def _moment(self, power: int) -> Tensor:
        return (self.logits.softmax(self.at) * self._grid(power)).sum(self.at)

    @property
    def mean(self) -> Tensor:
        return self._moment(1)

    @property
    def variance(self) -> Tensor:
        centred = self._grid(1) - self.mean.unsqueeze(self.at)
        return (self.logits.softmax(self.at) * centred.square()).sum(self.at)

    def log_prob(self, value: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(value.shape, (*self.batch_shape, *self.event_shape))
        index = (value * (self.levels - 1)).round().long().expand(shape).unsqueeze(self.at)
        logits = self.logits.expand(*shape[: self.at + 1], *self.logits.shape[self.at :])
        chosen = logits.gather(self.at, index) - logits.logsumexp(self.at, keepdim=True)
        return chosen.flatten(self.at).sum(-1)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """The largest of logit + Gumbel noise (Gumbel, 1954)."""
        with torch.no_grad():
            noise = torch.empty(
                (*sample_shape, *self.logits.shape), dtype=self.logits.dtype, device=self.logits.device
            ).exponential_()
            index = (self.logits - noise.log()).argmax(self.at)
            return index.to(self.logits.dtype) / (self.levels - 1)
