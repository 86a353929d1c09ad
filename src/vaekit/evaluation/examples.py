"""What an evaluation says of each example: the numbers whose means are the figures."""

from __future__ import annotations

import numpy as np
import torch

from vaekit.errors import UsageError
from vaekit.evaluation.figures import Question
from vaekit.evaluation.rows import at_rest, batches, check_rows
from vaekit.models.base import Model
from vaekit.objectives import reconstruction


def per_example(asked: Question) -> dict[str, np.ndarray]:
    """One array (n,) a quantity, in the order of the rows.

    Returns:
        "row", its number from 0, and "label" where there are labels. For a model with a likelihood "elbo", "kl" and
        "distortion" in nats and, unless its code is quantised, "log_likelihood" in nats with "effective_samples" of the K
        draws, and "samples", the draws themselves, where rows stop at a standard error; for one without, "distortion".
        Their means are the figures of the same name (the median for "effective_samples"): the same draws are used.

    Raises UsageError for a model that cannot encode.
    """
    model, rows = asked.model, check_rows(asked.rows)
    check_per_example(model)
    found = {"row": np.arange(len(rows))}
    if rows.labels is not None:
        found["label"] = rows.labels.numpy()
    if not model.has_likelihood:
        with at_rest(model):
            distortion = [reconstruction(model, batch).distortion.double().cpu() for batch in batches(model, rows)]
        return found | {"distortion": torch.cat(distortion).numpy()}
    rate, distortion_of, _ = asked.bound
    found |= {"elbo": -(rate + distortion_of).numpy(), "kl": rate.numpy(), "distortion": distortion_of.numpy()}
    if not model.quantised:
        found["log_likelihood"] = asked.importance.log_px.numpy()
        found["effective_samples"] = asked.importance.effective.numpy()
        if asked.importance.draws is not None:
            found["samples"] = asked.importance.draws.long().numpy()
    return found


def check_per_example(model: Model) -> None:
    """Raise UsageError for a model that cannot encode."""
    if not model.has_posterior:
        raise UsageError(f"per_example: {type(model).__name__} cannot encode, so it says nothing of single examples")
