"""Integration by parts: int F g = F G - int f G, wherever the primitive of f G is known.

For each F, the products of its derivative f with every G of a pool are looked up in a table of primitives, whole and term by
term. Verified pairs are added to the table of their chunk. Source: Lample and Charton 2020, section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator

from mathpipe.generate.chunks.pair_chunks import Generators, Pairs
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.symbolic.integrate.table_digest import TABLE_DIGEST
from mathpipe.generate.tasks.calculus.calculus_tasks import IntegrationTask
from mathpipe.generate.tasks.token_task import Wanted


class IntegrationByParts(IntegrationTask):
    """F(x) g(x), written y' - F(x) g(x) -> F(x) G(x) minus a known primitive of f(x) G(x), where F' = f and G' = g."""

    name = "integration-ibp"
    problem = "F(x) g(x), written y' - F(x) g(x)"
    solution = "F(x) G(x) minus a known primitive of f(x) G(x), where F' = f and G' = g"
    source = "Lample & Charton 2020, section 4.1"
    default_spec = ExpressionSpec(min_operators=4, max_operators=15, table=TABLE_DIGEST)
    chunk_size = 2000

    def pairs(self, spec: ExpressionSpec, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        from mathpipe.generate.tasks.calculus.pairs.by_parts import pairs  # late, since it imports symengine

        return pairs(spec, generator, wanted)


TASK = IntegrationByParts()
