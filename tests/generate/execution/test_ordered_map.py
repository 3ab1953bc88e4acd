"""Worker processes for streams: results in order, errors at once, no item lost in silence."""

from __future__ import annotations

import itertools
import operator
import os
from collections.abc import Iterator

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.generate.execution.ordered_map import map_in_order


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_order(workers: int) -> None:
    assert list(map_in_order(operator.neg, range(50), workers)) == [-k for k in range(50)]
    assert list(map_in_order(operator.neg, [], workers)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_are_raised_here(workers: int) -> None:
    results = map_in_order(operator.index, [1, 2, "x", 4], workers)
    with pytest.raises(TypeError):
        list(results)


def test_a_stream_is_read_no_further_than_workers_need() -> None:
    taken = 0

    def count() -> Iterator[int]:
        nonlocal taken
        for k in itertools.count():
            taken += 1
            yield k

    results = map_in_order(operator.neg, count(), 2)
    assert [next(results) for _ in range(5)] == [0, -1, -2, -3, -4]
    results.close()
    assert taken < 20


def test_a_worker_that_dies_is_an_error() -> None:
    with pytest.raises(UserError, match="a worker process died"):
        list(map_in_order(os._exit, [3], 1))
    with pytest.raises(UserError, match="--workers is negative"):
        list(map_in_order(operator.neg, [1], -1))
