"""Data-parallel training in the processes that ``torchrun`` starts: rank, device, and communication.

Each process takes its share of every global batch. The loss is divided by the number of tokens of all processes together, so the
number of processes affects speed only. Rank zero alone writes and evaluates, and broadcasts the results. The backend is gloo on
the CPU and NCCL on CUDA. Without ``torchrun`` there is one process and no communication.
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
_TIMEOUT = timedelta(hours=12)  # the other ranks wait while rank zero evaluates


@dataclass(frozen=True)
class Distributed:
    """The ``rank`` of this process among ``size`` processes, and its device."""

    rank: int
    size: int
    device: str

    @property
    def is_rank_zero(self) -> bool:
        return self.rank == 0

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; a collective call."""
        if self.size == 1:
            return flag
        return bool(self.all_reduce(torch.tensor([float(flag)], device=self.device)).item() > 0)

    def broadcast(self, value: Value) -> Value:
        """The value of rank zero."""
        if self.size == 1:
            return value
        values: list[Any] = [value]
        dist.broadcast_object_list(values, src=0)
        received: Value = values[0]
        return received

    def on_rank_zero(self, function: Callable[[], Value]) -> Value:
        """The result of ``function`` on rank zero, broadcast to all; a UserError is raised in every process."""
        if not self.is_rank_zero:
            placeholder: tuple[Any, str | None] = (None, None)
            value, message = self.broadcast(placeholder)
            if message is not None:
                raise UserError(message)
            return value  # type: ignore[no-any-return]
        try:
            value = function()
        except UserError as error:
            self.broadcast((None, f"rank 0 failed: {error}"))
            raise
        self.broadcast((value, None))
        return value

    def all_gather(self, value: Value) -> list[Value]:
        """The values of all processes, in the order of ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


@contextmanager
def initialised() -> Iterator[Distributed]:
    """Initialise the process group that ``torchrun`` started, until the end of the block; a single process without torchrun."""
    cuda = torch.cuda.is_available()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or dist.is_initialized():
        yield Distributed(0, 1, "cuda" if cuda else "cpu")
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if cuda:
        if local_rank >= torch.cuda.device_count():
            raise UserError(
                "more processes than GPUs",
                expected=f"at most {torch.cuda.device_count()} processes on this machine, one per GPU",
                got=f"process {local_rank + 1}",
                next_step="use torchrun --nproc-per-node gpu, or hide the GPUs (CUDA_VISIBLE_DEVICES=) to train on the CPU",
            )
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=_TIMEOUT)
    try:
        yield Distributed(dist.get_rank(), size, f"cuda:{local_rank}" if cuda else "cpu")
    finally:
        dist.destroy_process_group()
