"""Packed weights: the same numbers, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.transformer import Transformer
from mathpipe.train.runtime.cpu_packing import packed
from mathpipe.train.runtime.fast_paths import fast_paths, forced

pytestmark = pytest.mark.processor

ARITHMETIC = [
    torch.float32,
    pytest.param(
        torch.bfloat16,
        marks=pytest.mark.skipif(not fast_paths("cpu").packed, reason="oneDNN has no products of bfloat16 here"),
    ),
]


@pytest.fixture(autouse=True, params=ARITHMETIC, ids=str)
def arithmetic(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    """Weights are packed in this arithmetic, whatever the processor."""
    enabled = request.param == torch.bfloat16
    with forced(packed=True), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        yield request.param


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 36), nn.ReLU(), nn.Linear(36, 5, bias=False))


@pytest.mark.parametrize("rows", [1, 7, 300])
@torch.no_grad()
def test_the_same_numbers_for_any_number_of_rows(rows: int, arithmetic: torch.dtype) -> None:
    made, x = model(), torch.randn(rows, 20)
    plain = made(x)
    with packed(made):
        assert all("forward" in layer.__dict__ for layer in made if isinstance(layer, nn.Linear))
        assert made(x).dtype == arithmetic
        torch.testing.assert_close(made(x), plain, **close(arithmetic))


@torch.no_grad()
def test_weights_are_read_at_the_start_and_restored_at_the_end(arithmetic: torch.dtype) -> None:
    made, x = model(), torch.randn(3, 20)
    for factor in (1.0, 2.0):
        made[2].weight.mul_(factor)
        torch.clear_autocast_cache()  # which does not see weights that change in place
        plain = made(x)
        with packed(made):
            torch.testing.assert_close(made(x), plain, **close(arithmetic))
    with pytest.raises(RuntimeError, match="stopped"), packed(made):
        raise RuntimeError("stopped")
    assert all("forward" not in layer.__dict__ for layer in made)


@torch.no_grad()
def test_the_output_is_packed_too_and_restored(arithmetic: torch.dtype) -> None:
    torch.manual_seed(0)
    form = MatrixTokenizer.named("P10").format
    made = Transformer(ModelConfig(dtype=str(arithmetic).removeprefix("torch.")), form, form).eval()  # type: ignore[arg-type]
    states = torch.randn(7, 128)
    plain = made.logits(states)
    with packed(made):
        assert "logits" in made.__dict__ and made.logits(states).dtype == torch.float32
        torch.testing.assert_close(made.logits(states), plain, **close(arithmetic))
    assert "logits" not in made.__dict__


@torch.no_grad()
def test_weights_are_left_alone_where_packing_is_plain() -> None:
    made, x = model(), torch.randn(3, 20)
    with forced(packed=False), packed(made):
        assert "forward" not in made[0].__dict__
        made(x)


def test_gradients_after_it_are_those_without_it() -> None:
    made, x = model(), torch.randn(3, 20)
    with torch.no_grad(), packed(made):
        made(x)
    made(x).sum().backward()
    assert made[0].weight.grad is not None and bool(made[0].weight.grad.any())


@torch.no_grad()
def test_compiled_layers_are_left_alone() -> None:
    made = model()
    made[0].compile()
    with packed(made):
        assert all("forward" not in layer.__dict__ for layer in made)


def close(arithmetic: torch.dtype) -> dict[str, float]:
    exact = arithmetic == torch.float32
    return {"rtol": 1e-5, "atol": 1e-5} if exact else {"rtol": 2e-2, "atol": 2e-2}
