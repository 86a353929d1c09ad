"""Sections that are a table of figures: what the code carries, samples beside data, factors, and how tight the bound is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vaekit.report.contents import Contents
from vaekit.report.groups import GROUPS, Group
from vaekit.report.table import Row, phrase, row_of
from vaekit.report.words import number


@dataclass(frozen=True)
class Entry:
    """A row of such a table; `floor` is the figure of real rows with its error, where it has one."""

    row: Row
    floor: str


def grouped(contents: Contents, key: str) -> dict[str, Any] | None:
    """The section under `key`; None where the run has none of its figures."""
    group = GROUPS[key]
    entries = [entry for figure in group.figures if (entry := _entry(contents, *figure)) is not None]
    if not entries:
        return None
    told = {"information": _information, "quality": _quality}.get(key)
    text = group.text if told is None else f"{group.text} {told(contents, group)}".strip()
    return {"title": group.title, "text": text, "entries": entries, "floors": group.floors}


def _entry(contents: Contents, key: str, name: str, meaning: str) -> Entry | None:
    entry = contents.entry(key)
    if "value" not in entry:
        return None
    floor = contents.entry(f"{key}_floor")
    return Entry(row_of(entry, name, meaning), phrase(floor, "") if "value" in floor else "")


def _information(contents: Contents, group: Group) -> str:
    """How the rate divides."""
    told, off = contents.value("mutual_information"), contents.value("marginal_kl")
    if told is None or off is None:
        return ""
    return f"Of about {number(told + off)} nats, {number(told)} are the first and {number(off)} the second."


def _quality(contents: Contents, group: Group) -> str:
    """The features, and the figures that stand clear of their floor."""
    found = [(key, name) for key, name, _ in group.figures if _clear(contents, key)]
    measured = [key for key, _, _ in group.figures if contents.value(f"{key}_floor") is not None]
    if not measured:
        return ""
    if not found:
        return "None stands more than two standard errors off its floor."
    names = ", ".join(name for _, name in found)
    return f"More than two standard errors off their floor: {names}."


def _clear(contents: Contents, key: str) -> bool:
    value, floor = contents.value(key), contents.value(f"{key}_floor")
    if value is None or floor is None:
        return False
    error = sum((contents.error(name) or 0.0) ** 2 for name in (key, f"{key}_floor")) ** 0.5
    return abs(value - floor) > 2 * error
