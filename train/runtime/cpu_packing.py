"""Pack the weights of linear layers once for decoding on a CPU, in the layout of oneDNN's matrix products.

Otherwise every product in bfloat16 first converts and reorders its weights. In decoding, which calls a model hundreds of times with
few rows, this takes a fifth of the time. Results do not change. In float32 on AVX2, packed weights gain nothing from 64 rows on
(EPYC, 512 x 2,048: 57 GFLOP/s either way), so they are not packed there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mathpipe.train.runtime.fast_paths import fast_paths

_ROWS = 128  # a hint: the layout works for any number of rows


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Inside the block, linear layers and ``model.logits``, if any, use packed weights in the surrounding autocast dtype.

    Does nothing if ``fast_paths`` decides against packing.
    """
    applies = _applies(model)
    layers = [m for m in model.modules() if type(m) is nn.Linear] if applies else []
    outputs: list[Any] = [model] if applies and hasattr(model, "logits") else []
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
    try:
        for layer in layers:
            layer.forward = partial(_linear, *_pack(layer.weight, layer.bias, dtype))  # type: ignore[method-assign]
        for output_layer in outputs:
            output_layer.logits = partial(_logits, *_pack_output(output_layer, dtype))
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)
        for output_layer in outputs:
            output_layer.__dict__.pop("logits", None)


def _applies(model: nn.Module) -> bool:
    device = next(model.parameters()).device
    compiled = any(m._compiled_call_impl for m in model.modules())  # torch.compile needs plain weights
    return device.type == "cpu" and fast_paths(device).packed and not compiled


@torch.no_grad()
def _pack(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor | None, torch.dtype]:
    packed_weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype), _ROWS)
    return packed_weight, None if bias is None else bias.to(dtype), dtype


def _pack_output(model: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor | None, torch.dtype]:
    weight, bias = model.output_layer()
    return _pack(weight, bias, dtype)


def _logits(weight: Tensor, bias: Tensor | None, dtype: torch.dtype, states: Tensor) -> Tensor:
    return _linear(weight, bias, dtype, states).float()


def _linear(weight: Tensor, bias: Tensor | None, dtype: torch.dtype, x: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(dtype), weight, bias, "none", [], "")
    return product
