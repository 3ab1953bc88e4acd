"""Second-order differential equations: sample f(x, c1, c2) and eliminate c1 and c2 from y = f, y' and y''.

The column ``constants`` is a bit mask of the constants for which a pair holds: bit 0 where both are positive, bit 1 for c1 < 0
< c2, bit 2 for c2 < 0 < c1, bit 3 where both are negative. Source: Lample and Charton 2020, section 4.2.
"""

from __future__ import annotations

from functools import partial

from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.general_solutions import verify_general_solutions
from mathpipe.generate.symbolic.check.solution_points import SECOND_ORDER
from mathpipe.generate.symbolic.expr.random_trees import check_spec
from mathpipe.generate.tasks.sequence_base import LazyFunction, SequenceTask

TASK = SequenceTask(
    name="ode2",
    kind="expressions",
    problem="F(x, y, y', y''), set equal to zero",
    solution="y = f(x, c1, c2), sampled first; c1 and c2 are written a8 and a9",
    source="Lample & Charton 2020, section 4.2",
    pairs=LazyFunction("mathpipe.generate.tasks.calculus.pairs.second_order_equations", "pairs"),
    verify=partial(verify_general_solutions, SECOND_ORDER),
    measures=("satisfied_fraction",),
    columns={"operators": "int16", "constants": "uint8"},
    symbols=(("x", *SECOND_ORDER.unknowns), ("x", *SECOND_ORDER.constants)),
    example=ExpressionSpec(min_operators=5, max_operators=15, few_share=0),
    validate_spec=check_spec,
    chunk_rows=200,
)
