"""Integration, forward: sample f and find a primitive F by rules; unsolved f are rejected.

The problems are the solved ones, hence shorter than the sampled ones. Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator

from mathpipe.generate.chunks.pair_chunks import Generators, Pairs
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.symbolic.integrate.table_digest import TABLE_DIGEST
from mathpipe.generate.tasks.calculus.calculus_tasks import IntegrationTask
from mathpipe.generate.tasks.token_task import Wanted


class IntegrationForward(IntegrationTask):
    """f(x), written y' - f(x), sampled first -> F(x) with F' = f, found by rules."""

    name = "integration-fwd"
    problem = "f(x), written y' - f(x), sampled first"
    solution = "F(x) with F' = f, found by rules"
    source = "Lample & Charton 2020, section 4.1"
    default_spec = ExpressionSpec(min_operators=3, max_operators=15, table=TABLE_DIGEST)

    def pairs(self, spec: ExpressionSpec, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        from mathpipe.generate.tasks.calculus.pairs.forward import pairs  # late, since it imports symengine

        return pairs(spec, generator, wanted)


TASK = IntegrationForward()
