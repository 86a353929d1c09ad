"""Pictures of a code in layers: what is left of an example when only its upper layers are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vaekit.data import Split
from vaekit.distributions.chain import Chain, layer_slices
from vaekit.evaluation.rows import device_of
from vaekit.models.base import LatentModel, Model
from vaekit.models.layers import TopDown


def chain_of(model: Model) -> Chain | None:
    """The prior of a model whose code is in layers drawn from the top down, None for others."""
    prior = model.prior if isinstance(model, LatentModel) else None
    return prior.chain() if isinstance(prior, TopDown) else None


@torch.no_grad()
def layer_arrays(model: Model, test: Split, n: int = 8) -> dict[str, np.ndarray]:
    """What a report shows of the layers; empty for a code that has none.

    Returns:
        layer_sizes (L,), the bottom layer first; layer_originals (n, *shape), test rows; layer_images (L, n, *shape), their
        reconstructions with the layers below the first, second, ... put at the prior's means given those above.
    """
    chain = chain_of(model)
    if chain is None:
        return {}
    x = test.rows(slice(0, n))
    dtype = next(model.parameters()).dtype
    z = model.posterior(x.to(device_of(model), dtype)).mean
    images = [model.decode(chain.below(z, layer)).mean for layer in range(len(chain.sizes))]
    return {
        "layer_sizes": np.array(chain.sizes),
        "layer_originals": x.float().numpy(),
        "layer_images": torch.stack(images).cpu().float().numpy(),
    }


@torch.no_grad()
def settled(model: Model, grid: Tensor, dims: Sequence[int]) -> Tensor:
    """A grid (len(dims), steps, D) of codes in which row i moves dimension dims[i]: the layers under that one follow.

    Without layers it is the grid itself. Else the decoder, which sees the bottom layer, would not see a layer above move.
    """
    chain = chain_of(model)
    if chain is None:
        return grid
    weight = next(model.parameters())
    slices = layer_slices(chain.sizes)
    layers = [next(i for i, part in enumerate(slices) if part.start <= d < part.stop) for d in dims]
    moved = grid.to(weight)
    return torch.stack([chain.below(row, layer) for row, layer in zip(moved, layers, strict=True)]).cpu()
