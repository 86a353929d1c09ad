"""The losses of a generator G and a critic f that play against each other.

    non-saturating  G -log D(G(z))       f  -log D(x) - log (1 - D(G(z))),  D = sigmoid(f)    Goodfellow et al., NeurIPS 2014
    minimax         G log (1 - D(G(z)))  f  the same                                          the same, its equation 1
    hinge           G -f(G(z))           f  max(0, 1 - f(x)) + max(0, 1 + f(G(z)))            Lim & Ye, 2017
    wasserstein     G -f(G(z))           f  f(G(z)) - f(x)                                    Arjovsky et al., ICML 2017

At its best against p and q the critic of the first two has f = log p/q and loss log 4 - 2 JS(p, q); that of the last, among
functions with slopes of at most 1, has minus the Wasserstein-1 distance. What keeps the slopes in bounds is a penalty

    two-sided   w E (|df(u)/du| - 1)^2         u on lines between x and G(z)     Gulrajani et al., NeurIPS 2017
    one-sided   w E max(0, |df(u)/du| - 1)^2   the same                          Petzka et al., ICLR 2018
    r1          w/2 E |df(x)/dx|^2             at data                           Mescheder et al., ICML 2018

or a bound on every weight (Arjovsky et al.). Slopes are measured where the data have scale 1 (`Schema.scale`), so that a
Wasserstein distance comes in that unit. Losses are means over rows; each row's value stands alone, so the loss of a batch
does not depend on its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol, cast, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.data import Batch
from vaekit.errors import UsageError
from vaekit.objectives.draw import Drawing, Terms

LossName = Literal["non-saturating", "minimax", "hinge", "wasserstein"]
PenaltyName = Literal["none", "two-sided", "one-sided", "r1"]


class Adversaries(Protocol):
    """A model with a generator and a critic."""

    def generate(self, n: int, c: Tensor | None = None) -> Tensor:
        """n examples (n, *shape) of the generator as it stands, with its gradient."""
        ...

    def criticise(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """f(x), (B,) for examples (B, *shape): higher for what looks real."""
        ...

    def slope(self, gradient: Tensor) -> Tensor:
        """|df/du|, (B,), from df/dx (B, *shape), u being x on scale 1."""
        ...


def generator_loss(fake: Tensor, loss: str) -> Tensor:
    """The generator's loss for each example, (B,), from the critic's f(G(z)): it falls as f rises, for every `loss`."""
    if loss == "non-saturating":
        return F.softplus(-fake)
    return -F.softplus(fake) if loss == "minimax" else -fake


def critic_loss(real: Tensor, fake: Tensor, loss: str) -> Tensor:
    """The critic's loss for each pair, (B,), from f(x) and f(G(z))."""
    if loss == "hinge":
        return F.relu(1 - real) + F.relu(1 + fake)
    return fake - real if loss == "wasserstein" else F.softplus(-real) + F.softplus(fake)


def slope_penalty(
    f: Callable[[Tensor], Tensor],
    slope: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    penalty: str,
) -> Tensor:
    """The penalty of weight 1 for each pair, (B,), with its gradient to the parameters of f; 0 for "none".

    Args:
        f: examples (B, *shape) -> (B,).
        slope: df/dx (B, *shape) -> its size (B,).
        real, fake: (B, *shape); no gradient goes back to them.
    """
    if penalty == "none":
        return real.new_zeros(len(real))
    with torch.enable_grad():  # a loss that is only looked at has a penalty too
        u = real.detach()
        if penalty != "r1":
            share = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device, dtype=real.dtype)
            u = torch.lerp(u, fake.detach(), share)
        u = u.requires_grad_()
        (gradient,) = torch.autograd.grad(f(u).sum(), u, create_graph=True)
    if penalty == "r1":
        return 0.5 * slope(gradient).square()
    excess = slope(gradient) - 1
    return (excess if penalty == "two-sided" else F.relu(excess)).square()


def adversarial(
    model: Drawing,
    batch: Batch,
    *,
    loss: LossName = "non-saturating",
    penalty: PenaltyName = "r1",
    weight: float = 1.0,
    clip: float | None = None,
) -> Terms:
    """The generator's side of a game; `fit` gives the critic the other side of the same game, with the same keywords.

    Args:
        loss: non-saturating, minimax, hinge, or wasserstein, which needs a penalty or a clip.
        penalty: on the critic's slopes: two-sided, one-sided, r1, or none.
        weight: of the penalty.
        clip: bound of every weight of the critic, after each of its steps; left out, there is none.
    """
    _check(loss, penalty, weight, clip)
    fake = _players(model).generate(len(batch.x), batch.c)
    value = generator_loss(_players(model).criticise(fake, batch.c), loss)
    return Terms(value, torch.zeros_like(value), value)


def wasserstein(
    model: Drawing,
    batch: Batch,
    *,
    penalty: PenaltyName = "two-sided",
    weight: float = 10.0,
    clip: float | None = None,
) -> Terms:
    """The generator's side of the Wasserstein game: `adversarial` with loss wasserstein and the penalty of WGAN-GP.

    Args:
        penalty: on the critic's slopes: two-sided, one-sided, r1, or none, which needs a clip.
        weight: of the penalty.
        clip: bound of every weight of the critic, after each of its steps (the paper has 0.01); left out, there is none.
    """
    return adversarial(model, batch, loss="wasserstein", penalty=penalty, weight=weight, clip=clip)


def criticism(
    model: Drawing, batch: Batch, *, loss: LossName, penalty: PenaltyName, weight: float, clip: float | None = None
) -> Terms:
    """The critic's side: its loss with the penalty, as rate the penalty and as distortion the loss without it.

    Examples are made without a gradient: nothing reaches the generator.
    """
    players = _players(model)
    with torch.no_grad():
        fake = players.generate(len(batch.x), batch.c)
    f = partial(players.criticise, c=batch.c)
    value = critic_loss(f(batch.x), f(fake), loss)
    charge = weight * slope_penalty(f, players.slope, batch.x, fake, penalty)
    return Terms(value + charge, charge, value)


def rules_of(objective: Callable[..., Terms]) -> dict[str, Any]:
    """The keywords of a game from its generator's side: `adversarial`, `wasserstein`, or a partial of one.

    Raises UsageError on any other objective.
    """
    function, given = getattr(objective, "func", objective), dict(getattr(objective, "keywords", {}))
    fixed = {adversarial: {}, wasserstein: {"loss": "wasserstein"}}.get(function)
    if fixed is None:
        name = getattr(function, "__name__", type(function).__name__)
        raise UsageError(
            f"objective {name}: a generator and a critic play adversarial or wasserstein; take one of these, or give fit "
            "updates of your own"
        )
    rules = {**(adversarial.__kwdefaults__ or {}), **(function.__kwdefaults__ or {}), **fixed, **given}
    _check(**rules)
    return rules


def _check(loss: str, penalty: str, weight: float, clip: float | None) -> None:
    if loss not in get_args(LossName):
        raise UsageError(f"loss {loss!r}: expected one of {', '.join(get_args(LossName))}")
    if penalty not in get_args(PenaltyName):
        raise UsageError(f"penalty {penalty!r}: expected one of {', '.join(get_args(PenaltyName))}")
    if not 0 <= weight < math.inf:
        raise UsageError(f"weight {weight}: of a penalty, expected a number of at least 0")
    if clip is not None and not 0 < clip < math.inf:
        raise UsageError(f"clip {clip}: expected a positive bound of the critic's weights")
    if loss == "wasserstein" and clip is None and (penalty == "none" or weight == 0):
        raise UsageError(
            "loss wasserstein: a critic of any slope has no distance to find; give it a penalty (two-sided) or a clip (0.01)"
        )


def _players(model: Drawing) -> Adversaries:
    if not callable(getattr(model, "generate", None)) or not callable(getattr(model, "criticise", None)):
        raise UsageError("adversarial: needs a model with a generator and a critic; take model gan or wgan")
    return cast(Adversaries, model)
