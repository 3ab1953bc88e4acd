"""Beam search and sampling with models whose best sequences an exhaustive search finds."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, PAD
from mathpipe.evaluate.decode.beam_search import _largest, _slots, beam_search
from mathpipe.evaluate.decode.decoding import decoding_mode, greedy, sample, uniform_samples
from mathpipe.evaluate.decode.hypotheses import Decoding, Hypotheses
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.transformer import Transformer

pytestmark = pytest.mark.processor

VOCABULARY = 5  # END, PAD and three others


@dataclass
class TreeCache:
    prefixes: list[tuple[int, ...]]  # the problem and the tokens of each row

    def select(self, index: Tensor) -> TreeCache:
        return TreeCache([self.prefixes[i] for i in index.tolist()])


class Tree:
    """p(token | problem, tokens before) is random for each prefix: any sequence can be the best."""

    def __init__(self, seed: int, sharpness: float = 2.0, vocabulary: int = VOCABULARY) -> None:
        self.seed, self.sharpness, self.vocabulary = seed, sharpness, vocabulary
        self.batch_sizes: list[int] = []

    def log_p(self, prefix: tuple[int, ...]) -> Tensor:
        rng = np.random.default_rng([self.seed, *prefix])
        logits = torch.from_numpy(self.sharpness * rng.normal(size=self.vocabulary)).float()
        logits[PAD] = -50.0
        return logits

    def encode(self, source: Tensor) -> Tensor:
        return source[:, 0]

    def init_cache(self, memory: Tensor, max_length: int) -> TreeCache:
        return TreeCache([(int(problem),) for problem in memory])

    def step(self, tokens: Tensor, cache: TreeCache) -> Tensor:
        self.batch_sizes.append(len(tokens))
        cache.prefixes = [(*prefix, token) for prefix, token in zip(cache.prefixes, tokens.tolist(), strict=True)]
        return torch.stack([self.log_p(prefix) for prefix in cache.prefixes])

    def all_sequences(self, problem: int, max_length: int) -> dict[tuple[int, ...], float]:
        """Every sequence that ends within ``max_length`` tokens, with its log probability."""
        sequences = {}
        for length in range(max_length):
            for tokens in itertools.product(range(1, self.vocabulary), repeat=length):
                total, prefix = 0.0, (problem, END)
                for token in (*tokens, END):
                    total += float(self.log_p(prefix).double().log_softmax(-1)[token])
                    prefix = (*prefix, token)
                sequences[(*tokens, END)] = total
        return sequences


def problems(count: int) -> Tensor:
    return torch.arange(count).unsqueeze(1)


def hypotheses(decoded: Hypotheses, problem: int) -> list[tuple[tuple[int, ...], float]]:
    """Tokens and log probability of each hypothesis of a problem, by rank."""
    index = np.flatnonzero(decoded.problem == problem)
    assert decoded.rank[index].tolist() == list(range(len(index)))
    return [
        (tuple(t for t in decoded.tokens[i].tolist() if t != PAD), float(decoded.log_probability[i])) for i in index
    ]


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_wide_beam_matches_exhaustive_search(penalty: float) -> None:
    model, max_length = Tree(3), 4
    decoding = Decoding(beam=60, length_penalty=penalty, early_stopping=False)
    decoded = beam_search(model, problems(3), max_length, decoding)
    for problem in range(3):
        log_probability = model.all_sequences(problem, max_length)
        best = sorted(log_probability, key=lambda tokens: -log_probability[tokens] / len(tokens) ** penalty)
        complete = [(tokens, total) for tokens, total in hypotheses(decoded, problem) if tokens[-1] == END]
        assert [tokens for tokens, _ in complete][:10] == best[:10]
        expected = [log_probability[tokens] for tokens, _ in complete[:20]]
        np.testing.assert_allclose([total for _, total in complete[:20]], expected, rtol=1e-5)


def test_beam_search_is_at_least_as_good_as_greedy() -> None:
    better = 0
    for seed in range(40):
        one = greedy(Tree(seed), problems(1), 6)
        many = beam_search(Tree(seed), problems(1), 6, Decoding(beam=4, length_penalty=0, early_stopping=False))
        if END in one.tokens[0]:
            assert many.log_probability[0] >= one.log_probability[0] - 1e-5
            better += many.log_probability[0] > one.log_probability[0] + 1e-3
    assert better > 5


def test_beam_of_one_is_greedy() -> None:
    source = problems(50)
    for seed in range(5):
        one, beam = greedy(Tree(seed), source, 7), beam_search(Tree(seed), source, 7, Decoding(beam=1))
        assert one.tokens.tolist() == beam.tokens.tolist()
        assert beam.rank.tolist() == [0] * 50
        np.testing.assert_allclose(one.log_probability, beam.log_probability, rtol=1e-5, atol=1e-6)


def test_hypotheses_do_not_depend_on_the_batch() -> None:
    decoding = Decoding(beam=3)
    together = beam_search(Tree(1), problems(30), 8, decoding)
    for k in range(30):
        alone = beam_search(Tree(1), problems(30)[k : k + 1], 8, decoding)
        assert hypotheses(alone, 0) == [(w, pytest.approx(p)) for w, p in hypotheses(together, k)]


def test_early_stopping_takes_fewer_steps() -> None:
    early, late = Tree(2, sharpness=1.0), Tree(2, sharpness=1.0)
    first = beam_search(early, problems(40), 12, Decoding(beam=4, length_penalty=1.0))
    last = beam_search(late, problems(40), 12, Decoding(beam=4, length_penalty=1.0, early_stopping=False))
    assert sum(early.batch_sizes) < sum(late.batch_sizes)
    assert early.batch_sizes[-1] < 160  # finished problems left the batch
    for k in range(40):
        assert len(hypotheses(first, k)) == len(hypotheses(last, k)) == 4
        score = [[p / len(w) for w, p in hypotheses(decoded, k)] for decoded in (first, last)]
        assert score[1][0] >= score[0][0] - 1e-6
        assert score[0] == sorted(score[0], reverse=True)


def test_unterminated_hypotheses_rank_behind_complete_ones() -> None:
    decoded = beam_search(Tree(5), problems(20), 3, Decoding(beam=6, early_stopping=False))
    mixed = 0
    for k in range(20):
        complete = [tokens[-1] == END for tokens, _ in hypotheses(decoded, k)]
        assert complete == sorted(complete, reverse=True)
        assert all(len(w) == 3 for (w, _), e in zip(hypotheses(decoded, k), complete, strict=True) if not e)
        mixed += len(set(complete)) == 2
    assert mixed


def test_hypotheses_are_distinct() -> None:
    decoded = beam_search(Tree(7, sharpness=0.5), problems(25), 6, Decoding(beam=9, early_stopping=False))
    for k in range(25):
        sequences = [tokens for tokens, _ in hypotheses(decoded, k)]
        assert len(set(sequences)) == len(sequences) == 9


def test_first_continuation_keeps_its_row() -> None:
    parents = torch.tensor([[0, 1, 2, 3], [2, 2, 2, 0], [3, 3, 1, 1], [1, 0, 3, 2]])
    slots = _slots(parents)
    assert [sorted(row) for row in slots.tolist()] == [[0, 1, 2, 3]] * 4
    assert slots[0].tolist() == [0, 1, 2, 3] and slots[3].tolist() == [1, 0, 3, 2]
    assert slots[1, 0] == 2 and slots[1, 3] == 0
    assert slots[2, 0] == 3 and slots[2, 2] == 1


def build_model(positions: str = "structured", layers: int = 2) -> Transformer:
    torch.manual_seed(3)
    form = MatrixTokenizer.named("B1999").format
    config = ModelConfig(
        encoder_width=16,
        decoder_width=16,
        encoder_heads=2,
        decoder_heads=2,
        decoder_layers=layers,
        dtype="float32",
        positions=positions,  # type: ignore[arg-type]
    )
    model = Transformer(config, form, form).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
        model.output_bias[8:109] = -200
        model.output_bias[END] = -1
        model.output_bias[PAD] = -200
    return model


@pytest.mark.parametrize("positions", ["structured", "learned"])
def test_log_probabilities_match_full_forward(positions: str) -> None:
    transformer = build_model(positions)
    source = torch.randint(2, 110, (9, 6))
    source[3, 4:] = PAD
    with decoding_mode(transformer):
        decoded = beam_search(transformer, source, 8, Decoding(beam=4))
    assert len(decoded) == 36
    assert len({tuple(t) for t in decoded.tokens.tolist()}) > 12
    for tokens, total, problem in zip(decoded.tokens, decoded.log_probability, decoded.problem, strict=True):
        target = [t for t in tokens.tolist() if t != PAD]
        unpadded = source[problem][source[problem] != PAD].unsqueeze(0)
        with torch.no_grad():
            log_p = transformer(unpadded, torch.tensor([target]))[0].log_softmax(-1)
        assert total == pytest.approx(float(log_p[torch.arange(len(target)), target].sum()), rel=1e-4)


def test_shared_and_plain_caches_give_the_same_hypotheses() -> None:
    transformer = build_model()

    class Plain:
        """The same model with a cache that cannot share rows."""

        def encode(self, source: Tensor) -> object:
            return transformer.encode(source)

        def init_cache(self, memory: object, max_length: int) -> PlainCache:
            return PlainCache(transformer.init_cache(memory, max_length))  # type: ignore[arg-type]

        def step(self, tokens: Tensor, cache: PlainCache) -> Tensor:
            return transformer.step(tokens, cache.inner)  # type: ignore[arg-type]

    @dataclass
    class PlainCache:
        inner: object

        def select(self, index: Tensor) -> PlainCache:
            return PlainCache(self.inner.select(index))  # type: ignore[attr-defined]

    source = torch.randint(2, 110, (20, 6))
    for decoding in (Decoding(beam=3), Decoding(beam=5, early_stopping=False, length_penalty=0.5)):
        shared, plain = (beam_search(m, source, 9, decoding) for m in (transformer, Plain()))
        assert shared.tokens.tolist() == plain.tokens.tolist()
        np.testing.assert_allclose(shared.log_probability, plain.log_probability, rtol=1e-5)


def test_sample_frequencies_match_the_model() -> None:
    tree, count = Tree(4, sharpness=1.0), 4000
    source = torch.zeros((count, 1), dtype=torch.int64)
    for temperature in (1.0, 0.5, 2.0):
        samples = sample(tree, source, 1, np.arange(count), Decoding(temperature=temperature))
        frequencies = np.bincount(samples.tokens[:, 0], minlength=VOCABULARY) / count
        p = (tree.log_p((0, END)).double() / temperature).softmax(-1).numpy()
        np.testing.assert_allclose(frequencies, p, atol=4 * math.sqrt(0.25 / count))
        log_p = tree.log_p((0, END)).double().log_softmax(-1).numpy()
        np.testing.assert_allclose(samples.log_probability, log_p[samples.tokens[:, 0]], rtol=1e-5)


def test_samples_depend_on_the_row_number_alone() -> None:
    decoding = Decoding(temperature=1.0, samples=3, seed=11)
    together = sample(Tree(6), problems(30), 6, np.arange(100, 130), decoding)
    assert len(together) == 90 and together.rank.max() == 2
    for part in (slice(0, 7), slice(7, 30)):
        alone = sample(Tree(6), problems(30)[part], 6, np.arange(100, 130)[part], decoding)
        for k in range(part.stop - part.start):
            assert hypotheses(alone, k) == hypotheses(together, part.start + k)
    other = sample(Tree(6), problems(30), 6, np.arange(100, 130), Decoding(temperature=1.0, samples=3, seed=12))
    assert other.tokens.shape != together.tokens.shape or (other.tokens != together.tokens).any()
    uniform = uniform_samples(1, np.array([5, 6]), 0, 8)
    assert uniform.min() >= 0 and uniform.max() < 1 and (uniform[0] != uniform[1]).all()
    assert uniform_samples(1, np.array([6]), 0, 3).tolist() == uniform[1:, :3].tolist()


def test_low_temperature_is_greedy() -> None:
    samples = sample(Tree(8), problems(20), 6, np.arange(20), Decoding(temperature=1e-3))
    assert samples.tokens.tolist() == greedy(Tree(8), problems(20), 6).tokens.tolist()


def test_empty_batch_and_invalid_length() -> None:
    empty = torch.zeros((0, 1), dtype=torch.int64)
    assert len(beam_search(Tree(1), empty, 3, Decoding(beam=3))) == 0
    with pytest.raises(ValueError, match="for END"):
        beam_search(Tree(1), problems(1), 0, Decoding(beam=2))


@pytest.mark.parametrize(("columns", "count"), [(32, 4), (320, 1), (1024, 3), (11_104, 20)])
@pytest.mark.parametrize("width", [1, 3])
def test_largest_matches_topk_of_all_values(width: int, columns: int, count: int) -> None:
    values, offset = torch.randn(7, width, columns), torch.randn(7, width)
    values[0] = values[0].flatten().argsort().view(width, columns).float()  # all distinct
    values[1, :, : columns // 2] = -torch.inf
    offset[2, 1:] = -torch.inf  # a single running hypothesis
    rows, indices = _largest(values, offset, count)
    expected = (values + offset.unsqueeze(2)).flatten(1).topk(count, dim=1).indices
    assert (rows * columns + indices).tolist() == expected.tolist()


def test_largest_of_few_finite_values_are_distinct() -> None:
    values = torch.full((2, 2, 1024), -torch.inf)
    values[:, :, 990:993] = torch.arange(3.0)
    rows, indices = _largest(values, torch.zeros(2, 2), 6)
    assert all(len({*zip(r, c, strict=True)}) == 6 for r, c in zip(rows.tolist(), indices.tolist(), strict=True))
    assert {*indices.flatten().tolist()} == {990, 991, 992}


@pytest.mark.parametrize("vocabulary", [VOCABULARY, 33, 322])
def test_fewer_sequences_than_the_beam(vocabulary: int) -> None:
    """Impossible tokens are never generated, whatever the size of the vocabulary."""
    model, last = TwoTokens(0, vocabulary=vocabulary), vocabulary - 1
    decoded = beam_search(model, problems(3), 4, Decoding(beam=10, early_stopping=False))
    for problem in range(3):
        complete = {(*(last,) * count, END) for count in range(4)}
        assert {tokens for tokens, _ in hypotheses(decoded, problem)} == complete | {(last,) * 4}


class TwoTokens(Tree):
    """Only END and the last token are possible."""

    def log_p(self, prefix: tuple[int, ...]) -> Tensor:
        assert all(0 <= token < self.vocabulary for token in prefix[1:])
        logits = torch.full((self.vocabulary,), -torch.inf)
        logits[[END, -1]] = super().log_p(prefix)[[END, -1]]
        return logits


class Broken(Tree):
    """The logits of odd problems are NaN from the second token on."""

    def log_p(self, prefix: tuple[int, ...]) -> Tensor:
        logits = super().log_p(prefix)
        return torch.full_like(logits, torch.nan) if prefix[0] % 2 and len(prefix) > 2 else logits


@pytest.mark.parametrize("width", [1, 3])
def test_problem_with_nan_logits_keeps_a_hypothesis(width: int) -> None:
    decoded = beam_search(Broken(0), problems(4), 6, Decoding(beam=width))
    assert sorted({*decoded.problem.tolist()}) == [0, 1, 2, 3]
    expected = beam_search(Tree(0), problems(4), 6, Decoding(beam=width))
    for problem in (0, 2):
        assert hypotheses(decoded, problem) == hypotheses(expected, problem)
    undefined = beam_search(NaN(), problems(2), 6, Decoding(beam=width))
    assert undefined.rank.tolist() == [0, 0] and (undefined.tokens != END).all()
    assert np.isnan(undefined.log_probability).all()


class NaN(Tree):
    def __init__(self) -> None:
        super().__init__(0)

    def log_p(self, prefix: tuple[int, ...]) -> Tensor:
        return torch.full((self.vocabulary,), torch.nan)


class DeadEnd:
    """A grammar in which no token may follow token 4."""

    def __init__(self, rows: int) -> None:
        self.stuck = torch.zeros(rows, dtype=torch.bool)

    def allowed(self) -> Tensor:
        return ~self.stuck.unsqueeze(1).expand(-1, VOCABULARY)

    def advance(self, tokens: Tensor) -> None:
        self.stuck |= tokens == 4

    def select(self, index: Tensor) -> None:
        self.stuck = self.stuck[index]

    def complete(self) -> Tensor:
        return torch.zeros_like(self.stuck)


def test_dead_ends_leave_room_for_other_hypotheses() -> None:
    model = Tree(3)
    decoded = beam_search(model, problems(1), 3, Decoding(beam=60, early_stopping=False), DeadEnd(1))
    sequences = {tokens for tokens, _ in hypotheses(decoded, 0)}
    assert {tokens for tokens in model.all_sequences(0, 3) if not {PAD, 4} & {*tokens}} <= sequences
