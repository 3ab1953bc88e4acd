"""Every task's spec in words; parameters that a task does not take are left out, and so is what is not set."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mathpipe.generate.tasks.spec_text import describe_problems, describe_spec
from mathpipe.generate.tasks.task_registry import TASKS, get_task


def stored(task: str, **options: Any) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(get_task(task).make_spec(options, seed=7).to_json())
    return values


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_words(task: str) -> None:
    text = describe_spec(stored(task))
    assert text.startswith(f"{task}: ") and text.endswith("; seed 7")
    assert not set('{}[]"') & set(text) and "None" not in text and "_" not in text


@pytest.mark.parametrize(
    ("task", "options", "text"),
    [
        (
            "add",
            {"dim": 3},
            "3 x 3 matrices, entries uniform in -10 to 10, rounded to 3 significant digits before solving",
        ),
        (
            "add",
            {"rows": 2, "cols": 4, "entries": "gaussian", "noise": 0.1, "round_problems": False},
            "2 x 4 matrices, entries normal of variance 10^2/3, rounded to 3 significant digits after solving, noise of level 0.1 "
            "on the problem, with the solution of the clean problem",
        ),
        ("laplacian-eigenvalues", {"min_dim": 3, "max_dim": 8}, "n x n matrices, n from 3 to 8"),
        ("xor", {"bits": 8}, "patterns of 8 random bits"),
        ("modular-add", {}, "modulus 97"),
    ],
)
def test_words(task: str, options: dict[str, Any], text: str) -> None:
    assert describe_problems(stored(task, **options)) == text


def test_a_spec_of_an_unknown_task_is_listed() -> None:
    values = {
        "task": "unlisted",
        "source_digest": "0123456789abcdef",
        "problems": {"kind": "sequences", "size": 3, "a": None},
    }
    assert describe_spec(values) == "unlisted (outside mathpipe, source 0123456789ab): size 3"
    assert describe_spec(None) == "unknown" and describe_spec({"task": "add"}) == "add"
