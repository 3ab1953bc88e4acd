"""Co-training: each problem belongs to one of several tasks; its task token is the first token of problem and solution.

Task tokens: T transpose, A add, D matvec, M matmul, E eigenvalues, F eigenvectors, I inverse; sampled uniformly per problem. A
matrix stores its task id, the index of its token in TADMEFI; every function here dispatches problems by task id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mathpipe.datasets.containers.array_types import Bytes
from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.matrix_tokenizer import TASK_TOKENS
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.error_measures import Errors
from mathpipe.generate.tasks.matrices import add, eigenvalues, eigenvectors, inverse, matmul, matvec, transpose
from mathpipe.generate.tasks.matrix_task import Ints, Mask, MatrixTask

_TASKS = (transpose.TASK, add.TASK, matvec.TASK, matmul.TASK, eigenvalues.TASK, eigenvectors.TASK, inverse.TASK)
BY_TASK_TOKEN: dict[str, MatrixTask] = {str(task.task_token): task for task in _TASKS}
NAMES = tuple(BY_TASK_TOKEN[task_token].name for task_token in TASK_TOKENS)  # by task id


def task_ids_of(names: Sequence[str]) -> Bytes:
    """The task ids of these task names."""
    return np.array([NAMES.index(name) for name in names], dtype=np.uint8)


class CoTraining(MatrixTask):
    """A problem of one of seven tasks, named by its task token."""

    name = "cotraining"
    problem = "that of a task sampled from its task tokens (TADMEFI)"
    solution = "that task's; its task_token comes first in problem and solution"
    source = "Charton 2022, co-training"
    residual_formula = "R of the task's task_token"
    square_only = True
    has_task_tokens = True
    takes_spectrum = True
    side_by_side = 2

    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n problems; the tasks are sampled first, then all problems of each task together."""
        task_tokens = spec.task_tokens or TASK_TOKENS
        task_ids = np.array([TASK_TOKENS.index(task_token) for task_token in task_tokens], dtype=np.uint8)[
            rng.integers(0, len(task_tokens), size=n)
        ]
        parts, order = [], []
        for task_id, index in _groups(task_ids):
            task = BY_TASK_TOKEN[TASK_TOKENS[task_id]]
            parts.append(task.sample(rng, len(index), _spec_for(task, spec)))
            order.append(index)
        return _in_order(parts, order).with_task_ids(task_ids)

    def with_noise(self, rng: np.random.Generator, clean: Matrices, spec: MatrixSpec) -> Matrices:
        """Each task's own noise: symmetric where its problems are."""
        return _each(clean, lambda task, part: task.with_noise(rng, part, spec))

    def solve(self, problems: Matrices) -> Solved:
        """The solutions of each task, with the task ids of their problems; rejected for the reasons of each task."""
        rejected: dict[str, Mask] = {}
        parts, order = [], []
        for task_id, index in _groups(_task_ids(problems)):
            solved = BY_TASK_TOKEN[TASK_TOKENS[task_id]].solve(problems.take(index))
            parts.append(solved.solutions)
            order.append(index)
            for reason, mask in solved.rejected.items():
                rejected.setdefault(reason, np.zeros(len(problems), dtype=np.bool_))[index] = mask
        return Solved(_in_order(parts, order).with_task_ids(problems.task_ids), rejected)

    def supports(self, problems: Matrices) -> Mask:
        """Each task's own shapes."""
        result = np.zeros(len(problems), dtype=np.bool_)
        for task_id, index in _groups(_task_ids(problems)):
            result[index] = BY_TASK_TOKEN[TASK_TOKENS[task_id]].supports(problems.take(index))
        return result

    def errors(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Errors:
        """The error measures of each task; ``orthogonality`` is 0 if a solution has no vectors."""
        errors: Errors = {"orthogonality": np.zeros(len(problems))}  # present whichever tasks occur
        for task_id, index in _groups(_task_ids(problems)):
            batch = (m.take(index) for m in (problems, references, predicted))
            for name, values in BY_TASK_TOKEN[TASK_TOKENS[task_id]].errors(*batch).items():
                errors.setdefault(name, np.zeros(len(problems)))[index] = values
        return errors

    def residual(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
        return _each(problems, lambda task, *batch: task.residual(*batch), references, predicted)

    def best_representable(self, problems: Matrices, solutions: Matrices) -> Matrices:
        return _each(problems, lambda task, *batch: task.best_representable(*batch), solutions)

    def matches_recomputed(self, problems: Matrices, solved: Matrices, stored: Matrices) -> Mask:
        matches = np.zeros(len(problems), dtype=np.bool_)
        for task_id, index in _groups(_task_ids(problems)):
            task = BY_TASK_TOKEN[TASK_TOKENS[task_id]]
            matches[index] = task.matches_recomputed(*(m.take(index) for m in (problems, solved, stored)))
        return matches

    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        """The shape of each task; without task ids the largest one, that of eigenvectors."""
        if problems.task_ids is None:
            return problems.rows + 1, problems.cols
        rows, cols = np.zeros(len(problems), dtype=np.int64), np.zeros(len(problems), dtype=np.int64)
        for task_id, index in _groups(problems.task_ids):
            rows[index], cols[index] = BY_TASK_TOKEN[TASK_TOKENS[task_id]].answer_shape(problems.take(index))
        return rows, cols

    def check_problems(self, spec: MatrixSpec) -> None:
        """UserError for unknown or repeated task tokens, and for a spec that one of the tasks does not support."""
        if spec.task_tokens == "":
            raise UserError(
                "the task tokens name no task",
                expected=f"task tokens among {TASK_TOKENS}, each once",
                got="''",
                next_step=f"leave --task-tokens out for all of {TASK_TOKENS}",
            )
        task_tokens = spec.task_tokens or TASK_TOKENS
        unknown = [task_token for task_token in task_tokens if task_token not in BY_TASK_TOKEN]
        if unknown or len(set(task_tokens)) != len(task_tokens):
            raise UserError(
                f"the task tokens {task_tokens!r} do not name a set of tasks",
                expected=f"task tokens among {TASK_TOKENS}, each once",
                got=f"unknown {', '.join(unknown)}" if unknown else "a task token twice",
            )
        for task_token in task_tokens:
            task = BY_TASK_TOKEN[task_token]
            task.check(_spec_for(task, spec).model_copy(update={"task_tokens": None}))


def _spec_for(task: MatrixTask, spec: MatrixSpec) -> MatrixSpec:
    """The spec for one task: only tasks with spectra receive the spectrum."""
    return spec if task.takes_spectrum or not spec.spectrum else spec.model_copy(update={"spectrum": ()})


def _task_ids(problems: Matrices) -> Ints:
    if problems.task_ids is None:
        raise ValueError("problems of co-training need task_ids")
    return problems.task_ids.astype(np.int64)


def _groups(task_ids: np.ndarray[tuple[int], np.dtype[np.integer]]) -> Iterator[tuple[int, Ints]]:
    """(task id, positions) for each task id that occurs, in the order of TADMEFI."""
    return ((int(task_id), np.flatnonzero(task_ids == task_id)) for task_id in np.unique(task_ids))


def _each(problems: Matrices, function: Callable[..., Matrices], *others: Matrices) -> Matrices:
    """Apply ``function(task, problems, *others)`` to the problems of each task; results in row order, with task ids."""
    parts, order = [], []
    for task_id, index in _groups(_task_ids(problems)):
        parts.append(function(BY_TASK_TOKEN[TASK_TOKENS[task_id]], *(m.take(index) for m in (problems, *others))))
        order.append(index)
    return _in_order(parts, order).with_task_ids(problems.task_ids)


def _in_order(parts: list[Matrices], order: list[Ints]) -> Matrices:
    if not parts:
        return Matrices.empty()
    return Matrices.concatenate([part.with_task_ids(None) for part in parts]).take(np.argsort(np.concatenate(order)))


TASK = CoTraining()
