"""One session of a run: its clock and its stop signal."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds of a run, including earlier sessions."""

    def __init__(self, earlier_seconds: float) -> None:
        self._start = time.monotonic() - earlier_seconds

    def now(self) -> float:
        return round(time.monotonic() - self._start, 3)


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event set by SIGTERM or Ctrl-C, so that the current step completes; a second Ctrl-C interrupts at once.

    Outside the main thread, which alone receives signals, the event is never set.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def request_stop(number: int, frame: object) -> None:
        del frame
        if event.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        event.set()

    previous = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
