"""What expansion by symengine starts from: expressions, the variable, and what is not decided by expansion."""

from __future__ import annotations

from typing import Any

import symengine as se

Expression = Any  # symengine has no type stubs

X = se.Symbol("x")
ZERO, ONE, TWO = map(se.Integer, range(3))
HALF = ONE / TWO


class NotDecided(Exception):
    """The expression holds something that is not decided here."""


UNDECIDED = (NotDecided, RuntimeError, ZeroDivisionError, NotImplementedError)
"""symengine raises RuntimeError for infinite and undefined values."""


def is_negative(exponent: Expression) -> bool:
    """Whether an expression is a negative number."""
    return bool(exponent.is_Number and exponent.is_negative)
