"""Muon: update each weight matrix by the orthogonalised momentum of its gradient.

    B <- mu B + (1 - mu) G                                     momentum, G the gradient
    M  = (1 - mu) G + mu B                                     Nesterov momentum
    X  = M / ||M||_F, then five times X <- a X + (b S + c S^2) X with S = X X^T      (Newton-Schulz)
    W <- (1 - lr lambda) W - lr 0.2 sqrt(max(rows, columns)) X

With (a, b, c) = (3.4445, -4.7750, 2.0315) the singular values of X end between about 0.7 and 1.2. The factor 0.2 sqrt(max) matches
the size of an AdamW step. Sources: Jordan et al. 2024 (Muon); Liu et al. 2025, arXiv 2502.16982 (the factor).

Equal to ``torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`` to rounding. Matrices of one shape, and their transposes, are
multiplied in one batch. The products are in bfloat16 only on devices with native support (see ``runtime.fast_paths``).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from mathpipe.train.runtime.fast_paths import fast_paths
from mathpipe.train.runtime.multi_tensor import interpolate, interpolate_, multiply_

_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5
_EPS = 1e-7


class Muon(torch.optim.Optimizer):
    """Over matrices (rows, columns). ``lr`` may be a tensor () on the device of the weights: a step can then be captured in a
    CUDA graph, and the rate changed in place."""

    def __init__(
        self, params: Iterable[Tensor], lr: float | Tensor, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "capturable": True}
        super().__init__(params, defaults)
        for p in (p for group in self.param_groups for p in group["params"]):
            if p.ndim != 2:
                raise ValueError(f"Muon updates matrices, not weights of shape {tuple(p.shape)}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            directions = self._directions(params, group["momentum"])
            lr = torch.as_tensor(group["lr"], dtype=torch.float32, device=params[0].device)
            if group["weight_decay"]:
                multiply_(params, 1 - lr * group["weight_decay"])
            by_shape: dict[tuple[int, int], list[int]] = defaultdict(list)
            for i, direction in enumerate(directions):
                rows, columns = direction.shape
                by_shape[min(rows, columns), max(rows, columns)].append(i)
            for (_, longest), indices in by_shape.items():
                wide = torch.stack([_wide(directions[i]) for i in indices])
                updates = orthogonalise(wide).to(wide.dtype).mul_(lr * (-0.2 * math.sqrt(longest)))
                for i, update in zip(indices, updates, strict=True):
                    params[i].add_(update if params[i].shape == update.shape else update.T)

    def _directions(self, params: list[Tensor], momentum: float) -> list[Tensor]:
        """The Nesterov momentum of each matrix; updates the buffers."""
        buffers = []
        for p in params:
            state = self.state[p]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(p)
            buffers.append(state["momentum_buffer"])
        gradients = [p.grad for p in params if p.grad is not None]
        interpolate_(buffers, gradients, 1 - momentum)
        return interpolate(gradients, buffers, momentum)


def orthogonalise(matrices: Tensor) -> Tensor:
    """U V^T of each matrix U S V^T, approximately: (K, m, n) with m <= n, in the dtype that is fast on this device."""
    x = matrices.to(fast_paths(matrices.device).muon)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_EPS)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x


def _wide(matrix: Tensor) -> Tensor:
    """The matrix, or its transpose if it has more rows than columns."""
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
