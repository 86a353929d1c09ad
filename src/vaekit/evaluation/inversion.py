"""Codes sought for examples: what stands for an encoder where there is none.

    z(x) = argmin_z |x - G(z)|^2        Zhu, Krahenbuhl, Shechtman & Efros, "Generative visual manipulation", ECCV 2016

Of many draws of the prior the nearest to x are the starts of a descent by Adam, and the best code on the way is the answer. It
is a local optimum: the example that the model could make nearest to x may be nearer. There is no pull towards the prior, so
that a code may lie where the prior hardly goes; with a uniform prior it is kept within the box.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from vaekit.distributions.posteriors import BOX
from vaekit.errors import UsageError
from vaekit.evaluation.estimate import Estimate, mean_of
from vaekit.evaluation.rows import at_rest, batches, check_examples
from vaekit.models.base import Model
from vaekit.priors import UniformBox

_ROWS = 256
"""Rows whose codes are sought at a time."""


class _Sampling(Protocol):
    prior: Any

    def prior_codes(self, n: int, c: Tensor | None = None) -> Tensor: ...


def invert(
    model: Model,
    x: Tensor,
    c: Tensor | None = None,
    *,
    steps: int = 200,
    starts: int = 256,
    restarts: int = 2,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> Tensor:
    """The codes (B, D) from which the model makes what is nearest to each example by squared error.

    Args:
        x, c: examples (B, *shape) as the model sees them, and their conditions.
        steps: of the descent.
        starts: draws of the prior, the same for every example.
        restarts: how many of the nearest of them are descended from.
        learning_rate: of the descent's Adam, falling to 0.
        seed: of the draws. A row's code depends on the row, the model and these numbers, not on its company.

    Raises UsageError for a model that has no prior to draw starts from.
    """
    for name, value in (("steps", steps), ("starts", starts), ("restarts", restarts)):
        if value < 1:
            raise UsageError(f"{name} {value}: expected at least 1")
    if not callable(getattr(model, "prior_codes", None)):
        raise UsageError(f"invert: {type(model).__name__} has no prior to draw codes from; take gan, wgan or a vae")
    with at_rest(model):
        parts = zip(x.split(_ROWS), [None] * len(x) if c is None else c.split(_ROWS), strict=False)
        return torch.cat([_sought(model, *part, steps, starts, restarts, learning_rate, seed) for part in parts])


def inversion_error(model: Model, rows: Any, *, steps: int = 200, seed: int = 0) -> Estimate:
    """Mean squared difference per element between an example and the nearest that `invert` makes the model say.

    It stands where `reconstruction_error` stands for a model that encodes, and is not the same thing: the code was chosen
    with the example in sight of its own error, so that an encoder's is the harder task.
    """
    split, errors = check_examples(model, rows), []
    with at_rest(model):
        for batch in batches(model, split):
            z = invert(model, *batch, steps=steps, seed=seed)
            errors.append((model.decode(z, batch.c).mean - batch.x).square().flatten(1).mean(1).cpu())
    return mean_of(
        torch.cat(errors), "squared error", f"mean over elements, code sought by {steps} steps of gradient descent"
    )


def _sought(
    model: Model, x: Tensor, c: Tensor | None, steps: int, starts: int, restarts: int, learning_rate: float, seed: int
) -> Tensor:
    """(B, D) for one batch."""

    def error(z: Tensor) -> Tensor:
        return (model.decode(z, c).mean - x).square().flatten(2).mean(-1)

    z = _starts(model, error, len(x), c, starts, min(restarts, starts), seed)
    best, least = z.clone(), error(z)
    z = z.requires_grad_()
    optimizer = torch.optim.Adam([z], learning_rate)
    inside = BOX if isinstance(cast(_Sampling, model).prior, UniformBox) else None
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        with torch.enable_grad():
            (z.grad,) = torch.autograd.grad(error(z).sum(), z)  # each row's own: Adam works on each number by itself
        optimizer.step()
        if inside is not None:
            z.data.clamp_(-inside, inside)
        now = error(z)
        best, least = torch.where((now < least)[..., None], z, best), torch.minimum(now, least)
    return best[least.argmin(0), torch.arange(len(x), device=x.device)]


def _starts(
    model: Model, error: Callable[[Tensor], Tensor], n: int, c: Tensor | None, starts: int, restarts: int, seed: int
) -> Tensor:
    """(restarts, B, D), for each row the nearest of `starts` codes of the prior."""
    torch.manual_seed(seed)  # within `at_rest`, which puts the process's own state back
    draws = cast(_Sampling, model)
    drawn = draws.prior_codes(starts, None if c is None else torch.zeros_like(c[:1]).expand(starts, -1))
    errors = torch.cat([error(z[:, None].expand(-1, n, -1)) for z in drawn.split(8)])
    nearest = errors.topk(restarts, dim=0, largest=False).indices
    return drawn[nearest]
