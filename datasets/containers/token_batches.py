"""Batches of token sequences: as tensors, and as the arrays they are taken from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Batch:
    """Token tensors of B problems. No framing words in ``source``; ``target`` ends with END; both padded with PAD.

    ``source`` (B, Ls), ``source_lengths`` (B,), ``target`` (B, Lt), ``target_lengths`` (B,) END included, ``rows`` (B,): all int64.
    """

    source: torch.Tensor
    source_lengths: torch.Tensor
    target: torch.Tensor
    target_lengths: torch.Tensor
    rows: torch.Tensor


@dataclass(frozen=True)
class TokenRows:
    """n encoded rows as NumPy arrays, the form in which the loader keeps a window: integer tokens, int64 lengths and ids."""

    source: np.ndarray[Any, np.dtype[np.integer]]
    source_lengths: np.ndarray[Any, np.dtype[np.int64]]
    target: np.ndarray[Any, np.dtype[np.integer]]
    target_lengths: np.ndarray[Any, np.dtype[np.int64]]
    rows: np.ndarray[Any, np.dtype[np.int64]]

    def batch(self, index: np.ndarray[Any, Any], device: str | torch.device = "cpu") -> Batch:
        """The rows at these positions as tensors on a device; columns that are padding for all of them are cut off."""
        import torch  # here: whoever reads rows alone need not wait for it

        source_lengths, target_lengths = self.source_lengths[index], self.target_lengths[index]
        widest = int(source_lengths.max(initial=0)), int(target_lengths.max(initial=0))
        arrays = (
            self.source[index, : widest[0]],
            source_lengths,
            self.target[index, : widest[1]],
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
