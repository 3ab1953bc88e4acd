"""The loader holds the window in use and the next one, whatever the number of windows and the size of examples."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.loader import Window, _prefetch, window_groups


def shards(rows: int, bytes_each: int, group_rows: int = 10_000) -> Any:
    """A split of ten shards with so many rows each, in row groups of 10,000."""
    records = [SimpleNamespace(shard=k, rows=rows, bytes=rows * bytes_each) for k in range(10)]
    groups = [(record, k, group_rows) for record in records for k in range(rows // group_rows)]
    return SimpleNamespace(row_groups=groups)


@pytest.mark.parametrize(
    ("bytes_each", "groups"),
    [(27, 8), (615, 8), (2_460, 5), (13_000, 1), (10**6, 1)],
    ids=["3x3", "10x10", "20x20", "46x46", "more than a window"],
)
def test_window_of_large_examples_has_fewer_row_groups(bytes_each: int, groups: int) -> None:
    """Bytes of Parquet an example, as measured for matrices of 10x10."""
    assert window_groups(shards(100_000, bytes_each)) == groups


def test_window_of_a_stored_dataset(addition: Path) -> None:
    data = open_dataset(addition)
    assert window_groups(data) == 8
    with data.batches(16) as stream, data.batches(16, window=3) as other:
        assert (stream.window_groups, other.window_groups) == (8, 3)


def test_two_windows_in_memory() -> None:
    """Neither the thread nor the consumer holds a third one."""
    alive: list[weakref.ref[Any]] = []
    most = 0

    def windows() -> Iterator[Window]:
        while True:
            window = Window(0, len(alive), SimpleNamespace(), [np.arange(2)])  # type: ignore[arg-type]
            alive.append(weakref.ref(window))
            yield window
            del window

    stream = _prefetch(windows())
    for k in range(6):
        current = next(stream)
        assert current.index == k
        time.sleep(0.05)  # for the thread to do all that it may
        most = max(most, sum(reference() is not None for reference in alive))
        del current
    stream.close()  # type: ignore[attr-defined]
    assert most == 2 and len(alive) <= 7
