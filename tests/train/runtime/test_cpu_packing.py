"""Packed weights: equal results, and complete removal."""

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

DTYPES = [
    torch.float32,
    pytest.param(
        torch.bfloat16,
        marks=pytest.mark.skipif(not fast_paths("cpu").packed, reason="oneDNN has no products of bfloat16 here"),
    ),
]


@pytest.fixture(autouse=True, params=DTYPES, ids=str)
def dtype(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    """Pack weights in this dtype on any processor."""
    enabled = request.param == torch.bfloat16
    with forced(packed=True), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        yield request.param


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 36), nn.ReLU(), nn.Linear(36, 5, bias=False))


@pytest.mark.parametrize("rows", [1, 7, 300])
@torch.no_grad()
def test_packed_layers_match_plain_layers(rows: int, dtype: torch.dtype) -> None:
    layers, x = model(), torch.randn(rows, 20)
    plain = layers(x)
    with packed(layers):
        assert all("forward" in layer.__dict__ for layer in layers if isinstance(layer, nn.Linear))
        assert layers(x).dtype == dtype
        torch.testing.assert_close(layers(x), plain, **close(dtype))


@torch.no_grad()
def test_packing_is_undone_on_exit(dtype: torch.dtype) -> None:
    layers, x = model(), torch.randn(3, 20)
    for factor in (1.0, 2.0):
        layers[2].weight.mul_(factor)
        torch.clear_autocast_cache()  # which does not see weights that change in place
        plain = layers(x)
        with packed(layers):
            torch.testing.assert_close(layers(x), plain, **close(dtype))
    with pytest.raises(RuntimeError, match="stopped"), packed(layers):
        raise RuntimeError("stopped")
    assert all("forward" not in layer.__dict__ for layer in layers)


@torch.no_grad()
def test_output_layer_is_packed(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    form = MatrixTokenizer.named("P10").format
    layers = Transformer(ModelConfig(dtype=str(dtype).removeprefix("torch.")), form, form).eval()  # type: ignore[arg-type]
    states = torch.randn(7, 128)
    plain = layers.logits(states)
    with packed(layers):
        assert "logits" in layers.__dict__ and layers.logits(states).dtype == torch.float32
        torch.testing.assert_close(layers.logits(states), plain, **close(dtype))
    assert "logits" not in layers.__dict__


@torch.no_grad()
def test_packing_can_be_disabled() -> None:
    layers, x = model(), torch.randn(3, 20)
    with forced(packed=False), packed(layers):
        assert "forward" not in layers[0].__dict__
        layers(x)


def test_gradients_after_packing() -> None:
    layers, x = model(), torch.randn(3, 20)
    with torch.no_grad(), packed(layers):
        layers(x)
    layers(x).sum().backward()
    assert layers[0].weight.grad is not None and bool(layers[0].weight.grad.any())


@torch.no_grad()
def test_compiled_layers_are_not_packed() -> None:
    layers = model()
    layers[0].compile()
    with packed(layers):
        assert all("forward" not in layer.__dict__ for layer in layers)


def close(dtype: torch.dtype) -> dict[str, float]:
    exact = dtype == torch.float32
    return {"rtol": 1e-5, "atol": 1e-5} if exact else {"rtol": 2e-2, "atol": 2e-2}
