"""Input units: one vector per number, and the upper triangle of symmetric problems."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.dataset_decoding import decode_examples
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.model.transformer import Transformer
from mathpipe.train.run.checkpoint import load_model
from mathpipe.train.trainer import train

pytestmark = pytest.mark.processor

SOURCE, TARGET = MatrixTokenizer.named("P10"), MatrixTokenizer.named("P1000")
UNITS = [("number", "full"), ("token", "upper"), ("number", "upper")]


def build(input_unit: str, triangle: str, **more: Any) -> Transformer:
    torch.manual_seed(1)
    small: dict[str, Any] = {"encoder_width": 16, "decoder_width": 16, "encoder_heads": 2, "decoder_heads": 2}
    config = ModelConfig(input_unit=input_unit, triangle=triangle, dtype="float32", **(small | more))  # type: ignore[arg-type]
    return Transformer(config, SOURCE.format, TARGET.format).eval()


def symmetric(*dimensions: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(5)
    square_matrices = [rng.normal(size=(n, n)) * 10 for n in dimensions]
    return [a + a.T for a in square_matrices]


def encode(matrices: list[np.ndarray[Any, Any]]) -> Tensor:
    return torch.from_numpy(SOURCE.encode(Matrices.from_list(matrices))[0]).long()


@pytest.mark.parametrize(("input_unit", "triangle"), [("token", "full"), *UNITS])
@torch.no_grad()
def test_number_of_encoder_vectors(input_unit: str, triangle: str) -> None:
    """Two tokens for the shape; k tokens or one vector for each of 9 entries, or of 6 in the triangle."""
    states = build(input_unit, triangle).encode(encode(symmetric(3, 3))).states
    assert states.shape[1] == 2 + (9 if triangle == "full" else 6) * (
        SOURCE.format.tokens_per_number if input_unit == "token" else 1
    )


@pytest.mark.parametrize(("input_unit", "triangle"), UNITS)
@torch.no_grad()
def test_padding_does_not_change_output(input_unit: str, triangle: str) -> None:
    """A matrix has the same result beside larger ones as alone."""
    model, matrices = build(input_unit, triangle, encoder_layers=2), symmetric(2, 4, 1, 3)
    together, target = model.encode(encode(matrices)), torch.zeros(1, 6, dtype=torch.int64)
    assert together.allowed is not None
    for i, a in enumerate(matrices):
        alone = model.encode(encode([a]))
        real = together.allowed[i, 0, 0]
        torch.testing.assert_close(together.states[i][real], alone.states[0], rtol=1e-5, atol=1e-5)
        assert int(real.sum()) == alone.states.shape[1]
    whole = model(encode(matrices), target.expand(4, -1))
    torch.testing.assert_close(whole[3:], model(encode(matrices[3:]), target), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("input_unit", "triangle"), UNITS)
@torch.no_grad()
def test_output_depends_on_exactly_the_selected_entries(input_unit: str, triangle: str) -> None:
    model = build(input_unit, triangle)
    a = symmetric(3)[0]
    before = model.encode(encode([a])).states
    for row in range(3):
        for col in range(3):
            other = a.copy()
            other[row, col] += 77.0
            same = torch.equal(model.encode(encode([other])).states, before)
            assert same == (triangle == "upper" and row > col), (row, col)


@torch.no_grad()
def test_token_order_within_number_matters() -> None:
    model = build("number", "full")
    one, other = (model.encode(encode([np.array([[x]])])).states for x in (1.23, 3.21))
    assert not torch.allclose(one, other, atol=1e-3)


@torch.no_grad()
def test_entry_order_matters() -> None:
    model, a = build("number", "upper"), np.diag([1.0, 2.0, 3.0])
    swapped = np.diag([2.0, 1.0, 3.0])
    one, other = (model.encode(encode([m])).states.sum(dim=1) for m in (a, swapped))
    assert not torch.allclose(one, other, atol=1e-4)


def test_gradients_reach_every_offset_of_a_number() -> None:
    model = build("number", "upper")
    model.encode(encode(symmetric(3, 2))).states.square().sum().backward()
    size, k = SOURCE.format.vocabulary_size, SOURCE.format.tokens_per_number
    moved = model.encoder.token_embedding.weight.grad
    assert moved is not None
    assert all(bool(moved[j * size : (j + 1) * size].any()) for j in range(k))


@pytest.mark.parametrize(
    "wrong", [{"positions": "learned"}, {"vocabulary": "joint"}, {"rotary": True}], ids=lambda w: next(iter(w))
)
def test_incompatible_settings_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="structured positions and separate vocabularies"):
        ModelConfig(input_unit="number", **wrong)


def test_number_units_require_matrices() -> None:
    form = ExpressionTokenizer().format
    with pytest.raises(UserError, match="apply to matrices only"):
        Transformer(ModelConfig(input_unit="number"), form, form)


def test_training_rejects_asymmetric_problems(tmp_path: Path) -> None:
    spec = DatasetSpec(task="transpose", problems=MatrixSpec(min_dim=2, max_dim=2))
    make_dataset(spec, Layout({"train": 50}, 50), str(tmp_path / "data"), workers=0)
    config = TrainConfig(model=ModelConfig(triangle="upper"), steps=1, warmup=0)
    with pytest.raises(UserError, match=r"(?s)half of each problem.*not symmetric"):
        train(config, open_dataset(tmp_path / "data", "train", "P10", "P10"), None, tmp_path / "run")


def test_decoding_rejects_asymmetric_problems(tmp_path: Path) -> None:
    """Training checks only some rows for symmetry; decoding checks those that it decodes."""
    spec = DatasetSpec(task="eigenvalues", problems=MatrixSpec(min_dim=2, max_dim=2))
    make_dataset(spec, Layout({"train": 50}, 50), str(tmp_path / "data"), workers=0)
    data = open_dataset(tmp_path / "data", "train", "P10", "P10")
    config = TrainConfig(model=ModelConfig(triangle="upper"), batch=10, steps=1, warmup=0)
    train(config, data, None, tmp_path / "run", dvclive=False)
    model, _ = load_model(tmp_path / "run")
    rows = next(iter(data.chunks(50)))
    assert len(decode_examples(model, data, rows, 12, 64)) == 50
    skewed = replace(rows, problems=rows.problems.with_values(rows.problems.values + np.arange(200) % 3))
    with pytest.raises(UserError, match="would drop half of each problem"):
        decode_examples(model, data, skewed, 12, 64)
