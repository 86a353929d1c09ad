"""A vocabulary: sentences to token numbers and back.

PAD, BOS, EOS and UNK are 0, 1, 2 and 3; words, or pieces of words, follow from 4 on, the most frequent first.

word   a sentence is cut at white space; a word that is not in the vocabulary is UNK.
bpe    byte-pair encoding of UTF-8 bytes (Sennrich, Haddow & Birch, ACL 2016): nothing is unknown, any text comes back
       as it was.

The four special tokens cannot be written by the text itself: a file that holds the word "</s>" has no end of sentence
there. Only "<unk>" is read as UNK, because published corpora write it so.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from vaekit.errors import DataError, UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
"""The special tokens as they are shown, in the order of their numbers."""

Level = Literal["word", "bpe"]

_HIDDEN = (" pad", " bos", " eos", "<unk>")
# a name with a blank in it can be neither a word nor, since the byte-level alphabet has no blank, a piece of one
_LONGEST_WORD = 100
"""Characters of a word that enters the vocabulary; a longer one is data without blanks, and unknown."""
_LONG = re.compile(rf"\S{{{_LONGEST_WORD}}}")
_BYTES = 256
_AT_A_TIME = 10_000
"""Sentences that go through the library at a time: what it says of each takes far more memory than its tokens."""


@dataclass(frozen=True)
class Vocabulary:
    """Token numbers for one level of text, around the JSON of a `tokenizers.Tokenizer`.

    Args:
        level: "word" or "bpe".
        tokenizer: the JSON object that `tokenizers.Tokenizer.to_str` writes.
    """

    level: Level
    tokenizer: dict[str, Any] = field(repr=False, hash=False)

    @classmethod
    def of(
        cls, sentences: Iterable[str], level: Level = "word", size: int = 10_000, minimum_count: int = 1
    ) -> Vocabulary:
        """The vocabulary of training sentences.

        Args:
            sentences: one text each.
            level: "word" or "bpe".
            size: most words, or pieces, beside the four special tokens; pieces are at least the 256 bytes.
            minimum_count: a word, or a pair of pieces, that occurs less often is left out.

        Raises:
            UsageError: a size or count below 1, a count that no word reaches, or fewer pieces than bytes.
            DataError: the sentences hold no word at all.
        """
        if level not in ("word", "bpe"):
            raise UsageError(f"vocabulary {level!r}: expected word or bpe")
        least = 1 if level == "word" else _BYTES
        if size < least:
            raise UsageError(f"vocabulary size {size}: expected at least {least} for level {level}")
        if minimum_count < 1:
            raise UsageError(f"minimum count {minimum_count}: expected at least 1")
        return cls(level, (_words if level == "word" else _pieces)(sentences, size, minimum_count))

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        try:
            return Tokenizer.from_str(json.dumps(self.tokenizer))
        except Exception as error:  # the library raises a bare Exception on JSON it cannot read
            raise DataError(f"vocabulary: damaged ({str(error).splitlines()[0]})") from error

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The name of every token by its number, the special ones as in `SPECIAL`."""
        names = self._tokenizer.get_vocab(with_added_tokens=True)
        ordered = sorted(names, key=names.__getitem__)
        return (*SPECIAL, *ordered[len(SPECIAL) :])

    @property
    def size(self) -> int:
        """Number of tokens V, the four special ones counted."""
        return len(self.tokens)

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Token numbers of each sentence, without BOS and EOS."""
        found: list[list[int]] = []
        for start in range(0, len(sentences), _AT_A_TIME):
            some = list(sentences[start : start + _AT_A_TIME])
            found += [one.ids for one in self._tokenizer.encode_batch_fast(some, add_special_tokens=False)]
        return found

    def decode(self, tokens: Tensor | Sequence[Sequence[int]]) -> list[str]:
        """Texts of token numbers (B, T): each up to its first EOS, without PAD and BOS."""
        rows = tokens.tolist() if isinstance(tokens, Tensor) else tokens
        return [self._text(row) for row in rows]

    def _text(self, row: Sequence[int]) -> str:
        end = row.index(EOS) if EOS in row else len(row)
        kept = [token for token in row[:end] if token not in (PAD, BOS)]
        if self.level == "word":
            return " ".join(self.tokens[token] for token in kept)
        return self._tokenizer.decode(kept, skip_special_tokens=False).removeprefix(" ")

    def to_json(self) -> dict[str, Any]:
        """A dictionary of JSON values from which `from_json` makes an equal vocabulary."""
        return {"level": self.level, "tokenizer": self.tokenizer}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Vocabulary:
        """The vocabulary that `to_json` wrote. Raises DataError on anything else."""
        if set(values) != {"level", "tokenizer"} or values["level"] not in ("word", "bpe"):
            raise DataError("vocabulary: expected level (word or bpe) and tokenizer; was it written by another vaekit?")
        return cls(**values)


def _words(sentences: Iterable[str], size: int, minimum_count: int) -> dict[str, Any]:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    cut = WhitespaceSplit()
    counts = Counter(word for text in sentences for word, _ in cut.pre_tokenize_str(text))
    found = bool(counts)
    del counts["<unk>"]
    if not found:
        raise DataError("vocabulary: the training sentences hold no word")
    ordered = sorted((w for w, n in counts.items() if n >= minimum_count), key=lambda w: (-counts[w], w))
    if counts and not ordered:
        most = max(counts.values())
        raise UsageError(
            f"minimum_count {minimum_count}: no word occurs so often; expected at most {most} with these sentences"
        )
    kept = [word for word in ordered if len(word) <= _LONGEST_WORD][:size]
    names = {name: number for number, name in enumerate((*_HIDDEN, *kept))}
    tokenizer = Tokenizer(WordLevel(names, unk_token=_HIDDEN[UNK]))
    tokenizer.pre_tokenizer = cut  # type: ignore[assignment]
    return json.loads(tokenizer.to_str())


def _pieces(sentences: Iterable[str], size: int, minimum_count: int) -> dict[str, Any]:
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as Bytes
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=True)  # type: ignore[assignment]
    tokenizer.decoder = Bytes()  # type: ignore[assignment]
    trainer = BpeTrainer(
        vocab_size=size + len(_HIDDEN),
        min_frequency=minimum_count,
        special_tokens=list(_HIDDEN),
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    # the trainer takes the square of a word's length; a megabyte without a blank is learned from in parts
    parts = (_LONG.sub(r"\g<0> ", text.replace("<unk>", " ")) for text in sentences)
    tokenizer.train_from_iterator(parts, trainer)
    values = json.loads(tokenizer.to_str())
    values["model"]["merges"] = [" ".join(pair) for pair in values["model"]["merges"]]
    # the trainer would have the text write special tokens; of them only UNK may be
    values["added_tokens"] = [token for token in values["added_tokens"] if token["id"] == UNK]
    return values
