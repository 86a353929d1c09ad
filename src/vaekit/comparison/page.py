"""The page of a comparison, from the files of its folder alone."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import vaekit
from vaekit.comparison.figures import KINDS
from vaekit.comparison.folder import PAGE, RESULT, Folder, read_plan
from vaekit.comparison.plan import Plan
from vaekit.comparison.watching import QUALITIES
from vaekit.comparison.words import budget, networks, said, seconds
from vaekit.errors import RunError
from vaekit.files import write_text
from vaekit.report.album import Album, Picture
from vaekit.report.charts import courses
from vaekit.report.colours import rainbow
from vaekit.report.contents import Contents, read_contents
from vaekit.report.galleries import Label, Sheet
from vaekit.report.page import asset, template_of
from vaekit.report.pictures import Look, gap, grid, look_of
from vaekit.report.words import duration, listing, number
from vaekit.runs import read_arrays, read_json

Result = dict[str, Any]

_PACKAGE = "vaekit.comparison"
_TONES = {"holds": "good", "does not hold": "warn", "cannot be told": "open"}


def write_page(path: Path) -> Path:
    """Write comparison.html, and its pictures into figures/; returns the page's path.

    Raises RunError where the folder holds no finished comparison.
    """
    if not (path / RESULT).is_file():
        raise RunError(f"{path}: holds no {RESULT}; `vaekit compare --resume {path}` finishes a comparison")
    result, plan, album = read_json(path / RESULT), read_plan(path), Album()
    page = render(Folder(path), plan, result, album)
    album.write(path / "figures")
    write_text(path / PAGE, page)
    return path / PAGE


def render(folder: Folder, plan: Plan, result: Result, album: Album) -> str:
    """The page as HTML; its pictures are left in `album`."""
    shown = {name: found for name in plan.models if (found := _contents(folder, plan, name)) is not None}
    first = next(iter(shown.values()), None)
    return template_of(asset("template.html.j2", _PACKAGE)).render(
        name=first.name if first else "data",
        first=first,
        models=_models(plan, result),
        names=list(result["models"]),
        budget=budget(plan),
        networks=networks(plan),
        seeds=plan.seeds,
        claims=[claim | {"tone": _TONES[claim["verdict"]]} for claim in result["claims"]],
        rows=said(result),
        measured=result["measured_in"],
        pictures=_pictures(shown, album),
        courses=_courses(plan, result, album),
        command=_command(plan),
        style=asset("style.css") + asset("style.css", _PACKAGE),
        version=vaekit.__version__,
    )


def _contents(folder: Folder, plan: Plan, name: str) -> Contents | None:
    """The first run of a model that has pictures, with those of the comparison."""
    for seed in range(plan.seeds):
        path = folder.run(name, seed)
        if (path / "figures" / "comparison.npz").is_file():
            return replace(read_contents(path), arrays=read_arrays(path / "figures" / "comparison.npz"))
    return None


def _models(plan: Plan, result: Result) -> list[dict[str, Any]]:
    """A line for each model: its size, how it is sampled, and what became of its seeds."""
    lines = []
    for name, about in result["models"].items():
        rate = plan.fit(name).get("learning_rate")
        size = "–" if about["parameters"] is None else f"{about['parameters']:,}"
        notes = [f"samples: {about['drawn']}" if about["drawn"] else "no samples"]
        notes += ["told the class"] if about["told"] else []
        notes += [f"learning rate {rate:g}"] if rate else []
        notes += [_trained(result["timings"], name)]
        notes += [
            f"{len(about['failed'])} of {plan.seeds} trainings failed: {reason}" for reason in about["failed"][:1]
        ]
        lines.append({"name": name, "size": size, "notes": "; ".join(notes)})
    return lines


def _trained(timings: Result, name: str) -> str:
    """Steps over the seeds, and seconds."""
    steps = [f"{n:,}" for n in timings["steps"][name] if n is not None]
    took = [duration(t) for t in timings["training"][name] if t is not None]
    return f"{listing(sorted(set(steps)) or ['no'])} steps in {listing(sorted(set(took)) or ['no time'])}"


def _pictures(shown: dict[str, Contents], album: Album) -> dict[str, Any]:
    """Sheets side by side; empty where examples cannot be drawn."""
    look = next((look for contents in shown.values() if (look := look_of(contents)) is not None), None)
    if look is None:
        return {}
    return {
        "samples": [_samples(name, c, look, album) for name, c in shown.items() if "samples" in c.arrays],
        "reconstructions": _reconstructions(shown, look, album),
        "neighbours": _neighbours(shown, look, album),
        "classes": [_classes(name, c, look, album) for name, c in shown.items() if "class_samples" in c.arrays],
        "how": look.words,
    }


def _image(album: Album, look: Look, name: str, alt: str, examples: np.ndarray, columns: int) -> Picture:
    return album.image(name, alt, grid(look.tiles(examples, columns), gap(columns)), crisp=look.crisp)


def _samples(name: str, contents: Contents, look: Look, album: Album) -> dict[str, Any]:
    x = contents.arrays["samples"]
    x = x[: len(x) // 8 * 8].reshape(-1, 8, *x.shape[1:])
    alt = f"{x.shape[0] * 8} samples of {name}."
    return {"name": name, "picture": _image(album, look, f"samples_{name}", alt, x, 8)}


def _reconstructions(shown: dict[str, Contents], look: Look, album: Album) -> Sheet:
    """Test rows, and under them what each model makes of them."""
    originals = next(iter(shown.values())).arrays["originals"]
    rows = [originals, *(c.arrays["reconstructions"] for c in shown.values())]
    alt = f"{len(originals)} test examples, and under them their reconstructions by {listing(list(shown))}."
    picture = _image(album, look, "reconstructions", alt, np.stack(rows), len(originals))
    return Sheet(picture, left=[Label("test"), *map(Label, shown)])


def _neighbours(shown: dict[str, Contents], look: Look, album: Album) -> Sheet | None:
    """Samples over the training rows nearest to them."""
    having = {name: c for name, c in shown.items() if "neighbours" in c.arrays}
    if not having:
        return None
    rows, left = [], []
    for name, c in having.items():
        near = c.arrays["neighbours"]
        rows += [c.arrays["samples"][: len(near)], near]
        left += [Label(name), Label("", small="nearest")]
    alt = f"Samples of {listing(list(having))}, and under each the training example nearest to it."
    return Sheet(_image(album, look, "neighbours", alt, np.stack(rows), rows[0].shape[0]), left=left)


def _classes(name: str, contents: Contents, look: Look, album: Album) -> dict[str, Any]:
    x = contents.arrays["class_samples"]
    names = [contents.class_name(i) for i in range(len(x))]
    alt = f"Samples of {name}: {len(names)} columns, one for each class asked for, the same noise in each row."
    picture = _image(album, look, f"classes_{name}", alt, x.swapaxes(0, 1), len(names))
    return {"name": name, "sheet": Sheet(picture, over=names)}


def _courses(plan: Plan, result: Result, album: Album) -> list[dict[str, Any]]:
    """A chart for each quality that was watched, and the seconds to its level."""
    timings, colours = result["timings"], rainbow(len(plan.models))
    charts = []
    for quality in QUALITIES:
        lines, legend = [], []
        for name, colour in zip(plan.models, colours, strict=True):
            for looks in timings["courses"][name]:
                seen = [(look["seconds"], look[quality]) for look in looks if look.get(quality) is not None]
                if len(seen) > 1:
                    x, y = np.array(seen).T
                    lines.append((x, y, colour))
                    legend += [] if (name, colour) in legend else [(name, colour)]
        level = timings["levels"][quality]
        if lines:
            charts.append(_course(quality, lines, legend, level, timings["seconds_to_level"], album))
    return charts


def _course(
    quality: str, lines: list[Any], legend: list[tuple[str, str]], level: float | None, reached: Any, album: Album
) -> dict[str, Any]:
    name = KINDS[quality].name
    alt = f"{name} against seconds of training, a line for each seed of {listing([n for n, _ in legend])}."
    picture = album.chart(f"course_{quality}", alt, lambda theme: courses(lines, level, name, theme))
    took = [(model, seconds(reached[model][quality])) for model, _ in legend]
    return {"title": name, "picture": picture, "legend": legend, "level": number(level), "took": took}


def _command(plan: Plan) -> str:
    """The command that repeats the comparison."""
    length = ["--epochs", plan.epochs] if plan.epochs is not None else ["--budget", f"{plan.seconds:g}s"]
    parts = [
        "vaekit",
        "compare",
        plan.source.get("source", "SOURCE"),
        "--models",
        *plan.models,
        "--seeds",
        plan.seeds,
        *length,
    ]
    for key, value in {**plan.shared, **plan.training, "evaluation_samples": plan.samples}.items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        parts += [f"--{key.replace('_', '-')}", text]
    return " ".join(shlex.quote(str(part)) for part in parts)
