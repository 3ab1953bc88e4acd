"""The grammar of nested integers in any integer encoding: a pushdown automaton of the layout, and of the tokens of one integer.

The state of a row is a stack of what is still to come, and the progress of the current integer. Rows in equal states share them:
a step looks at each distinct state once, and finds the next states of all rows in a table. Every token leaves room for the shortest
end, so that each answer ends in time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mathpipe.datasets.containers.array_types import Ints
from mathpipe.datasets.containers.integer_layout import (
    LARGEST_INTEGER,
    Layout,
    ListLayout,
    TupleLayout,
    parse_layout,
)
from mathpipe.datasets.tokenizers.integer_encodings import BaseEncoding, IntegerEncoding, ResidueEncoding
from mathpipe.datasets.tokenizers.integer_tokenizer import FRAMING, IntegerTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END

_OPEN, _CLOSE = len(FRAMING), len(FRAMING) + 1


class _Progress(NamedTuple):
    """``length``: tokens of an integer so far. ``value``: of a length, its value; of others, how they compare with the limit.

    The limit of a base is 2^63 - 1 (-1, 0 or 1: below, equal, above its first digits); that of residues is the one combination that
    no integer has (1: equal so far). Of lengths as residues, ``residues`` holds all so far.
    """

    length: int = 0
    negative: bool = False
    value: int = 0
    residues: tuple[int, ...] = ()


_Moves = list[tuple[Ints, _Progress]]  # (ids of the encoding, progress after one of them)


class _Numbers(ABC):
    """The tokens of one integer. ``shortest``: the least number of tokens."""

    shortest: int

    @abstractmethod
    def moves(self, progress: _Progress, largest: int | None) -> _Moves:
        """What may follow; ``largest``: of a length, its largest value, None for other integers."""

    def missing(self, progress: _Progress) -> int:
        """The least number of tokens that complete it."""
        return max(self.shortest - progress.length, 0)


class _SymbolNumbers(_Numbers):
    shortest = 1

    def __init__(self, encoding: IntegerEncoding) -> None:
        self._all = np.arange(len(encoding.vocabulary))

    def moves(self, progress: _Progress, largest: int | None) -> _Moves:
        return [] if progress.length else [(self._all, _Progress(1))]


class _BaseNumbers(_Numbers):
    """A sign, then digits without leading zeros, of a magnitude below 2^63; zero is ``+ 0``, and a length is not negative."""

    shortest = 2

    def __init__(self, encoding: BaseEncoding) -> None:
        self.base = encoding.base
        self._limit: list[int] = []  # the digits of 2^63 - 1
        rest = LARGEST_INTEGER
        while rest:
            rest, digit = divmod(rest, self.base)
            self._limit.insert(0, digit)

    def moves(self, progress: _Progress, largest: int | None) -> _Moves:
        count, negative = progress.length, progress.negative
        if not count:
            signs = [(0, False)] if largest is not None else [(0, False), (1, True)]
            return [(np.array([token]), _Progress(1, minus)) for token, minus in signs]
        if largest is not None:
            return self._length_moves(progress, largest)
        if count == 1:
            zero = [] if negative else [(np.array([2]), _Progress(len(self._limit) + 2))]
            return zero + self._digits(progress, 1)
        return self._digits(progress, 0)

    def _digits(self, progress: _Progress, lowest: int) -> _Moves:
        """The digits from ``lowest`` on that may follow, by how they compare with the limit."""
        place = progress.length - 1  # of the digit
        if place >= len(self._limit):
            return []
        is_last = place == len(self._limit) - 1
        if progress.value:
            comparisons = [(lowest, self.base, progress.value)]
        else:
            limit = self._limit[place]
            comparisons = [
                (lowest, limit, -1),
                (max(limit, lowest), limit + 1, 0),
                (max(limit + 1, lowest), self.base, 1),
            ]
        return [
            (np.arange(start, stop) + 2, _Progress(progress.length + 1, progress.negative, comparison))
            for start, stop, comparison in comparisons
            if start < stop and not (is_last and comparison > 0)
        ]

    def _length_moves(self, progress: _Progress, largest: int) -> _Moves:
        if progress.length > 1 and not progress.value:  # zero
            return []
        first = progress.value * self.base
        digits = range(min(self.base, largest - first + 1))
        return [(np.array([d + 2]), _Progress(progress.length + 1, False, first + d)) for d in digits]


class _ResidueNumbers(_Numbers):
    """One residue for each modulus. If the product P is even, the residues of P/2 are no integer's."""

    def __init__(self, encoding: ResidueEncoding) -> None:
        self.moduli = encoding.moduli
        self.shortest = len(self.moduli)
        half = encoding.product // 2
        self._forbidden = tuple(half % m for m in self.moduli) if encoding.product % 2 == 0 else None
        self._largest = (encoding.product - 1) // 2

    def moves(self, progress: _Progress, largest: int | None) -> _Moves:
        k = progress.length
        if k == len(self.moduli):
            return []
        if largest is not None:
            return self._length_moves(progress, min(largest, self._largest))
        ids, is_last = np.arange(self.moduli[k]), k == len(self.moduli) - 1
        if self._forbidden is None or (k and not progress.value):
            return [(ids, _Progress(k + 1))]
        equal = ids == self._forbidden[k]
        moves = [(ids[~equal], _Progress(k + 1)), (ids[equal], _Progress(k + 1, value=1))]
        return [(tokens, after) for tokens, after in moves if len(tokens) and not (is_last and after.value)]

    def _length_moves(self, progress: _Progress, largest: int) -> _Moves:
        k, moduli = progress.length, np.array(self.moduli)
        lengths = np.arange(largest + 1)
        lengths = lengths[(lengths[:, None] % moduli[:k] == np.array(progress.residues, dtype=np.int64)).all(axis=1)]
        moves = []
        for residue in np.unique(lengths % self.moduli[k]).tolist():
            smallest = int(lengths[lengths % self.moduli[k] == residue][0])  # the length itself after the last residue
            moves.append((np.array([residue]), _Progress(k + 1, False, smallest, (*progress.residues, residue))))
        return moves


def _numbers_of(encoding: IntegerEncoding) -> _Numbers:
    if isinstance(encoding, BaseEncoding):
        return _BaseNumbers(encoding)
    if isinstance(encoding, ResidueEncoding):
        return _ResidueNumbers(encoding)
    return _SymbolNumbers(encoding)


@dataclass(frozen=True)
class _Items:
    """``count`` more elements of a list of known length."""

    element: Layout
    count: int


@dataclass(frozen=True)
class _Rest:
    """Any number of elements, then a closing bracket, or the end of the answer if ``outermost``."""

    element: Layout
    outermost: bool = False


_Frame = Layout | _Items | _Rest


@dataclass(frozen=True)
class _State:
    """``stack``: what follows the current integer, the next on top; ``element``: of the list, if the integer is its length."""

    stack: tuple[_Frame, ...]
    number: _Progress | None = None
    element: Layout | None = None
    ended: bool = False


_ENDED = _State((), ended=True)
_Transitions = list[tuple[Ints, _State]]  # (token ids, state after one of them)


class _Automaton:
    """States and their transitions for one tokenizer."""

    def __init__(self, tokenizer: IntegerTokenizer) -> None:
        self.brackets = tokenizer.brackets
        self.size = len(tokenizer.vocabulary)
        self._numbers = _numbers_of(tokenizer.encoding)
        self._first_id = self.size - len(tokenizer.encoding.vocabulary)
        layout = parse_layout(tokenizer.layout)
        is_open = self.brackets and isinstance(layout, ListLayout)
        self.start = _State((_Rest(layout.element, True) if is_open else layout,))  # type: ignore[attr-defined]

    def transitions(self, state: _State, remaining: int) -> _Transitions:
        """The tokens that leave room for an end within ``remaining`` tokens, END included, and the states after them."""
        if state.ended:
            return [(np.array([END]), _ENDED)]
        possible: _Transitions = []
        stack = state.stack
        if state.number is not None:
            possible = self._continue(state.number, stack, state.element, remaining)
            if not self._numbers.missing(state.number):
                if state.element is not None:
                    stack = (*stack, _Items(state.element, state.number.value))
                possible += self._begin(stack, remaining)
        else:
            possible = self._begin(stack, remaining)
        return [(tokens, after) for tokens, after in possible if 1 + self.cost(after) <= remaining]

    def _continue(
        self, number: _Progress, stack: tuple[_Frame, ...], element: Layout | None, remaining: int
    ) -> _Transitions:
        """The next tokens of an integer; of a length, those that leave room for its elements."""
        largest = None
        if element is not None:
            spare = remaining - max(self._numbers.missing(number), 1) - self._stack_cost(stack) - 1
            largest = spare // self._layout_cost(element)
            if largest < 0:
                return []
        moves = self._numbers.moves(number, largest)
        return [(ids + self._first_id, _State(stack, after, element)) for ids, after in moves]

    def _begin(self, stack: tuple[_Frame, ...], remaining: int) -> _Transitions:
        """What may follow where no integer is open."""
        stack = _expanded(stack)
        if not stack:
            return [(np.array([END]), _ENDED)]
        rest, top = stack[:-1], stack[-1]
        if isinstance(top, _Rest):
            end = (np.array([END]), _ENDED) if top.outermost else (np.array([_CLOSE]), _State(rest))
            return [end, *self._begin((*stack, top.element), remaining)]
        if isinstance(top, ListLayout):
            if self.brackets:
                return [(np.array([_OPEN]), _State((*rest, _Rest(top.element))))]
            return self._continue(_Progress(), rest, top.element, remaining)
        return self._continue(_Progress(), rest, None, remaining)

    def cost(self, state: _State) -> int:
        """The least number of tokens that end the answer, END included."""
        if state.ended:
            return 0
        cost = self._stack_cost(state.stack) + 1
        if state.number is not None:
            missing = self._numbers.missing(state.number)
            cost += missing
            if state.element is not None and not missing:
                cost += state.number.value * self._layout_cost(state.element)
        return cost

    def _stack_cost(self, stack: tuple[_Frame, ...]) -> int:
        return sum(self._frame_cost(frame) for frame in stack)

    def _frame_cost(self, frame: _Frame) -> int:
        if isinstance(frame, _Items):
            return frame.count * self._layout_cost(frame.element)
        if isinstance(frame, _Rest):
            return 0 if frame.outermost else 1
        return self._layout_cost(frame)

    def _layout_cost(self, layout: Layout) -> int:
        """Tokens of the shortest value."""
        if isinstance(layout, TupleLayout):
            return sum(self._layout_cost(part) for part in layout.parts)
        if isinstance(layout, ListLayout) and self.brackets:
            return 2
        return self._numbers.shortest


def _expanded(stack: tuple[_Frame, ...]) -> tuple[_Frame, ...]:
    """The same stack with an integer, a list, ``_Rest`` or nothing on top."""
    while stack:
        top = stack[-1]
        if isinstance(top, TupleLayout):
            stack = (*stack[:-1], *reversed(top.parts))
        elif isinstance(top, _Items):
            more = (_Items(top.element, top.count - 1), top.element) if top.count else ()
            stack = (*stack[:-1], *more)
        else:
            break
    return stack


class IntegerGrammar:
    """Values of a tokenizer's layout, complete within ``max_length`` tokens, END included."""

    def __init__(
        self, tokenizer: IntegerTokenizer, rows: int, max_length: int, device: torch.device | str = "cpu"
    ) -> None:
        self._automaton = _Automaton(tokenizer)
        if self._automaton.cost(self._automaton.start) > max_length:
            raise ValueError(f"no value of {tokenizer.layout} ends within {max_length} tokens in {tokenizer.name}")
        self._remaining = max_length
        self._device = device
        self._states = [self._automaton.start]
        self._index: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)  # of each row's state in ``_states``
        self._look_ahead()

    def _look_ahead(self) -> None:
        """The allowed tokens of each state, (s, V), and the index of the state after each token."""
        shape = len(self._states), self._automaton.size
        self._allowed = np.zeros(shape, dtype=np.bool_)
        self._next = np.zeros(shape, dtype=np.int64)  # tokens that are not allowed lead to the end
        states = {_ENDED: 0}
        for row, state in enumerate(self._states):
            for tokens, after in self._automaton.transitions(state, self._remaining):
                self._allowed[row, tokens] = True
                self._next[row, tokens] = states.setdefault(after, len(states))
        self._following = list(states)

    def allowed(self) -> Tensor:
        return torch.from_numpy(self._allowed[self._index]).to(self._device)

    def advance(self, tokens: Tensor, /) -> None:
        index = self._next[self._index, tokens.cpu().numpy()]
        present, self._index = np.unique(index, return_inverse=True)
        self._states = [self._following[k] for k in present.tolist()]
        self._remaining -= 1
        self._look_ahead()

    def select(self, index: Tensor, /) -> None:
        self._index = self._index[index.cpu().numpy()]

    def complete(self) -> Tensor:
        ends = self._allowed[:, END] & (self._allowed.sum(axis=1) == 1)
        return torch.from_numpy(ends[self._index]).to(self._device)
