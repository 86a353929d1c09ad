"""Player: an Update at work, with its optimiser."""

from __future__ import annotations

from typing import Any

from torch import nn

from vaekit.data import Batch
from vaekit.errors import UsageError
from vaekit.objectives import Terms
from vaekit.optimizers import adam
from vaekit.training.by_hand import by_hand
from vaekit.updates import Schedule, Update


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
        self.objective = by_hand(model, update.objective)
        self.optimizer = (update.optimizer or adam)(self.moved, self.learning_rate(0))

    def forward(self, batch: Batch, keywords: dict[str, float]) -> Terms:
        return self.objective(self.model, batch, **keywords)

    def learning_rate(self, step: int) -> float:
        """The learning rate at a step."""
        return self.rate(step) if callable(self.rate) else self.rate

    def keywords(self, step: int) -> dict[str, float]:
        """The scheduled keywords of the objective at a step."""
        return {name: schedule(step) for name, schedule in self.update.schedules.items()}

    def take_turn(self, step: int) -> None:
        """Let only what moves at this step need a gradient. With one player that moves all there is nothing to guard."""
        chosen = None if self.update.moves is None else self.update.moves(step)
        if self.alone and self.update.moves is None:
            return
        moved = {id(p) for p in self.moved}
        if chosen is not None:
            moved &= {id(p) for p in chosen}
        for parameter in self.model.parameters():
            parameter.requires_grad_(id(parameter) in moved)


def restore_gradients(model: nn.Module, needed: dict[str, Any]) -> None:
    """Undo `take_turn`: give every parameter the `requires_grad` it had, by name."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(needed[name])
