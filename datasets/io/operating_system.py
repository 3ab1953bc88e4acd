"""What the operating system is, in a function that tests replace to simulate another one."""

from __future__ import annotations

import os


def on_windows() -> bool:
    return os.name == "nt"
