"""Differential equations of first order: draw f(x, c1), eliminate c1 between y = f and y' = df/dx.

The column ``constants`` tells for which c1 a pair was found to hold: bit 0 for 1 < c1, bit 1 for 0 < c1 < 1, bit 2 for -1 <
c1 < 0, bit 3 for c1 < -1. Source: Lample and Charton 2020, section 4.2.
"""

from __future__ import annotations

from functools import partial

from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.general_solutions import judge_order
from mathpipe.generate.symbolic.check.solution_points import FIRST
from mathpipe.generate.symbolic.expr.random_trees import check_spec
from mathpipe.generate.tasks.sequence_base import OnDemand, SequenceTask

TASK = SequenceTask(
    name="ode1",
    kind="expressions",
    problem="F(x, y, y'), whose other side is zero",
    solution="y = f(x, c1), drawn first; c1 is written a8",
    source="Lample & Charton 2020, section 4.2",
    pairs=OnDemand("mathpipe.generate.tasks.calculus.pairs.first_order_equations", "pairs"),
    judge=partial(judge_order, FIRST),
    measures=("share",),
    columns={"operators": "int16", "constants": "uint8"},
    symbols=(("x", *FIRST.unknowns), ("x", *FIRST.constants)),
    example=ExpressionSpec(min_operators=3, max_operators=15, few_share=0),
    limits=check_spec,
)
