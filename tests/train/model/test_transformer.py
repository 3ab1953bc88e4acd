"""The transformer: cached decoding matches the full forward pass, and attention respects its masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.transformer import Transformer
from mathpipe.train.runtime.fast_paths import forced

pytestmark = pytest.mark.processor

SHAPES = {
    "pre-norm, structured": {},
    "post-norm, structured": {"norm": "post"},
    "pre-norm, learned": {"positions": "learned"},
    "post-norm, learned, LAWT's cross-attention": {"norm": "post", "positions": "learned", "cross_query": "input"},
    "wide encoder": {"encoder_width": 48, "encoder_heads": 6, "encoder_layers": 3},
    "deep decoder": {"decoder_width": 40, "decoder_heads": 5, "decoder_layers": 3},
}
SOURCE, TARGET = MatrixTokenizer.named("P1000"), MatrixTokenizer.named("P10")


def build(**shape: Any) -> Transformer:
    torch.manual_seed(1)
    small: dict[str, Any] = {
        "encoder_width": 16,
        "decoder_width": 16,
        "encoder_heads": 2,
        "decoder_heads": 2,
        "decoder_layers": 2,
        "max_positions": 80,
        "dtype": "float32",
    }
    return Transformer(ModelConfig(**(small | shape)), SOURCE.format, TARGET.format).eval()


def problems(*shapes: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Sources and targets of random matrices and their transposes, as tensors."""
    rng = np.random.default_rng(5)
    matrices = [rng.normal(size=shape) * 10 for shape in shapes]
    source, _ = SOURCE.encode(Matrices.from_list(matrices))
    encoded, lengths = TARGET.encode(Matrices.from_list([a.T for a in matrices]))
    target = np.pad(encoded, ((0, 0), (0, 1)), constant_values=PAD)
    target[np.arange(len(target)), lengths] = END
    return torch.from_numpy(source).long(), torch.from_numpy(target).long()


def step_by_step(model: Transformer, source: Tensor, target: Tensor) -> Tensor:
    cache = model.init_cache(model.encode(source), target.shape[1])
    inputs = torch.cat([torch.full((len(target), 1), END), target[:, :-1]], dim=1)
    return torch.stack([model.step(tokens, cache) for tokens in inputs.T], dim=1)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@torch.no_grad()
def test_cached_decoding_matches_full_forward(shape: dict[str, Any]) -> None:
    model = build(**shape)
    source, target = problems((2, 3), (1, 1), (3, 2), (1, 4))
    full = model(source, target)
    stepwise = step_by_step(model, source, target)
    assert full.shape == (4, target.shape[1], TARGET.format.vocabulary_size)
    assert stepwise.dtype == full.dtype == torch.float32
    torch.testing.assert_close(stepwise, full, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_cached_decoding_in_bfloat16_is_close() -> None:
    model = build(dtype="bfloat16")
    source, target = problems((2, 3), (1, 1))
    torch.testing.assert_close(step_by_step(model, source, target), model(source, target), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@torch.no_grad()
def test_padding_does_not_change_output(shape: dict[str, Any]) -> None:
    model = build(**shape)
    source, target = problems((1, 2), (3, 3))
    alone_source, alone_target = problems((1, 2))
    length = alone_target.shape[1]
    together, alone = model(source, target)[:1, :length], model(alone_source, alone_target)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@torch.no_grad()
def test_decoder_is_causal(shape: dict[str, Any]) -> None:
    model = build(**shape)
    source, target = problems((2, 2))
    before = model(source, target)
    for t in range(target.shape[1]):
        changed = target.clone()
        changed[:, t:] = torch.randint(2, TARGET.format.vocabulary_size, changed[:, t:].shape)
        after = model(source, changed)
        torch.testing.assert_close(after[:, : t + 1], before[:, : t + 1], rtol=1e-5, atol=1e-5)
        if t + 1 < target.shape[1] and not torch.equal(changed, target):
            assert not torch.allclose(after[:, t + 1 :], before[:, t + 1 :])


@torch.no_grad()
def test_cache_select() -> None:
    model = build()
    source, target = problems((2, 3), (1, 1), (3, 2))
    chosen = torch.tensor([2, 0, 0])
    expected = model(source[chosen], target[chosen])
    cache = model.init_cache(model.encode(source), target.shape[1])
    inputs = torch.cat([torch.full((3, 1), END), target[:, :-1]], dim=1)
    for t in range(4):
        logits = model.step(inputs[:, t], cache)
    cache = cache.select(chosen)
    for t in range(4, 9):
        logits = model.step(inputs[chosen, t], cache)
        torch.testing.assert_close(logits, expected[:, t], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_cache_select_does_not_modify_original() -> None:
    model = build()
    source, _ = problems((2, 2), (2, 2))
    cache = model.init_cache(model.encode(source), 4)
    end = torch.full((2,), END)
    model.step(end, cache)
    other = cache.select(torch.tensor([1, 0]))
    before = [k[:, :1].clone() for k, _ in cache.self_keys]
    model.step(end, other)
    assert all(torch.equal(a, b[:, :1]) for a, (b, _) in zip(before, cache.self_keys, strict=True))
    assert (cache.length, other.length) == (1, 2)


def test_tied_output_embedding_and_zero_padding() -> None:
    model = build()
    names = [name for name, _ in model.named_parameters()]
    shared = [name for name in names if name.startswith(("decoder.token_embedding", "output"))]
    assert shared == ["output_bias", "decoder.token_embedding.weight"]
    assert not model.decoder.token_embedding.weight[PAD].any() and not model.encoder.token_embedding.weight[PAD].any()


def test_learned_positions_reject_long_sequences() -> None:
    model = build(positions="learned", max_positions=10)
    source, target = problems((3, 3))
    with pytest.raises(UserError, match="at most 10 tokens"):
        model(source, target)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
@torch.no_grad()
def test_auto_dtype_follows_processor(kind: torch.dtype) -> None:
    model = build(dtype="auto")
    source, _ = problems((2, 2))
    with forced(products=kind):
        assert model.init_cache(model.encode(source), 3).self_keys[0][0].dtype == kind


def test_heads_must_divide_width() -> None:
    with pytest.raises(ValueError, match="decoder_width 20 is not a multiple of decoder_heads 3"):
        ModelConfig(decoder_width=20, decoder_heads=3)


def test_aligned_and_independent_initialisation() -> None:
    for init, equal in (("aligned", True), ("independent", False)):
        model = build(init=init)
        for layer in model.encoder_layers:
            keys = layer.attention.key_value.weight[:16]
            assert torch.equal(keys, layer.attention.query.weight) == equal
        decoder, encoder = model.decoder.positions, model.encoder.positions
        assert torch.equal(decoder.row.weight, encoder.row.weight) == equal
        assert decoder.offset.weight.shape != encoder.offset.weight.shape  # P10 and P1000
        assert decoder.row.weight is not encoder.row.weight


def test_aligned_initialisation_with_different_widths() -> None:
    model = build(encoder_width=32)
    layer = model.decoder_layers[0]
    assert torch.equal(layer.attention.key_value.weight[:16], layer.attention.query.weight)
    assert layer.cross_attention.key_value.weight.shape == (32, 32)
