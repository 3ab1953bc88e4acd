"""The chain rule for values and two derivatives, of arrays and of balls alike."""

from __future__ import annotations

from typing import Any


def compose(outer: tuple[Any, ...], inner: tuple[Any, ...], order: int) -> tuple[Any, ...]:
    """The derivatives of f(g(x)) up to ``order`` (0 to 2), from those of f at g(x) and of g at x.

    (f, f' g', f' g'' + f'' g'^2): Faa di Bruno's formula.
    """
    if order == 0:
        return (outer[0],)
    first = outer[1] * inner[1]
    return (outer[0], first) if order < 2 else (outer[0], first, outer[1] * inner[2] + outer[2] * inner[1] ** 2)
