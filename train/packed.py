"""Weights laid out once as the processor's bfloat16 products want them, while nothing is learned.

On a CPU every product of a linear layer first reorders its weights; where a few rows at a time pass through a model many
hundreds of times, that takes a fifth of the whole. The numbers are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_ROWS = 128  # a hint: the layout serves any number of rows
_KIND = torch.bfloat16


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Inside, linear layers multiply with packed weights, if products are of bfloat16 on a CPU that has the instructions; so does
    the output of a model that makes its logits from states (``logits``)."""
    helps = _helps(model)
    layers = [m for m in model.modules() if type(m) is nn.Linear] if helps else []
    outputs: list[Any] = [model] if helps and hasattr(model, "logits") else []
    try:
        for layer in layers:
            layer.forward = partial(_linear, *_pack(layer.weight, layer.bias))  # type: ignore[method-assign]
        for output in outputs:
            output.logits = partial(_logits, *_pack(*output.output()))
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)
        for output in outputs:
            output.__dict__.pop("logits", None)


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
def _pack(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    packed_weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.to(_KIND), _ROWS)
    return packed_weight, None if bias is None else bias.to(_KIND)


def _logits(weight: Tensor, bias: Tensor | None, states: Tensor) -> Tensor:
    return _linear(weight, bias, states).float()


def _linear(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(_KIND), weight, bias, "none", [], "")
    return product
