"""Beam search: the ``beam`` sequences found with the largest score = sum_t log p(word_t | ...) / length^penalty.

At each step the 2 x beam best continuations of a problem's running hypotheses are looked at, in the order of their score: one
that ends is complete, if fewer than ``beam`` better ones go on; the first ``beam`` others run on. With early stopping a problem
is done once ``beam`` hypotheses are complete; without, once no running one can get among the best ``beam``. Hypotheses that
have no END within ``max_length`` words rank behind the complete ones.

Shapes: B problems, w hypotheses each, V words. Everything is done for all problems and hypotheses at once. A hypothesis stays in
its row of the cache where one of its continuations runs on: the first does, and only further ones are copied, into rows that
fell free. The problems' encoded sources are kept once, not once a hypothesis, by models whose cache can share them.
"""

from __future__ import annotations

from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD
from mathpipe.evaluate.decode.decoding import Cache, CacheT, Decodable, Decoding, Hypotheses, MemoryT
from mathpipe.evaluate.decode.grammar import Grammar

_LEAVE_SHARE = 1 / 16
_WIDE = 32  # words of a block
_NEVER = -torch.inf
_LOWEST = torch.finfo(torch.float64).min / 2  # finite, and below every score


class SharedCache(Protocol):
    """A cache whose rows share what they can: w rows a problem, in order."""

    def fork(self, to: Tensor, source: Tensor, since: Tensor, /) -> None:
        """Row ``to[i]`` becomes a copy of row ``source[i]``, of the same problem and with the same first ``since[i]`` words; in
        place."""
        ...

    def select(self, problems: Tensor, /) -> Self:
        """Only these problems, each with all its rows."""
        ...


@runtime_checkable
class Widenable(Protocol):
    """A cache that can make itself one whose rows share what they can; before the first word."""

    def widen(self, width: int, /) -> SharedCache: ...


def beam_search(
    model: Decodable[MemoryT, CacheT],
    source: Tensor,
    max_length: int,
    decoding: Decoding,
    grammar: Grammar | None = None,
) -> Hypotheses:
    """Up to ``decoding.beam`` hypotheses for each row of ``source`` (B, Ls), best first; a grammar has one row a problem."""
    if max_length < 1 or decoding.beam < 1:
        raise ValueError(f"expected room for END and one hypothesis at least, got {max_length} and {decoding.beam}")
    finished = _Finished(len(source), max_length, decoding, source.device)
    if len(source):
        with torch.no_grad():
            _search(model, source, max_length, decoding, grammar, finished)
    finished.leave_none_out()
    return Hypotheses.ranked(finished.tokens, finished.log_probability, finished.score, finished.score > _NEVER)


class _Finished:
    """The best complete hypotheses of each problem so far: tokens (B, w, L), log_probability and score (B, w)."""

    def __init__(self, problems: int, max_length: int, decoding: Decoding, device: torch.device) -> None:
        self.tokens = torch.full((problems, decoding.beam, max_length), PAD, dtype=torch.int64, device=device)
        self.log_probability = torch.full((problems, decoding.beam), _NEVER, dtype=torch.float64, device=device)
        self.score = torch.full_like(self.log_probability, _NEVER)
        self.width, self.penalty, self.early = decoding.beam, decoding.length_penalty, decoding.early_stopping

    def add(self, problems: Tensor, tokens: Tensor, log_probability: Tensor, lengths: Tensor | int) -> None:
        """Complete hypotheses of these problems (b,): tokens (b, k, L), log_probability (b, k), -inf for none."""
        score = torch.cat([self.score[problems], log_probability / lengths**self.penalty], dim=1)
        score, best = score.topk(self.width, dim=1)
        total = torch.cat([self.log_probability[problems], log_probability], dim=1)
        written = torch.cat([self.tokens[problems], tokens], dim=1)
        self.score[problems], self.log_probability[problems] = score, total.gather(1, best)
        self.tokens[problems] = written.gather(1, best.unsqueeze(2).expand(-1, -1, written.shape[2]))

    def add_unterminated(self, problems: Tensor, tokens: Tensor, log_probability: Tensor) -> None:
        """Fill up with hypotheses that have no END: they rank behind all complete ones."""
        log_probability, order = log_probability.sort(dim=1, descending=True)
        tokens = tokens.gather(1, order.unsqueeze(2).expand_as(tokens))
        free = self.score[problems] == _NEVER  # the last ones: scores are sorted
        nth = free.cumsum(dim=1) - 1
        there = free & (log_probability.gather(1, nth.clamp(min=0)) > _NEVER)
        b, k = there.nonzero(as_tuple=True)
        self.tokens[problems[b], k] = tokens[b, nth[b, k]]
        self.log_probability[problems[b], k] = log_probability[b, nth[b, k]]
        self.score[problems[b], k] = _LOWEST * (1 + nth[b, k].double() / self.width)

    def leave_none_out(self) -> None:
        """A problem for which nothing has a probability (a model whose logits are no numbers) has one empty hypothesis."""
        none = ~(self.score > _NEVER).any(dim=1)
        self.score[none, 0], self.log_probability[none, 0] = _LOWEST, torch.nan

    def done(self, problems: Tensor, running: Tensor, length: int, max_length: int) -> Tensor:
        """(b,): which problems need no further step; ``running`` (b, w) are the sums of log p of ``length`` words."""
        best = running.max(dim=1).values
        full = self.score[problems, -1] > _NEVER
        if self.early:
            return full | (best == _NEVER)
        # sums only fall; divided by length^penalty they are largest at one end of the lengths that are left
        upper_bound = torch.maximum(best / (length + 1) ** self.penalty, best / max_length**self.penalty)
        return (full & (self.score[problems, -1] >= upper_bound)) | (best == _NEVER)


def _search(
    model: Decodable[MemoryT, CacheT],
    source: Tensor,
    max_length: int,
    decoding: Decoding,
    grammar: Grammar | None,
    finished: _Finished,
) -> None:
    w, device = decoding.beam, source.device
    problems = torch.arange(len(source), device=device)  # of the problems still running
    rows = _Rows(model.init_cache(model.encode(source), max_length), len(source), w, device)
    if grammar is not None:
        grammar.select(problems.repeat_interleave(w))
    tokens = torch.full((len(source), w, max_length), PAD, dtype=torch.int64, device=device)
    totals = torch.full((len(source), w), _NEVER, dtype=torch.float64, device=device)
    totals[:, 0] = 0
    words = torch.full((len(source), w), END, dtype=torch.int64, device=device)
    for place in range(max_length):
        logits = model.step(words.flatten(), rows.cache)
        if grammar is not None:
            logits = logits.masked_fill(~grammar.allowed(), _NEVER)
        scores, parents, words = _continuations(logits, totals)
        ends = words == END
        going_before = (~ends).cumsum(dim=1) - (~ends).long()
        ended = ends & (going_before < w) & (scores > _NEVER)
        if bool(ended.any()):
            _finish(finished, problems, tokens, scores, parents, ended, place)
        chosen = _first(~ends, w)
        totals, parents, words = scores.gather(1, chosen), parents.gather(1, chosen), words.gather(1, chosen)
        totals = totals.masked_fill(words == END, _NEVER)  # fewer than w go on
        # each continuation in its row
        slots = _slots(parents)
        totals, words = (torch.empty_like(x).scatter_(1, slots, x) for x in (totals, words))
        parents = torch.empty_like(parents).scatter_(1, slots, parents)
        stays = (parents == torch.arange(w, device=device)) | (totals == _NEVER)
        parents = torch.where(stays, torch.arange(w, device=device), parents)
        b, to = (~stays).nonzero(as_tuple=True)
        if len(b):
            moved = parents[b, to]
            own, source_tokens = tokens[b, to, :place], tokens[b, moved, :place]
            rows.fork(b * w + to, b * w + moved, (own == source_tokens).cumprod(dim=1).sum(dim=1))
            tokens[b, to, :place] = source_tokens
            if grammar is not None:
                grammar.select((torch.arange(len(problems), device=device).unsqueeze(1) * w + parents).flatten())
        tokens[:, :, place] = words
        if grammar is not None:
            grammar.advance(words.flatten())
            over = grammar.complete().view(-1, w) & (totals > _NEVER)
            if place + 1 < max_length and bool(over.any()):  # END comes next with probability 1 and needs no step
                written = tokens.clone()
                written[:, :, place + 1] = END
                finished.add(problems, written, totals.masked_fill(~over, _NEVER), place + 2)
                totals = totals.masked_fill(over, _NEVER)
        done = finished.done(problems, totals, place + 1, max_length)
        leaving = int(done.sum())
        if leaving == len(problems):
            return
        totals = totals.masked_fill(done.unsqueeze(1), _NEVER)
        if leaving >= _LEAVE_SHARE * len(problems):
            kept = (~done).nonzero().squeeze(1)
            problems, tokens, totals, words = problems[kept], tokens[kept], totals[kept], words[kept]
            rows.keep(kept)
            if grammar is not None:
                grammar.select((kept.unsqueeze(1) * w + torch.arange(w, device=device)).flatten())
    finished.add_unterminated(problems, tokens, totals)


def _continuations(logits: Tensor, totals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The 2w best of the w x V continuations of each problem, best first: (sums of log p, parents, words), each (B, 2w).

    They are looked for relative to the best hypothesis, where float32 loses nothing, and then summed in double. Where fewer are
    possible, the last ones have sums of -inf and any word.
    """
    b, w = totals.shape
    log_p = logits.log_softmax(dim=1)
    broken = log_p[:, 0].isnan()  # no word is possible, or logits are no numbers; then all of a row are
    if bool(broken.any()):
        log_p[broken] = _NEVER
    if w == 1:  # exactly what greedy decoding takes, also where logits or rounded log p of two words are equal
        best = logits.max(dim=1, keepdim=True).indices
        words = torch.cat([best, logits.scatter(1, best, _NEVER).max(dim=1, keepdim=True).indices], dim=1)
        return log_p.gather(1, words).double() + totals, torch.zeros_like(words), words
    behind = (totals - totals.max(dim=1, keepdim=True).values).nan_to_num(nan=_NEVER)  # all are -inf where it is done
    vocabulary = logits.shape[1]
    if vocabulary % _WIDE:
        log_p = functional.pad(log_p, (0, -vocabulary % _WIDE), value=_NEVER)
    parents, words = _largest(log_p.view(b, w, -1), behind.to(log_p.dtype), 2 * w)
    rows = torch.arange(b, device=logits.device).unsqueeze(1) * w + parents
    scores = log_p[rows, words].double() + totals.gather(1, parents)
    scores, order = scores.nan_to_num(nan=_NEVER, neginf=_NEVER).sort(dim=1, descending=True, stable=True)
    return scores, parents.gather(1, order), words.gather(1, order).clamp_(max=vocabulary - 1)


def _largest(values: Tensor, shift: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Row and column (B, count) of the largest of values (B, w, V) + shift (B, w), largest first; V is a number of whole blocks.

    Each of them is in one of the ``count`` blocks of a row with the largest maxima: the others need not be looked at, and
    ``topk`` of all values takes several times longer.
    """
    b, w, n = values.shape
    best = values.view(b, w, -1, _WIDE).amax(dim=3)
    blocks = (best + shift.unsqueeze(2)).flatten(1).topk(min(count, w * best.shape[2]), dim=1).indices
    rows, begin = blocks // best.shape[2], blocks % best.shape[2] * _WIDE
    columns = begin.unsqueeze(2) + torch.arange(_WIDE, device=values.device)
    places = (torch.arange(b, device=values.device).unsqueeze(1) * w + rows).unsqueeze(2) * n + columns
    some = values.reshape(-1)[places] + shift.gather(1, rows).unsqueeze(2)
    largest = some.flatten(1).topk(count, dim=1).indices
    return rows.gather(1, largest // _WIDE), columns.flatten(1).gather(1, largest)


def _first(wanted: Tensor, count: int) -> Tensor:
    """Positions of the first ``count`` wanted entries of each row, in order; others follow where there are too few."""
    return (~wanted).to(torch.uint8).argsort(dim=1, stable=True)[:, :count]


def _slots(parents: Tensor) -> Tensor:
    """(B, w): the row of each continuation. The first child of a parent stays in its row; others take those fallen free."""
    w = parents.shape[1]
    same = (parents.unsqueeze(2) == parents.unsqueeze(1)).tril(diagonal=-1).any(dim=2)  # an earlier one has this parent
    used = torch.zeros_like(parents, dtype=torch.uint8).scatter_(1, parents, 1)
    free = used.argsort(dim=1, stable=True)
    nth = (same.cumsum(dim=1) - 1).clamp(0, w - 1)
    return torch.where(same, free.gather(1, nth), parents)


def _finish(
    finished: _Finished,
    problems: Tensor,
    tokens: Tensor,
    scores: Tensor,
    parents: Tensor,
    ended: Tensor,
    place: int,
) -> None:
    """The continuations that ended at this place are complete."""
    some = ended.any(dim=1).nonzero().squeeze(1)
    k = int(ended[some].sum(dim=1).max())
    which = _first(ended[some], k)
    log_probability = scores[some].gather(1, which).masked_fill(~ended[some].gather(1, which), _NEVER)
    from_ = parents[some].gather(1, which)
    written = tokens[some.unsqueeze(1), from_]
    written[:, :, place] = END
    written[:, :, place + 1 :] = PAD
    finished.add(problems[some], written, log_probability, place + 1)


class _Rows:
    """The cache of w rows a problem, sharing what they can."""

    def __init__(self, cache: Cache, problems: int, width: int, device: torch.device) -> None:
        self._width, self._count, self._device = width, problems * width, device
        self._shared = isinstance(cache, Widenable)
        self.cache: Any  # of the model's own kind
        if isinstance(cache, Widenable):
            self.cache = cache.widen(width)
        else:
            self.cache = cache.select(torch.arange(problems, device=device).repeat_interleave(width))

    def fork(self, to: Tensor, source: Tensor, since: Tensor) -> None:
        if self._shared:
            self.cache.fork(to, source, since)
            return
        index = torch.arange(self._count, device=self._device)
        index[to] = source
        self.cache = self.cache.select(index)

    def keep(self, problems: Tensor) -> None:
        self._count = len(problems) * self._width
        if self._shared:
            self.cache = self.cache.select(problems)
            return
        rows = problems.unsqueeze(1) * self._width + torch.arange(self._width, device=self._device)
        self.cache = self.cache.select(rows.flatten())
