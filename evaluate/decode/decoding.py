"""Decoding: from written problems to predicted words. It exists once, here and in ``beam``; training and every analysis use it.

greedy     word_t = argmax p(word | words before t, problem)
sampling   word_t ~ p(word | words before t, problem)^(1/T), normalised
beam       the ``beam`` sequences found with the largest sum of log p / length^penalty (see
           ``mathpipe.evaluate.decode.beam_search``)

until END or ``max_length`` words. log_probability = sum_t log p(word_t | ...), END included; under a grammar (see
``mathpipe.evaluate.decode.grammar``) p is the model's distribution over the words that the grammar allows there, so that a word
that must come has probability 1, and an END that must come needs no step.

The model is asked one word a row at a time through its key/value cache; rows that are done leave the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD
from mathpipe.evaluate.decode.grammar import Grammar
from mathpipe.train.runtime.allocator import keep_freed_memory
from mathpipe.train.runtime.cpu_packing import packed

Ints = NDArray[np.int64]

# Copying a cache without its finished rows costs about as much as a step, so it waits until this share of them is done.
_LEAVE_SHARE = 1 / 16


class Cache(Protocol):
    """What a model keeps of the words so far, one row a sequence."""

    def select(self, index: Tensor, /) -> Self:
        """The rows at ``index`` (B',): kept, dropped, duplicated or reordered."""
        ...


MemoryT = TypeVar("MemoryT")
CacheT = TypeVar("CacheT", bound=Cache)


class Decodable(Protocol[MemoryT, CacheT]):
    """What decoding asks of a model, whether a ``mathpipe.train.model.transformer.Transformer`` or a scripted double of a test."""

    def encode(self, source: Tensor, /) -> MemoryT: ...

    def init_cache(self, memory: MemoryT, max_length: int, /) -> CacheT: ...

    def step(self, tokens: Tensor, cache: CacheT, /) -> Tensor:
        """Feed one word a row, tokens (B,), END first: logits (B, V) of the next. The cache grows in place."""
        ...


@dataclass(frozen=True)
class Decoding:
    """How to decode. ``temperature`` 0: no sampling; else ``samples`` sequences a problem are drawn, by ``seed``.

    What is drawn for a row depends on the seed and the row's number, not on the batch it is in.
    """

    beam: int = 1
    length_penalty: float = 1.0
    early_stopping: bool = True
    temperature: float = 0.0
    samples: int = 1
    seed: int = 0
    constrained: bool = False

    @property
    def hypotheses(self) -> int:
        """At most so many a problem."""
        return self.samples if self.temperature else self.beam

    def __str__(self) -> str:
        if self.temperature:
            decoding = f"sampling, temperature {self.temperature:g}, {self.samples} a problem, seed {self.seed}"
        elif self.beam > 1:
            stop = "" if self.early_stopping else ", no early stopping"
            decoding = f"beam {self.beam}, length penalty {self.length_penalty:g}{stop}"
        else:
            decoding = "greedy"
        return decoding + (", constrained by the grammar" if self.constrained else "")


GREEDY = Decoding()


@dataclass(frozen=True)
class Hypotheses:
    """m hypotheses, those of one problem together, the best first.

    ``tokens`` (m, L) int64: everything generated, END included, then PAD; ``log_probability`` (m,) float64; ``problem`` (m,):
    the row of the source each answers; ``rank`` (m,): 0 for the best of its problem. One each, in order, unless given.
    """

    tokens: Ints
    log_probability: NDArray[np.float64]
    problem: Ints = field(default=None)  # type: ignore[arg-type]
    rank: Ints = field(default=None)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        if self.problem is None:
            object.__setattr__(self, "problem", np.arange(len(self.tokens)))
        if self.rank is None:
            object.__setattr__(self, "rank", np.zeros(len(self.tokens), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def ranked(cls, tokens: Tensor, log_probability: Tensor, score: Tensor, complete: Tensor) -> Hypotheses:
        """From (B, k) hypotheses: tokens (B, k, L), the rest (B, k); the best score first, only the ``complete`` ones."""
        order = torch.where(complete, score, -torch.inf).argsort(dim=1, descending=True, stable=True)
        present = complete.gather(1, order)
        tokens = tokens.gather(1, order.unsqueeze(2).expand_as(tokens))[present]
        problem, rank = present.nonzero(as_tuple=True)
        return cls(
            _cut(tokens),
            log_probability.gather(1, order)[present].double().cpu().numpy(),
            problem.cpu().numpy(),
            rank.cpu().numpy(),
        )


SelectToken = Callable[[Tensor, Tensor, int], Tensor]  # (logits (B, V), rows (B,), place) -> words (B,)


def greedy(
    model: Decodable[MemoryT, CacheT], source: Tensor, max_length: int, grammar: Grammar | None = None
) -> Hypotheses:
    """The most likely next word, again and again, for each row of ``source`` (B, Ls), PAD after its end.

    ``max_length``: words a row may have, END included. A row that has no END by then is returned as it stands.
    """
    tokens, log_probability = _one_by_one(
        model, source, max_length, lambda logits, *_: logits.max(dim=-1).indices, grammar
    )
    return Hypotheses(_cut(tokens), log_probability.cpu().numpy())


def sample(
    model: Decodable[MemoryT, CacheT],
    source: Tensor,
    max_length: int,
    numbers: Ints,
    decoding: Decoding,
    grammar: Callable[[], Grammar | None] = lambda: None,
) -> Hypotheses:
    """``decoding.samples`` sequences a row, drawn at ``decoding.temperature``, by log probability.

    ``numbers`` (B,): the number of each row, from which with the seed its draws follow. Inverse transform: the first word whose
    cumulative probability exceeds a uniform draw of its own (row, sample, place).
    """
    tokens, scores = [], []
    for k in range(decoding.samples):
        draws = torch.from_numpy(uniform_samples(decoding.seed, numbers, k, max_length)).to(source.device)

        def pick(logits: Tensor, rows: Tensor, place: int, draws: Tensor = draws) -> Tensor:
            cumulative = (logits.double() / decoding.temperature).softmax(dim=-1).cumsum(dim=-1)
            wanted = draws[rows, place].unsqueeze(1) * cumulative[:, -1:]  # the sum is 1 up to rounding
            return torch.searchsorted(cumulative, wanted, right=True).squeeze(1).clamp(max=logits.shape[1] - 1)

        decoded = _one_by_one(model, source, max_length, pick, grammar())
        tokens.append(decoded[0])
        scores.append(decoded[1])
    together = torch.stack(scores, dim=1) if scores else torch.zeros((len(source), 0))
    return Hypotheses.ranked(
        torch.stack(tokens, dim=1), together, together, torch.ones_like(together, dtype=torch.bool)
    )


def uniform_samples(seed: int, numbers: Ints, sample: int, count: int) -> NDArray[np.float64]:
    """(B, count) in [0, 1): a function of (seed, the row's number, sample, place) alone."""
    draws = np.empty((len(numbers), count))
    for i, number in enumerate(numbers.tolist()):
        draws[i] = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number, sample]))).random(count)
    return draws


def _one_by_one(
    model: Decodable[MemoryT, CacheT], source: Tensor, max_length: int, pick: SelectToken, grammar: Grammar | None
) -> tuple[Tensor, Tensor]:
    """Rows of words, each chosen by ``pick``: (tokens (B, max_length), log probabilities (B,) float64)."""
    if max_length < 1:
        raise ValueError(f"expected room for END at least, got max_length {max_length}")
    n, device = len(source), source.device
    tokens = torch.full((n, max_length), PAD, dtype=torch.int64, device=device)
    log_probability = torch.zeros(n, dtype=torch.float64, device=device)
    if not n:
        return tokens, log_probability
    with torch.no_grad():
        cache = model.init_cache(model.encode(source), max_length)
        rows = torch.arange(n, device=device)  # which sequence each row of the cache belongs to
        running = torch.ones(n, dtype=torch.bool, device=device)
        words = torch.full((n,), END, dtype=torch.int64, device=device)
        for place in range(max_length):
            logits = model.step(words, cache)
            if grammar is not None:
                logits = logits.masked_fill(~grammar.allowed(), -torch.inf)
            words = pick(logits, rows, place)
            gained = (logits.gather(1, words.unsqueeze(1)).squeeze(1) - logits.logsumexp(dim=-1)).double()
            tokens[rows[running], place] = words[running]
            log_probability[rows[running]] += gained[running]
            running &= words != END
            if grammar is not None:
                grammar.advance(words)
                over = grammar.complete() & running  # only END can follow: it has probability 1 and needs no step
                if place + 1 < max_length:
                    tokens[rows[over], place + 1] = END
                    running &= ~over
            left = int(running.sum())
            if not left:
                break
            if len(rows) - left >= _LEAVE_SHARE * len(rows):
                kept = running.nonzero().squeeze(1)
                cache, rows, words, running = cache.select(kept), rows[kept], words[kept], running[kept]
                if grammar is not None:
                    grammar.select(kept)
    return tokens, log_probability


@contextmanager
def decoding_mode(model: nn.Module) -> Iterator[torch.device]:
    """The model without dropout, on its device, in training's arithmetic; as it was before afterwards.

    One autocast around all steps lets PyTorch keep the weights it has converted instead of converting them at each; on a CPU
    they are laid out for its products once, too.
    """
    keep_freed_memory()
    was_training = model.training
    device = next(model.parameters()).device
    autocast = getattr(model, "autocast", nullcontext)
    model.eval()
    try:
        with autocast(), packed(model):
            yield device
    finally:
        model.train(was_training)


def _cut(tokens: Tensor) -> Ints:
    """(n, L) on the host, without the columns at the end that are padding in all rows."""
    places = (tokens != PAD).any(dim=0).nonzero()
    width = int(places.max()) + 1 if len(places) else 0
    return tokens[:, :width].cpu().numpy()
