"""Integration, backward: sample F and differentiate it; f = dF/dx is the problem, F the solution.

Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from mathpipe.generate.spec import ExpressionSpec
from mathpipe.generate.symbolic.check.antiderivatives import verify_antiderivatives
from mathpipe.generate.symbolic.expr.random_trees import check_spec
from mathpipe.generate.tasks.sequence_base import LazyFunction, SequenceTask

TASK = SequenceTask(
    name="integration-bwd",
    kind="expressions",
    problem="f(x), written y' - f(x)",
    solution="F(x) with F' = f, sampled first",
    source="Lample & Charton 2020, section 4.1",
    pairs=LazyFunction("mathpipe.generate.tasks.calculus.pairs.backward", "pairs"),
    verify=verify_antiderivatives,
    measures=("satisfied_fraction",),
    columns={"operators": "int16"},
    symbols=(("x", "Y'"), ("x",)),
    example=ExpressionSpec(min_operators=4, max_operators=15),
    validate_spec=check_spec,
    chunk_rows=2000,
)
