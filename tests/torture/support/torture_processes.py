"""Child processes that start in milliseconds: forked from this one, which has imported mathpipe.

``Child`` runs a function until it ends or is killed. ``isolated`` runs it with limits of time and memory, and reports how it ended.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_PRELOADED = [
    "mathpipe.pipeline.cli",
    "mathpipe.generate.build.dataset_builder",
    "mathpipe.generate.curate.dataset_import",
    "mathpipe.generate.curate.deduplication",
    "mathpipe.generate.curate.dataset_verification",
    "mathpipe.generate.answers.answer_verifier",
    "mathpipe.train.trainer",
    "mathpipe.evaluate.run",
    *(f"mathpipe.pipeline.commands.{name}" for name in ("generate", "import_", "dedupe", "export", "train", "eval")),
    *(f"mathpipe.pipeline.commands.{name}" for name in ("verify", "show", "score", "solve", "report", "failures")),
    "dask.dataframe",
]
_CONTEXT = multiprocessing.get_context("fork")

_HANG = 120.0  # seconds of waiting that only a hang exceeds, on a loaded machine

Ending = Literal["value", "user_error", "exception", "died", "too slow"]


def _process(function: Callable[..., Any], *arguments: Any) -> Any:
    """A forked process that has the modules already and one thread of BLAS."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in _PRELOADED:
        importlib.import_module(name)
    process = _CONTEXT.Process(target=_with_one_thread, args=(function, *arguments))
    process.start()
    return process


def _with_one_thread(function: Callable[..., Any], *arguments: Any) -> None:
    import torch

    torch.set_num_threads(1)  # several threads wait for one another where many processes share the cores
    function(*arguments)


class Child:
    """A process that runs ``function(*arguments)``; its output goes to the file ``log``."""

    def __init__(self, log: Path, function: Callable[..., Any], *arguments: Any) -> None:
        self.log = log
        self._process = _process(_run_logged, str(log), function, arguments)

    def kill_after(self, seconds: float) -> bool:
        """Kill -9 after this time; False if it ended by itself before."""
        self._process.join(seconds)
        if self._process.exitcode is not None:
            return False
        self.kill()
        return bool(self._process.exitcode == -signal.SIGKILL)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def wait(self, seconds: float = 300.0) -> int:
        """The exit code."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self.kill()
            raise TimeoutError(f"still running after {seconds} s: {self.log.read_text()[-2000:]}")
        return int(self._process.exitcode)


def _run_logged(log: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    function(*arguments)


def command(line: list[str]) -> None:
    """``mathpipe LINE``; ends the process with the exit code of the command."""
    from mathpipe.pipeline.cli import main

    main(line)


@dataclass(frozen=True)
class Outcome:
    """How a function ended. ``value``: what it returned, or the message.

    ``seconds``: of the CPU; ``megabytes``: by how much its memory grew.
    """

    ending: Ending
    value: Any
    seconds: float
    megabytes: float

    def __str__(self) -> str:
        return f"{self.ending} after {self.seconds:.1f} s and {self.megabytes:.0f} MB: {str(self.value)[-300:]}"


def isolated(function: Callable[..., Any], *arguments: Any, seconds: float = 10.0) -> Outcome:
    """Run ``function(*arguments)`` in a process of its own, killed after so many seconds of CPU time."""
    receiving, sending = _CONTEXT.Pipe(duplex=False)
    process = _process(_report, sending, seconds, function, arguments)
    sending.close()
    started = time.monotonic()
    try:
        if not receiving.poll(_HANG + 20 * seconds):  # without using the processor
            return Outcome("too slow", "it waits", time.monotonic() - started, 0.0)
        return Outcome(*receiving.recv())
    except EOFError:
        process.join()
        ending: Ending = "too slow" if process.exitcode == -signal.SIGXCPU else "died"
        return Outcome(ending, f"exit code {process.exitcode}", time.monotonic() - started, 0.0)
    finally:
        process.kill()
        process.join()
        receiving.close()


def _report(sending: Any, seconds: float, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    from mathpipe.datasets.errors import UserError

    base, started = _peak_megabytes(), time.process_time()
    limit = math.ceil(started + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    ending: Ending
    try:
        ending, value = "value", function(*arguments)
    except UserError as error:
        ending, value = "user_error", str(error)
    except BaseException:
        ending, value = "exception", traceback.format_exc()
    sending.send((ending, value, time.process_time() - started, _peak_megabytes() - base))


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_command(line: list[str]) -> tuple[int, str, str]:
    """``mathpipe LINE`` in this process: exit code, standard output, standard error. Raises what the command does not handle."""
    from mathpipe.pipeline.cli import main

    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main(line)
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    return code, out.getvalue(), err.getvalue()
