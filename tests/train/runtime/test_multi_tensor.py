"""Operations on lists of tensors: the fast path equals the plain one, and both equal the formula."""

from __future__ import annotations

import pytest
import torch

from mathpipe.train.runtime.fast_paths import forced
from mathpipe.train.runtime.multi_tensor import interpolate, interpolate_, multiply_


@pytest.fixture(autouse=True, params=[False, True], ids=["plain", "fast"])
def multi_tensor(request: pytest.FixtureRequest) -> object:
    with forced(multi_tensor=request.param):
        yield


@pytest.mark.parametrize("factor", [0.5, torch.tensor(0.5)], ids=["number", "tensor"])
def test_multiply(factor: float | torch.Tensor) -> None:
    tensors = [torch.tensor([2.0, 4.0]), torch.tensor([[6.0]])]
    multiply_(tensors, factor)
    assert [x.tolist() for x in tensors] == [[1.0, 2.0], [[3.0]]]


def test_interpolate() -> None:
    starts, ends = [torch.tensor([0.0, 8.0]), torch.tensor(4.0)], [torch.tensor([4.0, 0.0]), torch.tensor(4.0)]
    assert [x.tolist() for x in interpolate(starts, ends, 0.25)] == [[1.0, 6.0], 4.0]
    assert starts[0].tolist() == [0.0, 8.0]
    interpolate_(starts, ends, 0.25)
    assert [x.tolist() for x in starts] == [[1.0, 6.0], 4.0]


def test_empty_lists() -> None:
    multiply_([], 2.0)
    interpolate_([], [], 0.5)
    assert interpolate([], [], 0.5) == []
