"""What the tasks of integration, and those of differential equations, have in common.

Their verifiers are imported at the first call: other tasks do without python-flint and symengine.
"""

from __future__ import annotations

from typing import ClassVar

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.outcomes import Verification
from mathpipe.generate.problem_specs.expression_spec import ExpressionSpec
from mathpipe.generate.symbolic.check.solution_points import OdeOrder
from mathpipe.generate.symbolic.expr.random_trees import check_spec
from mathpipe.generate.tasks.token_task import ExpressionTask, Mask


class IntegrationTask(ExpressionTask):
    """f(x), written y' - f(x) -> F(x) with F' = f."""

    grades_evidence = True
    measures = ("satisfied_fraction",)
    columns: ClassVar[dict[str, str]] = {"operators": "int16"}
    symbols = (("x", "Y'"), ("x",))
    stored_solutions = (
        "A pair is stored if F' = f in double precision at 16 points; in `integration-bwd`, f is the derivative of F "
        "by construction. `mathpipe verify` repeats this and expands F' - f. What does not expand to 0 is verified "
        "like an answer of a model, with ball arithmetic. `mathpipe verify --prove` grades the evidence for every "
        "solution: proven, enclosed or sampled."
    )

    @property
    def question(self) -> str:
        return "integral"

    def check(self, spec: ExpressionSpec) -> None:
        check_spec(spec)

    def verify(self, problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
        from mathpipe.generate.symbolic.check.antiderivatives import verify_antiderivatives

        return verify_antiderivatives(problems, references, predicted)

    def proven(self, problems: Sequences, solutions: Sequences) -> Mask:
        from mathpipe.generate.symbolic.check.antiderivatives import prove_antiderivatives

        return prove_antiderivatives(problems, solutions)

    def rechecked(self, problems: Sequences, solutions: Sequences) -> Mask:
        """F' = f in double precision at 16 points, and F' - f expands to 0."""
        from mathpipe.generate.symbolic.check.antiderivatives import expand_to_zero, integrands, is_antiderivative

        f = integrands(problems)
        right = is_antiderivative(f, solutions)[0]
        right[right] = expand_to_zero(f.take(right), solutions.take(right))
        return right


class EquationTask(ExpressionTask):
    """F(x, y, y', ...) = 0 -> the general solution y = f(x, c1, ...).

    ``order``: of the equation. The column ``constants`` holds the constants for which a pair holds, as bits.
    """

    grades_evidence = True
    stored_solutions = (
        "A pair is stored if the equation with its solution holds in double precision wherever it has a value, and if "
        "it also expands to 0 or balls enclose 0 on every interval between critical points. `mathpipe verify` repeats "
        "this. `mathpipe verify --prove` grades the evidence for every solution: proven, enclosed or sampled."
    )
    order: ClassVar[OdeOrder]
    measures = ("satisfied_fraction",)
    columns: ClassVar[dict[str, str]] = {"operators": "int16", "constants": "uint8"}

    def check(self, spec: ExpressionSpec) -> None:
        check_spec(spec)

    def verify(self, problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
        from mathpipe.generate.symbolic.check.general_solutions import verify_general_solutions

        return verify_general_solutions(self.order, problems, references, predicted)

    def proven(self, problems: Sequences, solutions: Sequences) -> Mask:
        from mathpipe.generate.symbolic.check.general_solutions import prove_general_solutions

        return prove_general_solutions(self.order, problems, solutions)

    def rechecked(self, problems: Sequences, solutions: Sequences) -> Mask:
        """F = 0 in double precision wherever it has a value, and F with y expands to 0."""
        from mathpipe.generate.symbolic.check.accepted_solutions import is_quickly_confirmed

        return is_quickly_confirmed(self.order, problems, solutions)
