"""Adam for the rows in use: the numbers of dense Adam."""

from __future__ import annotations

import copy

import torch
from torch import nn

from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.optimiser import build_optimiser
from mathpipe.train.rows import RowAdam


def test_rows_read_now_and_then_move_as_with_dense_adam() -> None:
    torch.manual_seed(0)
    dense, sparse = nn.Embedding(50, 4), nn.Embedding(50, 4, sparse=True)
    sparse.load_state_dict(dense.state_dict())
    untouched = dense.weight[49].clone()
    optimisers = torch.optim.Adam(dense.parameters(), lr=0.01), RowAdam(sparse.parameters(), lr=0.01)
    for step in range(700):
        rows = torch.randint(0, 49, (3,)) if step % 300 < 20 else torch.randint(0, 3, (3,))  # most rest for 280 steps
        pull = torch.randn(3, 4)
        for table, optimiser in zip((dense, sparse), optimisers, strict=True):
            optimiser.zero_grad()
            (table(rows) * pull).sum().backward()
            optimiser.step()
    torch.testing.assert_close(sparse.weight, dense.weight, rtol=1e-4, atol=1e-5)
    assert torch.equal(sparse.weight[49], untouched)


def test_each_optimiser_steps_and_its_state_goes_through_a_checkpoint() -> None:
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
