"""The loss in chunks equals torch's cross-entropy over all logits, values and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mathpipe.datasets.tokenizers.tokenizer import PAD
from mathpipe.train.runtime.chunked_loss import LogitChunks, chunked_loss, reference_loss

pytestmark = pytest.mark.processor
VOCABULARY, WIDTH = 13, 6
SMALL_CHUNKS = LogitChunks(product=5 * VOCABULARY, cache=2 * VOCABULARY)


def values_and_gradients(loss: Any, target: Tensor, weights: Tensor | None, scale: Any, *chunks: Any) -> list[Tensor]:
    """The loss of random states and its gradients for states, weight and bias."""
    generator = torch.Generator().manual_seed(1)
    shapes = (*target.shape, WIDTH), (VOCABULARY, WIDTH), (VOCABULARY,)
    leaves = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    value = loss(*leaves, target, weights, scale, *chunks)
    return [value.detach(), *torch.autograd.grad(3 * value, leaves)]


def targets(padding: int) -> Tensor:
    """Target tokens (4, 6); the last ``padding`` of each row are PAD."""
    target = torch.randint(2, VOCABULARY, (4, 6), generator=torch.Generator().manual_seed(2))
    target[:, 6 - padding :] = PAD
    return target


@pytest.mark.parametrize("chunks", [LogitChunks(), SMALL_CHUNKS, LogitChunks(1, 1)], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("padding", [0, 2, 6])
def test_chunked_loss_matches_reference(chunks: LogitChunks, weighted: bool, padding: int) -> None:
    target = targets(padding)
    weights = torch.linspace(0.5, 2, VOCABULARY) if weighted else None
    scale = torch.tensor(0.25)
    expected = values_and_gradients(reference_loss, target, weights, scale)
    results = values_and_gradients(chunked_loss, target, weights, scale, chunks)
    for result, reference in zip(results, expected, strict=True):
        torch.testing.assert_close(result, reference, rtol=1e-5, atol=1e-6)


def test_chunked_loss_matches_reference_in_bfloat16() -> None:
    target = targets(2)
    with torch.autocast("cpu", torch.bfloat16):
        expected = values_and_gradients(reference_loss, target, None, 1.0)
        results = values_and_gradients(chunked_loss, target, None, 1.0, SMALL_CHUNKS)
    for result, reference in zip(results, expected, strict=True):
        assert result.dtype == reference.dtype == torch.float32
        torch.testing.assert_close(result, reference, rtol=2e-2, atol=5e-2)


@torch.no_grad()
def test_chunked_loss_without_gradients() -> None:
    target, states, weight = targets(1), torch.randn(4, 6, WIDTH), torch.randn(VOCABULARY, WIDTH)
    arguments = states, weight, torch.zeros(VOCABULARY), target, None, 1.0
    torch.testing.assert_close(chunked_loss(*arguments, SMALL_CHUNKS), reference_loss(*arguments))
