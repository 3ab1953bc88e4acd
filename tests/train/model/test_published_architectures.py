"""The published architectures: with equal weights, the model and torch's own modules give equal logits and gradients."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.model.joint_vocabulary import joint_vocabulary
from mathpipe.train.model.transformer import Transformer, framed
from mathpipe.train.run.checkpoint import build_model
from mathpipe.train.run.run_record import RunRecord

Published = runpy.run_path(str(Path(__file__).parents[2] / "reference_transformer.py"))["Published"]
PUBLISHED: dict[str, Any] = {
    "norm": "post",
    "positions": "learned",
    "framed_source": True,
    "zeroed_padding": True,
    "vocabulary": "joint",
    "init": "published",
    "dtype": "float32",
}
LAYERS: dict[str, dict[str, Any]] = {
    "LAWT": {
        "cross_query": "input", "encoder_width": 60, "encoder_heads": 6, "encoder_layers": 3,
        "decoder_width": 32, "decoder_heads": 4, "decoder_layers": 2,
    },
    "L&C": {
        "cross_query": "attended", "encoder_width": 32, "encoder_heads": 4, "encoder_layers": 2,
        "decoder_width": 32, "decoder_heads": 4, "decoder_layers": 3,
    },
}  # fmt: skip


def published_model(shape: dict[str, Any]) -> Transformer:
    config = TrainConfig(model=ModelConfig(**PUBLISHED, **shape), input_encoding="FP15", output_encoding="P1000")
    torch.manual_seed(1)
    return build_model(RunRecord("d", "d", "inverse", {"task": "inverse", "problems": {}}, "FP15", "P1000", 2, config))


def copied(model: Transformer, shape: dict[str, Any]) -> nn.Module:
    """The reference with the weights of ``model``."""
    sides = [tuple(shape[f"{side}_{what}"] for what in ("width", "heads", "layers")) for side in ("encoder", "decoder")]
    reference: nn.Module = Published(
        model.decoder.token_embedding.num_embeddings, *sides, lawt=shape["cross_query"] == "input"
    )
    weights = model.state_dict()
    state: dict[str, Any] = {
        "output.weight": weights["decoder.token_embedding.weight"],
        "output.bias": weights["output_bias"],
    }
    for i, side in enumerate(("encoder", "decoder")):
        state[f"embeddings.{i}.weight"] = weights[f"{side}.token_embedding.weight"]
        state[f"positions.{i}.weight"] = weights[f"{side}.positions.table.weight"]
        for part in ("weight", "bias"):
            state[f"norms.{i}.{part}"] = weights[f"{side}.input_norm.{part}"]
        for k in range(shape[f"{side}_layers"]):
            source, destination = f"{side}_layers.{k}.", f"{side}.{k}."
            for part in ("weight", "bias"):
                names = {"norm1": "attention_step.norm", "norm15": "cross_step.norm", "norm2": "feed_forward_step.norm",
                         "inner": "feed_forward.inner", "outer": "feed_forward.outer", "self_attention.out_proj": "attention.out",
                         "cross_attention.out_proj": "cross_attention.out"}  # fmt: skip
                for reference_name, name in names.items():
                    if f"{source}{name}.{part}" in weights:
                        state[f"{destination}{reference_name}.{part}"] = weights[f"{source}{name}.{part}"]
                for reference_name, name in (("self_attention", "attention"), ("cross_attention", "cross_attention")):
                    if f"{source}{name}.query.{part}" in weights:
                        projections = (
                            weights[f"{source}{name}.query.{part}"],
                            *weights[f"{source}{name}.key_value.{part}"].chunk(2),
                        )
                        if part == "weight" and projections[0].shape != projections[1].shape:
                            for letter, w in zip("qkv", projections, strict=True):
                                state[f"{destination}{reference_name}.{letter}_proj_weight"] = w
                        else:
                            state[f"{destination}{reference_name}.in_proj_{part}"] = torch.cat(projections)
    reference.load_state_dict(state)
    return reference.eval()


@pytest.mark.parametrize("name", LAYERS)
def test_published_layers_match_torch_modules(name: str) -> None:
    model = published_model(LAYERS[name])
    reference = copied(model, LAYERS[name])
    torch.manual_seed(2)
    source = torch.randint(2, model.source_format.vocabulary_size, (5, 27))
    target = torch.randint(2, model.target_format.vocabulary_size, (5, 40))
    for i, (a, b) in enumerate(((27, 40), (11, 22), (27, 16), (5, 40), (19, 31))):
        source[i, a:], target[i, b:] = PAD, PAD
        target[i, b - 1] = END
    inputs = nn.functional.pad(target[:, :-1], (1, 0), value=END)
    joint = framed(source)
    joint = torch.where(joint == PAD, PAD, model.source_ids[joint])
    expected, logits = reference(joint, inputs), model(source, target)
    real = target != PAD
    torch.testing.assert_close(logits[real], expected[real], rtol=1e-5, atol=1e-5)
    torch.nn.functional.cross_entropy(expected[real], target[real]).backward()
    torch.nn.functional.cross_entropy(logits[real], target[real]).backward()
    expected_gradient, gradient = (
        reference.get_parameter("output.weight").grad,
        model.decoder.token_embedding.weight.grad,
    )
    assert expected_gradient is not None and gradient is not None
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
    expected_gradient, gradient = (
        reference.get_parameter("positions.0.weight").grad,
        model.encoder.positions.table.weight.grad,
    )
    assert expected_gradient is not None and gradient is not None
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("names", "size"),
    [("P10 P10", 338), ("P1000 P1000", 1328), ("B1999 B1999", 2329), ("FP15 FP15", 29_128), ("FP15 P1000", 30_329)],
)
def test_joint_vocabulary_has_published_size(names: str, size: int) -> None:
    source, target = (MatrixTokenizer.named(name) for name in names.split())
    joint = joint_vocabulary(source.vocabulary, target.vocabulary, target.published_extras)
    assert joint.size == size
    assert (joint.source_ids[END], joint.source_ids[PAD]) == (END, PAD)
    target_ids = {token: i for i, token in enumerate(target.vocabulary)}
    assert all(
        joint.source_ids[i] == target_ids[token] for i, token in enumerate(source.vocabulary) if token in target_ids
    )


def test_sinusoidal_positions_match_formula() -> None:
    sines = build_sines(32)
    assert sines[0, 0].tolist() == [0.0, 1.0] * 16
    assert sines[0, 3, 2].item() == pytest.approx(torch.sin(torch.tensor(3 * 10_000 ** (-2 / 32))).item())


def build_sines(width: int) -> torch.Tensor:
    form = MatrixTokenizer.named("P10").format
    config = ModelConfig(positions="sinusoidal", encoder_width=width, decoder_width=width, max_positions=8)
    return Transformer(config, form, form).encoder.position_vectors.for_source(torch.zeros(1, 8, dtype=torch.int64))


def test_published_initialisation() -> None:
    model = published_model(LAYERS["LAWT"] | {"encoder_width": 120})
    embedding = model.encoder.token_embedding.weight
    assert embedding.std().item() == pytest.approx(120**-0.5, rel=0.02) and not embedding[PAD].any()
    inner = model.encoder_layers[0].feed_forward.inner
    for tensor in (inner.weight, inner.bias):
        assert tensor.abs().max() <= 120**-0.5 and tensor.std().item() == pytest.approx((120 * 3) ** -0.5, rel=0.1)
