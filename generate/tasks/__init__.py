"""The table of contents: every task by its name on the command line. A new task is one file and one row here."""

from mathpipe.datasets.errors import UserError, nearest
from mathpipe.generate.tasks import (
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
from mathpipe.generate.tasks.base import Solved, Task

_MODULES = (
    *(transpose, add, matvec, matmul, eigenvalues, eigenvectors, inverse, symmetric_inverse, singular_values, svd),
    *(cotraining, determinant, rank, solve, pseudo_inverse, qr, cholesky, expm),
)
TASKS: dict[str, Task] = {module.TASK.name: module.TASK for module in _MODULES}


def get_task(name: str) -> Task:
    """The task of this name; UserError naming the nearest known one."""
    if name not in TASKS:
        near = nearest(name, TASKS)
        raise UserError(
            f"unknown task {name!r}",
            expected=f"one of {', '.join(TASKS)}",
            got=repr(name),
            next_step=f"did you mean {near}?" if near else "`mathpipe tasks` lists them all",
        )
    return TASKS[name]


__all__ = ["TASKS", "Solved", "Task", "get_task"]
