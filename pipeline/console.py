"""Talking to a person: results to stdout, progress and errors to stderr, and a clean end when stopped."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

import click

OK, WRONG, USAGE = 0, 1, 2
Command = TypeVar("Command", bound=Callable[..., Any])


class Terminated(KeyboardInterrupt):
    """SIGTERM, told like Ctrl-C: clusters preempt this way."""


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGTERM into ``Terminated`` while the block runs, so that everything is closed on the way out."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


_QUIET = f"{__name__}.quiet"  # in the context of a click command


def quiet_option(command: Command) -> Command:
    """``--quiet``: no progress and no notes on stderr; errors and results stay."""
    return click.option(
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_set_quiet,
        help="No progress and no notes on stderr; results and errors stay.",
    )(command)


def _set_quiet(context: click.Context, option: click.Parameter, quiet: bool) -> None:
    context.meta[_QUIET] = quiet
    if quiet:
        hide_other_bars()


def hide_other_bars() -> None:
    """Keep transformers and huggingface_hub, which read this when they are imported, from drawing bars of their own."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def is_quiet() -> bool:
    """Whether the click command that is running, if any, was called with ``--quiet``."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_QUIET))


def note(text: str) -> None:
    """Information, to stderr; ``--quiet`` silences it."""
    if not is_quiet():
        click.echo(text, err=True)


def warn(text: str) -> None:
    """What a person should know whatever ``--quiet`` says: why a command ended early, or may not do what was meant."""
    click.echo(text, err=True)
