"""Co-training: each problem is one of several tasks, named by its letter, the first word of problem and solution.

Letters: T transpose, A add, D matvec, M matmul, E eigenvalues, F eigenvectors, I inverse; drawn uniformly for each problem. A
matrix carries its letter as a label, its place in TADMEFI; every function here sends problems to the task of their label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mathpipe.datasets.containers.ragged_matrices import Labels, Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.matrix_tokenizer import LETTERS
from mathpipe.generate.spec import MatrixLaw
from mathpipe.generate.tasks.base import Errors, Ints, Mask, Solved, Task
from mathpipe.generate.tasks.matrices import add, eigenvalues, eigenvectors, inverse, matmul, matvec, transpose

_TASKS = (transpose.TASK, add.TASK, matvec.TASK, matmul.TASK, eigenvalues.TASK, eigenvectors.TASK, inverse.TASK)
BY_LETTER: dict[str, Task] = {str(task.letter): task for task in _TASKS}
NAMES = tuple(BY_LETTER[letter].name for letter in LETTERS)  # of a label


def labels_of(names: Sequence[str]) -> Labels:
    """The labels of problems of tasks of these names."""
    return np.array([NAMES.index(name) for name in names], dtype=np.uint8)


def sample(rng: np.random.Generator, n: int, law: MatrixLaw) -> Matrices:
    """n problems; the tasks are drawn first, then all problems of one task together."""
    letters = law.letters or LETTERS
    labels = np.array([LETTERS.index(letter) for letter in letters], dtype=np.uint8)[
        rng.integers(0, len(letters), size=n)
    ]
    parts, order = [], []
    for label, index in _groups(labels):
        task = BY_LETTER[LETTERS[label]]
        parts.append(task.sample(rng, len(index), _law_for(task, law)))
        order.append(index)
    return _scattered(parts, order).labelled(labels)


def noise(rng: np.random.Generator, clean: Matrices, law: MatrixLaw) -> Matrices:
    """Each task's own noise: symmetric where its operands are."""
    return _each(clean, lambda task, part: task.with_noise(rng, part, law))


def solve(operands: Matrices) -> Solved:
    """Each task's own answers, under the labels of their problems; rejected for each task's own reasons."""
    rejected: dict[str, Mask] = {}
    parts, order = [], []
    for label, index in _groups(_labels(operands)):
        solved = BY_LETTER[LETTERS[label]].solve(operands.take(index))
        parts.append(solved.solutions)
        order.append(index)
        for reason, mask in solved.rejected.items():
            rejected.setdefault(reason, np.zeros(len(operands), dtype=np.bool_))[index] = mask
    return Solved(_scattered(parts, order).labelled(operands.labels), rejected)


def verify(operands: Matrices, references: Matrices, predicted: Matrices) -> Errors:
    """Each task's own error measures; ``orthogonality`` is 0 where an answer holds no vectors."""
    errors: Errors = {"orthogonality": np.zeros(len(operands))}  # whatever tasks are among these problems
    for label, index in _groups(_labels(operands)):
        batch = (m.take(index) for m in (operands, references, predicted))
        for name, values in BY_LETTER[LETTERS[label]].verify(*batch).items():
            errors.setdefault(name, np.zeros(len(operands)))[index] = values
    return errors


def residual(operands: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
    return _each(operands, lambda task, *batch: task.residual(*batch), references, predicted)


def best_written(operands: Matrices, solutions: Matrices) -> Matrices:
    return _each(operands, lambda task, *batch: task.best_written(*batch), solutions)


def agrees(operands: Matrices, solved: Matrices, stored: Matrices) -> Mask:
    """Where a task's answers are the same on every CPU there is nothing more to allow."""
    right = np.zeros(len(operands), dtype=np.bool_)
    for label, index in _groups(_labels(operands)):
        task = BY_LETTER[LETTERS[label]]
        if task.agrees is not None:
            right[index] = task.agrees(*(m.take(index) for m in (operands, solved, stored)))
    return right


def answer_shape(operands: Matrices) -> tuple[Ints, Ints]:
    """Each task's own; without labels the largest, that of eigenvectors."""
    if operands.labels is None:
        return operands.rows + 1, operands.cols
    rows, cols = np.zeros(len(operands), dtype=np.int64), np.zeros(len(operands), dtype=np.int64)
    for label, index in _groups(operands.labels):
        rows[index], cols[index] = BY_LETTER[LETTERS[label]].answer_shape(operands.take(index))
    return rows, cols


def limits(law: MatrixLaw) -> None:
    """UserError for letters that name no task, and for whatever one of the named tasks cannot be drawn by."""
    if law.letters == "":
        raise UserError(
            "the letters name no task",
            expected=f"letters among {LETTERS}, each once",
            got="''",
            next_step=f"leave --letters out for all of {LETTERS}",
        )
    letters = law.letters or LETTERS
    unknown = [letter for letter in letters if letter not in BY_LETTER]
    if unknown or len(set(letters)) != len(letters):
        raise UserError(
            f"the letters {letters!r} name no set of tasks",
            expected=f"letters among {LETTERS}, each once",
            got=f"unknown {', '.join(unknown)}" if unknown else "a letter twice",
        )
    for letter in letters:
        task = BY_LETTER[letter]
        task.check(_law_for(task, law).model_copy(update={"letters": None}))


def _law_for(task: Task, law: MatrixLaw) -> MatrixLaw:
    """A named spectrum is for the tasks that take one; the others draw by the rest of the law."""
    return law if task.takes_spectrum or not law.spectrum else law.model_copy(update={"spectrum": ()})


def _labels(operands: Matrices) -> Ints:
    if operands.labels is None:
        raise ValueError("problems of co-training need labels")
    return operands.labels.astype(np.int64)


def _groups(labels: np.ndarray[tuple[int], np.dtype[np.integer]]) -> Iterator[tuple[int, Ints]]:
    """For each label that occurs, in the order of TADMEFI: (label, positions)."""
    return ((int(label), np.flatnonzero(labels == label)) for label in np.unique(labels))


def _each(operands: Matrices, function: Callable[..., Matrices], *others: Matrices) -> Matrices:
    """``function(task, operands, *others)`` for each task's own problems, in the order of rows, under their labels."""
    parts, order = [], []
    for label, index in _groups(_labels(operands)):
        parts.append(function(BY_LETTER[LETTERS[label]], *(m.take(index) for m in (operands, *others))))
        order.append(index)
    return _scattered(parts, order).labelled(operands.labels)


def _scattered(parts: list[Matrices], order: list[Ints]) -> Matrices:
    if not parts:
        return Matrices.empty()
    return Matrices.concatenate([part.labelled(None) for part in parts]).take(np.argsort(np.concatenate(order)))


TASK = Task(
    name="cotraining",
    letter=None,
    operand="that of a task drawn from letters (TADMEFI)",
    solution="that task's; its letter comes first in problem and solution",
    source="Charton 2022, co-training",
    sample=sample,
    solve=solve,
    verify=verify,
    answer_shape=answer_shape,
    residual=residual,
    residual_formula="R of the task's letter",
    best_written=best_written,
    square_only=True,
    lettered=True,
    takes_spectrum=True,
    side_by_side=2,
    limits=limits,
    agrees=agrees,
    noise=noise,
)
