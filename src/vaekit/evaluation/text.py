"""What a model of sentences is worth in the numbers that are usual for text, and beside another model.

    NLL                -log p(x) of a sentence, its end counted; of a VAE its bound, distortion + KL
    per word           R = sum_i NLL_i / sum_i w_i,   w_i the words of sentence i and its end
    perplexity         exp(R): Jelinek, Mercer, Bahl & Baker, 1977; Mikolov et al., Interspeech 2010, count the end as a word
    without the end    exp(sum_i NLL_i / sum_i (w_i - 1)): the same nats, the end not counted as a word
    token accuracy     part of the tokens that are the decoder's most probable one, given all true tokens before it and the
                       code at the posterior's mean

Words are what stands between blanks, for pieces of words too, so that the figures of two vocabularies can be compared; a word
that is not in the vocabulary counts, and costs only what UNK costs.

A ratio of means has the standard error of the mean of NLL_i - R w_i, divided by the mean of w_i (the delta method: Cochran,
"Sampling techniques", 1977, section 2.11), and exp(R) exp(R) times that: words of one sentence are not independent.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vaekit.data.vocabulary import EOS, PAD, Vocabulary
from vaekit.errors import UsageError
from vaekit.evaluation.estimate import Estimate, mean_of, ratio_of
from vaekit.evaluation.figures import Figures, Question
from vaekit.evaluation.likelihood import mean_log_likelihood
from vaekit.evaluation.rows import at_rest, batches, check_examples, check_rows
from vaekit.models.base import Model
from vaekit.models.recipes import origin_of

_MOST = math.log(sys.float_info.max)
"""Nats per word above which double precision has no number for the perplexity."""


def sentences(asked: Question) -> Figures:
    """NLL, per word and as perplexities, and token accuracy; {} for data other than text."""
    if asked.data.schema.kind != "text":
        return {}
    figures: Figures = {}
    if asked.model.has_likelihood:
        words, ends = word_counts(asked.rows, asked.data.schema.text)
        exact = asked.model.latent_dim == 0
        how = "exact, no code" if exact else "bound, KL included"
        nll = asked.bound.rate + asked.bound.distortion
        draws = None if exact else asked.bound_draws
        figures["nll"] = mean_of(nll, "nats", f"-log p of a sentence, {how}", draws)
        figures |= _per_word(nll, words, ends, how, draws)
        if not exact and not asked.model.quantised:
            log_px, known = asked.importance.log_px, mean_log_likelihood(asked.model, asked.importance, asked.samples)
            how, draws = known.estimator, known.samples
            figures["nll_importance"] = mean_of(-log_px, "nats", f"-log p of a sentence, {how}", draws)
            figures["word_perplexity_importance"] = _perplexity(-log_px, words + ends, f"end counted, {how}", draws)
    if asked.model.has_posterior:
        figures["token_accuracy"] = token_accuracy(asked.model, asked.rows)
    return figures


def _per_word(nll: Tensor, words: Tensor, ends: Tensor, how: str, draws: int | None) -> dict[str, Estimate]:
    return {
        "nll_per_word": replace(ratio_of(nll, words + ends, "nats", f"end counted as a word, {how}"), samples=draws),
        "word_perplexity": _perplexity(nll, words + ends, f"end counted as a word, {how}", draws),
        "word_perplexity_without_end": _perplexity(nll, words, f"end not counted as a word, {how}", draws),
    }


def _perplexity(nll: Tensor, words: Tensor, how: str, draws: int | None) -> Estimate:
    """exp(sum nll / sum words), with the standard error that the delta method gives it."""
    mean = ratio_of(nll, words, "nats", how)
    value = math.exp(mean.value) if mean.value < _MOST else math.inf
    error = None if mean.standard_error is None else value * mean.standard_error
    return Estimate(value, error, mean.n, "words", f"exp of the nats per word, {how}", draws)


def word_counts(rows: Any, vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    """(words of each sentence, its ends: 1, or 0 for a row that does not end), both (n,) float64."""
    split = check_rows(rows)
    ends = (split.values == EOS).any(1).double()
    if vocabulary.level == "word":
        return ((split.values != PAD) & (split.values != EOS)).sum(1).double(), ends
    texts = vocabulary.decode(split.values)
    return torch.tensor([len(text.split()) for text in texts], dtype=torch.float64), ends


def token_accuracy(model: Model, rows: Any) -> Estimate:
    """Part of the tokens, ends counted, that the decoder finds most probable after the true ones, code at the posterior's mean."""
    split, right, all_ = check_examples(model, rows), [], []
    with at_rest(model):
        for x, c in batches(model, split):
            real = x != PAD
            guesses = model.decode(model.encode(x, c), c).guesses(x)  # type: ignore[attr-defined]  # a Sequence
            right.append(((guesses == x) & real).sum(1).cpu())
            all_.append(real.sum(1).cpu())
    how = "the most probable token after the true ones, ends counted"
    return ratio_of(torch.cat(right), torch.cat(all_), "accuracy", how)


def against(mine: Question, other: Question) -> dict[str, Estimate]:
    """How much better this model is than another on the same rows, in nats per example: differences, better is positive.

    Both models see the same rows, so a difference is known far better than either figure: its standard error is that of the
    mean of the differences of each row.

    Returns:
        "elbo_gain", and "log_likelihood_gain" by importance sampling.

    Raises UsageError where a model has no likelihood, or where the two are of other data or another vocabulary.
    """
    check_alike(mine.model, other.model)
    for asked in (mine, other):
        if not asked.model.has_likelihood:
            raise UsageError(
                "against: a model without a likelihood cannot be compared in nats; give a vae or a language model"
            )
    mine_bound, other_bound = (-(asked.bound.rate + asked.bound.distortion) for asked in (mine, other))
    gains = {"elbo_gain": mean_of(mine_bound - other_bound, "nats", "difference of bounds, row by row")}
    if not (mine.model.quantised or other.model.quantised):
        one, two = (mean_log_likelihood(asked.model, asked.importance, asked.samples) for asked in (mine, other))
        how = f"difference of log p(x), row by row: {one.estimator}"
        how += "" if two.estimator == one.estimator else f", less {two.estimator}"
        gains["log_likelihood_gain"] = mean_of(
            mine.importance.log_px - other.importance.log_px, "nats", how, one.samples
        )
    return gains


def check_alike(one: Model, other: Model) -> None:
    """Raise UsageError unless two models were made for examples of the same form, and of one vocabulary where it is text."""
    a, b = origin_of(one).schema, origin_of(other).schema
    if a.kind == b.kind == "text":
        if a.vocabulary != b.vocabulary:
            raise UsageError(
                "against: its vocabulary is not this run's, so their words are not the same; train both on one text"
            )
    elif (a.kind, a.shape, a.levels) != (b.kind, b.shape, b.levels):
        raise UsageError(
            f"against: it was made for {b.kind} data of shape {b.shape} with levels {b.levels}, this run for {a.kind} data of "
            f"shape {a.shape} with levels {a.levels}"
        )
