"""Published data files: lines ``count|problem<TAB>solution`` in prefix notation.

Nothing in a file is evaluated: tokens are looked up in the vocabulary, and a strict parser checks that they form an expression.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.expressions.prefix import Malformed, parse
from mathpipe.datasets.expressions.validation import prevalidate
from mathpipe.datasets.expressions.vocabulary import IDS
from mathpipe.datasets.io.import_records import Fault, Fields, Record, RejectedLine, read_fields
from mathpipe.datasets.io.source_files import read_records

_BATCH_LINES = 1_000  # lines validated together
_COLUMNS = {"problem": "problem", "solution": "solution"}


@dataclass(frozen=True)
class Pair:
    """Problem and solution as token ids."""

    problem: bytes
    solution: bytes


def read_pairs(path: str, split: str) -> Iterator[Pair | RejectedLine]:
    """Yield the pair of every line of a file, or why the line is left out."""
    records = read_records(path, split)
    while batch := list(itertools.islice(records, _BATCH_LINES)):
        for record, result in zip(batch, parse_records(batch), strict=True):
            yield record.reject(result) if isinstance(result, Fault) else result


def parse_records(records: Sequence[Record]) -> list[Pair | Fault]:
    """The pair of each line, or why it is left out."""
    fields = [read_fields(record, "text", _COLUMNS, counted=True) or {} for record in records]
    pairs = iter(parse_tokens([each for each in fields if not isinstance(each, Fault)]))
    return [each if isinstance(each, Fault) else next(pairs) for each in fields]


def parse_line(line: bytes) -> Pair | Fault:
    """The pair of one line, or the reason to reject it."""
    return parse_records([Record("", 1, line)])[0]


def parse_tokens(fields: Sequence[Fields]) -> list[Pair | Fault]:
    """The pairs that texts of prefix tokens write; validated together."""
    results = [_look_up(each) for each in fields]
    pairs = [pair for pair in results if isinstance(pair, Pair)]
    sides = ([pair.problem for pair in pairs], [pair.solution for pair in pairs])
    valid = iter(np.logical_and(*(prevalidate(Sequences.from_list(side)) for side in sides)).tolist())
    return [result if isinstance(result, Fault) or next(valid) else parse_strictly(result) for result in results]


def _look_up(fields: Fields) -> Pair | Fault:
    """The token ids of two texts, before checking that they form expressions."""
    sides = []
    for name in _COLUMNS:
        try:
            sides.append(bytes(map(IDS.__getitem__, fields[name].split())))
        except KeyError as error:
            return Fault(f"malformed {name}", f"{name}: unknown token {error.args[0][:40]!r}")
    return Pair(sides[0], sides[1])


def parse_strictly(pair: Pair) -> Pair | Fault:
    """The pair, or the strict parser's reason to reject it."""
    for name, ids in (("problem", pair.problem), ("solution", pair.solution)):
        try:
            parse(ids)
        except Malformed as error:
            return Fault(f"malformed {name}", f"{name}: {error}")
    return pair
