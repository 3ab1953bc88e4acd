"""Verification of token sequences (expressions, sequences over an alphabet, integers): the task's verifier decides.

===================  =============================================================================
exact                exactly the reference's tokens; verified like all others
equivalent           other tokens, verified as correct
particular           a solution, but not the general one (differential equations)
partial              correct at some of the test points
wrong_value          well-formed and wrong
malformed            terminated, but not a well-formed answer
unterminated         no END within the maximum length
undecided, timeout   neither verified nor refuted within the limits of the check
real_domain          right wherever problem and answer are real, but not elsewhere
===================  =============================================================================

Each task defines its outcomes and which of them are correct; ``real_domain`` counts with the domain ``real``, not with ``complex``.
Each outcome has its evidence. Verification of an expression takes milliseconds, so it can be distributed over processes. Outcome
and evidence of a prediction depend neither on its batch nor on the process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.sequence_columns import TokenExamples
from mathpipe.evaluate.score.scoring import Mask, ScoredHypotheses, VerifiedAnswers
from mathpipe.generate.outcomes import EVIDENCE_COUNTS, NONE, Domain, Verification, counted_as_correct
from mathpipe.generate.tasks.token_task import TokenTask
from mathpipe.generate.worker_processes import without_main_module

VerifyFunction = Callable[[Sequences, Sequences, Sequences], Verification]
ScoredTokens = ScoredHypotheses[TokenExamples, Sequences]

_BATCH_SIZE = 256  # predictions per task of a worker


class TokenVerifier:
    """Verifies predictions of one task in this process, or in ``workers`` other processes."""

    def __init__(self, task: TokenTask[Any], workers: int = 0, domain: Domain = "real") -> None:
        self.task, self._workers = task, workers
        self.correct_outcomes = counted_as_correct(task.correct_outcomes, domain)
        self._pool: ProcessPoolExecutor | None = None

    @property
    def outcomes(self) -> tuple[str, ...]:
        return self.task.outcomes

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the worker processes, and stop them at the end of the block."""
        if not self._workers:
            yield
            return
        # not forked: the parent has threads, of torch and of Arrow
        context = multiprocessing.get_context("spawn")
        with (
            without_main_module(),
            ProcessPoolExecutor(self._workers, context, initializer=_prepare_worker) as self._pool,
        ):
            try:
                yield
            except BrokenProcessPool as error:
                raise UserError(
                    "a process that verifies answers died",
                    cause="too little memory, or another program killed it",
                    next_step="use fewer workers, or 0 to verify in this process",
                ) from error
            finally:
                self._pool = None

    def verify(self, examples: TokenExamples, answers: Sequences, readable: Mask, exact: Mask) -> VerifiedAnswers:
        outcome = np.full(len(examples), self.task.outcomes.index("malformed"), dtype=np.int8)
        errors = {name: np.full(len(examples), np.nan) for name in self.task.measures}
        evidence = np.full(len(examples), NONE, dtype=np.int8)
        counts = {name: np.full(len(examples), np.nan) for name in EVIDENCE_COUNTS}
        index = np.flatnonzero(readable)
        if len(index):
            verification = self._distribute(*(x.take(index) for x in (examples.problems, examples.solutions, answers)))
            outcome[index] = verification.outcome
            for name, values in verification.measures.items():
                errors[name][index] = values
            if len(verification.evidence):
                evidence[index] = verification.evidence
            for name, values in verification.evidence_counts.items():
                counts[name][index] = values
        is_correct = np.array([name in self.correct_outcomes for name in self.task.outcomes])
        return VerifiedAnswers(outcome, is_correct[outcome], errors, evidence, counts)

    def _distribute(self, problems: Sequences, references: Sequences, answers: Sequences) -> Verification:
        n = len(answers)
        if self._pool is None or n <= _BATCH_SIZE:
            return self.task.verify(problems, references, answers)
        batches = [np.arange(first, min(first + _BATCH_SIZE, n)) for first in range(0, n, _BATCH_SIZE)]
        results = list(
            self._pool.map(
                _verify_batch,
                [self.task.verify] * len(batches),
                *([part.take(index) for index in batches] for part in (problems, references, answers)),
            )
        )
        return _concatenate(results)


def _concatenate(parts: list[Verification]) -> Verification:
    """The verification of all predictions, from those of consecutive batches of one task."""
    measures, counts = (
        {name: np.concatenate([getattr(part, columns)[name] for part in parts]) for name in getattr(parts[0], columns)}
        for columns in ("measures", "evidence_counts")
    )
    outcome, evidence = (np.concatenate([getattr(part, name) for part in parts]) for name in ("outcome", "evidence"))
    return Verification(outcome, measures, evidence, counts)


def _prepare_worker() -> None:
    """Leave Ctrl-C to the parent, and end when the parent ends, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, name="mathpipe-parent", daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _verify_batch(
    verify: VerifyFunction, problems: Sequences, references: Sequences, answers: Sequences
) -> Verification:
    return verify(problems, references, answers)
