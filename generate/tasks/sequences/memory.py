"""Memory: five strings of n bits, then one of them with each bit hidden with probability p; the answer is that string.

A hidden bit is stored as 2 (Lu et al. write -1, +1 and 0). A query that fits two different strings is given up.
Source: Lu, Grover, Abbeel and Mordatch 2021, section 3.1 (bit memory): n = 1,000, p = 1/2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.bit_tokenizer import MASKED
from mathpipe.generate.sampling.bits import OUTCOMES, Bits, as_sequences, fair_bits, judged
from mathpipe.generate.spec import BitSpec
from mathpipe.generate.tasks.sequence_base import Generators, Judged, Mask, Pairs, SequenceTask

STRINGS = 5
_DRAW_BYTES = 1 << 21


def pairs(spec: BitSpec, generator: Generators, wanted: Callable[[Sequences], Mask]) -> Iterator[Pairs]:
    """Batches of (five strings and the query, the string that was asked for)."""
    n, k = spec.bits, 0
    rows = max(1, min(4096, _DRAW_BYTES // ((STRINGS + 1) * n)))
    while True:
        rng = generator(k)
        k += 1
        strings = fair_bits(rng, rows, STRINGS * n).reshape(rows, STRINGS, n)
        asked = strings[np.arange(rows), rng.integers(0, STRINGS, rows)]
        query = np.where(rng.random((rows, n)) < spec.masked, np.uint8(MASKED), asked)
        problems = np.concatenate([strings.reshape(rows, -1), query], axis=1)
        clear = _fitting(problems)[1]
        yield Pairs(
            as_sequences(problems[clear]), as_sequences(asked[clear]), {}, +Counter({"ambiguous": int((~clear).sum())})
        )


def _fitting(problems: Bits) -> tuple[Bits, Mask]:
    """(the first string that fits the query (m, n), whether one does and all that do are equal (m,))."""
    n = problems.shape[1] // (STRINGS + 1)
    strings, query = problems[:, : STRINGS * n].reshape(-1, STRINGS, n), problems[:, STRINGS * n :]
    fits = ((strings == query[:, None]) | (query == MASKED)[:, None]).all(axis=2)
    first = strings[np.arange(len(strings)), fits.argmax(axis=1)]
    others = (strings != first[:, None]).any(axis=2) & fits
    return first, np.asarray(fits.any(axis=1) & ~others.any(axis=1))


def judge(problems: Sequences, references: Sequences, predicted: Sequences) -> Judged:
    return judged(problems, predicted, _answer)


def _answer(problems: Bits) -> tuple[Bits, Bits]:
    n = problems.shape[1] // (STRINGS + 1)
    if problems.shape[1] % (STRINGS + 1):
        return problems[:, :0], problems[:, :0]
    right, clear = _fitting(problems)
    hidden = (problems[:, STRINGS * n :] == MASKED).astype(np.uint8)
    return np.where(clear[:, None], right, np.uint8(MASKED)), hidden  # nothing is right where nothing is asked clearly


def limits(spec: BitSpec) -> None:
    if not spec.masked < 1:
        raise UserError(
            "memory needs a query that shows something", expected="--masked below 1", got=f"{spec.masked:g}"
        )


TASK = SequenceTask(
    name="memory",
    kind="bits",
    problem="five strings of n bits, then one of them with half its bits hidden",
    solution="that string, n bits",
    source="Lu et al. 2021, section 3.1",
    pairs=pairs,
    judge=judge,
    outcomes=OUTCOMES,
    right=frozenset({"exact"}),
    measures=("bit_accuracy", "hidden_bit_accuracy"),
    example=BitSpec(bits=1000, masked=0.5),
    limits=limits,
    distinct=lambda spec: (2.0**STRINGS * 3) ** spec.bits if spec.bits < 100 else float("inf"),
    rows_of_chunk=lambda spec: max(1, min(10_000, (1 << 23) // ((STRINGS + 1) * spec.bits))),
    may_repeat=True,
)
