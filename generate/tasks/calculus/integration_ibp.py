"""Integration by parts: int F g = F G - int f G, wherever the primitive of f G is known.

For each F, the products of its derivative f with every G of a pool are looked up in a table of primitives, whole and term by
term. Verified pairs are added to the table of their chunk. Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import verify_antiderivatives
from mathpipe.generate.symbolic.expr.random_trees import check_spec
from mathpipe.generate.symbolic.integrate.table_digest import TABLE_DIGEST
from mathpipe.generate.tasks.sequence_base import LazyFunction, SequenceTask

TASK = SequenceTask(
    name="integration-ibp",
    kind="expressions",
    problem="F(x) g(x), written y' - F(x) g(x)",
    solution="F(x) G(x) minus a known primitive of f(x) G(x), where F' = f and G' = g",
    source="Lample & Charton 2020, section 4.1",
    pairs=LazyFunction("mathpipe.generate.tasks.calculus.pairs.by_parts", "pairs"),
    verify=verify_antiderivatives,
    measures=("satisfied_fraction",),
    columns={"operators": "int16"},
    symbols=(("x", "Y'"), ("x",)),
    example=ExpressionSpec(min_operators=4, max_operators=15, table=TABLE_DIGEST),
    validate_spec=check_spec,
    chunk_rows=2000,
)
