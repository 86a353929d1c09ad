"""A log-density as a model without data, and the two divergences from it as objectives.

log p(x | z) := log f(z),   log p(z) := 0,   q(z | x) := q(z),   hence  log w = log f(z) - log q(z)
ELBO = E_q[log w] <= log Z,   log Z = log E_q[w]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MixtureSameFamily

from vaekit.data import Batch
from vaekit.distributions.seeded import unseeded
from vaekit.distributions.wrapped import ScoreFunction
from vaekit.errors import UsageError
from vaekit.objectives import Draw, Inferring, Terms, elbo
from vaekit.objectives.elbo import Gradient

LogDensity = Callable[[Tensor], Tensor]
"""z (n, D) -> log f(z) (n,), differentiable unless gradient="score" or divergence="forward"."""


class Target(nn.Module):
    """The model whose `draw` is K draws of q with log f at them, one row (B = 1) of every objective.

    Args:
        q: a module whose `forward()` is a Distribution of batch shape () and event shape (D,).
        log_density: z (n, D) -> log f(z) (n,). It is used and not owned: a module's parameters are not this one's.
        bounded_below: refuse log f = -inf, as the reverse KL must.
    """

    has_likelihood, condition_dim, condition_optional = True, 0, False

    def __init__(self, q: nn.Module, log_density: LogDensity, *, bounded_below: bool = False) -> None:
        super().__init__()
        self.q, self._log_density, self.bounded_below = q, (log_density,), bounded_below

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """q(z), whatever x and c are."""
        return cast(Distribution, self.q())

    def log_density(self, z: Tensor) -> Tensor:
        """log f of draws (n, D), (n,), with a gradient by z alone: parameters inside f are neither moved nor given one.

        Raises UsageError on another shape, NaN or an infinite density.
        """
        (f,) = self._log_density
        if not z.requires_grad:
            return checked(f, z, self.bounded_below).detach()
        at = z.detach().requires_grad_()
        value = checked(f, at, self.bounded_below)
        (slope,) = torch.autograd.grad(value.sum(), at)
        along = (slope * z).sum(-1)
        return value.detach() + along - along.detach()

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1, q: Distribution | None = None) -> Draw:
        q = self.posterior(x, c) if q is None else q
        z = q.rsample(torch.Size((samples,)))  # (K, D), or (K, M, D) of a stratified mixture
        z = z.unsqueeze(1) if z.dim() == 2 else z
        log_f = self.log_density(z.flatten(0, 1)).view(z.shape[:2])
        stratified = isinstance(unseeded(q), Stratified)
        log_qz = q.log_prob(z) if stratified else q.log_prob(z.squeeze(1)).unsqueeze(1)
        return Draw(z=z, log_px=log_f, log_pz=torch.zeros_like(log_f), log_qz=log_qz)


class Stratified(Distribution):
    """A mixture as M rows: row m draws from component m, by its own noise, and has the density of the whole mixture.

    An expectation under the mixture is then sum_m w_m E_m, which has a gradient by reparameterisation, where a draw of
    the component's number has none (Roeder, Wu & Duvenaud, NeurIPS 2017, section 4).
    """

    has_rsample = True

    def __init__(self, mixture: MixtureSameFamily) -> None:
        self.mixture = mixture
        super().__init__(mixture.component_distribution.batch_shape, mixture.event_shape, validate_args=False)

    @property
    def weights(self) -> Tensor:
        return self.mixture.mixture_distribution.probs

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        return self.mixture.component_distribution.rsample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.mixture.log_prob(value)


class _StratifiedTarget:
    """A target whose posterior is its mixture's components, one a row."""

    def __init__(self, target: Target, q: Stratified) -> None:
        self.target, self.q = target, q

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        return self.q

    def draw(self, x: Tensor, c: Tensor | None = None, samples: int = 1, q: Distribution | None = None) -> Draw:
        return self.target.draw(x, c, samples, self.q if q is None else q)


def reverse_kl(model: Target, batch: Batch, *, samples: int = 64, gradient: Gradient = "path") -> Terms:
    """E_q[log q - log f] = KL(q, p) - log Z: minus the ELBO, the KL by draws.

    Args:
        samples: draws of q; of each component where q is a mixture and the gradient goes through the draws.
        gradient: see `vaekit.objectives.elbo`.
    """
    q = model.posterior(batch.x)
    if gradient == "score" or not isinstance(q, MixtureSameFamily):
        return elbo(model, batch, samples=samples, kl="sampled", gradient=gradient)
    rows = Stratified(q)
    terms = elbo(_StratifiedTarget(model, rows), batch, samples=samples, kl="sampled", gradient=gradient)
    return Terms(*((rows.weights * v).sum(-1, keepdim=True) for v in (terms.loss, terms.rate, terms.distortion)))


def forward_kl(model: Inferring, batch: Batch, *, samples: int = 64) -> Terms:
    """The loss whose gradient is that of KL(p, q), with p's draws replaced by weighted ones of q.

        -sum_k v_k log q(z_k),   v_k = w_k / sum_j w_j held fixed,   z_k ~ q held fixed
        gradient -sum_k (v_k - 1 / K) d log q(z_k):   the score's mean is 0, and so nothing is left of it where q = p

    Its value is an estimate of the cross-entropy -E_p[log q], rate and distortion are means under p as well. The bias of
    the weights vanishes like 1 / `samples`. On a VAE it is the wake-phase update of the encoder (reweighted wake-sleep);
    the decoder gets no gradient of the bound.
    """
    q = ScoreFunction(model.posterior(batch.x, batch.c))
    draw = model.draw(batch.x, batch.c, samples, q)
    log_qz = cast(Tensor, draw.log_qz)
    weights = draw.log_w.detach().softmax(0)
    loss = -(weights * log_qz).sum(0) + (log_qz - log_qz.detach()).mean(0)
    rate = (weights * (log_qz.detach() - cast(Tensor, draw.log_pz))).sum(0)
    return Terms(loss, rate, -torch.where(weights > 0, weights * draw.log_px, 0.0).sum(0))


def checked(log_density: LogDensity, z: Tensor, bounded_below: bool) -> Tensor:
    """log f(z) (n,). Raises UsageError on another shape, on NaN, and on infinity; on -infinity where that is no use."""
    value = log_density(z)
    if not isinstance(value, Tensor) or value.shape != z.shape[:1]:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise UsageError(
            f"log_density: expected shape ({len(z)},) for z of shape {tuple(z.shape)}, one number a row, got {got}; "
            "sum over the dimensions of z, not over its rows"
        )
    wrong = value.isnan() | (value == torch.inf) | (value.isneginf() if bounded_below else False)
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        place = ", ".join(f"{v:.4g}" for v in z[at].tolist()[:4]) + (", ..." if z.shape[1] > 4 else "")
        remedy = "a reverse KL is infinite there; take divergence='forward', or map the support to all of R^D"
        remedy = remedy if bool(value[at].isneginf()) else "it must be a number wherever q has draws"
        raise UsageError(f"log_density: is {value[at].item()} at z = ({place}); {remedy}")
    return value
