"""Memory: five strings of n bits, then one of them with each bit hidden with probability p; the solution is that string.

A hidden bit is stored as 2 (Lu et al. write -1, +1 and 0). A query that matches two different strings is rejected.
Source: Lu, Grover, Abbeel and Mordatch 2021, section 3.1 (bit memory): n = 1,000, p = 1/2.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.generate.chunks.pair_chunks import Generators, Pairs
from mathpipe.generate.outcomes import Verification
from mathpipe.generate.problem_specs.sequence_spec import BIT_ALPHABET, BitSpec
from mathpipe.generate.sampling.bits import HIDDEN, Bits, as_sequences, fair_bits, verify_bits
from mathpipe.generate.tasks.token_task import Mask, SequenceTask, Wanted

STRINGS = 5
_BATCH_BYTES = 1 << 21


class Memory(SequenceTask[BitSpec]):
    """Five strings and a query -> the string that the query matches."""

    name = "memory"
    problem = "five strings of n bits, then one of them with half its bits hidden"
    solution = "that string, n bits"
    source = "Lu et al. 2021, section 3.1"
    alphabet = BIT_ALPHABET
    measures = ("bit_accuracy", "hidden_bit_accuracy")
    spec_model = BitSpec
    default_spec = BitSpec(bits=1000, masked=0.5)
    may_repeat = True

    def check(self, spec: BitSpec) -> None:
        if not spec.masked < 1:
            raise UserError(
                "memory needs a query with visible bits", expected="--masked below 1", got=f"{spec.masked:g}"
            )

    def chunk_rows(self, spec: BitSpec) -> int:
        return max(1, min(10_000, (1 << 23) // ((STRINGS + 1) * spec.bits)))

    def distinct_problems(self, spec: BitSpec) -> float:
        return (2.0**STRINGS * 3) ** spec.bits if spec.bits < 100 else math.inf

    def pairs(self, spec: BitSpec, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        """Batches of (five strings and the query, the string that the query asks for)."""
        n, k = spec.bits, 0
        rows = max(1, min(4096, _BATCH_BYTES // ((STRINGS + 1) * n)))
        while True:
            rng = generator(k)
            k += 1
            strings = fair_bits(rng, rows, STRINGS * n).reshape(rows, STRINGS, n)
            answers = strings[np.arange(rows), rng.integers(0, STRINGS, rows)]
            query = np.where(rng.random((rows, n)) < spec.masked, np.uint8(HIDDEN), answers)
            problems = np.concatenate([strings.reshape(rows, -1), query], axis=1)
            unambiguous = _matching_string(problems)[1]
            yield Pairs(
                as_sequences(problems[unambiguous]),
                as_sequences(answers[unambiguous]),
                {},
                +Counter({"ambiguous": int((~unambiguous).sum())}),
            )

    def verify(self, problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
        return verify_bits(problems, predicted, _answer)


def _matching_string(problems: Bits) -> tuple[Bits, Mask]:
    """(the first string that matches the query (m, n), whether all matching strings are equal and there is one (m,))."""
    n = problems.shape[1] // (STRINGS + 1)
    strings, query = problems[:, : STRINGS * n].reshape(-1, STRINGS, n), problems[:, STRINGS * n :]
    matches = ((strings == query[:, None]) | (query == HIDDEN)[:, None]).all(axis=2)
    first = strings[np.arange(len(strings)), matches.argmax(axis=1)]
    others = (strings != first[:, None]).any(axis=2) & matches
    return first, np.asarray(matches.any(axis=1) & ~others.any(axis=1))


def _answer(problems: Bits) -> tuple[Bits, Bits]:
    n = problems.shape[1] // (STRINGS + 1)
    if problems.shape[1] % (STRINGS + 1):
        return problems[:, :0], problems[:, :0]
    string, unambiguous = _matching_string(problems)
    hidden = (problems[:, STRINGS * n :] == HIDDEN).astype(np.uint8)
    return np.where(unambiguous[:, None], string, np.uint8(HIDDEN)), hidden  # no bit is correct for an ambiguous query


TASK = Memory()
