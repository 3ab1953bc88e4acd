"""Beam search and sampling over models whose best sequences are known by exhaustive search."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from mathpipe.datasets.tokenizers.matrix_tokenizer import END, PAD, MatrixTokenizer
from mathpipe.evaluate.decode.beam_search import _largest, _slots, beam_search
from mathpipe.evaluate.decode.decoding import Decoding, Hypotheses, decoding_mode, greedy, sample, uniform_samples
from mathpipe.train.config import ModelConfig
from mathpipe.train.model.transformer import Transformer

pytestmark = pytest.mark.processor

WORDS = 5  # END, PAD and three others


@dataclass
class TreeCache:
    said: list[tuple[int, ...]]  # the problem and the words of each row

    def select(self, index: Tensor) -> TreeCache:
        return TreeCache([self.said[i] for i in index.tolist()])


class Tree:
    """p(word | problem, words before) drawn once for each prefix: any sequence can be the best."""

    def __init__(self, seed: int, sharpness: float = 2.0, words: int = WORDS) -> None:
        self.seed, self.sharpness, self.words = seed, sharpness, words
        self.rows: list[int] = []

    def log_p(self, said: tuple[int, ...]) -> Tensor:
        rng = np.random.default_rng([self.seed, *said])
        logits = torch.from_numpy(self.sharpness * rng.normal(size=self.words)).float()
        logits[PAD] = -50.0
        return logits

    def encode(self, source: Tensor) -> Tensor:
        return source[:, 0]

    def init_cache(self, memory: Tensor, max_length: int) -> TreeCache:
        return TreeCache([(int(problem),) for problem in memory])

    def step(self, tokens: Tensor, cache: TreeCache) -> Tensor:
        self.rows.append(len(tokens))
        cache.said = [(*said, word) for said, word in zip(cache.said, tokens.tolist(), strict=True)]
        return torch.stack([self.log_p(said) for said in cache.said])

    def all_sequences(self, problem: int, longest: int) -> dict[tuple[int, ...], float]:
        """Every sequence that ends within ``longest`` words, with its log probability."""
        found = {}
        for length in range(longest):
            for body in itertools.product(range(1, self.words), repeat=length):
                total, said = 0.0, (problem, END)
                for word in (*body, END):
                    total += float(self.log_p(said).double().log_softmax(-1)[word])
                    said = (*said, word)
                found[(*body, END)] = total
        return found


def problems(count: int) -> Tensor:
    return torch.arange(count).unsqueeze(1)


def hypotheses(decoded: Hypotheses, problem: int) -> list[tuple[tuple[int, ...], float]]:
    """The words of each hypothesis of a problem, up to END, in the order of rank."""
    at = np.flatnonzero(decoded.problem == problem)
    assert decoded.rank[at].tolist() == list(range(len(at)))
    return [(tuple(w for w in decoded.tokens[i].tolist() if w != PAD), float(decoded.log_probability[i])) for i in at]


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_a_wide_beam_finds_what_exhaustive_search_finds(penalty: float) -> None:
    model, longest, width = Tree(3), 4, 60
    decoding = Decoding(beam=width, length_penalty=penalty, early_stopping=False)
    decoded = beam_search(model, problems(3), longest, decoding)
    for problem in range(3):
        every = model.all_sequences(problem, longest)
        best = sorted(every, key=lambda words: -every[words] / len(words) ** penalty)
        found = hypotheses(decoded, problem)
        ended = [(words, total) for words, total in found if words[-1] == END]
        assert [words for words, _ in ended][:10] == best[:10]
        np.testing.assert_allclose(
            [total for _, total in ended[:20]], [every[words] for words, _ in ended[:20]], rtol=1e-5
        )


def test_a_beam_beats_greedy_where_the_first_word_misleads() -> None:
    better = 0
    for seed in range(40):
        one = greedy(Tree(seed), problems(1), 6)
        many = beam_search(Tree(seed), problems(1), 6, Decoding(beam=4, length_penalty=0, early_stopping=False))
        if END in one.tokens[0]:
            assert many.log_probability[0] >= one.log_probability[0] - 1e-5
            better += many.log_probability[0] > one.log_probability[0] + 1e-3
    assert better > 5


def test_beam_one_is_greedy() -> None:
    source = problems(50)
    for seed in range(5):
        one, beam = greedy(Tree(seed), source, 7), beam_search(Tree(seed), source, 7, Decoding(beam=1))
        assert one.tokens.tolist() == beam.tokens.tolist()
        assert beam.rank.tolist() == [0] * 50
        np.testing.assert_allclose(one.log_probability, beam.log_probability, rtol=1e-5, atol=1e-6)


def test_problems_do_not_disturb_each_other() -> None:
    decoding = Decoding(beam=3)
    together = beam_search(Tree(1), problems(30), 8, decoding)
    for k in range(30):
        alone = beam_search(Tree(1), problems(30)[k : k + 1], 8, decoding)
        assert hypotheses(alone, 0) == [(w, pytest.approx(p)) for w, p in hypotheses(together, k)]


def test_early_stopping_ends_with_the_first_complete_ones_and_leaves_the_batch() -> None:
    early, late = Tree(2, sharpness=1.0), Tree(2, sharpness=1.0)
    first = beam_search(early, problems(40), 12, Decoding(beam=4, length_penalty=1.0))
    last = beam_search(late, problems(40), 12, Decoding(beam=4, length_penalty=1.0, early_stopping=False))
    assert sum(early.rows) < sum(late.rows)
    assert early.rows[-1] < 160  # those that are done no longer take part
    for k in range(40):
        assert len(hypotheses(first, k)) == len(hypotheses(last, k)) == 4
        score = [[p / len(w) for w, p in hypotheses(found, k)] for found in (first, last)]
        assert score[1][0] >= score[0][0] - 1e-6
        assert score[0] == sorted(score[0], reverse=True)


def test_without_an_end_the_running_hypotheses_are_returned_behind_complete_ones() -> None:
    decoded = beam_search(Tree(5), problems(20), 3, Decoding(beam=6, early_stopping=False))
    mixed = 0
    for k in range(20):
        ended = [words[-1] == END for words, _ in hypotheses(decoded, k)]
        assert ended == sorted(ended, reverse=True)
        assert all(len(w) == 3 for (w, _), e in zip(hypotheses(decoded, k), ended, strict=True) if not e)
        mixed += len(set(ended)) == 2
    assert mixed


def test_no_hypothesis_comes_twice() -> None:
    decoded = beam_search(Tree(7, sharpness=0.5), problems(25), 6, Decoding(beam=9, early_stopping=False))
    for k in range(25):
        words = [w for w, _ in hypotheses(decoded, k)]
        assert len(set(words)) == len(words) == 9


def test_continuations_stay_in_their_rows() -> None:
    parents = torch.tensor([[0, 1, 2, 3], [2, 2, 2, 0], [3, 3, 1, 1], [1, 0, 3, 2]])
    slots = _slots(parents)
    assert [sorted(row) for row in slots.tolist()] == [[0, 1, 2, 3]] * 4
    assert slots[0].tolist() == [0, 1, 2, 3] and slots[3].tolist() == [1, 0, 3, 2]
    assert slots[1, 0] == 2 and slots[1, 3] == 0
    assert slots[2, 0] == 3 and slots[2, 2] == 1


def model(positions: str = "structured", layers: int = 2) -> Transformer:
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
    made = Transformer(config, form, form).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter))
        made.output_bias[8:109] = -200
        made.output_bias[END] = -1
        made.output_bias[PAD] = -200
    return made


@pytest.mark.parametrize("positions", ["structured", "learned"])
def test_a_real_model_with_a_shared_memory_scores_its_hypotheses_as_without_a_cache(positions: str) -> None:
    transformer = model(positions)
    source = torch.randint(2, 110, (9, 6))
    source[3, 4:] = PAD
    with decoding_mode(transformer):
        decoded = beam_search(transformer, source, 8, Decoding(beam=4))
    assert len(decoded) == 36
    assert len({tuple(t) for t in decoded.tokens.tolist()}) > 12
    for tokens, total, problem in zip(decoded.tokens, decoded.log_probability, decoded.problem, strict=True):
        words = [w for w in tokens.tolist() if w != PAD]
        own = source[problem][source[problem] != PAD].unsqueeze(0)
        with torch.no_grad():
            log_p = transformer(own, torch.tensor([words]))[0].log_softmax(-1)
        assert total == pytest.approx(float(log_p[torch.arange(len(words)), words].sum()), rel=1e-4)


def test_a_shared_cache_and_a_plain_one_find_the_same() -> None:
    transformer = model()

    class Plain:
        """The same model behind a cache that can only be selected from."""

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


def test_sampling_draws_from_the_model_at_its_temperature() -> None:
    tree, count = Tree(4, sharpness=1.0), 4000
    source = torch.zeros((count, 1), dtype=torch.int64)
    for temperature in (1.0, 0.5, 2.0):
        found = sample(tree, source, 1, np.arange(count), Decoding(temperature=temperature))
        shares = np.bincount(found.tokens[:, 0], minlength=WORDS) / count
        p = (tree.log_p((0, END)).double() / temperature).softmax(-1).numpy()
        np.testing.assert_allclose(shares, p, atol=4 * math.sqrt(0.25 / count))
        plain = tree.log_p((0, END)).double().log_softmax(-1).numpy()
        np.testing.assert_allclose(found.log_probability, plain[found.tokens[:, 0]], rtol=1e-5)


def test_what_is_drawn_for_a_row_depends_on_its_number_alone() -> None:
    decoding = Decoding(temperature=1.0, samples=3, seed=11)
    together = sample(Tree(6), problems(30), 6, np.arange(100, 130), decoding)
    assert len(together) == 90 and together.rank.max() == 2
    for part in (slice(0, 7), slice(7, 30)):
        alone = sample(Tree(6), problems(30)[part], 6, np.arange(100, 130)[part], decoding)
        for k in range(part.stop - part.start):
            assert hypotheses(alone, k) == hypotheses(together, part.start + k)
    other = sample(Tree(6), problems(30), 6, np.arange(100, 130), Decoding(temperature=1.0, samples=3, seed=12))
    assert other.tokens.shape != together.tokens.shape or (other.tokens != together.tokens).any()
    draws = uniform_samples(1, np.array([5, 6]), 0, 8)
    assert draws.min() >= 0 and draws.max() < 1 and (draws[0] != draws[1]).all()
    assert uniform_samples(1, np.array([6]), 0, 3).tolist() == draws[1:, :3].tolist()


def test_a_cold_sample_is_greedy() -> None:
    found = sample(Tree(8), problems(20), 6, np.arange(20), Decoding(temperature=1e-3))
    assert found.tokens.tolist() == greedy(Tree(8), problems(20), 6).tokens.tolist()


def test_nothing_to_decode() -> None:
    empty = torch.zeros((0, 1), dtype=torch.int64)
    assert len(beam_search(Tree(1), empty, 3, Decoding(beam=3))) == 0
    with pytest.raises(ValueError, match="room for END"):
        beam_search(Tree(1), problems(1), 0, Decoding(beam=2))


@pytest.mark.parametrize(("columns", "count"), [(32, 4), (320, 1), (1024, 3), (11_104, 20)])
@pytest.mark.parametrize("width", [1, 3])
def test_the_largest_by_blocks_are_those_of_all_values(width: int, columns: int, count: int) -> None:
    values, shift = torch.randn(7, width, columns), torch.randn(7, width)
    values[0] = values[0].flatten().argsort().view(width, columns).float()  # all apart
    values[1, :, : columns // 2] = -torch.inf
    shift[2, 1:] = -torch.inf  # one row runs alone
    rows, found = _largest(values, shift, count)
    expected = (values + shift.unsqueeze(2)).flatten(1).topk(count, dim=1).indices
    assert (rows * columns + found).tolist() == expected.tolist()


def test_the_largest_hold_nothing_twice_where_few_values_are_possible() -> None:
    values = torch.full((2, 2, 1024), -torch.inf)
    values[:, :, 990:993] = torch.arange(3.0)
    rows, found = _largest(values, torch.zeros(2, 2), 6)
    assert all(len({*zip(r, c, strict=True)}) == 6 for r, c in zip(rows.tolist(), found.tolist(), strict=True))
    assert {*found.flatten().tolist()} == {990, 991, 992}


@pytest.mark.parametrize("words", [WORDS, 33, 322])
def test_fewer_words_than_places_in_the_beam(words: int) -> None:
    """Where almost nothing is possible, nothing impossible is said, whatever the size of the vocabulary."""
    few = Few(0, words=words)
    found = beam_search(few, problems(3), 4, Decoding(beam=10, early_stopping=False))
    for problem in range(3):
        # END, or the last word and so on: four sequences in all, and the running one
        assert {said for said, _ in hypotheses(found, problem)} == {
            (END,),
            (words - 1, END),
            (words - 1, words - 1, END),
            (words - 1, words - 1, words - 1, END),
            (words - 1,) * 4,
        }


class Few(Tree):
    """Only END and the last word are possible."""

    def log_p(self, said: tuple[int, ...]) -> Tensor:
        assert all(0 <= word < self.words for word in said[1:])
        found = torch.full((self.words,), -torch.inf)
        found[[END, -1]] = super().log_p(said)[[END, -1]]
        return found


class Broken(Tree):
    """Logits of odd problems are no numbers, from their second word on."""

    def log_p(self, said: tuple[int, ...]) -> Tensor:
        found = super().log_p(said)
        return torch.full_like(found, torch.nan) if said[0] % 2 and len(said) > 2 else found


@pytest.mark.parametrize("width", [1, 3])
def test_a_problem_whose_logits_are_no_numbers_is_not_left_out(width: int) -> None:
    found = beam_search(Broken(0), problems(4), 6, Decoding(beam=width))
    assert sorted({*found.problem.tolist()}) == [0, 1, 2, 3]
    right = beam_search(Tree(0), problems(4), 6, Decoding(beam=width))
    for problem in (0, 2):
        assert hypotheses(found, problem) == hypotheses(right, problem)
    always = beam_search(NaN(), problems(2), 6, Decoding(beam=width))
    assert always.rank.tolist() == [0, 0] and (always.tokens != END).all() and np.isnan(always.log_probability).all()


class NaN(Tree):
    def __init__(self) -> None:
        super().__init__(0)

    def log_p(self, said: tuple[int, ...]) -> Tensor:
        return torch.full((self.words,), torch.nan)


class Dead:
    """A grammar in which word 4 leads nowhere."""

    def __init__(self, rows: int) -> None:
        self.stuck = torch.zeros(rows, dtype=torch.bool)

    def allowed(self) -> Tensor:
        return ~self.stuck.unsqueeze(1).expand(-1, WORDS)

    def advance(self, words: Tensor) -> None:
        self.stuck |= words == 4

    def select(self, index: Tensor) -> None:
        self.stuck = self.stuck[index]

    def complete(self) -> Tensor:
        return torch.zeros_like(self.stuck)


def test_a_row_that_no_word_can_continue_crowds_none_out() -> None:
    model = Tree(3)
    found = beam_search(model, problems(1), 3, Decoding(beam=60, early_stopping=False), Dead(1))
    written = {words for words, _ in hypotheses(found, 0)}
    expected = {words for words in model.all_sequences(0, 3) if not {PAD, 4} & {*words}}
    assert expected <= written
