"""Decoding: predicted tokens for encoded problems. Training and evaluation both use this code.

greedy     token_t = argmax p(token | tokens before t, problem)
sampling   token_t ~ p(token | tokens before t, problem)^(1/T), normalised
beam       the ``beam`` sequences with the largest sum of log p / length^penalty that a search finds (see
           ``mathpipe.evaluate.decode.beam_search``)

until END or ``max_length`` tokens. log_probability = sum_t log p(token_t | ...), END included. Under a grammar (see
``mathpipe.evaluate.decode.grammar``) p is the model's distribution over the allowed tokens. The only allowed token then has
probability 1, and where END is the only one, it needs no step.

Each step feeds one token per row through the model's key/value cache. Finished rows leave the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mathpipe.datasets.allocator import keep_freed_memory
from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.evaluate.decode.grammar import Grammar
from mathpipe.evaluate.decode.hypotheses import Decoding, Hypotheses
from mathpipe.train.runtime.cpu_packing import packed
from mathpipe.train.runtime.threads import limit_threads

Ints = NDArray[np.int64]

# Copying a cache without its finished rows costs about as much as a step, so it waits until this share of the rows is finished.
_COMPACT_SHARE = 1 / 16


class Cache(Protocol):
    """What a model stores of the tokens so far, one row per sequence."""

    def select(self, index: Tensor, /) -> Self:
        """The rows at ``index`` (B',), which may drop, repeat or reorder rows."""
        ...


MemoryT = TypeVar("MemoryT")
CacheT = TypeVar("CacheT", bound=Cache)


class Decodable(Protocol[MemoryT, CacheT]):
    """What decoding needs of a model: a ``mathpipe.train.model.transformer.Transformer``, or a scripted model in tests."""

    def encode(self, source: Tensor, /) -> MemoryT: ...

    def init_cache(self, memory: MemoryT, max_length: int, /) -> CacheT: ...

    def step(self, tokens: Tensor, cache: CacheT, /) -> Tensor:
        """Feed one token per row, (B,), END first: logits (B, V) of the next token. The cache grows in place."""
        ...


SelectToken = Callable[[Tensor, Tensor, int], Tensor]  # (logits (B, V), rows (B,), position) -> tokens (B,)


def greedy(
    model: Decodable[MemoryT, CacheT], source: Tensor, max_length: int, grammar: Grammar | None = None
) -> Hypotheses:
    """The most likely token at each step, for each row of ``source`` (B, Ls), padded with PAD.

    ``max_length``: maximum number of tokens of a row, END included. A row without END by then is returned unterminated.
    """
    tokens, log_probability = _generate(
        model, source, max_length, lambda logits, *_: logits.max(dim=-1).indices, grammar
    )
    return Hypotheses(_trim(tokens), log_probability.cpu().numpy())


def sample(
    model: Decodable[MemoryT, CacheT],
    source: Tensor,
    max_length: int,
    numbers: Ints,
    decoding: Decoding,
    grammar: Callable[[], Grammar | None] = lambda: None,
) -> Hypotheses:
    """``decoding.samples`` sequences per row, sampled at ``decoding.temperature`` and sorted by log probability.

    ``numbers`` (B,): the number of each row, which determines its samples together with the seed. Inverse transform sampling: the
    first token whose cumulative probability exceeds a uniform sample of its row, sample and position.
    """
    tokens, scores = [], []
    for k in range(decoding.samples):
        uniform = torch.from_numpy(uniform_samples(decoding.seed, numbers, k, max_length)).to(source.device)

        def select(logits: Tensor, rows: Tensor, position: int, uniform: Tensor = uniform) -> Tensor:
            cumulative = (logits.double() / decoding.temperature).softmax(dim=-1).cumsum(dim=-1)
            target = uniform[rows, position].unsqueeze(1) * cumulative[:, -1:]  # the sum is 1 up to rounding
            return torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp(max=logits.shape[1] - 1)

        decoded = _generate(model, source, max_length, select, grammar())
        tokens.append(decoded[0])
        scores.append(decoded[1])
    log_probability = torch.stack(scores, dim=1)
    complete = torch.ones_like(log_probability, dtype=torch.bool)
    return ranked_hypotheses(torch.stack(tokens, dim=1), log_probability, log_probability, complete)


def ranked_hypotheses(tokens: Tensor, log_probability: Tensor, score: Tensor, complete: Tensor) -> Hypotheses:
    """The ``complete`` ones of (B, k) hypotheses, by score: tokens (B, k, L), all else (B, k)."""
    order = torch.where(complete, score, -torch.inf).argsort(dim=1, descending=True, stable=True)
    present = complete.gather(1, order)
    tokens = tokens.gather(1, order.unsqueeze(2).expand_as(tokens))[present]
    problem, rank = present.nonzero(as_tuple=True)
    return Hypotheses(
        _trim(tokens),
        log_probability.gather(1, order)[present].double().cpu().numpy(),
        problem.cpu().numpy(),
        rank.cpu().numpy(),
    )


def uniform_samples(seed: int, numbers: Ints, sample: int, count: int) -> NDArray[np.float64]:
    """(B, count) in [0, 1): a function of (seed, number of the row, sample, position) alone."""
    uniform = np.empty((len(numbers), count))
    for i, number in enumerate(numbers.tolist()):
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number, sample])))
        uniform[i] = rng.random(count)
    return uniform


def _generate(
    model: Decodable[MemoryT, CacheT], source: Tensor, max_length: int, select: SelectToken, grammar: Grammar | None
) -> tuple[Tensor, Tensor]:
    """Generate token by token, each chosen by ``select``: (tokens (B, max_length), log probabilities (B,) float64)."""
    if max_length < 1:
        raise ValueError(f"expected max_length >= 1, for END, got {max_length}")
    n, device = len(source), source.device
    tokens = torch.full((n, max_length), PAD, dtype=torch.int64, device=device)
    log_probability = torch.zeros(n, dtype=torch.float64, device=device)
    if not n:
        return tokens, log_probability
    with torch.no_grad():
        cache = model.init_cache(model.encode(source), max_length)
        rows = torch.arange(n, device=device)  # sequence of each row of the cache
        running = torch.ones(n, dtype=torch.bool, device=device)
        current = torch.full((n,), END, dtype=torch.int64, device=device)
        for position in range(max_length):
            logits = model.step(current, cache)
            if grammar is not None:
                logits = logits.masked_fill(~grammar.allowed(), -torch.inf)
            current = select(logits, rows, position)
            log_p = (logits.gather(1, current.unsqueeze(1)).squeeze(1) - logits.logsumexp(dim=-1)).double()
            tokens[rows[running], position] = current[running]
            log_probability[rows[running]] += log_p[running]
            running &= current != END
            if grammar is not None:
                grammar.advance(current)
                complete = grammar.complete() & running  # END is certain and needs no step
                if position + 1 < max_length:
                    tokens[rows[complete], position + 1] = END
                    running &= ~complete
            num_running = int(running.sum())
            if not num_running:
                break
            if len(rows) - num_running >= _COMPACT_SHARE * len(rows):
                index = running.nonzero().squeeze(1)
                cache, rows, current, running = cache.select(index), rows[index], current[index], running[index]
                if grammar is not None:
                    grammar.select(index)
    return tokens, log_probability


@contextmanager
def decoding_mode(model: nn.Module) -> Iterator[torch.device]:
    """The model in evaluation mode and in the precision of training; its mode is restored afterwards. Yields its device.

    One autocast around all steps lets PyTorch convert the weights once. On a CPU their layout is also packed once.
    """
    keep_freed_memory()
    limit_threads()
    was_training = model.training
    device = next(model.parameters()).device
    autocast = getattr(model, "autocast", nullcontext)
    model.eval()
    try:
        with autocast(), packed(model):
            yield device
    finally:
        model.train(was_training)


def _trim(tokens: Tensor) -> Ints:
    """(n, L) on the host, without trailing columns of padding."""
    columns = (tokens != PAD).any(dim=0).nonzero()
    width = int(columns.max()) + 1 if len(columns) else 0
    return tokens[:, :width].cpu().numpy()
