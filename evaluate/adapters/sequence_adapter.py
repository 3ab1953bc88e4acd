"""Short sequences over the alphabet of their task, such as strings of bits."""

from __future__ import annotations

from typing import Any

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.evaluate.adapters.adapter import Terminal
from mathpipe.evaluate.adapters.token_adapter import TokenAdapter, render_texts, shown_texts, texts_html
from mathpipe.evaluate.analyze.calibration_analysis import calibration
from mathpipe.evaluate.analyze.covariate_analyses import by_covariate, failure_discriminability
from mathpipe.evaluate.analyze.covariates import Column, sequence_covariates
from mathpipe.evaluate.analyze.outcome_analyses import by_outcome, by_rank
from mathpipe.evaluate.failures.failure import Failure


class SequenceAdapter(TokenAdapter[Any]):
    """Evaluation of a task whose answers are short sequences. An answer has at most the length of the longest reference."""

    problem_type = "sequences"
    analyses = (by_outcome, by_rank, failure_discriminability, calibration, by_covariate)

    @property
    def extra_metrics(self) -> tuple[str, ...]:
        return self.task.measures

    def token_covariates(self, problems: Sequences, solutions: Sequences) -> dict[str, Column]:
        return sequence_covariates(problems, solutions)

    @staticmethod
    def render_failure(failure: Failure, terminal: Terminal) -> list[str]:
        return render_texts({name: format_sequence(text) for name, text in shown_texts(failure).items()}, terminal)

    @staticmethod
    def failure_html(failure: Failure) -> str:
        return texts_html({name: format_sequence(text) for name, text in shown_texts(failure).items()})


def format_sequence(tokens: str) -> str:
    """The tokens without spaces if all are single characters: ``0 1 1`` becomes ``011``."""
    parts = tokens.split()
    return "".join(parts) if all(len(part) == 1 for part in parts) else tokens
