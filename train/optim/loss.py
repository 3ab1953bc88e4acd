"""The loss: cross-entropy summed over all target tokens, END included: sum_t w(t) (log sum_j exp z_tj - z_t,t).

z = x W^T + b are the logits of a token, w its weight (1 unless configured).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mathpipe.datasets.containers.token_batches import Batch
from mathpipe.datasets.tokenizers.tokenizer import PAD
from mathpipe.train.runtime.chunked_loss import chunked_loss, reference_loss
from mathpipe.train.runtime.fast_paths import fast_paths

if TYPE_CHECKING:
    from mathpipe.train.model.interface import Model


def loss_of(
    model: Model, batch: Batch, scale: float | Tensor = 1.0, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(``scale`` x the cross-entropy summed over the target tokens, the number of target tokens); padding does not count.

    ``weights`` (V,): the weight of each target token in the sum; the number of tokens is unweighted.
    """
    x = model.states(batch.source, batch.target)
    target = model.target_tokens(batch.target)
    loss = token_loss(x, *model.output_layer(), target, weights, scale, model.autocast())
    return loss, count_target_tokens(model, batch)


def count_target_tokens(model: Model, batch: Batch) -> Tensor:
    """The number of target tokens that the model predicts in this batch; END counts for autoregressive models."""
    return (model.target_tokens(batch.target) != PAD).sum()


@torch.no_grad()
def correct_tokens(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
    """(the number of target tokens predicted correctly, given the preceding ones, the number of target tokens)."""
    target = model.target_tokens(batch.target)
    predictions = model(batch.source, batch.target).argmax(dim=2)
    if predictions.shape != target.shape:  # broadcasting would compare the wrong tokens
        raise ValueError(f"predictions of shape {tuple(predictions.shape)} do not match targets {tuple(target.shape)}")
    real = target != PAD
    return ((predictions == target) & real).sum(), real.sum()


def token_loss(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    weights: Tensor | None,
    scale: float | Tensor,
    autocast: torch.autocast,
) -> Tensor:
    """``scale`` times the weighted sum over tokens; x (B, L, W), target (B, L) with PAD at positions that do not count.

    weight (V, W) and bias (V,) of the output layer; ``weights`` (V,) or None.
    """
    loss = chunked_loss if fast_paths(x.device).loss else reference_loss
    with autocast:
        return loss(x, weight, bias, target, weights, scale)


class LossModule(nn.Module):
    """A model and its loss as one module, so that DistributedDataParallel averages gradients in the loss's backward pass."""

    def __init__(self, model: Model, weights: Sequence[float] | None, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("weights", None if weights is None else torch.tensor(weights), persistent=False)
        if compiled:
            for layer in model.layers():
                layer.compile()

    weights: Tensor | None

    def forward(self, batch: Batch, scale: Tensor) -> Tensor:
        """``scale`` x the weighted loss of the batch."""
        return loss_of(self.model, batch, scale, self.weights)[0]


def split_batch(batch: Batch, count: int, dummy: Batch) -> list[Batch]:
    """At most ``count`` parts of a batch, each without columns that are padding in all its rows; at least one part.

    If this process's share of a last batch is empty, it takes part with ``dummy``, which has no target tokens.
    """
    n = len(batch.rows)
    if not n:
        return [dummy]
    if count == 1:
        return [batch]
    size = -(-n // count)
    return [_select_rows(batch, slice(first, first + size)) for first in range(0, n, size)]


def dummy_batch(batch: Batch) -> Batch:
    """The same problems with targets of the same width that are all padding."""
    no_target = torch.full_like(batch.target, PAD), torch.zeros_like(batch.target_lengths)
    return Batch(batch.source, batch.source_lengths, *no_target, batch.rows)


def _select_rows(batch: Batch, rows: slice) -> Batch:
    source_lengths, target_lengths = batch.source_lengths[rows], batch.target_lengths[rows]
    source = batch.source[rows, : int(source_lengths.max())]
    return Batch(
        source, source_lengths, batch.target[rows, : int(target_lengths.max())], target_lengths, batch.rows[rows]
    )
