"""The registry of all tasks by name. A new task is one file and one row here."""

from typing import Any

from mathpipe.datasets.errors import UserError, nearest
from mathpipe.generate.spec import DatasetSpec, MatrixSpec, SequenceSpec
from mathpipe.generate.splits import share
from mathpipe.generate.tasks.base import Solved, Task
from mathpipe.generate.tasks.calculus import integration_bwd, integration_fwd, integration_ibp, ode1, ode2
from mathpipe.generate.tasks.matrices import (
    add,
    cholesky,
    cotraining,
    determinant,
    eigenvalues,
    eigenvectors,
    expm,
    inverse,
    matmul,
    matvec,
    pseudo_inverse,
    qr,
    rank,
    singular_values,
    solve,
    svd,
    symmetric_inverse,
    transpose,
)
from mathpipe.generate.tasks.sequence_base import SequenceTask
from mathpipe.generate.tasks.sequences import memory, xor

_MODULES = (
    *(transpose, add, matvec, matmul, eigenvalues, eigenvectors, inverse, symmetric_inverse, singular_values, svd),
    *(cotraining, determinant, rank, solve, pseudo_inverse, qr, cholesky, expm),
)
_SEQUENCE_MODULES: tuple[Any, ...] = (integration_bwd, integration_fwd, integration_ibp, ode1, ode2, xor, memory)
MATRIX_TASKS: dict[str, Task] = {module.TASK.name: module.TASK for module in _MODULES}
SEQUENCE_TASKS: dict[str, SequenceTask] = {module.TASK.name: module.TASK for module in _SEQUENCE_MODULES}
TASKS: dict[str, Task | SequenceTask] = {**MATRIX_TASKS, **SEQUENCE_TASKS}


def get_task(name: str) -> Task | SequenceTask:
    """The task of this name, of either kind; UserError suggests the most similar name."""
    if name not in TASKS:
        near = nearest(name, TASKS)
        raise UserError(
            f"unknown task {name!r}",
            expected=f"one of {', '.join(TASKS)}",
            got=repr(name),
            next_step=f"did you mean {near}?" if near else "`mathpipe tasks` lists them all",
        )
    return TASKS[name]


def matrix_task(name: str) -> Task:
    """The matrix task of this name; UserError if it is of another kind."""
    task = get_task(name)
    if not isinstance(task, Task):
        raise UserError(f"{name} is not a matrix task", expected="one of " + ", ".join(MATRIX_TASKS), got=repr(name))
    return task


def sequence_task(name: str) -> SequenceTask:
    """The sequence task (expressions, bits) of this name; UserError if it is of another kind."""
    task = get_task(name)
    if not isinstance(task, SequenceTask):
        raise UserError(
            f"{name} is not a sequence task", expected="one of " + ", ".join(SEQUENCE_TASKS), got=repr(name)
        )
    return task


def distinct_problems(spec: DatasetSpec) -> float:
    """An upper bound on the number of distinct problems of a spec; infinity if it is astronomically large."""
    if isinstance(spec.problems, MatrixSpec):
        return matrix_task(spec.task).distinct_problems(spec.problems)
    if isinstance(spec.problems, SequenceSpec):
        return sequence_task(spec.task).distinct_problems(spec.problems)
    return float("inf")


def distinct_of_split(spec: DatasetSpec, split: str) -> float:
    """The number of distinct problems of a split: exact if the task counts them, else the split's share of the bound."""
    if isinstance(spec.problems, SequenceSpec):
        counted = sequence_task(spec.task).distinct_of_split
        if counted is not None:
            return counted(spec.problems, split)
    return share(split) * distinct_problems(spec)


def may_repeat(spec: DatasetSpec) -> bool:
    """Whether the training split may have more rows than distinct problems."""
    return isinstance(spec.problems, SequenceSpec) and sequence_task(spec.task).may_repeat


__all__ = [
    "MATRIX_TASKS",
    "SEQUENCE_TASKS",
    "TASKS",
    "SequenceTask",
    "Solved",
    "Task",
    "distinct_of_split",
    "distinct_problems",
    "get_task",
    "matrix_task",
    "may_repeat",
    "sequence_task",
]
