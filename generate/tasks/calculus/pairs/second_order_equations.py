"""Second-order differential equations: sample f(x, c1, c2) and eliminate c1 and c2 from y = f, y' and y''.

The column ``constants`` is a bit mask of the constants for which a pair holds: bit 0 where both are positive, bit 1 for c1 < 0
< c2, bit 2 for c2 < 0 < c1, bit 3 where both are negative. Source: Lample and Charton 2020, section 4.2.
"""

from __future__ import annotations

from functools import partial

from mathpipe.generate.symbolic.check.solution_points import SECOND_ORDER
from mathpipe.generate.symbolic.expr.canonical_form import Expr, RejectedExpression, TokenCache
from mathpipe.generate.symbolic.ode.normalisation import normalise_equation
from mathpipe.generate.symbolic.ode.second_order import D2Y, eliminate_two_constants
from mathpipe.generate.tasks.calculus.pairs.equations import pairs_of

TREES_PER_BATCH = 64  # trees sampled at a time
MAX_CANDIDATES = 4


def equations(f: Expr, token_cache: TokenCache, max_len: int) -> list[bytes]:
    """Up to ``MAX_CANDIDATES`` of the shortest normalised equations of f."""
    candidates: set[bytes] = set()
    solved = False
    for expression in eliminate_two_constants(f):
        solved = True
        try:
            candidates.add(normalise_equation(expression, D2Y, token_cache))
        except (
            RejectedExpression,
            RuntimeError,
            ZeroDivisionError,
        ):  # too large or infinite; another candidate may be valid
            continue
    if not solved:
        raise RejectedExpression("not solved")
    fitting = sorted((e for e in candidates if len(e) <= max_len), key=lambda e: (len(e), e))
    if not fitting:
        raise RejectedExpression("too long")
    return fitting[:MAX_CANDIDATES]


pairs = partial(pairs_of, SECOND_ORDER, equations, TREES_PER_BATCH)
