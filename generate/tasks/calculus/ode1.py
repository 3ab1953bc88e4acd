"""First-order differential equations: sample f(x, c1) and eliminate c1 from y = f and y' = df/dx.

The column ``constants`` is a bit mask of the c1 for which a pair holds: bit 0 for 1 < c1, bit 1 for 0 < c1 < 1, bit 2 for -1 <
c1 < 0, bit 3 for c1 < -1. Source: Lample and Charton 2020, section 4.2.
"""

from __future__ import annotations

from functools import partial

from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.general_solutions import verify_general_solutions
from mathpipe.generate.symbolic.check.solution_points import FIRST_ORDER
from mathpipe.generate.symbolic.expr.random_trees import check_spec
from mathpipe.generate.tasks.sequence_base import LazyFunction, SequenceTask

TASK = SequenceTask(
    name="ode1",
    kind="expressions",
    problem="F(x, y, y'), set equal to zero",
    solution="y = f(x, c1), sampled first; c1 is written a8",
    source="Lample & Charton 2020, section 4.2",
    pairs=LazyFunction("mathpipe.generate.tasks.calculus.pairs.first_order_equations", "pairs"),
    verify=partial(verify_general_solutions, FIRST_ORDER),
    measures=("satisfied_fraction",),
    columns={"operators": "int16", "constants": "uint8"},
    symbols=(("x", *FIRST_ORDER.unknowns), ("x", *FIRST_ORDER.constants)),
    example=ExpressionSpec(min_operators=3, max_operators=15, few_share=0),
    validate_spec=check_spec,
)
