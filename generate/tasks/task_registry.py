"""The registry of all tasks by name. A new task is one file and one row here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mathpipe.datasets.errors import UserError, did_you_mean, nearest
from mathpipe.generate.dataset_spec import DatasetSpec, ImportedSpec
from mathpipe.generate.tasks.calculus import integration_bwd, integration_fwd, integration_ibp, ode1, ode2
from mathpipe.generate.tasks.external.external_tasks import find_external, installed_tasks, latest_digest, load_external
from mathpipe.generate.tasks.external.task_source import is_reference
from mathpipe.generate.tasks.graphs import laplacian_eigenvalues, maximum_clique, shortest_path
from mathpipe.generate.tasks.integers import (
    fraction_add,
    fraction_compare,
    fraction_determinant,
    fraction_product,
    fraction_round,
    fraction_simplify,
    gcd,
    modular_add,
    modular_product,
)
from mathpipe.generate.tasks.matrices import (
    add,
    cholesky,
    cotraining,
    determinant,
    eigenvalues,
    eigenvectors,
    expm,
    inverse,
    linear_system,
    matmul,
    matvec,
    pseudo_inverse,
    qr,
    rank,
    singular_values,
    svd,
    symmetric_inverse,
    transpose,
)
from mathpipe.generate.tasks.matrix_task import MatrixTask
from mathpipe.generate.tasks.polynomials import gfp_add, gfp_multiply, polynomial_roots
from mathpipe.generate.tasks.sequences import memory, xor
from mathpipe.generate.tasks.symbols import bracket_match, copy, deduplicate, parity, reverse, sort
from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.token_task import ExpressionTask, TokenTask
from mathpipe.generate.tasks.unverified import (
    UnverifiedExpressions,
    UnverifiedIntegers,
    UnverifiedMatrices,
    UnverifiedSequences,
)

_MODULES: tuple[Any, ...] = (
    *(transpose, add, matvec, matmul, eigenvalues, eigenvectors, inverse, symmetric_inverse, singular_values, svd),
    *(cotraining, determinant, rank, linear_system, pseudo_inverse, qr, cholesky, expm),
    *(integration_bwd, integration_fwd, integration_ibp, ode1, ode2, xor, memory),
    *(gcd, fraction_simplify, fraction_round, fraction_add, fraction_product, fraction_determinant, fraction_compare),
    *(modular_add, modular_product, shortest_path, laplacian_eigenvalues, maximum_clique),
    *(polynomial_roots, gfp_add, gfp_multiply, copy, reverse, sort, parity, deduplicate, bracket_match),
)
TASKS: dict[str, Task[Any]] = {module.TASK.name: module.TASK for module in _MODULES}

MATRIX_TASKS: dict[str, MatrixTask] = {name: task for name, task in TASKS.items() if isinstance(task, MatrixTask)}
TASKS_BY_TOKEN: dict[str, Task[Any]] = dict(cotraining.BY_TASK_TOKEN)  # those of co-training
UNVERIFIED_TASKS: dict[str, Task[Any]] = {  # by problem type: of imported examples without a task
    task.problem_type: task
    for task in (UnverifiedMatrices(), UnverifiedExpressions(), UnverifiedSequences(), UnverifiedIntegers())
}
_UNVERIFIED = {task.name: task for task in UNVERIFIED_TASKS.values()}
TOKEN_TASKS: dict[str, TokenTask[Any]] = {name: task for name, task in TASKS.items() if isinstance(task, TokenTask)}


def get_task(name: str, source_digest: str | None = None) -> Task[Any]:
    """The task of this name, which a dataset may hold: no code is loaded but that of an installed entry point.

    ``source_digest``: the digest of its code, if it is a task outside the package; it may have the name of one of the package.
    UserError if there is no such task, with the most similar name, or if its code is another.
    """
    if source_digest is None and (name in TASKS or name in _UNVERIFIED):
        return TASKS[name] if name in TASKS else _UNVERIFIED[name]
    task = find_external(name, source_digest)
    if task is not None:
        return task
    if source_digest is not None:
        raise _other_source(name, source_digest, latest_digest(name))
    raise _unknown_task(name)


def _unknown_task(name: str) -> UserError:
    """The error for a name that no task has: the tasks whose names continue it, or the most similar one; else all of them."""
    names = [*TASKS, *installed_tasks()]
    longer = [each for each in names if name and each.startswith(f"{name}-")]
    near = longer or ([match] if (match := nearest(name, names)) else [])
    return UserError(
        f"unknown task {name!r}",
        expected="a task that `mathpipe tasks` lists" if near else f"one of {', '.join(names)}",
        got=repr(name),
        next_step=f"did you mean {', '.join(near[:-1])}{' or ' if len(near) > 1 else ''}{near[-1]}?"
        if near
        else "`mathpipe tasks` describes them; a task outside mathpipe is named by its file, --task ./NAME.py",
    )


def task_of(spec: DatasetSpec) -> Task[Any]:
    """The task of a dataset; UserError if its code is not loaded, or has changed."""
    task = get_task(spec.task, spec.source_digest)
    return task.with_options(spec.problems.task_options) if isinstance(spec.problems, ImportedSpec) else task


def task_of_values(values: dict[str, Any]) -> Task[Any]:
    """The task of a spec as it is stored, in a manifest, a run or an evaluation; UserError as for ``task_of``."""
    task, problems = get_task(str(values.get("task")), values.get("source_digest")), values.get("problems")
    if not isinstance(problems, dict) or problems.get("kind") != "imported":
        return task
    return task.with_options(problems.get("task_options", {}))


def load_task(reference: str) -> Task[Any]:
    """The task that the user names: ``inverse``, ``./gcd.py``, ``./tasks.py:Gcd`` or ``my.module:Gcd``. This loads its code."""
    if is_reference(reference):
        return load_external(reference)
    file = Path(f"{reference}.py")
    if reference not in TASKS and reference not in installed_tasks() and "/" not in reference and file.is_file():
        raise UserError(
            f"unknown task {reference!r}",
            expected="a task that `mathpipe tasks` lists, or the file of a task",
            got=repr(reference),
            next_step=f"did you mean ./{file}?",
        )
    return get_task(reference)


def load_task_with(reference: str, options: Mapping[str, Any]) -> Task[Any]:
    """The task with these options as its defaults; UserError for an unknown option, or a value out of bounds."""
    task = load_task(reference)
    try:
        return task.with_options(options)
    except ValidationError as error:
        fault = error.errors()[0]
        name, names = ".".join(map(str, fault["loc"])), task.options()
        if fault["type"] == "extra_forbidden":
            raise UserError(
                f"{task.name} has no option {name}",
                expected=f"one of {', '.join(names)}" if names else "no options",
                next_step=did_you_mean(name, names),
            ) from None
        expected = fault["msg"].removeprefix("Input should be ")
        raise UserError(f"{task.name}: {name} is invalid", expected=expected, got=repr(fault["input"])) from None


class MissingTaskError(UserError):
    """The code of a task outside the package is not loaded, or is another than that of a dataset."""


def _other_source(name: str, expected: str, loaded: str | None) -> MissingTaskError:
    if loaded is None:
        return MissingTaskError(
            f"{name} is a task outside mathpipe, and its code is not loaded: no dataset or run loads code",
            expected=f"its source of digest {expected[:12]}",
            got="none",
            next_step=f"name its file or module: --task ./{name}.py",
        )
    return MissingTaskError(
        f"the code of {name} is not the code that this dataset was generated with",
        expected=f"source of digest {expected[:12]}",
        got=loaded[:12],
        cause="the file was edited since; other code is another dataset",
        next_step="restore that version of the file (version control has it), or generate another dataset with the new one",
    )


def matrix_task(name: str) -> MatrixTask:
    """The task on matrices of this name; UserError if it is of another problem type."""
    task: MatrixTask = _of_type(name, MatrixTask, "matrices")
    return task


def token_task(name: str) -> TokenTask[Any]:
    """The task of this name that yields pairs of token sequences; UserError if it is of another problem type."""
    task: TokenTask[Any] = _of_type(name, TokenTask, "token sequences")
    return task


def expression_task(name: str) -> ExpressionTask:
    """The task of expressions of this name; UserError if it is of another problem type."""
    task: ExpressionTask = _of_type(name, ExpressionTask, "expressions")
    return task


def _of_type(name: str, task_class: type[Any], problems: str) -> Any:
    task = get_task(name)
    if not isinstance(task, task_class):
        raise UserError(
            f"{name} is not a task of {problems}",
            expected="one of " + ", ".join(other for other, task in TASKS.items() if isinstance(task, task_class)),
            got=repr(name),
        )
    return task


def parse_spec(values: dict[str, Any]) -> DatasetSpec:
    """A stored spec; pydantic's ValidationError if it is invalid, UserError if its task is unknown."""
    problems = values.get("problems")
    if isinstance(problems, dict):
        imported = problems.get("kind") == "imported"
        model = ImportedSpec if imported else task_of_values(values).spec_model
        values = {**values, "problems": model.model_validate(problems)}
    return DatasetSpec.model_validate(values)
