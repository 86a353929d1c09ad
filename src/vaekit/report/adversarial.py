"""What the report says of players against each other: their losses, what these tell, and ways through the prior."""

from __future__ import annotations

from typing import Any

import numpy as np

from vaekit.report.album import Album
from vaekit.report.contents import Contents
from vaekit.report.galleries import Sheet
from vaekit.report.pictures import gap, grid, look_of
from vaekit.report.table import phrase
from vaekit.report.words import percent

PANELS = (
    ("generator_loss", "The generator's loss", "its side of the game"),
    ("encoder_loss", "The encoder's loss", "its side of the game"),
    ("decoder_loss", "The decoder's loss", "its side of the game"),
    ("critic_loss", "The critic's loss", "its side of the game"),
    ("wasserstein", "Wasserstein distance, by the critic", "data less samples, lower is better"),
    ("reconstruction_error", "Reconstruction error", "mean square, lower is better"),
)
"""Curves of a training with several players, where it has them: key, title, unit."""


def _recorded(contents: Contents, key: str) -> bool:
    return any(key in record for record in contents.history)


def game_headline(contents: Contents) -> str | None:
    """What was reached by a model whose players have no likelihood; None for models of other kinds."""
    if not (contents.makes_examples or contents.model == "aae" or _recorded(contents, "train_critic_loss")):
        return None
    if contents.has_likelihood:
        return None
    said = "It was trained against a critic and has no likelihood: its samples are measured beside real examples."
    found, floor = contents.entry("frechet_distance"), contents.entry("frechet_distance_floor")
    if contents.value("frechet_distance") is not None:
        said += f" Their Fréchet distance from unseen examples is {phrase(found, '')}"
        said += f"; that of real from real is {phrase(floor, '')}." if contents.value("frechet_distance_floor") else "."
    if contents.value("reconstruction_error") is not None:
        said += f" Its mean squared reconstruction error is {phrase(contents.entry('reconstruction_error'), '')}."
    return said


def note(contents: Contents) -> str:
    """What the losses of a game say, and what they do not."""
    if not _recorded(contents, "train_critic_loss"):
        return ""
    if _recorded(contents, "validation_wasserstein"):
        return (
            " Generator and critic play against each other. The critic's value on held-out examples, data less samples, estimates"
            " their Wasserstein distance as far as its slopes are held to 1; its penalty is left out of it."
        )
    if contents.config.get("loss") == "hinge":
        level = "2 where it cannot tell made from real"
    else:
        level = "log 4 = 1.39 where it cannot tell made from real"
    return (
        " The players work against each other: a loss that falls does not say that samples are better. The critic's is "
        f"{level}; its validation curve leaves any penalty out."
    )


def walks(contents: Contents, album: Album) -> dict[str, Any] | None:
    """Ways through the prior of a model that cannot encode."""
    images, look = contents.arrays.get("walks"), look_of(contents)
    if look is None or images is None or images.ndim < 3:
        return None
    pairs, steps = images.shape[:2]
    moved = np.sqrt(np.square(np.diff(images.astype(float), axis=1)).reshape(pairs, steps - 1, -1).mean(2))
    path = moved.sum(1)
    largest = np.divide(moved.max(1, initial=0), path, out=np.zeros(pairs), where=path > 0)
    alt = (
        f"{pairs} rows of {steps} samples on the way from one code drawn from the prior to another; on average the largest of "
        f"the {steps - 1} steps makes {percent(float(largest.mean()))} of the whole change."
    )
    picture = album.image("walks", alt, grid(look.tiles(images, steps), gap(steps)), crisp=look.crisp)
    return {"sheet": Sheet(picture), "uniform": (contents.description.get("arguments") or {}).get("prior") == "uniform"}
