"""Torch takes no more threads than a container allows CPUs, unless the environment chose their number."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# a machine whose torch would take 6 threads, in a container of 2 CPUs
_SCRIPT = """
import torch
from mathpipe.train.runtime.threads import limit_threads
if {start}: torch.set_num_threads({start})
limit_threads(2)
print(torch.get_num_threads())
"""


@pytest.mark.parametrize(
    ("start", "variable", "threads"),
    [(6, None, 2), (1, None, 1), (6, "6", 6), (0, "1", 1)],
    ids=["more than CPUs", "fewer than CPUs", "OMP_NUM_THREADS more than CPUs", "OMP_NUM_THREADS fewer"],
)
def test_threads(start: int, variable: str | None, threads: int) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")}
    if variable is not None:
        environment["OMP_NUM_THREADS"] = variable
    command = [sys.executable, "-c", _SCRIPT.format(start=start)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert int(output) == threads
