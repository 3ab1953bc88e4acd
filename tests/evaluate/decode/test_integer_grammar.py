"""The grammar of integers: every constrained answer decodes, and every value that fits is allowed, in all layouts and encodings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mathpipe.datasets.containers.integer_layout import LARGEST_INTEGER, flatten
from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.integer_tokenizer import IntegerTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END, DecodeStatus
from mathpipe.evaluate.decode.beam_search import beam_search
from mathpipe.evaluate.decode.decoding import greedy, sample
from mathpipe.evaluate.decode.hypotheses import Decoding
from mathpipe.evaluate.decode.integer_grammar import IntegerGrammar
from mathpipe.generate.tasks.integer_task import IntegerTask
from mathpipe.generate.tasks.task_registry import TASKS

RANGE = (-9, 9)
LAYOUTS = ("int", "(int, int)", "[int]", "[(int, int)]", "([int], int)", "[[int]]", "([[int]], [int])")
ENCODINGS = (
    *("base2", "base3", "base10", "base1000", "base10+brackets", "residues2", "residues6", "residues15"),
    *("residues6+brackets", "residues:89,97", "symbol", "symbols:-1,0=(,1=)"),
)


class NoiseCache:
    def __init__(self, rows: Tensor, position: int = 0) -> None:
        self.rows, self.position = rows, position

    def select(self, index: Tensor) -> NoiseCache:
        return NoiseCache(self.rows[index], self.position)


class Noise:
    """A model with random logits at each position of each problem, and optionally one ``preferred`` token."""

    def __init__(self, vocabulary: int, preferred: int | None = None) -> None:
        self.vocabulary, self.preferred = vocabulary, preferred

    def encode(self, source: Tensor) -> Tensor:
        return source[:, 0]

    def init_cache(self, memory: Tensor, max_length: int) -> NoiseCache:
        return NoiseCache(memory)

    def step(self, tokens: Tensor, cache: NoiseCache) -> Tensor:
        cache.position += 1
        rows = [
            np.random.default_rng([row, cache.position]).normal(size=self.vocabulary) for row in cache.rows.tolist()
        ]
        logits = torch.from_numpy(3 * np.stack(rows)).float()
        if self.preferred is not None:
            logits[:, self.preferred] += 40
        return logits


INTEGER_TASKS = [task for task in TASKS.values() if isinstance(task, IntegerTask)]


def is_allowed(tokenizer: IntegerTokenizer, tokens: list[int], max_length: int) -> bool:
    grammar = IntegerGrammar(tokenizer, 1, max_length)
    for token in (*tokens, END):
        if not grammar.allowed()[0, token]:
            return False
        grammar.advance(torch.tensor([token]))
    return True


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_constrained_answers_decode(layout: str, encoding: str) -> None:
    """Whatever the model prefers, and however little room there is."""
    tokenizer = IntegerTokenizer.named(encoding, layout, RANGE)
    size = len(tokenizer.vocabulary)
    source = torch.arange(4).unsqueeze(1)
    for longest in (45,):
        for preferred in (None, size - 1, 2):
            model = Noise(size, preferred)
            for name in ("greedy", "beam", "sample") if preferred is None else ("greedy",):
                if name == "greedy":
                    decoded = greedy(model, source, longest, IntegerGrammar(tokenizer, 4, longest))
                elif name == "beam":
                    decoded = beam_search(
                        model, source, longest, Decoding(beam=3), IntegerGrammar(tokenizer, 4, longest)
                    )
                else:
                    sampling = Decoding(temperature=1.0, samples=2)
                    decoded = sample(
                        model,
                        source,
                        longest,
                        np.arange(4),
                        sampling,
                        lambda: IntegerGrammar(tokenizer, 4, longest),  # noqa: B023
                    )
                _, status = tokenizer.decode(decoded.tokens)
                assert (status == DecodeStatus.OK).all(), tokenizer.ids_to_tokens(
                    decoded.tokens[int((status != DecodeStatus.OK).argmax())]
                )
                assert len(decoded) and np.isfinite(decoded.log_probability).all()


def values_of(layout: str, integers: st.SearchStrategy[int]) -> st.SearchStrategy[Any]:
    """Values of one of the layouts above."""
    lists = st.lists(integers, max_size=4)
    return {
        "int": integers,
        "(int, int)": st.tuples(integers, integers),
        "[int]": lists,
        "[(int, int)]": st.lists(st.tuples(integers, integers), max_size=4),
        "([int], int)": st.tuples(lists, integers),
        "[[int]]": st.lists(lists, max_size=4),
        "([[int]], [int])": st.tuples(st.lists(lists, max_size=3), lists),
    }[layout]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_value_is_allowed_and_only_sequences_that_decode(data: st.DataObject) -> None:
    layout, encoding = data.draw(st.sampled_from(LAYOUTS)), data.draw(st.sampled_from(ENCODINGS))
    tokenizer = IntegerTokenizer.named(encoding, layout, RANGE)
    integers = st.one_of(st.integers(-1, 1), st.integers(-9, 9), st.integers(-LARGEST_INTEGER, LARGEST_INTEGER))
    value = data.draw(values_of(layout, integers))
    try:
        tokens, lengths = tokenizer.encode(IntegerSequences.from_list([flatten(layout, value)]))
    except UserError:  # the encoding has not all integers
        return
    encoded = tokens[0, : lengths[0]].tolist()
    assert is_allowed(tokenizer, encoded, len(encoded) + 1)  # exactly as much room as it needs
    assert is_allowed(tokenizer, encoded, len(encoded) + data.draw(st.integers(2, 9)))
    changed = list(encoded)  # one token replaced, added or removed: allowed if and only if it decodes
    place, kind = data.draw(st.integers(0, len(changed))), data.draw(st.sampled_from(("replace", "add", "remove")))
    token = data.draw(st.integers(1, len(tokenizer.vocabulary) - 1))
    changed[place : place + (kind != "add")] = [] if kind == "remove" else [token]
    _, status = tokenizer.decode(np.array([[*changed, END]]))
    assert is_allowed(tokenizer, changed, len(encoded) + 9) == (status[0] == DecodeStatus.OK)


@pytest.mark.parametrize("task", INTEGER_TASKS, ids=lambda task: task.name)
def test_right_answers_of_each_task_are_allowed(task: IntegerTask[Any]) -> None:
    spec = task.resolve(task.default_spec)
    _, solutions = task.sample_solved(np.random.default_rng(0), 40, spec)
    stated = spec.solution_range
    names = ["base10", "base1000", "base10+brackets", "residues15", "residues15+brackets"]
    for name in [*names, *(["symbol"] if stated and stated[1] - stated[0] < 1000 else [])]:
        tokenizer = IntegerTokenizer.named(name, task.solution_layout, stated)
        tokens, lengths = tokenizer.encode(solutions)
        longest = int(lengths.max()) + 1
        grammar = IntegerGrammar(tokenizer, len(solutions), longest)
        rows = torch.arange(len(solutions))
        for position in range(longest):
            inside = torch.from_numpy(position < lengths)
            current = torch.full((len(rows),), END)
            if position < tokens.shape[1]:
                current = torch.where(inside, torch.from_numpy(tokens[:, position].astype(np.int64)), current)
            assert grammar.allowed()[rows, current].all()
            grammar.advance(current)


@pytest.mark.parametrize(
    ("encoding", "value"),
    [("base10", LARGEST_INTEGER), ("base10", -LARGEST_INTEGER), ("base7", LARGEST_INTEGER), ("residues2", -1)],
)
def test_extreme_integers(encoding: str, value: int) -> None:
    tokenizer = IntegerTokenizer.named(encoding, "int")
    encoded = tokenizer.encode(IntegerSequences.from_list([[value]]))[0][0].tolist()
    assert is_allowed(tokenizer, encoded, 90)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("base10", "+ 9 2 2 3 3 7 2 0 3 6 8 5 4 7 7 5 8 0 8"),  # 2^63
        ("base10", "- 0"),
        ("base10", "+ 0 1"),
        ("base10", "+"),
        ("base10", "7"),
        ("residues2", "1 0"),  # 3 modulo 6, which is P/2
    ],
)
def test_what_is_no_integer_is_not_allowed(encoding: str, text: str) -> None:
    tokenizer = IntegerTokenizer.named(encoding, "int")
    tokens = [tokenizer.vocabulary.index(token) for token in text.split()]
    assert not is_allowed(tokenizer, tokens, 90)


def test_too_little_room_is_an_error() -> None:
    with pytest.raises(ValueError, match="tokens"):
        IntegerGrammar(IntegerTokenizer.named("base10", "(int, int)"), 1, 4)
    assert is_allowed(IntegerTokenizer.named("base10", "(int, int)"), [2, 4, 2, 4], 5)
