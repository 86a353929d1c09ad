"""Sequence: p(x | z) of a sentence that a network writes token by token.

    log p(x | z) = sum_t log p(x_t | x_1 ... x_{t-1}, z),   the end of the sentence counted, padding not

A sentence is a row of token numbers: its words, EOS, then PAD. A row without EOS stands for the beginning of a sentence, and its
probability is that of all sentences that begin so.

Memory. The softmax over V tokens is what would be large: B T V numbers. It is taken over real tokens alone, and over at most
`LOGITS` numbers at a time; where there are several such chunks, each is computed a second time on the way back instead of
being kept. Three tensors of that size exist at the peak: 400 MB in single precision, whatever B, T, V and K are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution
from torch.nn import functional as F

from vaekit.data.vocabulary import BOS, EOS, PAD, UNK
from vaekit.distributions.softmax import Softmax
from vaekit.errors import DataError

LOGITS = 2**25
"""Numbers of the softmax over the vocabulary that exist at a time."""

State = tuple[Tensor, ...]

OfTokens = Callable[[Tensor, Tensor], Tensor]
"""Features (M, H), tokens (M,) -> (M,)."""


class Writer(Protocol):
    """A network that writes: `networks/lstm.py`, `networks/transformer.py`."""

    def __call__(self, tokens: Tensor, code: Tensor) -> Tensor:
        """Tokens (N, T) that come before the wanted ones, codes (N, D) -> features (N, T, H)."""
        ...

    def start(self, code: Tensor) -> State:
        """The state before the first token: tensors whose first dimension is N."""
        ...

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Tokens (N,) -> features (N, H) of the next, and the next state."""
        ...


class Sequence(Distribution):
    """Sentences of batch shape (*), their code's.

    Args:
        network: what writes.
        softmax: from its features to tokens.
        code: (*, D); D = 0 is a language model.
        length: tokens at which a sentence that is drawn is cut, EOS counted. The likelihood knows no limit.
        word_dropout: part of the tokens that the network is shown as UNK while it predicts all of them (Bowman et al.,
            2016). For training: with it `log_prob` is noisy.
    """

    arg_constraints = {}

    def __init__(self, network: Writer, softmax: Softmax, code: Tensor, length: int, word_dropout: float = 0.0) -> None:
        self.network, self.softmax, self.code = network, softmax, code
        self.length, self.word_dropout = length, word_dropout
        super().__init__(code.shape[:-1], torch.Size((length,)), validate_args=False)

    @property
    def mean(self) -> Tensor:
        raise NotImplementedError("Sequence: tokens have no mean; vaekit.distributions.point_of gives the best guess")

    def log_prob(self, value: Tensor) -> Tensor:
        """Tokens (*, T) -> log p in nats per sentence, of the batch shape and theirs together."""
        return self._of_tokens(value, self.softmax.log_prob).sum(-1)

    def log_prob_per_token(self, value: Tensor) -> Tensor:
        """Tokens (*, T) -> log p of each given those before it, (*, T), 0 at PAD."""
        return self._of_tokens(value, self.softmax.log_prob)

    def guesses(self, value: Tensor) -> Tensor:
        """Tokens (*, T) -> the most probable token at each place given the true ones before it, (*, T), PAD at PAD."""

        def best(features: Tensor, tokens: Tensor) -> Tensor:
            return self.softmax.log_probs(features).argmax(-1)

        return self._of_tokens(value, best)

    def _of_tokens(self, value: Tensor, function: OfTokens) -> Tensor:
        """`function` at the real tokens of `value`, 0 at the others."""
        _check(value, self.softmax.size)
        shape = torch.broadcast_shapes(self.batch_shape, value.shape[:-1])
        # without a code every draw of it is the same
        own = shape if self.code.shape[-1] else value.shape[:-1]
        rows, width, dim = math.prod(own), value.shape[-1], self.code.shape[-1]
        tokens = value.expand(*own, width).reshape(rows, width)
        code = self.code.expand(*shape, dim).reshape(math.prod(shape), dim)[:rows]
        features = self.network(self._before(tokens), code)
        at = (tokens != PAD).flatten().nonzero()[:, 0]
        found = _in_chunks(function, features.flatten(0, 1).index_select(0, at), tokens.flatten()[at], self.softmax)
        placed = found.new_zeros(tokens.numel()).index_copy(0, at, found)
        return placed.view(*own, width).expand(*shape, width)

    def _before(self, tokens: Tensor) -> Tensor:
        """What the network is shown: BOS and all tokens but the last, some as UNK."""
        shown = F.pad(tokens[:, :-1], (1, 0), value=BOS)
        if not self.word_dropout:
            return shown
        hidden = torch.rand(shown.shape, device=shown.device) < self.word_dropout
        hidden[:, 0] = False
        return shown.masked_fill(hidden, UNK)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Sentences (*sample_shape, *batch, length), drawn token by token; one that is not over by then is cut."""
        from vaekit.distributions.decoding import draw

        shape = torch.Size((*sample_shape, *self.code.shape))
        return draw(Sequence(self.network, self.softmax, self.code.expand(shape), self.length))


def point_of(p: Distribution) -> Tensor:
    """The one value that stands for a distribution: its mean, or of sentences the best guess, token by token."""
    if not isinstance(p, Sequence):
        return p.mean
    from vaekit.distributions.decoding import greedy

    return greedy(p)


def _in_chunks(function: OfTokens, features: Tensor, tokens: Tensor, softmax: Softmax) -> Tensor:
    """`function` of all positions, (M,), of so many at a time that their softmax is `LOGITS` numbers or less."""
    size = max(1, LOGITS // softmax.size)
    if len(tokens) <= size:
        return function(features, tokens)
    pairs = zip(features.split(size), tokens.split(size), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([function(f, t) for f, t in pairs])
    weights = [w for w in softmax.weights() if w.requires_grad]
    return torch.cat([cast(Tensor, _Recomputed.apply(function, f, t, *weights)) for f, t in pairs])


class _Recomputed(torch.autograd.Function):
    """A function of features whose way back computes it again instead of keeping what it needs.

    `torch.utils.checkpoint` does the same and more, and its first call imports torch's compiler, which takes seconds.
    """

    @staticmethod
    def forward(ctx: Any, function: OfTokens, features: Tensor, tokens: Tensor, *weights: Tensor) -> Tensor:
        ctx.function, device = function, features.device.type
        # the way back has left the context of mixed precision, and has to compute what was computed
        ctx.precision = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        ctx.save_for_backward(features, tokens, *weights)
        return function(features, tokens)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        features, tokens, *weights = ctx.saved_tensors
        features = features.detach().requires_grad_(ctx.needs_input_grad[1])
        asked = [t for t in (features, *weights) if t.requires_grad]
        device, dtype, mixed = ctx.precision
        with torch.enable_grad(), torch.autocast(device, dtype, enabled=mixed):
            found = iter(torch.autograd.grad(ctx.function(features, tokens), asked, slope, allow_unused=True))
        return None, next(found) if features.requires_grad else None, None, *found


def _check(value: Tensor, size: int) -> None:
    """Raise DataError for what cannot be a sentence. Only on the CPU, where a look at the numbers costs nothing."""
    if value.is_floating_point():
        raise DataError(f"Sequence: expected whole token numbers, got {value.dtype}; do not scale or cast sentences")
    if value.device.type != "cpu" or not value.numel():
        return
    if int(value.min()) < 0 or int(value.max()) >= size:
        raise DataError(
            f"Sequence: expected token numbers from 0 to {size - 1}, got {int(value.min())} to {int(value.max())}"
        )
    if bool((value == BOS).any()):
        raise DataError(f"Sequence: token {BOS} begins a sentence and cannot stand in it; leave it out")
    over = (value[..., :-1] == PAD) | (value[..., :-1] == EOS)
    if bool((over & (value[..., 1:] != PAD)).any()):
        raise DataError(f"Sequence: tokens behind the end of a sentence; only padding ({PAD}) may stand there")
