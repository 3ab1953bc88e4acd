"""Beam search: the ``beam`` best sequences that a search finds, by score = sum_t log p(token_t | ...) / length^penalty.

Each step considers the 2 x beam best continuations of a problem's running hypotheses, by score. One that ends is complete if fewer
than ``beam`` better ones continue. The first ``beam`` others stay in the beam. With early stopping, a problem is finished once
``beam`` hypotheses are complete; without it, once no running hypothesis can be among the best ``beam``. Hypotheses without END
within ``max_length`` tokens rank behind the complete ones.

Shapes: B problems, w hypotheses each, V tokens. Each operation covers all problems and hypotheses. A hypothesis keeps its row of
the cache for its first continuation; further continuations are copied to free rows. Caches that can share rows store the encoded
source of a problem once, not once per hypothesis.
"""

from __future__ import annotations

from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.evaluate.decode.decoding import Cache, CacheT, Decodable, MemoryT, ranked_hypotheses
from mathpipe.evaluate.decode.grammar import Grammar
from mathpipe.evaluate.decode.hypotheses import Decoding, Hypotheses

_COMPACT_SHARE = 1 / 16  # finished problems leave the batch once they are this share of it
_BLOCK = 32  # tokens per block of the vocabulary
_IMPOSSIBLE = -torch.inf
_LOWEST = torch.finfo(torch.float64).min / 2  # finite, and below every score


class SharedCache(Protocol):
    """A cache with w rows per problem, in order, which share what they can."""

    def fork(self, to: Tensor, source: Tensor, since: Tensor, /) -> None:
        """Copy row ``source[i]`` to row ``to[i]``, in place. Both are of one problem and agree in the first ``since[i]`` tokens."""
        ...

    def select(self, problems: Tensor, /) -> Self:
        """These problems only, each with all its rows."""
        ...


@runtime_checkable
class Widenable(Protocol):
    """A cache that can become a shared one, before the first token."""

    def widen(self, width: int, /) -> SharedCache: ...


def beam_search(
    model: Decodable[MemoryT, CacheT],
    source: Tensor,
    max_length: int,
    decoding: Decoding,
    grammar: Grammar | None = None,
) -> Hypotheses:
    """Up to ``decoding.beam`` hypotheses for each row of ``source`` (B, Ls), best first. ``grammar`` has one row per problem."""
    if max_length < 1 or decoding.beam < 1:
        raise ValueError(f"expected max_length >= 1, for END, and beam >= 1, got {max_length} and {decoding.beam}")
    finished = _Finished(len(source), max_length, decoding, source.device)
    if len(source):
        with torch.no_grad():
            _Search(model, source, max_length, decoding, grammar, finished).run()
    finished.add_empty_hypotheses()
    return ranked_hypotheses(finished.tokens, finished.log_probability, finished.score, finished.score > _IMPOSSIBLE)


class _Finished:
    """The best complete hypotheses of each problem so far: tokens (B, w, L), log_probability and score (B, w)."""

    def __init__(self, problems: int, max_length: int, decoding: Decoding, device: torch.device) -> None:
        self.tokens = torch.full((problems, decoding.beam, max_length), PAD, dtype=torch.int64, device=device)
        self.log_probability = torch.full((problems, decoding.beam), _IMPOSSIBLE, dtype=torch.float64, device=device)
        self.score = torch.full_like(self.log_probability, _IMPOSSIBLE)
        self.width, self.penalty, self.early = decoding.beam, decoding.length_penalty, decoding.early_stopping

    def add(self, problems: Tensor, tokens: Tensor, log_probability: Tensor, length: int) -> None:
        """Complete hypotheses of these problems (b,): tokens (b, k, L), log_probability (b, k), -inf for none."""
        score = torch.cat([self.score[problems], log_probability / length**self.penalty], dim=1)
        score, best = score.topk(self.width, dim=1)
        all_log_probability = torch.cat([self.log_probability[problems], log_probability], dim=1)
        all_tokens = torch.cat([self.tokens[problems], tokens], dim=1)
        self.score[problems], self.log_probability[problems] = score, all_log_probability.gather(1, best)
        self.tokens[problems] = all_tokens.gather(1, best.unsqueeze(2).expand(-1, -1, all_tokens.shape[2]))

    def add_unterminated(self, problems: Tensor, tokens: Tensor, log_probability: Tensor) -> None:
        """Fill the beam with hypotheses without END, which rank behind all complete ones."""
        log_probability, order = log_probability.sort(dim=1, descending=True)
        tokens = tokens.gather(1, order.unsqueeze(2).expand_as(tokens))
        free = self.score[problems] == _IMPOSSIBLE  # the last ones: scores are sorted
        nth = free.cumsum(dim=1) - 1
        filled = free & (log_probability.gather(1, nth.clamp(min=0)) > _IMPOSSIBLE)
        b, k = filled.nonzero(as_tuple=True)
        self.tokens[problems[b], k] = tokens[b, nth[b, k]]
        self.log_probability[problems[b], k] = log_probability[b, nth[b, k]]
        self.score[problems[b], k] = _LOWEST * (1 + nth[b, k].double() / self.width)

    def add_empty_hypotheses(self) -> None:
        """One empty hypothesis for each problem without a possible one (a model with NaN logits)."""
        none = ~(self.score > _IMPOSSIBLE).any(dim=1)
        self.score[none, 0], self.log_probability[none, 0] = _LOWEST, torch.nan

    def done(self, problems: Tensor, totals: Tensor, length: int, max_length: int) -> Tensor:
        """(b,): mask of finished problems; ``totals`` (b, w): sums of log p of running hypotheses with ``length`` tokens."""
        best = totals.max(dim=1).values
        full = self.score[problems, -1] > _IMPOSSIBLE
        if self.early:
            return full | (best == _IMPOSSIBLE)
        # sums only decrease; divided by length^penalty they are largest at one end of the remaining lengths
        upper_bound = torch.maximum(best / (length + 1) ** self.penalty, best / max_length**self.penalty)
        return (full & (self.score[problems, -1] >= upper_bound)) | (best == _IMPOSSIBLE)


class _Search:
    """The running hypotheses of b problems: w rows each, in order.

    ``problems`` (b,): their indices; ``tokens`` (b, w, L); ``totals`` (b, w): sums of log p, -inf for a free row; ``current``
    (b, w): the last token of each row.
    """

    def __init__(
        self,
        model: Decodable[Any, Any],
        source: Tensor,
        max_length: int,
        decoding: Decoding,
        grammar: Grammar | None,
        finished: _Finished,
    ) -> None:
        self.model, self.max_length, self.width = model, max_length, decoding.beam
        self.grammar, self.finished, self.device = grammar, finished, source.device
        shape = (len(source), self.width)
        self.problems = torch.arange(len(source), device=self.device)
        self.rows = _Rows(model.init_cache(model.encode(source), max_length), *shape, self.device)
        if grammar is not None:
            grammar.select(self.problems.repeat_interleave(self.width))
        self.tokens = torch.full((*shape, max_length), PAD, dtype=torch.int64, device=self.device)
        self.totals = torch.full(shape, _IMPOSSIBLE, dtype=torch.float64, device=self.device)
        self.totals[:, 0] = 0
        self.current = torch.full(shape, END, dtype=torch.int64, device=self.device)

    def run(self) -> None:
        for position in range(self.max_length):
            self._step(position)
            if self.grammar is not None:
                self._finish_certain(self.grammar, position)
            if self._drop_finished(position):
                return
        self.finished.add_unterminated(self.problems, self.tokens, self.totals)

    def _step(self, position: int) -> None:
        """Extend every hypothesis by one token; those that end become complete."""
        logits = self.model.step(self.current.flatten(), self.rows.cache)
        if self.grammar is not None:
            logits = logits.masked_fill(~self.grammar.allowed(), _IMPOSSIBLE)
        scores, parents, current = _continuations(logits, self.totals)
        ends = current == END
        num_better = (~ends).cumsum(dim=1) - (~ends).long()  # better continuations that do not end
        complete = ends & (num_better < self.width) & (scores > _IMPOSSIBLE)
        if bool(complete.any()):
            self._finish(scores, parents, complete, position)
        chosen = _first(~ends, self.width)
        totals, parents, current = (x.gather(1, chosen) for x in (scores, parents, current))
        totals = totals.masked_fill(current == END, _IMPOSSIBLE)  # fewer than w continue
        slots = _slots(parents)
        self.totals, self.current = (torch.empty_like(x).scatter_(1, slots, x) for x in (totals, current))
        self._move(torch.empty_like(parents).scatter_(1, slots, parents), position)
        self.tokens[:, :, position] = self.current
        if self.grammar is not None:
            self.grammar.advance(self.current.flatten())

    def _finish(self, scores: Tensor, parents: Tensor, complete: Tensor, position: int) -> None:
        """Record the continuations that end at this position."""
        some = complete.any(dim=1).nonzero().squeeze(1)
        k = int(complete[some].sum(dim=1).max())
        index = _first(complete[some], k)
        log_probability = scores[some].gather(1, index)
        log_probability = log_probability.masked_fill(~complete[some].gather(1, index), _IMPOSSIBLE)
        tokens = self.tokens[some.unsqueeze(1), parents[some].gather(1, index)]
        tokens[:, :, position] = END
        tokens[:, :, position + 1 :] = PAD
        self.finished.add(self.problems[some], tokens, log_probability, position + 1)

    def _move(self, parents: Tensor, position: int) -> None:
        """Copy cache, tokens and grammar of each row's parent (b, w), where that is another row."""
        row_index = torch.arange(self.width, device=self.device)
        stays = (parents == row_index) | (self.totals == _IMPOSSIBLE)
        b, to = (~stays).nonzero(as_tuple=True)
        if not len(b):
            return
        source = parents[b, to]
        tokens, source_tokens = self.tokens[b, to, :position], self.tokens[b, source, :position]
        num_common = (tokens == source_tokens).cumprod(dim=1).sum(dim=1)
        self.rows.fork(b * self.width + to, b * self.width + source, num_common)
        self.tokens[b, to, :position] = source_tokens
        if self.grammar is not None:
            rows = torch.where(stays, row_index, parents)
            self.grammar.select((self._first_rows(len(parents)) + rows).flatten())

    def _finish_certain(self, grammar: Grammar, position: int) -> None:
        """Record hypotheses after which only END is allowed: it has probability 1 and needs no step."""
        complete = grammar.complete().view(-1, self.width) & (self.totals > _IMPOSSIBLE)
        if position + 1 < self.max_length and bool(complete.any()):
            tokens = self.tokens.clone()
            tokens[:, :, position + 1] = END
            log_probability = self.totals.masked_fill(~complete, _IMPOSSIBLE)
            self.finished.add(self.problems, tokens, log_probability, position + 2)
            self.totals = self.totals.masked_fill(complete, _IMPOSSIBLE)

    def _drop_finished(self, position: int) -> bool:
        """Stop the finished problems, and remove them from the batch if they are many. Returns whether all are finished."""
        done = self.finished.done(self.problems, self.totals, position + 1, self.max_length)
        num_finished = int(done.sum())
        if num_finished == len(self.problems):
            return True
        self.totals = self.totals.masked_fill(done.unsqueeze(1), _IMPOSSIBLE)
        if num_finished >= _COMPACT_SHARE * len(self.problems):
            running = (~done).nonzero().squeeze(1)
            if self.grammar is not None:
                row_index = torch.arange(self.width, device=self.device)
                self.grammar.select((self._first_rows(len(self.problems))[running] + row_index).flatten())
            self.problems, self.tokens = self.problems[running], self.tokens[running]
            self.totals, self.current = self.totals[running], self.current[running]
            self.rows.select(running)
        return False

    def _first_rows(self, count: int) -> Tensor:
        """(count, 1): the first row of each problem."""
        return torch.arange(count, device=self.device).unsqueeze(1) * self.width


def _continuations(logits: Tensor, totals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The 2w best of the w x V continuations of each problem, best first: (sums of log p, parents, tokens), each (B, 2w).

    The search is relative to the best hypothesis, so that float32 is exact enough; the sums are float64. If fewer are possible, the
    last ones have sums of -inf and arbitrary tokens.
    """
    b, w = totals.shape
    log_p = logits.log_softmax(dim=1)
    undefined = log_p[:, 0].isnan()  # no token is allowed, or logits are NaN; then the whole row is NaN
    if bool(undefined.any()):
        log_p[undefined] = _IMPOSSIBLE
    if w == 1:  # the choice of greedy decoding, even if two logits or rounded log p are equal
        best = logits.max(dim=1, keepdim=True).indices
        tokens = torch.cat([best, logits.scatter(1, best, _IMPOSSIBLE).max(dim=1, keepdim=True).indices], dim=1)
        return log_p.gather(1, tokens).double() + totals, torch.zeros_like(tokens), tokens
    offset = (totals - totals.max(dim=1, keepdim=True).values).nan_to_num(nan=_IMPOSSIBLE)  # NaN: all totals are -inf
    vocabulary = logits.shape[1]
    if vocabulary % _BLOCK:
        log_p = functional.pad(log_p, (0, -vocabulary % _BLOCK), value=_IMPOSSIBLE)
    parents, tokens = _largest(log_p.view(b, w, -1), offset.to(log_p.dtype), 2 * w)
    rows = torch.arange(b, device=logits.device).unsqueeze(1) * w + parents
    scores = log_p[rows, tokens].double() + totals.gather(1, parents)
    scores, order = scores.nan_to_num(nan=_IMPOSSIBLE, neginf=_IMPOSSIBLE).sort(dim=1, descending=True, stable=True)
    return scores, parents.gather(1, order), tokens.gather(1, order).clamp_(max=vocabulary - 1)


def _largest(values: Tensor, offset: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Row and column (B, count) of the largest of values (B, w, V) + offset (B, w), largest first; V is a multiple of the block.

    Each of them lies in one of the ``count`` blocks with the largest maxima. Only these are searched, because ``topk`` of all
    values takes several times longer.
    """
    b, w, n = values.shape
    maxima = values.view(b, w, -1, _BLOCK).amax(dim=3)
    blocks = (maxima + offset.unsqueeze(2)).flatten(1).topk(min(count, w * maxima.shape[2]), dim=1).indices
    rows, starts = blocks // maxima.shape[2], blocks % maxima.shape[2] * _BLOCK
    columns = starts.unsqueeze(2) + torch.arange(_BLOCK, device=values.device)
    flat_index = (torch.arange(b, device=values.device).unsqueeze(1) * w + rows).unsqueeze(2) * n + columns
    candidates = values.reshape(-1)[flat_index] + offset.gather(1, rows).unsqueeze(2)
    largest = candidates.flatten(1).topk(count, dim=1).indices
    return rows.gather(1, largest // _BLOCK), columns.flatten(1).gather(1, largest)


def _first(mask: Tensor, count: int) -> Tensor:
    """Positions of the first ``count`` true entries of each row, in order; false ones follow if there are too few."""
    return (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, :count]


def _slots(parents: Tensor) -> Tensor:
    """(B, w): the row of each continuation. The first child of a parent keeps its row; others take free rows."""
    w = parents.shape[1]
    repeated = (parents.unsqueeze(2) == parents.unsqueeze(1)).tril(diagonal=-1).any(dim=2)  # not the first child
    used = torch.zeros_like(parents, dtype=torch.uint8).scatter_(1, parents, 1)
    free = used.argsort(dim=1, stable=True)
    nth = (repeated.cumsum(dim=1) - 1).clamp(0, w - 1)
    return torch.where(repeated, free.gather(1, nth), parents)


class _Rows:
    """The cache of w rows per problem, which share what they can."""

    def __init__(self, cache: Cache, problems: int, width: int, device: torch.device) -> None:
        self._width, self._count, self._device = width, problems * width, device
        self._shared = isinstance(cache, Widenable)
        self.cache: Any  # of the model's own type
        if isinstance(cache, Widenable):
            self.cache = cache.widen(width)
        else:
            self.cache = cache.select(torch.arange(problems, device=device).repeat_interleave(width))

    def fork(self, to: Tensor, source: Tensor, since: Tensor) -> None:
        """Copy rows ``source`` to rows ``to``; they agree in the first ``since`` tokens."""
        if self._shared:
            self.cache.fork(to, source, since)
            return
        index = torch.arange(self._count, device=self._device)
        index[to] = source
        self.cache = self.cache.select(index)

    def select(self, problems: Tensor) -> None:
        """Continue with these problems."""
        self._count = len(problems) * self._width
        if self._shared:
            self.cache = self.cache.select(problems)
            return
        rows = problems.unsqueeze(1) * self._width + torch.arange(self._width, device=self._device)
        self.cache = self.cache.select(rows.flatten())
