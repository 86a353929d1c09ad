"""A small causal transformer that writes a sentence word by word.

Vaswani et al., "Attention is all you need", NeurIPS 2017; with the normalisation first: Xiong et al., ICML 2020.

    h_t = e(x_{t-1}) + p_t + W z + b                  p_t: sines and cosines of the place, so that no length is too long
    h   = h + attention(norm(h)),   h = h + W_2 gelu(W_1 norm(h))         of each layer; place t sees the places up to t
    features = norm(h)

It takes the place of the LSTM in `lstm.py`, with the same calls.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.networks.lstm import State, embed

_HEADS = 4
"""Heads of a layer; fewer where they do not divide its width."""


class Layer(nn.Module):
    """One layer: (N, T, H) -> (N, T, H)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.heads = math.gcd(_HEADS, width)
        self.before_attention, self.before_map = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.map = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self._split(h)
        return self._finish(h, F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def step(self, h: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One more place, (N, 1, H), after those of `keys` and `values` (N, heads, t, H / heads); these with the new one."""
        q, k, v = self._split(h)
        keys, values = torch.cat([keys, k], 2), torch.cat([values, v], 2)
        return self._finish(h, F.scaled_dot_product_attention(q, keys, values)), keys, values

    def empty(self, rows: int, like: Tensor) -> Tensor:
        """Keys or values of no place, (N, heads, 0, H / heads)."""
        return like.new_zeros(rows, self.heads, 0, self.out.in_features // self.heads)

    def _split(self, h: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, each (N, heads, T, H / heads)."""
        mapped = self.queries_keys_values(self.before_attention(h))
        return tuple(part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in mapped.chunk(3, -1))

    def _finish(self, h: Tensor, seen: Tensor) -> Tensor:
        h = h + self.dropout(self.out(seen.transpose(1, 2).flatten(2)))
        return h + self.dropout(self.map(self.before_map(h)))


class TransformerWriter(nn.Module):
    """Tokens (N, T) that stand before the wanted ones, and codes (N, D), to features (N, T, H) of the wanted ones.

    Args:
        size: V, number of tokens.
        embedding: length of a token's vector; mapped to H where it is not H.
        hidden: H, width of every layer.
        code_dim: D; 0 for a language model.
        dropout: of the token vectors and of what each layer adds.
        layers: how many.
    """

    def __init__(
        self, size: int, embedding: int, hidden: int, code_dim: int = 0, dropout: float = 0.0, layers: int = 2
    ) -> None:
        super().__init__()
        self.hidden, self.code_dim = hidden, code_dim
        self.embedding = embed(size, embedding)
        self.widen = nn.Identity() if embedding == hidden else nn.Linear(embedding, hidden, bias=False)
        self.code = nn.Linear(code_dim, hidden) if code_dim else None
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(hidden, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, tokens: Tensor, code: Tensor) -> Tensor:
        h = self._inputs(tokens, code, 0)
        for layer in self.layers:
            h = layer(h)
        return self.norm(h)

    def start(self, code: Tensor) -> State:
        """The state before the first token, for codes (N, D): the code, then keys and values of each layer."""
        nothing = [layer.empty(len(code), code) for layer in self.layers for _ in range(2)]  # type: ignore[operator]
        return (code, *nothing)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One more token (N,): the features (N, H) of what follows it, and the next state."""
        code, *seen = state
        h, after = self._inputs(tokens[:, None], code, seen[0].shape[2]), [code]
        for layer, keys, values in zip(self.layers, seen[::2], seen[1::2], strict=True):
            h, *new = layer.step(h, keys, values)  # type: ignore[operator]
            after += new
        return self.norm(h[:, 0]), tuple(after)

    def _inputs(self, tokens: Tensor, code: Tensor, first: int) -> Tensor:
        """(N, T, H) of tokens at the places from `first` on."""
        vectors = self.widen(self.dropout(self.embedding(tokens)))
        vectors = vectors + places(first, tokens.shape[1], self.hidden).to(vectors)
        return vectors if self.code is None else vectors + self.code(code)[:, None]


def places(first: int, count: int, width: int) -> Tensor:
    """Sines and cosines of the places first .. first + count - 1, (count, width)."""
    rates = torch.exp(-math.log(10_000.0) * torch.arange(0, width, 2) / width)
    angles = torch.arange(first, first + count)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width] * _PLACE


_PLACE = 0.1
"""How loud a place is: as loud as a token's vector at the start (`lstm.embed`)."""
