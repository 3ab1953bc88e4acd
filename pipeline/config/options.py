"""Shared options, and options generated from a parameter schema, so that flags and params.yaml cannot diverge."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_origin

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from mathpipe.datasets.errors import UserError
from mathpipe.pipeline.config.counts import format_count
from mathpipe.pipeline.config.resolution import ParameterSource

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
        type=click.Path(dir_okay=False, path_type=Path),
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
        type=int,
        default=None,
        help="Number of local worker processes; 0 runs in this process.  [default: one per CPU for large jobs, else 0]",
    )(with_scheduler)


def options_from_model(model: type[BaseModel]) -> Callable[[Command], Command]:
    """Add one option for each field of the model. Options not given are None, since the model holds the defaults."""

    def add(command: Command) -> Command:
        for name, field in reversed(model.model_fields.items()):
            flag = f"--{name.replace('_', '-')}"
            default = field.default
            text = (field.description or "").strip()
            text = text[:1].upper() + text[1:] if text[1:2].isalpha() else text
            if name == "extra_test":
                option = click.option(
                    flag, name, multiple=True, callback=_none_if_empty, metavar="NAME:KEY=VALUE,...", help=f"{text}."
                )
            elif field.annotation is bool:
                state = "on" if default else "off"
                option = click.option(
                    f"{flag}/--no-{flag[2:]}", name, default=None, help=f"{text}.  [default: {state}]"
                )
            else:
                if default not in (None, PydanticUndefined):
                    shown = format_count(default) if isinstance(default, int) else default
                    text += f".  [default: {shown:g}]" if isinstance(default, float) else f".  [default: {shown}]"
                option = click.option(flag, name, default=None, metavar=_metavar(name, field.annotation), help=text)
            command = option(command)
        return command

    return add


def _none_if_empty(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...] | None:
    """A flag that is not given must not override the file."""
    return value or None


def _metavar(name: str, annotation: object) -> str:
    choices: tuple[Any, ...] = getattr(annotation, "__args__", ())
    choices = next((c.__args__ for c in choices if get_origin(c) is Literal), choices)  # of Literal[...] | None
    if choices and all(isinstance(choice, str) for choice in choices):
        return "|".join(choices)
    return {
        "n": "COUNT",
        "valid": "COUNT",
        "test": "COUNT",
        "shard_rows": "COUNT",
        "limit": "COUNT",
        "task": "TASK",
    }.get(name, "VALUE")
