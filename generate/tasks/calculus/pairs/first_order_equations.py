"""First-order differential equations: sample f(x, c1) and eliminate c1 from y = f and y' = df/dx.

The column ``constants`` is a bit mask of the c1 for which a pair holds: bit 0 for 1 < c1, bit 1 for 0 < c1 < 1, bit 2 for -1 <
c1 < 0, bit 3 for c1 < -1. Source: Lample and Charton 2020, section 4.2.
"""

from __future__ import annotations

from functools import partial

import symengine as se

from mathpipe.generate.symbolic.check.solution_points import FIRST_ORDER
from mathpipe.generate.symbolic.expr.canonical_form import Expr, RejectedExpression, TokenCache
from mathpipe.generate.symbolic.ode.constant_elimination import apply_chain_rule, solve_for
from mathpipe.generate.symbolic.ode.integration_constants import C1
from mathpipe.generate.symbolic.ode.normalisation import normalise_equation
from mathpipe.generate.tasks.calculus.pairs.equations import pairs_of

TREES_PER_BATCH = 128  # trees sampled at a time
Y, DY = se.Symbol("Y"), se.Symbol("Y'")


def equations(f: Expr, token_cache: TokenCache, max_len: int) -> list[bytes]:
    """The normalised equation y' - D(x, y) = 0."""
    _, steps = solve_for(f, C1, Y, {})
    equation = normalise_equation(DY - apply_chain_rule(steps, se.Integer(0)), DY, token_cache)
    if len(equation) > max_len:
        raise RejectedExpression("too long")
    return [equation]


pairs = partial(pairs_of, FIRST_ORDER, equations, TREES_PER_BATCH)
