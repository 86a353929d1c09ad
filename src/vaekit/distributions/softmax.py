"""Softmax over a vocabulary: from features of a position to the probability of each token that may stand there.

    full        p(w | h) = exp(v_w h + b_w) / sum_u exp(v_u h + b_u)
    tied        the same with v_w = P e_w, e the decoder's own embeddings    Press & Wolf, EACL 2017; Inan et al., ICLR 2017
    adaptive    p(w | h) = p(w | h) of the frequent words, or p(cluster | h) p(w | cluster, h) of rarer ones, whose
                features are narrower                         Grave, Joulin, Cisse, Grangier & Jegou, ICML 2017

PAD and BOS are never written: their probability is 0, and what can follow are EOS, UNK and the words. Each of the three is a
distribution over these that sums to one, the adaptive one too: it is another model, not an approximation of the full one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.data.vocabulary import EOS
from vaekit.errors import UsageError

_NARROWER = 2.0
"""Each cluster of the adaptive softmax sees features so many times narrower than the one before."""


class Softmax(nn.Module, ABC):
    """Interface: probabilities of V = `size` tokens given features (M, H)."""

    size: int

    @abstractmethod
    def log_prob(self, features: Tensor, tokens: Tensor) -> Tensor:
        """log p of one token for each position: (M, H), (M,) -> (M,)."""

    @abstractmethod
    def weights(self) -> list[Tensor]:
        """Every parameter that `log_prob` depends on."""

    @abstractmethod
    def log_probs(self, features: Tensor) -> Tensor:
        """log p of every token: (M, H) -> (M, V), -inf for PAD and BOS."""


class FullSoftmax(Softmax):
    """The softmax over all tokens.

    Args:
        width: H, length of the features.
        size: V, number of tokens, the four special ones counted.
        tied: embeddings (V, E) that are the weights of the softmax too. They stay the property of their network. Where E
            is not H, the features are mapped to E by a matrix first.
    """

    def __init__(self, width: int, size: int, tied: nn.Embedding | None = None) -> None:
        super().__init__()
        self.size = size
        self._tied = () if tied is None else (tied,)  # in a tuple, so that it is not registered a second time
        if tied is None:
            self.weight = nn.Parameter(torch.empty(size - EOS, width).uniform_(-(width**-0.5), width**-0.5))
        same = tied is None or tied.embedding_dim == width
        self.narrow = nn.Identity() if same else nn.Linear(width, tied.embedding_dim, bias=False)  # type: ignore[union-attr]
        self.bias = nn.Parameter(torch.zeros(size - EOS))

    def log_prob(self, features: Tensor, tokens: Tensor) -> Tensor:
        return -F.cross_entropy(self._logits(features), tokens - EOS, reduction="none")

    def log_probs(self, features: Tensor) -> Tensor:
        return _with_special(self._logits(features).log_softmax(-1))

    def weights(self) -> list[Tensor]:
        return [*self.parameters(), *(table.weight for table in self._tied)]

    def _logits(self, features: Tensor) -> Tensor:
        weight = self._tied[0].weight[EOS:] if self._tied else self.weight
        return F.linear(self.narrow(features), weight, self.bias)


class AdaptiveSoftmax(Softmax):
    """A softmax in clusters by frequency: the first eighth of the tokens, the rest of the first half, the others.

    Tokens are numbered by frequency, as a word-level `Vocabulary` does; else it works and only gains less.

    Args:
        width: H, length of the features, at least 4: the last cluster's features are a quarter as long.
        size: V, number of tokens, the four special ones counted.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        if width < 4:
            raise UsageError(f"softmax adaptive: a decoder of width {width}; expected at least 4, or softmax full")
        if size - EOS < 3:
            raise UsageError(
                f"softmax adaptive: {size} tokens make no clusters; expected at least {EOS + 3}, or softmax full"
            )
        self.size, count = size, size - EOS
        cutoffs = sorted({max(1, count // 8), max(2, count // 2)})
        self.clusters = nn.AdaptiveLogSoftmaxWithLoss(width, count, cutoffs, div_value=_NARROWER, head_bias=True)

    def log_prob(self, features: Tensor, tokens: Tensor) -> Tensor:
        with self._full_precision(features) as h:
            return self.clusters(h, tokens - EOS).output

    def weights(self) -> list[Tensor]:
        return list(self.parameters())

    def log_probs(self, features: Tensor) -> Tensor:
        with self._full_precision(features) as h:
            return _with_special(self.clusters.log_prob(h))

    @contextmanager
    def _full_precision(self, features: Tensor) -> Iterator[Tensor]:
        """torch's adaptive softmax puts its clusters together in one precision: it knows no mixed one."""
        with torch.autocast(features.device.type, enabled=False):
            yield features.to(self.clusters.head.weight.dtype)


def _with_special(log_p: Tensor) -> Tensor:
    """(M, V - 2) -> (M, V): PAD and BOS, which come first, are never written."""
    return F.pad(log_p, (EOS, 0), value=-torch.inf)


def make_softmax(name: str, width: int, size: int, tied: nn.Embedding | None = None) -> Softmax:
    """The softmax called `name`. Raises UsageError for an unknown one, or for tied weights it cannot have."""
    if name == "full":
        return FullSoftmax(width, size, tied)
    if name != "adaptive":
        raise UsageError(f"softmax {name!r}: expected full or adaptive")
    if tied is not None:
        raise UsageError("softmax adaptive: has clusters of several widths and cannot be tied; take softmax full")
    return AdaptiveSoftmax(width, size)
