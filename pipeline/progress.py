"""Progress of long commands on stderr: a bar on a terminal, plain lines elsewhere (a file, SLURM, nohup, DVC, CI).

    generate: 120,000 of 520,000 examples, 9 MB, 41,210 examples/s, 10 s left
    step 300/900, loss 0.1234, 512 examples/s, 8 min left, validation at step 300: valid_loss 0.12, accuracy 0.93

A step is one report: a training step, a shard or a batch of predictions. Lines are printed when a step ends, never by a timer.
The first and the last step print a line. In between, a line follows each tenth of the work, at least 2 s after the previous
line, and the first step that ends 60 s or more after it. Where the first step takes long, a single line says what is waited for.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Never, Protocol, TextIO

import click
from tqdm import tqdm

from mathpipe.datasets.format.manifest import ShardRecord
from mathpipe.datasets.rendering.plurals import counted
from mathpipe.pipeline.console import is_quiet

TENTHS, MIN_INTERVAL, MAX_INTERVAL = 10, 2.0, 60.0  # lines per run; seconds between lines
MEASURED_STEPS, MIN_MEASURED, MIN_REMAINING = (
    10,
    10.0,
    60.0,
)  # steps after the first, or seconds; shortest rest in seconds
SILENCE = 20.0  # seconds without a finished step before a line says so
Clock = Callable[[], float]


def format_duration(seconds: float) -> str:
    """Format a duration: ``under 1 s``, ``45 s``, ``12 min``, ``3.2 h``, ``2.5 days``.

    >>> format_duration(720)
    '12 min'
    """
    if seconds < 1:
        return "under 1 s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 59.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def format_rate(per_second: float) -> str:
    """Format a rate with at least two significant digits: ``41,210``, ``12``, ``0.35``."""
    return f"{per_second:,.0f}" if per_second >= 9.95 else f"{per_second:.2g}"


@dataclass
class LineSchedule:
    """Decides which steps print a line. ``printed_at``: time in seconds; ``tenth``: tenths of the work done at the last line."""

    tenth: int = 0
    printed_at: float | None = None

    def due(self, now: float, done: int, total: int | None) -> bool:
        """Whether the step that ended at ``now`` prints a line; if so, it is recorded. ``done`` includes that step."""
        tenth = tenths(done, total)
        if self.printed_at is None or done == total:
            due = True
        else:
            elapsed = now - self.printed_at
            due = elapsed >= MAX_INTERVAL or (elapsed >= MIN_INTERVAL and tenth > self.tenth)
        if due:
            self.printed_at, self.tenth = now, tenth
        return due


def tenths(done: int, total: int | None) -> int:
    return done * TENTHS // total if total else 0


class LinePrefix(Protocol):
    """Formats the start of a line: work done, and the total."""

    def __call__(self, done: int, total: int | None) -> str: ...


def count_prefix(verb: str) -> LinePrefix:
    """``generate: 1,000 of 5,000 examples``; without a total ``import: 1,000 examples``."""

    def prefix(done: int, total: int | None) -> str:
        return f"{verb}: {counted(done, 'example')}" if total is None else f"{verb}: {done:,} of {total:,} examples"

    return prefix


class Progress:
    """Progress of ``total`` items (examples or steps): how many are done, the rate since this start, and the time left.

    ``unit``: unit of the rate; an item counts ``size`` units (the examples of a training step). ``clock``: time in seconds.
    ``quiet``: no output; by default as set by ``--quiet``.
    """

    def __init__(
        self,
        verb: str,
        *,
        prefix: LinePrefix | None = None,
        unit: str = "examples",
        size: int = 1,
        quiet: bool | None = None,
        stream: TextIO | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._verb, self._prefix, self._unit, self._size = verb, prefix or count_prefix(verb), unit, size
        self._quiet = is_quiet() if quiet is None else quiet
        self._stream = stream or sys.stderr
        self._clock = clock
        self._bar: tqdm[Never] | None = None
        self._total: int | None = None
        self._done = self._fresh = self._bytes = 0
        self._before = self._after = ""
        self._printed: int | None = None  # items done at the last line
        self._started, self._schedule = clock(), LineSchedule()
        self._silence: threading.Timer | None = None

    def start(self, total: int | None, done: int = 0) -> None:
        """Start the clock. ``done``: earlier items, which do not count in the rate; ``total`` None: unknown."""
        self._total, self._done, self._started = total, done, self._clock()
        self._schedule = LineSchedule(tenths(done, total))
        if not self._quiet and self._stream.isatty():
            self._bar = tqdm(
                desc=self._verb,
                total=None if total is None else total * self._size,
                initial=done * self._size,
                unit=f" {self._unit}",
                unit_scale=True,
                smoothing=0.05,
                file=self._stream,
            )

    def explain_silence(self, step: str, seconds: float = SILENCE) -> None:
        """If no step ends within so many seconds, say once what a step is: ``the first shard of 10,000 examples``."""
        line = f"{self._verb}: at work on {step}; the next line follows when it is finished"
        self._silence = threading.Timer(seconds, self.write, [line])
        self._silence.daemon = True  # it keeps no process alive
        self._silence.start()

    def _end_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()

    def advance(self, count: int, *, fresh: bool = True, before: str = "", after: str = "", postfix: str = "") -> bool:
        """Report ``count`` more items; return whether a line was printed.

        ``fresh``: done since this start; earlier items print no line. ``before``, ``after``: text before the rate and
        at the end of the line; ``postfix``: text after the bar.
        """
        self._done += count
        self._before, self._after = before, after
        if self._bar is not None:
            self._move_bar(self._bar, count * self._size, fresh, postfix)
        if not fresh or not count:
            self._schedule.tenth = tenths(self._done, self._total)
            return False
        self._end_silence()
        self._fresh += count
        due = self._bar is None and not self._quiet and self._schedule.due(self._clock(), self._done, self._total)
        if due:
            self._print(finished=self._done == self._total)
        return due

    def add_shard(self, record: ShardRecord, built: bool = True) -> None:
        """Report a finished shard; ``built`` is false for shards that existed before."""
        self._bytes += record.bytes
        size = f"{self._bytes / 1e6:,.0f} MB"
        self.advance(record.rows, fresh=built, before=size, postfix=size)

    def write(self, line: str) -> None:
        """Print a line, above the bar if there is one, unless quiet."""
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        elif not self._quiet:
            click.echo(line, file=self._stream)

    def close(self) -> None:
        """Close the bar, or print a line for the last step if it has none."""
        self._end_silence()
        if self._bar is not None:
            self._bar.close()
        elif self._fresh and self._printed != self._done and not self._quiet:
            self._print(finished=True)

    def _move_bar(self, bar: tqdm[Never], count: int, fresh: bool, postfix: str) -> None:
        bar.set_postfix_str(postfix, refresh=False)
        if fresh:
            bar.update(count)
        else:
            bar.initial += count
            bar.n += count
            bar.refresh()

    def _print(self, *, finished: bool) -> None:
        self._printed = self._done
        parts = [self._prefix(self._done, self._total), self._before, *self._times(finished), self._after]
        click.echo(", ".join(filter(None, parts)), file=self._stream)

    def _times(self, finished: bool) -> list[str]:
        """The rate since this start, if any time has passed, and the time left, or the time spent if finished."""
        seconds = self._clock() - self._started
        rate = self._fresh / seconds if seconds > 0 else None
        parts = [] if rate is None else [f"{format_rate(rate * self._size)} {self._unit}/s"]
        if finished:
            parts.append(f"{'done ' if self._done == self._total else ''}after {format_duration(seconds)}")
        elif rate and self._total is not None:
            parts.append(f"{format_duration((self._total - self._done) / rate)} left")
        return parts


class StepProgress:
    """Progress of training: the last logged loss, and metrics with the first line after they are measured."""

    def __init__(
        self, *, quiet: bool | None = None, stream: TextIO | None = None, clock: Clock = time.monotonic
    ) -> None:
        self._quiet, self._stream, self._clock = quiet, stream, clock
        self._progress: Progress | None = None
        self._step = 0
        self._loss = self._validation = self._postfix = ""
        self._first = self._steps = 0
        # when the first step since the start or resumption ended, until the step time is printed
        self._first_ended: float | None = None

    def start(self, step: int, steps: int, batch: int) -> None:
        self._step, self._first, self._steps, self._first_ended = step, step + 1, steps, None
        self._progress = Progress(
            "train",
            prefix=lambda done, total: f"step {done:,}/{total:,}",
            unit="examples",
            size=batch,
            quiet=self._quiet,
            stream=self._stream,
            clock=self._clock,
        )
        self._progress.start(steps, step)

    def step(self, measured: Mapping[str, float]) -> None:
        assert self._progress is not None, "call start first"
        self._step += 1
        self._measure(self._progress)
        metrics = {name: value for name, value in measured.items() if name not in ("train_loss", "lr", "seconds")}
        if "train_loss" in measured:
            self._loss = f"loss {measured['train_loss']:.4g}"
        if metrics:
            self._validation = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            self._validation = f"validation at step {self._step:,}: {self._validation}"
        if measured:
            self._postfix = ", ".join(filter(None, [f"step {self._step:,}", self._loss, self._validation]))
        if self._progress.advance(1, before=self._loss, after=self._validation, postfix=self._postfix):
            self._validation = ""

    def _measure(self, progress: Progress) -> None:
        """Once, after a few steps, print what a step takes and how long the rest will take, if that is a minute or more.

        The first step is left out: it allocates memory and compiles.
        """
        now, taken = self._clock(), self._step - self._first
        if taken == 0:
            self._first_ended = now
        elif self._first_ended is not None and (taken == MEASURED_STEPS or now - self._first_ended >= MIN_MEASURED):
            seconds = (now - self._first_ended) / taken
            self._first_ended = None
            remaining = (self._steps - self._step) * seconds
            if remaining >= MIN_REMAINING:
                progress.write(f"step time measured: {seconds:.2g} s, about {format_duration(remaining)} left")

    def close(self) -> None:
        if self._progress is not None:
            self._progress.close()
