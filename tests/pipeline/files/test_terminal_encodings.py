"""Training, evaluation and what prints its results, with the character sets of old terminals: in lines and with a bar."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from mathpipe.pipeline.cli import main
for line in sys.argv[1:]:
    try:
        main(line.split())
    except SystemExit as end:
        if end.code:
            sys.exit(f"{line}: exit code {end.code}")
    print("done:", line)
"""
LINES = (
    "train --preset none --data data/add --run runs/new -S steps=2 -S batch=8 -S eval_every=2 -S warmup=0 "
    "-S model.encoder_width=16 -S model.decoder_width=16 -S model.encoder_heads=2 -S model.decoder_heads=2",
    "eval --run runs/add --verbose",
    "failures runs/add",
    "show data/add -k 2",
    "report runs/add",
    "tasks",
    "presets",
)


def environment(encoding: str) -> dict[str, str]:
    return {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_every_command_prints(project: Path, encoding: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *LINES],
        cwd=project,
        env=environment(encoding),
        capture_output=True,
        check=False,
    )
    text, log = result.stdout.decode(encoding), result.stderr.decode(encoding)
    assert result.returncode == 0 and "Traceback" not in log, log
    assert [line.removeprefix("done: ") for line in text.splitlines() if line.startswith("done: ")] == list(LINES)
    assert "step 2/2" in log and "eval: 50 of 50 examples" in log  # progress
    assert "�" not in text and "�" not in log


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_bar_in_an_old_terminal(project: Path, encoding: str) -> None:
    """The bar's blocks are not in these character sets."""
    import pty
    import termios

    reading, writing = pty.openpty()
    termios.tcsetwinsize(writing, (24, 100))  # a new one has zero columns, too few for a bar
    line = "export data/add --out a.txt"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, line],
        cwd=project,
        env=environment(encoding),
        stdout=subprocess.PIPE,
        stderr=writing,
    ) as process:
        os.close(writing)
        shown = b""
        try:
            while part := os.read(reading, 4096):
                shown += part
        except OSError:  # the terminal is closed
            pass
        assert process.stdout is not None and f"done: {line}" in process.stdout.read().decode()
    os.close(reading)
    assert process.returncode == 0
    assert "200/200" in shown.decode(encoding) and "Traceback" not in shown.decode(encoding)
