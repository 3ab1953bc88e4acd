"""The learning-rate schedule, the loss and one step of Adam, computed by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.model.joint_vocabulary import token_weights
from mathpipe.train.optim.loss import token_loss
from mathpipe.train.optim.optimisers import build_optimiser, learning_rate

pytestmark = pytest.mark.processor


def test_warmup_and_cosine() -> None:
    config = TrainConfig(steps=110, warmup=10, lr=1.0, final_lr=0.2)
    assert [learning_rate(s, config) for s in (1, 5, 10)] == [0.1, 0.5, 1.0]
    assert learning_rate(60, config) == pytest.approx(0.6)
    assert learning_rate(110, config) == pytest.approx(0.2)


def test_constant_schedule() -> None:
    config = TrainConfig(steps=20, warmup=10, lr=1e-3, schedule="constant")
    assert learning_rate(11, config) == learning_rate(20, config) == 1e-3


def test_warmup_from_and_inverse_sqrt() -> None:
    config = TrainConfig(steps=1000, warmup=10, warmup_from=0.5, lr=1.0, schedule="inverse-sqrt")
    assert [learning_rate(s, config) for s in (5, 10, 40, 1000)] == pytest.approx([0.75, 1.0, 0.5, 0.1])


def test_cosine_restarts() -> None:
    config = TrainConfig(
        steps=1000, warmup=10, lr=1.0, min_lr=0.2, schedule="cosine-restarts", period=100, period_growth=2, shrink=0.1
    )
    rates = [learning_rate(s, config) for s in (10, 60, 109, 110, 210, 309, 310)]
    assert rates == pytest.approx([1.0, 0.6, 0.2, 0.1, 0.06, 0.02, 0.01], rel=0.01)


def test_token_weights() -> None:
    config = TrainConfig(sign_weight=2, mantissa_weight=3, exponent_weight=4)
    vocabulary = ["<s>", "V5", "+", "INT-", "314", "N-7", "FP314/-2", "E-2", "E", "x"]
    assert token_weights(vocabulary, 11, config) == [1, 1, 2, 2, 3, 3, 3, 4, 1, 1, 1]
    assert token_weights(vocabulary, 11, TrainConfig()) is None


@given(steps=st.integers(1, 500), data=st.data())
def test_learning_rate_stays_within_bounds(steps: int, data: st.DataObject) -> None:
    warmup, floor = data.draw(st.integers(0, steps)), data.draw(st.floats(0, 1))
    config = TrainConfig(steps=steps, warmup=warmup, lr=0.01, final_lr=floor)
    rates = [learning_rate(s, config) for s in range(1, steps + 1)]
    assert max(rates) <= 0.01 + 1e-12 and min(rates[warmup:], default=0.01) >= floor * 0.01 - 1e-12


def test_one_adamw_step() -> None:
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    config = TrainConfig(lr=0.1, optimiser="adamw", weight_decay=0.5)
    optimiser = build_optimiser(layer, config)
    (layer.weight * 3).sum().backward()
    optimiser.step()
    assert layer.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1)


def test_weight_decay_applies_to_matrices_only() -> None:
    model = nn.ModuleList([nn.Linear(2, 2), nn.Embedding(3, 2), nn.LayerNorm(2)])
    decayed, others = build_optimiser(model, TrainConfig(weight_decay=0.1)).param_groups
    assert len(decayed["params"]) == 1 and decayed["weight_decay"] == 0.1
    assert len(others["params"]) == 4 and others["weight_decay"] == 0.0


@pytest.mark.parametrize("tied", [True, False])
def test_tied_output_layer_counts_as_embedding(tied: bool) -> None:
    model = nn.ModuleDict(
        {"embedding": nn.Embedding(3, 2), "inner": nn.Linear(2, 2), "last": nn.Linear(2, 3, bias=False)}
    )
    if tied:
        model["last"].weight = model["embedding"].weight
    matrices = {"inner.weight"} if tied else {"inner.weight", "last.weight"}
    names = {weight: name for name, weight in model.named_parameters()}
    for kind in ("adamw", "muon"):
        optimiser = build_optimiser(model, TrainConfig(optimiser=kind, weight_decay=0.1))  # type: ignore[arg-type]
        decayed = {names[p] for group in optimiser.param_groups if group["weight_decay"] for p in group["params"]}
        assert decayed == matrices
    muon, adam = optimiser.parts
    assert {names[p] for p in muon.param_groups[0]["params"]} == matrices
    assert {names[p] for p in adam.param_groups[0]["params"]} == set(names.values()) - matrices


def test_loss_counts_end_but_not_padding() -> None:
    target = torch.tensor([[3, END, PAD, PAD], [2, 2, 3, END]])
    probabilities = torch.full((2, 4, 4), 0.25)
    probabilities[0, 0] = torch.tensor([0.1, 0.1, 0.1, 0.7])
    probabilities[0, 2:] = torch.tensor([1.0, 1e-9, 1e-9, 1e-9])  # predictions at padding do not count
    loss = loss_of_logits(probabilities.log(), target, None, 1.0)
    assert float(loss) == pytest.approx(-math.log(0.7) - 5 * math.log(0.25))


def loss_of_logits(logits: Tensor, target: Tensor, weights: Tensor | None, scale: float) -> Tensor:
    plain = torch.autocast("cpu", enabled=False)
    return token_loss(logits, torch.eye(4), torch.zeros(4), target, weights, scale, plain)


def test_loss_and_gradients_match_torch() -> None:
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(shape, requires_grad=True) for shape in ((3, 5, 8), (40_000, 8), (40_000,)))
    target = torch.randint(2, 40_000, (3, 5))
    target[0, 3:] = PAD
    weights = torch.rand(40_000)
    token_losses = cross_entropy(
        (x @ weight.T + bias).flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="none"
    )
    expected = (token_losses * weights[target.flatten()]).sum() * 0.25
    expected_gradients = torch.autograd.grad(expected, (x, weight, bias))
    loss = token_loss(x, weight, bias, target, weights, 0.25, torch.autocast("cpu", enabled=False))
    torch.testing.assert_close(loss, expected)
    for scale in (1.0, 3.0):
        gradients = torch.autograd.grad(loss * scale, (x, weight, bias), retain_graph=True)
        for a, b in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(a, b * scale, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, "lr"),
        ({"warmup": 50, "steps": 10}, "longer than the run's 10 steps"),
        ({"stop_at": 0.9}, "go together"),
        ({"patience": 2}, "needs a best_metric"),
        ({"schedule": "inverse-sqrt", "warmup": 0}, "at least one step"),
        ({"model": {"framed_source": True}}, "framed_source requires"),
        ({"model": {"rotary": True, "encoder_width": 20}}, "even head size"),
        ({"learning_rate": 1}, "learning_rate"),
        ({"model": {"width": 3}}, "width"),
        ({"input_encoding": "P11"}, "P10"),
    ],
)
def test_inconsistent_settings_are_rejected(settings: dict[str, Any], message: str) -> None:
    build: Callable[..., TrainConfig] = TrainConfig
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ModelConfig().norm = "post"  # type: ignore[misc]
