"""Conditionals: modules whose `forward(*given)` is a Distribution. Encoder, decoder and prior are all of this kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaekit.distributions.families import Family


class Conditional(nn.Module, ABC):
    """Interface of q(z | x, c), p(x | z, c) and p(z | c)."""

    @abstractmethod
    def forward(self, *given: Tensor) -> Distribution:
        """The distribution given these tensors; leading dimensions become its batch shape."""


class Parametric(Conditional):
    """A network followed by a family: the usual encoder and decoder."""

    def __init__(self, network: nn.Module, family: Family) -> None:
        super().__init__()
        self.network, self.family = network, family

    def forward(self, *given: Tensor) -> Distribution:
        return self.family(self.network(*given))


class Told(Conditional):
    """A Conditional whose last input, the condition, is brought to scale first.

    A one-hot vector has norm 1 beside a code of norm sqrt(D): unless it is made louder, a decoder learns to read the class
    off the code instead, and does not draw what it is asked for.
    """

    def __init__(self, inner: Conditional, scale: nn.Module) -> None:
        super().__init__()
        self.inner, self.scale = inner, scale

    def forward(self, *given: Tensor) -> Distribution:
        *others, c = given
        return self.inner(*others, self.scale(c))


class Laborious(Conditional):
    """A Conditional whose distribution without a condition is as much work as many rows, and needs no row to be made."""

    _holding = False
    _held: Distribution | None = None

    @abstractmethod
    def make(self, *given: Tensor) -> Distribution:
        """The distribution, from the weights as they are."""

    def forward(self, *given: Tensor) -> Distribution:
        if given or not self._holding:
            return self.make(*given)
        if self._held is None:
            with torch.no_grad():
                self._held = self.make()
        return self._held


@contextmanager
def held(model: nn.Module) -> Iterator[None]:
    """Make the distributions of `Laborious` parts once: while this lasts, the weights must not change."""
    parts = [m for m in model.modules() if isinstance(m, Laborious) and not m._holding]
    for part in parts:
        part._holding = True
    try:
        yield
    finally:
        for part in parts:
            part._holding, part._held = False, None


class Standardise(nn.Module):
    """(x - shift) / scale, fixed: what an encoder of real-valued data does first."""

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: float | tuple[float, ...], scale: float | tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(shift), persistent=False)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.shift) / self.scale
