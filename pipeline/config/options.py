"""Options that commands share, and options made from a model of parameters, so that flags and params.yaml never differ."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_origin

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from mathpipe.datasets.errors import UserError
from mathpipe.pipeline.config.counts import show_count
from mathpipe.pipeline.config.resolution import Source

Command = TypeVar("Command", bound=Callable[..., Any])


def shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--preset NAME``, ``--params FILE`` and ``-S key=value``, the same for every stage, handed on as one ``Source``."""

    @functools.wraps(command)
    def with_source(preset: str | None, params: Path | None, overrides: tuple[str, ...], **rest: Any) -> Any:
        return command(source=Source(preset, params, overrides), **rest)

    named = click.option(
        "-S",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set one parameter by its name in params.yaml, such as train.lr=1e-3; may be repeated.",
    )(with_source)
    named = click.option(
        "--params",
        type=click.Path(dir_okay=False, path_type=Path),
        default=None,
        help="Read parameters from this file, such as params.yaml. Without it none is read.",
    )(named)
    return click.option("--preset", default=None, help="Begin from a named set of parameters; see `mathpipe presets`.")(
        named
    )


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--workers N`` or ``--scheduler ADDRESS``: where work runs. Without either, ``workers`` is None: ``generate.cluster.run``
    chooses."""

    @functools.wraps(command)
    def placed(workers: int | None, scheduler: str | None, **rest: Any) -> Any:
        if workers is not None and scheduler is not None:
            raise UserError(
                "--workers and --scheduler do not go together",
                expected="--workers N for local processes, or --scheduler ADDRESS for a cluster that exists",
                got=f"--workers {workers} --scheduler {scheduler}",
                next_step="the cluster decides how many workers it has: leave --workers out",
            )
        return command(workers=workers, scheduler=scheduler, **rest)

    cluster = click.option(
        "--scheduler", default=None, metavar="ADDRESS", help="Use the Dask cluster there, such as tcp://host:8786."
    )(placed)
    return click.option(
        "--workers",
        type=int,
        default=None,
        help="Local processes; 0 works in this one.  [default: this one, and one a CPU where the work is worth their start]",
    )(cluster)


def model_options(model: type[BaseModel]) -> Callable[[Command], Command]:
    """One option for each field of the model. Absent options are None: the model alone knows the defaults."""

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
                    shown = show_count(default) if isinstance(default, int) else default
                    text += f".  [default: {shown:g}]" if isinstance(default, float) else f".  [default: {shown}]"
                option = click.option(flag, name, default=None, metavar=_metavar(name, field.annotation), help=text)
            command = option(command)
        return command

    return add


def _none_if_empty(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...] | None:
    """A flag that was not given says nothing, and leaves what a file says."""
    return value or None


def _metavar(name: str, annotation: object) -> str:
    choices: tuple[Any, ...] = getattr(annotation, "__args__", ())
    choices = next((c.__args__ for c in choices if get_origin(c) is Literal), choices)  # of one that may be absent
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
