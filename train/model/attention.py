"""softmax(q k^T / sqrt(d)) v, fast on a CPU: a piece of the batch at a time, so that its scores stay in the cache.

On CUDA this is torch's own kernel, as it is on the CPU for long sequences in float32 and wherever nothing is learned: it alone
reads keys where they lie in a cache (79 of 80 words, 1,024 heads, one query: 2.3 ms, and 10 ms as plain products, which copy). In
training the CPU's kernel for bfloat16 is slow where sequences are short (for 27 words 3 times slower than three plain products),
and plain products over a whole batch wait for memory. Here scores of some 2^19 pairs are made, normalised and used before the
next; where later words are hidden, queries are cut into blocks that skip the keys none of them may see. Measured on one core of a
Xeon with AMX, 64 problems, 8 heads of 32, 302 words, forward and back: plain products 440 to 480 ms, torch's kernel 500 to 600 ms
(350 in float32), this one 260 to 330 ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mathpipe.train.runtime.fast_paths import fast_paths

_PAIRS = 1 << 19  # scores in hand at a time: 1 MB in bfloat16
_ALONE = 1 << 15  # a problem of so many scores is done alone, where it lies; smaller ones are gathered
_BLOCK = 96  # queries of a causal block, at least
_LONG = 128  # from so many words on, torch's own kernel is the better one in float32

Span = tuple[int, int, int]  # queries from, to; keys up to


def attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None, causal: bool = False) -> Tensor:
    """q (B, H, Lq, d) looks at k and v (B, H, Lk, d): (B, H, Lq, d).

    ``allowed`` (B, 1, 1, Lk): the keys that may be seen; ``causal``: query i sees keys 0..i alone. Where q has w rows for
    each of k, (B w, H, Lq, d), those of one problem ask its keys together.
    """
    if len(q) != len(k):
        width = len(q) // len(k)
        _, h, lq, d = q.shape
        asked = q.reshape(len(k), width, h, lq, d).transpose(1, 2).flatten(2, 3)
        together = attend if _learns(q, k, v) or not fast_paths(q.device).attention else _plain
        found = together(asked, k, v, allowed).reshape(len(k), h, width, lq, d)
        return found.transpose(1, 2).flatten(0, 1)
    fast = fast_paths(q.device).attention and _learns(q, k, v)
    if not fast or (q.dtype == torch.float32 and q.shape[2] >= _LONG):
        if causal and allowed is None:
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=_mask(q, k, allowed, causal))
    mixed: Tensor = _Pieces.apply(q * q.shape[-1] ** -0.5, k, v, _bias(q.dtype, allowed), causal)  # type: ignore[no-untyped-call]
    return mixed


def _learns(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


def _plain(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
    """Three products: for ten queries of 80 keys 3.3 ms, torch's kernel 4.4."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
    if allowed is not None:
        scores = scores.masked_fill_(~allowed, float("-inf"))
    mixed: Tensor = scores.softmax(dim=-1) @ v
    return mixed


def _mask(q: Tensor, k: Tensor, allowed: Tensor | None, causal: bool) -> Tensor | None:
    if not causal:
        return allowed
    before = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
    return before if allowed is None else before & allowed


def _bias(dtype: torch.dtype, allowed: Tensor | None) -> Tensor | None:
    """0 where a key may be seen, -inf elsewhere: (B, 1, 1, Lk)."""
    if allowed is None:
        return None
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, float("-inf"))


def _spans(queries: int, keys: int, causal: bool) -> list[Span]:
    """Blocks of queries and the keys that some query of each may see; the last block sees all keys."""
    count = max(queries // _BLOCK, 1) if causal else 1
    cuts = [round(queries * i / count) for i in range(count + 1)]
    return [(a, b, b if causal else keys) for a, b in pairwise(cuts)]


class _Pieces(torch.autograd.Function):
    """Attention of scaled queries by pieces of the batch; probabilities are kept for the way back."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool) -> Tensor:
        b, h, lq, d = q.shape
        pairs = h * lq * k.shape[2]
        rows = 1 if pairs >= _ALONE else _PAIRS // max(pairs, 1)
        if rows > 1:
            q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        spans = _spans(lq, k.shape[2], causal)
        kept = [q.new_empty(b, h, to - first, end) for first, to, end in spans]
        mixed = q.new_empty(b, h, lq, d) if rows > 1 else q.new_empty(b, lq, h, d).transpose(1, 2)
        hidden = [_later(first, to, end, q.dtype) for first, to, end in spans] if causal else [None]
        for i in range(0, b, rows):
            qi, ki, vi, oi = _piece(i, rows, q, k, v, mixed)
            rule = None if bias is None else bias[i : i + rows].expand(-1, h, 1, -1).flatten(0, 1)
            for (first, to, end), p, later in zip(spans, kept, hidden, strict=True):
                scores = _scores(qi[:, first:to], ki[:, :end], rule, later)
                probabilities = p[i : i + rows].flatten(0, 1)
                torch.softmax(scores, -1, out=probabilities)
                torch.bmm(probabilities, vi[:, :end], out=oi[:, first:to])
        ctx.save_for_backward(q, k, v, *kept)
        ctx.rows, ctx.spans = rows, spans
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        rows: int = ctx.rows
        g = gradients[0].contiguous() if rows > 1 else gradients[0]
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for i in range(0, len(q), rows):
            qi, ki, vi, gi, dqi, dki, dvi = _piece(i, rows, q, k, v, g, dq, dk, dv)
            fresh = 0  # the last block sees all keys and comes first: it sets what the others add to
            for (first, to, end), p in reversed(list(zip(ctx.spans, kept, strict=True))):
                probabilities, gb = p[i : i + rows].flatten(0, 1), gi[:, first:to]
                dvi[:, :end].baddbmm_(probabilities.transpose(1, 2), gb, beta=fresh)
                dp = torch.bmm(gb, vi[:, :end].transpose(1, 2))
                torch.ops.aten._softmax_backward_data.out(dp, probabilities, -1, dp.dtype, grad_input=dp)
                torch.bmm(dp, ki[:, :end], out=dqi[:, first:to])
                dki[:, :end].baddbmm_(dp.transpose(1, 2), qi[:, first:to], beta=fresh)
                fresh = 1
        return dq, dk, dv, None, None


def _piece(i: int, rows: int, *tensors: Tensor) -> Iterator[Tensor]:
    """Problems i..i+rows of each (B, H, L, d) as (rows * H, L, d), views all of them."""
    return (t[i] if rows == 1 else t[i : i + rows].flatten(0, 1) for t in tensors)


def _scores(q: Tensor, k: Tensor, rule: Tensor | None, later: Tensor | None) -> Tensor:
    if rule is not None:
        rule = rule[..., : k.shape[1]]
        later = rule if later is None else later + rule
    kt = k.transpose(1, 2)
    return torch.bmm(q, kt) if later is None else torch.baddbmm(later, q, kt)


def _later(first: int, to: int, end: int, dtype: torch.dtype) -> Tensor:
    """-inf where a key comes after the query, (to - first, end)."""
    return torch.full((to - first, end), float("-inf"), dtype=dtype).triu_(1 + first)
