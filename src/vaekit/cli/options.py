"""Options from signatures: every keyword of a function becomes `--its-name`, with its type, default and description."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import docstring_parser
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from vaekit.errors import UsageError


def sizes(value: Any) -> tuple[int, ...] | None:
    """ "512,512", "512" or a list of integers; "linear" has no layer between, "none" leaves the choice to the network.

    >>> sizes("200,100")
    (200, 100)
    """
    if value is None or value in ("none", "null", ""):
        return None
    if value == "linear":
        return ()
    parts = value.split(",") if isinstance(value, str) else [value] if isinstance(value, int) else value
    return tuple(int(part) for part in parts)


def height_width(value: Any) -> int | tuple[int, int] | None:
    """ "32" is a square, "32x48" is height by width.

    >>> height_width("32x48")
    (32, 48)
    """
    if value is None or value in ("none", "null") or isinstance(value, int):
        return None if isinstance(value, str) else value
    parts = [int(part) for part in (value.lower().split("x") if isinstance(value, str) else value)]
    if len(parts) not in (1, 2) or min(parts) < 1:
        raise ValueError("expected a number of pixels, or HEIGHTxWIDTH")
    return parts[0] if len(parts) == 1 else (parts[0], parts[1])


_SEED = "expected a whole number from 0 to 2**63 - 1"


def seed_number(value: Any) -> int:
    """A seed, as every random generator in use takes it.

    >>> seed_number("7")
    7
    """
    text = str(value)
    if not (text.isdecimal() and int(text) < 2**63):
        raise ValueError(f"{_SEED}, got {value}")
    return int(text)


_BY_NAME: dict[str, Any] = {
    "seed": seed_number,
    "split_seed": seed_number,
    "binarize_seed": seed_number,
    "hidden": sizes,
    "latent_dims": sizes,
    "image_size": height_width,
    "learning_rate": float,
    "data_dir": str | None,
    "beta": float,
}
"""Types that read better on a command line than the Python annotation, or are narrower than it."""

_ALSO = {"labelled": ("--labels",)}
"""Other names of an option; `labels` itself are an argument of `load`."""


class Parser(ArgumentParser):
    """A parser whose errors are UsageErrors in one line."""

    def error(self, message: str, ex: Exception | None = None) -> Any:  # type: ignore[override]
        """Raise UsageError in the words of the command line."""
        text = " ".join(" ".join(line.strip(" -") for line in str(message).splitlines()).split())
        text = re.sub(r'Parser key "(\w+)": ', lambda m: f"--{m[1].replace('_', '-')}: ", text)
        text = re.sub(r"Does not validate against .*? Errors: (Expected a .*?\]?>?)(?:\. Got value: .*?)? Expected a .*? Given value: (.*)",
                      r"\1. Got value: \2", text)  # fmt: skip
        text = re.sub(r"Expected a typing\.Literal\[(.*?)\]\. Got value: (.*)", r"expected one of \1; got \2", text)
        text = re.sub(r"Expected a <class '(\w+)'>\. Got value: (.*)", r"expected \1, got \2", text)
        union = r"Does not validate against any of the Union subtypes .*?Expected a <class '(\w+)'>.*Given value: (.*)"
        text = re.sub(union, r"expected \1, got \2", text)
        text = re.sub(r"(?<=arguments are required: ).*", lambda m: self._as_typed(m[0]), text)
        text = re.sub(r"invalid seed_number value: '?(.*?)'?$", rf"{_SEED}, got \1", text)
        text = re.sub(r"invalid \w+ value: (.*)", r"cannot be \1", text.removeprefix("argument "))
        raise UsageError(f"{text[:300]} (`{self.prog} --help` lists the options)") from ex

    def _as_typed(self, names: str) -> str:
        """Names of required arguments as they are typed: --from, where the parser calls it start."""
        flags = {action.dest: action.option_strings[0] for action in self._actions if action.option_strings}
        return ", ".join(flags.get(name, name) for name in names.split(", "))


def make_parser(command: str, positional: str, description: str) -> Parser:
    """An empty parser for `vaekit COMMAND`."""
    usage = f"vaekit {command} {positional} [options]".replace("  ", " ")
    form = argparse.HelpFormatter
    # a shortened name would be one thing to the parser and another to `given`, which looks for whole ones
    return Parser(
        prog=f"vaekit {command}", usage=usage, description=description, formatter_class=form, allow_abbrev=False
    )


def add_options(
    parser: Parser,
    function: Callable[..., Any],
    title: str,
    *,
    only: Iterable[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    helps: Mapping[str, str] | None = None,
) -> list[str]:
    """Add the keyword-only parameters of `function` as a group of options; returns their names.

    Args:
        only: the names to take; None takes all.
        defaults, helps: what differs from the signature and the docstring.
    """
    group = parser.add_argument_group(title)
    described = {p.arg_name: p.description or "" for p in docstring_parser.parse(function.__doc__ or "").params}
    described = {name.strip(): text for names, text in described.items() for name in names.split(",")} | dict(
        helps or {}
    )
    hints = get_type_hints(inspect.unwrap(function))
    names = [
        name
        for name, p in inspect.signature(function).parameters.items()
        if p.kind is p.KEYWORD_ONLY and (only is None or name in only)
    ]
    for name in names:
        default = (defaults or {}).get(name, inspect.signature(function).parameters[name].default)
        text = " ".join(described.get(name, "").split()).rstrip(".") or name.replace("_", " ")
        shown = "" if default is None else f" (default: {default})"
        kind = _BY_NAME.get(name, hints[name])
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        metavar = f"{{{','.join(map(str, choices))}}}" if choices else name.upper().replace("_", "-")
        flag = f"--{name.replace('_', '-')}"
        alone: dict[str, Any] = {"nargs": "?", "const": True} if kind is bool else {}
        shown_help = f"{text}{shown}".replace("%", "%%")
        group.add_argument(
            flag, *_ALSO.get(name, ()), type=kind, default=default, help=shown_help, metavar=metavar, **alone
        )
    return names


def keywords_of(function: Callable[..., Any]) -> list[str]:
    """The names of a function's keyword-only parameters."""
    return [name for name, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY]


def parse(parser: Parser, arguments: list[str]) -> Namespace:
    """Parse, with every mistake a UsageError."""
    try:
        return parser.parse_args(arguments)
    except ArgumentError as error:
        raise UsageError(f"{error} (`{parser.prog} --help` lists the options)") from error


def config_first(arguments: list[str]) -> list[str]:
    """The arguments with every `--config FILE` before the others: of two values the parser takes the later one, and what
    is typed out outweighs what a file says wherever it stands."""
    files: list[str] = []
    others: list[str] = []
    at = 0
    while at < len(arguments):
        wide = 2 if arguments[at] == "--config" and at + 1 < len(arguments) else 1
        chosen = files if arguments[at].partition("=")[0] == "--config" else others
        chosen.extend(arguments[at : at + wide])
        at += wide
    return files + others


def values_of(arguments: list[str], name: str) -> list[str]:
    """The values of `--name` before the parser can be built, since which options there are depends on it."""
    flag, found = f"--{name}", []
    for at, argument in enumerate(arguments):
        if argument == flag and at + 1 < len(arguments):
            found.append(arguments[at + 1])
        elif argument.startswith(f"{flag}="):
            found.append(argument.partition("=")[2])
    return found


def given(arguments: list[str], name: str, default: str) -> str:
    """The value of `--name`, else of that key in the last file of `--config` that has it, else the default."""
    for config in values_of(arguments, "config"):
        content = _config(Path(config))
        for key in ("given", "config"):
            if key in content:
                raise UsageError(f"{config}: {key}: no key of a configuration file; {_INSTEAD[key]}")
        if not isinstance(content.get(name, ""), str):
            raise UsageError(f"{config}: {name}: expected a name, got {content[name]!r}")
        default = content.get(name, default)
    return [default, *values_of(arguments, name)][-1]


_INSTEAD = {"given": "the data are its source", "config": "give each file by a --config of its own"}


def _config(path: Path) -> dict[str, Any]:
    """What a file of options holds; nothing where there is none, of which the parser speaks."""
    try:
        content = yaml.safe_load(path.read_text("utf-8")) if path.is_file() else None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    return content if isinstance(content, dict) else {}
