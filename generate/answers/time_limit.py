"""A time limit for code of any kind, by the timer of the operating system."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_REPEAT_SECONDS = 1.0  # an exception in a destructor is lost, so the timer fires again


class TimeLimitExceeded(BaseException):
    """The limit has passed. No ``Exception``, so that code which handles all of those does not swallow it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimitExceeded in the block after ``seconds``.

    Only the main thread of a process can be interrupted, between two instructions of Python; in other threads there is no limit.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    active = True

    def interrupt(number: int, frame: FrameType | None) -> None:
        if active:
            raise TimeLimitExceeded

    previous_handler = signal.signal(signal.SIGALRM, interrupt)
    previous_delay, _ = signal.setitimer(signal.ITIMER_REAL, seconds, _REPEAT_SECONDS)
    try:
        try:
            yield
        finally:
            active = False
    finally:  # runs to its end even if the timer fires just now
        signal.setitimer(signal.ITIMER_REAL, previous_delay)
        signal.signal(signal.SIGALRM, previous_handler)
