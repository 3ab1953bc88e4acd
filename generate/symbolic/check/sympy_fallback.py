"""SymPy as a fallback where numerical verification is undecided, in a separate process with a time limit.

Expressions are sent as tokens and built node by node; SymPy never evaluates text. If the difference simplifies to zero, the
prediction is right; if it is a nonzero number, it is wrong; otherwise the outcome is ``undecided``, without an answer ``timeout``.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Literal, Self

Answer = Literal["equivalent", "wrong_value", "undecided", "timeout"]
SECONDS = 5.0
_STARTUP_SECONDS = 60.0  # time limit for importing SymPy


class SymPyProcess:
    """A SymPy process, started at the first request and restarted after a timeout."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def is_antiderivative(self, integrand: bytes, predicted: bytes) -> Answer:
        """Whether d predicted / dx - integrand is zero."""
        try:
            pipe = self._connect()
            pipe.send((integrand, predicted))
            if pipe.poll(self._seconds):
                answer: Answer = pipe.recv()
                return answer
        except (EOFError, OSError, AssertionError):  # it died, or this process is a daemon and may not start one
            self.close()
            return "undecided"
        self.close()
        return "timeout"

    def _connect(self) -> Connection:
        if self._pipe is not None and self._process is not None and self._process.is_alive():
            return self._pipe
        self.close()
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there,), daemon=True)
        self._process.start()
        there.close()
        self._pipe = here
        with contextlib.suppress(EOFError, OSError):
            if here.poll(_STARTUP_SECONDS):
                here.recv()
        return here

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@cache
def shared_sympy_process() -> SymPyProcess:
    """The SymPy process that this process shares among all calls."""
    process = SymPyProcess()
    atexit.register(process.close)
    return process


def _serve(pipe: Connection) -> None:
    import sympy

    pipe.send("ready")
    with contextlib.suppress(EOFError, OSError):
        while True:
            integrand, predicted = pipe.recv()
            pipe.send(_decide(sympy, integrand, predicted))


def _decide(sympy: Any, integrand: bytes, predicted: bytes) -> Answer:
    from mathpipe.datasets.expressions.prefix import parse
    from mathpipe.datasets.expressions.sympy_bridge import to_sympy

    solution, problem = parse(predicted), parse(integrand)
    x = sympy.Symbol("x", real=True, nonzero=True)
    try:
        difference = sympy.simplify(sympy.diff(to_sympy(solution), x) - to_sympy(problem))
    except Exception:  # SymPy may raise anything
        return "undecided"
    if difference == 0:
        return "equivalent"
    return (
        "wrong_value" if difference.is_number and difference.is_finite and difference.is_zero is False else "undecided"
    )
