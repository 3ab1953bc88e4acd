"""Talking to a person: results to stdout, progress and errors to stderr, and a clean end when stopped."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

import click
from tqdm import tqdm

from mathpipe.datasets.manifest import Record

OK, WRONG, USAGE = 0, 1, 2


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


def note(text: str) -> None:
    """A line of progress, to stderr."""
    click.echo(text, err=True)


class RowProgress:
    """A bar of rows, bytes and time left on a terminal; elsewhere a plain line now and then."""

    def __init__(self, rows: int, verb: str) -> None:
        self._bar = tqdm(
            total=rows, desc=verb, unit=" rows", unit_scale=True, disable=None, file=sys.stderr, smoothing=0.05
        )
        self._verb, self._rows, self._done, self._bytes, self._fresh = verb, rows, 0, 0, 0
        self._started = self._said = time.monotonic()

    def add(self, record: Record, *, built: bool = True) -> None:
        """Count one shard; those found finished do not enter the rate."""
        self._done += record.rows
        self._bytes += record.bytes
        self._fresh += record.rows if built else 0
        if not built and not self._bar.disable:
            self._bar.initial += record.rows
            self._bar.n += record.rows
            self._bar.refresh()
        else:
            self._bar.set_postfix_str(f"{self._bytes / 1e6:,.0f} MB", refresh=False)
            self._bar.update(record.rows)
        if self._bar.disable and built and time.monotonic() - self._said > 30:
            self._said = time.monotonic()
            rate = self._fresh / (self._said - self._started)
            left = (self._rows - self._done) / rate if rate else float("inf")
            size = f"{self._bytes / 1e6:,.0f} MB"
            note(f"{self._verb}: {self._done:,} of {self._rows:,} rows, {rate:,.0f} rows/s, {size}, {left:,.0f} s left")

    def close(self) -> None:
        self._bar.close()
