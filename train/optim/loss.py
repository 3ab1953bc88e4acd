"""The loss: cross-entropy summed over all target tokens, END included: sum_t w(t) (log sum_j exp z_tj - z_t,t).

z = x W^T + b are the logits of a token, w its weight (1 unless configured). On the CPU the logits are computed in chunks, and the
gradient is taken at once. The logits of a batch are thus never in memory together (600 MB for an inverse with the published joint
vocabulary), and each chunk becomes its gradient while it is in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mathpipe.datasets.containers.token_batches import Batch
from mathpipe.datasets.tokenizers.matrix_tokenizer import PAD
from mathpipe.train.runtime.fast_paths import fast_paths

if TYPE_CHECKING:
    from mathpipe.train.model.interface import Model

_PRODUCT_LOGITS = 1 << 25  # logits of one matrix product: 64 MB in bfloat16
_CACHE_LOGITS = 1 << 18  # logits normalised at a time: 1 MB in float32


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
    """``scale`` times the weighted sum over tokens; x (B, L, W), target (B, L) with PAD at positions that do not count."""
    if not fast_paths(x.device).loss:
        with autocast:
            logits = functional.linear(x, weight, bias).float()
        losses = functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="none")
        return (losses if weights is None else losses * weights[target.flatten()]).sum() * scale
    x, target = x.flatten(0, 1), target.flatten()
    real = target != PAD
    if not bool(real.all()):
        x, target = x[real], target[real]
    dtype = torch.bfloat16 if x.dtype == torch.bfloat16 or autocast._enabled else torch.float32
    factors = None if weights is None else weights[target]
    loss: Tensor = _ChunkedLoss.apply(x.to(dtype), weight, bias, target, factors, float(scale))  # type: ignore[no-untyped-call]
    return loss


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


class _ChunkedLoss(torch.autograd.Function):
    """The loss together with its gradient: x (T, W), weight (V, W), bias (V,), target (T,)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, target: Tensor, factors: Tensor | None, scale: float
    ) -> Tensor:
        training = any(ctx.needs_input_grad[:3])
        cast_weight, cast_bias = weight.to(x.dtype), bias.to(x.dtype)
        rows = max(_PRODUCT_LOGITS // len(weight), 1)
        total = torch.zeros((), dtype=torch.float32)
        dx = torch.zeros_like(x) if training else None
        dw: Tensor | None = None
        db = torch.zeros_like(bias) if training else None
        for i in range(0, len(x), rows):
            xi = x[i : i + rows]
            logits = functional.linear(xi, cast_weight, cast_bias)
            chunk_factors = None if factors is None else factors[i : i + rows]
            total += _loss_and_gradient(logits, target[i : i + rows], chunk_factors, scale, training)
            if dx is not None and db is not None:
                torch.mm(logits, cast_weight, out=dx[i : i + rows])
                dw_chunk = logits.t() @ xi
                dw = dw_chunk.to(weight.dtype) if dw is None else dw.add_(dw_chunk)
                db += logits.sum(0, dtype=torch.float32)
        if training and dw is None:  # no target tokens
            dw = torch.zeros_like(weight)
        ctx.save_for_backward(dx, dw, db)
        return total * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        dx, dw, db = ctx.saved_tensors
        factor = gradients[0]
        if float(factor) != 1:
            dx, dw, db = dx * factor.to(dx.dtype), dw * factor, db * factor
        return dx, dw, db, None, None, None


def _loss_and_gradient(logits: Tensor, target: Tensor, factors: Tensor | None, scale: float, training: bool) -> Tensor:
    """The summed loss of logits (T, V); in training, overwrites the logits with the gradient of ``scale`` times the loss."""
    total = torch.zeros((), dtype=torch.float32)
    rows = max(_CACHE_LOGITS // logits.shape[1], 1)
    for i in range(0, len(logits), rows):
        chunk, tokens = logits[i : i + rows], target[i : i + rows].unsqueeze(1)
        log_probabilities = torch.log_softmax(chunk.float(), 1)
        target_log_probabilities = log_probabilities.gather(1, tokens).squeeze(1)
        factor = None if factors is None else factors[i : i + rows]
        total -= (target_log_probabilities if factor is None else target_log_probabilities * factor).sum()
        if training:
            p = log_probabilities.exp_()
            p.scatter_add_(1, tokens, torch.full(tokens.shape, -1.0))
            chunk.copy_(p.mul_(scale if factor is None else (factor * scale).unsqueeze(1)))
    return total
