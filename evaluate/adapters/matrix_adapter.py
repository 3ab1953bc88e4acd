"""Matrices: errors are norms of a residual. A correct answer has a fixed length; anything after it is malformed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import SPECTRA, Matrices
from mathpipe.datasets.dataset import Dataset
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.rendering.matrix_drawing import ASCII, UNICODE, render_matrix, side_by_side
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.number_encodings import ENCODINGS
from mathpipe.evaluate.adapters.adapter import Adapter, Terminal
from mathpipe.evaluate.adapters.prediction_columns import matrix_columns, name_column, number_column, stored_matrices
from mathpipe.evaluate.analyze.baselines import Constants, MatrixBaselines
from mathpipe.evaluate.analyze.calibration_analysis import calibration
from mathpipe.evaluate.analyze.covariate_analyses import by_covariate, by_mixture_component, failure_discriminability
from mathpipe.evaluate.analyze.covariates import Column, matrix_covariates
from mathpipe.evaluate.analyze.evaluation_data import EvaluationData
from mathpipe.evaluate.analyze.outcome_analyses import by_outcome, by_rank, published_outcomes
from mathpipe.evaluate.analyze.summary import Metrics, tolerance_metrics
from mathpipe.evaluate.analyze.tolerance_analyses import by_tolerance, properties_by_tolerance
from mathpipe.evaluate.analyze.wrong_answer_analyses import correct_and_incorrect, wrong_problem_answers
from mathpipe.evaluate.failures.failure import Failure, FailureParts
from mathpipe.evaluate.failures.matrix_html import matrix_html
from mathpipe.evaluate.score.diagnostics import diagnostic_names, diagnostics
from mathpipe.evaluate.score.matrix_verifier import MatrixVerifier, ScoredMatrices, has_correct_shape
from mathpipe.evaluate.score.scoring import TOLERANCES, Errors
from mathpipe.evaluate.score.wrong_problem_answers import confused_with
from mathpipe.generate.outcomes import Domain
from mathpipe.generate.tasks.error_measures import TOLERANCE
from mathpipe.generate.tasks.matrices.cotraining import NAMES, task_ids_of
from mathpipe.generate.tasks.matrix_task import MatrixTask
from mathpipe.generate.tasks.task_registry import matrix_task

if TYPE_CHECKING:
    import torch

    from mathpipe.evaluate.decode.grammar import MatrixGrammar

_CONSTANT_ROWS = 10_000  # references that define the constant baselines
_MARKED_ERROR = 0.05  # entries off by more than this share of the reference's largest entry are marked


class MatrixAdapter(Adapter[MatrixExamples, Matrices, MatrixTokenizer]):
    """Evaluation of a matrix task. ``tolerance``: of the error test."""

    problem_type = "matrices"
    analyses = (
        *(by_tolerance, by_outcome, by_rank, properties_by_tolerance, failure_discriminability, wrong_problem_answers),
        *(correct_and_incorrect, published_outcomes, calibration, by_mixture_component, by_covariate),
    )
    criterion = "error within 5 %"
    tolerances = TOLERANCES[1:]
    typical_column = "error_l1"
    worst_order = (
        "first one of each kind that has no error (malformed, unterminated, wrong shape), then the largest error_l1. Each "
        "problem is shown once."
    )

    def __init__(
        self, task: MatrixTask, tolerance: float = TOLERANCE, workers: int = 0, domain: Domain = "real"
    ) -> None:
        self.task = task
        self._verifier = MatrixVerifier(task, tolerance)

    @property
    def verifier(self) -> MatrixVerifier:
        return self._verifier

    def max_length(self, dataset: Dataset, n: int) -> int:
        chunks: Iterator[Any] = dataset.chunks(stop=n)
        tokenizer: Any = dataset.target
        return int(tokenizer.length(1, max(int(examples.solutions.sizes.max()) for examples in chunks))) + 1

    def grammar(
        self, tokenizer: MatrixTokenizer, examples: MatrixExamples, max_length: int, device: torch.device | str
    ) -> MatrixGrammar:
        from mathpipe.evaluate.decode.grammar import MatrixGrammar  # imports torch: reports do without

        shape = self.task.answer_shape(examples.solved)
        return MatrixGrammar(tokenizer, *shape, task_ids=examples.problems.task_ids, device=device)

    def baselines(self, dataset: Dataset, n: int) -> MatrixBaselines:
        chunks: Iterator[Any] = dataset.chunks(stop=min(n, _CONSTANT_ROWS))
        tokenizer: Any = dataset.target
        constants = Constants.of(Matrices.concatenate([examples.solutions for examples in chunks]))
        return MatrixBaselines(self.task, tokenizer, constants)

    def published_encodings(self) -> tuple[str, ...]:
        return tuple(ENCODINGS)

    def answer_columns(self, scored: ScoredMatrices) -> dict[str, pa.Array]:
        columns = matrix_columns("decoded", scored.answers, scored.readable)
        if self.task.wrong_problems:
            problems, comparable = scored.problems.solved, has_correct_shape(scored)
            names = confused_with(self.task, problems, scored.answers, comparable, TOLERANCE)
            columns["confused_with"] = pa.array(names, pa.string())
        return columns

    @property
    def _diagnostic_names(self) -> tuple[str, ...]:
        """None for a task outside the package, which may have the name of one of the package and other matrices."""
        return diagnostic_names(self.task.name) if self.task.origin is None else ()

    def measures(self, scored: ScoredMatrices) -> Errors:
        """The error measures, then the diagnostics of predictions of the correct shape."""
        columns = {name: np.full(len(scored), np.nan) for name in self._diagnostic_names}
        index = np.flatnonzero(has_correct_shape(scored))
        if columns and len(index):
            problems = scored.problems.take(index)
            matrices = (problems.problems, problems.solutions, scored.answers.take(index))
            for name, values in diagnostics(self.task.name, *matrices).items():
                columns[name][index] = values
        return scored.errors | columns

    def problem_columns(self, scored: ScoredMatrices, target: MatrixTokenizer) -> dict[str, pa.Array]:
        best, problems = scored.best, scored.problems
        columns = {"problem": matrix_columns("problem", problems.problems, best)["problem"]}
        if problems.clean is not None:
            columns["clean_problem"] = matrix_columns("problem", problems.clean, best)["problem"]
        columns |= matrix_columns("reference", problems.solutions, best)
        columns["reference_error_l1"] = number_column(scored.reference.errors["error_l1"], best)
        if self.task.has_task_tokens:
            columns["task"] = name_column(problems.problems.task_ids, NAMES, best)
        if self.task.takes_spectrum:
            columns["spectrum"] = name_column(problems.problems.spectra, SPECTRA, best)
        return columns

    def covariates(self, problems: MatrixExamples) -> dict[str, Column]:
        return matrix_covariates(problems.problems, self.task.symmetric)

    def type_metrics(self, data: EvaluationData) -> Metrics:
        return tolerance_metrics(data)

    def failure_parts(self, failed: pa.Table) -> Sequence[FailureParts]:
        problems = stored_matrices(failed, "problem", "rows", "cols")
        references, decoded = (stored_matrices(failed, x, f"{x}_rows", f"{x}_cols") for x in ("reference", "decoded"))
        noisy = "clean_problem" in failed.column_names
        solved = stored_matrices(failed, "clean_problem", "rows", "cols") if noisy else problems
        formulas = [self.task.residual_formula] * len(failed)
        if self.task.has_task_tokens:
            names = failed["task"].to_pylist()
            formulas = [matrix_task(name).residual_formula for name in names]
            solved = solved.with_task_ids(task_ids_of(names))
        readable = pc.is_valid(failed["decoded"]).to_numpy()
        index = np.flatnonzero(readable & decoded.same_shape(references))
        residuals = self.task.residual(*(m.take(index) for m in (solved, references, decoded)))
        residual_of = dict(zip(index.tolist(), residuals, strict=True))
        return [
            FailureParts(problem, reference, answer if is_readable else None, residual_of.get(i), formula)
            for i, (problem, reference, answer, is_readable, formula) in enumerate(
                zip(problems, references, decoded, readable.tolist(), formulas, strict=True)
            )
        ]

    @staticmethod
    def render_failure(failure: Failure, terminal: Terminal) -> list[str]:
        """Problem, reference, prediction and residual side by side; in colour, wrong entries are red."""
        glyphs = ASCII if terminal.ascii_only else UNICODE
        blocks = [("problem", render_matrix(failure.problem, glyphs=glyphs))]
        blocks.append(("reference", render_matrix(failure.reference, glyphs=glyphs)))
        if failure.decoded is None:
            tokens = terminal.shorten(f"prediction: {failure.prediction or '(no tokens)'}")
            return [*side_by_side(blocks, width=terminal.width), tokens]
        marked = _wrong_entries(failure)
        drawing = render_matrix(failure.decoded, marked=marked, colour=terminal.colour, glyphs=glyphs)
        blocks.append(("prediction", drawing))
        if failure.residual is not None:
            blocks.append((f"residual {failure.residual_formula}", render_matrix(failure.residual, glyphs=glyphs)))
        return side_by_side(blocks, width=terminal.width)

    @staticmethod
    def failure_html(failure: Failure) -> str:
        shown = [("problem", matrix_html(failure.problem)), ("reference", matrix_html(failure.reference))]
        if failure.decoded is not None:
            shown.append(("prediction", matrix_html(failure.decoded, _wrong_entries(failure))))
        if failure.residual is not None:
            shown.append((f"residual {failure.residual_formula}", matrix_html(failure.residual)))
        figures = "".join(
            f"<figure><figcaption>{escape(name)}</figcaption><div class=scroll>{matrix}</div></figure>"
            for name, matrix in shown
        )
        tokens = "" if failure.decoded is not None else tokens_html(failure.prediction)
        return f"<div class=matrices>{figures}</div>{tokens}"


def tokens_html(prediction: str, longest: int = 400) -> str:
    """A prediction that was not decoded, at most ``longest`` characters."""
    text = prediction if len(prediction) <= longest else prediction[: longest - 1] + "…"
    return f'<p class="tokens">{escape(text or "(no tokens)")}</p>'


def _wrong_entries(failure: Failure) -> NDArray[np.bool_] | None:
    """Mask of the wrong entries of a prediction; None if its shape is not the reference's."""
    if failure.residual is None or failure.decoded is None:
        return None
    difference = np.abs(failure.decoded - failure.reference)
    return np.asarray(difference > _MARKED_ERROR * np.abs(failure.reference).max())
