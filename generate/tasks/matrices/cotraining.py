"""Co-training: each problem is one of several tasks, named by its task_token, the first word of problem and solution.

Letters: T transpose, A add, D matvec, M matmul, E eigenvalues, F eigenvectors, I inverse; drawn uniformly for each problem. A
matrix carries its task_token as a label, its place in TADMEFI; every function here sends problems to the task of their label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Labels, Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.matrix_tokenizer import TASK_TOKENS
from mathpipe.generate.spec import MatrixSpec
from mathpipe.generate.tasks.base import Errors, Ints, Mask, Solved, Task
from mathpipe.generate.tasks.matrices import add, eigenvalues, eigenvectors, inverse, matmul, matvec, transpose

_TASKS = (transpose.TASK, add.TASK, matvec.TASK, matmul.TASK, eigenvalues.TASK, eigenvectors.TASK, inverse.TASK)
BY_TASK_TOKEN: dict[str, Task] = {str(task.task_token): task for task in _TASKS}
NAMES = tuple(BY_TASK_TOKEN[task_token].name for task_token in TASK_TOKENS)  # of a label


def task_ids_of(names: Sequence[str]) -> Labels:
    """The task_ids of problems of tasks of these names."""
    return np.array([NAMES.index(name) for name in names], dtype=np.uint8)


def sample(rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
    """n problems; the tasks are drawn first, then all problems of one task together."""
    task_tokens = spec.task_tokens or TASK_TOKENS
    task_ids = np.array([TASK_TOKENS.index(task_token) for task_token in task_tokens], dtype=np.uint8)[
        rng.integers(0, len(task_tokens), size=n)
    ]
    parts, order = [], []
    for label, index in _groups(task_ids):
        task = BY_TASK_TOKEN[TASK_TOKENS[label]]
        parts.append(task.sample(rng, len(index), _spec_for(task, spec)))
        order.append(index)
    return _scattered(parts, order).with_task_ids(task_ids)


def noise(rng: np.random.Generator, clean: Matrices, spec: MatrixSpec) -> Matrices:
    """Each task's own noise: symmetric where its problems are."""
    return _each(clean, lambda task, part: task.with_noise(rng, part, spec))


def solve(problems: Matrices) -> Solved:
    """Each task's own answers, under the task_ids of their problems; rejected for each task's own reasons."""
    rejected: dict[str, Mask] = {}
    parts, order = [], []
    for label, index in _groups(_task_ids(problems)):
        solved = BY_TASK_TOKEN[TASK_TOKENS[label]].solve(problems.take(index))
        parts.append(solved.solutions)
        order.append(index)
        for reason, mask in solved.rejected.items():
            rejected.setdefault(reason, np.zeros(len(problems), dtype=np.bool_))[index] = mask
    return Solved(_scattered(parts, order).with_task_ids(problems.task_ids), rejected)


def verify(problems: Matrices, references: Matrices, predicted: Matrices) -> Errors:
    """Each task's own error measures; ``orthogonality`` is 0 where an answer holds no vectors."""
    errors: Errors = {"orthogonality": np.zeros(len(problems))}  # whatever tasks are among these problems
    for label, index in _groups(_task_ids(problems)):
        batch = (m.take(index) for m in (problems, references, predicted))
        for name, values in BY_TASK_TOKEN[TASK_TOKENS[label]].verify(*batch).items():
            errors.setdefault(name, np.zeros(len(problems)))[index] = values
    return errors


def residual(problems: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
    return _each(problems, lambda task, *batch: task.residual(*batch), references, predicted)


def best_written(problems: Matrices, solutions: Matrices) -> Matrices:
    return _each(problems, lambda task, *batch: task.best_written(*batch), solutions)


def agrees(problems: Matrices, solved: Matrices, stored: Matrices) -> Mask:
    """Where a task's answers are the same on every CPU there is nothing more to allow."""
    right = np.zeros(len(problems), dtype=np.bool_)
    for label, index in _groups(_task_ids(problems)):
        task = BY_TASK_TOKEN[TASK_TOKENS[label]]
        if task.agrees is not None:
            right[index] = task.agrees(*(m.take(index) for m in (problems, solved, stored)))
    return right


def answer_shape(problems: Matrices) -> tuple[Ints, Ints]:
    """Each task's own; without task_ids the largest, that of eigenvectors."""
    if problems.task_ids is None:
        return problems.rows + 1, problems.cols
    rows, cols = np.zeros(len(problems), dtype=np.int64), np.zeros(len(problems), dtype=np.int64)
    for label, index in _groups(problems.task_ids):
        rows[index], cols[index] = BY_TASK_TOKEN[TASK_TOKENS[label]].answer_shape(problems.take(index))
    return rows, cols


def limits(spec: MatrixSpec) -> None:
    """UserError for task tokens that name no task, and for whatever one of the named tasks cannot be drawn by."""
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
            f"the task tokens {task_tokens!r} name no set of tasks",
            expected=f"task tokens among {TASK_TOKENS}, each once",
            got=f"unknown {', '.join(unknown)}" if unknown else "a task token twice",
        )
    for task_token in task_tokens:
        task = BY_TASK_TOKEN[task_token]
        task.check(_spec_for(task, spec).model_copy(update={"task_tokens": None}))


def _spec_for(task: Task, spec: MatrixSpec) -> MatrixSpec:
    """A named spectrum is for the tasks that take one; the others draw by the rest of the spec."""
    return spec if task.takes_spectrum or not spec.spectrum else spec.model_copy(update={"spectrum": ()})


def _task_ids(problems: Matrices) -> Ints:
    if problems.task_ids is None:
        raise ValueError("problems of co-training need task_ids")
    return problems.task_ids.astype(np.int64)


def _groups(task_ids: np.ndarray[tuple[int], np.dtype[np.integer]]) -> Iterator[tuple[int, Ints]]:
    """For each label that occurs, in the order of TADMEFI: (label, positions)."""
    return ((int(label), np.flatnonzero(task_ids == label)) for label in np.unique(task_ids))


def _each(problems: Matrices, function: Callable[..., Matrices], *others: Matrices) -> Matrices:
    """``function(task, problems, *others)`` for each task's own problems, in the order of rows, under their task_ids."""
    parts, order = [], []
    for label, index in _groups(_task_ids(problems)):
        parts.append(function(BY_TASK_TOKEN[TASK_TOKENS[label]], *(m.take(index) for m in (problems, *others))))
        order.append(index)
    return _scattered(parts, order).with_task_ids(problems.task_ids)


def _scattered(parts: list[Matrices], order: list[Ints]) -> Matrices:
    if not parts:
        return Matrices.empty()
    return Matrices.concatenate([part.with_task_ids(None) for part in parts]).take(np.argsort(np.concatenate(order)))


TASK = Task(
    name="cotraining",
    task_token=None,
    problem="that of a task sampled from its task tokens (TADMEFI)",
    solution="that task's; its task_token comes first in problem and solution",
    source="Charton 2022, co-training",
    sample=sample,
    solve=solve,
    verify=verify,
    answer_shape=answer_shape,
    residual=residual,
    residual_formula="R of the task's task_token",
    best_written=best_written,
    square_only=True,
    has_task_tokens=True,
    takes_spectrum=True,
    side_by_side=2,
    limits=limits,
    agrees=agrees,
    noise=noise,
)
