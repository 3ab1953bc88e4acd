"""Detect predictions that solve another problem than the given one. Each task names candidates (``MatrixTask.wrong_problems``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_per_matrix
from mathpipe.generate.tasks.matrix_task import MatrixTask


def confused_with(
    task: MatrixTask, problems: Matrices, predicted: Matrices, readable: NDArray[np.bool_], tolerance: float
) -> NDArray[np.object_]:
    """(n,): the name of the first other problem whose error test the prediction passes, else None.

    A prediction may solve both problems if their answers nearly coincide.
    """
    names = np.full(len(problems), None, dtype=object)
    remaining = readable.copy()
    for name, change in task.wrong_problems.items():
        others = problems.map(change)
        index = np.flatnonzero(remaining & _differ(problems, others))
        if len(index):
            index = index[_pass_error_test(task, others.take(index), predicted.take(index), tolerance)]
            names[index], remaining[index] = name, False
    return names


def _pass_error_test(task: MatrixTask, problems: Matrices, predicted: Matrices, tolerance: float) -> NDArray[np.bool_]:
    """(n,): mask of predictions that pass the error test of these problems; False if the answer has another shape."""
    solved = task.solve(problems)
    comparable = predicted.same_shape(solved.solutions)
    for rejected in solved.rejected.values():
        comparable &= ~rejected
    with np.errstate(all="ignore"):
        errors = task.errors(*(m.take(comparable) for m in (problems, solved.solutions, predicted)))
    correct = np.zeros(len(problems), dtype=np.bool_)
    correct[comparable] = task.passes(errors, tolerance)
    return correct


def _differ(problems: Matrices, others: Matrices) -> NDArray[np.bool_]:
    return np.asarray(
        reduce_per_matrix((problems.values != others.values).astype(np.float64), problems, np.maximum) > 0
    )
