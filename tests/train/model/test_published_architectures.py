"""The published architectures, exactly: with equal weights, ours and torch's own modules give the same logits."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD, MatrixTokenizer
from mathpipe.train.config import ModelConfig, TrainConfig
from mathpipe.train.model.joint_vocabulary import joint_vocabulary
from mathpipe.train.model.transformer import Transformer, framed
from mathpipe.train.run.checkpoint import RunRecord, build_model

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


def built(shape: dict[str, Any]) -> Transformer:
    config = TrainConfig(model=ModelConfig(**PUBLISHED, **shape), input_encoding="FP15", output_encoding="P1000")
    torch.manual_seed(1)
    return build_model(RunRecord("d", "d", "inverse", {}, "FP15", "P1000", 2, config))


def copied(ours: Transformer, shape: dict[str, Any]) -> nn.Module:
    """The reference with our weights."""
    sides = [tuple(shape[f"{side}_{what}"] for what in ("width", "heads", "layers")) for side in ("encoder", "decoder")]
    theirs: nn.Module = Published(
        ours.decoder.token_embedding.num_embeddings, *sides, lawt=shape["cross_query"] == "input"
    )
    mine = ours.state_dict()
    state: dict[str, Any] = {
        "output.weight": mine["decoder.token_embedding.weight"],
        "output.bias": mine["output_bias"],
    }
    for i, side in enumerate(("encoder", "decoder")):
        state[f"tables.{i}.weight"] = mine[f"{side}.token_embedding.weight"]
        state[f"places.{i}.weight"] = mine[f"{side}.positions.table.weight"]
        for part in ("weight", "bias"):
            state[f"norms.{i}.{part}"] = mine[f"{side}.input_norm.{part}"]
        for k in range(shape[f"{side}_layers"]):
            here, there = f"{side}_layers.{k}.", f"{side}.{k}."
            for part in ("weight", "bias"):
                names = {"norm1": "attention_step.norm", "norm15": "cross_step.norm", "norm2": "feed_forward_step.norm",
                         "inner": "feed_forward.inner", "outer": "feed_forward.outer", "own.out_proj": "attention.out",
                         "cross.out_proj": "cross_attention.out"}  # fmt: skip
                for theirs_name, name in names.items():
                    if f"{here}{name}.{part}" in mine:
                        state[f"{there}{theirs_name}.{part}"] = mine[f"{here}{name}.{part}"]
                for theirs_name, name in (("own", "attention"), ("cross", "cross_attention")):
                    if f"{here}{name}.query.{part}" in mine:
                        three = mine[f"{here}{name}.query.{part}"], *mine[f"{here}{name}.key_value.{part}"].chunk(2)
                        if part == "weight" and three[0].shape != three[1].shape:
                            for letter, w in zip("qkv", three, strict=True):
                                state[f"{there}{theirs_name}.{letter}_proj_weight"] = w
                        else:
                            state[f"{there}{theirs_name}.in_proj_{part}"] = torch.cat(three)
    theirs.load_state_dict(state)
    return theirs.eval()


@pytest.mark.parametrize("name", LAYERS)
def test_published_layers_match_torch_modules(name: str) -> None:
    ours = built(LAYERS[name])
    theirs = copied(ours, LAYERS[name])
    torch.manual_seed(2)
    source = torch.randint(2, ours.source_format.vocabulary_size, (5, 27))
    target = torch.randint(2, ours.target_format.vocabulary_size, (5, 40))
    for i, (a, b) in enumerate(((27, 40), (11, 22), (27, 16), (5, 40), (19, 31))):
        source[i, a:], target[i, b:] = PAD, PAD
        target[i, b - 1] = END
    fed = nn.functional.pad(target[:, :-1], (1, 0), value=END)
    joint = framed(source)
    joint = torch.where(joint == PAD, PAD, ours.source_ids[joint])
    expected, found = theirs(joint, fed), ours(source, target)
    real = target != PAD
    torch.testing.assert_close(found[real], expected[real], rtol=1e-5, atol=1e-5)
    # and the gradients
    torch.nn.functional.cross_entropy(expected[real], target[real]).backward()
    torch.nn.functional.cross_entropy(found[real], target[real]).backward()
    want, got = theirs.get_parameter("output.weight").grad, ours.decoder.token_embedding.weight.grad
    assert want is not None and got is not None
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
    want, got = theirs.get_parameter("places.0.weight").grad, ours.encoder.positions.table.weight.grad
    assert want is not None and got is not None
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("names", "size"),
    [("P10 P10", 338), ("P1000 P1000", 1328), ("B1999 B1999", 2329), ("FP15 FP15", 29_128), ("FP15 P1000", 30_329)],
)
def test_joint_vocabulary_has_published_size(names: str, size: int) -> None:
    source, target = (MatrixTokenizer.named(name).vocabulary for name in names.split())
    joint = joint_vocabulary(source, target)
    assert joint.size == size
    assert (joint.source_ids[END], joint.source_ids[PAD]) == (END, PAD)
    words = dict(zip(target, range(len(target)), strict=True))
    assert all(joint.source_ids[i] == words[w] for i, w in enumerate(source) if w in words)


def test_sinusoidal_positions_match_formula() -> None:
    sines = build_sines(32)
    assert sines[0, 0].tolist() == [0.0, 1.0] * 16
    assert sines[0, 3, 2].item() == pytest.approx(torch.sin(torch.tensor(3 * 10_000 ** (-2 / 32))).item())


def build_sines(width: int) -> torch.Tensor:
    form = MatrixTokenizer.named("P10").format
    config = ModelConfig(positions="sinusoidal", encoder_width=width, decoder_width=width, max_positions=8)
    return Transformer(config, form, form).encoder.position_vectors.for_source(torch.zeros(1, 8, dtype=torch.int64))


def test_published_initialisation() -> None:
    model = built(LAYERS["LAWT"] | {"encoder_width": 120})
    words = model.encoder.token_embedding.weight
    assert words.std().item() == pytest.approx(120**-0.5, rel=0.02) and not words[PAD].any()
    inner = model.encoder_layers[0].feed_forward.inner
    for tensor in (inner.weight, inner.bias):
        assert tensor.abs().max() <= 120**-0.5 and tensor.std().item() == pytest.approx((120 * 3) ** -0.5, rel=0.1)
