"""Vector quantisation: the nearest vector of a codebook in place of an encoder's output.

van den Oord, Vinyals & Kavukcuoglu, "Neural discrete representation learning", NeurIPS 2017, and its appendix A.1 for the
moving average. Residual levels: Lee et al., "Autoregressive image generation using residual quantization", CVPR 2022.

    r_1 = h,   k_l = argmin_k |r_l - e_lk|^2,   r_{l+1} = r_l - e_{l,k_l},   z = sum_l e_{l,k_l}
    straight through:    dz/dh = 1
    codebook term        sum_l |sg[r_l] - e_{l,k_l}|^2     moves the codebook alone
    commitment term      sum_l |r_l - sg[e_{l,k_l}]|^2     moves the encoder alone
    moving average       N_k <- g N_k + (1-g) n_k,   m_k <- g m_k + (1-g) sum_{i: k_i = k} r_i,   e_k = m_k / N_k

Here e_k is a weighted mean of outputs the encoder has given, so it cannot leave their convex hull; the paper's remedy
for N_k near 0 is not needed, because a code that is hardly used starts again (below).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.errors import UsageError
from vaekit.networks.kmeans import kmeans, nearest

CodebookName = Literal["gradient", "ema"]

_DECAY = 0.99
"""g, the weight of the past in the moving averages at each training step."""

_DEAD = 0.05
"""Share of the mean usage below which a code is dead: its vector becomes one of the batch's encoder outputs."""

_START_BATCHES, _START_ROWS, _START_MOST = 10, 16, 64
"""k-means is fitted to the encoder outputs of the first batches: at most so many of them, ended as soon as there are 16
outputs for every code; at most 64 for every code are looked at."""


class Quantised(NamedTuple):
    """What a quantiser makes of encoder outputs (*, N, D).

    z: (*, N, D), with the gradient passed straight through. codes: (*, N, L) int64. codebook, commitment: (*) the two
    terms, summed over positions, levels and dimensions of each example.
    """

    z: Tensor
    codes: Tensor
    codebook: Tensor
    commitment: Tensor


class Quantiser(nn.Module, ABC):
    """Interface: each of N vectors of `dim` numbers becomes `levels` codes of `size` values each."""

    dim: int
    size: int
    levels: int

    @abstractmethod
    def forward(self, h: Tensor) -> Quantised:
        """Encoder outputs (*, N, dim), quantised."""

    @abstractmethod
    def vectors_of(self, codes: Tensor) -> Tensor:
        """codes (*, N, levels) -> the vectors (*, N, dim) that they stand for."""

    @abstractmethod
    def words(self, codes: Tensor) -> tuple[Tensor, int]:
        """Codes (*, N, levels) as entries (*, N, W) of W vocabularies, and the number of entries in each."""


class Codebook(Quantiser):
    """`levels` codebooks of `size` vectors, learned by gradient or by exponential moving average.

    Its state moves in training mode with gradients on, as that of a normalisation layer would, and only then: the start
    by k-means, the counts, the moving averages and the revival of dead codes. All of it is in buffers, saved with the
    weights.
    """

    counts: Tensor
    sums: Tensor
    starting: Tensor

    def __init__(self, size: int, dim: int, levels: int = 1, learned: CodebookName = "ema") -> None:
        super().__init__()
        if size < 2:
            raise UsageError(f"codebook_size {size}: a code needs at least 2 values to tell anything apart")
        if levels < 1 or dim < 1:
            raise UsageError(f"codebook: levels {levels} of {dim} dimensions: expected at least 1 of both")
        if learned not in ("gradient", "ema"):
            raise UsageError(f"codebook {learned!r}: expected gradient or ema")
        self.size, self.dim, self.levels, self.learned = size, dim, levels, learned
        vectors = torch.randn(levels, size, dim) / dim**0.5
        if learned == "gradient":
            self.vectors: Tensor = nn.Parameter(vectors)
        else:
            self.register_buffer("vectors", vectors)
        self.register_buffer("counts", torch.ones(levels, size))
        self.register_buffer("sums", vectors.clone())
        self.register_buffer("starting", torch.tensor(_START_BATCHES))
        self._waiting: list[Tensor] = []

    def forward(self, h: Tensor) -> Quantised:
        learning, h = self.training and torch.is_grad_enabled(), h.to(self.vectors.dtype)
        if learning and int(self.starting) > 0:
            self._start(h.detach().reshape(-1, self.dim))
        rest, total, codes = h, torch.zeros_like(h), []
        codebook = commitment = h.new_zeros(h.shape[:-2])
        for level in range(self.levels):
            code = nearest(rest.detach(), self.vectors[level].detach())
            e = F.embedding(code, self.vectors[level])
            if self.learned == "gradient":
                codebook = codebook + (rest.detach() - e).square().sum((-2, -1))
            commitment = commitment + (rest - e.detach()).square().sum((-2, -1))
            if learning:
                self._observe(level, rest.detach().reshape(-1, self.dim), code.flatten())
            rest, total = rest - e.detach(), total + e.detach()
            codes.append(code)
        # h + (z - h) would round; so the codebook's vectors themselves are decoded
        return Quantised(total + (h - h.detach()), torch.stack(codes, -1), codebook, commitment)

    def vectors_of(self, codes: Tensor) -> Tensor:
        total = F.embedding(codes[..., 0], self.vectors[0])
        for level in range(1, self.levels):
            total = total + F.embedding(codes[..., level], self.vectors[level])
        return total

    def words(self, codes: Tensor) -> tuple[Tensor, int]:
        return codes, self.size

    @torch.no_grad()
    def _start(self, h: Tensor) -> None:
        """Fit every level's codebook by k-means to the encoder outputs seen so far."""
        self._waiting.append(h)
        rest = torch.cat(self._waiting)
        enough = len(rest) >= _START_ROWS * self.size
        self.starting.fill_(0 if enough else int(self.starting) - 1)
        if int(self.starting) == 0:
            self._waiting = []
        rest = rest[torch.randperm(len(rest), device=rest.device)[: _START_MOST * self.size]]
        for level in range(self.levels):
            centres, index = kmeans(rest, self.size)
            share = torch.bincount(index, minlength=self.size).to(h.dtype) / len(rest)
            self.vectors[level].copy_(centres)
            self.counts[level].copy_(share * len(h))
            self.sums[level].copy_(self.counts[level][:, None] * centres)
            rest = rest - centres[index]

    @torch.no_grad()
    def _observe(self, level: int, r: Tensor, code: Tensor) -> None:
        """One step of the moving averages with the rows r (M, D) of a level and their codes (M,)."""
        counts, sums = self.counts[level], self.sums[level]
        counts.lerp_(torch.bincount(code, minlength=self.size).to(counts.dtype), 1 - _DECAY)
        if self.learned == "ema":
            sums.lerp_(torch.zeros_like(sums).index_add_(0, code, r.to(sums.dtype)), 1 - _DECAY)
            used = counts[:, None] > torch.finfo(counts.dtype).tiny
            self.vectors[level].copy_(torch.where(used, sums / counts[:, None], self.vectors[level]))
        self._revive(level, r)

    def _revive(self, level: int, r: Tensor) -> None:
        counts = self.counts[level]
        even = counts.mean()
        dead = counts < _DEAD * even
        if bool(dead.any()):
            found = r[torch.randint(len(r), (int(dead.sum()),), device=r.device)].to(self.vectors.dtype)
            self.vectors[level][dead] = found
            self.counts[level][dead] = even
            self.sums[level][dead] = even * found
