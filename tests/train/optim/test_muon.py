"""Muon: agreement with torch, orthogonal updates, tensor learning rates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mathpipe.train.optim.muon import Muon, orthogonalise
from mathpipe.train.runtime.fast_paths import forced

pytestmark = pytest.mark.processor

SHAPES = [(4, 4), (4, 9), (9, 4), (9, 4), (1, 5), (30, 7)]


def matrices(seed: int = 0) -> list[nn.Parameter]:
    torch.manual_seed(seed)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def take_steps(optimiser: torch.optim.Optimizer, weights: list[nn.Parameter], steps: int = 4) -> list[Tensor]:
    rng = np.random.default_rng(1)
    for _ in range(steps):
        for weight in weights:
            weight.grad = torch.from_numpy(rng.normal(size=weight.shape)).float()
        optimiser.step()
    return [weight.detach().clone() for weight in weights]


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_muon_matches_torch(weight_decay: float) -> None:
    initial, reference = [w.detach().clone() for w in matrices()], matrices()
    settings = {"lr": 0.05, "weight_decay": weight_decay, "momentum": 0.95}
    torch_muon = torch.optim.Muon(reference, adjust_lr_fn="match_rms_adamw", **settings)
    expected = take_steps(torch_muon, reference)
    for dtype, tolerance in ((torch.bfloat16, 2e-2), (torch.float32, 2e-2)):
        weights = matrices()
        with forced(muon=dtype):
            updated = take_steps(Muon(weights, **settings), weights)
        for before, a, b in zip(initial, updated, expected, strict=True):
            torch.testing.assert_close(a - before, b - before, rtol=0, atol=tolerance * float((b - before).abs().max()))


def test_orthogonalise_matches_numpy() -> None:
    """Against the definition, one matrix at a time, with NumPy."""
    random_matrices = np.random.default_rng(0).normal(size=(3, 5, 8))
    with forced(muon=torch.float32):
        directions = orthogonalise(torch.from_numpy(random_matrices).float()).numpy()
    for matrix, direction in zip(random_matrices, directions, strict=True):
        x = matrix / np.linalg.norm(matrix)
        for _ in range(5):
            s = x @ x.T
            x = 3.4445 * x + (-4.7750 * s + 2.0315 * s @ s) @ x
        np.testing.assert_allclose(direction, x, atol=1e-5)
        u, _, vt = np.linalg.svd(matrix, full_matrices=False)
        np.testing.assert_allclose(u.T @ direction @ vt.T, np.diag(np.diag(u.T @ direction @ vt.T)), atol=1e-4)
        values = np.linalg.svd(direction, compute_uv=False)
        assert values.min() > 0.3 and values.max() < 1.3


def test_tensor_lr_matches_float_lr() -> None:
    by_number, by_tensor = matrices(), matrices()
    rate = torch.tensor(0.05)
    expected = take_steps(Muon(by_number, lr=0.05, weight_decay=0.1), by_number)
    updated = take_steps(Muon(by_tensor, lr=rate, weight_decay=0.1), by_tensor)
    assert all(torch.equal(a, b) for a, b in zip(updated, expected, strict=True))


def test_tensor_lr_may_change_in_place() -> None:
    weights, rate = matrices(), torch.tensor(0.05)
    optimiser = Muon(weights, lr=rate)
    rate.fill_(0.0)
    before = [weight.detach().clone() for weight in weights]
    assert all(torch.equal(a, b) for a, b in zip(take_steps(optimiser, weights), before, strict=True))


def test_weights_without_gradient_do_not_change() -> None:
    weights = matrices()
    before = weights[0].detach().clone()
    optimiser = Muon(weights, lr=0.1, weight_decay=0.5)
    optimiser.step()
    assert torch.equal(weights[0], before) and not optimiser.state


def test_zero_gradient_does_not_change_weights() -> None:
    weights = matrices()
    before = [weight.detach().clone() for weight in weights]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    Muon(weights, lr=0.1).step()
    assert all(torch.equal(a, b) for a, b in zip(weights, before, strict=True))


def test_muon_rejects_vectors() -> None:
    with pytest.raises(ValueError, match=r"not weights of shape \(3,\)"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)
