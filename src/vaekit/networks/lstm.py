"""Recurrent networks over sentences: one that reads a sentence into numbers, one that writes it word by word.

Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 1997; Bowman, Vilnis, Vinyals, Dai, Jozefowicz &
Bengio, "Generating sentences from a continuous space", CoNLL 2016.

    reader    h_t = LSTM(h_{t-1}, e(x_t)),   out = W h_T + b          (two LSTMs, one from each end: W [h_T; g_1] + b)
    writer    h_t = LSTM(h_{t-1}, [e(x_{t-1}); z]),   c_0 = W z + b,   h_0 = tanh(c_0)

A sentence is a row of token numbers with PAD on its right. The reader stops at each row's last real token. The writer runs
over PAD too, since what stands on the right cannot reach what stands before it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from vaekit.data.vocabulary import PAD
from vaekit.errors import DataError

State = tuple[Tensor, ...]
"""What a writer remembers between two tokens: tensors (N, ...), one row for each sentence."""

_EMBEDDING = 0.1
"""Embeddings start uniform within this, as is usual for language models; torch's own start is ten times as loud."""


def embed(size: int, dim: int) -> nn.Embedding:
    """A table of `size` vectors of length `dim`."""
    table = nn.Embedding(size, dim)
    nn.init.uniform_(table.weight, -_EMBEDDING, _EMBEDDING)
    return table


class LSTMReader(nn.Module):
    """Tokens (B, T), and with `condition_dim` what they are told with (B, C), to (B, *out_shape).

    Args:
        size: V, number of tokens.
        embedding: length of a token's vector.
        hidden: width of the LSTM, of each of the two where it is bidirectional.
        out_shape: shape of one output.
        bidirectional: read from both ends.
        dropout: of the token vectors.
        condition_dim: C; a condition stands beside every token's vector.
    """

    def __init__(
        self,
        size: int,
        embedding: int,
        hidden: int,
        out_shape: tuple[int, ...],
        bidirectional: bool = False,
        dropout: float = 0.0,
        condition_dim: int = 0,
    ) -> None:
        super().__init__()
        self.out_shape = out_shape
        self.embedding = embed(size, embedding)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(embedding + condition_dim, hidden, batch_first=True, bidirectional=bidirectional)
        self.out = nn.Linear(hidden * (1 + bidirectional), math.prod(out_shape))

    @property
    def bias(self) -> Tensor:
        """The output's additive constant, (*out_shape)."""
        return self.out.bias.view(self.out_shape)

    def forward(self, tokens: Tensor, c: Tensor | None = None) -> Tensor:
        if tokens.is_floating_point():
            raise DataError(f"LSTMReader: expected whole token numbers, got {tokens.dtype}; give a Split of sentences")
        vectors = self.dropout(self.embedding(tokens))
        if c is not None:
            vectors = torch.cat([vectors, c[:, None].expand(*vectors.shape[:2], c.shape[-1])], -1)
        lengths = (tokens != PAD).sum(1).clamp_min(1)  # a row of PAD alone is read as one PAD
        last = self._from_both_ends(vectors, lengths) if self.lstm.bidirectional else self._forwards(vectors, lengths)
        return self.out(last).unflatten(-1, self.out_shape)

    def _forwards(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """(B, H) at each row's last token: padding on the right comes after it."""
        states, _ = self.lstm(vectors)
        return states[torch.arange(len(lengths), device=lengths.device), lengths - 1]

    def _from_both_ends(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """(B, 2 H); packed, because read from the right a row would begin with its padding."""
        packed = pack_padded_sequence(vectors, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (last, _) = self.lstm(packed)
        return torch.cat([last[0], last[1]], -1)


class LSTMWriter(nn.Module):
    """Tokens (N, T) that stand before the wanted ones, and codes (N, D), to features (N, T, H) of the wanted ones.

    Args:
        size: V, number of tokens.
        embedding: length of a token's vector.
        hidden: H, width of the LSTM.
        code_dim: D; 0 for a language model, whose first state is 0.
        dropout: of the token vectors and of the features.
    """

    def __init__(self, size: int, embedding: int, hidden: int, code_dim: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden, self.code_dim = hidden, code_dim
        self.embedding = embed(size, embedding)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(embedding + code_dim, hidden, batch_first=True)
        self.first = nn.Linear(code_dim, hidden) if code_dim else None

    def forward(self, tokens: Tensor, code: Tensor) -> Tensor:
        features, _ = self.lstm(self._inputs(tokens, code), self._begin(code))
        return self.dropout(features)

    def start(self, code: Tensor) -> State:
        """The state before the first token, for codes (N, D)."""
        h, c = self._begin(code)
        return h[0], c[0], code

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One more token (N,): the features (N, H) of what follows it, and the next state."""
        h, c, code = state
        features, (h, c) = self.lstm(self._inputs(tokens[:, None], code), (h[None], c[None]))
        return self.dropout(features[:, 0]), (h[0], c[0], code)

    def _inputs(self, tokens: Tensor, code: Tensor) -> Tensor:
        vectors = self.dropout(self.embedding(tokens))
        if not self.code_dim:
            return vectors
        return torch.cat([vectors, code[:, None].expand(*tokens.shape, self.code_dim)], -1)

    def _begin(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """(h_0, c_0), each (1, N, H)."""
        c = code.new_zeros(len(code), self.hidden) if self.first is None else self.first(code)
        return c.tanh()[None], c[None]
