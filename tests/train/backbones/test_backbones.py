"""Backbones loaded from files: agreement with transformers, trainable parts, state dicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

transformers = pytest.importorskip("transformers")

from mathpipe.datasets.containers.token_batches import Batch  # noqa: E402
from mathpipe.datasets.errors import UserError  # noqa: E402
from mathpipe.datasets.tokenizers.expression_tokenizer import ExpressionTokenizer  # noqa: E402
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer  # noqa: E402
from mathpipe.datasets.tokenizers.sequence_tokenizer import SequenceTokenizer  # noqa: E402
from mathpipe.datasets.tokenizers.tokenizer import END, PAD  # noqa: E402
from mathpipe.evaluate.decode.beam_search import beam_search  # noqa: E402
from mathpipe.evaluate.decode.decoding import greedy  # noqa: E402
from mathpipe.evaluate.decode.hypotheses import Decoding  # noqa: E402
from mathpipe.train.backbones.decoder_only import AutoregressiveGPT2, ReadoutGPT2  # noqa: E402
from mathpipe.train.backbones.encoder_decoder import EncoderDecoderBackbone  # noqa: E402
from mathpipe.train.backbones.factory import build_backbone  # noqa: E402
from mathpipe.train.backbones.pretrained import init_layers, part_of  # noqa: E402
from mathpipe.train.config import BackboneConfig, TrainConfig  # noqa: E402
from mathpipe.train.optim.loss import correct_tokens, loss_of  # noqa: E402

TOKENIZER = ExpressionTokenizer()


def bits(length: int) -> SequenceTokenizer:
    """A tokenizer of bits with solutions of this length."""
    return SequenceTokenizer(("0", "1", "?"), length)


@pytest.fixture(scope="module")
def gpt2_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 with its language-model head, saved as on the Hugging Face Hub."""
    torch.manual_seed(5)
    shape = transformers.GPT2Config(vocab_size=120, n_positions=64, n_embd=32, n_layer=2, n_head=2)
    where = tmp_path_factory.mktemp("gpt2")
    transformers.GPT2LMHeadModel(shape).save_pretrained(where)
    return where


def tiny_pair(name: str) -> Any:
    torch.manual_seed(6)
    if name == "t5":
        shape = transformers.T5Config(
            vocab_size=150, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0.0,
            decoder_start_token_id=0,
        )  # fmt: skip
        return transformers.T5ForConditionalGeneration(shape)
    sizes = {
        "vocab_size": 150, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
    }  # fmt: skip
    if name == "mbart":
        return transformers.MBartForConditionalGeneration(transformers.MBartConfig(**sizes))
    shape = transformers.MarianConfig(**sizes, pad_token_id=149, eos_token_id=0, decoder_start_token_id=149)
    marian = transformers.MarianMTModel(shape)
    marian.final_logits_bias.normal_()  # of its own words
    return marian


@pytest.fixture(scope="module", params=["mbart", "marian", "t5"])
def pair_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp(request.param)
    tiny_pair(request.param).save_pretrained(where)
    return where


def config(where: Path, **changes: Any) -> BackboneConfig:
    return BackboneConfig(**({"weights": str(where), "dtype": "float32"} | changes))


def problems() -> tuple[Tensor, Tensor]:
    """Three problems and solutions of different lengths."""
    torch.manual_seed(0)
    source, target = torch.randint(2, 91, (3, 7)), torch.randint(2, 91, (3, 6))
    source[1, 4:], source[2, 6:] = PAD, PAD
    target[0, 5] = target[2, 5] = END
    target[1, 2:] = PAD
    target[1, 2] = END
    return source, target


def batch_of(source: Tensor, target: Tensor) -> Batch:
    lengths = (source != PAD).sum(1), (target != PAD).sum(1)
    return Batch(source, lengths[0], target, lengths[1], torch.arange(len(source)))


def step_by_step(model: Any, source: Tensor, target: Tensor) -> Tensor:
    cache = model.init_cache(model.encode(source), target.shape[1])
    inputs, logits = torch.full((len(source),), END), []
    for k in range(target.shape[1]):
        logits.append(model.step(inputs, cache))
        inputs = target[:, k]
    return torch.stack(logits, 1)


@torch.no_grad()
def test_gpt2_logits_match_transformers(gpt2_dir: Path) -> None:
    """Each row alone, unpadded, through GPT2LMHeadModel with our tables: the same logits."""
    model = build_backbone(config(gpt2_dir), TOKENIZER, TOKENIZER).eval()
    assert isinstance(model, AutoregressiveGPT2)
    reference = transformers.GPT2LMHeadModel.from_pretrained(gpt2_dir).eval()
    reference.set_input_embeddings(model.token_embedding)
    reference.lm_head = model.output
    source, target = problems()
    logits = model(source, target)
    for i in range(3):
        problem, answer = source[i][source[i] != PAD], target[i][target[i] != PAD]
        line = torch.cat([problem, torch.tensor([END]), answer])
        expected = reference(line[None, :-1]).logits[0, len(problem) :]
        torch.testing.assert_close(logits[i, : len(answer)], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_cached_decoding_matches_full_forward(gpt2_dir: Path) -> None:
    model = build_backbone(config(gpt2_dir), TOKENIZER, TOKENIZER).eval()
    source, target = problems()
    real = target != PAD
    torch.testing.assert_close(step_by_step(model, source, target)[real], model(source, target)[real])
    whole = source.masked_fill(source == PAD, 5)  # without padding
    torch.testing.assert_close(step_by_step(model, whole, target)[real], model(whole, target)[real])


@torch.no_grad()
def test_encoder_decoder_logits_match_transformers(pair_dir: Path) -> None:
    model = build_backbone(config(pair_dir, model="encoder-decoder"), TOKENIZER, TOKENIZER).eval()
    assert isinstance(model, EncoderDecoderBackbone)
    assert not getattr(model.backbone, "final_logits_bias", torch.zeros(1)).any()
    source, target = problems()
    logits, stepped = model(source, target), step_by_step(model, source, target)
    real = target != PAD
    torch.testing.assert_close(stepped[real], logits[real], rtol=1e-4, atol=1e-5)
    for i in range(3):
        problem, answer = source[i][source[i] != PAD], target[i][target[i] != PAD]
        encoder_input = torch.cat([problem, torch.tensor([END])])[None]
        inputs = torch.cat([torch.tensor([END]), answer[:-1]])[None]
        expected = model.backbone(input_ids=encoder_input, decoder_input_ids=inputs).logits[0]
        torch.testing.assert_close(logits[i, : len(answer)], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_embeddings_are_initialised_from_pieces(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    backbone = tiny_pair("mbart")
    backbone.save_pretrained(tmp_path)
    vocabulary = {"<unk>": 3, "sin": 20, "x": 21, "Y": 22, "'": 23}
    split = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    split.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("'"), "isolated")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=split, unk_token="<unk>")
    fast.save_pretrained(tmp_path)
    before = backbone.get_input_embeddings().weight
    model: Any = build_backbone(config(tmp_path, model="encoder-decoder"), TOKENIZER, TOKENIZER)
    table = model.backbone.get_input_embeddings().weight
    sin, prime, end, pad = (*TOKENIZER.tokens_to_ids(["sin", "Y'"]), END, PAD)
    torch.testing.assert_close(table[sin], before[20])
    torch.testing.assert_close(table[prime], (before[22] + before[23]) / 2)
    torch.testing.assert_close(table[end], before[2])
    torch.testing.assert_close(table[pad], before[1])
    assert table.shape == (91, 16) and model.backbone.get_output_embeddings().weight is table


@pytest.mark.parametrize(
    ("trainable", "parts"),
    [
        (None, {"layer-norms", "positions"}),
        ("+attention", {"layer-norms", "positions", "attention"}),
        ("+feed-forward", {"layer-norms", "positions", "feed-forward"}),
        ("all", {"layer-norms", "positions", "attention", "feed-forward"}),
        ("none", set()),
    ],
)
def test_trainable_parts(gpt2_dir: Path, trainable: str | None, parts: set[str]) -> None:
    model: Any = build_backbone(config(gpt2_dir, trainable=trainable), TOKENIZER, TOKENIZER)
    names = {name.removeprefix("backbone.") for name in model.trainable_names() if name.startswith("backbone.")}
    assert {part_of(name) for name in names} == parts
    every = {name for name, _ in model.backbone.named_parameters()}
    assert names == {name for name in every if part_of(name) in parts}
    assert {"token_embedding.weight", "output.weight", "output.bias"} <= model.trainable_names()
    loss_of(model, batch_of(*problems()))[0].backward()
    assert {name for name, weight in model.named_parameters() if weight.grad is not None} == model.trainable_names()


def test_part_of_weight_names() -> None:
    for name, part in [
        ("h.0.ln_1.weight", "layer-norms"), ("h.3.attn.c_attn.weight", "attention"), ("h.1.mlp.c_fc.bias", "feed-forward"),
        ("wpe.weight", "positions"), ("model.encoder.layers.0.self_attn_layer_norm.bias", "layer-norms"),
        ("model.decoder.layers.1.encoder_attn.k_proj.weight", "attention"), ("model.decoder.layers.1.fc2.weight", "feed-forward"),
        ("encoder.block.0.layer.0.SelfAttention.q.weight", "attention"), ("shared.weight", "rest"),
        ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", "positions"),
        ("encoder.block.0.layer.1.DenseReluDense.wi.weight", "feed-forward"),
    ]:  # fmt: skip
        assert part_of(name) == part


def test_random_backbones_depend_on_their_seed_only(gpt2_dir: Path) -> None:
    def backbone(**changes: Any) -> Any:
        torch.manual_seed(1)
        return build_backbone(config(gpt2_dir, pretrained=False, **changes), TOKENIZER, TOKENIZER)

    one, same, other, trainable_names = (
        backbone(),
        backbone(),
        backbone(seed=1),
        build_backbone(config(gpt2_dir), TOKENIZER, TOKENIZER),
    )
    name = "backbone.h.0.attn.c_attn.weight"
    weights = [dict(m.named_parameters())[name] for m in (one, same, other, trainable_names)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert weights[0].shape == weights[3].shape and not torch.equal(weights[0], weights[3])
    assert torch.equal(
        one.token_embedding.weight, other.token_embedding.weight
    )  # new layers are drawn by the run's seed
    sized: Any = build_backbone(
        BackboneConfig(pretrained=False, layers=3, width=24, heads=3, positions=20, dtype="float32"),
        TOKENIZER,
        TOKENIZER,
    )
    assert (len(sized.backbone.h), sized.width, sized.max_positions) == (3, 24, 20)
    with pytest.raises(UserError, match="the backbone has 20 positions"):
        sized(torch.full((1, 16), 5), torch.full((1, 6), 5))


def test_init_layers() -> None:
    torch.manual_seed(0)
    table, layer = nn.Embedding(8, 32), nn.Linear(32, 8)
    init_layers("orthogonal", table, layer)
    torch.testing.assert_close(table.weight @ table.weight.T, 2 * torch.eye(8), rtol=0, atol=1e-5)
    assert not layer.bias.any()
    init_layers("signed-constant", table, layer)
    assert set(table.weight.abs().unique().tolist()) == {0.5} and 0.3 < float((table.weight > 0).float().mean()) < 0.7
    torch.testing.assert_close(layer.weight.abs().unique(), torch.tensor([0.25]))
    init_layers("normal", table, layer)
    assert 0.01 < float(table.weight.detach().std()) < 0.03


@torch.no_grad()
def test_readout_of_bits(gpt2_dir: Path) -> None:
    tokenizer = bits(3)
    source, target = torch.randint(2, 4, (4, 6)), torch.full((4, 4), END)
    target[:, :3] = torch.randint(2, 4, (4, 3))
    last, prefix = (
        build_backbone(config(gpt2_dir, readout=readout), tokenizer, tokenizer).eval() for readout in ("last", "prefix")
    )
    assert isinstance(last, ReadoutGPT2) and isinstance(
        build_backbone(config(gpt2_dir), tokenizer, tokenizer), ReadoutGPT2
    )
    last.load_state_dict(prefix.state_dict())
    hidden = last.backbone(inputs_embeds=last.token_embedding(source)).last_hidden_state
    torch.testing.assert_close(last(source, target)[:, :3], last.output(hidden[:, 3:]))
    torch.testing.assert_close(prefix(source, target)[:, :3], last.output(hidden[:, :3]))
    assert last.target_tokens(target).tolist() == target.masked_fill(target == END, PAD).tolist()
    decoded = greedy(last, source, 10)
    assert decoded.tokens.shape == (4, 4) and (decoded.tokens[:, 3] == END).all()
    assert (decoded.tokens[:, :3] == last(source, target)[:, :3, 2:].argmax(2).numpy() + 2).all()
    beams = beam_search(last, source, 10, Decoding(beam=3))
    assert (beams.tokens[beams.rank == 0] == decoded.tokens).all() and len(beams) == 12


@torch.no_grad()
def test_patch_embedding(gpt2_dir: Path) -> None:
    tokenizer = bits(8)
    model: Any = build_backbone(config(gpt2_dir, patch=4), tokenizer, tokenizer).eval()
    source = torch.randint(2, 5, (2, 48))
    values = torch.tensor([0, 0, -1.0, 1.0, 0])[source].view(2, 12, 4)
    hidden = model.backbone(inputs_embeds=model.patch_embedding(values)).last_hidden_state[:, 10:]
    expected = model.output(hidden).reshape(2, 8, 2)
    target = torch.full((2, 9), END)
    target[:, :8] = torch.randint(2, 4, (2, 8))
    logits = model(source, target)[:, :8]
    torch.testing.assert_close(logits[:, :, 2:4], expected)
    assert (logits[:, :, [0, 1, 4]] < -9000).all() and (greedy(model, source, 9).tokens[:, 8] == END).all()
    loss, _ = loss_of(model, batch_of(source, target))
    by_hand = nn.functional.cross_entropy(expected.flatten(0, 1), target[:, :8].flatten() - 2, reduction="sum")
    torch.testing.assert_close(loss, by_hand, rtol=1e-5, atol=1e-4)


def test_state_dict_has_trainable_weights_and_digest(gpt2_dir: Path) -> None:
    model, again = (build_backbone(config(gpt2_dir), TOKENIZER, TOKENIZER) for _ in range(2))
    state = model.state_dict()
    assert set(state) == {*model.trainable_names(), "frozen_digest"}  # type: ignore[operator]
    again.load_state_dict(state)
    source, target = problems()
    assert torch.equal(model.eval()(source, target), again.eval()(source, target))
    other = build_backbone(config(gpt2_dir, pretrained=False, seed=3), TOKENIZER, TOKENIZER)
    with pytest.raises(UserError, match="not the one that this run was trained with"):
        other.load_state_dict(state)
    with pytest.raises(RuntimeError, match="lacks"):
        again.load_state_dict({k: v for k, v in state.items() if k != "output.bias"})


def test_correct_tokens(gpt2_dir: Path) -> None:
    model = build_backbone(config(gpt2_dir), TOKENIZER, TOKENIZER).eval()
    source, target = problems()
    hits, num_tokens = correct_tokens(model, batch_of(source, target))
    predictions = model(source, target).argmax(2)
    num_correct = sum(int(predictions[i, k] == target[i, k]) for i in range(3) for k in range(6) if target[i, k] != PAD)
    assert (int(hits), int(num_tokens)) == (num_correct, int((target != PAD).sum()))


def test_two_encodings_share_joint_vocabulary(gpt2_dir: Path) -> None:
    source, target = MatrixTokenizer.named("P10"), MatrixTokenizer.named("P1000")
    model: Any = build_backbone(config(gpt2_dir), source, target)
    assert model.size == len({*source.vocabulary, *target.vocabulary}) == model.token_embedding.weight.shape[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "encoder-decoder"}, "needs weights"),
        ({"width": 30}, "not a multiple of heads"),
        ({"patch": 5, "readout": "autoregressive"}, "requires readout last or prefix"),
        ({"model": "encoder-decoder", "weights": "x", "patch": 5}, "apply to frozen-gpt2 only"),
        ({"trainable": "some"}, "layer-norms"),
    ],
)
def test_inconsistent_configurations_are_rejected(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig.model_validate({"backbone": changes})


def test_user_errors(gpt2_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"cannot read a backbone.*import-model"):
        build_backbone(config(tmp_path), TOKENIZER, TOKENIZER)
    with pytest.raises(UserError, match="all have one length"):
        build_backbone(config(gpt2_dir, readout="last"), TOKENIZER, TOKENIZER)
    with pytest.raises(UserError, match="does not divide solutions"):
        build_backbone(config(gpt2_dir, patch=3), bits(8), bits(8))
    tokenizer = SequenceTokenizer(("a", "b"), 8)
    with pytest.raises(UserError, match="requires problems of bits"):
        build_backbone(config(gpt2_dir, patch=4), tokenizer, tokenizer)


def test_sinusoidal_positions_are_translation_invariant() -> None:
    """p_i . p_j depends on i - j alone, and the spread is that of random positions."""
    how = {"pretrained": False, "layers": 1, "width": 64, "heads": 2, "positions": 50, "dtype": "float32"}
    model: Any = build_backbone(BackboneConfig(**how, position_init="sinusoidal"), TOKENIZER, TOKENIZER)  # type: ignore[arg-type]
    p = model.backbone.wpe.weight.detach().double()
    alike = p @ p.T
    for back in (1, 7, 30):
        seen = alike.diagonal(back)
        torch.testing.assert_close(seen, seen[:1].expand_as(seen), rtol=0, atol=1e-7)
    assert 0.015 < float(p.std()) < 0.025
    with pytest.raises(ValueError, match="need a random gpt2"):
        BackboneConfig(position_init="sinusoidal")
