"""Runs the blocks of a page: reads one JSON object a line, ``{"command": [...]}`` or ``{"python": TEXT}``, and answers with one.

Packages are imported once. Each command of ``mathpipe`` then runs in a fork, so that none sees what another has loaded; blocks of
Python share one namespace, as in a notebook. The answer has ``code``, the exit code, and ``output``, what was printed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import traceback
from typing import Any

import torch  # noqa: F401  (imported before the forks)

import mathpipe.evaluate.run
import mathpipe.generate.build.dataset_builder
import mathpipe.train.trainer  # noqa: F401
from mathpipe.pipeline.cli import main


def run_command(arguments: list[str]) -> tuple[int, str]:
    """Exit code and output of ``mathpipe ARGUMENTS``, run in a fork."""
    with tempfile.TemporaryFile() as output:
        process = os.fork()
        if not process:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os._exit(_exit_code(arguments))
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        output.seek(0)
        return code, output.read().decode()


def _exit_code(arguments: list[str]) -> int:
    code: Any = 1
    try:
        main(arguments)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


def run_python(text: str, namespace: dict[str, Any]) -> tuple[int, str]:
    """0 or 1, and what a block printed, in the namespace of the page."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        try:
            exec(compile(text, "block", "exec"), namespace)  # noqa: S102
        except Exception:
            return 1, output.getvalue() + traceback.format_exc()
    return 0, output.getvalue()


if __name__ == "__main__":
    page_namespace: dict[str, Any] = {"__name__": "page"}
    for line in sys.stdin:
        request = json.loads(line)
        if "command" in request:
            code, output = run_command(request["command"])
        else:
            code, output = run_python(request["python"], page_namespace)
        print(json.dumps({"code": code, "output": output}), flush=True)  # noqa: T201
