"""softmax(q k^T / sqrt(d)) v, by the kernel that is fast for the device, the sequence length and the use.

======================================================= ==================================================================
training on a CPU (see ``runtime.chunked_attention``)   ``chunked_attention``, except for long sequences in float32
without gradients, in bfloat16 on a CPU without AMX     ``chunked_attention``; for one query ``single_query_attention``
decoding on a CPU, several hypotheses a problem         three plain products
all other cases, and all of CUDA                        ``scaled_dot_product_attention``, torch's kernel
======================================================= ==================================================================

Without gradients and in float32 torch's kernel is as fast as plain products for one query. In bfloat16 it takes 12 ms for 79
tokens and 128 rows of 8 heads of 64, ``single_query_attention`` 2.3 (one core of an AMD EPYC with AVX512-BF16). With ten queries a
problem, three products are faster in both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mathpipe.train.runtime.chunked_attention import chunked_attention, reference_attention, single_query_attention
from mathpipe.train.runtime.fast_paths import fast_paths

LONG = 128  # from this length on, torch's kernel is faster in float32


def attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None, causal: bool = False) -> Tensor:
    """Attention of q (B, H, Lq, d) to k and v (B, H, Lk, d): (B, H, Lq, d).

    ``allowed`` (B, 1, 1, Lk): the keys that may be attended to; ``causal``: query i attends to keys 0..i only. The result of a row
    without allowed keys is finite, and otherwise depends on the kernel. q may have w rows per row of k, (B w, H, Lq, d); the w rows
    of one problem then share its keys.
    """
    if len(q) != len(k):
        return _attend_in_groups(q, k, v, allowed)
    fast = fast_paths(q.device)
    if _needs_gradient(q, k, v):
        if fast.attention and (q.shape[2] < LONG or q.dtype != torch.float32):
            return chunked_attention(q, k, v, allowed, causal)
    elif fast.inference and q.dtype == torch.bfloat16:
        if q.shape[2] == 1 and not causal:
            return single_query_attention(q, k, v, allowed)
        return chunked_attention(q, k, v, allowed, causal)
    return reference_attention(q, k, v, allowed, causal)


def _attend_in_groups(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
    """Attention of q (B w, H, Lq, d): the w rows of a problem become w Lq queries of one row."""
    width = len(q) // len(k)
    _, h, lq, d = q.shape
    grouped = q.reshape(len(k), width, h, lq, d).transpose(1, 2).flatten(2, 3)
    kernel = attend if _needs_gradient(q, k, v) or not fast_paths(q.device).attention else _plain_products
    mixed = kernel(grouped, k, v, allowed).reshape(len(k), h, width, lq, d)
    return mixed.transpose(1, 2).flatten(0, 1)


def _needs_gradient(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


def _plain_products(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
    if allowed is not None:
        scores = scores.masked_fill_(~allowed, torch.finfo(scores.dtype).min)
    mixed: Tensor = scores.softmax(dim=-1) @ v
    return mixed
