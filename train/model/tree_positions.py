"""Where a word stands in an expression that is written in prefix order, read from the words before it alone.

A prefix expression fills places from left to right: at first the root's; a word of arity a fills the next open place and opens a
places below it. So the words before i say which place word i will fill if it begins a node: its depth and the turns taken from the
root, of which the last ``TURNS`` count (an only problem, the first of two, the second of two). After the words of a number a
further digit may come instead; how many words of arity -1 stand just before i is part of its position too.

p(i) = depth(i) + sum_k turn_k(i) + digit(i), rows of one table. Encoder and decoder use the same function; the decoder's needs
nothing that has not been generated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PrefixFormat

DEPTHS = 32  # depths beyond count as this one; 0: no place is open, the tree is complete
TURNS = 8  # the nearest so many
DIGITS = 16
OPEN = 64  # places open at a time; of a tree that needs more the innermost are right
_ONLY, _FIRST, _SECOND = 1, 2, 3
State = tuple[Tensor, ...]


class Tree(nn.Module):
    """Positions of prefix words, one table of ``width``; standard deviation width^-0.5 at the start."""

    arity: Tensor

    def __init__(self, form: PrefixFormat, width: int) -> None:
        super().__init__()
        self.register_buffer("arity", torch.tensor(form.arity, dtype=torch.int64), persistent=False)
        self.table = nn.Parameter(torch.empty(DEPTHS + 4 * TURNS + DIGITS, width))
        nn.init.normal_(self.table, std=width**-0.5)

    def of_words(self, words: Tensor) -> Tensor:
        """Vectors (B, L, width) of the words themselves."""
        return self.of_next(functional.pad(words[:, :-1], (1, 0), value=END))

    def of_next(self, fed: Tensor) -> Tensor:
        """Vectors (B, L, width) of the words to be predicted, when END and then words (B, L) were fed."""
        return self._vectors(tree_places(fed, self.arity))

    def begin(self, rows: int, device: torch.device) -> State:
        return _root(rows, device)

    def advance(self, tokens: Tensor, t: int, state: State) -> tuple[Tensor, State]:
        """The vector (B, 1, width) of the word after ``tokens`` (B,), the t-th fed, and the state then."""
        if t:
            state = _read(state, self.arity[tokens])
        return self._vectors(_place(state).unsqueeze(1)), state

    def _vectors(self, places: Tensor) -> Tensor:
        """Rows of the table added up; places (B, L, 2 + TURNS)."""
        starts = torch.tensor([0, *(DEPTHS + 4 * k for k in range(TURNS)), DEPTHS + 4 * TURNS], device=places.device)
        chosen = torch.zeros(*places.shape[:2], len(self.table), device=places.device)
        chosen.scatter_(2, places + starts, 1.0)
        with torch.autocast(places.device.type, enabled=False):
            return chosen @ self.table

    def check(self, length: int) -> None:
        """Any length has its positions."""


def tree_places(fed: Tensor, arity: Tensor) -> Tensor:
    """(B, L, 2 + TURNS): depth, the nearest turns, digits before, of the word after each of ``fed`` (B, L), END first."""
    state = _root(len(fed), fed.device)
    found = [_place(state)]
    for a in arity[fed[:, 1:]].unbind(1):
        state = _read(state, a)
        found.append(_place(state))
    return torch.stack(found, 1)


def _root(rows: int, device: torch.device) -> State:
    """Open places (B, OPEN, 1 + TURNS) as depth and turns, innermost last; how many (B,); digits before (B,)."""
    places = torch.zeros(rows, OPEN, 1 + TURNS, dtype=torch.int64, device=device)
    places[:, 0, 0] = 1
    return places, torch.ones(rows, dtype=torch.int64, device=device), torch.zeros_like(places[:, 0, 0])


def _place(state: State) -> Tensor:
    places, count, digits = state
    rows = torch.arange(len(count), device=count.device)
    here = places[rows, (count - 1).clamp(0, OPEN - 1)] * (count > 0).unsqueeze(1)
    return torch.cat([here, digits.clamp(max=DIGITS - 1).unsqueeze(1)], 1)


def _read(state: State, arity: Tensor) -> State:
    """The state after words of these arities (B,): their place is filled, those of their problems are open."""
    places, count, digits = state
    rows = torch.arange(len(count), device=count.device)
    top = (count - 1).clamp(0, OPEN - 1)
    here = places[rows, top]
    below = torch.cat([(here[:, :1] + 1).clamp(max=DEPTHS - 1), here[:, :1], here[:, 1:-1]], 1)
    later, first = below.clone(), below
    later[:, 1] = torch.where(arity == 2, _SECOND, _ONLY)
    first[:, 1] = _FIRST
    open_ = count > 0
    replaced = torch.where((open_ & (arity >= 1)).unsqueeze(1), later, here)
    places = places.clone()
    places[rows, top] = replaced
    above = count.clamp(0, OPEN - 1)
    places[rows, above] = torch.where((open_ & (arity == 2)).unsqueeze(1), first, places[rows, above])
    count = torch.where(open_ & (arity >= 0), count + arity - 1, count).clamp(max=OPEN)
    return places, count, torch.where(arity == -1, digits + 1, 0)
