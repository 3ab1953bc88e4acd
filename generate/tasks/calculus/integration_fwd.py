"""Integration, forwards: draw f, find a primitive F of it by rules; what the rules do not find is given up.

Problems are those that are solved, hence shorter than what is drawn. Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import judge
from mathpipe.generate.symbolic.expr.random_trees import check_spec
from mathpipe.generate.symbolic.integrate.table_digest import TABLE
from mathpipe.generate.tasks.sequence_base import OnDemand, SequenceTask

TASK = SequenceTask(
    name="integration-fwd",
    kind="expressions",
    problem="f(x), written y' - f(x), drawn first",
    solution="F(x) with F' = f, found by rules",
    source="Lample & Charton 2020, section 4.1",
    pairs=OnDemand("mathpipe.generate.tasks.calculus.pairs.forward", "pairs"),
    judge=judge,
    measures=("share",),
    columns={"operators": "int16"},
    symbols=(("x", "Y'"), ("x",)),
    example=ExpressionSpec(min_operators=3, max_operators=15, table=TABLE),
    limits=check_spec,
    chunk_rows=1000,
)
