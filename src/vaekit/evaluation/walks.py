"""Pictures of a model that cannot encode: ways through its prior, from one drawn code to another.

A straight line between two draws of N(0, I) passes through codes that are nearer to 0 than any draw is. The arc

    z(t) = cos(t pi/2) a + sin(t pi/2) b

keeps the distribution N(0, I) at every t (White, "Sampling generative networks", 2016). On a uniform prior lines stay inside.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from vaekit.data import Split
from vaekit.evaluation.rows import batch_at
from vaekit.models.gan import GAN
from vaekit.priors import UniformBox


@torch.no_grad()
def walk_arrays(model: GAN, test: Split, pairs: int = 6, steps: int = 9) -> dict[str, np.ndarray]:
    """walks: (pairs, steps, *shape), examples on the way from one code of the prior to another; a conditional model is told
    on each of them what one of the test rows is."""
    a, b = model.prior_codes(2 * pairs).chunk(2)
    t = torch.linspace(0, 1, steps, device=a.device, dtype=a.dtype)[:, None]
    straight = isinstance(model.prior, UniformBox)
    ahead, behind = (t, 1 - t) if straight else ((t * math.pi / 2).sin(), (t * math.pi / 2).cos())
    c = batch_at(model, test, torch.arange(pairs) % len(test)).c
    made = model.decode(behind * a[:, None] + ahead * b[:, None], None if c is None else c[:, None]).mean
    return {"walks": made.cpu().float().numpy()}
