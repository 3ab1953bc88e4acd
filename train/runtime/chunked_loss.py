"""The loss on a CPU, with logits computed in chunks and the gradient taken at once.

    scale sum_t w(t) (log sum_j exp z_tj - z_t,t),      z = x W^T + b

``reference_loss`` computes all logits, then torch's cross-entropy. ``chunked_loss`` computes the same value and gradients without
the logits of a whole batch in memory (600 MB for an inverse with the published joint vocabulary), and each chunk becomes its
gradient while it is in the cache. Both take products in the surrounding autocast dtype and everything else in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mathpipe.datasets.tokenizers.tokenizer import PAD


@dataclass(frozen=True)
class LogitChunks:
    """``product``: logits of one matrix product (64 MB in bfloat16); ``cache``: logits normalised at a time (1 MB in float32)."""

    product: int = 1 << 25
    cache: int = 1 << 18


DEFAULT_CHUNKS = LogitChunks()


def reference_loss(
    x: Tensor, weight: Tensor, bias: Tensor, target: Tensor, weights: Tensor | None, scale: float | Tensor
) -> Tensor:
    """The loss () of states x (B, L, W) with weight (V, W), bias (V,) and ``target`` (B, L), PAD where no token counts.

    ``weights`` (V,): the weight w of each token; None: 1 for all.
    """
    logits = functional.linear(x, weight, bias).float()
    losses = functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="none")
    return (losses if weights is None else losses * weights[target.flatten()]).sum() * scale


def chunked_loss(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    weights: Tensor | None,
    scale: float | Tensor,
    chunks: LogitChunks = DEFAULT_CHUNKS,
) -> Tensor:
    """``reference_loss`` on a CPU, in chunks."""
    x, target = x.flatten(0, 1), target.flatten()
    real = target != PAD
    if not bool(real.all()):
        x, target = x[real], target[real]
    dtype = torch.bfloat16 if x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu") else torch.float32
    factors = None if weights is None else weights[target]
    loss: Tensor = _ChunkedLoss.apply(x.to(dtype), weight, bias, target, factors, float(scale), chunks)  # type: ignore[no-untyped-call]
    return loss


class _ChunkedLoss(torch.autograd.Function):
    """The loss together with its gradient: x (T, W), weight (V, W), bias (V,), target (T,)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        target: Tensor,
        factors: Tensor | None,
        scale: float,
        chunks: LogitChunks,
    ) -> Tensor:
        training = any(ctx.needs_input_grad[:3])
        cast_weight, cast_bias = weight.to(x.dtype), bias.to(x.dtype)
        rows = max(chunks.product // len(weight), 1)
        total = torch.zeros((), dtype=torch.float32)
        dx = torch.zeros_like(x) if training else None
        dw: Tensor | None = None
        db = torch.zeros_like(bias) if training else None
        for i in range(0, len(x), rows):
            xi = x[i : i + rows]
            logits = functional.linear(xi, cast_weight, cast_bias)
            chunk_factors = None if factors is None else factors[i : i + rows]
            total += _loss_and_gradient(logits, target[i : i + rows], chunk_factors, scale, training, chunks.cache)
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
        return dx, dw, db, None, None, None, None


def _loss_and_gradient(
    logits: Tensor, target: Tensor, factors: Tensor | None, scale: float, training: bool, cache: int
) -> Tensor:
    """The summed loss of logits (T, V); in training, overwrites the logits with the gradient of ``scale`` times the loss.

    ``cache``: logits normalised at a time.
    """
    total = torch.zeros((), dtype=torch.float32)
    rows = max(cache // logits.shape[1], 1)
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
