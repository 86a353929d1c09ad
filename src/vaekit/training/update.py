"""Update: one player of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from vaekit.data import Batch
from vaekit.errors import UsageError
from vaekit.objectives import Terms, elbo
from vaekit.training.schedules import Schedule


@dataclass(frozen=True)
class Update:
    """An objective, the parameters it moves, and how often.

    Args:
        objective: (model, batch, **keywords) -> Terms.
        parameters: what it moves; None means every parameter of the model. While it acts, the others need no gradient,
            so nothing leaks from one player into another.
        every: act at every n-th step.
        learning_rate: a number or a schedule; None takes that of `fit`.
        schedules: keywords of the objective that are functions of the step, by name.
        optimizer: (parameters, learning rate) -> optimiser; None is Adam.
    """

    objective: Callable[..., Terms] = elbo
    parameters: Iterable[nn.Parameter] | None = None
    every: int = 1
    learning_rate: float | Schedule | None = None
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    optimizer: Callable[[list[nn.Parameter], float], torch.optim.Optimizer] | None = None

    def __post_init__(self) -> None:
        if self.parameters is not None:  # `module.parameters()` can be read only once
            object.__setattr__(self, "parameters", tuple(self.parameters))


def adam(parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba, ICLR 2015), fused from 10,000 parameters on: below, starting threads costs more than it saves."""
    floating = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
    fused = floating and sum(p.numel() for p in parameters) >= 10_000
    return torch.optim.Adam(parameters, learning_rate, fused=fused)


class Player(nn.Module):
    """An Update at work. As a module whose `forward` is the objective it can be wrapped for several processes."""

    def __init__(self, model: nn.Module, update: Update, learning_rate: float | Schedule, alone: bool) -> None:
        super().__init__()
        self.model, self.update, self.alone = model, update, alone
        chosen = model.parameters() if update.parameters is None else update.parameters
        self.moved = [p for p in chosen if p.requires_grad]
        if not self.moved:
            raise UsageError("an Update has no parameter to move; give it parameters that require a gradient")
        if update.every < 1:
            raise UsageError(f"every {update.every}: an Update acts at every n-th step, n at least 1")
        self.rate = update.learning_rate if update.learning_rate is not None else learning_rate
        self.optimizer = (update.optimizer or adam)(self.moved, self.learning_rate(0))

    def forward(self, batch: Batch, keywords: dict[str, float]) -> Terms:
        return self.update.objective(self.model, batch, **keywords)

    def learning_rate(self, step: int) -> float:
        """The learning rate at a step."""
        return self.rate(step) if callable(self.rate) else self.rate

    def keywords(self, step: int) -> dict[str, float]:
        """The scheduled keywords of the objective at a step."""
        return {name: schedule(step) for name, schedule in self.update.schedules.items()}

    def take_turn(self) -> None:
        """Let only the moved parameters need a gradient. With one player there is nothing to guard."""
        if self.alone:
            return
        moved = {id(p) for p in self.moved}
        for parameter in self.model.parameters():
            parameter.requires_grad_(id(parameter) in moved)


def restore_gradients(model: nn.Module, needed: dict[str, Any]) -> None:
    """Undo `take_turn`: give every parameter the `requires_grad` it had, by name."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(needed[name])
