"""Update: one player of a training. `fit` makes it act; a model with a critic names several (`Model.updates`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vaekit.data import Batch
from vaekit.objectives import Terms, elbo

Schedule = Callable[[int], float]
"""A number as a function of the optimiser step (see `training.schedules`)."""


@dataclass(frozen=True)
class Update:
    """An objective, the parameters it moves, and how often.

    Args:
        objective: (model, batch, **keywords) -> Terms.
        parameters: what it moves; None means every parameter of the model. While it acts, the others need no gradient,
            so nothing leaks from one player into another.
        every: act at every n-th step.
        moves: which of the parameters move, as a function of the step; an answer of None means all of them.
        learning_rate: a number or a schedule; None takes that of `fit`.
        schedules: keywords of the objective that are functions of the step, by name.
        optimizer: (parameters, learning rate) -> optimiser; None is Adam.
        name: what its loss is called in the history, train_<name>_loss; "" leaves it out.
        after: called with the model after each of its steps, without gradients: a moving average, a bound on weights.
        watch: (model, batch) -> figures of held-out rows by name, (B,) each, validation_<name> in the history. Where the
            first player has one, its figures stand in place of bound and distortion, and no epoch is the best.
    """

    objective: Callable[..., Terms] = elbo
    parameters: Iterable[nn.Parameter] | None = None
    every: int = 1
    moves: Callable[[int], Iterable[nn.Parameter] | None] | None = None
    learning_rate: float | Schedule | None = None
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    optimizer: Callable[[list[nn.Parameter], float], torch.optim.Optimizer] | None = None
    name: str = ""
    after: Callable[[nn.Module], None] | None = None
    watch: Callable[[nn.Module, Batch], dict[str, Tensor]] | None = None

    def __post_init__(self) -> None:
        if self.parameters is not None:  # `module.parameters()` can be read only once
            object.__setattr__(self, "parameters", tuple(self.parameters))
