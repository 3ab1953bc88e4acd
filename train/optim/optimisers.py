"""Optimisers (adam, adamw, muon, sgd, adafactor), and the learning-rate schedule. s counts steps from 1;
w is the length of warm-up.

    warm-up           lr(s) = from + (lr - from) s / w                                    s <= w
    constant          lr
    cosine            lr (f + (1 - f) (1 + cos(pi t)) / 2)     t from 0 after warm-up to 1 at the last step, f = final_lr
    inverse-sqrt      lr (w / s)^1/2
    cosine-restarts   r^k (min + (lr - min) (1 + cos(pi t)) / 2)     t from 0 to 1 in the k-th period, of length period growth^k

The rate is a function of the step alone, so a resumed run needs no scheduler state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mathpipe.train.config import TrainConfig
from mathpipe.train.optim.muon import Muon
from mathpipe.train.optim.sparse_adam import SparseAdam, to_dense_state
from mathpipe.train.runtime.multi_tensor import multiply_


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of step 1..steps."""
    if step <= config.warmup:
        return config.warmup_from + (config.lr - config.warmup_from) * step / config.warmup
    after = step - config.warmup
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "inverse-sqrt":
        return config.lr * math.sqrt(config.warmup / step)
    if config.schedule == "cosine":
        return config.lr * _half_cosine(after / (config.steps - config.warmup), config.final_lr)
    k, length = 0, float(config.period)
    while after >= length:
        after, length, k = after - length, length * config.period_growth, k + 1  # type: ignore[assignment]
    lowest = config.min_lr / config.lr
    return config.lr * config.shrink**k * _half_cosine(after / length, lowest)


def _half_cosine(t: float, lowest: float) -> float:
    """From 1 at t = 0 down to ``lowest`` at t = 1."""
    return lowest + (1 - lowest) * (1 + math.cos(math.pi * t)) / 2


class Optimiser:
    """One or several torch optimisers over disjoint weights, used as one.

    The saved state is keyed by the names of the weights. It therefore does not depend on how the weights are divided among the
    optimisers, which varies with the number of processes and the device.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer], names: dict[Tensor, str]) -> None:
        self.parts, self.names = list(parts), names

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def set_learning_rate(self, lr: float) -> None:
        """Set the rate of the next step, rounded to float32: a captured step reads it from a float32 tensor and must agree."""
        lr = float(np.float32(lr))
        for group in self.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    @property
    def capturable(self) -> bool:
        """Whether a step can be captured in a CUDA graph: its rate is a tensor, and nothing synchronises with the device."""
        return all(group.get("capturable") and isinstance(group["lr"], Tensor) for group in self.param_groups)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, or fill them with zeros in place."""
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    @torch.no_grad()
    def clip(self, max_norm: float) -> None:
        """Scale the gradient to ``max_norm`` if its norm is larger; does not synchronise with a GPU."""
        gradients = []
        for p in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
            if p.grad.is_sparse:
                p.grad = p.grad.coalesce()
            gradients.append(p.grad.values() if p.grad.is_sparse else p.grad)
        norm = torch.nn.utils.get_total_norm(gradients)
        if norm.is_cuda:
            multiply_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1))
        elif float(norm) > max_norm:
            multiply_(gradients, max_norm / (float(norm) + 1e-6))

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """The state of each updated weight, by its name."""
        return {self.names[p]: state for part in self.parts for p, state in part.state.items()}

    def load_state_dict(self, states: dict[str, dict[str, Any]]) -> None:
        """Restore a saved state."""
        for part in self.parts:
            weights = [(p, group) for group in part.param_groups for p in group["params"]]
            by_index = {
                i: _state_for(part, states[self.names[p]], group)
                for i, (p, group) in enumerate(weights)
                if self.names[p] in states
            }
            part.load_state_dict({"state": by_index, "param_groups": part.state_dict()["param_groups"]})


def _state_for(part: torch.optim.Optimizer, state: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    """The state of a weight, in the form of the optimiser that now updates it."""
    becomes_dense = "idle" in state and not isinstance(part, SparseAdam)
    return to_dense_state(state, group["betas"]) if becomes_dense else state


def build_optimiser(
    model: nn.Module, config: TrainConfig, sparse: Sequence[nn.Embedding] = (), capturable: bool = False
) -> Optimiser:
    """The configured optimiser over all weights; weight decay applies to matrices of linear layers, unless tied to an embedding.

    ``sparse``: embeddings of which a step uses few rows and that no other layer shares; Adam updates only the rows in use.
    ``capturable``: on CUDA, Adam and Muon keep their rate in a tensor, so that their steps can be captured in a CUDA graph.
    """
    c = config
    linear = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear) or type(m).__name__ == "Conv1D"}
    matrices = linear - {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    sparse_weights: list[Tensor] = []
    if c.optimiser in ("adam", "adamw", "muon"):
        for table in sparse:
            table.sparse = True
            sparse_weights.append(table.weight)
    sparse_ids = {id(p) for p in sparse_weights}
    trainable: dict[Tensor, str] = {p: name for name, p in model.named_parameters() if p.requires_grad}
    decayed = [p for p in trainable if id(p) in matrices]
    others = [p for p in trainable if id(p) not in matrices | sparse_ids]
    groups = [{"params": decayed, "weight_decay": c.weight_decay}, {"params": others, "weight_decay": 0.0}]
    betas = c.beta1, c.beta2
    rate = partial(torch.tensor, c.lr, device=next(model.parameters()).device) if capturable else lambda: c.lr
    adam: dict[str, Any] = {"betas": betas, "eps": c.eps, "fused": True, "capturable": capturable}
    parts: list[torch.optim.Optimizer] = []
    if c.optimiser == "muon":
        parts.append(Muon(decayed, lr=rate(), weight_decay=c.weight_decay))
        parts.append(torch.optim.Adam(others, lr=rate(), **adam))
    elif c.optimiser == "sgd":
        parts.append(torch.optim.SGD(groups, lr=c.lr, momentum=c.beta1, fused=True))
    elif c.optimiser == "adafactor":
        parts.append(torch.optim.Adafactor(groups, lr=c.lr))
    else:
        kind = torch.optim.AdamW if c.optimiser == "adamw" else torch.optim.Adam
        parts.append(kind(groups, lr=rate(), **adam))
    if sparse_weights:
        parts.append(SparseAdam(sparse_weights, c.lr, betas, c.eps))
    return Optimiser(parts, trainable)
