"""Importance weights of many draws, summed chunk by chunk, and rows that stop when their own log p(x) is known well enough.

    w_k = p(x, z_k) / q(z_k | x),   p(x) ~ 1/K sum_k w_k,   ess = (sum_k w_k)^2 / sum_k w_k^2
    s.e.^2 of log p(x) = (K / ess - 1) / (K - 1), by the delta method

A row that stops looks at 128, 256, 512, ... draws. The draws that tell it to stop are not those it is judged by: a row whose
largest weights have not come yet believes itself surer than it is, and a log p(x) from the same draws was up to 0.15 nats too low
where 0.02 are usual. So as many fresh ones are made, and the looks double so that there are few of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit.data import Batch
from vaekit.distributions.seeded import RowSeeded
from vaekit.evaluation.rows import seeded_posterior
from vaekit.models.base import Model

FIRST_LOOK = 128
"""Draws after which a row may stop for the first time."""


class Weights:
    """Sums over the draws of B rows: log sum_k w_k and log sum_k w_k^2, (B,) float64, and K itself, `made`."""

    def __init__(self, rows: int) -> None:
        self.total = torch.full((rows,), -math.inf, dtype=torch.float64)
        self.squares, self.made = self.total.clone(), torch.zeros(rows, dtype=torch.float64)

    def add(self, rows: Tensor, log_w: Tensor) -> None:
        """Further draws log_w (K, R) of some rows, by number."""
        log_w = log_w.double()
        self.total[rows] = torch.logaddexp(self.total[rows], log_w.logsumexp(0).cpu())
        self.squares[rows] = torch.logaddexp(self.squares[rows], (2 * log_w).logsumexp(0).cpu())
        self.made[rows] += len(log_w)

    @property
    def log_px(self) -> Tensor:
        return self.total - self.made.log()

    @property
    def effective(self) -> Tensor:
        return (2 * self.total - self.squares).exp()


def weigh(model: Model, batch: Batch, samples: int, at_once: int, seed: int, wanted: float | None = None) -> Weights:
    """Sums over `samples` draws for each row; or over as many as bring its standard error down to `wanted` nats.

    To find out how many that are, as many draws are made before; `samples` is then the most of both together. `at_once` draws
    of all rows together go through the decoder at a time; the encoder is run anew for the rows that go on and for those that stop.
    """
    weights, going = Weights(len(batch.x)), torch.arange(len(batch.x))
    q = seeded_posterior(model, batch, seed)
    if wanted is None or samples == 1:
        _draw(model, batch, q, samples, at_once, weights, going)
        return weights
    tried = Weights(len(batch.x))
    for look in looks(samples // 2):
        _draw(model, batch, q, look - int(tried.made[going[0]]), at_once, tried, going)
        left = standard_errors(tried.effective[going], look) > wanted
        if look == samples // 2:
            left = torch.zeros_like(left)
        if not bool(left.all()):
            _draw(model, *_part(model, batch, q, ~left), look, at_once, weights, going[~left])
        if not bool(left.any()):
            break
        batch, q = _part(model, batch, q, left)
        going = going[left]
    return weights


def _part(model: Model, batch: Batch, q: RowSeeded, rows: Tensor) -> tuple[Batch, RowSeeded]:
    """Some rows of a batch, by a mask, and their posterior, which draws on from where their streams stand."""
    part = Batch(batch.x[rows], None if batch.c is None else batch.c[rows])
    return part, q.part(rows, model.posterior(part.x, part.c))


def looks(most: int) -> list[int]:
    """Numbers of draws after which rows may stop; the last is `most`."""
    found = [FIRST_LOOK]
    while found[-1] < most:
        found.append(2 * found[-1])
    return [*found[:-1], most]


def _draw(model: Model, batch: Batch, q: RowSeeded, samples: int, at_once: int, weights: Weights, rows: Tensor) -> None:
    """So many further draws for every row, in chunks of even sizes."""
    chunks = math.ceil(samples / max(1, at_once // len(rows)))
    for chunk in range(chunks):
        size = (chunk + 1) * samples // chunks - chunk * samples // chunks
        weights.add(rows, model.draw(*batch, size, q).log_w)


def standard_errors(effective: Tensor, draws: int | Tensor) -> Tensor:
    """Standard errors in nats of examples' log p(x), from so many effective draws of so many; inf for a single draw."""
    draws = torch.as_tensor(draws, dtype=effective.dtype)
    return ((draws / effective - 1).clamp(min=0) / (draws - 1)).sqrt().nan_to_num(math.inf)
