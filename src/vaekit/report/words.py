"""Numbers and lists as a reader expects them in running text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

MINUS = "\N{MINUS SIGN}"


def finite(value: Any) -> float | None:
    """`value` as a float, or None where it is no finite number (booleans are none).

    >>> finite(2), finite(None), finite(float("nan"))
    (2.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def number(value: float | None, digits: int = 3) -> str:
    """`value` with so many significant digits, a true minus sign and commas in thousands; a dash for None.

    >>> number(1234.5), number(0.01469), number(None)
    ('1,234', '0.0147', '–')
    """
    if value is None:
        return "\N{EN DASH}"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -4 or size > 8:
        return f"{value:.{digits - 1}e}".replace("-", MINUS)
    return decimals(value, max(0, digits - 1 - size))


def decimals(value: float, places: int) -> str:
    """`value` with so many places after the point.

    >>> decimals(-0.04, 1)
    '0.0'
    """
    text = f"{value:,.{places}f}"
    return (text.lstrip("-") if float(text.replace(",", "")) == 0 else text).replace("-", MINUS)


def with_error(value: float | None, error: float | None, digits: int = 2) -> tuple[str, str]:
    """A figure and its standard error, both to the place where the error has `digits` digits; "" for no error.

    >>> with_error(-83.9445, 0.6327)
    ('−83.94', '0.63')
    >>> with_error(3.0, 0.0)
    ('3', '0')
    """
    if value is None:
        return number(None), ""
    if error is None:
        return number(value, 4), ""
    if error <= 0:
        return decimals(value, 0) if value == round(value) else number(value, 4), "0"
    places = digits - 1 - math.floor(math.log10(error))
    if places > 6:
        return number(value, 4), number(error, digits)
    places = max(0, places)
    return decimals(value, places), decimals(error, places)


def percent(share: float, places: int = 0) -> str:
    """A share of 1 in percent.

    >>> percent(0.947, 1)
    '94.7\\xa0%'
    """
    return f"{decimals(100 * share, places)}\N{NO-BREAK SPACE}%"


def count(n: int, thing: str, things: str | None = None) -> str:
    """A number with its noun.

    >>> count(1, "epoch"), count(1260, "row")
    ('1 epoch', '1,260 rows')
    """
    return f"{n:,} {thing if n == 1 else things or thing + 's'}"


def duration(seconds: float) -> str:
    """A time in the two units that matter.

    >>> duration(12.3), duration(125), duration(7300)
    ('12 s', '2 min 5 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def listing(items: Sequence[str]) -> str:
    """Items with commas and an "and".

    >>> listing(["a", "b", "c"])
    'a, b and c'
    """
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + f" and {items[-1]}"


def plain(value: Any) -> str:
    """A value of a configuration or of an environment on one line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or "empty"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) or "empty"
    return str(value)
