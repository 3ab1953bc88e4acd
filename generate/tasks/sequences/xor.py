"""Exclusive or: two patterns of n bits, one after the other; the solution is a_i xor b_i.

Source: Lu, Grover, Abbeel and Mordatch 2021, section 3.1 (bit XOR); published runs sample with replacement from 2^2n problems.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.generate.chunks.pair_chunks import Generators, Pairs
from mathpipe.generate.outcomes import Verification
from mathpipe.generate.problem_specs.sequence_spec import BIT_ALPHABET, BitSpec
from mathpipe.generate.sampling.bits import (
    WIDEST_SMALL,
    Bits,
    as_sequences,
    chunk_rows,
    count_problems,
    sample_problems,
    verify_bits,
)
from mathpipe.generate.tasks.token_task import SequenceTask, Wanted

PATTERNS = 2


class ExclusiveOr(SequenceTask[BitSpec]):
    """a, b -> a xor b."""

    name = "xor"
    problem = "two patterns of n bits, one after the other"
    solution = "their exclusive or, n bits"
    source = "Lu et al. 2021, section 3.1"
    alphabet = BIT_ALPHABET
    measures = ("bit_accuracy",)
    spec_model = BitSpec
    default_spec = BitSpec(bits=5)
    may_repeat = True

    def check(self, spec: BitSpec) -> None:
        if spec.masked:
            raise UserError(
                "xor has no hidden bits",
                expected="--masked 0",
                got=f"--masked {spec.masked:g}",
                next_step="leave it out",
            )

    def resolve(self, spec: BitSpec) -> BitSpec:
        small = PATTERNS * spec.bits <= WIDEST_SMALL
        return spec.model_copy(update={"sampling": "passes" if small else "with replacement"})

    def chunk_rows(self, spec: BitSpec) -> int:
        return chunk_rows(PATTERNS * spec.bits)

    def distinct_problems(self, spec: BitSpec) -> float:
        return 2.0 ** (PATTERNS * spec.bits) if spec.bits < 500 else math.inf

    def distinct_of_split(self, spec: BitSpec, split: str) -> float:
        return count_problems(PATTERNS * spec.bits, split)

    def pairs(self, spec: BitSpec, generator: Generators, wanted: Wanted) -> Iterator[Pairs]:
        """Batches of (a b, a xor b); nothing is rejected."""
        for problems in sample_problems(PATTERNS * spec.bits, generator):
            yield Pairs(as_sequences(problems), as_sequences(exclusive_or(problems)))

    def verify(self, problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
        verification = verify_bits(problems, predicted, _answer)
        measures = {"bit_accuracy": verification.measures["bit_accuracy"]}
        return replace(verification, measures=measures)


def exclusive_or(problems: Bits) -> Bits:
    """(m, 2n) -> (m, n)."""
    n = problems.shape[1] // PATTERNS
    return problems[:, :n] ^ problems[:, n:]


def _answer(problems: Bits) -> tuple[Bits, None]:
    if problems.shape[1] % PATTERNS:
        return problems[:, :0], None
    return exclusive_or(problems), None


TASK = ExclusiveOr()
