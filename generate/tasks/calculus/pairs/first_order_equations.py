"""Differential equations of first order: draw f(x, c1), eliminate c1 between y = f and y' = df/dx.

The column ``constants`` tells for which c1 a pair was found to hold: bit 0 for 1 < c1, bit 1 for 0 < c1 < 1, bit 2 for -1 <
c1 < 0, bit 3 for c1 < -1. Source: Lample and Charton 2020, section 4.2.
"""

from __future__ import annotations

from functools import partial

import symengine as se

from mathpipe.generate.symbolic.check.solution_points import FIRST
from mathpipe.generate.symbolic.expr.canonical_form import Expr, Unwritable
from mathpipe.generate.symbolic.ode.constant_elimination import carried, invert
from mathpipe.generate.symbolic.ode.integration_constants import C1
from mathpipe.generate.symbolic.ode.normalisation import clean
from mathpipe.generate.tasks.calculus.pairs.equations import Memo, pairs_of

DRAW = 128  # trees of one draw
Y, SLOPE = se.Symbol("Y"), se.Symbol("Y'")


def equations(f: Expr, memo: Memo, max_len: int) -> list[bytes]:
    """y' - D(x, y) = 0, cleaned."""
    _, rises = invert(f, C1, Y, {})
    equation = clean(SLOPE - carried(rises, se.Integer(0)), SLOPE, memo)
    if len(equation) > max_len:
        raise Unwritable("too long")
    return [equation]


pairs = partial(pairs_of, FIRST, equations, DRAW)
