"""What the bit tasks share: drawing problems of a small space without repeats, counting its splits, judging answers.

A space of up to 2^16 problems is gone through in passes, each a permutation of all of them, so that a held-out split holds every
problem of its share once before any comes again. Larger spaces are drawn with replacement; how many rows of a chunk repeat
an earlier one stands in the manifest.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.tokenizers.bit_tokenizer import MASKED
from mathpipe.generate.outcomes import Judged
from mathpipe.generate.splits import TEST, TRAIN, VALID, in_split, sequence_hash, share

Bits = NDArray[np.uint8]
EXACT, WRONG_VALUE, MALFORMED, UNTERMINATED = range(4)
OUTCOMES = ("exact", "wrong_value", "malformed", "unterminated")
WIDEST_SMALL = 16  # bits of a problem whose space is enumerated
_DRAW_BYTES = 1 << 22  # of problems drawn at a time


def as_sequences(values: Bits) -> Sequences:
    """The rows of (m, L) as sequences."""
    return Sequences(values.reshape(-1), np.full(len(values), values.shape[1], dtype=np.int64))


def every_problem(width: int) -> Bits:
    """All problems of so many bits, (2^width, width), the first bit the most significant."""
    numbers = np.arange(1 << width, dtype=np.int64)[:, None]
    return ((numbers >> np.arange(width - 1, -1, -1)) & 1).astype(np.uint8)


@functools.lru_cache(maxsize=64)
def problems_of(width: int, split: str) -> float:
    """How many different problems of so many bits belong to a split: counted in a small space, else its share of them."""
    if width > WIDEST_SMALL:
        return share(split) * 2.0**width if width < 1000 else math.inf
    return float(in_split(sequence_hash(as_sequences(every_problem(width))), split).sum())


def chunk_rows(width: int) -> int:
    """Rows of train in a chunk: so many that one chunk's held-out rows are all that a small space has; 8 MB of others."""
    if width <= WIDEST_SMALL:
        held_out = max(problems_of(width, VALID), problems_of(width, TEST), 1)
        return math.ceil(held_out * share(TRAIN) / share(TEST))
    return max(1, min(10_000, (1 << 23) // width))


def drawn(width: int, generator: Callable[[int], np.random.Generator]) -> Iterator[Bits]:
    """Batches of problems without end: passes over a small space, independent draws from another."""
    k = 0
    space = every_problem(width) if width <= WIDEST_SMALL else None
    while True:
        rng = generator(k)
        k += 1
        if space is not None:
            yield space[rng.permutation(len(space))]
        else:
            yield fair_bits(rng, max(1, min(4096, _DRAW_BYTES // width)), width)


def fair_bits(rng: np.random.Generator, rows: int, width: int) -> Bits:
    """(rows, width) independent fair bits."""
    packed = rng.integers(0, 256, (rows, -(-width // 8)), dtype=np.uint8)
    return np.unpackbits(packed, axis=1, count=width)


def judged(problems: Sequences, predicted: Sequences, answer: Callable[[Bits], tuple[Bits, Bits | None]]) -> Judged:
    """Each prediction held bit by bit against what its problem asks for.

    ``answer(problems (m, L))`` gives (the right bits (m, n), which of them are hidden (m, n), or None); n is 0 where L is no length
    of a problem. ``bit_accuracy``: the share of the n places in which the prediction has the right bit, a place it lacks is wrong;
    ``hidden_bit_accuracy``: the same of the hidden ones.
    """
    outcome = np.full(len(predicted), MALFORMED, dtype=np.int8)
    shares, hidden_shares = np.full(len(predicted), np.nan), np.full(len(predicted), np.nan)
    for length in np.unique(problems.lengths).tolist():
        index = np.flatnonzero(problems.lengths == length)
        right, hidden = answer(problems.take(index).values.reshape(len(index), length))
        n = right.shape[1]
        if not n:
            continue
        said = predicted.take(index)
        given = np.full((len(index), max(n, int(said.lengths.max(initial=0)))), 255, dtype=np.uint8)
        given[np.arange(given.shape[1]) < said.lengths[:, None]] = said.values
        same = given[:, :n] == right
        formed = (said.lengths == n) & (given[:, :n] < MASKED).all(axis=1)
        outcome[index] = np.where(formed, np.where(same.all(axis=1), EXACT, WRONG_VALUE), MALFORMED)
        shares[index] = same.mean(axis=1)
        if hidden is not None:
            counted = hidden.sum(axis=1)
            found = (same & hidden.astype(bool)).sum(axis=1)
            hidden_shares[index] = np.where(counted > 0, found / np.maximum(counted, 1), np.nan)
    return Judged(outcome, {"bit_accuracy": shares, "hidden_bit_accuracy": hidden_shares})
