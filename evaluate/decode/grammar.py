"""Grammars: which words can continue a well-formed answer, for many rows at once.

A matrix of known shape has one length, and what may stand at a place follows from the place alone: its letter (in co-training),
``V<rows>``, ``V<cols>``, then words of the right kind for each place within a number, then END.
An expression in prefix words has no known length: a count of open problems, the number under way and the room that is left say
what may come, so that every expression closes in time.

A grammar keeps the state of rows that are decoded together, as tensors; nothing loops over rows or words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, MatrixTokenizer, PrefixFormat
from mathpipe.datasets.tokenizers.number_encodings import B1999, FP15, P10, P1000

_MAX_DEPTH, _MAX_DIGITS = 200, 40  # what the reader of expressions takes (mathpipe.datasets.expressions.prefix)


class Grammar(Protocol):
    """The state of B rows, nothing said yet at first."""

    def allowed(self) -> Tensor:
        """The words that may come next, bool (B, V), or (1, V) where it is the same for all."""
        ...

    def advance(self, words: Tensor, /) -> None:
        """Each row says one word, (B,). Rows that are done may say anything."""
        ...

    def select(self, index: Tensor, /) -> None:
        """The rows at ``index`` (B',) become the rows: kept, dropped, duplicated or reordered."""
        ...

    def complete(self) -> Tensor:
        """Whether only END can follow, bool (B,)."""
        ...


class MatrixGrammar:
    """Matrices of known shapes: ``rows`` and ``cols`` (B,), in co-training ``task_ids`` (B,), in a tokenizer's words."""

    def __init__(
        self,
        tokenizer: MatrixTokenizer,
        rows: NDArray[np.int64],
        cols: NDArray[np.int64],
        task_ids: NDArray[np.uint8] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        names = tokenizer.vocabulary
        first_task_token, first_dimension = names.index("T"), names.index("V1")
        header = [torch.from_numpy(n) for n in (rows + first_dimension - 1, cols + first_dimension - 1)]
        if tokenizer.has_task_tokens:
            if task_ids is None:
                raise ValueError("a tokenizer with task tokens needs the matrices' task_ids")
            header.insert(0, torch.from_numpy(task_ids.astype(np.int64) + first_task_token))
        self._header = torch.stack(header, dim=1).to(device)  # (B, h)
        self._lengths = torch.from_numpy(tokenizer.header + rows * cols * tokenizer.encoding.tokens_per_number).to(
            device
        )
        self._numbers = _number_masks(tokenizer).to(device)  # (words a number, V)
        self._end = torch.zeros((1, len(names)), dtype=torch.bool, device=device)
        self._end[0, END] = True
        self._place = 0

    def allowed(self) -> Tensor:
        h = self._header.shape[1]
        if self._place < h:
            mask = self._end.new_zeros((len(self._header), self._end.shape[1]))
            return mask.scatter_(1, self._header[:, self._place : self._place + 1], True)
        number = self._numbers[(self._place - h) % len(self._numbers)].unsqueeze(0)
        over = self.complete()
        if not bool(over.any()):
            return number
        return torch.where(over.unsqueeze(1), self._end, number)

    def advance(self, words: Tensor, /) -> None:
        self._place += 1

    def select(self, index: Tensor, /) -> None:
        self._header, self._lengths = self._header[index], self._lengths[index]

    def complete(self) -> Tensor:
        return self._place >= self._lengths


def _number_masks(tokenizer: MatrixTokenizer) -> Tensor:
    """(words a number, V): the words that can be read at each place of a number."""
    code, first = tokenizer.encoding, len(tokenizer.vocabulary) - tokenizer.encoding.size
    kinds = np.zeros((code.tokens_per_number, len(tokenizer.vocabulary)), dtype=np.bool_)
    words = np.arange(code.size)
    if isinstance(code, P10):
        kinds[0, first:], kinds[1:-1, first:], kinds[-1, first:] = words < 2, (words >= 2) & (words < 12), words >= 12
    elif isinstance(code, P1000):
        end = 2 + code.mantissas
        kinds[0, first:], kinds[1, first:], kinds[2, first:] = words < 2, (words >= 2) & (words < end), words >= end
    elif isinstance(code, B1999):
        kinds[0, first:], kinds[1, first:] = np.abs(words - code.bound) < code.bound, words > 2 * code.bound
    elif isinstance(code, FP15):
        kinds[0, first:] = words < code.size - 2
    else:
        raise TypeError(f"no grammar for {code.name}")
    return torch.from_numpy(kinds)


class PrefixGrammar:
    """Expressions in prefix words, each closed, END included, within ``max_length`` words.

    State of a row: how many problems are still open and how deep each of them stands (a stack, the next on top), and the
    number under way. Numbers are a sign and digits, without leading zeros, zero being ``INT+ 0``. ``leaves`` (names): the
    leaves that may be used, such as the problem's variables; all that the format knows by default.
    """

    def __init__(
        self,
        form: PrefixFormat,
        rows: int,
        max_length: int,
        leaves: Sequence[str] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if max_length < 2:
            raise ValueError(f"expected room for one word and END, got max_length {max_length}")
        arity = torch.tensor(form.arity, device=device)
        integer = torch.zeros_like(arity, dtype=torch.bool)
        integer[[IDS["INT+"], IDS["INT-"]]] = True
        node = (arity >= 0) & ~integer
        if leaves is not None:
            used = torch.tensor([word in leaves for word in TOKENS[: len(arity)]], device=device)
            node &= (arity > 0) | used
        self._node, self._integer = node, integer
        self._arity = torch.where(integer, 0, arity.clamp(min=0))
        # what a word costs at least: itself and its problems, one word each; an integer needs a digit besides
        self._cost = 1 + self._arity + integer
        self._digit = torch.zeros_like(node)
        self._digit[IDS["0"] : IDS["9"] + 1] = True
        self._zero = torch.zeros_like(node)
        self._zero[IDS["0"]] = True
        self._end = torch.zeros_like(node)
        self._end[END] = True
        self._left = max_length  # words, END included
        self._open = torch.ones(rows, dtype=torch.int64, device=device)
        self._depths = torch.zeros((rows, max_length + 2), dtype=torch.int16, device=device)
        self._digits = torch.full((rows,), -1, device=device)  # of the number under way; -1: none that could go on
        self._negative = torch.zeros(rows, dtype=torch.bool, device=device)

    def allowed(self) -> Tensor:
        open_, digits = self._open.unsqueeze(1), self._digits.unsqueeze(1)
        room = self._left - 1 - open_  # to spare, beyond one word for each open problem and END
        node = (self._node | self._integer) & (open_ > 0) & (self._cost - 1 <= room)
        depth = self._depths.gather(1, (open_ - 1).clamp(min=0))
        node &= (self._arity == 0) | (depth < _MAX_DEPTH)
        digit = self._digit & (digits >= 0) & (digits < _MAX_DIGITS)
        digit &= (digits == 0) | (room > 0)  # the first digit is due, others are not
        digit &= ~self._zero | (digits > 0) | ~self._negative.unsqueeze(1)
        return torch.where(digits == 0, digit, node | digit | (self._end & (open_ == 0)))

    def advance(self, words: Tensor, /) -> None:
        digit, sign = self._digit[words], self._integer[words]
        node = (self._node | self._integer)[words]
        top = (self._open - 1).clamp(min=0).unsqueeze(1)
        depth = self._depths.gather(1, top)
        self._depths.scatter_(1, top, torch.where(node.unsqueeze(1), depth + 1, depth))
        self._depths.scatter_(1, top + 1, torch.where(node.unsqueeze(1), depth + 1, self._depths.gather(1, top + 1)))
        self._open = torch.where(node, self._open - 1 + self._arity[words], self._open)
        closed = (words == IDS["0"]) & (self._digits == 0)  # zero: no digit may follow
        self._digits = torch.where(sign, 0, torch.where(digit & ~closed, self._digits + 1, -1))
        self._negative = torch.where(sign, words == IDS["INT-"], self._negative)
        self._left -= 1

    def select(self, index: Tensor, /) -> None:
        self._open, self._depths, self._digits = self._open[index], self._depths[index], self._digits[index]
        self._negative = self._negative[index]

    def complete(self) -> Tensor:
        return (self._open == 0) & ((self._digits < 0) | (self._digits >= _MAX_DIGITS) | (self._left <= 1))
