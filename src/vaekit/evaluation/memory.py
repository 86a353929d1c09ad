"""What a draw costs in memory: the measure of every chunk."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.distributions import MixtureSameFamily

from vaekit.data import Batch
from vaekit.distributions.gaussian_mixture import GaussianMixture
from vaekit.models.base import Model


def bytes_per_draw(model: Model, batch: Batch) -> int:
    """What one draw of one row takes at its widest, about: six tensors as large as the largest output on the way."""
    one = batch.x[:1], None if batch.c is None else batch.c[:1]
    model.draw(*one, 1)  # so that what is made once for all draws is not counted below
    widest = [batch.x[:1].numel()]
    hooks = [
        m.register_forward_hook(lambda _m, _a, out: widest.append(_width(out)))
        for m in model.modules()
        if not isinstance(m, nn.Sequential)
    ]
    try:
        model.draw(*one, 1)
    finally:
        for hook in hooks:
            hook.remove()
    return 6 * max(widest) * batch.x.element_size()


def _width(out: Any) -> int:
    """Numbers in a module's output; a mixture compares a draw with every component at once, in every dimension or not."""
    if isinstance(out, GaussianMixture):
        return 2 * out.component_distribution.batch_shape[-1]
    if isinstance(out, MixtureSameFamily):
        return out.component_distribution.batch_shape[-1] * out.event_shape.numel()
    return out.numel() if isinstance(out, Tensor) else 0
