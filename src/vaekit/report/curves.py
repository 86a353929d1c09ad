"""Sections that show numbers as charts: training, and the KL of each latent dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from vaekit.report import charts
from vaekit.report.adversarial import PANELS, note
from vaekit.report.album import Album
from vaekit.report.contents import Contents
from vaekit.report.words import count, duration, finite, number, percent

_PANELS = (
    ("elbo", "ELBO", "nats, higher is better"),
    ("rate", "Rate, KL(q(z|x), p(z))", "nats"),
    ("distortion", "Distortion, −E log p(x|z)", "nats, lower is better"),
)
_KNOWN = {"epoch", "step", "train_loss", "seconds", "examples_per_second"}


def training(contents: Contents, album: Album) -> dict[str, Any] | None:
    """Curves over the epochs: bound, rate, distortion, and whatever of the schedules varies."""
    if not contents.history:
        return None
    panels = [_panel(contents, album, *panel) for panel in (*_PANELS, *PANELS)]
    shown = [panel for panel in panels + _schedules(contents, album) if panel is not None]
    if not shown:
        return None
    return {
        "panels": shown,
        "facts": _facts(contents) + note(contents),
        "kept": _kept(contents),
        "both": _has_both(contents),
    }


def _has_both(contents: Contents) -> bool:
    return any(key.startswith("validation_") for record in contents.history for key in record)


def _panel(contents: Contents, album: Album, key: str, title: str, unit: str) -> dict[str, Any] | None:
    lines = {split: contents.column(f"{split}_{key}") for split in ("train", "validation")}
    lines = {split: values for split, values in lines.items() if np.isfinite(values).any()}
    if not lines or (contents.code_form and key == "rate"):  # a constant, said in words
        return None
    epochs, kept = _epochs(contents), _kept(contents)
    named = {"train": "training", "validation": "validation"}
    alt = f"{title}: " + "; ".join(_course(named[split], values, epochs) for split, values in lines.items()) + "."
    rows = list(lines.values())
    marked = kept if kept in epochs and np.isfinite(rows[-1][list(epochs).index(kept)]) else None
    picture = album.chart(f"training_{key}", alt, lambda theme: charts.curves(epochs, rows, marked, theme))
    return {"picture": picture, "title": title, "unit": unit, "cut": _cut(rows, len(epochs))}


def _schedules(contents: Contents, album: Album) -> list[dict[str, Any]]:
    """What else was recorded and changes: learning rate, beta and other keywords of the objective."""
    keys = [key for key in contents.history[-1] if key not in _KNOWN and not key.startswith(("train_", "validation_"))]
    found = []
    for key in keys:
        values = contents.column(key)
        if not np.isfinite(values).any() or np.nanmax(values) == np.nanmin(values):
            continue
        name, epochs = key.replace("_", " "), _epochs(contents)
        draw = _single(epochs, values)
        title = "β, the weight of the KL" if key == "beta" else name.capitalize()
        picture = album.chart(f"training_{_safe(key)}", f"{title}: {_course('value', values, epochs)}.", draw)
        found.append({"picture": picture, "title": title, "unit": "at the last step of each epoch", "cut": ""})
    return found


def _single(epochs: np.ndarray, values: np.ndarray) -> Any:
    return lambda theme: charts.curves(epochs, [values], None, theme)


def _course(name: str, values: np.ndarray, epochs: np.ndarray) -> str:
    """Where a line begins and ends, in words."""
    there = np.flatnonzero(np.isfinite(values))
    first, last = there[0], there[-1]
    if first == last:
        return f"{name} {number(float(values[first]), 4)} at epoch {epochs[first]}"
    return (
        f"{name} from {number(float(values[first]), 4)} at epoch {epochs[first]} "
        f"to {number(float(values[last]), 4)} at epoch {epochs[last]}"
    )


def _cut(rows: list[np.ndarray], epochs: int) -> str:
    """What the chart leaves out, if anything."""
    together = np.concatenate(rows)
    low, high = charts.focus(together, epochs)
    outside = int(((together < low) | (together > high)).reshape(len(rows), epochs).any(0).sum())
    return f"{count(outside, 'early epoch')} outside the range shown" if outside else ""


def _epochs(contents: Contents) -> np.ndarray:
    return np.array([int(record.get("epoch", i + 1)) for i, record in enumerate(contents.history)])


def _kept(contents: Contents) -> int | None:
    return contents.kept_epoch if contents.kept_epoch in _epochs(contents) else None


def _facts(contents: Contents) -> str:
    """Epochs, time and speed in a sentence."""
    said = count(contents.epochs, "epoch")
    seconds = finite(contents.status.get("seconds"))
    if seconds is None:
        parts = contents.column("seconds")
        seconds = float(np.nansum(parts)) if np.isfinite(parts).any() else None
    speed = contents.column("examples_per_second")
    said += f" in {duration(seconds)}" if seconds else ""
    if np.isfinite(speed).any():
        said += f", {float(np.nanmedian(speed)):,.0f} examples a second in the median epoch"
    stopped = " Early stopping ended the training." if contents.status.get("early_stopped") else ""
    return f"{said}.{stopped}{_prior_note(contents)}"


def _prior_note(contents: Contents) -> str:
    """Which prior over quantised codes the curves have, and which the figures."""
    rate, found = contents.column("train_rate"), contents.value("kl")
    if contents.code_form is None or found is None or not np.isfinite(rate).any():
        return ""
    uniform = float(rate[-1])
    said = f" The rate of the curves is that of the uniform prior over codes, {number(uniform)} nats for every example"
    if abs(found - uniform) < 1e-3 * uniform:
        return f"{said}, as in all figures."
    return f"{said}; the figures have the prior that was fitted to the codes afterwards, {number(found)} nats."


def _safe(key: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in key)


def kl(contents: Contents, album: Album) -> dict[str, Any] | None:
    """The KL of every latent dimension, largest first."""
    entries = contents.evaluation.get("kl_per_dim")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        return None
    found = [finite(entry.get("value")) for entry in entries]
    if all(value is None for value in found):
        return None
    values = np.array([0.0 if value is None else value for value in found])
    errors = np.array([finite(entry.get("standard_error")) or 0.0 for entry in entries])
    order = np.argsort(-values, kind="stable")
    used = active_dims(contents, len(values))
    on = np.ones(len(values), bool) if used is None else used[order]
    picture = album.chart(
        "kl_per_dimension",
        _kl_alt(values[order], order, on, used is not None),
        lambda theme: charts.bars(values[order], errors[order], [int(d) for d in order], on, theme),
    )
    total, inactive = number(float(values.sum())), int((~on).sum())
    return {"picture": picture, "total": total, "marked": used is not None, "inactive": inactive}


def _kl_alt(values: np.ndarray, order: np.ndarray, on: np.ndarray, marked: bool) -> str:
    total, (largest, smallest) = float(values.sum()), (number(float(value)) for value in values[[0, -1]])
    said = (
        f"Bars of the KL of {count(len(values), 'latent dimension')}, from {largest} nats in dimension {order[0]} "
        f"down to {smallest} nats in dimension {order[-1]}; {number(total)} nats in all."
    )
    if marked and total > 0:
        share = percent(float(values[on].sum()) / total, 1)
        said += f" {count(int(on.sum()), 'active dimension')} with {share} of it."
    return said


def active_dims(contents: Contents, dims: int) -> np.ndarray | None:
    """(D,) which dimensions are active; None where the run's pictures do not say."""
    active = contents.arrays.get("active")
    return active.astype(bool) if active is not None and active.shape == (dims,) else None
