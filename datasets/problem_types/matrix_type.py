"""The problem type ``matrices``: problems and solutions are real matrices."""

from __future__ import annotations

from mathpipe.datasets.containers.array_types import Floats
from mathpipe.datasets.format.example_formats import ExampleFormat, MatrixFormat
from mathpipe.datasets.format.examples import Examples
from mathpipe.datasets.problem_types.problem_type import ProblemType, Spec
from mathpipe.datasets.rendering.matrix_drawing import matrix_to_latex, render_matrix, side_by_side
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import Tokenizer


class MatrixType(ProblemType):
    """Matrices (r, c), tokenized in a number encoding."""

    name = "matrices"
    takes_number_encodings = True

    def example_format(self, spec: Spec) -> ExampleFormat:
        problems = spec["problems"]
        task_tokens = has_task_tokens(spec)
        return MatrixFormat(
            chunk_rows=int(spec["chunk_rows"]),
            round_problems=bool(problems["round_problems"]),
            noisy=bool(problems.get("noisy", float(problems.get("noise", 0)) > 0)),
            has_task_tokens=task_tokens,
            mixed=bool(problems.get("mixed", len(problems.get("spectrum", ())) > 1 and not task_tokens)),
            snap_problems=bool(problems.get("snap_problems", False)),
        )

    def tokenizers(
        self, spec: Spec, input_encoding: str | None = None, output_encoding: str | None = None, precision: int = 2
    ) -> tuple[Tokenizer, Tokenizer]:
        task_tokens = has_task_tokens(spec)
        source, target = (
            MatrixTokenizer.named(name, precision, has_task_tokens=task_tokens)
            for name in self.default_encodings(spec, input_encoding, output_encoding)
        )
        return source, target

    def lines(self, spec: Spec, value: Floats) -> list[str]:
        return render_matrix(value)

    def latex(self, spec: Spec, value: Floats) -> str:
        return matrix_to_latex(value)

    def json_value(self, spec: Spec, value: Floats) -> list[list[float]]:
        rows: list[list[float]] = value.tolist()
        return rows

    def example_lines(self, spec: Spec, examples: Examples, i: int, *, latex: bool = False) -> list[str]:
        """The matrices side by side, with the noise-free problem if there is noise; below each other in LaTeX."""
        if latex:
            return super().example_lines(spec, examples, i, latex=True)
        matrices = self.values(spec, examples, i)
        return side_by_side([(name, self.lines(spec, matrix)) for name, matrix in matrices.items()])


def has_task_tokens(spec: Spec) -> bool:
    """Whether the dataset mixes several tasks and each problem starts with its task token (co-training)."""
    return bool(spec["task"] == "cotraining")
