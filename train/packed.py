"""Weights laid out once as the processor's bfloat16 products want them, while nothing is learned.

On a CPU every product of a linear layer first reorders its weights; where a few rows at a time pass through a model many
hundreds of times, that takes a fifth of the whole. The numbers are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

_ROWS = 128  # a hint: the layout serves any number of rows
_KIND = torch.bfloat16


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Inside, linear layers multiply with packed weights, if products are of bfloat16 on a CPU that has the instructions."""
    layers = [m for m in model.modules() if type(m) is nn.Linear] if _helps(model) else []
    try:
        for layer in layers:
            layer.forward = partial(_linear, *_pack(layer))  # type: ignore[method-assign]
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _helps(model: nn.Module) -> bool:
    mkldnn = torch.ops.mkldnn
    return (
        torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == _KIND
        and next(model.parameters()).device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        and all(hasattr(mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))
        and not any(m._compiled_call_impl for m in model.modules())  # a compiler wants weights as they are
    )


@torch.no_grad()
def _pack(layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
    bias = None if layer.bias is None else layer.bias.to(_KIND)
    weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(layer.weight.to(_KIND), _ROWS)
    return weight, bias


def _linear(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(_KIND), weight, bias, "none", [], "")
    return product
