"""Decoding: sentences out of a `Sequence`.

    greedy        the most probable token at each step
    draw          a token from p^(1/temperature), renormalised; and of these only the nucleus, the fewest most probable tokens
                  that together have the probability `nucleus`     Holtzman, Buys, Du, Forbes & Choi, ICLR 2020
    beam          the most probable sentence among those that the `width` best beginnings lead to

Every one gives token numbers (*, length) for the batch shape (*) of the sequence: the sentence, EOS, then PAD. With the first
two a sentence that is not over after `length` tokens is cut there and has no EOS.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn import functional as F

from vaekit.data.vocabulary import BOS, EOS, PAD
from vaekit.distributions.sequence import LOGITS, Sequence
from vaekit.errors import UsageError


def greedy(p: Distribution) -> Tensor:
    """The most probable token at each step, (*, length): the usual best guess, not always the most probable sentence."""
    return _written(_sequence(p, "greedy"), lambda log_p: log_p.argmax(-1))


def draw(
    p: Distribution, *, temperature: float = 1.0, nucleus: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Sentences drawn from p, (*, length).

    Args:
        temperature: below 1 prefers what is probable, above 1 flattens; 1 is p itself.
        nucleus: probability of the tokens that are drawn from at each step; 1 takes all.
        generator: of the random numbers, on the sequence's device; None is torch's own.
    """
    if not 0 < temperature < math.inf:
        raise UsageError(f"temperature {temperature}: expected a number above 0; greedy is its limit at 0")
    if not 0 < nucleus <= 1:
        raise UsageError(f"nucleus {nucleus}: expected a probability above 0 and at most 1")

    def choose(log_p: Tensor) -> Tensor:
        kept = in_nucleus((log_p / temperature).log_softmax(-1), nucleus)
        return torch.multinomial(kept.exp(), 1, generator=generator)[:, 0]

    return _written(_sequence(p, "draw"), choose)


def in_nucleus(log_p: Tensor, mass: float) -> Tensor:
    """log p (N, V) of the fewest most probable tokens that together reach `mass`, renormalised; -inf for the others."""
    if mass >= 1:
        return log_p
    ordered, order = log_p.sort(dim=-1, descending=True, stable=True)
    before = ordered.exp().cumsum(-1) - ordered.exp()
    ordered = ordered.masked_fill(before >= mass, -torch.inf)  # the first of all is always kept
    return torch.full_like(log_p, -torch.inf).scatter(-1, order, ordered).log_softmax(-1)


@torch.no_grad()
def beam(p: Distribution, width: int = 5) -> tuple[Tensor, Tensor]:
    """The best sentence that a beam search finds for each row, (*, length), and its log p in nats, (*).

    At every step the `width` best beginnings are kept that are not over, and beside them the best sentence that is; when no
    beginning is better than that sentence the search is over, for log p only falls. Every sentence found has its end. With
    a width of V^(length - 1) the search is exhaustive. There is no preference for length: the most probable sentence of
    all is often a short one (Stahlberg & Byrne, EMNLP 2019).
    """
    q = _sequence(p, "beam")
    if width < 1:
        raise UsageError(f"beam width {width}: expected at least 1")
    found, score = zip(*(_Beam(q, code, width).search() for code in _parts(q, width)), strict=True)
    return torch.cat(found).view(*q.batch_shape, q.length), torch.cat(score).view(q.batch_shape)


class _Beam:
    """The beginnings (N, W, t) with log p (N, W), and each row's best sentence so far."""

    def __init__(self, q: Sequence, code: Tensor, width: int) -> None:
        self.q, self.width, self.rows = q, width, len(code)
        self.state, self.last = q.network.start(code), torch.full((len(code),), BOS, device=code.device)
        self.begun = torch.full((len(code), 1, 0), PAD, device=code.device)
        self.score = code.new_zeros(len(code), 1)
        self.found = torch.full((len(code), q.length), PAD, device=code.device)
        self.found_score = code.new_full((len(code),), -torch.inf)

    def search(self) -> tuple[Tensor, Tensor]:
        """The best sentence of each row (N, length) and its log p (N,)."""
        for _ in range(self.q.length):
            if bool((self.score.amax(1) <= self.found_score).all()):
                break
            self.step()
        return self.found, self.found_score

    def step(self) -> None:
        """Every beginning by every token; the best that end are remembered, the best of the others go on."""
        features, self.state = self.q.network.step(self.last, self.state)
        log_p = self.q.softmax.log_probs(features).view(self.rows, -1, self.q.softmax.size)
        total = self.score[..., None] + log_p  # (N, W, V)
        self._remember(total[..., EOS])
        total[..., EOS] = -torch.inf
        count = total.shape[-1]
        self.score, which = total.flatten(1).topk(min(self.width, total[0].numel()), dim=1)
        parent, token = which // count, which % count
        self.begun = torch.cat([self.begun.gather(1, self._like(parent)), token[..., None]], -1)
        self.last = token.flatten()
        self._follow(parent, total.shape[1])

    def _remember(self, ended: Tensor) -> None:
        score, which = ended.max(1)
        better = score > self.found_score
        chosen = self.begun.gather(1, self._like(which[:, None]))[:, 0]
        sentence = F.pad(chosen, (0, 1), value=EOS)
        sentence = F.pad(sentence, (0, self.q.length - sentence.shape[-1]), value=PAD)
        self.found = torch.where(better[:, None], sentence, self.found)
        self.found_score = torch.where(better, score, self.found_score)

    def _follow(self, parent: Tensor, before: int) -> None:
        """The network's state of each beginning is its parent's."""
        rows = (parent + before * torch.arange(self.rows, device=parent.device)[:, None]).flatten()
        self.state = tuple(part.index_select(0, rows) for part in self.state)

    def _like(self, which: Tensor) -> Tensor:
        return which[..., None].expand(*which.shape, self.begun.shape[-1])


def _parts(q: Sequence, width: int = 1) -> tuple[Tensor, ...]:
    """The codes (N, D) in parts whose softmax, of `width` beginnings a row, is no more than `LOGITS` numbers."""
    code = q.code.reshape(math.prod(q.batch_shape), q.code.shape[-1])
    return code.split(max(1, LOGITS // (width * q.softmax.size)))


@torch.no_grad()
def _written(q: Sequence, choose: Callable[[Tensor], Tensor]) -> Tensor:
    """Token by token, each chosen from the log-probabilities (N, V) of all."""
    parts = [_written_part(q, code, choose) for code in _parts(q)]
    return torch.cat(parts).view(*q.batch_shape, q.length)


def _written_part(q: Sequence, code: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
    """Sentences (N, length); rows that are over cost nothing more."""
    state, device = q.network.start(code), code.device
    written = torch.full((len(code), q.length), PAD, device=device)
    going, last = torch.arange(len(code), device=device), torch.full((len(code),), BOS, device=device)
    for t in range(q.length):
        if not len(going):
            break
        features, state = q.network.step(last, state)
        last = choose(q.softmax.log_probs(features))
        written[going, t] = last
        open_ = (last != EOS).nonzero()[:, 0]
        if len(open_) < len(going):
            going, last = going[open_], last[open_]
            state = tuple(part.index_select(0, open_) for part in state)
    return written


def _sequence(p: Distribution, owner: str) -> Sequence:
    if not isinstance(p, Sequence):
        raise UsageError(
            f"{owner}: writes sentences; expected a Sequence, as a text model decodes, got {type(p).__name__}"
        )
    return p
