"""One sitting of a run: its clock, and how it is asked to stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds of a run, those of earlier sittings included."""

    def __init__(self, before: float) -> None:
        self._start = time.monotonic() - before

    def now(self) -> float:
        return round(time.monotonic() - self._start, 3)


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """An event that SIGTERM or Ctrl-C sets instead of breaking a step; a second Ctrl-C breaks it after all.

    Outside the main thread, where no signals arrive, the event is simply never set.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def ask(number: int, frame: object) -> None:
        del frame
        if event.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
