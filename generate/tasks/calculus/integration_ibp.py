"""Integration by parts: int F g = F G - int f G, wherever the primitive of f G is known.

For each F one product of its derivative with every G of a pool is looked up, whole and term by term, in a table of primitives;
what is found and verified joins the table of its chunk. Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import judge
from mathpipe.generate.symbolic.expr.random_trees import check_spec
from mathpipe.generate.symbolic.integrate.table_digest import TABLE
from mathpipe.generate.tasks.sequence_base import OnDemand, SequenceTask

TASK = SequenceTask(
    name="integration-ibp",
    kind="expressions",
    problem="F(x) g(x), written y' - F(x) g(x)",
    solution="F(x) G(x) less a known primitive of f(x) G(x), where F' = f and G' = g",
    source="Lample & Charton 2020, section 4.1",
    pairs=OnDemand("mathpipe.generate.tasks.calculus.pairs.by_parts", "pairs"),
    judge=judge,
    measures=("share",),
    columns={"operators": "int16"},
    symbols=(("x", "Y'"), ("x",)),
    example=ExpressionSpec(min_operators=4, max_operators=15, table=TABLE),
    limits=check_spec,
    chunk_rows=2000,
)
