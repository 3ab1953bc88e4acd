"""The fast paths of each device, decided here alone from its capabilities, or forced by a test.

Every fast path has a plain path as its reference, which computes the same function with public operators of torch.

================ =============================================== ==========================================================
decision         fast                                            plain
================ =============================================== ==========================================================
``products``     matrix products in bfloat16 (``dtype: auto``)   float32, where bfloat16 would be emulated
``muon``         Newton-Schulz iteration in bfloat16             float32, where bfloat16 would be emulated
``packed``       weights packed once for decoding on a CPU       packed anew in every product
``attention``    a chunk of the batch at a time, in the cache    ``scaled_dot_product_attention``
``inference``    the same without gradients, in bfloat16         ``scaled_dot_product_attention``
``loss``         logits computed in chunks                       ``cross_entropy`` over all logits at once
``multi_tensor`` one kernel for a list of tensors on CUDA        one kernel for each tensor
``allocator``    freed memory is kept for the next step          returned to the operating system
================ =============================================== ==========================================================

Only ``train.runtime`` calls private operators of torch and of the C library.

Attention of one query to 79 keys in bfloat16 (128 problems, 8 heads of 64) by torch's kernel: 2.3 ms on a processor with AMX,
12 ms with AVX512-BF16 alone (AMD EPYC, Zen 5), where products take 2.3. Emulated bfloat16 is slow: one core of an AMD EPYC
with AVX2 reaches 1.8 GFLOP/s in bfloat16 and 57 in float32.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import torch


@dataclass(frozen=True)
class FastPaths:
    """The decisions for one device ("cpu" or "cuda"). ``reason``: the capabilities behind them."""

    device: str
    products: torch.dtype
    muon: torch.dtype
    packed: bool
    attention: bool
    inference: bool
    loss: bool
    multi_tensor: bool
    allocator: bool
    reason: str

    def __str__(self) -> str:
        """One line for the log: the name and value of each decision."""
        decisions = [f"{f.name} {_format(getattr(self, f.name))}" for f in fields(self) if f.name not in _NOT_DECISIONS]
        return f"{self.device} ({self.reason}): {', '.join(decisions)}"


_NOT_DECISIONS = ("device", "reason")
_forced: dict[str, Any] = {}


def fast_paths(device: str | torch.device) -> FastPaths:
    """The decisions for a device, including forced ones."""
    return replace(_decide(torch.device(device).type), **_forced)


@contextmanager
def forced(**decisions: Any) -> Iterator[None]:
    """Override decisions on every device inside the block, as in ``forced(attention=False)``; for tests and benchmarks."""
    unknown = decisions.keys() - {f.name for f in fields(FastPaths)} | decisions.keys() & set(_NOT_DECISIONS)
    if unknown:
        raise ValueError(f"no such decision: {', '.join(sorted(unknown))}")
    previous = dict(_forced)
    _forced.update(decisions)
    try:
        yield
    finally:
        _forced.clear()
        _forced.update(previous)


@functools.cache
def _decide(device: str) -> FastPaths:
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        name = torch.cuda.get_device_name()
    else:
        native = device == "cpu" and _cpu_multiplies_bfloat16()
        name = torch.backends.cpu.get_cpu_capability()
    dtype = torch.bfloat16 if native else torch.float32
    on_cpu = device == "cpu"
    return FastPaths(
        device=device,
        products=dtype,
        muon=dtype,
        packed=on_cpu and native and _can_pack(),
        attention=on_cpu,
        inference=on_cpu and native and _has("avx512_bf16") and not (_has("amx") and _onednn_allows("AMX", "AVX10")),
        loss=on_cpu,
        multi_tensor=device == "cuda",
        allocator=sys.platform.startswith("linux"),
        reason=f"{name}, bfloat16 {'native' if native else 'emulated'}",
    )


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the processor has bfloat16 product instructions and ``ONEDNN_MAX_CPU_ISA`` allows them."""
    return _onednn_allows("BF16", "FP16", "AMX", "AVX10") and _has("bf16")


def _onednn_allows(*names: str) -> bool:
    """Whether ``ONEDNN_MAX_CPU_ISA`` sets no limit, or one whose name contains one of these."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    return limit in ("ALL", "DEFAULT") or any(name in limit for name in names)


def _has(instructions: str) -> bool:
    """Whether the processor has instructions whose name contains this, such as ``bf16`` or ``amx``."""
    return any(present is True and instructions in name for name, present in torch.cpu.get_capabilities().items())


def _can_pack() -> bool:
    """Whether this build of torch has the private operators that pack weights and multiply with them."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)  # type: ignore[no-untyped-call]


def _format(value: object) -> str:
    if isinstance(value, bool):
        return "fast" if value else "plain"
    return str(value).removeprefix("torch.")
