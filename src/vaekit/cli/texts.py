"""Sentences on the command line: their lines of the plan, and files of them."""

from __future__ import annotations

from typing import Any

from vaekit.data import Dataset


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
