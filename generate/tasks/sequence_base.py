"""What a task of sequences is: problems and solutions are words (expressions, bits), and pairs come out of one stream.

Matrix tasks draw a problem and solve it; here a pair is often made the other way round, or looked up, or given up, so that a
task yields accepted pairs. Every accepted pair is routed to the split its written problem's hash names.
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
from mathpipe.generate.outcomes import SYMBOLIC_OUTCOMES, Judged
from mathpipe.generate.spec import ExpressionSpec, SequenceSpec

Mask = NDArray[np.bool_]
Columns = dict[str, NDArray[np.generic]]
Generators = Callable[[int], np.random.Generator]
Kind = Literal["expressions", "bits"]


@dataclass(frozen=True)
class Pairs:
    """Accepted pairs, in the order they were drawn, and how many draws were given up, by reason.

    ``columns``: what the task declares of each pair besides, such as ``operators``.
    """

    problems: Sequences
    solutions: Sequences
    columns: Columns = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.problems)


@dataclass(frozen=True)
class OnDemand:
    """The function ``name`` of ``module``, which is imported at the first call, so that a task is declared without symengine."""

    module: str
    name: str

    def __call__(self, *arguments: Any) -> Any:
        return getattr(import_module(self.module), self.name)(*arguments)


@dataclass(frozen=True)
class SequenceTask:
    """A family of problems written as words.

    ``pairs(spec, generator, wanted)`` yields batches of accepted pairs without end, a pure function of the spec and of
    ``generator``, which gives the random generator of the k-th draw of this chunk. What it learns on the way it keeps to
    itself: another chunk begins anew. ``wanted(problems)`` tells which problems will be kept at all, so that work on others
    may be spared; it never changes which pairs are accepted.
    ``judge(problems, references, predicted)``: outcomes of predictions that were read (malformed ones included, never an
    exception), by mathematics and in bounded time. ``columns``: names and NumPy types of what each pair carries besides.
    """

    name: str
    kind: Kind
    problem: str
    solution: str
    source: str
    pairs: Callable[[Any, Generators, Callable[[Sequences], Mask]], Iterator[Pairs]]
    judge: Callable[[Sequences, Sequences, Sequences], Judged]
    outcomes: tuple[str, ...] = SYMBOLIC_OUTCOMES
    right: frozenset[str] = frozenset({"exact", "equivalent"})
    measures: tuple[str, ...] = ()
    """All that ``judge`` measures of each prediction besides."""
    columns: dict[str, str] = field(default_factory=dict)
    symbols: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    """Which of x, y, z, t, a0 to a9, Y, Y', Y'' stand in its problems, and which in its solutions; None: any."""
    task_token: str | None = None
    chunk_rows: int = 1000
    example: SequenceSpec = field(default_factory=ExpressionSpec)
    """The published way of drawing: what flags leave out is taken from here."""
    limits: Callable[[Any], None] | None = None
    distinct: Callable[[Any], float] | None = None
    distinct_of_split: Callable[[Any, str], float] | None = None
    """How many different problems belong to a split, where it is known better than by the split's share."""
    rows_of_chunk: Callable[[Any], int] | None = None
    """Rows of a chunk where they depend on the spec; else ``chunk_rows``."""
    settled: Callable[[Any], Any] | None = None
    """The spec with what follows from it written out."""
    may_repeat: bool = False
    """Rows of the training split may outnumber its different problems."""

    def check(self, spec: SequenceSpec) -> None:
        """UserError where this task cannot be drawn by this spec."""
        if self.limits is not None:
            self.limits(spec)

    def distinct_problems(self, spec: SequenceSpec) -> float:
        """An upper bound on how many different problems the spec can write; infinity when beyond all sizes."""
        return float("inf") if self.distinct is None else self.distinct(spec)


__all__ = ["SYMBOLIC_OUTCOMES", "Columns", "Generators", "Judged", "Kind", "Mask", "OnDemand", "Pairs", "SequenceTask"]
