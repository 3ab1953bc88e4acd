"""First-order differential equations: sample f(x, c1) and eliminate c1 from y = f and y' = df/dx.

The column ``constants`` is a bit mask of the c1 for which a pair holds: bit 0 for 1 < c1, bit 1 for 0 < c1 < 1, bit 2 for -1 <
c1 < 0, bit 3 for c1 < -1. Source: Lample and Charton 2020, section 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator

from mathpipe.generate.chunks.pair_chunks import Generators, Pairs
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.symbolic.check.solution_points import FIRST_ORDER
from mathpipe.generate.tasks.calculus.calculus_tasks import EquationTask
from mathpipe.generate.tasks.token_task import Wanted


class FirstOrderEquation(EquationTask):
    """F(x, y, y'), set equal to zero -> y = f(x, c1), sampled first; c1 is written a8."""

    name = "ode1"
    problem = "F(x, y, y'), set equal to zero"
    solution = "y = f(x, c1), sampled first; c1 is written a8"
    source = "Lample & Charton 2020, section 4.2"
    default_spec = ExpressionSpec(min_operators=3, max_operators=15, few_share=0)
    order = FIRST_ORDER
    symbols = (("x", *FIRST_ORDER.unknowns), ("x", *FIRST_ORDER.constants))

    def pairs(self, spec: ExpressionSpec, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        from mathpipe.generate.tasks.calculus.pairs.first_order_equations import (
            pairs,  # late, since it imports symengine
        )

        return pairs(spec, generator, wanted)


TASK = FirstOrderEquation()
