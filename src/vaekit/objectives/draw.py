"""Draw and Terms: what an objective sees of a model, and what it says of a batch.

Objective: (model, batch, **keywords) -> Terms(loss, rate, distortion), each (B,), in nats per example
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any, Protocol

from torch import Tensor
from torch.distributions import Distribution

from vaekit.data import Batch
from vaekit.errors import UsageError

Deferred = Tensor | Callable[[], Tensor | None] | None


class Draw:
    """What an objective or an evaluation may see of a model: K samples of z for each of B examples.

    Args:
        z: (K, B, ...) the samples.
        log_px: (K, B) log p(x | z).
        log_pz, log_qz: (K, B) log-densities of z under prior and posterior; None for a model without them.
        kl_per_dim: (B, D) closed-form KL of each latent dimension, None where there is no such form.
        kl: (B,) closed-form KL where it exists and does not split into dimensions.
        kl_per_layer: (B, L) of a code in L layers each layer's part of the KL, the bottom layer first; None for others.

    In a code of layers the last three are unbiased estimates from the K draws. Each of the last five may be a function of
    no arguments, called when it is first read: an ELBO whose KL is closed never asks for the densities.
    """

    def __init__(
        self,
        *,
        z: Tensor,
        log_px: Tensor,
        log_pz: Deferred,
        log_qz: Deferred,
        kl_per_dim: Deferred = None,
        kl: Deferred = None,
        kl_per_layer: Deferred = None,
    ) -> None:
        self.z, self.log_px = z, log_px
        self._log_pz, self._log_qz, self._kl_per_dim, self._kl = log_pz, log_qz, kl_per_dim, kl
        self._kl_per_layer = kl_per_layer

    @cached_property
    def log_pz(self) -> Tensor | None:
        return self._log_pz() if callable(self._log_pz) else self._log_pz

    @cached_property
    def log_qz(self) -> Tensor | None:
        return self._log_qz() if callable(self._log_qz) else self._log_qz

    @cached_property
    def kl_per_dim(self) -> Tensor | None:
        return self._kl_per_dim() if callable(self._kl_per_dim) else self._kl_per_dim

    @cached_property
    def kl(self) -> Tensor | None:
        if self.kl_per_dim is not None:
            return self.kl_per_dim.sum(-1)
        return self._kl() if callable(self._kl) else self._kl

    @cached_property
    def kl_per_layer(self) -> Tensor | None:
        return self._kl_per_layer() if callable(self._kl_per_layer) else self._kl_per_layer

    @property
    def log_w(self) -> Tensor:
        """(K, B) log-weights log p(x, z) - log q(z | x). Raises UsageError for a model without a likelihood."""
        if self.log_pz is None or self.log_qz is None:
            raise UsageError(
                "this model has no prior or no posterior density, so no bound on log p(x); use reconstruction"
            )
        return self.log_px + self.log_pz - self.log_qz


@dataclass(frozen=True)
class Terms:
    """An objective's value for each example, (B,): the loss that is minimised, and the rate and distortion behind it."""

    loss: Tensor
    rate: Tensor
    distortion: Tensor


class Drawing(Protocol):
    """Anything an objective can be applied to."""

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1) -> Draw:
        """K = `samples` draws of z for every row of x."""
        ...


class Inferring(Drawing, Protocol):
    """A model whose posterior can be taken in hand: what gradient estimators and the aggregate posterior need."""

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """q(z | x, c), batch shape (B,)."""
        ...

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1, q: Distribution | None = None) -> Draw:
        """As in `Drawing`, from the posterior `q`."""
        ...


class Objective(Protocol):
    """The form of every objective."""

    def __call__(self, model: Drawing, batch: Batch) -> Terms: ...


def check_terms(terms: Any, rows: int, name: str = "") -> None:
    """Raise UsageError unless an objective returned Terms of a number for each row, its loss with a gradient."""
    what = f"objective {name}".strip()
    if not isinstance(terms, Terms):
        raise UsageError(f"{what}: returned a {type(terms).__name__}; expected vaekit.Terms(loss, rate, distortion)")
    for key in ("loss", "rate", "distortion"):
        value = getattr(terms, key)
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if shape != (rows,):
            raise UsageError(f"{what}: its {key} is {shape}, expected a tensor ({rows},), a number for each row")
    if not terms.loss.requires_grad:
        raise UsageError(f"{what}: its loss has no gradient; it is detached from the parameters that it should move")


def check_count(name: str, value: int) -> None:
    """Raise UsageError unless a number of draws is a whole one of at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise UsageError(f"{name} {value!r}: expected a whole number")
    if value < 1:
        raise UsageError(f"{name} {value}: expected at least 1")


def rate_of(draw: Draw, kl: str = "auto") -> Tensor:
    """KL(q(z|x), p(z)), (B,): in closed form, the mean over the draws ("sampled"), or by "auto" the first of these there is.

    Raises UsageError where "closed" is asked for and there is no such form.
    """
    if kl not in ("auto", "closed", "sampled"):
        raise UsageError(f"kl {kl!r}: expected auto, closed or sampled")
    if kl != "sampled" and draw.kl is not None:
        return draw.kl
    if kl == "closed":
        raise UsageError("kl closed: this posterior and prior have no KL in closed form; take auto or sampled")
    return (draw.log_px - draw.log_w).mean(0)
