"""The tasks outside the package that this process has loaded.

Code is loaded for two reasons only: the user names it (``load_external``), or has installed it under the entry-point group
``mathpipe.tasks`` and its name is asked for. A dataset, run or
checkpoint holds the name and digest of its task, never a place. A worker process gets the source with its job, and checks the
digest.
"""

from __future__ import annotations

import copyreg
import inspect
import re
import threading
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from mathpipe.datasets.errors import UserError
from mathpipe.generate.dataset_spec import DatasetSpec, ImportedSpec
from mathpipe.generate.tasks.external.example_definition import define_examples
from mathpipe.generate.tasks.external.example_tasks import example_task
from mathpipe.generate.tasks.external.task_source import (
    TaskReference,
    TaskSource,
    load_module,
    parse_reference,
    read_source,
)
from mathpipe.generate.tasks.task import Task

ENTRY_POINT_GROUP = "mathpipe.tasks"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
# Options of the commands: a parameter of a task must not hide one.
_RESERVED = {
    *("task", "n", "valid", "test", "seed", "spec", "extra_test", "shard_rows", "out", "workers", "scheduler", "kind"),
    *("on_mismatch", "json", "as_json", "quiet", "params", "preset", "help", "overrides", "source", "evidence"),
}
_LOADED: dict[tuple[str, str, str | None], Task[Any]] = {}  # (default name, digest, attribute) -> task
_LATEST: dict[str, Task[Any]] = {}  # name -> the task of this name that was loaded last
_BY_DIGEST: dict[tuple[str, str], Task[Any]] = {}  # (name, digest) -> task
_LOCK = threading.RLock()  # workers may load from several threads


def load_external(reference: str) -> Task[Any]:
    """Load the task that ``./gcd.py``, ``./tasks.py:Gcd`` or ``my.module:Gcd`` names, as its source is now."""
    return load_source(read_source(parse_reference(reference)))


def load_source(source: TaskSource) -> Task[Any]:
    """The task of a source, once in each process. Worker processes load the sources that a job brings along."""
    with _LOCK:
        module = load_module(source)
        name = _default_name(source)
        key = (name, source.digest, source.reference.attribute)
        if key not in _LOADED:
            task = _make_task(source, module, name)
            task.origin = source
            copyreg.pickle(type(task), _reduce_task)
            _LOADED[key] = _BY_DIGEST[task.name, source.digest] = task
        task = _LOADED[key]
        _LATEST[task.name] = task
        return task


def _reduce_task(task: Task[Any]) -> tuple[Any, ...]:
    """A pickled task is its source: another process loads it again."""
    return _restore_task, (task.origin, dict(task.chosen_options))


def _restore_task(source: TaskSource, options: dict[str, Any]) -> Task[Any]:
    return load_source(source).with_options(options)


def _reduce_spec(spec: DatasetSpec) -> tuple[Any, ...]:
    """A pickled spec of a task outside the package brings the source along: a worker may have neither file nor module."""
    task = None if spec.source_digest is None else _BY_DIGEST.get((spec.task, spec.source_digest))
    if task is None:
        reduced = object.__reduce_ex__(spec, 2)
        assert isinstance(reduced, tuple)
        return reduced
    return _restore_spec, (task.origin, spec.model_dump(mode="json"), isinstance(spec.problems, task.spec_model))


def _restore_spec(source: TaskSource, values: dict[str, Any], has_own_problems: bool) -> DatasetSpec:
    """The spec of a task that this process loads now, unless it has."""
    task = load_source(source)
    model = task.spec_model if has_own_problems else ImportedSpec
    return DatasetSpec.model_validate({**values, "problems": model.model_validate(values["problems"])})


copyreg.pickle(DatasetSpec, _reduce_spec)


def find_external(name: str, digest: str | None = None) -> Task[Any] | None:
    """The loaded or installed task of this name, and of this digest if one is given; None if there is none."""
    if digest is not None and (name, digest) in _BY_DIGEST:
        return _BY_DIGEST[name, digest]
    if name not in _LATEST:
        entry = installed_tasks().get(name)
        if entry is not None:
            load_entry_point(entry)
    task = _LATEST.get(name)
    return task if task is not None and digest in (None, _digest(task)) else None


def latest_digest(name: str) -> str | None:
    """The digest of the task of this name that was loaded last."""
    return _digest(_LATEST[name]) if name in _LATEST else None


def _digest(task: Task[Any]) -> str | None:
    return None if task.origin is None else task.origin.digest


def installed_tasks() -> dict[str, EntryPoint]:
    """The entry points of the group ``mathpipe.tasks`` by name; none is imported."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}


def load_entry_point(entry: EntryPoint) -> Task[Any]:
    """The task of an entry point; UserError if it cannot be loaded or has another name."""
    reference = TaskReference("module", entry.module, entry.attr or None)
    task = load_source(read_source(reference))
    if task.name != entry.name:
        raise UserError(
            f"the entry point {entry.name} of {ENTRY_POINT_GROUP} names a task of another name",
            expected=entry.name,
            got=task.name,
            next_step=f"name the entry point {task.name}, or the task {entry.name}",
        )
    return task


def _default_name(source: TaskSource) -> str:
    """The name of a task that states none: that of the file, or of the attribute: ``MaxClique`` is ``max-clique``."""
    attribute = source.reference.attribute
    if attribute in (None, "TASK", "example"):
        base = Path(source.path).stem
    else:
        base = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", str(attribute))
    return base.lower().replace("_", "-")


def _make_task(source: TaskSource, module: ModuleType, default_name: str) -> Task[Any]:
    """The task that the source names, its name and options checked."""
    value = _target(source, module)
    if isinstance(value, type) and issubclass(value, Task):
        value = _instance(source, value)
    if isinstance(value, Task):
        target: Task[Any] = value
    else:
        target = example_task(define_examples(value, source.path, default_name), module)
    if not _NAME.fullmatch(str(getattr(target, "name", ""))):
        raise UserError(
            f"{source.reference}: a task needs a name",
            expected="lower-case letters, digits, - and _, at most 64",
            got=repr(getattr(target, "name", None)),
        )
    reserved = sorted(
        name for name in target.options().keys() & _RESERVED if not _is_of_package(target.spec_model, name)
    )
    if reserved:
        raise UserError(
            f"{source.reference}: the parameter {reserved[0]} of {target.name} has the name of an option of the commands",
            next_step="rename it, for example to " + f"max_{reserved[0]}" if len(reserved[0]) < 3 else "rename it",
        )
    return target


def _is_of_package(model: type[Any], name: str) -> bool:
    """Whether a field is that of a spec model of the package, such as ``evidence`` of expressions."""
    owner = next((each for each in model.__mro__ if name in vars(each).get("__annotations__", {})), model)
    return owner.__module__.startswith("mathpipe.")


def _target(source: TaskSource, module: ModuleType) -> Any:
    """What the reference names: an attribute, or in a whole module its ``TASK``, its function ``example`` or its one Task."""
    attribute = source.reference.attribute
    if attribute is not None:
        if not hasattr(module, attribute):
            names = [name for name, value in vars(module).items() if _is_task(value, module)]
            raise UserError(
                f"--task {source.reference}: {Path(source.path).name} has no {attribute}",
                expected=f"one of {', '.join(names)}" if names else "a Task, or an object with a function example",
                got=repr(attribute),
            )
        value = getattr(module, attribute)
        if attribute == "example" and inspect.isfunction(value):
            return module
        if isinstance(value, type) and not issubclass(value, Task) and hasattr(value, "example"):
            return _instance(source, value)
        return value
    if hasattr(module, "TASK"):
        return module.TASK
    if hasattr(module, "example"):
        return module
    tasks = {name: value for name, value in vars(module).items() if _is_task(value, module)}
    if len(tasks) > 1:
        raise UserError(
            f"{source.reference} defines several tasks",
            expected=f"one of them, such as --task {source.reference}:{next(iter(tasks))}",
            got=", ".join(tasks),
        )
    return next(iter(tasks.values()), module)


def _is_task(value: object, module: ModuleType) -> bool:
    """Whether a module defines this value as a task of its own."""
    if isinstance(value, type):
        is_local = value.__module__ == module.__name__
        return is_local and (issubclass(value, Task) or hasattr(value, "example")) and not inspect.isabstract(value)
    return isinstance(value, Task)


def _instance(source: TaskSource, task_class: type[Any]) -> Any:
    try:
        return task_class()
    except Exception as error:
        raise UserError(
            f"{source.reference}: {task_class.__name__}() failed",
            expected="a class without arguments, with every abstract method defined",
            got=f"{type(error).__name__}: {error}",
        ) from error
