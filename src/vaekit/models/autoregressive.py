"""A prior over codes that predicts each from those before it.

van den Oord, Vinyals & Kavukcuoglu, NeurIPS 2017 (section 3.3, there a PixelCNN); the recurrent network is that of Cho et
al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014.

    k_1 ... k_T      the codes in raster order, the levels of a position one after the other
    log p(k) = sum_t log p(k_t | k_1 ... k_{t-1})
    s_t = GRU(s_{t-1}, embedding(k_{t-1}) + place_t),   p(k_t | ...) = softmax(W s_t + b)

W and b begin at 0, so that the network begins as the uniform prior, log p(k) = -T log K.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent

from vaekit.conditional import Conditional


class CausalNetwork(nn.Module):
    """Logits of every code given those before it: (M, T) int64 -> (M, T, K)."""

    def __init__(self, size: int, length: int, width: int) -> None:
        super().__init__()
        self.size, self.length = size, length
        self.embedding = nn.Embedding(size + 1, width)  # the last is what stands before the first code
        self.place = nn.Parameter(torch.zeros(length, width))
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.out = nn.Linear(width, size)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, codes: Tensor) -> Tensor:
        before = torch.cat([self._start(len(codes)), codes[:, :-1]], 1)
        states, _ = self.recurrent(self.embedding(before) + self.place)
        return self.out(states)

    def sample(self, n: int) -> Tensor:
        """n sequences (n, T), drawn code by code."""
        code, state, drawn = self._start(n), None, []
        for t in range(self.length):
            output, state = self.recurrent(self.embedding(code) + self.place[t], state)
            code = Categorical(logits=self.out(output[:, 0]), validate_args=False).sample()[:, None]
            drawn.append(code)
        return torch.cat(drawn, 1)

    def _start(self, n: int) -> Tensor:
        return torch.full((n, 1), self.size, dtype=torch.long, device=self.place.device)


class AutoregressiveCodes(Distribution):
    """Codes (N, L) by a causal network. It has `log_prob` and `sample`, and no mean."""

    arg_constraints = {}

    def __init__(self, network: CausalNetwork, positions: int, levels: int) -> None:
        self.network = network
        super().__init__(torch.Size(), torch.Size((positions, levels)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """codes (*, N, L) -> log p in nats, (*)."""
        sequences = value.reshape(-1, self.network.length)
        logits = self.network(sequences).log_softmax(-1)
        return logits.gather(-1, sequences[..., None])[..., 0].sum(-1).view(value.shape[:-2])

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        return self.network.sample(shape.numel()).view(*shape, *self.event_shape)


class CodePrior(Conditional):
    """p(codes): uniform, or autoregressive from the moment it is fitted, which `fitted` remembers and a run saves.

    Args:
        size: K, the number of values of a code.
        positions, levels: N and L, the shape of an example's codes.
        learned: False for a prior that stays uniform.
        width: of the recurrent network.
    """

    fitted: Tensor
    zero: Tensor

    def __init__(self, size: int, positions: int, levels: int, learned: bool = True, width: int = 128) -> None:
        super().__init__()
        self.size, self.positions, self.levels = size, positions, levels
        # without gradients, so that training the model leaves it alone: its turn comes afterwards
        self.network = CausalNetwork(size, positions * levels, width).requires_grad_(False) if learned else None
        self.register_buffer("fitted", torch.tensor(False))
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    @property
    def uniform_nats(self) -> float:
        """N L log K, the length of every code before the prior is fitted."""
        return self.positions * self.levels * math.log(self.size)

    def forward(self, *given: Tensor) -> Distribution:
        if self.network is not None and bool(self.fitted):
            return AutoregressiveCodes(self.network, self.positions, self.levels)
        logits = self.zero.expand(self.positions, self.levels, self.size)
        return Independent(Categorical(logits=logits, validate_args=False), 2, validate_args=False)
