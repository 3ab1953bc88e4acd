"""Ask a trained model one problem: text -> tokens -> beam search -> hypotheses, each verified like any other answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mathpipe.datasets.containers.token_batches import TokenizedExamples
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.import_records import Fault
from mathpipe.datasets.problem_types.type_registry import problem_type_of
from mathpipe.datasets.tokenizers.tokenizer import DecodeStatus
from mathpipe.evaluate.dataset_decoding import resolve_device
from mathpipe.evaluate.decode.beam_search import beam_search
from mathpipe.evaluate.decode.decoding import decoding_mode, greedy
from mathpipe.evaluate.decode.hypotheses import BEAM, Decoding, Hypotheses
from mathpipe.evaluate.score.scoring import lengths_before_end
from mathpipe.generate.answers.answer_verifications import INVALID_PROBLEM, AnswerVerification
from mathpipe.generate.answers.answer_verifier import SECONDS, AnswerVerifier, ParsedAnswer
from mathpipe.generate.outcomes import Domain
from mathpipe.generate.tasks.task_registry import get_task
from mathpipe.train.model.interface import Model
from mathpipe.train.run.checkpoint import load_model
from mathpipe.train.run.run_record import RunRecord, tokenizers

MAX_LENGTH = 512
_STATUS_OUTCOMES = {DecodeStatus.MALFORMED: "malformed", DecodeStatus.UNTERMINATED: "unterminated"}


@dataclass(frozen=True)
class _Problems:
    """The problems of ``Examples``, which a model checks."""

    problems: Any


@dataclass(frozen=True)
class VerifiedHypothesis:
    """A hypothesis of a model. ``rank``: 0 is the most probable; ``lines``: the answer as it is shown, its tokens if malformed."""

    rank: int
    lines: tuple[str, ...]
    tokens: str
    log_probability: float
    verification: AnswerVerification


@dataclass(frozen=True)
class SolvedProblem:
    """A problem as it is shown, and the hypotheses of a model, the most probable first."""

    lines: tuple[str, ...]
    hypotheses: tuple[VerifiedHypothesis, ...]


@dataclass(frozen=True)
class Solver:
    """A trained model that is asked problems of its task."""

    model: Model
    record: RunRecord
    verifier: AnswerVerifier
    beam: int = BEAM
    max_length: int = MAX_LENGTH

    def solve(self, problem: object) -> SolvedProblem:
        """The hypotheses for one problem, text or plain values; UserError if it is no problem of the task."""
        parsed = self.verifier.parse_problem(problem)
        if isinstance(parsed, Fault):
            raise UserError(
                parsed.reason,
                got=ascii(problem)[:60],
                cause=f"it is no problem of {self.record.task}, or its notation is another",
            )
        problems = self.verifier.part.batch([parsed])
        _, target = tokenizers(self.record)
        decoded = self._decode(problems)
        answers, status = target.decode(decoded.tokens)
        verifications = self._verify(parsed, answers, status)
        hypotheses = []
        for i, verification in enumerate(verifications):
            length = int(lengths_before_end(decoded.tokens[i : i + 1])[0])
            tokens = " ".join(target.ids_to_tokens(decoded.tokens[i, :length]))
            readable = status[i] == DecodeStatus.OK
            lines = self._lines("solution", answers[i]) if readable else (tokens or "(no tokens)",)
            log_probability = float(decoded.log_probability[i])
            hypotheses.append(VerifiedHypothesis(i, lines, tokens, log_probability, verification))
        return SolvedProblem(self._lines("problem", parsed), tuple(hypotheses))

    def _lines(self, side: str, stored: Any) -> tuple[str, ...]:
        """A problem or a solution, as ``mathpipe show`` shows it."""
        spec = self.record.spec
        problem_type = problem_type_of(spec)
        return tuple(problem_type.lines(spec, problem_type.value(spec, side, stored)))

    def _decode(self, problems: Any) -> Hypotheses:
        """Up to ``beam`` hypotheses, the most probable first."""
        rows: Any = _Problems(problems)
        self.model.check(rows)
        source, _ = tokenizers(self.record)
        tokens, lengths = source.encode(problems)
        one = np.ones((1, 1), dtype=np.int64)
        encoded = TokenizedExamples(tokens, lengths, one, one[0], np.zeros(1, dtype=np.int64))
        with decoding_mode(self.model) as device:
            batch = encoded.batch(np.zeros(1, dtype=np.int64), device).source
            if self.beam == 1:
                return greedy(self.model, batch, self.max_length)
            return beam_search(self.model, batch, self.max_length, Decoding(beam=self.beam))

    def _verify(self, problem: Any, answers: Any, status: Any) -> list[AnswerVerification]:
        index = [i for i, each in enumerate(status.tolist()) if each == DecodeStatus.OK]
        results = [AnswerVerification(_STATUS_OUTCOMES.get(each, "malformed")) for each in status.tolist()]
        parsed = [ParsedAnswer(problem, answers[i]) for i in index]
        for i, result in zip(index, self.verifier.verify_parsed(parsed), strict=True):
            if result.outcome == INVALID_PROBLEM:
                raise UserError(str(result.reason), cause=f"it is no problem of {self.record.task}")
            results[i] = result
        return results


def open_solver(
    run: str | Path,
    *,
    beam: int = BEAM,
    checkpoint: str = "last",
    notation: str | None = None,
    domain: Domain = "real",
    device: str | None = None,
    max_length: int | None = None,
    seconds: float = SECONDS,
) -> Solver:
    """The model of a run, ready to be asked; ``max_length``: tokens of a hypothesis.

    UserError for a run or checkpoint that is missing or damaged.
    """
    if beam < 1:
        raise UserError("the beam is out of range", expected="1 or more", got=beam)
    model, record = load_model(run, resolve_device(device), checkpoint)
    task = get_task(record.task, record.spec.get("source_digest"))
    if task.needs_reference:
        raise UserError(
            f"{task.name} verifies by comparison, so its model cannot be asked a problem without an answer",
            next_step="evaluate it on a dataset with `mathpipe eval`",
        )
    length = max_length or min(MAX_LENGTH, record.config.model.max_positions)
    return Solver(model, record, AnswerVerifier(task, notation, None, domain, seconds), beam, length)


def solve_problem(
    run: str | Path,
    problem: object,
    *,
    beam: int = BEAM,
    checkpoint: str = "last",
    notation: str | None = None,
    device: str | None = None,
    max_length: int | None = None,
) -> SolvedProblem:
    """Ask the model of a run one problem, written as for ``verify``: its hypotheses by beam search, each verified.

    ``checkpoint``: ``last``, ``best`` or a file in the run's directory. ``max_length``: of a hypothesis, 512 tokens by default.
    UserError for a problem that the task does not have.
    """
    options: dict[str, Any] = {"notation": notation, "device": device, "max_length": max_length}
    return open_solver(run, beam=beam, checkpoint=checkpoint, **options).solve(problem)
