"""SymPy as a fallback where numbers and identities are undecided: in a separate process, asked over a pipe, with a time limit.

Expressions are sent as tokens and built node by node; SymPy never evaluates text. If the difference simplifies to zero, the
prediction is right; if it is a nonzero number, it is wrong; otherwise the outcome is ``undecided``, without an answer ``timeout``.

The process runs ``sympy_server`` and imports nothing of its caller. So it starts from a worker that may have no children of
``multiprocessing``, from a thread, and from a program read from standard input or without a ``__main__`` guard.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from functools import cache
from queue import Empty, Queue
from types import TracebackType
from typing import Literal, Self

Answer = Literal["equivalent", "wrong_value", "undecided", "timeout"]
SECONDS = 5.0
_STARTUP_SECONDS = 60.0  # time limit for importing SymPy
_ANSWERS: dict[str, Answer] = {"equivalent": "equivalent", "wrong_value": "wrong_value"}


class SymPyProcess:
    """A SymPy process, started at the first request and restarted after a timeout; threads take turns."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None
        self._lines: Queue[str] = Queue()
        self._lock = threading.Lock()

    def is_antiderivative(self, integrand: bytes, predicted: bytes) -> Answer:
        """Whether d predicted / dx - integrand is zero."""
        with self._lock:
            try:
                process = self._connect()
                assert process.stdin is not None
                process.stdin.write(f"{integrand.hex()} {predicted.hex()}\n")
                process.stdin.flush()
                line = self._lines.get(timeout=self._seconds)
            except Empty:
                self.close()
                return "timeout"
            except (OSError, ValueError):
                self.close()
                return "undecided"
            except BaseException:  # an interrupted request would leave its answer to the next one
                self.close()
                raise
            if not line:  # it died
                self.close()
            return _ANSWERS.get(line.strip(), "undecided")

    def _connect(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mathpipe.generate.symbolic.check.sympy_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        self._lines = Queue()
        threading.Thread(target=_forward_lines, args=(self._process, self._lines), daemon=True).start()
        self._lines.get(timeout=_STARTUP_SECONDS)  # "ready"
        return self._process

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _forward_lines(process: subprocess.Popen[str], lines: Queue[str]) -> None:
    """Put each line of the output into the queue, and "" at its end."""
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put("")


@cache
def shared_sympy_process() -> SymPyProcess:
    """The SymPy process that this process shares among all calls."""
    process = SymPyProcess()
    atexit.register(process.close)
    return process
