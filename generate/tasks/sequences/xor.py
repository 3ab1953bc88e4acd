"""Exclusive or: two patterns of n bits, one after the other; the answer is a_i xor b_i.

Source: Lu, Grover, Abbeel and Mordatch 2021, section 3.1 (bit XOR); published runs draw with replacement from 2^2n problems.
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
    block_rows,
    drawn,
    judged,
    problems_of,
)
from mathpipe.generate.spec import BitLaw
from mathpipe.generate.tasks.sequence_base import Generators, Judged, Mask, Pairs, SequenceTask

PATTERNS = 2


def pairs(law: BitLaw, generator: Generators, wanted: Callable[[Sequences], Mask]) -> Iterator[Pairs]:
    """Batches of (a b, a xor b); nothing is ever given up."""
    for problems in drawn(PATTERNS * law.bits, generator):
        yield Pairs(as_sequences(problems), as_sequences(exclusive_or(problems)))


def exclusive_or(problems: Bits) -> Bits:
    """(m, 2n) -> (m, n)."""
    n = problems.shape[1] // PATTERNS
    return problems[:, :n] ^ problems[:, n:]


def judge(problems: Sequences, references: Sequences, predicted: Sequences) -> Judged:
    found = judged(problems, predicted, _answer)
    return Judged(found.outcome, {"bit_accuracy": found.measures["bit_accuracy"]})


def _answer(problems: Bits) -> tuple[Bits, None]:
    if problems.shape[1] % PATTERNS:
        return problems[:, :0], None
    return exclusive_or(problems), None


def limits(law: BitLaw) -> None:
    if law.masked:
        raise UserError(
            "xor masks nothing", expected="--masked 0", got=f"--masked {law.masked:g}", next_step="leave it out"
        )


def settled(law: BitLaw) -> BitLaw:
    small = PATTERNS * law.bits <= WIDEST_SMALL
    return law.model_copy(update={"drawn": "passes" if small else "with replacement"})


TASK = SequenceTask(
    name="xor",
    kind="bits",
    operand="two patterns of n bits, one after the other",
    solution="their exclusive or, n bits",
    source="Lu et al. 2021, section 3.1",
    pairs=pairs,
    judge=judge,
    outcomes=OUTCOMES,
    right=frozenset({"exact"}),
    measures=("bit_accuracy",),
    example=BitLaw(bits=5),
    limits=limits,
    distinct=lambda law: 2.0 ** (PATTERNS * law.bits) if law.bits < 500 else float("inf"),
    distinct_of_split=lambda law, split: problems_of(PATTERNS * law.bits, split),
    settled=settled,
    rows_of_block=lambda law: block_rows(PATTERNS * law.bits),
    may_repeat=True,
)
