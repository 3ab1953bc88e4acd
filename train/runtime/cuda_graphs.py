"""Loss and gradients of a batch as one CUDA graph: recorded once for each shape of batch, replayed with one launch.

A step of a small model is a thousand kernels of microseconds each, and a GPU that waits for Python between them. A graph holds the
kernels of forward and back; to replay it takes as long as they do. Measured on one H100: see docs/experiments.md.

Gradients stay where they are in memory for the whole run (they are set to zero, not forgotten), batches are copied into the place
of the first one, and dropout draws on as it would. Shapes that come rarely are computed as usual: a recording keeps the memory of
its activations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from mathpipe.datasets.containers.token_batches import Batch

_COMMON = 3  # a shape is recorded when it comes for the fourth time: before, all there is to allocate has been
_MOST = 8  # recordings kept

Shape = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Recording:
    """What is replayed, and where it reads and writes."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    scale: Tensor
    loss: Tensor


class Graphs:
    """``losing`` and its way back, for batches on CUDA, by recordings where their shape is common."""

    def __init__(self, losing: nn.Module) -> None:
        self.losing = losing
        self._seen: Counter[Shape] = Counter()
        self._recorded: dict[Shape, Recording] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def backward(self, batch: Batch, scale: Tensor) -> Tensor:
        """The loss (), times ``scale`` (); its gradients are added to those that the weights have. Read it before the next call."""
        shape = tuple(tuple(t.shape) for t in _tensors(batch))
        if shape not in self._recorded:
            if self._seen[shape] < _COMMON or len(self._recorded) == _MOST:
                self._seen[shape] += 1
                return self._eager(batch, scale)
            self._recorded[shape] = self._record(batch, scale)
        found = self._recorded[shape]
        for own, new in zip(_tensors(found.batch), _tensors(batch), strict=True):
            own.copy_(new)
        found.scale.copy_(scale)
        found.graph.replay()
        return found.loss

    def _eager(self, batch: Batch, scale: Tensor) -> Tensor:
        loss: Tensor = self.losing(batch, scale)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _record(self, batch: Batch, scale: Tensor) -> Recording:
        """Recording computes nothing: gradients and generators are as before."""
        own = Batch(*(t.clone() for t in _tensors(batch)))
        own_scale, graph = scale.clone(), torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, pool=self._pool):
            loss = self._eager(own, own_scale)
        return Recording(graph, own, own_scale, loss)


def _tensors(batch: Batch) -> list[Tensor]:
    return [getattr(batch, field.name) for field in fields(batch)]


class CapturedStep:
    """A step of the optimiser, captured once and replayed: it reads gradients and learning rate where they lie and changes the
    weights in place, so that one graph serves every shape of batch."""

    def __init__(self, step: Callable[[], None]) -> None:
        self._step, self._calls = step, 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self._graph is None and self._calls < _COMMON:  # the optimiser allocates its state
            self._calls += 1
            self._step()
            return
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            torch.cuda.synchronize()
            with torch.cuda.graph(self._graph):
                self._step()
        self._graph.replay()
