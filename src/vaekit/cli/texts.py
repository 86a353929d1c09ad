"""Sentences on the command line: their lines of the plan, how they are written, and files of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from torch import Tensor
from torch.distributions import Distribution

from vaekit.cli.options import Parser
from vaekit.data import Dataset
from vaekit.data.text import TextRows, unknown_share
from vaekit.errors import UsageError
from vaekit.files import write_text

_MUCH = 0.2
"""Share of unknown words from which on a command says so."""


def text_line(data: Dataset) -> str:
    """The plan's line for text: how it was cut, the vocabulary, and what was lost to it."""
    source, splits = data.source, data.splits()
    n, most = sum(len(split) for split in splits.values()), data.schema.shape[0]
    how = "one a line" if source.get("sentences", "line") == "line" else "cut after full stops"
    noun = "words" if data.schema.text.level == "word" else "pieces of words (BPE)"
    parts = [
        f"{source['name']}: {n:,} sentences, {how}",
        f"vocabulary {data.schema.text.size - 4:,} {noun}",
        " / ".join(f"{name} {len(split):,}" for name, split in splits.items()),
        _truncated(source.get("truncated", {}), most),
    ]
    unknown = source.get("unknown", {})
    if any(unknown.values()):
        shares = ", ".join(f"{name} {share:.1%}" for name, share in unknown.items())
        parts.append(f"unknown tokens: {shares}".replace("%", " %"))
    if data.schema.classes:
        parts.append(f"{len(data.schema.classes)} labels")
    return " · ".join(parts)


def _truncated(cut: dict[str, int], most: int) -> str:
    total = sum(cut.values())
    if not total:
        return f"none longer than {most} tokens"
    where = ", ".join(f"{name} {number:,}" for name, number in cut.items() if number)
    return f"{total:,} cut to {most} tokens ({where})"


def writer_parts(options: dict[str, Any]) -> list[str]:
    """What the plan says of a text model's networks."""
    encoder = "bidirectional LSTM" if options.get("bidirectional") else "LSTM"
    parts = [f"encoder {encoder} {options['encoder_dim']}"] if "encoder_dim" in options else []
    tied = ", tied" if options.get("tied") else ""
    parts.append(f"decoder {options['network']} {options['decoder_dim']}, embedding {options['embedding_dim']}{tied}")
    parts.append(f"{options['softmax']} softmax, dropout {options['dropout']:g}")
    if options.get("word_dropout"):
        parts.append(f"word dropout {options['word_dropout']:g}")
    if options.get("minimum_rate"):
        parts.append(f"rate at least {options['minimum_rate']:g} nats a dimension")
    return parts


def warn_of_losses(found: TextRows) -> None:
    """Say on standard error what a model cannot see of sentences: words it does not know, and what is cut off."""
    share, rows = unknown_share(found.split), found.split
    if share > _MUCH:
        sys.stderr.write(f"vaekit: note: {100 * share:.0f} % of the words of {rows.name} are unknown to the model\n")
    if found.truncated:
        many = f"{found.truncated:,} of {len(rows):,} sentences"
        sys.stderr.write(f"vaekit: note: {many} of {rows.name} are cut to {rows.values.shape[1]} tokens\n")


def decoding_options(parser: Parser, default: str) -> None:
    """Add --greedy, --temperature, --nucleus and --beam; `default` says which it is without them."""
    parser.add_argument(
        "--greedy", action="store_true", help=f"sentences: the most probable token at each step{_if(default, 'greedy')}"
    )
    parser.add_argument(
        "--temperature",
        type=float | None,
        default=None,
        help=f"sentences: draw tokens from p^(1/temperature); 1 is the model itself{_if(default, 'draw')}",
    )  # type: ignore[arg-type]
    parser.add_argument(
        "--nucleus",
        type=float | None,
        default=None,
        metavar="P",
        help="sentences: draw from the fewest most probable tokens that have this probability together",
    )  # type: ignore[arg-type]
    parser.add_argument(
        "--beam", type=int | None, default=None, metavar="WIDTH", help="sentences: the best that a beam search finds"
    )  # type: ignore[arg-type]


def _if(default: str, name: str) -> str:
    return " (default)" if default == name else ""


def given_decoding(options: Namespace) -> list[str]:
    """Names of the decoding options that were given."""
    named = {name: getattr(options, name) for name in ("temperature", "nucleus", "beam")}
    return (["greedy"] if options.greedy else []) + [name for name, value in named.items() if value is not None]


def writer_of(options: Namespace, default: str) -> Callable[[Distribution], Tensor]:
    """How sentences (*, length) are written from a Sequence. Raises UsageError where options contradict each other."""
    from vaekit.distributions.decoding import beam, draw, greedy

    asked = given_decoding(options)
    if len(asked) > 1 and set(asked) != {"temperature", "nucleus"}:
        raise UsageError(f"--{' and --'.join(asked)}: choose one; only --temperature and --nucleus go together")
    if "beam" in asked:
        return lambda p: beam(p, options.beam)[0]
    if asked in ([], ["greedy"]) and (asked or default == "greedy"):
        return greedy
    temperature = 1.0 if options.temperature is None else options.temperature
    return lambda p: draw(p, temperature=temperature, nucleus=1.0 if options.nucleus is None else options.nucleus)


def write_lines(path: Path | None, lines: Sequence[str]) -> None:
    """One line each into a file or on standard output, line ends within them turned into blanks."""
    text = "".join(re.sub(r"[\r\n]+", " ", line) + "\n" for line in lines)
    if path is not None:
        write_text(path, text)
        return
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:  # a terminal that cannot show every letter
        sys.stdout.write(text.encode(sys.stdout.encoding or "ascii", "backslashreplace").decode("ascii", "replace"))
