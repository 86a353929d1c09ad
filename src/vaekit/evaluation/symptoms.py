"""What the doctor checks of the code and the likelihood of a model; the table of findings is in `doctor.py`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from vaekit.distributions.bernoulli import BernoulliEvent
from vaekit.distributions.likelihoods import DISCRETE, choose_likelihood
from vaekit.distributions.posteriors import LOG_VARIANCE
from vaekit.distributions.student_t import StudentT
from vaekit.errors import DataError, UsageError
from vaekit.evaluation.findings import ROWS, Case, Finding, listed
from vaekit.evaluation.latent import active_of, codes, kl_per_dim
from vaekit.evaluation.rows import batch_at
from vaekit.models.aae import AAE
from vaekit.models.base import Model
from vaekit.models.recipes import Origin
from vaekit.priors import SecondStage

NO_RATE = 0.01
"""Nats of KL below which a dimension carries nothing."""

LOST = 0.1
"""Nats of KL below which a whole code carries nothing, however they are divided among its dimensions."""

USED = 0.25
"""Share of the dimensions below which a code has collapsed; above it unused ones are only noted."""

SHIFT, RATIO = 0.5, 2.0
"""How far the aggregate posterior may be off: in standard deviations of the prior, and as a ratio of variances."""

CALIBRATED = 4.0
"""Factor by which the spread that a likelihood claims and the spread there is may differ."""


def posterior_collapse(case: Case) -> Finding | None:
    """Dimensions that say nothing of the example: a collapse where they are most of the code, else a note."""
    if case.model.quantised or not case.model.has_posterior or not case.model.latent_dim or len(case.coded) < 2:
        return None
    z = codes(case.model, case.coded)
    idle = sorted(set(range(z.shape[1])) - set(active_of(case.model, z)))
    rates, told = _rates(case, z.shape[1]), _information(case)
    if rates is not None:
        told = rates if told is None else [min(pair) for pair in zip(rates, told, strict=True)]
        idle = [d for d in idle if told[d] < NO_RATE] if sum(told) >= LOST else list(range(len(told)))
    if not idle:
        return None
    numbers: dict[str, Any] = {"dimensions": idle, "variance": [float(z[:, d].double().var()) for d in idle]}
    said = f"{len(idle)} of {z.shape[1]} latent dimensions are not used ({listed(idle)})"
    spent = 0.0
    if rates is not None and told is not None:
        numbers |= {"kl": [rates[d] for d in idle], "information": [told[d] for d in idle]}
        said += f", at most {max(told[d] for d in idle):.2g} nats each"
        spent = sum(numbers["kl"])
    used = z.shape[1] - len(idle)
    if used >= USED * z.shape[1]:
        return Finding("unused_dimensions", numbers, said, *_surplus(case, used), severity="note")
    if spent >= LOST and spent >= 2 * sum(numbers["information"]):
        return Finding("posterior_collapse", numbers, f"{said}, though their KL is {spent:.2g} nats", *_SPENT)
    return Finding("posterior_collapse", numbers, said, *_collapse(case, used))


_SPENT = (
    "this KL is the same for every example and tells the decoder nothing: free bits, a minimum rate or too short a training let "
    "it stand",
    "let the KL in slowly (warm-up) or begin with an encoder that has learned to tell examples apart (pretrain, aggressive)",
)
"""Cause and fix where nats are spent and not used."""


def _surplus(case: Case, used: int) -> tuple[str, str]:
    """Cause and fix where the code has a few dimensions more than it needs."""
    if not case.model.has_likelihood:
        return "the decoder does without these dimensions", f"none needed; latent_dim {used} would do the same"
    cause = "more dimensions than pay for themselves, which cost parameters and no nats"
    return cause, f"none needed; latent_dim {used} would do, or a warm-up if the code is to carry more"


def _collapse(case: Case, used: int) -> tuple[str, str]:
    """Cause and fix where most of the code is unused."""
    if not case.model.has_likelihood:
        return "the decoder does without these dimensions", f"take latent_dim {max(1, used)}"
    fix = "let the KL in slowly (warm-up) or leave free bits (free_bits 0.1), and train with a lower learning rate"
    if not used:
        return (
            "the decoder does without the code: the KL drove the posterior to the prior before the code was of use",
            fix,
        )
    return "the KL closed most dimensions early in training, or there are far more than pay for themselves", fix


def aggregate_posterior(case: Case) -> Finding | None:
    """Codes of the data where the codes that `sample` draws are not."""
    if not case.model.can_sample or case.model.quantised or not case.model.latent_dim or len(case.train) < 2:
        return None
    batch = batch_at(case.model, case.train, slice(None))
    z = case.model.posterior(*batch).sample().double().flatten(1)
    stage, prior_codes = (getattr(case.model, name, None) for name in ("second_stage", "prior_codes"))
    staged = isinstance(stage, SecondStage) and bool(stage.fitted)
    if isinstance(stage, SecondStage) and staged:
        p = stage().sample(torch.Size((ROWS,))).double().flatten(1)
    elif prior_codes is not None:
        p = prior_codes(len(z) if batch.c is not None else ROWS, batch.c).double().flatten(1)
    else:
        return None
    shift, error = (z.mean(0) - p.mean(0)) / p.std(0), math.sqrt(1 / len(z) + 1 / len(p))
    ratio = (z.var(0) / p.var(0)).log()
    clear = (shift.abs() > SHIFT + 3 * error) | (ratio.abs() > math.log(RATIO) + 3 * math.sqrt(2) * error)
    off = [int(d) for d in clear.nonzero().flatten()]
    if not off:
        return None
    worst = max(off, key=lambda d: abs(float(shift[d])) / SHIFT + abs(float(ratio[d])) / math.log(RATIO))
    spread = [float(ratio[d].exp()) for d in off]
    return Finding(
        "aggregate_posterior",
        {"dimensions": off, "shift": [float(shift[d]) for d in off], "variance_ratio": spread},
        f"the codes of the data are not where samples are drawn in {len(off)} of {z.shape[1]} dimensions ({listed(off)}): in "
        f"dimension {worst} the mean is {float(shift[worst]):+.2f} standard deviations off and the variance "
        f"{float(ratio[worst].exp()):.2g} times the prior's, so samples will be bad",
        *_off_prior(case.model, staged),
    )


def _off_prior(model: Model, staged: bool) -> tuple[str, str]:
    """Cause and fix where codes are not where the prior is, of what the model has: a second stage, a critic of codes, a KL."""
    if staged:
        return "the second_stage does not have the shape of the codes", "take the other second_stage (mixture or flow)"
    if isinstance(model, AAE):
        return (
            "the critic of codes has not brought them to the prior, or the training was too short",
            "train longer, with a larger game_learning_rate or a wider critic (critic_width)",
        )
    cause = "the KL is too weak for the code to fill the prior, or the training was too short"
    if not model.has_likelihood:
        return cause, "train longer"
    origin = getattr(model, "origin", None)
    offered = origin.arguments if isinstance(origin, Origin) else ("prior", "second_stage")
    ways = {"prior": "learn the prior (prior vamp, mixture or flow)", "second_stage": "fit a second_stage"}
    return cause, ", or ".join(
        ["train longer or with beta nearer 1", *(w for name, w in ways.items() if name in offered)]
    )


def posterior_variance(case: Case) -> Finding | None:
    """Posteriors whose variance has run into its bounds."""
    if not case.model.has_likelihood or case.model.quantised:
        return None
    q = case.model.posterior(*batch_at(case.model, case.train, slice(None)))
    log_variance = q.variance.double().flatten(1).log()
    low = (log_variance < LOG_VARIANCE[0] + 1).double().mean(0)
    high = (log_variance > LOG_VARIANCE[1] - 1).double().mean(0)
    off = [int(d) for d in ((low > 0.01) | (high > 0.01)).nonzero().flatten()]
    if not off:
        return None
    vanished = float(low.max()) >= float(high.max())
    return Finding(
        "posterior_variance",
        {"dimensions": off, "vanishing": [float(low[d]) for d in off], "saturated": [float(high[d]) for d in off]},
        f"posterior variances are at their {'lower' if vanished else 'upper'} bound in {len(off)} of {len(low)} dimensions "
        f"({listed(off)}), for up to {100 * float(torch.maximum(low, high).max()):.0f} % of the examples",
        "the KL weighs next to nothing beside log p(x|z): beta or the likelihood's sigma is far too small"
        if vanished
        else "the encoder diverged, or its raw log-variance is far out of range",
        "let sigma be learned (sigma shared), take beta 1" if vanished else "lower the learning rate or clip gradients",
    )


def likelihood_support(case: Case) -> Finding | None:
    """Data that the likelihood cannot produce, or a density where the data have probabilities."""
    batch = batch_at(case.model, case.train, slice(None))
    z = case.model.encode(*batch)
    p = case.model.decode(z, batch.c)
    outside = ~torch.isfinite(p.log_prob(batch.x)) | _beyond(case.model, batch.x)
    if isinstance(p, BernoulliEvent):
        outside |= ((batch.x != 0) & (batch.x != 1)).flatten(1).any(1)
    share, span = float(outside.double().mean()), f"{float(batch.x.min()):g} to {float(batch.x.max()):g}"
    if share > 0:
        return Finding(
            "likelihood_support",
            {"share": share, "low": float(batch.x.min()), "high": float(batch.x.max())},
            f"{100 * share:.3g} % of the examples, with values from {span}, are none that this likelihood can produce",
            "the data are not on the scale or the levels that the model was made for",
            "give the model data as in its schema (binarised, or divided by the maximum), or take likelihood auto",
        )
    levels, name = case.data.schema.levels, _likelihood(case.model)
    if not case.model.has_likelihood or levels is None or name is None or name in DISCRETE:
        return None
    return Finding(
        "likelihood_support",
        {"levels": float(levels)},
        f"likelihood {name} is a density, but the data have {levels} levels",
        "a density on levels grows without end as its scale shrinks, and compares with no probability or bits per dimension",
        f"take likelihood {'bernoulli' if levels == 2 else 'discretized-logistic'}",
    )


def likelihood_scale(case: Case) -> Finding | None:
    """A spread around the reconstruction that is not the spread that p(x|z) claims."""
    if len(case.train) < 2:
        return None
    batch = batch_at(case.model, case.train, slice(None))
    p = case.model.decode(case.model.posterior(*batch).sample(), batch.c)
    law = p.base_dist if isinstance(p, Independent) else p
    if isinstance(law, StudentT) and float(law.degrees.min()) <= 4:
        return None  # without a fourth moment the mean of squared errors does not settle
    apart, claimed = (batch.x - p.mean).double().square(), p.variance.double().expand_as(batch.x)
    if case.data.schema.kind == "vector":  # columns in units of their own; pixels share theirs
        spread = batch.x.double().var(0)
        varies = spread > 0  # a column of one value tells nothing of the scale
        apart, claimed = apart[:, varies] / spread[varies], claimed[:, varies] / spread[varies]
    ratio = float(apart.mean() / claimed.mean())
    if not case.model.has_likelihood or not math.isfinite(ratio) or 1 / CALIBRATED <= ratio <= CALIBRATED:
        return None
    wide = ratio < 1
    return Finding(
        "likelihood_scale",
        {"variance_ratio": ratio},
        f"the squared error of reconstructions is {ratio:.2g} times the variance that p(x|z) claims",
        f"the likelihood's sigma is too {'wide' if wide else 'narrow'} for the data's range: reconstruction counts too "
        f"{'little, as with a large beta' if wide else 'much, as with a small beta'}",
        "let sigma be learned (sigma shared or optimal) or set it to the size of the residuals",
    )


def _rates(case: Case, dims: int) -> list[float] | None:
    """KL of each dimension, None where there is no closed form for each of them."""
    if not case.model.has_likelihood:
        return None
    try:
        rates = [estimate.value for estimate in kl_per_dim(case.model, case.coded, seed=case.seed)]
    except UsageError:
        return None
    return rates if len(rates) == dims else None


def _information(case: Case) -> list[float] | None:
    """Nats that each dimension tells of the example at most, None unless q(z|x) is Gaussian with independent dimensions.

        I(x; z_d) <= E_x KL(q(z_d|x), r) = (log(E_x s^2 + Var_x m) - E_x log s^2) / 2,   r the Gaussian with q(z_d)'s moments

    This is at most the rate under N(0, 1), and far below it where free bits are spent on a code that is the same for all.
    """
    q = case.model.posterior(*batch_at(case.model, case.coded, slice(None)))
    q = q.base_dist if isinstance(q, Independent) else q
    if not isinstance(q, Normal) or q.loc.dim() != 2:
        return None
    mean, variance = q.loc.double(), q.scale.double().square()
    whole = variance.mean(0) + mean.var(0, correction=0)
    told = (whole.log() - variance.log().mean(0)) / 2
    return [float(d) for d in told.clamp_min(0)]  # at least 0, by Jensen, but for the rounding


def _beyond(model: Model, x: Tensor) -> Tensor:
    """(n,) rows that are no examples of the schema that the model was made for, or lie a whole range outside its range."""
    origin = getattr(model, "origin", None)
    if not isinstance(origin, Origin):
        return torch.zeros(len(x), dtype=torch.bool)
    schema, rows = origin.schema, x.flatten(1)
    margin = 0.0 if schema.support != "real" else schema.high - schema.low
    outside = (rows.amin(1) < schema.low - margin - 1e-6) | (rows.amax(1) > schema.high + margin + 1e-6)
    try:
        schema.check(x, "doctor")
    except DataError:
        steps = rows * ((schema.levels or 2) - 1)
        outside |= ((steps - steps.round()).abs() > 1e-3).any(1)
    return outside


def _likelihood(model: Model) -> str | None:
    origin = getattr(model, "origin", None)
    if not isinstance(origin, Origin) or "likelihood" not in origin.arguments:
        return None
    return choose_likelihood(origin.arguments["likelihood"], origin.schema)
