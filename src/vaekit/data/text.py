"""Text to a Dataset of token numbers, its vocabulary learned from the training sentences alone.

A row is a sentence's tokens and EOS, then PAD. A sentence of more than max_length - 1 tokens is cut to as many; how many
sentences that befell is in `Dataset.source["truncated"]`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from vaekit.data.dataset import Dataset, Split
from vaekit.data.folder import has_images
from vaekit.data.parts import ROLES, drawn_for_missing
from vaekit.data.run_folder import check_is_data
from vaekit.data.schema import Schema
from vaekit.data.sentences import Sentences, Sorted, is_text_file, read_text, sort_out
from vaekit.data.standard import BUILT_IN
from vaekit.data.vocabulary import EOS, PAD, UNK, Level, Vocabulary
from vaekit.errors import DataError, UsageError

_IDX = b"\0\0"


def is_text(source: Any) -> bool:
    """Whether a source is text: strings in a list or an array, a text file, or a folder of text files without images."""
    if isinstance(source, np.ndarray):
        return source.dtype.kind == "U" or (source.dtype.kind == "O" and all(isinstance(x, str) for x in source.flat))
    if isinstance(source, list | tuple):
        return True
    if not isinstance(source, str | Path) or not str(source):
        return False
    path = Path(source).expanduser()
    if str(source) in BUILT_IN:
        return False
    if path.is_dir():
        return bool(_text_files(path)) and not has_images(path)
    return path.is_file() and (is_text_file(path) or _unpacks_to_text(path))


def _unpacks_to_text(path: Path) -> bool:
    """A .gz, .bz2 or .xz that is no IDX file; one that is damaged is for its reader to complain about."""
    if path.suffix.lower() in (".bz2", ".xz"):
        return True
    if path.suffix.lower() != ".gz" or "idx" in path.name:
        return False
    import gzip

    try:
        with gzip.open(path) as file:
            return file.read(2) != _IDX
    except (OSError, EOFError):
        return False


def _text_files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_file() and is_text_file(f) and not f.name.startswith("."))


def load_text(
    source: Any,
    labels: Any = None,
    *,
    sentences: Sentences = "auto",
    vocabulary: Level = "word",
    vocabulary_size: int = 10_000,
    minimum_count: int = 1,
    max_length: int = 100,
    split_seed: int = 0,
) -> Dataset:
    """Sentences of a list, a file, or a folder as a Dataset; see `load` for the arguments.

    A folder's files named train, valid (or dev) and test are these parts as they stand; what is missing is drawn from the
    training sentences. Other text files of a folder are read one after the other.
    """
    check_is_data(source)
    if max_length < 2:
        raise UsageError(f"max_length {max_length}: expected at least 2 tokens, a word and the end of the sentence")
    parts, name = _read(source, labels, sentences)
    both = _divided(parts, split_seed, name)
    learned = Vocabulary.of(both["train"].sentences, vocabulary, vocabulary_size, minimum_count)
    names = _class_names(both)
    schema = Schema("text", (max_length,), classes=names, vocabulary=learned.to_json())
    made = {part: _split(found, learned, max_length, names, part) for part, found in both.items()}
    told = {
        "name": name,
        "sentences": both["train"].how,
        "truncated": {part: cut for part, (_, cut) in made.items()},
        "unknown": {part: round(unknown_share(split), 5) for part, (split, _) in made.items()},
    }
    return Dataset(schema, made["train"][0], made["validation"][0], made["test"][0], told)


class TextRows(NamedTuple):
    """Sentences as a model sees them, as they were written, and how many of them were cut."""

    split: Split
    sentences: list[str]
    truncated: int


def text_rows(source: Any, schema: Schema, part: str | None = None, sentences: Sentences = "line") -> TextRows:
    """Sentences of any source for a model made for `schema`, in their order.

    One a line unless `sentences` says otherwise; a blank line is then an empty sentence, so that row i is line i. `part` is
    as in `load_rows`.
    """
    check_is_data(source)
    if not is_text(source):
        where = source if isinstance(source, str | Path) else "data"
        known = isinstance(source, str | Path) and (str(source) in BUILT_IN or Path(source).expanduser().exists())
        raise DataError(
            f"{where}: "
            + ("no text, but the model was made for sentences" if known else "no such text file or folder")
            + "; give a text file"
        )
    parts, name = _read(source, None, sentences, classes=schema.classes or (), blank=True)
    if part not in (None, "all", *parts):
        raise DataError(f"{name}: has no {part} part of its own; leave --split out or say all")
    wanted = [part] if part in parts else ["test"] if part is None and "test" in parts else list(parts)
    found = _joined([parts[p] for p in wanted])
    if not found.sentences:
        raise DataError(f"{name}: holds no sentence")
    split, cut = _split(found, schema.text, schema.shape[0], schema.classes, name)
    return TextRows(split, found.sentences, cut)


def tokenise(sentences: Sequence[str], vocabulary: Vocabulary, max_length: int) -> tuple[Tensor, Tensor, int]:
    """Token numbers (n, max_length) int32, lengths (n,) int64 with EOS counted, and how many sentences were cut."""
    values = np.full((len(sentences), max_length), PAD, np.int32)
    lengths, cut = np.zeros(len(sentences), np.int64), 0
    for row, tokens in enumerate(vocabulary.encode(sentences)):
        kept = tokens[: max_length - 1]
        cut += len(tokens) > len(kept)
        values[row, : len(kept)], values[row, len(kept)] = kept, EOS
        lengths[row] = len(kept) + 1
    return torch.from_numpy(values), torch.from_numpy(lengths), cut


def unknown_share(split: Split) -> float:
    """Share of the tokens of a text split, ends of sentences left out, that are UNK."""
    words = 0 if split.lengths is None else int((split.lengths - 1).sum())
    return float((split.values == UNK).sum()) / words if words else 0.0


def _read(
    source: Any, labels: Any, how: Sentences, classes: Collection[str] | None = None, blank: bool = False
) -> tuple[dict[str, Sorted], str]:
    """The parts a source has, by name ("all" where it has no division), and the source's name."""
    if isinstance(source, list | tuple | np.ndarray):
        return {"all": _from_list(source, labels)}, "sentences"
    path = Path(source).expanduser()
    files = _text_files(path) if path.is_dir() else [path]
    roles = {f: next((ROLES[w] for w in re.split(r"[^a-z]+", f.name.lower()) if w in ROLES), None) for f in files}
    if path.is_dir() and "train" in roles.values():
        named = {part: [f for f in files if roles[f] == part] for part in ("train", "validation", "test")}
    else:
        named = {"all": files}
    read: dict[str, Sorted] = {}
    for part, chosen in named.items():
        texts = [sort_out(read_text(f), how, str(f), classes=classes, blank=blank) for f in chosen]
        if texts and not any(one.sentences for one in texts):
            raise DataError(f"{chosen[0]}: holds no sentence; give a file with text")
        if texts:
            read[part] = _joined(texts)
            how = cast(Sentences, read[part].how)  # the other parts are cut as the training sentences are
    return read, str(source)


def _from_list(source: Any, labels: Any) -> Sorted:
    texts = list(np.asarray(source).reshape(-1)) if isinstance(source, np.ndarray) else list(source)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"sentences: item {row} is of type {type(text).__name__}; give a list of strings")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"sentences: item {row} is no valid text ({error.reason}); decode it anew") from error
    if labels is not None and len(labels) != len(texts):
        raise DataError(f"sentences: {len(labels)} labels for {len(texts)} sentences")
    return Sorted([str(text).strip() for text in texts], None if labels is None else [str(v) for v in labels], "line")


def _joined(found: list[Sorted]) -> Sorted:
    sentences = [sentence for one in found for sentence in one.sentences]
    known = all(one.labels is not None for one in found) and bool(found)
    labels = [label for one in found for label in one.labels or []] if known else None
    return Sorted(sentences, labels, found[0].how if found else "line")


def _at(found: Sorted, rows: np.ndarray) -> Sorted:
    labels = None if found.labels is None else [found.labels[i] for i in rows]
    return Sorted([found.sentences[i] for i in rows], labels, found.how)


def _divided(parts: dict[str, Sorted], seed: int, owner: str) -> dict[str, Sorted]:
    """Train, validation and test; what the source does not have is drawn from its (training) sentences."""
    pool = parts["all" if "all" in parts else "train"]
    if {"validation", "test"} <= set(parts):
        return parts
    if len(pool.sentences) < 10:
        many = f"{len(pool.sentences)} sentence{'' if len(pool.sentences) == 1 else 's'}, too few to train, validate and test on"
        other = "line takes each line for one" if pool.how == "split" else "split cuts running text after full stops"
        raise DataError(f"{owner}: {many}; give at least 10 (sentences {other})")
    drawn = drawn_for_missing(len(pool.sentences), parts, seed, owner)
    return {part: _at(pool, drawn[part]) if part in drawn else parts[part] for part in ("train", "validation", "test")}


def _class_names(parts: dict[str, Sorted]) -> tuple[str, ...] | None:
    """The labels of all parts in order; None without labels, or where every sentence has its own."""
    bare = [part for part, found in parts.items() if found.labels is None]
    if 0 < len(bare) < len(parts):
        raise DataError(
            f"the {bare[0]} sentences have no labels and others have; write label<TAB>sentence in every file"
        )
    if bare:
        return None
    labels = [label for found in parts.values() for label in found.labels or []]
    names = sorted(set(labels))
    return tuple(names) if len(names) <= max(2, len(labels) // 2) else None


def _split(
    found: Sorted, vocabulary: Vocabulary, max_length: int, names: tuple[str, ...] | None, name: str
) -> tuple[Split, int]:
    values, lengths, cut = tokenise(found.sentences, vocabulary, max_length)
    labels = None
    if names is not None and found.labels is not None:
        number = {label: i for i, label in enumerate(names)}
        row = next((i for i, label in enumerate(found.labels) if label not in number), None)
        if row is not None:
            known = ", ".join(names[:12])
            raise DataError(
                f"{name}: label {found.labels[row][:40]!r} of sentence {row + 1} is none of the model's: {known}"
            )
        labels = torch.tensor([number[label] for label in found.labels])
    return Split(values, labels, name=name, lengths=lengths), cut
