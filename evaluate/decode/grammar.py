"""Grammars: which tokens can continue a well-formed answer, for a batch of rows.

A matrix of known shape has a known length, and the position alone decides which tokens are allowed: the task token (in
co-training), ``V<rows>``, ``V<cols>``, then the tokens of each position within a number, then END. An expression in prefix notation
has no known length: the open operands, the current integer and the remaining length decide, so that every expression ends in time.

A grammar holds the state of all rows of a batch as tensors, without loops over rows or tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mathpipe.datasets.expressions.vocabulary import IDS, TOKENS
from mathpipe.datasets.tokenizers.expression_tokenizer import PrefixFormat
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.number_encodings import B1999, FP15, P10, P1000
from mathpipe.datasets.tokenizers.tokenizer import END

_MAX_DEPTH, _MAX_DIGITS = 200, 40  # limits of the parser (mathpipe.datasets.expressions.prefix)


class Grammar(Protocol):
    """The state of B rows, at first without any token."""

    def allowed(self) -> Tensor:
        """The allowed next tokens, bool (B, V), or (1, V) if they are the same for all rows."""
        ...

    def advance(self, tokens: Tensor, /) -> None:
        """Append one token per row, (B,). Finished rows may get any token."""
        ...

    def select(self, index: Tensor, /) -> None:
        """Continue with the rows at ``index`` (B',), which may drop, repeat or reorder rows."""
        ...

    def complete(self) -> Tensor:
        """Whether END is the only allowed token, bool (B,)."""
        ...


class MatrixGrammar:
    """Matrices of known shapes: ``rows`` and ``cols`` (B,), in co-training also ``task_ids`` (B,)."""

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
        self._numbers = _number_masks(tokenizer).to(device)  # (tokens per number, V)
        self._end = torch.zeros((1, len(names)), dtype=torch.bool, device=device)
        self._end[0, END] = True
        self._position = 0

    def allowed(self) -> Tensor:
        h = self._header.shape[1]
        if self._position < h:
            mask = self._end.new_zeros((len(self._header), self._end.shape[1]))
            return mask.scatter_(1, self._header[:, self._position : self._position + 1], True)
        number = self._numbers[(self._position - h) % len(self._numbers)].unsqueeze(0)
        complete = self.complete()
        if not bool(complete.any()):
            return number
        return torch.where(complete.unsqueeze(1), self._end, number)

    def advance(self, tokens: Tensor, /) -> None:
        self._position += 1

    def select(self, index: Tensor, /) -> None:
        self._header, self._lengths = self._header[index], self._lengths[index]

    def complete(self) -> Tensor:
        return self._position >= self._lengths


def _number_masks(tokenizer: MatrixTokenizer) -> Tensor:
    """(tokens per number, V): the tokens that can be decoded at each position within a number."""
    encoding, first = tokenizer.encoding, len(tokenizer.vocabulary) - tokenizer.encoding.size
    allowed = np.zeros((encoding.tokens_per_number, len(tokenizer.vocabulary)), dtype=np.bool_)
    ids = np.arange(encoding.size)
    if isinstance(encoding, P10):
        allowed[0, first:], allowed[1:-1, first:], allowed[-1, first:] = ids < 2, (ids >= 2) & (ids < 12), ids >= 12
    elif isinstance(encoding, P1000):
        end = 2 + encoding.mantissas
        allowed[0, first:], allowed[1, first:], allowed[2, first:] = ids < 2, (ids >= 2) & (ids < end), ids >= end
    elif isinstance(encoding, B1999):
        allowed[0, first:], allowed[1, first:] = np.abs(ids - encoding.bound) < encoding.bound, ids > 2 * encoding.bound
    elif isinstance(encoding, FP15):
        allowed[0, first:] = ids < encoding.size - 2
    else:
        raise TypeError(f"no grammar for {encoding.name}")
    return torch.from_numpy(allowed)


class PrefixGrammar:
    """Expressions in prefix notation, complete within ``max_length`` tokens, END included.

    State of a row: the number of open operands, the depth of each (a stack, the next on top), and the current integer. Integers
    are a sign and digits, without leading zeros; zero is ``INT+ 0``. ``leaves`` (names): the allowed leaves, such as the variables
    of the problem; all leaves of the format by default.
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
            raise ValueError(f"expected max_length >= 2, for one token and END, got {max_length}")
        arity = torch.tensor(form.arity, device=device)
        integer = torch.zeros_like(arity, dtype=torch.bool)
        integer[[IDS["INT+"], IDS["INT-"]]] = True
        node = (arity >= 0) & ~integer
        if leaves is not None:
            used = torch.tensor([token in leaves for token in TOKENS[: len(arity)]], device=device)
            node &= (arity > 0) | used
        self._node, self._integer = node, integer
        self._arity = torch.where(integer, 0, arity.clamp(min=0))
        # minimum number of tokens that a token needs: itself, one per operand, and a digit of an integer
        self._cost = 1 + self._arity + integer
        self._digit = torch.zeros_like(node)
        self._digit[IDS["0"] : IDS["9"] + 1] = True
        self._zero = torch.zeros_like(node)
        self._zero[IDS["0"]] = True
        self._end = torch.zeros_like(node)
        self._end[END] = True
        self._remaining = max_length  # tokens, END included
        self._open = torch.ones(rows, dtype=torch.int64, device=device)
        self._depths = torch.zeros((rows, max_length + 2), dtype=torch.int16, device=device)
        self._digits = torch.full((rows,), -1, device=device)  # of the current integer; -1: no integer can continue
        self._negative = torch.zeros(rows, dtype=torch.bool, device=device)

    def allowed(self) -> Tensor:
        open_, digits = self._open.unsqueeze(1), self._digits.unsqueeze(1)
        spare = self._remaining - 1 - open_  # tokens beyond one for each open operand and END
        node = (self._node | self._integer) & (open_ > 0) & (self._cost - 1 <= spare)
        depth = self._depths.gather(1, (open_ - 1).clamp(min=0))
        node &= (self._arity == 0) | (depth < _MAX_DEPTH)
        digit = self._digit & (digits >= 0) & (digits < _MAX_DIGITS)
        digit &= (digits == 0) | (spare > 0)  # the first digit is required, others are optional
        digit &= ~self._zero | (digits > 0) | ~self._negative.unsqueeze(1)
        return torch.where(digits == 0, digit, node | digit | (self._end & (open_ == 0)))

    def advance(self, tokens: Tensor, /) -> None:
        digit, sign = self._digit[tokens], self._integer[tokens]
        node = (self._node | self._integer)[tokens]
        top = (self._open - 1).clamp(min=0).unsqueeze(1)
        depth = self._depths.gather(1, top)
        self._depths.scatter_(1, top, torch.where(node.unsqueeze(1), depth + 1, depth))
        self._depths.scatter_(1, top + 1, torch.where(node.unsqueeze(1), depth + 1, self._depths.gather(1, top + 1)))
        self._open = torch.where(node, self._open - 1 + self._arity[tokens], self._open)
        is_zero = (tokens == IDS["0"]) & (self._digits == 0)  # no digit may follow
        self._digits = torch.where(sign, 0, torch.where(digit & ~is_zero, self._digits + 1, -1))
        self._negative = torch.where(sign, tokens == IDS["INT-"], self._negative)
        self._remaining -= 1

    def select(self, index: Tensor, /) -> None:
        self._open, self._depths, self._digits = self._open[index], self._depths[index], self._digits[index]
        self._negative = self._negative[index]

    def complete(self) -> Tensor:
        return (self._open == 0) & ((self._digits < 0) | (self._digits >= _MAX_DIGITS) | (self._remaining <= 1))
