"""The problem type ``expressions``: problems and solutions are formulas, stored as prefix tokens of the published vocabulary."""

from __future__ import annotations

from mathpipe.datasets.format.example_formats import ExampleFormat, TokenFormat
from mathpipe.datasets.problem_types.problem_type import ProblemType, Spec
from mathpipe.datasets.rendering.formulas import to_infix, to_latex
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.tokenizer import Tokenizer


class ExpressionType(ProblemType):
    """Expressions; malformed ones are shown as their tokens."""

    name = "expressions"
    line_start = "1|"  # lines of published files start with a count

    def example_format(self, spec: Spec) -> ExampleFormat:
        return TokenFormat(spec["problems"].get("columns"))  # known for imported examples; None accepts any

    def tokenizers(
        self, spec: Spec, input_encoding: str | None = None, output_encoding: str | None = None, precision: int = 2
    ) -> tuple[Tokenizer, Tokenizer]:
        return ExpressionTokenizer(), ExpressionTokenizer()

    def lines(self, spec: Spec, value: bytes) -> list[str]:
        return [to_infix(value)]

    def latex(self, spec: Spec, value: bytes) -> str:
        return to_latex(value)
