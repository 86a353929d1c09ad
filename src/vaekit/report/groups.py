"""Figures that have a section of their own: which they are, what to call them and what they mean."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """A section's title, its first sentences, and its figures: key, name and meaning of each."""

    title: str
    text: str
    figures: tuple[tuple[str, str, str], ...]
    floors: bool = False


GROUPS: dict[str, Group] = {
    "quality": Group(
        "Samples beside data",
        "What tells samples from data, each figure beside its floor: the same figure of real rows against other real rows, "
        "the best that samples could do.",
        (
            (
                "frechet_distance",
                "Frechet distance",
                "Between Gaussians of the same moments, squared. Lower is better.",
            ),
            ("precision", "Precision", "Share of samples that lie among the data."),
            ("recall", "Recall", "Share of the data that lies among samples: low where kinds of examples are missing."),
            ("density", "Density", "Data about each sample, in units of what is usual; not fooled by outliers."),
            ("coverage", "Coverage", "Share of the data with a sample beside it."),
            (
                "two_sample",
                "Two-sample test",
                "Accuracy of a classifier that tells samples from data; half if it cannot.",
            ),
            ("neighbour_distance", "Nearest neighbours", "Distance to the nearest training example, the median."),
            (
                "nearer_to_training",
                "Nearer to training",
                "Samples that lie nearer to the training data than to as many unseen examples: above a half is memorisation.",
            ),
        ),
        floors=True,
    ),
    "information": Group(
        "What the code carries",
        "The rate is what codes tell of single examples, and what all codes together lie off the prior.",
        (
            (
                "mutual_information",
                "Mutual information I(x; z)",
                "What a code says about which example it is of. It cannot exceed log n, however much the code carries.",
            ),
            (
                "marginal_kl",
                "KL(q(z), p(z))",
                "How far all codes together lie off the prior that samples are drawn from.",
            ),
            ("total_correlation", "Total correlation", "Part of it: dependence between the dimensions of the code."),
            ("dimensionwise_kl", "Dimension-wise KL", "Part of it: each dimension by itself off the prior."),
        ),
    ),
    "factors": Group(
        "Disentanglement",
        "How dimensions of the code and the known factors of the data go together, from 0 (not at all) to 1.",
        (
            ("mig", "MIG", "Mutual information gap: is each factor known by one dimension alone?"),
            (
                "factorvae_score",
                "FactorVAE score",
                "Guessing which factor was held fixed from the steadiest dimension.",
            ),
            ("disentanglement", "Disentanglement (DCI)", "Does each dimension serve one factor?"),
            ("completeness", "Completeness (DCI)", "Is each factor served by one dimension?"),
            ("informativeness", "Informativeness (DCI)", "How well factors are predicted from the whole code."),
            ("sap", "SAP", "Gap between the two dimensions that predict a factor best."),
        ),
    ),
    "tightness": Group(
        "How tight the bound is",
        "Where the ELBO loses against log p(x), and log p(x) by another way.",
        (
            ("inference_gap", "Inference gap", "log p(x) less the ELBO: the two below together."),
            (
                "approximation_gap",
                "Approximation gap",
                "What even the best Gaussian for each example loses: a richer posterior.",
            ),
            ("amortisation_gap", "Amortisation gap", "What the encoder loses against that Gaussian: a better encoder."),
            ("annealed_log_likelihood", "log p(x) by annealing", "Annealed importance sampling, too low on average."),
            ("annealed_effective", "Effective chains", "How many of the chains count for the median example."),
            (
                "annealed_gain",
                "Annealing less importance",
                "What importance sampling of the same examples falls short.",
            ),
            ("simulated_lower", "Simulated data, from below", "The same on examples drawn from the model itself."),
            ("simulated_upper", "Simulated data, from above", "Annealed back from the codes they were drawn from."),
            ("simulated_gap", "Simulated data, between", "How far annealing can be off on the model's own data."),
        ),
    ),
}
"""Sections by their place in the page."""

CLAIMED = frozenset(
    key + ending for group in GROUPS.values() for key, _, _ in group.figures for ending in ("", "_floor")
)
"""Figures that the table of numbers leaves to these sections."""
