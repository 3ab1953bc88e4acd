"""Tuples of integers with their size: the documented format of Int2Int."""

from __future__ import annotations

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_sequences import IntegerSequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.problem_types.type_registry import problem_type_of
from mathpipe.datasets.tokenizers.sized_tuples import sized_tuples
from mathpipe.datasets.tokenizers.tokenizer import DecodeStatus

LAYOUT = "(int, int)"


def test_tuple_begins_with_its_size() -> None:
    tokenizer = sized_tuples("base1000+size", LAYOUT)
    rows = IntegerSequences.from_list([[1024, 16], [0, -7]])
    tokens, lengths = tokenizer.encode(rows)
    texts = [" ".join(tokenizer.ids_to_tokens(t[:n])) for t, n in zip(tokens, lengths, strict=True)]
    assert texts == ["V2 + 1 24 + 16", "V2 + 0 - 7"] and tokenizer.name == "base1000+size"
    framed = np.pad(tokens, ((0, 0), (0, 1)), constant_values=1)
    framed[np.arange(2), lengths] = 0
    decoded, status = tokenizer.decode(framed)
    assert decoded.to_list() == rows.to_list() and (status == DecodeStatus.OK).all()


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("+ 1 + 2 <s>", DecodeStatus.MALFORMED),
        ("<s>", DecodeStatus.MALFORMED),
        ("V2 <s>", DecodeStatus.MALFORMED),
        ("V2 + 1 <s>", DecodeStatus.MALFORMED),
        ("+ 1 V2 <s>", DecodeStatus.MALFORMED),
        ("V2 + 1 + 2", DecodeStatus.UNTERMINATED),
        ("+ 1", DecodeStatus.UNTERMINATED),
        ("V2 + 1 + 2 <s>", DecodeStatus.OK),
    ],
)
def test_other_predictions_are_malformed(text: str, status: DecodeStatus) -> None:
    tokenizer = sized_tuples("base10+size", LAYOUT)
    rows, statuses = tokenizer.decode(np.array([tokenizer.tokens_to_ids(text.split())]))
    assert statuses.tolist() == [status] and rows.to_list() == ([[1, 2]] if status == DecodeStatus.OK else [[]])


def test_nothing_is_decoded_from_no_tokens() -> None:
    rows, status = sized_tuples("base10+size", LAYOUT).decode(np.zeros((2, 0), dtype=np.int64))
    assert rows.to_list() == [[], []] and (status == DecodeStatus.UNTERMINATED).all()


def test_single_integers_have_no_size_and_lists_are_refused() -> None:
    assert sized_tuples("base10+size", "int").vocabulary[-1] == "9"
    with pytest.raises(UserError, match="tuples of integers"):
        sized_tuples("base10+size", "[int]")
    spec = {"task": "gcd", "problems": {"kind": "integers", "problem_layout": LAYOUT, "solution_layout": "int"}}
    source, target = problem_type_of(spec).tokenizers(spec, "base10+size", "base10+size")
    assert (source.vocabulary[-1], target.vocabulary[-1]) == ("V2", "9")
