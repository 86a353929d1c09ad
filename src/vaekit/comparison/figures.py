"""The figures of a comparison by name: what each means, which way is better, and what it is held against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from vaekit.comparison.spread import Figure, difference, side
from vaekit.evaluation import Estimate

Better = Literal["lower", "higher", "real", "none"]


@dataclass(frozen=True)
class Kind:
    """How to read a figure.

    Args:
        name, meaning: for a reader.
        better: "real" is best where the figure of real examples is, "none" has no best.
        against: what its reference is.
        share: whether it is shown in percent.
    """

    name: str
    meaning: str
    better: Better
    against: str = ""
    share: bool = False


FLOOR = "real against real"
"""A reference that samples cannot be better than: the same figure of real rows in the place of samples."""

KINDS: dict[str, Kind] = {
    "reconstruction_error": Kind(
        "Reconstruction error",
        "Squared difference per value between a test example and its reconstruction; of a model without an encoder, the "
        "best that a search for its code found.",
        "lower",
        "the mean example",
    ),
    "sharpness": Kind(
        "Sharpness",
        "Variance of the Laplacian of a sample: how hard its edges are. Noise counts as sharpness.",
        "real",
        "real images",
    ),
    "high_frequency_power": Kind(
        "Fine detail", "Share of a sample's power above half the Nyquist frequency.", "real", "real images", True
    ),
    "frechet_distance": Kind(
        "Frechet distance", "Between Gaussians fitted to features of samples and of real examples.", "lower",
        FLOOR,
    ),
    "precision": Kind(
        "Precision", "Share of samples that lie among the real examples.", "higher", FLOOR, True
    ),
    "recall": Kind(
        "Recall", "Share of real examples that lie among the samples.", "higher", FLOOR, True
    ),
    "density": Kind(
        "Density", "As precision, counted so that outliers cannot inflate it; about 1 for real examples.", "higher",
        FLOOR,
    ),
    "coverage": Kind(
        "Coverage", "Share of real examples with a sample among their nearest neighbours.", "higher",
        FLOOR, True,
    ),
    "class_balance": Kind(
        "Class imbalance", "Total variation between the classes of samples and those of the data.", "lower",
        FLOOR, True,
    ),
    "rarest_class": Kind(
        "Rarest class", "Share of the class that samples show least, relative to its share of the data.", "none",
        FLOOR, True,
    ),
    "condition_share": Kind(
        "Class asked for", "Share of samples in which a classifier recognises the class that was asked for.", "higher",
        "real examples", True,
    ),
    "nearer_to_training": Kind(
        "Closer to training rows",
        "Share of samples closer to a training row than to an unseen one, were both equally many; half, unless rows are repeated.",
        "none", "real examples", True,
    ),
    "neighbour_distance": Kind(
        "Distance to the nearest training row", "Root mean square over values.", "none", "real examples"
    ),
    "log_likelihood": Kind(
        "log p(x)", "By importance sampling, in nats; given the condition where the model is told one.", "higher"
    ),
    "elbo": Kind("ELBO", "The bound on log p(x), in nats.", "higher"),
    "linear_probe": Kind(
        "Linear probe of codes", "Accuracy of a logistic regression that sees the codes.", "higher", "raw values", True
    ),
    "knn_probe": Kind(
        "k-NN probe of codes", "Accuracy of five nearest neighbours among the codes.", "higher", "raw values", True
    ),
}  # fmt: skip
"""In the order of the table."""

IMAGES_ONLY = ("sharpness", "high_frequency_power")
CLASSES_ONLY = ("class_balance", "rarest_class", "condition_share", "linear_probe", "knn_probe")

GIVEN = ("class_balance", "rarest_class", "linear_probe", "knn_probe")
"""What a model that is told the class was given: its classes in the data's proportions, and the class in its codes."""

LIKELIHOODS = ("log_likelihood", "elbo")
"""Of the same thing only where the models are told the same."""


def best_of(key: str, figures: dict[str, Figure], reference: Estimate | None, told: frozenset[str]) -> str | None:
    """The model whose figure is better than every other's beyond the interval; None where there is none.

    Args:
        figures: of each model that has one.
        told: models that are told the class (see GIVEN and LIKELIHOODS).
    """
    better = KINDS[key].better
    rivals = {name: f for name, f in figures.items() if not (name in told and key in (*GIVEN, *LIKELIHOODS))}
    if better == "none" or len(rivals) < 2 or (better == "real" and reference is None):
        return None
    scored = {name: _scored(figure, better, KINDS[key].against, reference) for name, figure in rivals.items()}
    first, *others = sorted(scored, key=lambda name: scored[name].value)
    return first if all(difference(side(scored[first]), side(scored[o])).sign < 0 for o in others) else None


def _scored(figure: Figure, better: Better, against: str, reference: Estimate | None) -> Figure:
    """The figure as a loss, seed by seed: what is better than real examples are is no better than they."""
    floor = reference.value if reference is not None and against == FLOOR else None

    def loss(value: float) -> float:
        if better == "real" and reference is not None:
            return abs(value - reference.value)
        lower = value if better == "lower" else -value
        if floor is None:
            return lower
        return max(lower, floor if better == "lower" else -floor)

    return Figure(tuple(replace(e, value=loss(e.value)) for e in figure.seeds))
