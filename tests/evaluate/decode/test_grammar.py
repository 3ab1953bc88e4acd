"""Grammars: constrained answers are well-formed and of the correct shape, whatever the model predicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.expressions.prefix import Malformed, parse
from mathpipe.datasets.expressions.vocabulary import ARITY, IDS, TOKENS
from mathpipe.datasets.tokenizers.expression_tokenizer import PrefixFormat
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, DecodeStatus
from mathpipe.evaluate.decode.beam_search import beam_search
from mathpipe.evaluate.decode.decoding import greedy, sample
from mathpipe.evaluate.decode.grammar import MatrixGrammar, PrefixGrammar
from mathpipe.evaluate.decode.hypotheses import Decoding
from mathpipe.evaluate.score.scoring import lengths_before_end

PREFIX = PrefixFormat(len(TOKENS), tuple(ARITY.get(token, 0 if token in ("INT+", "INT-") else -1) for token in TOKENS))


class NoiseCache:
    def __init__(self, rows: Tensor) -> None:
        self.rows, self.position = rows, 0

    def select(self, index: Tensor) -> NoiseCache:
        other = NoiseCache(self.rows[index])
        other.position = self.position
        return other


class Noise:
    """A model with random logits at each position of each problem, and optionally one ``preferred`` token."""

    def __init__(self, vocabulary: int, preferred: int | None = None) -> None:
        self.vocabulary, self.preferred, self.steps = vocabulary, preferred, 0

    def encode(self, source: Tensor) -> Tensor:
        return source[:, 0]

    def init_cache(self, memory: Tensor, max_length: int) -> NoiseCache:
        return NoiseCache(memory)

    def step(self, tokens: Tensor, cache: NoiseCache) -> Tensor:
        self.steps += 1
        cache.position += 1
        logits = torch.stack(
            [
                torch.from_numpy(3 * np.random.default_rng([r, cache.position]).normal(size=self.vocabulary))
                for r in cache.rows.tolist()
            ]
        )
        if self.preferred is not None:
            logits[:, self.preferred] += 40
        return logits.float()


@pytest.mark.parametrize("name", ["P10", "P1000", "B1999", "FP15"])
@pytest.mark.parametrize("decoding", ["greedy", "beam 3", "beam 10", "beam 40", "sample"])
def test_constrained_matrices_are_well_formed(name: str, decoding: str) -> None:
    tokenizer = MatrixTokenizer.named(name)
    rows, cols = np.array([1, 2, 3, 2, 1, 3]), np.array([1, 2, 1, 2, 4, 3])
    longest = tokenizer.length(3, 3) + 1
    source = torch.arange(6).unsqueeze(1)
    for preferred in (None, END, 5):
        model = Noise(len(tokenizer.vocabulary), preferred)
        grammar = MatrixGrammar(tokenizer, rows, cols)
        if decoding == "greedy":
            decoded = greedy(model, source, longest, grammar)
            assert model.steps == longest - 1  # END is certain after the last number and needs no step
        elif decoding.startswith("beam"):
            width = int(decoding.split()[1])
            decoded = beam_search(model, source, longest, Decoding(beam=width), grammar)
            assert model.steps == longest - 1
            assert len(decoded) == 6 * width
        else:
            sampling = Decoding(temperature=1.0, samples=2)
            decoded = sample(
                model, source, longest, np.arange(6), sampling, lambda: MatrixGrammar(tokenizer, rows, cols)
            )
        matrices, status = tokenizer.decode(decoded.tokens)
        assert (status == DecodeStatus.OK).all()
        assert matrices.rows.tolist() == rows[decoded.problem].tolist()
        assert matrices.cols.tolist() == cols[decoded.problem].tolist()
        assert (decoded.log_probability <= 0).all() and np.isfinite(decoded.log_probability).all()


def test_task_token_comes_first_in_co_training() -> None:
    tokenizer = MatrixTokenizer.named("P1000", has_task_tokens=True)
    task_ids = np.array([6, 0], dtype=np.uint8)
    grammar = MatrixGrammar(tokenizer, np.array([2, 1]), np.array([1, 1]), task_ids)
    decoded = greedy(Noise(len(tokenizer.vocabulary)), torch.arange(2).unsqueeze(1), 10, grammar)
    matrices, status = tokenizer.decode(decoded.tokens)
    assert (status == DecodeStatus.OK).all()
    assert matrices.task_ids is not None and matrices.task_ids.tolist() == [6, 0]


@pytest.mark.parametrize("name", ["P10", "P1000", "B1999", "FP15"])
def test_encoded_matrices_are_allowed(name: str) -> None:
    """The grammar allows everything that a tokenizer encodes."""
    tokenizer = MatrixTokenizer.named(name)
    rng = np.random.default_rng(0)
    matrices = Matrices.from_dense(rng.normal(size=(50, 2, 3)) * 10.0 ** rng.integers(-5, 6, (50, 2, 3)))
    tokens, _ = tokenizer.encode(matrices)
    grammar = MatrixGrammar(tokenizer, matrices.rows, matrices.cols)
    for position in range(tokens.shape[1]):
        assert not grammar.complete().any()
        current = torch.from_numpy(tokens[:, position].astype(np.int64))
        assert grammar.allowed().expand(50, -1)[torch.arange(50), current].all()
        grammar.advance(current)
    assert grammar.complete().all() and grammar.allowed()[:, END].all()


def test_constrained_probabilities_are_relative_to_allowed_tokens() -> None:
    tokenizer = MatrixTokenizer.named("FP15")
    grammar = MatrixGrammar(tokenizer, np.array([1]), np.array([1]))
    model = Noise(len(tokenizer.vocabulary))
    decoded = greedy(model, torch.zeros((1, 1), dtype=torch.int64), 9, grammar)
    logits = torch.from_numpy(3 * np.random.default_rng([0, 3]).normal(size=len(tokenizer.vocabulary))).float()
    allowed = logits[-tokenizer.encoding.size : -2]
    assert decoded.log_probability[0] == pytest.approx(float(allowed.log_softmax(0).max()), rel=1e-5)


@pytest.mark.parametrize("longest", [2, 3, 4, 7, 12, 40, 200])
@pytest.mark.parametrize("preferred", [None, "INT-", "add", "0", "7", "sin"])
def test_constrained_expressions_are_complete(longest: int, preferred: str | None) -> None:
    model = Noise(len(TOKENS), None if preferred is None else IDS[preferred])
    count = 60 if longest < 20 else 12
    source = torch.arange(count).unsqueeze(1)
    for decoded in (
        greedy(model, source, longest, PrefixGrammar(PREFIX, count, longest)),
        beam_search(model, source[:8], longest, Decoding(beam=4), PrefixGrammar(PREFIX, 8, longest)),
    ):
        lengths = lengths_before_end(decoded.tokens)
        assert (decoded.tokens == END).any(axis=1).all()
        for row, length in zip(decoded.tokens, lengths, strict=True):
            parse(bytes(row[:length].tolist()))  # raises Malformed otherwise


def test_depth_and_digits_stay_within_the_limits_of_the_parser() -> None:
    for preferred in ("sin", "7"):
        model = Noise(len(TOKENS), IDS[preferred])
        decoded = greedy(model, torch.arange(2).unsqueeze(1), 300, PrefixGrammar(PREFIX, 2, 300))
        for row, length in zip(decoded.tokens, lengths_before_end(decoded.tokens), strict=True):
            parse(bytes(row[:length].tolist()))


def test_only_named_leaves_are_used() -> None:
    model = Noise(len(TOKENS))
    grammar = PrefixGrammar(PREFIX, 50, 12, leaves=("x", "pi"))
    decoded = greedy(model, torch.arange(50).unsqueeze(1), 12, grammar)
    used = {TOKENS[t] for t in decoded.tokens.ravel()} & {t for t, arity in ARITY.items() if arity == 0}
    assert used == {"x", "pi"}


@pytest.mark.parametrize(
    "text",
    ["x", "INT+ 0", "INT- 1 0", "add x INT+ 3 2", "mul INT- 9 pow x INT+ 2", "sin add a8 E", "div INT+ 1 0 5 INT+ 7"],
)
def test_expressions_are_allowed(text: str) -> None:
    tokens = [IDS[token] for token in text.split()]
    parse(bytes(tokens))
    for longest in (len(tokens) + 1, len(tokens) + 9):
        grammar = PrefixGrammar(PREFIX, 1, longest)
        for token in (*tokens, END):
            assert grammar.allowed()[0, token]
            grammar.advance(torch.tensor([token]))


@pytest.mark.parametrize("text", ["INT+", "INT- 0", "INT+ 0 1", "add x", "3", "x x", "INT+ 3 x", "<pad>", "("])
def test_malformed_expressions_are_not_allowed(text: str) -> None:
    tokens = [IDS[token] for token in text.split()]
    with pytest.raises(Malformed):
        parse(bytes(tokens))
    grammar, allowed = PrefixGrammar(PREFIX, 1, 30), True
    for token in (*tokens, END):
        allowed &= bool(grammar.allowed()[0, token])
        grammar.advance(torch.tensor([token]))
    assert not allowed
