"""Loss and gradients of a batch as a CUDA graph: captured once per batch shape, replayed with one launch.

A step of a small model launches a thousand kernels of microseconds each, and the GPU waits for Python between them. A graph
contains the kernels of the forward and backward passes; a replay takes only their run time. Measured on one H100: see
docs/development/log.md.

Gradients keep their memory for the whole run (they are zeroed, not freed), batches are copied into the buffers of the captured
batch, and dropout continues its random sequence. Rare shapes are computed without a graph: each captured graph keeps the memory of
its activations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from mathpipe.datasets.containers.token_batches import Batch

_WARMUP_CALLS = 3  # a shape is captured at its fourth occurrence, when all lazy allocations have been made
_MAX_GRAPHS = 8

Shape = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class CapturedGraph:
    """A graph, its input buffers and its output."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    scale: Tensor
    loss: Tensor


class CudaGraphs:
    """Forward and backward passes of ``loss_module`` for batches on CUDA, as captured graphs for common batch shapes."""

    def __init__(self, loss_module: nn.Module) -> None:
        self.loss_module = loss_module
        self._occurrences: Counter[Shape] = Counter()
        self._captured: dict[Shape, CapturedGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def backward(self, batch: Batch, scale: Tensor) -> Tensor:
        """The loss () times ``scale`` (), valid until the next call; adds its gradients to those of the weights."""
        shape = tuple(tuple(t.shape) for t in _tensors(batch))
        if shape not in self._captured:
            if self._occurrences[shape] < _WARMUP_CALLS or len(self._captured) == _MAX_GRAPHS:
                self._occurrences[shape] += 1
                return self._eager(batch, scale)
            self._captured[shape] = self._capture(batch, scale)
        captured = self._captured[shape]
        for buffer, tensor in zip(_tensors(captured.batch), _tensors(batch), strict=True):
            buffer.copy_(tensor)
        captured.scale.copy_(scale)
        captured.graph.replay()
        return captured.loss

    def _eager(self, batch: Batch, scale: Tensor) -> Tensor:
        loss: Tensor = self.loss_module(batch, scale)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _capture(self, batch: Batch, scale: Tensor) -> CapturedGraph:
        """Capture without computing: gradients and random generators do not change."""
        batch_buffer = Batch(*(t.clone() for t in _tensors(batch)))
        scale_buffer, graph = scale.clone(), torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, pool=self._pool):
            loss = self._eager(batch_buffer, scale_buffer)
        return CapturedGraph(graph, batch_buffer, scale_buffer, loss)


def _tensors(batch: Batch) -> list[Tensor]:
    return [getattr(batch, field.name) for field in fields(batch)]


class CapturedStep:
    """An optimiser step, captured once and replayed. It reads gradients and learning rate in place and updates the weights in
    place, so that one graph serves every batch shape."""

    def __init__(self, step: Callable[[], None]) -> None:
        self._step, self._calls = step, 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self._graph is None and self._calls < _WARMUP_CALLS:  # the optimiser allocates its state
            self._calls += 1
            self._step()
            return
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            torch.cuda.synchronize()
            with torch.cuda.graph(self._graph):
                self._step()
        self._graph.replay()
