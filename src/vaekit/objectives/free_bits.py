"""Free bits: nats of the rate that cost nothing, so that a code is not given up before it is of use.

Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling, "Improved variational inference with inverse autoregressive flow",
NeurIPS 2016: per dimension, over the batch. Li, He, Neubig, Berg-Kirkpatrick & Yang, "A surprisingly effective fix for deep
latent variable modeling of text", EMNLP 2019, compare three of the four:

    per dimension, over each example     1/B sum_b sum_d max(lambda, KL_bd)
    per dimension, over the batch        sum_d max(lambda, 1/B sum_b KL_bd)
    per code,      over each example     1/B sum_b max(lambda, sum_d KL_bd)
    per code,      over the batch        max(lambda, 1/B sum_b sum_d KL_bd)

KL_bd is the KL of dimension d of example b. What lies below lambda is held at this constant and has no gradient.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vaekit.errors import UsageError
from vaekit.objectives.draw import Draw

Per = Literal["dimension", "code"]
Over = Literal["example", "batch"]


def free(draw: Draw, rate: Tensor, free_bits: float, per: Per, over: Over) -> Tensor:
    """What is charged of the rate, (B,); its mean over the batch is the line of the table above.

    Args:
        draw: gives the KL of each dimension.
        rate: (B,) the KL of each example, in closed form or as a mean over draws of z.
        free_bits: lambda, in nats.
        per, over: the line of the table.

    Raises UsageError where there is no closed KL to hold against the threshold.
    """
    if per == "dimension" and draw.kl_per_dim is None:
        raise UsageError(f"free_bits {free_bits}: needs a positive number and a closed KL for each dimension")
    by_draws = draw.kl is None or (draw.kl_per_layer is not None and draw.kl_per_dim is None)
    if per == "code" and over == "example" and by_draws:
        raise UsageError(
            f"free_bits {free_bits}: this KL is known by draws alone, too noisy for one example; take them over the batch"
        )
    parts = rate[:, None] if per == "code" else draw.kl_per_dim
    assert parts is not None
    if over == "example":
        return parts.clamp_min(free_bits).sum(-1)
    # every row of a column that is charged keeps its own value, so that the mean is the table's and so is its gradient
    return torch.where(parts.mean(0) <= free_bits, free_bits, parts).sum(-1)
