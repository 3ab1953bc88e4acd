"""Second-order differential equations: sample f(x, c1, c2) and eliminate c1 and c2 from y = f, y' and y''.

The column ``constants`` is a bit mask of the constants for which a pair holds: bit 0 where both are positive, bit 1 for c1 < 0
< c2, bit 2 for c2 < 0 < c1, bit 3 where both are negative. Source: Lample and Charton 2020, section 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator

from mathpipe.generate.chunks.pair_chunks import Generators, Pairs
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.symbolic.check.solution_points import SECOND_ORDER
from mathpipe.generate.tasks.calculus.calculus_tasks import EquationTask
from mathpipe.generate.tasks.token_task import Wanted


class SecondOrderEquation(EquationTask):
    """F(x, y, y', y''), set equal to zero -> y = f(x, c1, c2), sampled first; c1 and c2 are written a8 and a9."""

    name = "ode2"
    problem = "F(x, y, y', y''), set equal to zero"
    solution = "y = f(x, c1, c2), sampled first; c1 and c2 are written a8 and a9"
    source = "Lample & Charton 2020, section 4.2"
    default_spec = ExpressionSpec(min_operators=5, max_operators=15, few_share=0)
    chunk_size = 200
    order = SECOND_ORDER
    symbols = (("x", *SECOND_ORDER.unknowns), ("x", *SECOND_ORDER.constants))

    def pairs(self, spec: ExpressionSpec, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        from mathpipe.generate.tasks.calculus.pairs.second_order_equations import (
            pairs,  # late, since it imports symengine
        )

        return pairs(spec, generator, wanted)


TASK = SecondOrderEquation()
