"""Console output: results on stdout, progress and errors on stderr; and how commands handle signals."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

import click

EXIT_OK, EXIT_DAMAGED, EXIT_USAGE = 0, 1, 2
Command = TypeVar("Command", bound=Callable[..., Any])


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C: clusters preempt jobs with it."""


@contextlib.contextmanager
def handle_sigterm() -> Iterator[None]:
    """Raise ``Terminated`` on SIGTERM while the context is open, so that resources are closed on the way out.

    Outside the main thread, which alone receives signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    previous_handler = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous_handler)


_QUIET = f"{__name__}.quiet"  # key in ``click.Context.meta``


def quiet_option(command: Command) -> Command:
    """``--quiet``: no progress and no log messages on stderr; errors and results are still printed."""
    return click.option(
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_set_quiet,
        help="Print no progress and no log messages; results and errors are still printed.",
    )(command)


def _set_quiet(context: click.Context, option: click.Parameter, quiet: bool) -> None:
    context.meta[_QUIET] = quiet
    if quiet:
        hide_library_progress_bars()


def hide_library_progress_bars() -> None:
    """Turn off the progress bars of transformers and huggingface_hub, which read this variable on import."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def is_quiet() -> bool:
    """Whether the current click command, if any, was called with ``--quiet``."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_QUIET))


def log(text: str) -> None:
    """Print information to stderr, unless ``--quiet`` is set."""
    if not is_quiet():
        click.echo(text, err=True)


def warn(text: str) -> None:
    """Print a warning to stderr, even with ``--quiet``: why a command ended early, or may not do what was intended."""
    click.echo(text, err=True)
