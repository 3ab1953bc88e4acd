"""Batches of token sequences: as PyTorch tensors, and as the NumPy arrays they are taken from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Batch:
    """Token tensors of B examples. ``source`` has no framing tokens, ``target`` ends with END; both are padded with PAD.

    ``source`` (B, Ls), ``source_lengths`` (B,), ``target`` (B, Lt), ``target_lengths`` (B,) including END, ``rows`` (B,), the
    examples' indices: all int64.
    """

    source: torch.Tensor
    source_lengths: torch.Tensor
    target: torch.Tensor
    target_lengths: torch.Tensor
    rows: torch.Tensor


@dataclass(frozen=True)
class TokenizedExamples:
    """n tokenized examples as NumPy arrays, in which the loader holds a window: integer tokens, int64 lengths and indices."""

    source: np.ndarray[Any, np.dtype[np.integer]]
    source_lengths: np.ndarray[Any, np.dtype[np.int64]]
    target: np.ndarray[Any, np.dtype[np.integer]]
    target_lengths: np.ndarray[Any, np.dtype[np.int64]]
    rows: np.ndarray[Any, np.dtype[np.int64]]

    def batch(self, index: np.ndarray[Any, Any], device: str | torch.device = "cpu") -> Batch:
        """The examples at these positions as tensors on ``device``, trimmed to the longest of them."""
        import torch  # imported late: reading examples does not need it

        source_lengths, target_lengths = self.source_lengths[index], self.target_lengths[index]
        longest = int(source_lengths.max(initial=0)), int(target_lengths.max(initial=0))
        arrays = (
            self.source[index, : longest[0]],
            source_lengths,
            self.target[index, : longest[1]],
            target_lengths,
            self.rows[index],
        )
        return Batch(*(_to_device(array, torch.device(device)) for array in arrays))


def _to_device(array: np.ndarray[Any, Any], device: torch.device) -> torch.Tensor:
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
