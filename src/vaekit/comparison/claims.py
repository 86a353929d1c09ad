"""What everyone says of these models, and what the figures say of it.

A claim holds, or does not hold, where its figures differ by more than the 95 % interval over seeds (`spread.difference`), and
cannot be told where they do not. It is heard where the models that it speaks of were compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vaekit.comparison.samples import FITTED
from vaekit.comparison.spread import Difference, Figure, Side, difference, side, steadiness
from vaekit.evaluation import Estimate
from vaekit.report.words import decimals, number

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told"

_RARE = 0.5
"""A class that comes less than this many times as often as in the data counts as dropped."""

_OBEYED = 0.95
"""Of the classifier's accuracy on real examples: the share of samples that must be of the class asked for."""

Table = Mapping[str, Mapping[str, Figure]]
References = Mapping[str, Estimate]


@dataclass(frozen=True)
class Claim:
    """A saying and its verdict.

    Args:
        key: of the saying and the model.
        claim: the saying.
        verdict: "holds", "does not hold" or "cannot be told".
        measured: by how much, in words.
        rule: when it would hold.
        numbers: what the verdict rests on.
    """

    key: str
    claim: str
    verdict: str
    measured: str
    rule: str
    numbers: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """A dictionary of JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Hearing:
    """What a claim is judged on."""

    table: Table
    references: References
    seeds: int
    told: frozenset[str]

    def figure(self, model: str, key: str) -> Figure | None:
        """A figure of a model, None where either is not there."""
        return self.table.get(model, {}).get(key)

    def first(self, models: tuple[str, ...], key: str) -> str | None:
        """The first of these models that has the figure."""
        return next((name for name in models if self.figure(name, key) is not None), None)


def judged(table: Table, references: References, seeds: int, told: frozenset[str] = frozenset()) -> list[Claim]:
    """Every claim that can be heard.

    Args:
        table: figures by model, then by name.
        references: figures of real examples.
        seeds: seeds that were asked for; with one there is no spread.
        told: models that are told the class.
    """
    hearing = Hearing(table, references, seeds, told)
    return [claim for hear in _CLAIMS for claim in hear(hearing)]


def _blurry(h: Hearing) -> Iterator[Claim]:
    figure, real = h.figure("vae", "sharpness"), h.references.get("sharpness")
    if figure is None or real is None or real.value <= 0:
        return
    share = 1 / real.value
    found = difference(side(figure, share), side(real, share))
    yield _claim(
        "vae_blurry", "VAEs are blurry", -found.sign,
        f"edges of VAE samples have {_percent(1 + found.value)} {_within(100 * found.half, 'points', h)} of the variance of "
        "real images' edges",
        "holds where samples of a VAE are less sharp than real images", found,
        share_of_real=1 + found.value,
    )  # fmt: skip


def _sharper(h: Hearing) -> Iterator[Claim]:
    real, figure = h.references.get("sharpness"), h.figure("vae", "sharpness")
    gan = h.first(("gan", "wgan"), "sharpness")
    if real is None or figure is None or gan is None or real.value <= 0:
        return
    share = 1 / real.value
    first, second = side(h.table[gan]["sharpness"], share), side(figure, share)
    found = difference(first, second)
    beyond = "; more than real images have is noise, not sharpness" if first.value > 1.1 else ""
    yield _claim(
        "gan_sharper", f"GANs are sharper than VAEs ({gan})", found.sign,
        f"{_percent(first.value)} of the sharpness of real images against {_percent(second.value)}, a difference of "
        f"{_points(found)} {_within(100 * found.half, 'points', h)}{beyond}",
        f"holds where samples of a {gan} are sharper than those of a VAE", found,
        gan=first.value, vae=second.value,
    )  # fmt: skip


def _better_samples(h: Hearing) -> Iterator[Claim]:
    for gan in ("gan", "wgan"):
        yield from _lower(
            h, gan, "vae", "frechet_distance", f"{gan}_better_samples",
            f"GANs make better samples than VAEs ({gan})", "Frechet distance",
        )  # fmt: skip


def _reconstructs(h: Hearing) -> Iterator[Claim]:
    yield from _lower(
        h, "autoencoder", "vae", "reconstruction_error", "autoencoder_reconstructs",
        "An autoencoder reconstructs better than a VAE", "reconstruction error",
    )  # fmt: skip
    gan = h.first(("gan", "wgan"), "reconstruction_error")
    if gan is not None:
        yield from _lower(
            h, "vae", gan, "reconstruction_error", "vae_reconstructs",
            f"A VAE reconstructs better than a GAN ({gan})", "reconstruction error",
            "; the code of a GAN is sought by gradient, example by example, a VAE's is read off by its encoder",
        )  # fmt: skip


def _lower(
    h: Hearing, a: str, b: str, key: str, name: str, claim: str, words: str, note: str = ""
) -> Iterator[Claim]:  # fmt: skip
    """a's figure is lower than b's; `note` is added to the rule."""
    first, second = h.figure(a, key), h.figure(b, key)
    if first is None or second is None:
        return
    found = difference(side(first), side(second))
    share = f", {_percent(found.value / second.value, signed=True)}" if second.value > 0 else ""
    yield _claim(
        name, claim, -found.sign,
        f"{words} {number(first.value)} against {number(second.value)}{share}; the difference is {number(found.value, 2)} "
        f"{_within(found.half, '', h)}",
        f"holds where the {words} of {a} is below that of {b}{note}", found,
        **{a: first.value, b: second.value},
    )  # fmt: skip


def _codes_to_sample(h: Hearing) -> Iterator[Claim]:
    """The autoencoder's samples are from a Gaussian fitted to its codes, the best one can do without a prior."""
    first, second = h.figure("autoencoder", "frechet_distance"), h.figure("vae", "frechet_distance")
    if first is None or second is None:
        return
    found = difference(side(first), side(second))
    yield _claim(
        "autoencoder_sampling", "The codes of an autoencoder are not for sampling", found.sign,
        f"with {FITTED.partition(':')[0]} its samples have a Frechet distance of {number(first.value)}, those of a VAE "
        f"{number(second.value)}; the difference is {number(found.value, 2)} {_within(found.half, '', h)}",
        "holds where such samples are further from the data than a VAE's", found,
        autoencoder=first.value, vae=second.value,
    )  # fmt: skip


def _modes(h: Hearing) -> Iterator[Claim]:
    for gan in ("gan", "wgan"):
        figure, real = h.figure(gan, "rarest_class"), h.references.get("rarest_class")
        if figure is None or real is None or gan in h.told:
            continue
        found = difference(side(figure), Side(_RARE, 0.0, math.inf))
        yield _claim(
            f"{gan}_modes", f"GANs drop modes ({gan})", -found.sign,
            f"the class that is drawn least comes {_percent(figure.value)} {_within(100 * found.half, 'points', h)} as often as "
            f"in the data; among as many real examples {_percent(real.value)}",
            f"holds where some class comes less than {_percent(_RARE)} as often as in the data", found,
            rarest=figure.value, real=real.value,
        )  # fmt: skip


def _stable(h: Hearing) -> Iterator[Claim]:
    gan = h.first(("gan", "wgan"), "frechet_distance")
    if gan is not None:
        yield from _steadier(h, "vae", gan, "vae_stable", f"VAEs are stable over seeds, GANs are not ({gan})")
    yield from _steadier(h, "wgan", "gan", "wgan_stable", "A WGAN is more stable than a GAN")


def _steadier(h: Hearing, a: str, b: str, key: str, claim: str) -> Iterator[Claim]:
    first, second = h.figure(a, "frechet_distance"), h.figure(b, "frechet_distance")
    if first is None or second is None:
        return
    rule = (
        f"holds where the Frechet distance varies less over seeds with {a} than with {b} (F test on its logarithm, 5 %)"
    )
    found = steadiness(first.values, second.values)
    if found is None:
        yield Claim(key, claim, OPEN, "one seed has no spread; give --seeds 3 or more", rule, {})
        return
    numbers = {a: found.first, b: found.second}
    said = f"the Frechet distance varies by {_percent(found.first)} over seeds with {a} and by {_percent(found.second)} with {b}"
    yield _verdict(key, claim, -found.sign, f"{said} ({h.seeds} seeds)", rule, numbers)


def _obeys(h: Hearing) -> Iterator[Claim]:
    real = h.references.get("condition_share")
    for model in h.table:
        figure = h.figure(model, "condition_share")
        if figure is None or real is None:
            continue
        found = difference(side(figure), side(real, _OBEYED))
        yield _claim(
            f"{model}_obeys", f"{'A CVAE' if model == 'cvae' else model} draws the class you ask for", found.sign,
            f"a classifier recognises the class in {_percent(figure.value, 1)} {_within(100 * found.half, 'points', h)} of the "
            f"samples, and in {_percent(real.value, 1)} of real examples",
            f"holds where that share is above {_percent(_OBEYED)} of the share among real examples", found,
            share=figure.value, real=real.value,
        )  # fmt: skip


def _copies(h: Hearing) -> Iterator[Claim]:
    """Judged for the model that shows it most."""
    figures = {name: row["nearer_to_training"] for name, row in h.table.items() if "nearer_to_training" in row}
    real = h.references.get("nearer_to_training")
    if not figures or real is None:
        return
    model = max(figures, key=lambda name: figures[name].value)
    figure = figures[model]
    # every seed is held against the same rows, so that the spread over seeds says nothing of the choice of rows
    error = max(figure.within or 0.0, figure.standard_error or 0.0)
    found = difference(Side(figure.value, error, math.inf), Side(0.5, 0.0, math.inf))
    yield _claim(
        "copies", f"Generators repeat their training examples ({model}, which does most)", found.sign,
        f"{_percent(figure.value)} of its samples are nearer to a training row than to an unseen one, were both equally many "
        f"(± {number(200 * error, 2)} points, two standard errors over rows); of real examples {_percent(real.value)}",
        "holds where that share is above a half", found,
        share=figure.value, real=real.value,
    )  # fmt: skip


_CLAIMS: tuple[Callable[[Hearing], Iterator[Claim]], ...] = (
    _blurry,
    _sharper,
    _better_samples,
    _stable,
    _modes,
    _obeys,
    _reconstructs,
    _codes_to_sample,
    _copies,
)


def _claim(
    key: str, claim: str, sign: int, measured: str, rule: str, found: Difference, **numbers: float
) -> Claim:  # fmt: skip
    return _verdict(key, claim, sign, measured, rule, {**numbers, "difference": found.value, "interval": found.half})


def _verdict(key: str, claim: str, sign: int, measured: str, rule: str, numbers: dict[str, float]) -> Claim:
    return Claim(key, claim, {1: HOLDS, -1: FAILS, 0: OPEN}[sign], measured, rule, numbers)


def _percent(share: float, places: int = 0, *, signed: bool = False) -> str:
    return f"{'+' if signed and share > 0 else ''}{decimals(100 * share, places)}\N{NO-BREAK SPACE}%"


def _points(found: Difference) -> str:
    return f"{'+' if found.value > 0 else ''}{decimals(100 * found.value, 0)} points"


def _within(half: float, unit: str, h: Hearing) -> str:
    """The interval, and what it rests on."""
    what = f"95 % over {h.seeds} seeds" if h.seeds > 1 else "95 % within the one seed"
    return f"(± {number(half, 2)}{f' {unit}' if unit else ''}, {what})"
