"""The registry of adapters by problem type. A new problem type is one module and one row here."""

from __future__ import annotations

from typing import Any

from mathpipe.evaluate.adapters.adapter import Adapter
from mathpipe.evaluate.adapters.expression_adapter import ExpressionAdapter
from mathpipe.evaluate.adapters.integer_adapter import IntegerAdapter
from mathpipe.evaluate.adapters.matrix_adapter import MatrixAdapter
from mathpipe.evaluate.adapters.sequence_adapter import SequenceAdapter
from mathpipe.generate.tasks.error_measures import TOLERANCE
from mathpipe.generate.tasks.task_registry import TASKS, get_task

AnyAdapter = Adapter[Any, Any, Any]

ADAPTERS: dict[str, type[AnyAdapter]] = {
    "matrices": MatrixAdapter,
    "expressions": ExpressionAdapter,
    "sequences": SequenceAdapter,
    "integers": IntegerAdapter,
}


def adapter_of(
    task_name: str, workers: int = 0, tolerance: float = TOLERANCE, source_digest: str | None = None
) -> AnyAdapter:
    """The adapter of a task, by its problem type.

    ``workers``: processes that verify expressions; 0 verifies in this process. ``tolerance``: of the error test of matrices.
    ``source_digest``: that of the spec, for a task outside the package.
    """
    task = get_task(task_name, source_digest)
    return ADAPTERS[task.problem_type](task, tolerance=tolerance, workers=workers)


def all_outcomes() -> list[str]:
    """The outcomes of all tasks."""
    return list(dict.fromkeys(name for task in TASKS for name in adapter_of(task).outcomes))


def adapter_of_spec(spec: dict[str, Any], workers: int = 0, tolerance: float = TOLERANCE) -> AnyAdapter:
    """The adapter of the task of a stored spec; UserError if the code of a task outside the package is missing or has changed."""
    return adapter_of(str(spec["task"]), workers, tolerance, spec.get("source_digest"))
