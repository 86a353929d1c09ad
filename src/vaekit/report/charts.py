"""Charts as PNG bytes, each drawn once for a light page and once for a dark one.

Only Matplotlib's object interface is used: no pyplot, no global settings, and no text that comes from a file, so that
no class name can ask for a glyph that the font lacks.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator
from PIL import Image

from vaekit.report.colours import SINGLE
from vaekit.report.projection import turned

VIEW = (0.7, 0.38)
"""Azimuth and elevation in radians that the three-dimensional view starts from."""

DPI = 200
"""Dots per inch; a chart is shown at half its size, so that it is sharp on dense screens."""


@dataclass(frozen=True)
class Theme:
    """Colours of a chart; `surface` is that of the page's figures, so that a chart has no edge."""

    surface: str
    ink: str
    muted: str
    line: str
    first: str
    second: str


LIGHT = Theme("#ffffff", "#1b2027", "#5b6572", "#dde2e8", "#8a95a3", "#2c5cc5")
DARK = Theme("#171b21", "#e7eaef", "#9ba6b4", "#323a45", "#7c8795", "#8db2ff")


def curves(epochs: np.ndarray, lines: Sequence[np.ndarray], kept: int | None, theme: Theme) -> bytes:
    """One quantity over the epochs: the first line (training) in gray, the second (validation) in colour."""
    figure, axes = _figure(3.5, 2.35, theme)
    marker = "o" if len(epochs) == 1 else None
    colours = (theme.first, theme.second) if len(lines) > 1 else (theme.second,)
    for values, colour in zip(lines, colours, strict=True):
        axes.plot(epochs, values, color=colour, linewidth=1.5, marker=marker, markersize=4, solid_capstyle="round")
    if kept is not None and kept in epochs:
        at = float(lines[-1][list(epochs).index(kept)])
        axes.axvline(kept, color=theme.muted, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.plot([kept], [at], "o", color=theme.second, markersize=5, markeredgecolor=theme.surface)
    low, high = focus(np.concatenate(lines), len(epochs))
    if high > low:
        axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True) if len(epochs) > 1 else FixedLocator(list(epochs)))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("epoch", color=theme.muted, fontsize=8.5)
    return _png(figure)


def focus(values: np.ndarray, epochs: int) -> tuple[float, float]:
    """The range of a chart: of all values, unless the first epochs would press all others into a line.

    `values` are the lines one after the other, `epochs` values each. The first tenth is left out of the range where
    that makes it less than a third.
    """
    (low, high), (late_low, late_high) = _range(values), _range(values.reshape(-1, epochs)[:, epochs // 10 :])
    return (late_low, late_high) if 0 < 3 * (late_high - late_low) < high - low else (low, high)


def _range(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)


def scatter(points: np.ndarray, colours: Sequence[str] | None, axes_names: tuple[str, str], theme: Theme) -> bytes:
    """Points (n, 2), each in its own colour; one colour for all where there are none."""
    figure, axes = _figure(5, 5, theme)
    size = float(np.clip(7000 / len(points), 5, 20))
    # drawn in a random order, so that no class lies on top of all others
    order = np.random.default_rng(0).permutation(len(points))
    shown = SINGLE if colours is None else [colours[i] for i in order]
    axes.scatter(points[order, 0], points[order, 1], s=size, c=shown, alpha=0.8, linewidths=0)
    low, high = points.min(), points.max()
    axes.set_aspect("equal", adjustable="datalim" if high > low else "box")
    axes.set_xlabel(axes_names[0], color=theme.muted, fontsize=9)
    axes.set_ylabel(axes_names[1], color=theme.muted, fontsize=9)
    return _png(figure)


def standing(points: np.ndarray, colours: Sequence[str] | None, axes_names: Sequence[str], theme: Theme) -> bytes:
    """Points (n, 3) in [-1, 1] as the turning view first shows them, for paper and for pages without a script."""
    figure, axes = _figure(5, 5, theme)
    axes.set_axis_off()
    ends = turned(np.eye(3), *VIEW)
    for end, name in zip(ends, axes_names, strict=True):
        axes.plot([-end[0], end[0]], [-end[1], end[1]], color=theme.line, linewidth=1, zorder=1)
        axes.text(1.08 * end[0], 1.08 * end[1], name, color=theme.muted, fontsize=9, ha="center", va="center")
    seen = turned(points, *VIEW)
    order = np.argsort(seen[:, 2])
    near = (seen[order, 2] + 1.7) / 3.4
    shown = SINGLE if colours is None else [colours[i] for i in order]
    alpha = 0.35 + 0.6 * near.clip(0, 1)
    axes.scatter(seen[order, 0], seen[order, 1], s=4 + 14 * near.clip(0), c=shown, alpha=alpha, linewidths=0, zorder=2)
    axes.set_xlim(-1.35, 1.35)
    axes.set_ylim(-1.35, 1.35)
    axes.set_aspect("equal")
    return _png(figure)


def histogram(values: np.ndarray, groups: Sequence[tuple[np.ndarray, str]], name: str, theme: Theme) -> bytes:
    """One-dimensional codes (n,): a histogram, its bars divided by class; `groups` are masks with their colours."""
    figure, axes = _figure(7, 3.2, theme)
    edges = np.histogram_bin_edges(values, bins=min(50, max(5, len(values) // 8)))
    parts, colours = [values[mask] for mask, _ in groups], [colour for _, colour in groups]
    axes.hist(parts, bins=list(edges), color=colours, stacked=True, linewidth=0)
    axes.set_xlabel(name, color=theme.muted, fontsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return _png(figure)


def bars(
    values: np.ndarray,
    errors: np.ndarray,
    dims: Sequence[int],
    active: np.ndarray,
    theme: Theme,
    name: str = "latent dimension",
) -> bytes:
    """KL of each dimension in the order given, with two standard errors; inactive dimensions in gray."""
    figure, axes = _figure(float(np.clip(1.5 + 0.5 * len(values), 3, 9.2)), 2.9, theme)
    axes.grid(visible=False, axis="x")
    colours = [theme.second if on else theme.first for on in active]
    at = np.arange(len(values))
    axes.bar(at, values, width=0.72, color=colours)
    axes.errorbar(at, values, yerr=2 * np.nan_to_num(errors), fmt="none", ecolor=theme.ink, elinewidth=0.9)
    step = max(1, -(-len(values) // 32))
    axes.set_xticks(at[::step], [str(d) for d in dims[::step]])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.7, len(values) - 0.3)
    axes.set_ylim(bottom=min(0.0, float(values.min())))
    axes.set_xlabel(name, color=theme.muted, fontsize=8)
    axes.set_ylabel("nats", color=theme.muted, fontsize=8)
    return _png(figure)


def shares(values: np.ndarray, even: float, theme: Theme) -> bytes:
    """Shares (levels, U) of codebook entries by rank, one line a level, and the share of each if all were equal."""
    figure, axes = _figure(7, 3.0, theme)
    ranks = np.arange(values.shape[1] + 1) + 0.5
    for level, row in enumerate(values):
        colour = theme.second if level == 0 else theme.first
        axes.stairs(row, ranks, fill=len(values) == 1, color=colour, linewidth=1.4, alpha=1 - 0.5 * level / len(values))
    axes.axhline(even, color=theme.ink, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlim(0.5, values.shape[1] + 0.5)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("codebook entry by rank", color=theme.muted, fontsize=8.5)
    axes.set_ylabel("share of the codes", color=theme.muted, fontsize=8.5)
    return _png(figure)


def lengths(real: np.ndarray, sampled: np.ndarray, theme: Theme) -> bytes:
    """Shares of sentences (L,) that have 0, 1, ... tokens: real ones as bars in gray, samples as a line of steps."""
    figure, axes = _figure(7, 2.7, theme)
    at = np.arange(len(real))
    axes.bar(at, real, width=1.0, color=theme.first, linewidth=0)
    axes.stairs(sampled, np.arange(len(real) + 1) - 0.5, color=theme.second, linewidth=1.4)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("tokens", color=theme.muted, fontsize=8.5)
    axes.set_ylabel("share of sentences", color=theme.muted, fontsize=8.5)
    return _png(figure)


def courses(lines: Sequence[tuple[np.ndarray, np.ndarray, str]], level: float | None, name: str, theme: Theme) -> bytes:
    """A quantity against seconds, both on logarithmic scales: (seconds, values, colour) a line, and a level to reach."""
    figure, axes = _figure(4.6, 3.1, theme)
    axes.set_xscale("log")
    if all((values > 0).all() for _, values, _ in lines):
        axes.set_yscale("log")
    for seconds, values, colour in lines:
        axes.plot(seconds, values, color=colour, linewidth=1.4, alpha=0.85, marker="o", markersize=2.5)
    if level is not None:
        axes.axhline(level, color=theme.ink, linewidth=0.9, linestyle=(0, (4, 3)))
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(lambda value, _: f"{value:g}")  # plain numbers, not powers of ten
            axis.set_minor_locator(NullLocator())
    axes.set_xlabel("seconds of training", color=theme.muted, fontsize=8.5)
    axes.set_ylabel(name, color=theme.muted, fontsize=8.5)
    return _png(figure)


def tradeoff(
    points: Sequence[Sequence[float]],
    errors: Sequence[Sequence[float]],
    weights: Sequence[float],
    level: float,
    theme: Theme,
) -> bytes:
    """Distortion against rate with two standard errors, each point with its weight; dashed, where both sum to `level`."""
    figure, axes = _figure(6.4, 4.2, theme)
    (x, y), (dx, dy) = np.array(points, float).T, 2 * np.array(errors, float).T
    order = np.argsort(x)
    axes.plot(x[order], y[order], color=theme.first, linewidth=1.2)
    axes.errorbar(x, y, xerr=dx, yerr=dy, fmt="o", color=theme.second, ecolor=theme.ink, elinewidth=0.9, markersize=5)
    margin = 0.06 * float(np.ptp(y) or 1.0)
    low, high = float((y - dy).min()) - margin, float((y + dy).max()) + 2 * margin
    axes.plot([level - high, level - low], [high, low], color=theme.muted, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_ylim(low, high)
    width = 0.08 * float(np.ptp(x) or 1.0)
    axes.set_xlim(float((x - dx).min()) - width, float((x + dx).max()) + width)
    for at, weight in zip(zip(x, y, strict=True), weights, strict=True):
        axes.annotate(f"{weight:g}", at, xytext=(6, 6), textcoords="offset points", color=theme.ink, fontsize=9)
    axes.set_xlabel("rate, nats", color=theme.muted, fontsize=8.5)
    axes.set_ylabel("distortion, nats", color=theme.muted, fontsize=8.5)
    return _png(figure)


def _figure(width: float, height: float, theme: Theme) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=theme.surface, layout="constrained")
    axes = figure.add_subplot(facecolor=theme.surface)
    axes.grid(color=theme.line, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.muted, labelsize=8.5, length=0, pad=4)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.line)
    return figure, axes


def _png(figure: Figure) -> bytes:
    """A PNG with a palette: a third of the size, and no difference to be seen."""
    canvas, out = FigureCanvasAgg(figure), io.BytesIO()
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()
