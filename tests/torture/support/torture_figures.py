"""Figures of the torture programme: how many trials, how many were survived, as one JSON line a test.

A small part runs with every test suite. ``MATHPIPE_TORTURE=1`` runs the whole programme, ``0.1`` a tenth of it.
``MATHPIPE_TORTURE_FIGURES=FILE`` appends the lines to a file, from which docs/make_robustness.py writes the page of figures.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


def share() -> float | None:
    """The share of the whole programme that was asked for; None: the small part of the test suite."""
    value = os.environ.get("MATHPIPE_TORTURE")
    return None if value is None else float(value)


def number_of_trials(small: int, whole: int) -> int:
    """``small`` in the test suite, else the asked share of ``whole``, at least ``small``."""
    part = share()
    return small if part is None else max(small, round(part * whole))


@dataclass
class Figures:
    """Trials of one case. ``details``: what else was measured, such as the largest memory."""

    part: str
    case: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    details: dict[str, float | str] = field(default_factory=dict)

    def survived(self, number: int = 1) -> None:
        self.tried += number

    def failed(self, what: str) -> None:
        self.tried += 1
        self.failures.append(what)

    def largest(self, name: str, value: float) -> None:
        self.details[name] = round(max(float(self.details.get(name, 0.0)), value), 2)


@contextmanager
def figures(part: str, case: str) -> Iterator[Figures]:
    """Count trials; the line is written even if the block fails. AssertionError if a trial was lost."""
    counts, started = Figures(part, case), time.perf_counter()
    try:
        yield counts
    except BaseException as error:
        counts.failed(repr(error)[:200])
        raise
    finally:
        _append(counts, time.perf_counter() - started)
    assert not counts.failures, "\n".join([f"{len(counts.failures)} of {counts.tried} lost", *counts.failures[:20]])


def _append(counts: Figures, seconds: float) -> None:
    num_failures = len(counts.failures)
    line = {
        "part": counts.part,
        "case": counts.case,
        "tried": counts.tried,
        "survived": counts.tried - num_failures,
        "lost": num_failures,
        "seconds": round(seconds, 1),
        "processor": _processor(),
        **counts.details,
    }
    if name := os.environ.get("MATHPIPE_TORTURE_FIGURES"):
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(os.sched_getaffinity(0))} cores of {names[0]}" if names else "unknown"
