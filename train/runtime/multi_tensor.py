"""Elementwise operations on lists of tensors: one kernel for the whole list on CUDA.

The fast paths call ``torch._foreach_*``, as torch's own optimisers do. The plain paths are loops, which cost the same on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mathpipe.train.runtime.fast_paths import fast_paths

Tensors = list[Tensor]


def multiply_(tensors: Tensors, factor: float | Tensor) -> None:
    """x <- factor x for each tensor x; ``factor`` is a number or a tensor ()."""
    if _fast(tensors):
        torch._foreach_mul_(tensors, factor)
        return
    for x in tensors:
        x.mul_(factor)


def interpolate(starts: Tensors, ends: Tensors, weight: float) -> list[Tensor]:
    """start + weight (end - start) of each pair."""
    if _fast(starts):
        return list(torch._foreach_lerp(starts, ends, weight))
    return [start.lerp(end, weight) for start, end in zip(starts, ends, strict=True)]


def interpolate_(starts: Tensors, ends: Tensors, weight: float) -> None:
    """start <- start + weight (end - start) for each pair."""
    if _fast(starts):
        torch._foreach_lerp_(starts, ends, weight)
        return
    for start, end in zip(starts, ends, strict=True):
        start.lerp_(end, weight)


def _fast(tensors: Tensors) -> bool:
    return bool(tensors) and fast_paths(tensors[0].device).multi_tensor
