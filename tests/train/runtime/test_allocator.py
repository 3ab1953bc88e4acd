"""The allocator keeps freed memory where ``fast_paths`` says so, and only there."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import torch
from mathpipe.train.config import TrainConfig
from mathpipe.train.runtime.fast_paths import forced
from mathpipe.train.trainer import prepare

def resident_megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6

with forced(allocator={enabled}):
    prepare(TrainConfig(threads=1))
before = resident_megabytes()
x = torch.ones(64 << 20)
del x
print(resident_megabytes() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
@pytest.mark.parametrize("enabled", [False, True])
def test_freed_memory(enabled: bool) -> None:
    """A tensor of 268 MB is allocated and freed."""
    arguments = [sys.executable, "-c", SCRIPT.format(enabled=enabled)]
    difference = float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
    assert difference > 200 if enabled else difference < 50
