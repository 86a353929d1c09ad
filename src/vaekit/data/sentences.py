"""Text files to sentences: decoding, one sentence a line or split at full stops, labels before a tab."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple

from vaekit.errors import DataError, UsageError

Sentences = Literal["auto", "line", "split"]

SUFFIXES = (".txt", ".text", ".tsv")
_OPENERS = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}

_WRAPPED = 0.05
"""Share of blank lines from which on lines are taken for those of paragraphs, not for sentences."""

_PARAGRAPH = 1000
"""Letters in a line from which on it is a paragraph."""

_LONGEST_LABEL = 50

_BREAK = re.compile(
    r"""(?<=[.!?…])["'”’»)\]]*\s+(?=["'“‘«(\[]*[^\Wa-z_])"""  # a stop, closing quotes, a blank, then no small letter
    r"|(?<=[。！？])[」』”]*\s*"  # these scripts put no blank between sentences
    r"|(?<=[؟۔।])\s+"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'“‘])(?:[^\W\d_a-z]|"  # one capital letter, or
    r"(?i:mr|mrs|ms|dr|st|prof|sr|jr|vs|gen|col|capt|lt|rev|hon|mme|mlle|etc))\.$"
)


class Sorted(NamedTuple):
    """What a text holds: sentences, the label of each or None, and how the text was cut ("line" or "split")."""

    sentences: list[str]
    labels: list[str] | None
    how: str


def is_text_file(path: Path) -> bool:
    """Whether a name is that of a text file, plain or packed."""
    name = path.with_suffix("") if path.suffix.lower() in _OPENERS else path
    return name.suffix.lower() in SUFFIXES


def read_text(path: Path) -> str:
    """The text of a file in UTF-8 (or UTF-16 with its mark), unpacked. Raises DataError naming the file and the line."""
    try:
        raw = path.read_bytes()
        unpack = _OPENERS.get(path.suffix.lower())
        raw = raw if unpack is None else unpack(raw)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error or type(error).__name__}); get the file again") from error
    wide = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
    if not wide and b"\0" in raw:
        raise DataError(_nul(path, raw[: raw.index(b"\0")].count(b"\n") + 1))
    text = _decoded(raw, "utf-16" if wide else "utf-8-sig", path)
    if "\0" in text:
        raise DataError(_nul(path, text[: text.index("\0")].count("\n") + 1))
    return text


def _nul(path: Path, line: int) -> str:
    return f"{path}: line {line} holds a NUL byte; give text in UTF-8 (is this a binary file?)"


def _decoded(raw: bytes, encoding: str, path: Path) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        name = "UTF-16" if encoding == "utf-16" else "UTF-8"
        raise DataError(
            f"{path}: line {line} is not {name} (byte 0x{raw[error.start]:02x}); convert it, for example with "
            "`iconv -f latin1 -t utf-8`"
        ) from error


def lines_of(text: str) -> list[str]:
    """The lines of a text, whatever ends them; the last needs no end. Other separators of Unicode stay within a line."""
    lines = re.split(r"\r\n|\n|\r", text)
    return lines[:-1] if lines[-1] == "" else lines


def sort_out(
    text: str, how: Sentences, owner: str, *, classes: Collection[str] | None = None, blank: bool = False
) -> Sorted:
    """The sentences of a text; blank lines divide paragraphs and are no sentences.

    Args:
        how: "line" is one sentence a line, "split" cuts paragraphs after full stops; "auto" splits where blank lines between
            paragraphs show that lines are wrapped, or where lines are as long as paragraphs.
        classes: the labels there may be: lines are label<TAB>sentence where they begin with these, never where they are ().
            None finds out: every line has a tab, and labels repeat.
        blank: keep a blank line as an empty sentence where lines are sentences.
    """
    if how not in ("auto", "line", "split"):
        raise UsageError(f"sentences {how!r}: expected auto, line or split")
    lines = lines_of(text)
    full = [line for line in lines if line.strip()]
    kept = lines if blank else full
    if how != "split" and _have_labels(full, classes, owner):
        return _labelled(kept)
    if how == "split" or (how == "auto" and _is_prose(lines, full)):
        return Sorted(split_sentences(text), None, "split")
    return Sorted([line.strip() for line in kept], None, "line")


def _is_prose(lines: list[str], full: list[str]) -> bool:
    """Whether lines are those of paragraphs: many blank ones between them, or most as long as a paragraph."""
    return len(lines) - len(full) > _WRAPPED * len(lines) or 2 * sum(len(line) > _PARAGRAPH for line in full) > len(
        full
    )


def split_sentences(text: str) -> list[str]:
    """Sentences of running text: paragraphs between blank lines, cut after full stops that are not of an abbreviation.

    >>> split_sentences("He met Mr. Brown. “Well?” she\\nsaid. Nobody knew.")
    ['He met Mr. Brown.', '“Well?” she said.', 'Nobody knew.']
    """
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines_of(text))):
        joined, start = " ".join(paragraph.split()), 0
        for cut in _BREAK.finditer(joined):
            if not _ABBREVIATION.search(joined[max(start, cut.start() - 12) : cut.start()]):
                found.append(joined[start : cut.end()].strip())
                start = cut.end()
        found.append(joined[start:].strip())
    return [sentence for sentence in found if sentence]


def _have_labels(lines: list[str], classes: Collection[str] | None, owner: str) -> bool:
    """Whether lines are label<TAB>sentence. Raises DataError where most are and some are not."""
    heads = [line.partition("\t")[0].strip() for line in lines if "\t" in line.strip()]
    different = set(heads)
    if classes is None:
        meant = 0 < len(different) <= max(2, len(heads) // 3) and max(map(len, different)) <= _LONGEST_LABEL
    else:
        meant = bool(different & set(classes))
    if not meant or len(heads) == len(lines):
        return meant
    if len(heads) > 0.9 * len(lines):
        missing = next(i for i, line in enumerate(lines) if "\t" not in line.strip())
        raise DataError(
            f"{owner}: sentence {missing + 1} has no label<TAB> before it, {len(heads):,} others have; mend it, or take out "
            "the tabs"
        )
    return False


def _labelled(lines: list[str]) -> Sorted:
    pairs = [line.partition("\t") for line in lines]
    return Sorted([text.strip() for _, _, text in pairs], [label.strip() for label, _, _ in pairs], "line")
