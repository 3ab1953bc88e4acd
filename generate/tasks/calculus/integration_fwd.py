"""Integration, forward: sample f and find a primitive F by rules; unsolved f are rejected.

The problems are the solved ones, hence shorter than the sampled ones. Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import verify_antiderivatives
from mathpipe.generate.symbolic.expr.random_trees import check_spec
from mathpipe.generate.symbolic.integrate.table_digest import TABLE_DIGEST
from mathpipe.generate.tasks.sequence_base import LazyFunction, SequenceTask

TASK = SequenceTask(
    name="integration-fwd",
    kind="expressions",
    problem="f(x), written y' - f(x), sampled first",
    solution="F(x) with F' = f, found by rules",
    source="Lample & Charton 2020, section 4.1",
    pairs=LazyFunction("mathpipe.generate.tasks.calculus.pairs.forward", "pairs"),
    verify=verify_antiderivatives,
    measures=("satisfied_fraction",),
    columns={"operators": "int16"},
    symbols=(("x", "Y'"), ("x",)),
    example=ExpressionSpec(min_operators=3, max_operators=15, table=TABLE_DIGEST),
    validate_spec=check_spec,
    chunk_rows=1000,
)
