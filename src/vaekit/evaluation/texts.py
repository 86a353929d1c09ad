"""What a report shows of a model of sentences: texts, computed once from model and data.

The distance of two sentences is the number of tokens to put in, take out or exchange (Levenshtein, 1966), divided by the
length of the longer one: 0 for the same sentence, 1 where no token stands in the same order.

    d[i, j] = min(d[i-1, j] + 1, d[i, j-1] + 1, d[i-1, j-1] + (a_i != b_j))
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data import Dataset, Split
from vaekit.data.vocabulary import EOS, PAD, UNK
from vaekit.distributions.sequence import point_of
from vaekit.evaluation.rows import at_rest, batch_at, check_rows
from vaekit.models.base import Model

_REBUILT = 300
"""Test sentences among which the best, the median and the worst reconstruction are looked for."""

_DRAWN = 300
"""Sentences that are drawn for the histogram of lengths; the first of them are shown."""

_CANDIDATES = 200
"""Training sentences with most words in common whose distance is computed."""


@torch.no_grad()
def text_gallery(model: Model, data: Dataset, *, seed: int = 0) -> dict[str, Any]:
    """Texts for every section that the model allows, as JSON values.

    Keys:
        reconstructions: {"Best", "Median", "Worst"}: 6 test sentences each, as {"original", "rebuilt", "distance"}, by distance
            among the first 300; the decoder's best guess (greedy) at the posterior's mean.
        samples: 24 sentences drawn from p(x|z) with z from the prior, in the order they came: {"text", "nearest",
            "distance"}, nearest being a training sentence; and "label" where the model is told one.
        sample_distance, test_distance: the median distance to the nearest training sentence, of these samples and of as many test
            sentences.
        lengths: {"real", "sampled"}: how many test sentences, and of 300 samples, have 0, 1, 2, ... tokens (the end left
            out); {"limit"}: tokens at which a sample is cut.
        interpolations: 5 lists of 7 sentences on straight lines between the codes of two test sentences.
    """
    test = check_rows(data.train if data.test is None else data.test)
    found: dict[str, Any] = {}
    with at_rest(model):
        torch.manual_seed(seed)
        if model.latent_dim and model.has_posterior:
            found["reconstructions"] = _reconstructions(model, data, test)
            found["interpolations"] = _interpolations(model, data, test)
        if model.can_sample:
            found |= _samples(model, data, test)
    return found


def _reconstructions(model: Model, data: Dataset, test: Split, each: int = 6) -> dict[str, Any]:
    rows = test.head(_REBUILT)
    batch = batch_at(model, rows, slice(None))
    originals, rebuilt = words_of(batch.x), words_of(model.reconstruct(*batch))
    distance = np.array([distances(a, [b])[0] for a, b in zip(originals, rebuilt, strict=True)])
    order = np.argsort(distance, kind="stable")
    each = min(each, max(1, len(order) // 3))
    middle = (len(order) - each) // 2
    texts = [data.schema.text.decode(tokens) for tokens in (originals, rebuilt)]
    parts = {"Best": order[:each], "Median": order[middle : middle + each], "Worst": order[-each:]}
    return {
        name: [{"original": texts[0][i], "rebuilt": texts[1][i], "distance": float(distance[i])} for i in picked]
        for name, picked in parts.items()
    }


def _interpolations(model: Model, data: Dataset, test: Split, pairs: int = 5, steps: int = 7) -> list[list[str]]:
    first = torch.arange(min(pairs, len(test) // 2))
    ends = [batch_at(model, test, rows) for rows in (first, first + len(test) // 2)]
    a, b = (model.encode(*end)[:, None] for end in ends)
    t = torch.linspace(0, 1, steps, device=a.device, dtype=a.dtype)[None, :, None]
    told = [end.c for end in ends]
    c = None if told[0] is None or told[1] is None else (1 - t) * told[0][:, None] + t * told[1][:, None]
    tokens = point_of(model.decode((1 - t) * a + t * b, c))
    return [data.schema.text.decode(row) for row in tokens.cpu()]


def _samples(model: Model, data: Dataset, test: Split, shown: int = 24) -> dict[str, Any]:
    at = torch.arange(_DRAWN) % len(test)
    c = batch_at(model, test, at).c  # a conditional model is told what the test rows are
    drawn = words_of(model.sample(_DRAWN, c, noise=True))
    held = words_of(test.rows(slice(0, shown)))
    near, floor = ([nearest(row, data.train) for row in rows] for rows in (drawn[:shown], held))
    vocabulary, names = data.schema.text, data.schema.classes
    samples: list[dict[str, Any]] = [
        {"text": text, "nearest": other, "distance": distance}
        for text, other, (_, distance) in zip(
            vocabulary.decode(drawn[:shown]), vocabulary.decode([row for row, _ in near]), near, strict=True
        )
    ]
    if c is not None and names is not None and test.labels is not None:
        for sample, row in zip(samples, at.tolist(), strict=False):
            sample["label"] = names[int(test.labels[row])]
    limit = data.schema.shape[0]
    real = np.zeros(0, np.int64) if test.lengths is None else test.lengths.numpy() - 1
    sampled = np.array([len(row) for row in drawn])
    return {
        "samples": samples,
        "sample_distance": float(np.median([distance for _, distance in near])),
        "test_distance": float(np.median([distance for _, distance in floor])),
        "lengths": {
            "real": np.bincount(real, minlength=limit + 1).tolist(),
            "sampled": np.bincount(sampled, minlength=limit + 1).tolist(),
            "limit": limit,
        },
    }


def words_of(tokens: Tensor) -> list[list[int]]:
    """Token numbers (B, T) as lists without EOS and PAD."""
    rows = tokens.tolist()
    cut = (row[: row.index(EOS)] if EOS in row else row for row in rows)
    return [[token for token in row if token != PAD] for row in cut]


def nearest(sentence: list[int], train: Split) -> tuple[list[int], float]:
    """The training sentence that is nearest to one, and its distance, among those that have most words in common with it.

    An unknown word is in common with none.
    """
    if train.lengths is None:
        raise ValueError("nearest: expected a split of sentences")
    known = [token for token in set(sentence) if token not in (PAD, EOS, UNK)]
    marks = torch.zeros(max([int(train.values.max()), *known, EOS]) + 1)
    marks[known] = 1.0
    lengths = train.lengths - 1
    shared = torch.cat([marks[part.long()].sum(1) for part in train.values.split(20_000)])
    alike = 2 * shared / (lengths + len(sentence)).clamp_min(1)
    rows = alike.topk(min(_CANDIDATES, len(alike))).indices
    candidates = [train.values[row, : int(lengths[row])].tolist() for row in rows.tolist()]
    apart = distances(sentence, candidates)
    best = int(apart.argmin())
    return candidates[best], float(apart[best])


def distances(sentence: list[int], others: list[list[int]]) -> np.ndarray:
    """Edits between a sentence and each of the others, divided by the longer one's length, (n,); an empty pair is at 0.

    The others go through the table side by side; within its row the minimum over j' <= j of d[i, j'] + (j - j') is a running
    minimum.
    """
    lengths = np.array([len(other) for other in others])
    table = np.full((len(others), int(lengths.max(initial=0))), -1)
    for row, other in enumerate(others):
        table[row, : len(other)] = other
    steps = np.arange(table.shape[1] + 1)
    d = np.broadcast_to(steps, (len(others), len(steps)))
    for i, token in enumerate(sentence, 1):
        t = np.minimum(d[:, 1:] + 1, d[:, :-1] + (table != token))
        t = np.concatenate([np.full((len(others), 1), i), t], 1)
        d = np.minimum.accumulate(t - steps, axis=1) + steps
    return d[np.arange(len(others)), lengths] / np.maximum(np.maximum(lengths, len(sentence)), 1)
