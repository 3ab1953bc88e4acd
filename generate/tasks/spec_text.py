"""A stored spec in words, for people."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from mathpipe.datasets.errors import UserError
from mathpipe.generate.dataset_spec import value_text
from mathpipe.generate.tasks.task_registry import parse_spec, task_of_values


def describe_problems(values: dict[str, Any] | None) -> str:
    """How the problems of a stored spec are sampled; its parameters one by one if the code of the task is not loaded."""
    problems = (values or {}).get("problems") or {}
    try:
        return parse_spec(values or {}).problems.describe(task_of_values(values or {}).options().keys())
    except (UserError, ValidationError):
        return value_text(
            {name: value for name, value in problems.items() if value not in (None, "", []) and name != "kind"}
        )


def describe_spec(values: dict[str, Any] | None) -> str:
    """Task, problems and seed in words: ``add of 3 x 3 matrices, entries uniform in -10 to 10, ...; seed 0``."""
    if not values:
        return "unknown"
    task, seed, digest = values.get("task"), values.get("seed"), values.get("source_digest")
    problems = describe_problems(values)
    parts = [
        f"{task}{f' (outside mathpipe, source {digest[:12]})' if digest else ''}{f': {problems}' if problems else ''}"
    ]
    return "; ".join([*parts, *([] if seed is None else [f"seed {seed}"])])
