"""Differential equations of second order: draw f(x, c1, c2), eliminate c1 and c2 between y = f, y' and y''.

The column ``constants`` tells for which constants a pair was found to hold: bit 0 where both are positive, bit 1 for c1 < 0
< c2, bit 2 for c2 < 0 < c1, bit 3 where both are negative. Source: Lample and Charton 2020, section 4.2.
"""

from __future__ import annotations

from functools import partial

from mathpipe.generate.symbolic.check.solution_points import SECOND
from mathpipe.generate.symbolic.expr.canonical_form import Expr, Unwritable
from mathpipe.generate.symbolic.ode.normalisation import clean
from mathpipe.generate.symbolic.ode.second_order import BEND, second_order
from mathpipe.generate.tasks.calculus.pairs.equations import Memo, pairs_of

DRAW = 64  # trees of one draw
MOST_CANDIDATES = 4


def equations(f: Expr, memo: Memo, max_len: int) -> list[bytes]:
    """The shortest equations found for f."""
    found: set[bytes] = set()
    solved = False
    for expression in second_order(f):
        solved = True
        try:
            found.add(clean(expression, BEND, memo))
        except (Unwritable, RuntimeError, ZeroDivisionError):  # this one is too large or infinite: others may do
            continue
    if not solved:
        raise Unwritable("not solved")
    fitting = sorted((e for e in found if len(e) <= max_len), key=lambda e: (len(e), e))
    if not fitting:
        raise Unwritable("too long")
    return fitting[:MOST_CANDIDATES]


pairs = partial(pairs_of, SECOND, equations, DRAW)
