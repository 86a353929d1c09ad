"""The section of the codes: a plane, a turning view, or a histogram, coloured by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vaekit.report import charts
from vaekit.report.album import Album
from vaekit.report.colours import SINGLE, WITHOUT, rainbow
from vaekit.report.contents import Contents
from vaekit.report.projection import nearest_centre_share, principal_components
from vaekit.report.table import probe_sentence
from vaekit.report.words import count, number, percent

_UNLABELLED = "unlabelled"
"""The name of rows whose class is not known, as if it were one."""

FEW = 20
"""Classes above which a legend folds away."""


@dataclass(frozen=True)
class Points:
    """Codes (n, D) without rows that are not finite, class numbers from 0, and the classes' names and colours."""

    codes: np.ndarray
    labels: np.ndarray | None
    names: list[str]
    colours: list[str]

    @property
    def each(self) -> list[str] | None:
        """The colour of every point."""
        return None if self.labels is None else [self.colours[i] for i in self.labels]


def codes(contents: Contents, album: Album) -> dict[str, Any] | None:
    """The test codes in one, two and three dimensions, as many as there are."""
    points = _points(contents)
    if points is None:
        return None
    dims = points.codes.shape[1]
    return {
        "n": len(points.codes),
        "dims": dims,
        "probe": probe_sentence(contents),
        "legend": [] if points.labels is None else list(zip(points.names, points.colours, strict=True)),
        "fold": len(points.names) > FEW,
        "line": _line(points, album) if dims == 1 else None,
        "flat": _flat(points, album) if dims > 1 else None,
        "solid": _solid(points, album) if dims > 2 else None,
    }


def _points(contents: Contents) -> Points | None:
    found, labels = contents.arrays.get("codes"), contents.arrays.get("code_labels")
    if found is None or found.ndim != 2:
        return None
    there = np.isfinite(found).all(1)
    if not there.any():
        return None
    if labels is None or len(labels) != len(found):
        return Points(found[there].astype(float), None, [], [SINGLE])
    classes, numbers = np.unique(labels[there], return_inverse=True)
    named = contents.schema.get("classes") or ()
    # colours belong to the classes of the data, so that a class that the test rows lack does not shift all others
    total = max(1, len(named), int(classes.max()) + 1)
    wheel = rainbow(total)
    names = [contents.class_name(int(c)) if c >= 0 else _UNLABELLED for c in classes]
    colours = [wheel[int(c) % total] if c >= 0 else WITHOUT for c in classes]
    return Points(found[there].astype(float), numbers, names, colours)


def _line(points: Points, album: Album) -> dict[str, Any]:
    x = points.codes[:, 0]
    groups = [(np.ones(len(x), bool), SINGLE)]
    if points.labels is not None:
        groups = [(points.labels == i, colour) for i, colour in enumerate(points.colours)]
    alt = (
        f"Histogram of {count(len(x), 'code')} of one dimension, mean {number(x.mean())}, "
        f"standard deviation {number(x.std())}, from {number(x.min())} to {number(x.max())}."
    )
    return {"picture": album.chart("codes", alt, lambda theme: charts.histogram(x, groups, "z0", theme))}


def _flat(points: Points, album: Album) -> dict[str, Any]:
    projected = points.codes.shape[1] > 2
    flat, shares = principal_components(points.codes, 2) if projected else (points.codes, np.ones(2))
    names = ("first principal component", "second principal component") if projected else ("z0", "z1")
    share = percent(float(shares.sum()), 1) if projected else None
    how = f"on their first two principal components ({share} of the variance)" if share else "as they are"
    alt = f"{count(len(flat), 'test code')} as points {how}{_apart(points, flat)}."
    picture = album.chart("codes_2d", alt, lambda theme: charts.scatter(flat, points.each, names, theme))
    return {"picture": picture, "share": share}


def _solid(points: Points, album: Album) -> dict[str, Any]:
    projected = points.codes.shape[1] > 3
    if projected:
        solid, shares = principal_components(points.codes, 3)
    else:
        solid, shares = points.codes - points.codes.mean(0), np.ones(3)
    # most points fill the unit ball; those far out stay within the picture
    radius = np.linalg.norm(solid, axis=1)
    solid = solid / (max(float(np.quantile(radius, 0.95)), float(radius.max()) / 1.3) or 1.0)
    names = [f"PC {i}" for i in (1, 2, 3)] if projected else [f"z{i}" for i in range(3)]
    share = percent(float(shares.sum()), 1) if projected else None
    how = f"on three principal components ({share} of the variance)" if share else "in their three dimensions"
    alt = f"{count(len(solid), 'test code')} as points in space, {how}{_apart(points, solid)}."
    picture = album.chart("codes_3d", alt, lambda theme: charts.standing(solid, points.each, names, theme))
    drawn = {
        "points": np.rint(1000 * solid).astype(int).tolist(),
        "labels": [0] * len(solid) if points.labels is None else points.labels.tolist(),
        "colours": points.colours,
        "axes": names,
        "view": list(charts.VIEW),
    }
    return {"picture": picture, "share": share, "data": drawn}


def _apart(points: Points, shown: np.ndarray) -> str:
    """How well the classes stay apart in what is shown, for those who cannot see it."""
    if points.labels is None:
        return ""
    known = np.array([name != _UNLABELLED for name in points.names])[points.labels]
    classes = len(np.unique(points.labels[known]))
    if classes < 2:
        return ""
    near = nearest_centre_share(shown[known], points.labels[known])
    return f", in {classes} classes; {percent(near)} lie nearest to the centre of their own class"
