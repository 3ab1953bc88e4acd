"""Calls of code outside the package: an error names its file, line and example; a call that hangs is interrupted.

A watchdog thread raises ``TimeLimitExceeded`` in the calling thread (which Python delivers between two bytecodes). If the call
blocks outside Python code and the exception does not arrive, the process prints the error and ends: an example is never skipped.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from mathpipe.datasets.errors import UserError, did_you_mean
from mathpipe.generate.dataset_spec import ProblemSpec

GRACE_SECONDS = 5.0  # how long an interrupted call may take to react before the process ends
_OF_MATHPIPE = ProblemSpec.__module__.rpartition(".")[0]
_EXIT_STATUS = 2  # wrong use, as for every UserError


class TimeLimitExceeded(BaseException):
    """Raised in a call that takes too long; not an ``Exception``, so that ``except Exception`` does not catch it."""


@dataclass
class Guard:
    """Calls of the code of one file. ``path``: that file; ``seconds``: time limit of a call.

    ``describe(number)``: what a call computes, such as ``example 17 of chunk 0``; ``expected``: what it should return.
    """

    path: str
    seconds: float
    describe: Callable[[int], str]
    expected: str

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Watchdog]:
        """Within the context, ``restart(number)`` announces each call. UserError for an exception of a call, or one that hangs."""
        watchdog = Watchdog(self.seconds, self)
        try:
            with watchdog:
                yield watchdog
        except TimeLimitExceeded as error:
            raise self.time_error(watchdog.exceeded or 0, self._line(error)) from None
        except Exception as error:
            line = self._line(error)
            if line is None and isinstance(error, UserError):  # of mathpipe itself: a wrong type, say
                raise
            what, suggestion = _explain(error)
            raise UserError(
                f"{self.place(line)}: {self.describe(watchdog.number)} raised {what}",
                expected=self.expected,
                next_step=suggestion or "correct the task; no example is skipped",
            ) from error
        if watchdog.exceeded is not None:
            raise self.time_error(watchdog.exceeded, None)

    def time_error(self, number: int, line: int | None) -> UserError:
        return UserError(
            f"{self.place(line)}: {self.describe(number)} took longer than {self.seconds:g} seconds",
            expected=self.expected,
            cause="a loop that does not end, or a problem that is too hard",
            next_step="correct the task, or give it more time: time_limit = SECONDS in its file; no example is skipped",
        )

    def place(self, line: int | None) -> str:
        """``gcd.py, line 12``."""
        return Path(self.path).name + (f", line {line}" if line is not None else "")

    def _line(self, error: BaseException) -> int | None:
        """The last line of the file that the error passed."""
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == self.path]
        return lines[-1] if lines else None


class Watchdog:
    """Interrupts the thread that entered it when more than ``seconds`` pass after the latest ``restart``.

    ``number``: of the latest restart; ``exceeded``: of the one that took too long, None if none did.
    """

    def __init__(self, seconds: float, guard: Guard) -> None:
        self.number, self.exceeded = 0, None
        self._seconds, self._guard = seconds, guard
        self._deadline = float("inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mathpipe-watchdog", daemon=True)

    exceeded: int | None

    def restart(self, number: int) -> None:
        """A call begins. TimeLimitExceeded if the previous one has caught the exception and continued."""
        if self.exceeded is not None:
            raise TimeLimitExceeded
        self.number, self._deadline = number, time.monotonic() + self._seconds

    def __enter__(self) -> Watchdog:
        self._caller = threading.get_ident()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self.exceeded is not None:
            _raise_in(self._caller, None)  # an exception that was not delivered yet must not appear later

    def _watch(self) -> None:
        while not self._stop.wait(min(max(self._deadline - time.monotonic(), 0.01), self._seconds / 4)):
            if time.monotonic() > self._deadline:
                self.exceeded = self.number
                _raise_in(self._caller, TimeLimitExceeded)
                if not self._stop.wait(GRACE_SECONDS):
                    self._end_process()
                return

    def _end_process(self) -> None:
        error = self._guard.time_error(self.number, _current_line(self._caller, self._guard.path))
        sys.stderr.write(f"mathpipe: {error}\n")
        sys.stderr.flush()
        os._exit(_EXIT_STATUS)


def _explain(error: Exception) -> tuple[str, str | None]:
    """(the error in words, what may have been meant): a misspelt parameter of ``spec`` is answered by the one that was meant."""
    if isinstance(error, AttributeError) and isinstance(error.obj, ProblemSpec):
        classes = (c for c in type(error.obj).__mro__ if issubclass(c, ProblemSpec))
        base = next(c for c in classes if c.__module__.startswith(_OF_MATHPIPE))
        parameters = [name for name in type(error.obj).model_fields if name not in base.model_fields]
        name = str(error.name)
        next_step = did_you_mean(name, parameters)
        if next_step is None:
            next_step = f"Spec defines {', '.join(parameters)}" if parameters else f"define {name} in a class Spec"
        return f"AttributeError: spec has no parameter {name!r}", next_step
    return f"{type(error).__name__}: {error}", None


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise the exception in a thread; None takes back one that was not delivered."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error) if error else None)


def _current_line(thread: int, path: str) -> int | None:
    """The line of the file that a thread executes; None if it executes none."""
    frame = sys._current_frames().get(thread)
    while frame is not None and frame.f_code.co_filename != path:
        frame = frame.f_back
    return frame.f_lineno if frame is not None else None
