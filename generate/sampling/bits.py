"""Common parts of the bit tasks: sampling without repeats in small spaces, counting splits, verifying solutions.

A space of up to 2^16 problems is sampled in passes, each a permutation of all problems, so that a held-out split contains every
problem of its share once before any repeats. Larger spaces are sampled with replacement; the manifest counts the rows that
repeat an earlier one of their chunk.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.outcomes import Verification, exact_evidence
from mathpipe.generate.splits import TEST, TRAIN, VALID, in_split, sequence_hash, share

Bits = NDArray[np.uint8]
EXACT, WRONG_VALUE, MALFORMED, UNTERMINATED = range(4)
HIDDEN = 2  # the stored value of a hidden bit
WIDEST_SMALL = 16  # bits of the largest problems whose space is enumerated
_BATCH_BYTES = 1 << 22  # of problems sampled at a time


def as_sequences(values: Bits) -> Sequences:
    """The rows of (m, L) as sequences."""
    return Sequences(values.reshape(-1), np.full(len(values), values.shape[1], dtype=np.int64))


def all_problems(width: int) -> Bits:
    """All problems of ``width`` bits, (2^width, width), the first bit the most significant."""
    numbers = np.arange(1 << width, dtype=np.int64)[:, None]
    return ((numbers >> np.arange(width - 1, -1, -1)) & 1).astype(np.uint8)


@functools.lru_cache(maxsize=64)
def count_problems(width: int, split: str) -> float:
    """The number of distinct problems of ``width`` bits in a split: counted in a small space, else estimated by its share."""
    if width > WIDEST_SMALL:
        return share(split) * 2.0**width if width < 1000 else math.inf
    return float(in_split(sequence_hash(as_sequences(all_problems(width))), split).sum())


def chunk_rows(width: int) -> int:
    """Train rows per chunk. Small spaces: one chunk contains all held-out problems; larger ones: 8 MB."""
    if width <= WIDEST_SMALL:
        held_out = max(count_problems(width, VALID), count_problems(width, TEST), 1)
        return math.ceil(held_out * share(TRAIN) / share(TEST))
    return max(1, min(10_000, (1 << 23) // width))


def sample_problems(width: int, generator: Callable[[int], np.random.Generator]) -> Iterator[Bits]:
    """Infinite batches of problems: passes over a small space, independent samples from a larger one."""
    k = 0
    space = all_problems(width) if width <= WIDEST_SMALL else None
    while True:
        rng = generator(k)
        k += 1
        if space is not None:
            yield space[rng.permutation(len(space))]
        else:
            yield fair_bits(rng, max(1, min(4096, _BATCH_BYTES // width)), width)


def fair_bits(rng: np.random.Generator, rows: int, width: int) -> Bits:
    """(rows, width) independent fair bits."""
    packed = rng.integers(0, 256, (rows, -(-width // 8)), dtype=np.uint8)
    return np.unpackbits(packed, axis=1, count=width)


def verify_bits(
    problems: Sequences, predicted: Sequences, answer: Callable[[Bits], tuple[Bits, Bits | None]]
) -> Verification:
    """Compare each prediction with the solution bit by bit.

    ``answer(problems (m, L))`` returns (the correct bits (m, n), which of them are hidden (m, n), or None); n is 0 if no problem
    has length L. ``bit_accuracy``: the share of the n positions with the correct bit; missing positions are wrong.
    ``hidden_bit_accuracy``: the same over the hidden bits.
    """
    outcome = np.full(len(predicted), MALFORMED, dtype=np.int8)
    accuracy, hidden_accuracy = np.full(len(predicted), np.nan), np.full(len(predicted), np.nan)
    for length in np.unique(problems.lengths).tolist():
        index = np.flatnonzero(problems.lengths == length)
        correct, hidden = answer(problems.take(index).values.reshape(len(index), length))
        n = correct.shape[1]
        if not n:
            continue
        predictions = predicted.take(index)
        padded = np.full((len(index), max(n, int(predictions.lengths.max(initial=0)))), 255, dtype=np.uint8)
        padded[np.arange(padded.shape[1]) < predictions.lengths[:, None]] = predictions.values
        matches = padded[:, :n] == correct
        well_formed = (predictions.lengths == n) & (padded[:, :n] < HIDDEN).all(axis=1)
        outcome[index] = np.where(well_formed, np.where(matches.all(axis=1), EXACT, WRONG_VALUE), MALFORMED)
        accuracy[index] = matches.mean(axis=1)
        if hidden is not None:
            num_hidden = hidden.sum(axis=1)
            num_correct = (matches & hidden.astype(bool)).sum(axis=1)
            hidden_accuracy[index] = np.where(num_hidden > 0, num_correct / np.maximum(num_hidden, 1), np.nan)
    measures = {"bit_accuracy": accuracy, "hidden_bit_accuracy": hidden_accuracy}
    return Verification(outcome, measures, exact_evidence(outcome != MALFORMED))
