"""Adam with a plan for the learning rate: lr(s) = lr * s / warmup, then lr * (f + (1 - f) (1 + cos(pi t)) / 2).

s counts steps from 1, t runs from 0 at the end of warm-up to 1 at the last step, f is the fraction left at the end.
The rate is a function of the step alone, so a resumed run needs no state of a schedule.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from mathpipe.train.config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of step 1..steps."""
    if step <= config.warmup:
        return config.lr * step / config.warmup
    if config.schedule == "constant":
        return config.lr
    t = (step - config.warmup) / (config.steps - config.warmup)
    return config.lr * (config.final_lr + (1 - config.final_lr) * (1 + math.cos(math.pi * t)) / 2)


def build_optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam or AdamW over all weights, one fused kernel; weight decay only on the matrices of linear layers."""
    matrices = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    decayed = [p for p in model.parameters() if id(p) in matrices]
    others = [p for p in model.parameters() if id(p) not in matrices]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps, fused=True)


def set_learning_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = lr
