"""The page of a rate-distortion curve, from its points as JSON values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import vaekit
from vaekit.files import write_text
from vaekit.report import charts
from vaekit.report.album import Album
from vaekit.report.page import asset, template_of
from vaekit.report.words import number, with_error

FIGURES = ("rate", "distortion", "elbo")


def write_curve(folder: Path, name: str, points: list[dict[str, Any]]) -> Path:
    """Write `rate_distortion.html` and its picture into a folder.

    Args:
        points: of each beta "rate", "distortion" and "elbo" with value and standard_error, and "run", the folder of its run.
    """
    album = Album()
    pairs = [(point["rate"], point["distortion"]) for point in points]
    values = [[entry["value"] for entry in pair] for pair in pairs]
    errors = [[entry["standard_error"] or 0.0 for entry in pair] for pair in pairs]
    betas = [point["beta"] for point in points]
    best = max(points, key=lambda point: point["elbo"]["value"])
    alt = "Distortion against rate, in nats: " + "; ".join(
        f"rate {number(r)} and distortion {number(d)} at beta {beta:g}"
        for beta, (r, d) in zip(betas, values, strict=True)
    )
    picture = album.chart(
        "rate_distortion",
        f"{alt}.",
        lambda theme: charts.tradeoff(values, errors, betas, -best["elbo"]["value"], theme),
    )
    page = template_of(asset("rate_distortion.html.j2")).render(
        name=name,
        picture=picture,
        rows=[_cells(point) for point in points],
        best=f"{best['beta']:g}",
        bound=number(best["elbo"]["value"], 4),
        style=asset("style.css"),
        version=vaekit.__version__,
    )
    album.write(folder)
    write_text(folder / "rate_distortion.html", page)
    return folder / "rate_distortion.html"


def _cells(point: dict[str, Any]) -> dict[str, Any]:
    """A row of the table as text."""
    cells = [with_error(point[key]["value"], point[key]["standard_error"]) for key in FIGURES]
    return {"beta": f"{point['beta']:g}", "cells": [text for pair in cells for text in pair], "run": point["run"]}
