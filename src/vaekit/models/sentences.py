"""What the recipes of text share: the decoder p(x | z) of a sentence, the code of a model without one, and how to make them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from vaekit.conditional import Conditional, Parametric, Told
from vaekit.data.schema import Schema
from vaekit.distributions.families import Family
from vaekit.distributions.sequence import Sequence, Writer
from vaekit.distributions.softmax import Softmax, make_softmax
from vaekit.errors import DataError, UsageError
from vaekit.models.parts import condition_scale
from vaekit.networks.lstm import LSTMReader, LSTMWriter
from vaekit.networks.transformer import TransformerWriter

WriterName = Literal["lstm", "transformer"]
SoftmaxName = Literal["full", "adaptive"]

WRITERS: dict[str, type[LSTMWriter] | type[TransformerWriter]] = {"lstm": LSTMWriter, "transformer": TransformerWriter}
"""The decoders by name."""


class SentenceDecoder(Conditional):
    """p(x | z), or p(x | z, c): a network that writes, and a softmax over the vocabulary.

    Args:
        network: `networks/lstm.py` or `networks/transformer.py`; its codes are z and c, one after the other.
        softmax: from its features to tokens.
        length: tokens at which a drawn sentence is cut, EOS counted.
        word_dropout: part of the tokens that the network is not shown, in training mode only.
    """

    def __init__(self, network: Writer, softmax: Softmax, length: int, word_dropout: float = 0.0) -> None:
        super().__init__()
        self.network, self.softmax, self.length, self.word_dropout = network, softmax, length, word_dropout

    def forward(self, *given: Tensor) -> Sequence:
        z, *told = given
        code = torch.cat([z, *(c.expand(*z.shape[:-1], c.shape[-1]) for c in told)], -1)
        return Sequence(self.network, self.softmax, code, self.length, self.word_dropout if self.training else 0.0)


class NoCode(Conditional):
    """The posterior and prior of a model without a code: a Normal over 0 dimensions, whose log-density is 0."""

    none: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("none", torch.zeros(0), persistent=False)

    def forward(self, *given: Tensor) -> Distribution:
        """Batch shape (B,) given x (B, T)."""
        loc = self.none.expand(len(given[0]), 0)
        return Independent(Normal(loc, loc, validate_args=False), 1, validate_args=False)


def make_text_coders(
    schema: Schema,
    posterior: Family,
    *,
    network: str,
    embedding_dim: int,
    encoder_dim: int,
    decoder_dim: int,
    bidirectional: bool,
    dropout: float,
    word_dropout: float,
    tied: bool,
    softmax: str,
    told: int = 0,
) -> tuple[Conditional, Conditional]:
    """Encoder q(z | x) of the family `posterior`, an LSTM over the sentence, and the decoder p(x | z).

    With `told`, the length of a condition c, they are q(z | x, c) and p(x | z, c).
    """
    _check_sizes(encoder_dim=encoder_dim)
    decoder = make_writer(
        schema,
        posterior.event_shape[0],
        network=network,
        embedding_dim=embedding_dim,
        decoder_dim=decoder_dim,
        dropout=dropout,
        word_dropout=word_dropout,
        tied=tied,
        softmax=softmax,
        told=told,
    )
    size, shape = schema.text.size, posterior.raw_shape
    reader = LSTMReader(size, embedding_dim, encoder_dim, shape, bidirectional, dropout, told)
    encoder = Parametric(reader, posterior)
    return Told(encoder, condition_scale(schema)) if told else encoder, decoder


def make_writer(
    schema: Schema,
    latent_dim: int,
    *,
    network: str,
    embedding_dim: int,
    decoder_dim: int,
    dropout: float,
    word_dropout: float,
    tied: bool,
    softmax: str,
    told: int = 0,
) -> Conditional:
    """p(x | z) or p(x | z, c) of sentences; with a latent_dim of 0 a language model."""
    _check_sizes(embedding_dim=embedding_dim, decoder_dim=decoder_dim)
    for name, rate, most in (("dropout", dropout, 0.99), ("word_dropout", word_dropout, 1)):
        if not 0 <= rate <= most:
            raise UsageError(f"{name} {rate}: expected a part, from 0 to {most}")
    if network not in WRITERS:
        raise UsageError(f"network {network!r}: expected {' or '.join(WRITERS)}")
    size = schema.text.size
    writer = WRITERS[network](size, embedding_dim, decoder_dim, latent_dim + told, dropout)
    head = make_softmax(softmax, decoder_dim, size, writer.embedding if tied else None)
    decoder = SentenceDecoder(writer, head, schema.shape[0], word_dropout)
    return Told(decoder, condition_scale(schema)) if told else decoder


def told_size(schema: Schema, conditional: bool, owner: str) -> int:
    """Number of values of a condition, 0 where none is wanted. Raises DataError where these data have none."""
    if conditional and not schema.condition_names:
        raise DataError(f"model {owner}: these data have no labels to tell it; give lines of label<TAB>sentence")
    return len(schema.condition_names) if conditional else 0


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise UsageError(f"{name} {size}: expected at least 1")
