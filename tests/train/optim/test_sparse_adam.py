"""Sparse Adam matches dense Adam."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.optim.optimisers import Optimiser, build_optimiser
from mathpipe.train.optim.sparse_adam import SparseAdam


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.8), (0.6, 0.36), (0.0, 0.9)])
def test_sparse_adam_matches_dense_adam(betas: tuple[float, float]) -> None:
    torch.manual_seed(0)
    dense, sparse = nn.Embedding(50, 4), nn.Embedding(50, 4, sparse=True)
    sparse.load_state_dict(dense.state_dict())
    untouched = dense.weight[49].clone()
    optimisers = (
        torch.optim.Adam(dense.parameters(), lr=0.01, betas=betas),
        SparseAdam(sparse.parameters(), 0.01, betas),
    )
    for step in range(700):
        rows = torch.randint(0, 49, (3,)) if step % 300 < 20 else torch.randint(0, 3, (3,))  # most rest for 280 steps
        pull = torch.randn(3, 4)
        for table, optimiser in zip((dense, sparse), optimisers, strict=True):
            optimiser.zero_grad()
            (table(rows) * pull).sum().backward()
            optimiser.step()
    torch.testing.assert_close(sparse.weight, dense.weight, rtol=1e-4, atol=1e-5)
    assert torch.equal(sparse.weight[49], untouched)


def test_optimiser_state_round_trip() -> None:
    for name in ("adam", "adamw", "sgd", "adafactor", "muon"):
        torch.manual_seed(0)
        config = TrainConfig(optimiser=name, lr=0.01, model=ModelConfig())  # type: ignore[arg-type]
        models = [nn.ModuleList([nn.Embedding(9, 4), nn.Linear(4, 4)]) for _ in range(2)]
        optimisers = [build_optimiser(m, config, [m[0]]) for m in models]  # type: ignore[list-item]

        def learn(k: int, models: list[nn.ModuleList] = models, optimisers: list = optimisers) -> None:  # type: ignore[type-arg]
            optimisers[k].zero_grad()
            models[k][1](models[k][0](torch.tensor([1, 2]))).square().sum().backward()
            optimisers[k].clip(0.1)
            optimisers[k].step()

        before = models[0][1].weight.clone()
        for _ in range(3):
            learn(0)
        assert not torch.equal(before, models[0][1].weight)
        models[1].load_state_dict(models[0].state_dict())
        optimisers[1].load_state_dict(copy.deepcopy(optimisers[0].state_dict()))
        learn(0), learn(1)
        assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True)), name


def table_and_layer(config: TrainConfig, sparse: bool) -> tuple[Any, Optimiser]:
    """An embedding of 50 tokens and a linear layer, with their optimiser: sparse Adam, as on one CPU process, or dense."""
    torch.manual_seed(0)
    model: Any = nn.ModuleList([nn.Embedding(50, 4), nn.Linear(4, 4)])
    return model, build_optimiser(model, config, [model[0]] if sparse else [])


def learn(model: Any, optimiser: Optimiser, seed: int) -> None:
    """One step. Of every 60 steps the first ten use 49 tokens, the others three."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 49 if seed % 60 < 10 else 3, (8,), generator=generator)
    optimiser.zero_grad()
    (model[1](model[0](tokens)) * torch.randn(8, 4, generator=generator)).sum().backward()
    optimiser.step()


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_dense_and_sparse_adam_states_are_interchangeable(name: Any) -> None:
    config = TrainConfig(optimiser=name, lr=0.01, beta1=0.5, weight_decay=0.1)  # rows rest after 30 steps
    dense = table_and_layer(config, sparse=False)
    sparse = True
    changing = table_and_layer(config, sparse)
    for step in range(200):
        if step in (50, 100, 155):
            (old_model, old_optimiser), sparse = changing, not sparse
            changing = table_and_layer(config, sparse)
            changing[0].load_state_dict(old_model.state_dict())
            changing[1].load_state_dict(copy.deepcopy(old_optimiser.state_dict()))
        learn(*dense, step)
        learn(*changing, step)
    for a, b in zip(dense[0].parameters(), changing[0].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
