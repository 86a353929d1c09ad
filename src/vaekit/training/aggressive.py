"""Aggressive training of the encoder, so that it does not lag behind the decoder.

He, Spokoyny, Neubig & Berg-Kirkpatrick, "Lagging inference networks and posterior collapse in variational autoencoders",
ICLR 2019, algorithm 1. At first each step of the decoder waits for the encoder:

    repeat on fresh batches    phi <- phi + a d/dphi ELBO      until the mean of `WINDOW` losses falls no more, or `most` steps
    on the next batch          theta <- theta + a d/dtheta ELBO

After every epoch the mutual information of rows and codes is measured,

    I(x; z) = 1/n sum_i E_q(z|x_i) [log q(z|x_i) - log 1/n sum_j q(z|x_j)]

and once it is no higher than the best before, all parameters move at every step from there on.

Here an epoch is a pass over the rows, whoever moves; in the paper it is a pass of the decoder's steps, which takes up to
`most` times as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from vaekit.data import Batch, Split
from vaekit.errors import UsageError
from vaekit.models.base import Model
from vaekit.objectives import Terms
from vaekit.updates import Update

WINDOW = 10
"""Steps of the encoder whose mean loss is compared with that of as many before them."""

ROWS = 512
"""Rows whose mutual information is measured; it is at most log n."""


def encoder_of(model: Model, owner: str) -> nn.Module:
    """The part of a model that is q(z|x). Raises UsageError where it has none of its own, or no rate that could vanish."""
    if not model.has_likelihood or model.quantised:
        raise UsageError(f"{owner}: this model has no KL that could drive its code away; train a vae")
    encoder = getattr(getattr(model, "vae", model), "encoder", None)
    if not isinstance(encoder, nn.Module) or not any(p.requires_grad for p in encoder.parameters()):
        raise UsageError(f"{owner}: this model has no encoder that could be trained by itself; train a vae")
    return encoder


def aggressively(first: Update, model: Model, rows: Split, *, most: int, measure_every: int) -> Update:
    """The update `first` with its encoder trained aggressively.

    Args:
        first: it moves the whole model, or what of it is no critic's.
        rows: their mutual information tells when to stop.
        most: steps of the encoder for each one of the decoder, at most.
        measure_every: steps between measurements: an epoch's.
    """
    check_aggressive(model, most)
    moved = tuple(model.parameters()) if first.parameters is None else tuple(first.parameters)
    mine = {id(p) for p in encoder_of(model, "aggressive").parameters()}
    parts = [p for p in moved if id(p) in mine], [p for p in moved if id(p) not in mine]
    pace = Pace(model, first.objective, *parts, rows.head(ROWS).fixed(), most, measure_every)
    return replace(first, objective=pace.objective, moves=pace.moves)


def check_aggressive(model: Model, most: int) -> None:
    """Raise UsageError unless the model can be trained with so many steps of its encoder for each one of the decoder."""
    if most < 1:
        raise UsageError(f"aggressive {most}: expected at least 1 step of the encoder for each of the decoder")
    encoder_of(model, "aggressive")


@dataclass
class Pace:
    """Who moves next. `information` lists what was measured, in nats; `over` says that the encoder lags no more."""

    model: Model
    loss: Callable[..., Terms]
    encoder: list[nn.Parameter]
    others: list[nn.Parameter]
    rows: Split
    most: int
    measure_every: int
    over: bool = False
    information: list[float] = field(default_factory=list)
    steps: int = 0
    losses: list[float] = field(default_factory=list)
    before: float = math.inf

    def objective(self, model: Model, batch: Batch, **keywords: Any) -> Terms:
        """The objective itself, whose value is remembered."""
        terms = self.loss(model, batch, **keywords)
        if not self.over:
            self.losses.append(float(terms.loss.detach().mean()))
        return terms

    def moves(self, step: int) -> Iterable[nn.Parameter] | None:
        """The encoder's parameters, or the others', or None for all of them."""
        if not self.over and step and step % self.measure_every == 0:
            self._measure()
        if self.over:
            return None
        if self.steps and (self.steps >= self.most or self._has_arrived()):
            self.steps, self.losses, self.before = 0, [], math.inf
            return self.others
        self.steps += 1
        return self.encoder

    def _has_arrived(self) -> bool:
        """At the end of a window: whether its mean loss is no lower than that of the window before."""
        if len(self.losses) < WINDOW:
            return False
        mean = sum(self.losses) / len(self.losses)
        arrived, self.before, self.losses = mean >= self.before, mean, []
        return arrived

    def _measure(self) -> None:
        now = mutual_information(self.model, self.rows)
        self.over = bool(self.information) and now <= max(self.information)
        self.information.append(now)


@torch.no_grad()
def mutual_information(model: Model, rows: Split) -> float:
    """I(x; z) over these rows in nats, from one draw of z for each, the same at every call."""
    training, parameter = model.training, next(model.parameters())
    known = rows.condition(slice(None), 0 if model.condition_optional else model.condition_dim)
    x, c = Batch(rows.rows(slice(None)), known).to(parameter.device, parameter.dtype)
    model.eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        q = model.posterior(x, c)
        z = q.sample()
    model.train(training)
    pairs = torch.cat([q.log_prob(some[:, None].expand(-1, *z.shape)).double() for some in z.split(64)])
    return float((pairs.diagonal() - pairs.logsumexp(1) + math.log(len(z))).mean())
