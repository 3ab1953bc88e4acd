"""Expressions in prefix notation: integrals and solutions of differential equations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.expressions.prefix import Malformed, text_to_ids
from mathpipe.datasets.expressions.vocabulary import CONSTANTS
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.datasets.rendering.formulas import to_infix
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.evaluate.adapters.adapter import Terminal
from mathpipe.evaluate.adapters.token_adapter import TokenAdapter, render_texts, shown_texts, texts_html
from mathpipe.evaluate.analyze.calibration_analysis import calibration
from mathpipe.evaluate.analyze.covariate_analyses import by_covariate, by_operator, failure_discriminability
from mathpipe.evaluate.analyze.covariates import Column, expression_covariates
from mathpipe.evaluate.analyze.evidence_analyses import by_evidence, evidence_by_outcome
from mathpipe.evaluate.analyze.outcome_analyses import by_outcome, by_rank
from mathpipe.evaluate.failures.failure import Failure
from mathpipe.generate.outcomes import EVIDENCE_COUNTS
from mathpipe.generate.tasks.token_task import ExpressionTask

if TYPE_CHECKING:
    import torch

    from mathpipe.evaluate.decode.grammar import PrefixGrammar

_LENGTH_FACTOR = 2  # a predicted expression may have this many times the tokens of the longest stored solution
_MIN_LENGTH = 64


class ExpressionAdapter(TokenAdapter[ExpressionTokenizer]):
    """Evaluation of a task whose answers are expressions."""

    problem_type = "expressions"
    task: ExpressionTask
    analyses = (
        *(by_outcome, by_evidence, evidence_by_outcome, by_rank, failure_discriminability, calibration),
        *(by_operator, by_covariate),
    )
    evidence_counts = EVIDENCE_COUNTS

    def longest_answer(self, longest_reference: int) -> int:
        return max(_LENGTH_FACTOR * longest_reference, _MIN_LENGTH)

    def grammar(
        self, tokenizer: ExpressionTokenizer, examples: TokenExamples, max_length: int, device: torch.device | str
    ) -> PrefixGrammar:
        from mathpipe.evaluate.decode.grammar import PrefixGrammar  # imports torch: reports do without

        symbols = self.task.symbols
        leaves = None if symbols is None else (*CONSTANTS, "I", *symbols[1])
        return PrefixGrammar(tokenizer.format, len(examples), max_length, leaves, device)

    def token_covariates(self, problems: Sequences, solutions: Sequences) -> dict[str, Column]:
        return expression_covariates(problems, solutions)

    @staticmethod
    def render_failure(failure: Failure, terminal: Terminal) -> list[str]:
        return render_texts({name: format_expression(text) for name, text in shown_texts(failure).items()}, terminal)

    @staticmethod
    def failure_html(failure: Failure) -> str:
        return texts_html({name: format_expression(text) for name, text in shown_texts(failure).items()})


def format_expression(tokens: str) -> str:
    """Prefix tokens as a formula; unchanged if they are not an expression."""
    try:
        return to_infix(text_to_ids(tokens))
    except (Malformed, UserError):
        return tokens
