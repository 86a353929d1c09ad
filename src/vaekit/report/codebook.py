"""The section of the codebook: how often each of its entries stands for something, most frequent first."""

from __future__ import annotations

from typing import Any

import numpy as np

from vaekit.report import charts
from vaekit.report.album import Album
from vaekit.report.contents import Contents
from vaekit.report.words import count, number, percent


def codebook(contents: Contents, album: Album) -> dict[str, Any] | None:
    """Shares of the codebook's entries among the codes of the test examples, for every level."""
    shares, vocabulary = contents.arrays.get("usage"), contents.arrays.get("vocabulary")
    if shares is None or vocabulary is None or shares.ndim != 2:
        return None
    size, levels = int(vocabulary), len(shares)
    used = [int((row > 0).sum()) for row in shares]
    most = [float(row.max()) for row in shares]
    perplexity = contents.value("perplexity")
    alt = (
        f"Shares of {size:,} codebook entries among the codes, most frequent first, for {count(levels, 'level')}: "
        f"{number(float(np.mean(used)), 4)} occur, the most frequent with {percent(float(np.mean(most)), 1)}"
        + ("." if perplexity is None else f"; perplexity {number(perplexity)}.")
    )
    picture = album.chart("codebook", alt, lambda theme: charts.shares(shares, 1 / size, theme))
    return {
        "picture": picture,
        "size": f"{size:,}",
        "levels": levels,
        "used": ", ".join(f"{n:,}" for n in used),
        "perplexity": None if perplexity is None else number(perplexity),
        "most": percent(max(most), 1),
        "even": percent(1 / size, 2),
    }
