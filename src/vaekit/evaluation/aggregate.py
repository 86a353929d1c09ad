"""What the codes of all examples together say: the aggregate posterior and the parts of the rate.

With q(z) = 1/n sum_j q(z | x_j) over the n rows evaluated (Hoffman & Johnson, NIPS workshop 2016),

    E_x KL(q(z|x), p(z)) = I(x; z) + KL(q(z), p(z)),   I(x; z) = E log q(z|x) / q(z)   <= log n

I is the information of a code about the number of its row. Where q(z|x) and p(z) factorise over dimensions, the second
part divides once more (Chen, Li, Grosse & Duvenaud, NeurIPS 2018)

    KL(q(z), p(z)) = E log q(z) / prod_d q(z_d)  +  sum_d KL(q(z_d), p(z_d))
                       total correlation             dimension-wise KL

The expectations are means over draws z ~ q(z | x_i); q(z) and q(z_d) at a draw are the whole mixture over the n rows, so
for these rows nothing is biased. As a statement about new rows I is too low and KL(q(z), p(z)) as much too high: a code
that knows every row has I = log n, however many rows there are.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from vaekit.data import Split
from vaekit.distributions.seeded import RowSeeded, row_seeds, unseeded
from vaekit.errors import UsageError
from vaekit.evaluation.estimate import Estimate, mean_of
from vaekit.evaluation.figures import Figures, Question
from vaekit.evaluation.rows import MEMORY, ROWS, at_rest, batch_at, check_examples, check_likelihood
from vaekit.models.base import LatentModel, Model

_TENSORS = 32
"""Tensors as large as one code that a pair of a draw and a row may take on the way to a density."""


def aggregate_posterior(
    model: Model, rows: Any, *, most: int = 2000, samples: int = 1, seed: int = 0
) -> dict[str, Estimate]:
    """Mutual information of rows and codes, KL(q(z), p(z)) and the parts of it, in nats.

    Args:
        rows: a Split, or an array or tensor (n, *shape).
        most: rows that are used at most, chosen by `seed`; time grows with their square.
        samples: draws of z for each row.
        seed: of the choice of rows and of the draws.

    Returns:
        "mutual_information" and "marginal_kl", whose sum is the sampled KL; "total_correlation" where q(z|x) factorises over
        dimensions, and "dimensionwise_kl" where p(z) does so too: these two sum to the marginal KL. The standard error is
        that over rows, draws included; to first order a row acts through its own term alone, not through q(z).

    Raises UsageError for a model without a likelihood, with quantised codes, or with a prior that depends on a condition.
    """
    check_likelihood(model, "aggregate_posterior")
    if model.quantised:
        raise UsageError("aggregate_posterior: quantised codes have no density q(z|x); take codebook_usage")
    for name, value in (("most", most), ("samples", samples)):
        if value < 1:
            raise UsageError(f"aggregate_posterior: {name} {value}: expected at least 1")
    split = check_examples(model, rows)
    index = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:most].sort().values
    with at_rest(model):
        parts = _parts(model, split, index, samples, seed)
    n = len(index)
    mixture = f"mean over draws, q(z) the mixture of the {n:,} rows"
    limits = {
        "mutual_information": f"{mixture}; at most log n = {math.log(n):.4g}",
        "marginal_kl": f"{mixture}; at least the KL less log n = {math.log(n):.4g}",
    }
    return {name: mean_of(values, "nats", limits.get(name, mixture), samples) for name, values in parts.items()}


def code_information(asked: Question) -> Figures:
    """What the code carries, for models with a density q(z|x) and one prior for all rows."""
    model = asked.model
    if not model.has_likelihood or not model.has_posterior or model.quantised or not model.latent_dim:
        return {}
    with contextlib.suppress(UsageError):  # a prior that is told the condition
        return dict(aggregate_posterior(model, asked.rows, seed=asked.seed))
    return {}


def _parts(model: Model, split: Split, index: Tensor, samples: int, seed: int) -> dict[str, Tensor]:
    """Every figure's term of each row, averaged over its draws: (n,) float64."""
    posteriors, draws = [], []
    for chosen in index.split(max(1, ROWS // samples)):
        batch = batch_at(model, split, chosen)
        _check_prior(model, batch.c)
        q = model.posterior(batch.x, batch.c)
        posteriors.append(unseeded(q))
        draws.append(model.draw(*batch, samples, RowSeeded(q, row_seeds(batch.x, seed))))
    z = torch.cat([draw.z for draw in draws], 1)
    log_qz, log_pz = (torch.cat([cast(Tensor, getattr(d, name)) for d in draws], 1) for name in ("log_qz", "log_pz"))
    joint, product = _mixture(posteriors, z)
    parts = {"mutual_information": log_qz - joint, "marginal_kl": joint - log_pz}
    if product is not None:
        parts["total_correlation"] = joint - product
        if draws[0].kl_per_dim is not None:  # p(z) factorises too
            parts["dimensionwise_kl"] = product - log_pz
    return {name: values.double().mean(0).cpu() for name, values in parts.items()}


def _check_prior(model: Model, c: Tensor | None) -> None:
    """Raise UsageError where p(z | c) is not one distribution for all rows."""
    if c is not None and isinstance(model, LatentModel) and model.prior is not None and model.prior(c).batch_shape:
        raise UsageError(
            "aggregate_posterior: this prior depends on the condition, so there is no one p(z) to compare q(z) with"
        )


def _mixture(posteriors: list[Distribution], z: Tensor) -> tuple[Tensor, Tensor | None]:
    """log q(z) and sum_d log q(z_d) at codes z (K, n, D), each (K, n) float64; the second None where q does not factorise."""
    n = sum(q.batch_shape[0] for q in posteriors)
    factorised = all(isinstance(q, Independent) and q.reinterpreted_batch_ndims == 1 for q in posteriors)
    joints, products = [], []
    for some in z.flatten(0, 1).split(max(1, MEMORY // (_TENSORS * n * z.shape[-1] * z.element_size()))):
        if factorised:
            pairs = torch.cat(
                [cast(Independent, q).base_dist.log_prob(_beside(some, q)) for q in posteriors], 1
            ).double()
            products.append((pairs.logsumexp(1) - math.log(n)).sum(-1))
            joint = pairs.sum(-1)
        else:
            joint = torch.cat([q.log_prob(_beside(some, q)) for q in posteriors], 1).double()
        joints.append(joint.logsumexp(1) - math.log(n))
    joint = torch.cat(joints).view(z.shape[:2])
    return joint, torch.cat(products).view(z.shape[:2]) if factorised else None


def _beside(z: Tensor, q: Distribution) -> Tensor:
    """Every code z (m, D) beside every row of q, as q's own draws come: (m, B, D)."""
    return z[:, None].expand(-1, *q.batch_shape, *z.shape[1:])
