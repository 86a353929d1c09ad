"""The table of figures: human names, what each means, and values rounded to their standard errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vaekit.report.contents import Contents
from vaekit.report.groups import CLAIMED
from vaekit.report.words import decimals, finite, number, percent, with_error


@dataclass(frozen=True)
class Row:
    """One figure as the table shows it, all text."""

    name: str
    meaning: str
    value: str
    error: str
    unit: str
    n: str
    estimator: str
    samples: str


NAMES: dict[str, tuple[str, str]] = {
    "log_likelihood": (
        "log p(x)",
        "Log-likelihood of an unseen example; its estimate is too low on average, the less so the larger K. "
        "Higher is better.",
    ),
    "effective_samples": (
        "Effective draws",
        "How many of the K weighted draws count for the median example: below about 10 of 200 or more, log p(x) is not to be trusted.",
    ),
    "nll": ("NLL of a sentence", "Minus the bound, its end counted and the KL included. Lower is better."),
    "nll_importance": (
        "NLL of a sentence by importance",
        "The same by importance sampling: too high on average, the less so the larger K.",
    ),
    "nll_per_word": ("NLL of a word", "The nats of all sentences, divided by their words; an end counts as one."),
    "word_perplexity": (
        "Perplexity",
        "The number of equally frequent words that would be as hard to guess; ends of sentences are guessed too.",
    ),
    "word_perplexity_without_end": ("Perplexity, ends not counted", "The same nats, divided by the words alone."),
    "word_perplexity_importance": ("Perplexity by importance", "From the NLL by importance sampling, ends counted."),
    "token_accuracy": (
        "Token accuracy",
        "How often the most probable token is the right one, after the true ones before it and with the code.",
    ),
    "bits_per_dim": (
        "Bits per dimension",
        "Minus log p(x) in bits for each value of an example: the length of a lossless code. Lower is better.",
    ),
    "elbo": ("ELBO", "The evidence lower bound, minus rate and distortion together. Higher is better."),
    "kl": (
        "KL(q(z|x), p(z)), the rate",
        "Nats of the code that are spent on telling one example from another.",
    ),
    "distortion": (
        "Distortion",
        "Minus the expected log p(x|z): what is still unknown of an example once its code is known.",
    ),
    "reconstruction_error": (
        "Reconstruction error",
        "Squared difference between an example and its reconstruction, the mean over its values. Lower is better.",
    ),
    "active_units": ("Active units", "Latent dimensions whose posterior mean varies with the example at all."),
    "perplexity": (
        "Perplexity of the codes",
        "The number of equally frequent codes that would be as hard to guess; the size of the codebook is its most.",
    ),
    "codes_used": ("Codes used", "Entries of the codebook that any of the examples uses."),
    "class_accuracy": (
        "Accuracy of the classifier",
        "How often the most probable class under the model's own q(y|x) is the right one.",
    ),
    "linear_probe": (
        "Linear probe of codes",
        "Accuracy of a logistic regression that sees only the codes.",
    ),
    "linear_probe_raw": ("Linear probe of {raw}", "The same classifier on the examples themselves, for comparison."),
    "knn_probe": ("k-NN probe of codes", "Accuracy of five nearest neighbours that see only the codes."),
    "knn_probe_raw": ("k-NN probe of {raw}", "The same classifier on the examples themselves, for comparison."),
}
"""Figures in the order of the table; what the evaluation holds beyond them follows under its own key."""


_PLUS_MINUS = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"


def number_rows(contents: Contents) -> list[Row]:
    """The rows of the table."""
    return [_row(contents, key, entry) for key, entry in _ordered(contents.evaluation)]


def name_of(key: str, raw: str = "raw values") -> str:
    """A figure's name; one that is not known by name keeps its key, with spaces."""
    if key not in NAMES:
        return key.replace("_", " ")
    return NAMES[key][0].format(raw=raw)


def _ordered(evaluation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key in [*NAMES, *(key for key in evaluation if key not in NAMES and key not in CLAIMED)]:
        entry = evaluation.get(key)
        if isinstance(entry, dict) and "value" in entry:
            yield key, entry


def _row(contents: Contents, key: str, entry: dict[str, Any]) -> Row:
    raw = "raw pixels" if contents.examples == "image" else "raw values"
    name, meaning = name_of(key, raw), NAMES[key][1] if key in NAMES else ""
    return row_of(entry, name, meaning)


def row_of(entry: dict[str, Any], name: str, meaning: str) -> Row:
    """A figure as the table shows it."""
    unit = str(entry.get("unit") or "")
    value, error = rounded(entry)
    return Row(
        name=name,
        meaning=meaning,
        value=value,
        error=error,
        unit="%" if unit == "accuracy" else unit,
        n=_whole(entry.get("n")),
        estimator=str(entry.get("estimator") or ""),
        samples=_whole(entry.get("samples")),
    )


def rounded(entry: dict[str, Any]) -> tuple[str, str]:
    """A figure's value and standard error as text; accuracies in percent, counts as such, units elsewhere."""
    value, error = finite(entry.get("value")), finite(entry.get("standard_error"))
    if entry.get("unit") == "accuracy":
        factor = 100.0
        value = None if value is None else factor * value
        error = None if error is None else factor * error
    if entry.get("unit") == "dimensions" and value is not None:
        return decimals(value, 0), "" if error is None else decimals(error, 1) if error else "0"
    return with_error(value, error)


def phrase(entry: dict[str, Any], unit: str | None = None) -> str:
    """A figure in running text: "−83.94 ± 0.63 nats"."""
    value, error = rounded(entry)
    unit = str(entry.get("unit") or "") if unit is None else unit
    unit = "%" if unit == "accuracy" else unit
    return f"{value}{f'{_PLUS_MINUS}{error}' if error else ''} {unit}".strip()


def tiles(contents: Contents) -> list[tuple[str, str, str]]:
    """The few figures that stand above all others: name, value, and what goes below."""
    keys = ("log_likelihood", "bits_per_dim", "elbo", "reconstruction_error", "linear_probe")
    shown = [tile for tile in (_tile(contents, key) for key in keys) if tile is not None]
    active = contents.value("active_units")
    if active is not None:
        of = f" / {contents.latent_dim}" if contents.latent_dim else ""
        shown.insert(min(2, len(shown)), ("Active dimensions", decimals(active, 0) + of, "of the code"))
    if contents.value("perplexity") is not None:
        size = contents.arrays.get("vocabulary")
        below = "" if size is None else f"of {int(size):,} codes"
        shown.insert(min(2, len(shown)), ("Perplexity", number(contents.value("perplexity")), below))
    return shown[:4]


def _tile(contents: Contents, key: str) -> tuple[str, str, str] | None:
    if contents.value(key) is None:
        return None
    entry = contents.entry(key)
    value, error = rounded(entry)
    unit = str(entry.get("unit") or "")
    unit = "% of test examples" if unit == "accuracy" else "mean square" if unit == "squared error" else unit
    value = f"{value} %" if entry.get("unit") == "accuracy" else value
    return name_of(key), value, f"± {error} {unit}" if error else unit


def _whole(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else ""


def probe_sentence(contents: Contents) -> str | None:
    """What a linear classifier reads off codes and off raw values, where both were measured."""
    codes, raw = contents.value("linear_probe"), contents.value("linear_probe_raw")
    if codes is None or raw is None:
        return None
    thing = "pixels" if contents.examples == "image" else "values"
    return (
        f"A linear classifier names the class of {percent(codes, 1)} of the test examples from their codes, "
        f"and of {percent(raw, 1)} from their raw {thing}."
    )


_ALIKE = 0.01
"""Nats below which a bound and log p(x) are not told apart."""


def gap_sentence(contents: Contents) -> str | None:
    """How far the bound lies below the estimate of log p(x): what the approximate posterior costs."""
    bound, likelihood = contents.value("elbo"), contents.value("log_likelihood")
    if bound is None or likelihood is None or contents.entry("log_likelihood").get("samples") is None:
        return None  # without draws log p(x) is exact, and there is no posterior to lose by
    if abs(bound - likelihood) < _ALIKE:
        return (
            f"The ELBO and the estimate of log p(x) are alike to {_ALIKE:g} nats: the bound loses nothing that shows."
        )
    if bound > likelihood:
        return (
            f"The ELBO lies {number(bound - likelihood)} nats above the estimate of log p(x), which in truth it cannot: that "
            "much is noise of the draws, or they are too few (K)."
        )
    return (
        f"The ELBO lies {number(likelihood - bound)} nats below the estimate of log p(x): "
        "that much is lost to a posterior q(z|x) that is only approximate."
    )
