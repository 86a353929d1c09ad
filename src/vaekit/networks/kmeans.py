"""k-means: Lloyd's algorithm from the seeding of Arthur & Vassilvitskii, "k-means++", SODA 2007 (greedy).

minimise sum_i min_k |x_i - m_k|^2
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def nearest(x: Tensor, vectors: Tensor) -> Tensor:
    """Index of the nearest of `vectors` (K, D) for each of x (*, D), (*) int64; the first of equals.

    argmin_k |x - m_k|^2 = argmin_k |m_k|^2 / 2 - x m_k', both moved by the mean of the vectors: squares of numbers far
    from 0 would leave no digits for their differences. For the same reason never in half precision.
    """
    with torch.autocast(x.device.type, enabled=False):
        centre = vectors.mean(0)
        m = vectors - centre
        return (m.square().sum(-1) / 2 - (x.to(m.dtype) - centre) @ m.T).argmin(-1)


@torch.no_grad()
def kmeans(x: Tensor, k: int, rounds: int = 20) -> tuple[Tensor, Tensor]:
    """Centres (k, D) of x (M, D), and the index of the nearest centre to every row, (M,).

    A centre that loses all its rows stays where it was. With fewer than k different rows some centres coincide.
    """
    centres = _spread(x, k)
    index = nearest(x, centres)
    for _ in range(rounds):
        counts = torch.bincount(index, minlength=k).to(x.dtype)
        sums = torch.zeros_like(centres).index_add_(0, index, x)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centres)
        before, index = index, nearest(x, centres)
        if torch.equal(before, index):
            break
    return centres, index


def _spread(x: Tensor, k: int) -> Tensor:
    """k rows: each the best of a few drawn in proportion to their squared distance from those chosen before."""
    first = x[torch.randint(len(x), (1,), device=x.device)]
    chosen, distance, tries = [first], (x - first).square().sum(-1), 2 + int(math.log(k))
    for _ in range(k - 1):
        apart = bool(distance.max() > 0)
        drawn = x[torch.multinomial(distance if apart else torch.ones_like(distance), tries, replacement=True)]
        closer = torch.stack([torch.minimum(distance, (x - row).square().sum(-1)) for row in drawn])
        best = int(closer.sum(1).argmin())
        distance = closer[best]
        chosen.append(drawn[best : best + 1])
    return torch.cat(chosen)
