"""Packed weights: the same numbers, and nothing left behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mathpipe.datasets.sequences import MatrixWriter
from mathpipe.train.config import ModelConfig
from mathpipe.train.model import Transformer
from mathpipe.train.packed import packed


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 36), nn.ReLU(), nn.Linear(36, 5, bias=False))


@pytest.mark.parametrize("rows", [1, 7, 300])
@torch.no_grad()
def test_the_same_numbers_for_any_number_of_rows(rows: int) -> None:
    made, x = model(), torch.randn(rows, 20)
    with torch.autocast("cpu", torch.bfloat16):
        plain = made(x)
        with packed(made):
            assert made(x).dtype == torch.bfloat16
            torch.testing.assert_close(made(x), plain, rtol=2e-2, atol=2e-2)


@torch.no_grad()
def test_weights_are_read_when_it_begins_and_given_back_when_it_ends() -> None:
    made, x = model(), torch.randn(3, 20)
    with torch.autocast("cpu", torch.bfloat16):
        for factor in (1.0, 2.0):
            made[2].weight.mul_(factor)
            torch.clear_autocast_cache()  # which does not see weights that change in place
            plain = made(x)
            with packed(made):
                torch.testing.assert_close(made(x), plain, rtol=2e-2, atol=2e-2)
        with pytest.raises(RuntimeError, match="stopped"), packed(made):
            raise RuntimeError("stopped")
    assert all("forward" not in layer.__dict__ for layer in made)


@torch.no_grad()
def test_the_output_is_packed_too_and_given_back() -> None:
    torch.manual_seed(0)
    form = MatrixWriter.named("P10").format
    made = Transformer(ModelConfig(dtype="bfloat16"), form, form).eval()
    states = torch.randn(7, 128)
    with made.arithmetic():
        plain = made.logits(states)
        with packed(made):
            assert "logits" in made.__dict__ and made.logits(states).dtype == torch.float32
            torch.testing.assert_close(made.logits(states), plain, rtol=2e-2, atol=2e-2)
    assert "logits" not in made.__dict__


@torch.no_grad()
def test_float32_is_left_alone() -> None:
    made, x = model(), torch.randn(3, 20)
    with packed(made):
        assert "forward" not in made[0].__dict__ and made(x).dtype == torch.float32


def test_gradients_after_it_are_those_without_it() -> None:
    made, x = model(), torch.randn(3, 20)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), packed(made):
        made(x)
    made(x).sum().backward()
    assert made[0].weight.grad is not None and bool(made[0].weight.grad.any())


@torch.no_grad()
def test_compiled_layers_are_left_alone() -> None:
    made = model()
    made[0].compile()
    with torch.autocast("cpu", torch.bfloat16), packed(made):
        assert all("forward" not in layer.__dict__ for layer in made)
