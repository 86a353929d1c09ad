"""The verdict: a few sentences computed from a run's numbers, and nothing that the numbers do not say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vaekit.report.adversarial import game_headline
from vaekit.report.contents import Contents
from vaekit.report.table import phrase
from vaekit.report.words import count, finite, number, with_error

Tone = Literal["good", "plain", "warn"]

_LITTLE = 0.7
"""Nats below which a code says less than one yes or no of an example."""

_SPENT = 0.1
"""Nats of a KL that is too large for the posterior to be the prior."""


@dataclass(frozen=True)
class Finding:
    """One sentence; `tone` says whether it is reassuring, a fact, or something to look at."""

    text: str
    tone: Tone = "plain"


def verdict(contents: Contents) -> list[Finding]:
    """The findings in the order of their weight; the first is what the model reaches."""
    found = [headline(contents), *_state(contents), active(contents), fitting(contents), *_objective(contents)]
    return [finding for finding in (*found, *_doctor(contents)) if finding is not None]


def headline(contents: Contents) -> Finding:
    """What was reached on unseen examples, by the strictest figure there is."""
    if not contents.evaluation:
        return _without_evaluation(contents)
    if not contents.has_likelihood:
        game = game_headline(contents)
        return (
            Finding(game)
            if game is not None
            else Finding(
                "An autoencoder has no likelihood: none of its figures can be compared with a log p(x)."
                + _sentence(contents, "reconstruction_error", " Its mean squared reconstruction error is {}.")
            )
        )
    if contents.value("log_likelihood") is not None:
        text = _sentence(contents, "log_likelihood", "log p(x) = {}")
        bits = contents.value("bits_per_dim")
        rate = phrase(contents.entry("bits_per_dim"), "bits per dimension")
        return Finding(text + ("." if bits is None else f", or {rate}."))
    if contents.value("elbo") is not None:
        return Finding(_sentence(contents, "elbo", "ELBO = {}; log p(x) itself was not estimated."))
    return Finding("The evaluation holds no finite likelihood or bound: how well the model fits is not known.", "warn")


def _without_evaluation(contents: Contents) -> Finding:
    missing = "There is no evaluation: evaluation.json is missing, so the test examples were not used."
    name, sign = ("ELBO", "elbo") if contents.has_likelihood else ("distortion", "distortion")
    values = contents.column(f"validation_{sign}")
    if len(values) and math.isfinite(values[-1]):
        reached = number(float(values[-1]), 4)
        missing += f" After {count(contents.epochs, 'epoch')} the validation {name} was {reached} nats."
    return Finding(missing, "warn")


def _sentence(contents: Contents, key: str, pattern: str) -> str:
    """`pattern` with a figure and how it was obtained; "" where there is no such figure."""
    entry = contents.entry(key)
    if contents.value(key) is None:
        return ""
    samples, n, details = entry.get("samples"), entry.get("n"), []
    if key == "log_likelihood":
        details = [str(entry.get("estimator") or "").replace(" from q(z|x)", "")]
        details += [f"K\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{samples:,}"] if isinstance(samples, int) else []
    details += [count(n, "test example")] if isinstance(n, int) else []
    unit = {"nats": "nats per example", "squared error": ""}.get(str(entry.get("unit")))
    inside = ", ".join(detail for detail in details if detail)
    return pattern.format(phrase(entry, unit) + (f" ({inside})" if inside else ""))


def _state(contents: Contents) -> list[Finding]:
    """How the training ended, where it did not end as planned."""
    state, planned = contents.status.get("state"), contents.config.get("epochs")
    of = f"{contents.epochs:,} of " if isinstance(planned, int) else ""
    done = f"after {of}{count(planned if isinstance(planned, int) else contents.epochs, 'epoch')}"
    if state == "interrupted":
        return [Finding(f"The run was interrupted {done}: its figures are those of an unfinished training.", "warn")]
    if state == "failed":
        reason = str(contents.status.get("error") or "").strip().rstrip(".")
        return [Finding(f"Training failed {done}{f': {reason}' if reason else ''}.", "warn")]
    if state == "running":
        return [Finding(f"The run is still going on, or was killed, {done}.", "warn")]
    return []


def active(contents: Contents) -> Finding | None:
    """How much of the code is used."""
    units, total = contents.value("active_units"), contents.latent_dim
    if units is None or not total:
        return None
    n, rate = round(units), contents.value("kl")
    if n == 0:
        collapsed = "the posterior has collapsed to the prior, and the decoder ignores the code"
        if rate is not None and rate >= _SPENT:
            collapsed = f"the posterior's mean hardly varies with the example, though its KL is {number(rate, 2)} nats"
        cause = collapsed if contents.has_likelihood else "all examples have nearly the same code"
        return Finding(f"No latent dimension is active: {cause}.", "warn")
    text = _active_of(n, total)
    if rate is not None and rate < _LITTLE:
        return Finding(
            f"{text}, but the whole code carries only {number(rate, 2)} nats: it has nearly collapsed.", "warn"
        )
    return Finding(f"{text}.")


def _active_of(n: int, total: int) -> str:
    if n >= total:
        return f"All {total} latent dimensions are active" if total > 1 else "The latent dimension is active"
    rest = f"other {total - n} hardly vary" if total - n > 1 else "other hardly varies"
    return f"{n} of {total} latent dimensions are active; the {rest} with the example"


def fitting(contents: Contents) -> Finding | None:
    """Training against validation at the epoch whose weights are kept, measured by the noise of so few examples."""
    sign, name = ("elbo", "ELBO") if contents.has_likelihood else ("distortion", "distortion")
    train, held = contents.column(f"train_{sign}"), contents.column(f"validation_{sign}")
    if not contents.has_likelihood:
        train, held = -train, -held
    at = _kept_row(contents)
    if at is None or not (math.isfinite(train[at]) and math.isfinite(held[at])):
        return None
    gap, noise = float(train[at] - held[at]), _noise(contents, sign)
    text = f"Training and validation {name} differ by {_nats(abs(gap), noise)}"
    return _judged(text, gap, noise, _gain(held, at), _tail(contents, held))


def _judged(text: str, gap: float, noise: float | None, gain: float, tail: str) -> Finding:
    if gap <= 0:
        return Finding(f"{text}, validation being the better: no sign of overfitting{tail}.", "good")
    if noise is None:
        return Finding(f"{text}{tail}.")
    if gap <= 3 * noise:
        within = f"within three times the sampling noise of {number(noise, 2)} nats"
        return Finding(f"{text}, {within}: no sign of overfitting{tail}.", "good")
    # the gap in proportion to what was learned at all: nats alone are large for large images and small for small ones
    slight = gap < 0.25 * gain
    beyond = f"more than the sampling noise of {number(noise, 2)} nats explains"
    degree = "it overfits slightly" if slight else "it overfits"
    return Finding(f"{text}, {beyond}: {degree}{tail}.", "plain" if slight else "warn")


def _tail(contents: Contents, held: np.ndarray) -> str:
    """Which epoch's weights are kept, and whether another would have been better or more epochs might help."""
    if not np.isfinite(held).any() or len(held) < 2:
        return ""
    best, kept = int(np.nanargmax(held)), _kept_row(contents)
    if kept is None:
        return ""
    epoch = _epoch(contents, best)
    if best == kept == len(held) - 1:
        return "; validation was still improving at the last epoch"
    if best == kept:
        return f"; the weights are those of epoch {epoch}, the best on validation"
    lost = float(held[best] - held[kept])
    if lost <= 0:
        return ""
    return f"; validation was best at epoch {epoch}, {number(lost, 2)} nats better than with the weights that are kept"


_TOLD = ("posterior_collapse", "unused_dimensions", "overfitting", "warm_up", "effective_beta")
"""Findings of the doctor of which the verdict has a sentence of its own."""


def _doctor(contents: Contents) -> list[Finding]:
    """What the doctor found at the end of the training, beside what is said already."""
    found = [f for f in contents.findings.get("findings", []) if f.get("name") not in _TOLD]
    return [
        Finding(
            f"{_begun(f.get('what'))}. {_begun(f.get('fix'))}.",
            "plain" if f.get("severity") == "note" else "warn",
        )
        for f in found
    ]


def _begun(words: Any) -> str:
    """Words as the beginning of a sentence."""
    return str(words or "")[:1].upper() + str(words or "")[1:]


_TRAINED_ON = {
    "iwae": "the importance-weighted bound",
    "miwae": "the mean of several importance-weighted bounds",
    "ciwae": "a mix of the ELBO and the importance-weighted bound",
    "piwae": "importance-weighted bounds, one for the decoder and several for the encoder",
    "renyi": "a variational Renyi bound",
    "beta_tc": "the three parts of the KL with weights of their own",
    "mmd": "the distance of all codes together from the prior",
    "factor": "the ELBO and a critic's total correlation",
}
"""What a loss was in place of the ELBO, by the objective's name."""


def _objective(contents: Contents) -> list[Finding]:
    """What the loss was, where it was not the bound itself."""
    if not contents.has_likelihood:
        return []
    found, asked, reached = [], f"{contents.beta:g}", contents.column("beta")
    trained_on = _TRAINED_ON.get(str(contents.config.get("objective")))
    if trained_on is not None:
        found.append(Finding(f"Trained on {trained_on}, not on the ELBO that the curves show."))
    if finite(contents.config.get("capacity")) is not None:
        found.append(Finding(f"Trained to hold each example's rate at {contents.config['capacity']:g} nats."))
    if finite(contents.config.get("free_bits")):
        bits = f"{contents.config['free_bits']:g}"
        per = {"code": "the whole code"}.get(str(contents.config.get("free_bits_per")), "each dimension")
        found.append(Finding(f"Trained with {bits} free nats for {per}, which its loss does not charge."))
    if contents.beta != 1:
        found.append(
            Finding(f"Trained with β = {asked}: the loss was not minus the ELBO. All figures here are at β = 1.")
        )
    if len(reached) and math.isfinite(reached[-1]) and reached[-1] < 0.95 * contents.beta:
        ended = f"{float(reached[-1]):.2g}"
        found.append(Finding(f"The warm-up had not ended: the last epoch's β was {ended} of {asked}.", "warn"))
    return found


def _kept_row(contents: Contents) -> int | None:
    """The row of the history of the kept epoch, the last where the run does not say."""
    if not contents.history:
        return None
    epochs = [record.get("epoch") for record in contents.history]
    return epochs.index(contents.kept_epoch) if contents.kept_epoch in epochs else len(epochs) - 1


def _epoch(contents: Contents, row: int) -> int:
    return int(contents.history[row].get("epoch", row + 1))


def _noise(contents: Contents, sign: str) -> float | None:
    """Standard error of the difference of a training and a validation mean, from the spread of the test examples."""
    entry, rows = contents.entry(sign), [contents.rows(split) for split in ("train", "validation")]
    error, n = contents.error(sign), entry.get("n")
    if error is None or error <= 0 or not isinstance(n, int) or not all(rows):
        return None
    return error * math.sqrt(sum(n / part for part in rows if part))


def _gain(held: np.ndarray, at: int) -> float:
    """Nats gained on the validation rows since the first epoch."""
    first = held[np.isfinite(held)][0]
    return float(held[at] - first)


def _nats(value: float, noise: float | None) -> str:
    return f"{with_error(value, noise)[0] if noise else number(value)} nats"
