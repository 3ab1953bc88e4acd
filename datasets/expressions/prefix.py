"""Expression trees: a strict parser of prefix notation, and its inverse.

A tree is an ``int`` (an integer) or a tuple ``(token id, *operands)``: ``(IDS["add"], (IDS["x"],), 3)`` is x + 3.
Tokens never reach ``eval``, ``sympify`` or any other evaluator of text: the parser of this module limits length, depth and
digits.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, TOKENS

Tree = int | tuple[Any, ...]

MAX_TOKENS = 4096
MAX_DEPTH = 200
MAX_DIGITS = 40

_PLUS, _MINUS, _ZERO = IDS["INT+"], IDS["INT-"], IDS["0"]
_ARITY = tuple(ARITY.get(token, -1) for token in TOKENS)
_LEAVES = {k: (k,) for k, arity in enumerate(_ARITY) if arity == 0}


class Malformed(ValueError):
    """The tokens are not an expression; the message says where and why."""


def parse(
    ids: bytes, *, max_tokens: int = MAX_TOKENS, max_depth: int = MAX_DEPTH, max_digits: int = MAX_DIGITS
) -> Tree:
    """The tree of a prefix sequence of token ids; Malformed if it is not an expression, or exceeds the limits.

    The parser runs from the end with a stack: an operator pops its operands from the top. An integer is a sign and digits without
    leading zeros; zero is ``INT+ 0``.
    """
    if not ids:
        raise Malformed("no tokens")
    if len(ids) > max_tokens:
        raise Malformed(f"{len(ids)} tokens, more than {max_tokens}")
    stack: list[Tree] = []
    depths: list[int] = []
    end = len(ids)  # end of the current run of digits
    position = end
    for token in reversed(ids):
        position -= 1
        if token >= _ZERO:
            if token >= len(TOKENS):
                raise Malformed(f"token {position}: unknown id {token}")
            continue
        if token == _PLUS or token == _MINUS:  # noqa: SIM109  # a tuple would be built for each token
            stack.append(_integer(ids, position, end, max_digits))
            depths.append(0)
            end = position
            continue
        if end - position > 1:
            raise Malformed(f"token {position + 1}: digits after {TOKENS[token]}")
        end = position
        arity = _ARITY[token]
        if arity < 0:
            raise Malformed(f"token {position}: {TOKENS[token]} cannot begin an expression")
        if arity > len(stack):
            raise Malformed(f"token {position}: {TOKENS[token]} lacks operands")
        if arity == 0:
            stack.append(_LEAVES[token])
            depths.append(0)
            continue
        if arity == 1:
            stack[-1] = (token, stack[-1])
        else:
            left = stack.pop()
            stack[-1] = (token, left, stack[-1])
            depth = depths.pop()
            if depth > depths[-1]:
                depths[-1] = depth
        depths[-1] += 1
        if depths[-1] > max_depth:
            raise Malformed(f"deeper than {max_depth}")
    if end:
        raise Malformed("token 0: digits without a sign")
    if len(stack) != 1:
        raise Malformed(f"{len(stack)} expressions instead of one")
    return stack[0]


def _integer(ids: bytes, position: int, end: int, max_digits: int) -> int:
    if end - position == 2 and ids[position + 1] > _ZERO:
        digit = ids[position + 1] - _ZERO
        return digit if ids[position] == _PLUS else -digit
    digits = ids[position + 1 : end]
    if not digits:
        raise Malformed(f"token {position}: {TOKENS[ids[position]]} without digits")
    if len(digits) > max_digits:
        raise Malformed(f"token {position}: an integer of {len(digits)} digits, more than {max_digits}")
    if digits[0] == _ZERO and (len(digits) > 1 or ids[position] == _MINUS):
        raise Malformed(f"token {position}: an integer with a leading zero")
    value = 0
    for digit in digits:
        value = 10 * value + digit - _ZERO
    return -value if ids[position] == _MINUS else value


@cache
def _small_integer(value: int) -> bytes:
    return bytes([_PLUS if value >= 0 else _MINUS, *(IDS[digit] for digit in str(abs(value)))])


def integer_to_ids(value: int) -> bytes:
    """Token ids of an integer: ``INT+`` or ``INT-``, then the digits."""
    if -10_000 < value < 10_000:
        return _small_integer(value)
    return bytes([_PLUS if value >= 0 else _MINUS, *(IDS[digit] for digit in str(abs(value)))])


def write(tree: Tree) -> bytes:
    """The prefix sequence of a tree, the inverse of ``parse``."""
    parts: list[bytes] = []
    stack: list[Tree] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, int):
            parts.append(integer_to_ids(node))
        else:
            parts.append(bytes((node[0],)))
            stack.extend(reversed(node[1:]))
    return b"".join(parts)


def subexpression(ids: bytes, position: int) -> bytes:
    """The expression that begins at a position of well-formed prefix sequences."""
    end, missing = position, 1  # missing: operands, and an integer is one with its digits
    while missing:
        missing += _ARITY[ids[end]] - 1 if ids[end] not in (_PLUS, _MINUS) else -1
        end += 1
        while end < len(ids) and ids[end] >= _ZERO:
            end += 1
    return ids[position:end]


def text_to_ids(text: str) -> bytes:
    """The ids of tokens separated by spaces; UserError for the first unknown token."""
    try:
        return bytes([IDS[token] for token in text.split()])
    except KeyError as error:
        raise UserError(
            f"{error.args[0]!r} is not a token of expressions", expected="tokens of the published vocabulary"
        ) from None


def ids_to_text(ids: bytes) -> str:
    """The tokens, separated by spaces; unknown ids show as ``<id>``."""
    return " ".join(TOKENS[k] if k < len(TOKENS) else f"<{k}>" for k in ids)
