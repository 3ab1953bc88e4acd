"""Differential equations of second order: draw f(x, c1, c2), eliminate c1 and c2 between y = f, y' and y''.

The column ``constants`` tells for which constants a pair was found to hold: bit 0 where both are positive, bit 1 for c1 < 0
< c2, bit 2 for c2 < 0 < c1, bit 3 where both are negative. Source: Lample and Charton 2020, section 4.2.
"""

from __future__ import annotations

from functools import partial

from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.general_solutions import judge_order
from mathpipe.generate.symbolic.check.solution_points import SECOND
from mathpipe.generate.symbolic.expr.random_trees import check_spec
from mathpipe.generate.tasks.sequence_base import OnDemand, SequenceTask

TASK = SequenceTask(
    name="ode2",
    kind="expressions",
    problem="F(x, y, y', y''), whose other side is zero",
    solution="y = f(x, c1, c2), drawn first; c1 and c2 are written a8 and a9",
    source="Lample & Charton 2020, section 4.2",
    pairs=OnDemand("mathpipe.generate.tasks.calculus.pairs.second_order_equations", "pairs"),
    judge=partial(judge_order, SECOND),
    measures=("share",),
    columns={"operators": "int16", "constants": "uint8"},
    symbols=(("x", *SECOND.unknowns), ("x", *SECOND.constants)),
    example=ExpressionSpec(min_operators=5, max_operators=15, few_share=0),
    limits=check_spec,
    chunk_rows=200,
)
