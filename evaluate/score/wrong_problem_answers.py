"""Which predictions are right for another problem than the one asked: each task names some (``Task.confusions``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_rows
from mathpipe.generate.tasks.registry import Task


def confused_with(
    task: Task, problems: Matrices, predicted: Matrices, readable: NDArray[np.bool_], tolerance: float
) -> NDArray[np.object_]:
    """(n,): the name of the first other problem whose error test the prediction passes, None where there is none.

    A prediction may be right for both where their answers are near each other.
    """
    found = np.full(len(problems), None, dtype=object)
    unexplained = readable.copy()
    for name, change in task.confusions.items():
        others = problems.map(change)
        index = np.flatnonzero(unexplained & _differ(problems, others))
        if len(index):
            index = index[_right_for(task, others.take(index), predicted.take(index), tolerance)]
            found[index], unexplained[index] = name, False
    return found


def _right_for(task: Task, problems: Matrices, predicted: Matrices, tolerance: float) -> NDArray[np.bool_]:
    """(n,): which predictions pass the error test of these problems; False where these have no answer of that shape."""
    solved = task.solve(problems)
    there = predicted.same_shape(solved.solutions)
    for rejected in solved.rejected.values():
        there &= ~rejected
    with np.errstate(all="ignore"):
        errors = task.verify(*(m.take(there) for m in (problems, solved.solutions, predicted)))
    right = np.zeros(len(problems), dtype=np.bool_)
    right[there] = task.passes(errors, tolerance)
    return right


def _differ(problems: Matrices, others: Matrices) -> NDArray[np.bool_]:
    return np.asarray(reduce_rows((problems.values != others.values).astype(np.float64), problems, np.maximum) > 0)
