"""Verify answers to problems of several tasks: each names its task, by its name or, in co-training, by its task token."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mathpipe.datasets.errors import UserError
from mathpipe.generate.answers.answer_verifications import INVALID_PROBLEM, AnswerVerification
from mathpipe.generate.answers.answer_verifier import Answer, AnswerVerifier
from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.task_registry import TASKS, TASKS_BY_TOKEN


@dataclass(frozen=True)
class MixtureVerifier:
    """Verifies answers of which each may name a task.

    If ``task`` is co-training, each answer names one of its tasks. Otherwise ``task`` is that of answers which name none, and
    others may name any task of mathpipe: a name loads no code. ``verifier_of`` makes the verifier of a task.
    """

    task: Task[Any]
    verifier_of: Callable[[Task[Any]], AnswerVerifier] = AnswerVerifier

    def __post_init__(self) -> None:
        self._verifier(next(iter(self.tasks.values())) if self.is_mixture else self.task)  # refuses invalid settings

    @functools.cached_property
    def is_mixture(self) -> bool:
        """Whether the task itself mixes problems of several tasks."""
        return self.task.has_task_tokens

    @functools.cached_property
    def tasks(self) -> dict[str, Task[Any]]:
        """The tasks that an answer may name."""
        if self.is_mixture:
            return {**TASKS_BY_TOKEN, **{task.name: task for task in TASKS_BY_TOKEN.values()}}
        others = {name: task for name, task in TASKS.items() if not task.has_task_tokens}
        return {**others, self.task.name: self.task}

    @functools.cached_property
    def _verifiers(self) -> dict[str, AnswerVerifier]:
        return {}

    def _verifier(self, task: Task[Any]) -> AnswerVerifier:
        if task.name not in self._verifiers:
            self._verifiers[task.name] = self.verifier_of(task)
        return self._verifiers[task.name]

    def verify(self, names: Sequence[object], answers: Sequence[Answer]) -> list[AnswerVerification]:
        """The outcome of each answer, in order; ``names``: the task of each, None for ``task``."""
        results: list[AnswerVerification | None] = [None] * len(answers)
        groups: dict[str, tuple[Task[Any], list[int]]] = {}
        for i, name in enumerate(names):
            task = self._task_of(name)
            if task is None:
                results[i] = AnswerVerification(INVALID_PROBLEM, reason=self._unknown(name))
            else:
                groups.setdefault(task.name, (task, []))[1].append(i)
        for task, index in groups.values():
            try:
                verifier = self._verifier(task)
            except UserError as error:  # a notation that this task does not have
                results_of_task = [AnswerVerification(INVALID_PROBLEM, reason=f"task: {error}")] * len(index)
            else:
                results_of_task = list(verifier.verify([answers[i] for i in index]))
            for i, result in zip(index, results_of_task, strict=True):
                results[i] = result
        return [result for result in results if result is not None]

    def _task_of(self, name: object) -> Task[Any] | None:
        if name is None:
            return None if self.is_mixture else self.task
        return self.tasks.get(name) if isinstance(name, str) else None

    def _unknown(self, name: object) -> str:
        """Why an answer has no task."""
        if self.is_mixture:
            tokens = ", ".join(f"{token} ({task.name})" for token, task in TASKS_BY_TOKEN.items())
            return f"task: expected one of {tokens}, got {ascii(name)[:40]}"
        return f"task: expected the name of a task, as `mathpipe tasks` lists them, got {ascii(name)[:40]}"
