"""Which fast paths a device takes, decided here alone: from what the device can do, or as a test forces it.

Every fast path has a plain one beside it, which is the reference: it computes the same function with public operators of torch.

============== =============================================== ==========================================================
decision       fast                                            plain
============== =============================================== ==========================================================
``products``   matrix products in bfloat16 (``dtype: auto``)   float32, where bfloat16 would be emulated
``muon``       Newton-Schulz iteration in bfloat16             float32, where bfloat16 would be emulated
``packed``     weights laid out once for decoding on a CPU     laid out anew at every product
``attention``  a piece of the batch at a time, in the cache    ``scaled_dot_product_attention``
``loss``       logits made and used up in pieces               ``cross_entropy`` over all logits at once
============== =============================================== ==========================================================

Emulated bfloat16 is slow: on an AMD EPYC with AVX2 alone one core multiplies it at 1.8 GFLOP/s, float32 at 57.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import torch


@dataclass(frozen=True)
class FastPaths:
    """The decisions for one device ("cpu" or "cuda"). ``reason``: what the device can do that decided them."""

    device: str
    products: torch.dtype
    muon: torch.dtype
    packed: bool
    attention: bool
    loss: bool
    reason: str

    def __str__(self) -> str:
        """One line for a log: each decision as its name and value."""
        decisions = [f"{f.name} {_shown(getattr(self, f.name))}" for f in fields(self) if f.name not in _NOT_DECISIONS]
        return f"{self.device} ({self.reason}): {', '.join(decisions)}"


_NOT_DECISIONS = ("device", "reason")
_forced: dict[str, Any] = {}


def fast_paths(device: str | torch.device) -> FastPaths:
    """The decisions for a device, those that are forced included."""
    return replace(_decide(torch.device(device).type), **_forced)


@contextmanager
def forced(**decisions: Any) -> Iterator[None]:
    """Inside, these decisions hold on every device, such as ``forced(attention=False)``; for tests and benchmarks."""
    unknown = decisions.keys() - {f.name for f in fields(FastPaths)} | decisions.keys() & set(_NOT_DECISIONS)
    if unknown:
        raise ValueError(f"no such decision: {', '.join(sorted(unknown))}")
    before = dict(_forced)
    _forced.update(decisions)
    try:
        yield
    finally:
        _forced.clear()
        _forced.update(before)


@functools.cache
def _decide(device: str) -> FastPaths:
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        dtype = torch.bfloat16 if native else torch.float32
        reason = f"{torch.cuda.get_device_name()}, bfloat16 {'native' if native else 'emulated'}"
        return FastPaths("cuda", dtype, dtype, packed=False, attention=False, loss=False, reason=reason)
    native = device == "cpu" and _cpu_multiplies_bfloat16()
    dtype = torch.bfloat16 if native else torch.float32
    reason = f"{torch.backends.cpu.get_cpu_capability()}, bfloat16 {'native' if native else 'emulated'}"
    on_cpu = device == "cpu"
    return FastPaths(device, dtype, dtype, packed=native and _can_pack(), attention=on_cpu, loss=on_cpu, reason=reason)


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16 and ``ONEDNN_MAX_CPU_ISA`` lets oneDNN use them."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    allowed = limit in ("ALL", "DEFAULT") or any(name in limit for name in ("BF16", "FP16", "AMX", "AVX10"))
    return allowed and any(has is True and "bf16" in name for name, has in torch.cpu.get_capabilities().items())


def _can_pack() -> bool:
    """Whether this build of torch has the operators (not public) that lay out weights and multiply with them."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)  # type: ignore[no-untyped-call]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "fast" if value else "plain"
    return str(value).removeprefix("torch.")
