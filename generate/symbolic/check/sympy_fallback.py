"""SymPy for what numbers leave undecided, in a process of its own that is killed when its time is up.

Expressions travel as words and are built node by node; no text is given to SymPy. What it says: zero after simplification is
right, a number other than zero is wrong, everything else stays undecided, and no answer in time is ``timeout``.
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
_STARTING = 60.0  # until the process has imported SymPy


class BoundedCas:
    """One SymPy process, started when first asked and again after it was killed."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def is_primitive(self, integrand: bytes, predicted: bytes) -> Answer:
        """Whether d predicted / dx - integrand is zero."""
        try:
            pipe = self._running()
            pipe.send((integrand, predicted))
            if pipe.poll(self._seconds):
                answer: Answer = pipe.recv()
                return answer
        except (EOFError, OSError, AssertionError):  # it died, or this process may start none (daemons may not)
            self.close()
            return "undecided"
        self.close()
        return "timeout"

    def _running(self) -> Connection:
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
            if here.poll(_STARTING):
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
def shared_cas() -> BoundedCas:
    """The SymPy process of this one."""
    cas = BoundedCas()
    atexit.register(cas.close)
    return cas


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
        rest = sympy.simplify(sympy.diff(to_sympy(solution), x) - to_sympy(problem))
    except Exception:  # whatever SymPy makes of it: no answer
        return "undecided"
    if rest == 0:
        return "equivalent"
    return "wrong_value" if rest.is_number and rest.is_finite and rest.is_zero is False else "undecided"
