"""Expressions: trees of the 91 published words, read from prefix strictly, written as prefix, and as SymPy holds them.

A tree is an ``int`` (an integer) or a tuple ``(word id, *operands)``: ``(IDS["add"], (IDS["x"],), 3)`` is x + 3.
Words never reach ``eval``, ``sympify`` or any other evaluator of text: reading is a parser of this module with bounds on
length, depth and digits.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, WORDS

Tree = int | tuple[Any, ...]

MAX_WORDS = 4096
MAX_DEPTH = 200
MAX_DIGITS = 40

_PLUS, _MINUS, _ZERO = IDS["INT+"], IDS["INT-"], IDS["0"]
_ARITY = tuple(ARITY.get(word, -1) for word in WORDS)
_LEAVES = {k: (k,) for k, arity in enumerate(_ARITY) if arity == 0}


class Malformed(ValueError):
    """Words that are no expression; the message says where and why."""


def parse(
    words: bytes, *, max_words: int = MAX_WORDS, max_depth: int = MAX_DEPTH, max_digits: int = MAX_DIGITS
) -> Tree:
    """The tree of a prefix sequence of word ids; Malformed where it is none, or larger than the bounds.

    Read from the end, with a stack: an operator takes its operands from the top. Integers are a sign and digits without
    leading zeros, and zero is ``INT+ 0``.
    """
    if not words:
        raise Malformed("no words")
    if len(words) > max_words:
        raise Malformed(f"{len(words)} words, more than {max_words}")
    stack: list[Tree] = []
    depths: list[int] = []
    end = len(words)  # where the digits under way end
    for place in range(len(words) - 1, -1, -1):
        word = words[place]
        if word >= _ZERO:
            if word >= len(WORDS):
                raise Malformed(f"word {place}: {word} is no word")
            continue
        if word in (_PLUS, _MINUS):
            stack.append(_integer(words, place, end, max_digits))
            depths.append(0)
        else:
            if end - place > 1:
                raise Malformed(f"word {place + 1}: digits after {WORDS[word]}")
            arity = _ARITY[word]
            if arity < 0:
                raise Malformed(f"word {place}: {WORDS[word]} begins no expression")
            if arity > len(stack):
                raise Malformed(f"word {place}: {WORDS[word]} lacks operands")
            if arity == 0:
                stack.append(_LEAVES[word])
                depths.append(0)
            else:
                operands = stack[-arity:]
                deepest = 1 + max(depths[-arity:])
                if deepest > max_depth:
                    raise Malformed(f"deeper than {max_depth}")
                del stack[-arity:], depths[-arity:]
                stack.append((word, *reversed(operands)))
                depths.append(deepest)
        end = place
    if end:
        raise Malformed("word 0: digits without a sign")
    if len(stack) != 1:
        raise Malformed(f"{len(stack)} expressions one after the other")
    return stack[0]


def _integer(words: bytes, place: int, end: int, max_digits: int) -> int:
    digits = words[place + 1 : end]
    if not digits:
        raise Malformed(f"word {place}: {WORDS[words[place]]} without digits")
    if len(digits) > max_digits:
        raise Malformed(f"word {place}: an integer of {len(digits)} digits, more than {max_digits}")
    if digits[0] == _ZERO and (len(digits) > 1 or words[place] == _MINUS):
        raise Malformed(f"word {place}: an integer with a leading zero")
    value = 0
    for digit in digits:
        value = 10 * value + digit - _ZERO
    return -value if words[place] == _MINUS else value


@cache
def _small_integer(value: int) -> bytes:
    return bytes([_PLUS if value >= 0 else _MINUS, *(IDS[digit] for digit in str(abs(value)))])


def integer_words(value: int) -> bytes:
    """``INT+`` or ``INT-`` and the digits."""
    if -10_000 < value < 10_000:
        return _small_integer(value)
    return bytes([_PLUS if value >= 0 else _MINUS, *(IDS[digit] for digit in str(abs(value)))])


def write(tree: Tree) -> bytes:
    """The prefix sequence of a tree."""
    parts: list[bytes] = []
    stack: list[Tree] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, int):
            parts.append(integer_words(node))
        else:
            parts.append(bytes((node[0],)))
            stack.extend(reversed(node[1:]))
    return b"".join(parts)


def words_of(text: str) -> bytes:
    """The ids of words with spaces between; UserError naming the first that is no word."""
    try:
        return bytes([IDS[word] for word in text.split()])
    except KeyError as unknown:
        raise UserError(
            f"{unknown.args[0]!r} is no word of an expression", expected="words of the published vocabulary"
        ) from None


def text_of(words: bytes) -> str:
    """Words with spaces between; ids that are no word show as ``<id>``."""
    return " ".join(WORDS[k] if k < len(WORDS) else f"<{k}>" for k in words)
