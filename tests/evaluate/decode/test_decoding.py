"""Greedy decoding of scripted models with known best sequences, and of a transformer with and without its cache."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.evaluate.decode.decoding import decoding_mode, greedy
from mathpipe.evaluate.decode.hypotheses import Hypotheses
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.transformer import Transformer

pytestmark = pytest.mark.processor

VOCABULARY = 20


@dataclass
class ScriptedCache:
    rows: Tensor  # which script each row follows
    fed: list[Tensor]  # the tokens of each row, one tensor per step

    def select(self, index: Tensor) -> ScriptedCache:
        return ScriptedCache(self.rows[index], [tokens[index] for tokens in self.fed])


@dataclass
class Scripted:
    """A model that predicts script r for the problem with first token r, each token with probability ``confidence``.

    It checks that it is fed exactly its own predictions, so that a decoder that mixes up rows fails.
    """

    scripts: list[list[int]]
    confidence: float = 0.75
    batch_sizes: list[int] = field(default_factory=list)

    def encode(self, source: Tensor) -> Tensor:
        return source[:, 0]

    def init_cache(self, memory: Tensor, max_length: int) -> ScriptedCache:
        return ScriptedCache(memory, [])

    def step(self, tokens: Tensor, cache: ScriptedCache) -> Tensor:
        position = len(cache.fed)
        cache.fed.append(tokens)
        self.batch_sizes.append(len(tokens))
        logits = torch.full((len(tokens), VOCABULARY), math.log((1 - self.confidence) / (VOCABULARY - 1)))
        for i, row in enumerate(cache.rows.tolist()):
            script = self.scripts[row]
            if position > len(script):
                continue  # finished before this step: the logits are not used
            expected = [END, *script]
            assert [int(tokens[i]) for tokens in cache.fed] == expected[: position + 1]
            if position < len(script):
                logits[i, script[position]] = math.log(self.confidence)
        return logits


def sources(scripts: list[list[int]]) -> Tensor:
    return torch.arange(len(scripts)).unsqueeze(1)


def test_greedy_finds_the_script_and_its_probability() -> None:
    scripts = [[5, 6, 7, END], [9, END], [3, 3, 3, END]]
    decoded = greedy(Scripted(scripts), sources(scripts), max_length=6)
    assert decoded.tokens.tolist() == [[5, 6, 7, END], [9, END, PAD, PAD], [3, 3, 3, END]]
    assert decoded.tokens.dtype == np.int64
    np.testing.assert_allclose(decoded.log_probability, np.array([4, 2, 4]) * math.log(0.75), rtol=1e-6)


def test_finished_rows_leave_the_batch() -> None:
    scripts = [[7] * k + [END] for k in (1, 1, 2, 4)]
    model = Scripted(scripts)
    decoded = greedy(model, sources(scripts), max_length=9)
    assert model.batch_sizes == [4, 4, 2, 1, 1]
    assert [row[: row.index(END)] for row in decoded.tokens.tolist()] == [[7] * k for k in (1, 1, 2, 4)]


def test_few_finished_rows_stay_in_the_batch() -> None:
    scripts = [[7] * (2 if k == 11 else 4) + [END] for k in range(40)]
    model = Scripted(scripts)
    decoded = greedy(model, sources(scripts), max_length=5)
    assert model.batch_sizes == [40] * 5
    assert decoded.tokens[11].tolist() == [7, 7, END, PAD, PAD]
    np.testing.assert_allclose(decoded.log_probability[[10, 11]], [5 * math.log(0.75), 3 * math.log(0.75)], rtol=1e-6)


def test_batch_equals_single_rows() -> None:
    rng = np.random.default_rng(0)
    scripts = [[*rng.integers(2, VOCABULARY, rng.integers(0, 12)).tolist(), END] for _ in range(60)]
    together = greedy(Scripted(scripts), sources(scripts), max_length=13)
    for i in range(len(scripts)):
        alone = greedy(Scripted(scripts), sources(scripts)[i : i + 1], max_length=13)
        width = alone.tokens.shape[1]
        assert together.tokens[i, :width].tolist() == alone.tokens[0].tolist() == scripts[i]
        assert (together.tokens[i, width:] == PAD).all()
        assert together.log_probability[i] == pytest.approx(alone.log_probability[0])


def test_row_without_end_stops_at_max_length() -> None:
    scripts = [[4, 5, 6, 7, END], [4, END]]
    decoded = greedy(Scripted(scripts), sources(scripts), max_length=4)
    assert decoded.tokens.tolist() == [[4, 5, 6, 7], [4, END, PAD, PAD]]
    assert decoded.log_probability[0] == pytest.approx(4 * math.log(0.75))


def test_empty_source_and_invalid_max_length() -> None:
    assert len(greedy(Scripted([]), torch.zeros((0, 1), dtype=torch.int64), max_length=3)) == 0
    with pytest.raises(ValueError, match="for END"):
        greedy(Scripted([[END]]), sources([[END]]), max_length=0)


@pytest.mark.parametrize("positions", ["structured", "learned"])
def test_cached_decoding_matches_full_forward(positions: str) -> None:
    torch.manual_seed(3)
    form = MatrixTokenizer.named("B1999").format
    config = ModelConfig(
        encoder_width=16, decoder_width=16, encoder_heads=2, decoder_heads=2, dtype="float32", positions=positions
    )
    model = Transformer(config, form, form).eval()
    source = torch.randint(2, 110, (12, 6))
    source[3, 4:] = PAD
    with torch.no_grad():  # few likely tokens, so that rows end at different positions
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
        model.output_bias[6:] = -200
    varied = 0
    for end_bias in range(-20, 21, 2):
        model.output_bias.data[END] = end_bias
        with decoding_mode(model):
            decoded = greedy(model, source, max_length=8)
        expected = without_cache(model, source, 8)
        ends = [row.index(END) if END in row else -1 for row in expected.tokens.tolist()]
        varied += -1 in ends and len(set(ends)) > 2
        assert decoded.tokens.tolist() == expected.tokens[:, : decoded.tokens.shape[1]].tolist()
        np.testing.assert_allclose(decoded.log_probability, expected.log_probability, rtol=1e-4, atol=1e-6)
    assert varied > 0


def without_cache(model: Transformer, source: Tensor, max_length: int) -> Hypotheses:
    """The definition: the whole target is encoded again for each token."""
    rows, scores = [], []
    for problem in source:
        tokens, score = list[int](), 0.0
        while len(tokens) < max_length and END not in tokens:
            target = torch.tensor([[*tokens, PAD]])
            with torch.no_grad():
                logits = model(problem.unsqueeze(0), target)[0, -1].log_softmax(-1)
            tokens.append(int(logits.argmax()))
            score += float(logits.max())
        rows.append(tokens + [PAD] * (max_length - len(tokens)))
        scores.append(score)
    return Hypotheses(np.array(rows), np.array(scores))


def test_decoding_mode_restores_training_mode() -> None:
    model = torch.nn.Dropout(0.5)
    model.register_parameter("weight", torch.nn.Parameter(torch.zeros(1)))
    model.train()
    with decoding_mode(model) as device:
        assert device.type == "cpu"
        assert not model.training
    assert model.training
