"""Attention in chunks equals torch's kernel, values and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mathpipe.train.model import attention
from mathpipe.train.model.attention import LONG, attend
from mathpipe.train.runtime.chunked_attention import (
    ChunkSizes,
    chunked_attention,
    reference_attention,
    single_query_attention,
)
from mathpipe.train.runtime.fast_paths import forced

pytestmark = pytest.mark.processor
ONE_AT_A_TIME = ChunkSizes(single=1)
TWO_AT_A_TIME = ChunkSizes(scores=2 * 4 * 40 * 40)  # of the five problems, with 4 heads and 40 tokens
SMALL_BLOCKS = ChunkSizes(single=1, causal_block=7)


def inputs(queries: int, keys: int, dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], Tensor]:
    """q, k, v of five problems and four heads, not contiguous as in the model, and the gradient of the result."""
    torch.manual_seed(0)
    lengths = queries, keys, keys, queries
    q, k, v, gradient = (torch.randn(5, length, 4, 8, dtype=dtype).transpose(1, 2) for length in lengths)
    return [q, k, v], gradient


def mask(keys: int) -> Tensor:
    """A mask of keys in which each problem has at least one."""
    allowed = torch.rand(5, 1, 1, keys) < 0.7
    allowed[..., 0] = True
    return allowed


def values_and_gradients(kernel: Any, qkv: list[Tensor], gradient: Tensor, *arguments: Any) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in qkv]
    mixed = kernel(*leaves, *arguments)
    return [mixed, *torch.autograd.grad(mixed, leaves, gradient)]


@pytest.mark.parametrize("sizes", [ChunkSizes(), ONE_AT_A_TIME, TWO_AT_A_TIME, SMALL_BLOCKS], ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_chunked_attention_matches_reference(sizes: ChunkSizes, causal: bool, masked: bool) -> None:
    qkv, gradient = inputs(40, 40)
    allowed = mask(40) if masked else None
    expected = values_and_gradients(reference_attention, qkv, gradient, allowed, causal)
    results = values_and_gradients(chunked_attention, qkv, gradient, allowed, causal, sizes)
    for result, reference in zip(results, expected, strict=True):
        torch.testing.assert_close(result, reference, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("sizes", [ChunkSizes(), ONE_AT_A_TIME], ids=str)
def test_chunked_cross_attention_matches_reference(sizes: ChunkSizes) -> None:
    qkv, gradient = inputs(9, 23)
    allowed = mask(23)
    expected = values_and_gradients(reference_attention, qkv, gradient, allowed, False)
    results = values_and_gradients(chunked_attention, qkv, gradient, allowed, False, sizes)
    for result, reference in zip(results, expected, strict=True):
        torch.testing.assert_close(result, reference, rtol=1e-7, atol=1e-9)


def test_chunk_sizes() -> None:
    sizes = ChunkSizes(scores=1000, single=500, causal_block=10)
    assert [sizes.problems(scores) for scores in (0, 1, 300, 499, 500)] == [1000, 1000, 3, 2, 1]
    assert sizes.spans(25, 30, causal=False) == [(0, 25, 30)]
    assert sizes.spans(25, 25, causal=True) == [(0, 12, 12), (12, 25, 25)]
    assert sizes.spans(9, 9, causal=True) == [(0, 9, 9)]


@pytest.mark.parametrize(
    ("length", "dtype", "fast", "chunked"),
    [
        (LONG - 1, torch.float32, True, True),
        (LONG, torch.float32, True, False),
        (LONG, torch.bfloat16, True, True),
        (LONG - 1, torch.float32, False, False),
    ],
)
def test_attend_selects_kernel(length: int, dtype: torch.dtype, fast: bool, chunked: bool) -> None:
    qkv, _ = inputs(length, length, dtype)
    q, k, v = (x.requires_grad_() for x in qkv)
    with forced(attention=fast):
        mixed = attend(q, k, v)
        assert ("ChunkedAttention" in type(mixed.grad_fn).__name__) == chunked
        torch.testing.assert_close(mixed, reference_attention(q, k, v), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("elements", [1, 4 * 23 * 8 * 2, 1 << 20], ids=["one row", "two rows", "all rows"])
@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_single_query_attention_matches_reference(elements: int, masked: bool) -> None:
    (q, k, v), _ = inputs(1, 23)
    allowed = mask(23) if masked else None
    expected = reference_attention(q, k, v, allowed)
    torch.testing.assert_close(single_query_attention(q, k, v, allowed, elements), expected, rtol=1e-7, atol=1e-9)
    assert allowed is None or not torch.allclose(expected, single_query_attention(q, k, v, None, elements))


@pytest.mark.parametrize("sizes", [ChunkSizes(), ONE_AT_A_TIME, TWO_AT_A_TIME, SMALL_BLOCKS], ids=str)
@pytest.mark.parametrize("causal", [False, True])
def test_values_without_gradients_are_those_of_training(sizes: ChunkSizes, causal: bool) -> None:
    qkv, gradient = inputs(40, 40)
    allowed = mask(40)
    trained = values_and_gradients(chunked_attention, qkv, gradient, allowed, causal, sizes)[0]
    with torch.no_grad():
        assert torch.equal(chunked_attention(*qkv, allowed, causal, sizes), trained)


@pytest.mark.parametrize(
    ("queries", "dtype", "fast", "kernel"),
    [
        (1, torch.bfloat16, True, "single_query_attention"),
        (5, torch.bfloat16, True, "chunked_attention"),
        (1, torch.bfloat16, False, "reference_attention"),
        (1, torch.float32, True, "reference_attention"),
        (5, torch.float32, True, "reference_attention"),
    ],
)
@torch.no_grad()
def test_kernel_without_gradients(
    monkeypatch: pytest.MonkeyPatch, queries: int, dtype: torch.dtype, fast: bool, kernel: str
) -> None:
    (q, k, v), _ = inputs(queries, 9, dtype)
    expected = reference_attention(*(x.float() for x in (q, k, v)))
    calls = []
    for name in ("single_query_attention", "chunked_attention", "reference_attention"):
        function = getattr(attention, name)
        monkeypatch.setattr(attention, name, lambda *a, name=name, f=function: calls.append(name) or f(*a))
    with forced(inference=fast):
        torch.testing.assert_close(attend(q, k, v).float(), expected, rtol=3e-2, atol=3e-2)
    assert calls == [kernel]


@pytest.mark.parametrize("kernel", [single_query_attention, chunked_attention, reference_attention])
@torch.no_grad()
def test_a_row_without_allowed_keys_is_finite(kernel: Any) -> None:
    """The padding of a batch: all its keys are masked, and it must not spoil sums over the batch."""
    (q, k, v), _ = inputs(1, 9, torch.bfloat16)
    allowed = mask(9)
    allowed[2] = False
    assert kernel(q, k, v, allowed).isfinite().all()


def test_a_row_without_allowed_keys_has_finite_gradients() -> None:
    qkv, gradient = inputs(9, 9)
    allowed = mask(9)
    allowed[2] = False
    assert all(x.isfinite().all() for x in values_and_gradients(chunked_attention, qkv, gradient, allowed, True))


@pytest.mark.parametrize("fast", [False, True])
@torch.no_grad()
def test_grouped_queries_share_keys(fast: bool) -> None:
    (q, _, _), _ = inputs(1, 1)
    (_, k, v), _ = inputs(1, 12)
    rows = torch.cat([q, 2 * q, -q]).reshape(3, 5, 4, 1, 8).transpose(0, 1).flatten(0, 1)  # three for each problem
    allowed = mask(12)
    repeated = [x.repeat_interleave(3, 0) for x in (k, v, allowed)]
    with forced(attention=fast, inference=fast):
        torch.testing.assert_close(attend(rows, k, v, allowed), reference_attention(rows, *repeated))
