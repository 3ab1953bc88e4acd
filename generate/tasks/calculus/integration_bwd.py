"""Integration, backward: sample F and differentiate it; f = dF/dx is the problem, F the solution.

Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator

from mathpipe.generate.chunks.pair_chunks import Generators, Pairs
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.tasks.calculus.calculus_tasks import IntegrationTask
from mathpipe.generate.tasks.token_task import Wanted


class IntegrationBackward(IntegrationTask):
    """f(x), written y' - f(x) -> F(x) with F' = f, sampled first."""

    name = "integration-bwd"
    problem = "f(x), written y' - f(x)"
    solution = "F(x) with F' = f, sampled first"
    source = "Lample & Charton 2020, section 4.1"
    default_spec = ExpressionSpec(min_operators=4, max_operators=15)
    chunk_size = 2000

    def pairs(self, spec: ExpressionSpec, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        from mathpipe.generate.tasks.calculus.pairs.backward import pairs  # late, since it imports symengine

        return pairs(spec, generator, wanted)


TASK = IntegrationBackward()
