"""Shared options, and options generated from a parameter schema, so that flags and params.yaml cannot diverge.

The flags of a task, such as ``--dim``, are declared in ``generate/problem_specs`` or in the file of the task.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.generate.tasks.external.task_source import is_reference
from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.task_registry import load_task
from mathpipe.pipeline.config.counts import CountRange, format_count
from mathpipe.pipeline.config.path_types import LocalPath
from mathpipe.pipeline.config.resolution import ParameterSource, resolve, user_errors
from mathpipe.pipeline.config.typed_values import is_integer, read_values

_TASK = "mathpipe.task"
NO_TASK = "none"
"""``import --task none``: problems of no task."""
Command = TypeVar("Command", bound=Callable[..., Any])


def parameter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--preset NAME``, ``--params FILE`` and ``-S key=value``, passed to the command as one ``ParameterSource``."""

    @functools.wraps(command)
    def with_source(preset: str | None, params: Path | None, overrides: tuple[str, ...], **rest: Any) -> Any:
        return command(source=ParameterSource(preset, params, overrides), **rest)

    with_options = click.option(
        "-S",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set one parameter by its key in params.yaml, such as train.lr=1e-3; may be repeated.",
    )(with_source)
    with_options = click.option(
        "--params",
        type=LocalPath(dir_okay=False, path_type=Path),
        default=None,
        help="Read parameters from this file, such as params.yaml.  [default: no file]",
    )(with_options)
    return click.option("--preset", default=None, help="Start from a named set of parameters; see `mathpipe presets`.")(
        with_options
    )


def execution_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--workers N`` and ``--scheduler ADDRESS``, which exclude each other.

    Without either, ``workers`` is None and ``generate.execution`` chooses.
    """

    @functools.wraps(command)
    def with_execution(workers: int | None, scheduler: str | None, **rest: Any) -> Any:
        if workers is not None and scheduler is not None:
            raise UserError(
                "--workers and --scheduler exclude each other",
                expected="--workers N for local processes, or --scheduler ADDRESS for an existing cluster",
                got=f"--workers {workers} --scheduler {scheduler}",
                next_step="leave --workers out: the cluster sets its own number of workers",
            )
        return command(workers=workers, scheduler=scheduler, **rest)

    with_scheduler = click.option(
        "--scheduler", default=None, metavar="ADDRESS", help="Run on an existing Dask cluster, such as tcp://host:8786."
    )(with_execution)
    return click.option(
        "--workers",
        type=CountRange(min=0),
        default=None,
        help="Number of local worker processes; 0 runs in this process.  [default: one per CPU for large jobs, else 0]",
    )(with_scheduler)


def external_task_option(command: Command) -> Command:
    """Add ``--task``, for a dataset of a task outside the package: the code is loaded before the command begins."""

    def load(context: click.Context, option: click.Parameter, reference: str | None) -> None:
        if reference is not None:
            load_task(reference)

    return click.option(
        "--task",
        default=None,
        metavar="TASK",
        expose_value=False,
        callback=load,
        help="The task of the dataset, if it is outside mathpipe: a file (./euclid.py) or a module (my.module:Euclid).",
    )(command)


def load_configured_task(source: ParameterSource) -> None:
    """Load the task of the section ``generate``, if it is one outside the package: DVC's stages name it there alone."""
    task = resolve("generate", ParameterSource(source.preset, source.file), {}).get("task")
    if task is not None and is_reference(str(task)):
        load_task(str(task))


def options_from_model(model: type[BaseModel]) -> Callable[[Command], Command]:
    """Add one option for each field of the model that has a description.

    Options not given are None, since the model holds the defaults.
    """

    def add(command: Command) -> Command:
        for name, field in reversed(model.model_fields.items()):
            if field.description is not None:
                declaration, attributes = _option(name, field, field.default)
                command = click.option(*declaration, name, **attributes)(command)
        return command

    return add


def task_options(task: Task[Any]) -> list[click.Option]:
    """The options of a task: one for each of its parameters, with the task's own defaults."""
    defaults = task.default_spec.option_values()
    options = []
    for name, field in task.options().items():
        declaration, attributes = _option(name, field, defaults.get(name))
        options.append(click.Option([*declaration, name], **attributes))
    return options


def _option(name: str, field: FieldInfo, default: Any) -> tuple[list[str], dict[str, Any]]:
    """The declaration and the attributes of the click option of a field."""
    flag = f"--{name.replace('_', '-')}"
    text = (field.description or "").strip()
    text = text[:1].upper() + text[1:] if text[1:2].isalpha() else text
    if name == "extra_test":
        attributes = {"multiple": True, "callback": _none_if_empty, "metavar": "NAME:KEY=VALUE,...", "help": f"{text}."}
        return [flag], attributes
    if field.annotation is bool:
        state = "on" if default else "off"
        return [f"{flag}/--no-{flag[2:]}"], {"default": None, "help": f"{text}.  [default: {state}]"}
    metavar = _metavar(name, field.annotation)
    if default not in (None, PydanticUndefined, "", ()) and "[default:" not in text:
        shown = format_count(default) if metavar == "COUNT" and default >= 10_000 else default
        text += f".  [default: {shown:g}]" if isinstance(default, float) else f".  [default: {shown}]"
    return [flag], {"default": None, "metavar": metavar, "help": text}


class Choice(click.Choice[str]):
    """One of a fixed set of names; UserError with the nearest one for any other."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            flag = param.opts[0] if param is not None else "the option"
            raise UserError(
                f"{flag} is invalid",
                expected=f"one of {', '.join(self.choices)}",
                got=repr(value),
                next_step=did_you_mean(str(value), self.choices),
            )
        return str(value)


def configured_task(reference: str, flags: dict[str, Any]) -> Task[Any]:
    """The task with the options that the flags name; UserError for values out of bounds."""
    task = load_task(reference)
    options = read_values(task.spec_model, named_options(flags), task.name)
    with user_errors(task.spec_model, task.name):
        return task.with_options(options)


def named_options(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given."""
    return {name: value for name, value in flags.items() if value is not None}


class TaskCommand(click.Command):
    """A command with the options of its task: those of the parameters of the task that ``--task`` or a file names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_TASK] = _named_task(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise self._no_such_option(ctx, error) from None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The options of the task, but those that the command has itself, and those of the command."""
        task, params = ctx.meta.get(_TASK), super().get_params(ctx)
        flags = {flag for parameter in params for flag in parameter.opts}
        return [*(option for option in task_options(task) if not flags & {*option.opts}), *params] if task else params

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of the task in a section of their own."""
        task = ctx.meta.get(_TASK)
        task_option_names = {option.name for option in task_options(task)} if task is not None else set()
        sections: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections[parameter.name in task_option_names].append(record)
        if task is not None:
            with formatter.section(f"Options of {task.name}"):
                formatter.write_dl(sections[True])
        with formatter.section("Options"):
            formatter.write_dl(sections[False])
        if task is None:
            with formatter.section("Options of a task"):
                formatter.write_text(f"Name the task to see them: mathpipe {self.name} --task inverse --help")

    def _no_such_option(self, ctx: click.Context, error: click.NoSuchOption) -> UserError:
        task = ctx.meta.get(_TASK)
        flags = [flag[2:] for parameter in self.get_params(ctx) for flag in parameter.opts if flag.startswith("--")]
        next_step = did_you_mean(error.option_name.removeprefix("--"), flags, prefix="--")
        if task is None:
            return UserError(
                f"no such option: {error.option_name}",
                expected=f"an option of `mathpipe {self.name} --help`; with --task also those of the task",
                got=error.option_name,
                next_step=next_step or "name the task with --task: its parameters are options, too",
            )
        task_flags = ", ".join(option.opts[0] for option in task_options(task))
        return UserError(
            f"{task.name} has no option {error.option_name}",
            expected=f"an option of {task.name} ({task_flags}), or one that every task has",
            got=error.option_name,
            next_step=next_step or f"mathpipe {self.name} --task {task.reference} --help",
        )


def _named_task(args: list[str]) -> Task[Any] | None:
    """The task that the arguments of a command name, by ``--task``, ``-S``, a file or a preset; None if they name none."""
    names = ("--task", "--preset", "--params")
    scan = click.Command(
        "scan",
        params=[*(click.Option([name]) for name in names), click.Option(["-S", "overrides"], multiple=True)],
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )
    with scan.make_context("scan", list(args), resilient_parsing=True) as ctx:
        arguments = ctx.params
    params = Path(arguments["params"]) if arguments["params"] else None
    name = arguments["task"]
    if name is None and (params is not None or arguments["preset"] or arguments["overrides"]):
        source = ParameterSource(arguments["preset"], params, tuple(arguments["overrides"] or ()))
        name = resolve("generate", source, {}).get("task")
    return None if name is None or name == NO_TASK else load_task(str(name))


def _none_if_empty(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...] | None:
    """A flag that is not given must not override the file."""
    return value or None


def _metavar(name: str, annotation: object) -> str:
    choices: tuple[Any, ...] = getattr(annotation, "__args__", ())
    choices = next((c.__args__ for c in choices if get_origin(c) is Literal), choices)  # of Literal[...] | None
    if choices and all(isinstance(choice, str) for choice in choices):
        return "|".join(choices)
    if is_integer(annotation):
        return "COUNT"
    return "TASK" if name == "task" else "VALUE"
