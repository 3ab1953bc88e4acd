"""Several processes that train one model, as ``torchrun`` starts them: who this one is, and what they agree on.

Each process takes its share of every global batch; the loss is divided by the words of all of them together, so the number of
processes changes nothing but speed. Rank 0 alone writes and measures, and tells the others. On the CPU they speak through gloo, on
CUDA through NCCL. Without ``torchrun`` there is one process and none of this costs anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mathpipe.datasets.errors import UserError

Value = TypeVar("Value")
_WAIT = timedelta(hours=12)  # the others wait while rank 0 measures


@dataclass(frozen=True)
class Ranks:
    """This process's ``rank`` of ``size``, and its device."""

    rank: int
    size: int
    device: str

    @property
    def first(self) -> bool:
        return self.rank == 0

    def add(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether it is so for some process; all must ask together."""
        if self.size == 1:
            return flag
        return bool(self.add(torch.tensor([float(flag)], device=self.device)).item() > 0)

    def told(self, value: Value) -> Value:
        """What rank 0 says."""
        if self.size == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0)
        told: Value = box[0]
        return told

    def by_the_first(self, act: Callable[[], Value]) -> Value:
        """What rank 0 gets by ``act``, value or error, which it tells the others."""
        if not self.first:
            nothing: tuple[Any, str | None] = (None, None)
            value, problem = self.told(nothing)
            if problem is not None:
                raise UserError(problem)
            return value  # type: ignore[no-any-return]
        try:
            value = act()
        except UserError as error:
            self.told((None, f"rank 0 could not begin: {error}"))
            raise
        self.told((value, None))
        return value

    def gathered(self, value: Value) -> list[Value]:
        """What every process says, in the order of ranks."""
        if self.size == 1:
            return [value]
        box: list[Any] = [None] * self.size
        dist.all_gather_object(box, value)
        return box


@contextmanager
def joined() -> Iterator[Ranks]:
    """Meet the other processes that ``torchrun`` started, until the end of the block; alone without it."""
    cuda = torch.cuda.is_available()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or dist.is_initialized():
        yield Ranks(0, 1, "cuda" if cuda else "cpu")
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if cuda:
        if local >= torch.cuda.device_count():
            raise UserError(
                "more processes than GPUs",
                expected=f"at most {torch.cuda.device_count()} processes on this machine, one a GPU",
                got=f"process {local + 1}",
                next_step="give torchrun --nproc-per-node gpu, or hide the GPUs (CUDA_VISIBLE_DEVICES=) to train on the CPU",
            )
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=_WAIT)
    try:
        yield Ranks(dist.get_rank(), size, f"cuda:{local}" if cuda else "cpu")
    finally:
        dist.destroy_process_group()
