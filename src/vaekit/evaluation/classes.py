"""How well a model that classifies tells the class of rows it was not trained on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaekit.errors import DataError, UsageError
from vaekit.evaluation.estimate import Estimate, share_of
from vaekit.evaluation.figures import Figures, Question
from vaekit.evaluation.rows import at_rest, batches, check_examples
from vaekit.models.base import Model


def class_probabilities(model: Model, rows: Any) -> Tensor:
    """q(y | x) of every row, (n, C), on the CPU. Raises UsageError for a model that does not classify."""
    classify = getattr(model, "classify", None)
    if not callable(classify):
        raise UsageError(f"class_probabilities: {type(model).__name__} has no classifier q(y|x); take model m2")
    split = check_examples(model, rows)
    with at_rest(model):
        return torch.cat([classify(batch.x).exp().cpu() for batch in batches(model, split)])


def class_accuracy(model: Model, rows: Any) -> Estimate:
    """Share of the labelled rows whose class is the most probable one under q(y | x).

    Raises UsageError for a model that does not classify, DataError where no row has a label.
    """
    split = check_examples(model, rows)
    found = class_probabilities(model, split).argmax(-1)
    if split.labels is None or not bool(split.labelled.any()):
        raise DataError(f"class_accuracy: the {split.name} rows have no labels")
    return share_of((found == split.labels)[split.labelled], "accuracy", "most probable class under q(y|x)")


def classified(asked: Question) -> Figures:
    """The accuracy of the model's own classifier, where it has one and the rows have labels."""
    split = asked.rows
    if not callable(getattr(asked.model, "classify", None)) or not bool(split.labelled.any()):
        return {}
    return {"class_accuracy": class_accuracy(asked.model, split)}
