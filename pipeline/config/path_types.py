"""Parameter types of paths: ``~`` is expanded everywhere, and a URL is refused where only a local path can serve."""

from __future__ import annotations

from typing import Any

import click

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.locations import expand, local_path


class LocalPath(click.Path):
    """A path of this machine. UserError for a URL, and for an empty text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(str(local_path(_nonempty(value, param), name_of(param))), param, ctx)


class Location(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A local path or an fsspec URL, as text."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return expand(_nonempty(value, param))


class ModelSource(Location):
    """A local path, or the name of a model on the hub; UserError for a URL."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(local_path(super().convert(value, param, ctx), name_of(param)))


def name_of(param: click.Parameter | None) -> str:
    """An option as the user writes it, such as ``--run``; of an argument its name in capitals."""
    if isinstance(param, click.Option):
        return param.opts[0]
    return "the path" if param is None else str(param.metavar or param.name).upper()


def _nonempty(value: Any, param: click.Parameter | None) -> str:
    if not str(value):
        name = name_of(param)
        raise UserError(f"{name} is empty", expected="a path", got="''", next_step=f"leave {name} out, or name a path")
    return str(value)
