"""Integration, backwards: draw F, differentiate it: f = dF/dx is the problem, F its answer.

Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import judge
from mathpipe.generate.symbolic.expr.random_trees import check_spec
from mathpipe.generate.tasks.sequence_base import OnDemand, SequenceTask

TASK = SequenceTask(
    name="integration-bwd",
    kind="expressions",
    problem="f(x), written y' - f(x)",
    solution="F(x) with F' = f, drawn first",
    source="Lample & Charton 2020, section 4.1",
    pairs=OnDemand("mathpipe.generate.tasks.calculus.pairs.backward", "pairs"),
    judge=judge,
    measures=("share",),
    columns={"operators": "int16"},
    symbols=(("x", "Y'"), ("x",)),
    example=ExpressionSpec(min_operators=4, max_operators=15),
    limits=check_spec,
    chunk_rows=2000,
)
