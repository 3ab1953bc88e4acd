"""Exclusive or: two patterns of n bits, one after the other; the solution is a_i xor b_i.

Source: Lu, Grover, Abbeel and Mordatch 2021, section 3.1 (bit XOR); published runs sample with replacement from 2^2n problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.generate.sampling.bits import (
    OUTCOMES,
    WIDEST_SMALL,
    Bits,
    as_sequences,
    chunk_rows,
    count_problems,
    sample_problems,
    verify_bits,
)
from mathpipe.generate.spec import BitSpec
from mathpipe.generate.tasks.sequence_base import Generators, Mask, Pairs, SequenceTask, Verification

PATTERNS = 2


def pairs(spec: BitSpec, generator: Generators, wanted: Callable[[Sequences], Mask]) -> Iterator[Pairs]:
    """Batches of (a b, a xor b); nothing is rejected."""
    for problems in sample_problems(PATTERNS * spec.bits, generator):
        yield Pairs(as_sequences(problems), as_sequences(exclusive_or(problems)))


def exclusive_or(problems: Bits) -> Bits:
    """(m, 2n) -> (m, n)."""
    n = problems.shape[1] // PATTERNS
    return problems[:, :n] ^ problems[:, n:]


def verify(problems: Sequences, references: Sequences, predicted: Sequences) -> Verification:
    verification = verify_bits(problems, predicted, _answer)
    return Verification(verification.outcome, {"bit_accuracy": verification.measures["bit_accuracy"]})


def _answer(problems: Bits) -> tuple[Bits, None]:
    if problems.shape[1] % PATTERNS:
        return problems[:, :0], None
    return exclusive_or(problems), None


def validate_spec(spec: BitSpec) -> None:
    if spec.masked:
        raise UserError(
            "xor has no masked bits", expected="--masked 0", got=f"--masked {spec.masked:g}", next_step="leave it out"
        )


def resolve_spec(spec: BitSpec) -> BitSpec:
    small = PATTERNS * spec.bits <= WIDEST_SMALL
    return spec.model_copy(update={"drawn": "passes" if small else "with replacement"})


TASK = SequenceTask(
    name="xor",
    kind="bits",
    problem="two patterns of n bits, one after the other",
    solution="their exclusive or, n bits",
    source="Lu et al. 2021, section 3.1",
    pairs=pairs,
    verify=verify,
    outcomes=OUTCOMES,
    correct_outcomes=frozenset({"exact"}),
    measures=("bit_accuracy",),
    example=BitSpec(bits=5),
    validate_spec=validate_spec,
    distinct=lambda spec: 2.0 ** (PATTERNS * spec.bits) if spec.bits < 500 else float("inf"),
    distinct_of_split=lambda spec, split: count_problems(PATTERNS * spec.bits, split),
    resolve_spec=resolve_spec,
    chunk_rows_for=lambda spec: chunk_rows(PATTERNS * spec.bits),
    may_repeat=True,
)
