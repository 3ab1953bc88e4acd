"""A sequence task: problems and solutions are token sequences (expressions, bits), and pairs come from one RNG stream.

Matrix tasks sample a problem and solve it. Here a pair is often built from its solution, or looked up, or rejected, so a task
yields accepted pairs. Each goes to the split given by the hash of its problem.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_sequences import Sequences
from mathpipe.generate.outcomes import SYMBOLIC_OUTCOMES, Verification
from mathpipe.generate.spec import ExpressionSpec, SequenceSpec

Mask = NDArray[np.bool_]
Columns = dict[str, NDArray[np.generic]]
Generators = Callable[[int], np.random.Generator]
Kind = Literal["expressions", "bits"]


@dataclass(frozen=True)
class Pairs:
    """Accepted pairs in sampling order, and the number of rejected samples by reason.

    ``columns``: further declared columns of each pair, such as ``operators``.
    """

    problems: Sequences
    solutions: Sequences
    columns: Columns = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.problems)


@dataclass(frozen=True)
class LazyFunction:
    """The function ``name`` of ``module``, imported at the first call, so that declaring a task does not import symengine."""

    module: str
    name: str

    def __call__(self, *arguments: Any) -> Any:
        return getattr(import_module(self.module), self.name)(*arguments)


@dataclass(frozen=True)
class SequenceTask:
    """A family of problems written as tokens.

    ``pairs(spec, generator, wanted)`` yields an infinite sequence of batches of accepted pairs, a pure function of the
    spec and of ``generator(k)``, the random generator of batch k of this chunk. It shares no state with other chunks.
    ``wanted(problems)`` marks the problems that will be used, so that the task may skip work on others; it never changes
    which pairs are accepted.
    ``verify(problems, references, predicted)``: outcomes of decoded predictions, by mathematics and in bounded time.
    Malformed ones get an outcome, never an exception. ``columns``: names and NumPy types of the further columns of a pair.
    """

    name: str
    kind: Kind
    problem: str
    solution: str
    source: str
    pairs: Callable[[Any, Generators, Callable[[Sequences], Mask]], Iterator[Pairs]]
    verify: Callable[[Sequences, Sequences, Sequences], Verification]
    outcomes: tuple[str, ...] = SYMBOLIC_OUTCOMES
    correct_outcomes: frozenset[str] = frozenset({"exact", "equivalent", "real_domain"})
    measures: tuple[str, ...] = ()
    """Names of the further measures that ``verify`` returns."""
    columns: dict[str, str] = field(default_factory=dict)
    symbols: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    """Which of x, y, z, t, a0 to a9, Y, Y', Y'' occur in problems, and which in solutions; None: any."""
    task_token: str | None = None
    chunk_rows: int = 1000
    example: SequenceSpec = field(default_factory=ExpressionSpec)
    """The published spec: the default of every option."""
    validate_spec: Callable[[Any], None] | None = None
    distinct: Callable[[Any], float] | None = None
    distinct_of_split: Callable[[Any, str], float] | None = None
    """The number of distinct problems of a split, if it is known more exactly than by the split's share."""
    chunk_rows_for: Callable[[Any], int] | None = None
    """Rows per chunk, if they depend on the spec; else ``chunk_rows``."""
    resolve_spec: Callable[[Any], Any] | None = None
    """Returns the spec with its derived fields set."""
    may_repeat: bool = False
    """Rows of the training split may outnumber its different problems."""

    def check(self, spec: SequenceSpec) -> None:
        """UserError if this task does not support the spec."""
        if self.validate_spec is not None:
            self.validate_spec(spec)

    def distinct_problems(self, spec: SequenceSpec) -> float:
        """An upper bound on the number of distinct problems of the spec; infinity if it is astronomically large."""
        return float("inf") if self.distinct is None else self.distinct(spec)


__all__ = [
    "SYMBOLIC_OUTCOMES",
    "Columns",
    "Generators",
    "Kind",
    "LazyFunction",
    "Mask",
    "Pairs",
    "SequenceTask",
    "Verification",
]
