"""Sections of a model of sentences: reconstructions, samples, lengths, interpolations, from `figures/texts.json`."""

from __future__ import annotations

from typing import Any

import numpy as np

from vaekit.report import charts
from vaekit.report.album import Album
from vaekit.report.contents import Contents
from vaekit.report.words import finite, number, percent

_SHOWN = 300
"""Letters of a sentence that are shown."""

_CAPTIONS = {
    "Best": "the smallest distance",
    "Median": "distances about the median",
    "Worst": "the largest distance",
}


def rebuilt(contents: Contents, _: Album) -> dict[str, Any] | None:
    """Test sentences beside their reconstructions: the best, the median and the worst."""
    found = contents.texts.get("reconstructions")
    if not isinstance(found, dict) or not any(found.values()):
        return None
    tables = [
        {
            "title": name,
            "caption": f"The {len(rows)} test sentences with {_CAPTIONS.get(name, 'their distances')}.",
            "rows": [(_clip(row["original"]), _clip(row["rebuilt"]), _share(row.get("distance"))) for row in rows],
        }
        for name, rows in found.items()
    ]
    return {"tables": tables, "same": _constant(row["rebuilt"] for rows in found.values() for row in rows)}


def written(contents: Contents, _: Album) -> dict[str, Any] | None:
    """Samples as they came, each beside the training sentence nearest to it."""
    samples = contents.texts.get("samples")
    if not samples:
        return None
    rows = [(_clip(s["text"]), _clip(s["nearest"]), _share(s.get("distance")), s.get("label", "")) for s in samples]
    middle, usual = (finite(contents.texts.get(key)) for key in ("sample_distance", "test_distance"))
    copies = sum(finite(s.get("distance")) == 0 for s in samples)
    second = contents.description.get("arguments", {}).get("second_stage", "none") != "none"
    return {
        "rows": rows if any(label for *_, label in rows) else [row[:3] for row in rows],
        "labelled": any(label for *_, label in rows),
        "sample": _share(middle),
        "test": _share(usual),
        "copies": copies,
        "source": "the second stage, which was fitted to the codes" if second else "the prior",
        "coded": contents.latent_dim != 0,
    }


def lengths(contents: Contents, album: Album) -> dict[str, Any] | None:
    """How many tokens real and sampled sentences have."""
    found = contents.texts.get("lengths")
    if not isinstance(found, dict):
        return None
    real, sampled = (np.asarray(found.get(key) or [], float) for key in ("real", "sampled"))
    if len(real) != len(sampled) or not real.sum() or not sampled.sum():
        return None
    means = [float((counts * np.arange(len(counts))).sum() / counts.sum()) for counts in (real, sampled)]
    cut = float(sampled[-1] / sampled.sum())
    last = int(max(np.flatnonzero(real + sampled))) + 1
    shares = [counts[:last] / counts.sum() for counts in (real, sampled)]
    alt = (
        f"Share of sentences by their number of tokens: test sentences have {number(means[0])} on average, samples "
        f"{number(means[1])}."
    )
    picture = album.chart("lengths", alt, lambda theme: charts.lengths(shares[0], shares[1], theme))
    return {
        "picture": picture,
        "real": number(means[0]),
        "sampled": number(means[1]),
        "n": [f"{int(counts.sum()):,}" for counts in (real, sampled)],
        "cut": percent(cut, 1) if cut else None,
        "limit": len(sampled) - 1,
    }


def paths(contents: Contents, _: Album) -> dict[str, Any] | None:
    """Sentences on straight lines through the code."""
    found = contents.texts.get("interpolations")
    if not found:
        return None
    steps = [number(float(t), 2) for t in np.linspace(0, 1, len(found[0]))]
    constant = _constant(text for path in found for text in path)
    return {"paths": [list(zip(steps, map(_clip, path), strict=True)) for path in found], "same": constant}


def _constant(texts: Any) -> bool:
    """Whether all texts are the same, as those of a model are that ignores its code."""
    return len(set(texts)) == 1


def _clip(text: str) -> str:
    """The beginning of a long text: a model that cannot end a sentence would fill the page."""
    return text if len(text) <= _SHOWN else text[:_SHOWN].rstrip() + " …"


def _share(distance: Any) -> str:
    value = finite(distance)
    return "" if value is None else percent(value)
