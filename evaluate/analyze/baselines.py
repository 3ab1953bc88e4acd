"""Yardsticks: what other answers than the model's score on the same problems.

- ``reference``: the stored solution itself, written in the output encoding and read back: what a perfect imitator of the
  targets gets.
- ``attainable``: the best written answer a search finds near the solution (``Task.best_written``), or the reference where
  that passes: a **lower bound** on what a model could get. Neither is an upper bound.
- ``zeros``, ``mean``, ``median``: one constant answer for all problems of a shape; ``constant`` is the best of them. Mean
  and median are taken entry by entry over the first references themselves, which favours them a little.
- ``copy``: the problem itself, or its leading block (padded with zeros) where the answer has another shape.

The constants and the copy are not rounded to what an encoding can write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.format.matrix_columns import Rows
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.score.matrix_scoring import TOLERANCE, Errors, Scored, ended, errors_of
from mathpipe.evaluate.score.sequence_scoring import ScoredSequences
from mathpipe.generate.tasks.registry import Task

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Shape = tuple[int, int]

GRID = (0.005, 0.01, 0.02, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25)  # the tolerances of the papers' tables and of the plot
CONSTANTS = ("zeros", "mean", "median")
_FEWEST = 10  # references of a shape below which their mean would be an answer to one of them


@dataclass(frozen=True)
class Constants:
    """For each shape, the entrywise ``mean`` and ``median`` of references of that shape; zeros for shapes seen rarely."""

    mean: dict[Shape, Floats] = field(default_factory=dict)
    median: dict[Shape, Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, references: Matrices) -> Constants:
        groups = {(d.shape[1], d.shape[2]): d for _, d in references.groups() if len(d) >= _FEWEST}
        return cls(
            mean={shape: dense.mean(axis=0) for shape, dense in groups.items()},
            median={shape: np.median(dense, axis=0) for shape, dense in groups.items()},
        )

    def answers(self, name: str, like: Matrices) -> Matrices:
        """The constant ``name`` for every problem, in the shapes of ``like``."""
        constants: dict[Shape, Floats] = {"zeros": {}, "mean": self.mean, "median": self.median}[name]
        return filled(like, lambda _, shape: constants.get(shape, np.zeros(shape)))


def copied(problems: Matrices, like: Matrices) -> Matrices:
    """The problems themselves; where ``like`` has another shape, their leading block of that shape, padded with zeros."""
    if problems.same_shape(like).all():
        return problems

    def leading(index: Ints, shape: Shape) -> Floats:
        block = np.zeros((len(index), *shape))
        for within, dense in problems.take(index).groups():
            part = dense[:, : shape[0], : shape[1]]
            block[within, : part.shape[1], : part.shape[2]] = part
        return block

    return filled(like, leading)


def filled(like: Matrices, entries: Callable[[Ints, Shape], Floats]) -> Matrices:
    """Matrices of the shapes of ``like``: ``entries(positions (k,), (r, c))`` gives (k, r, c), or (r, c) for all of them."""
    values = np.empty_like(like.values)
    for index, dense in like.groups():
        _, r, c = dense.shape
        block = np.broadcast_to(entries(index, (r, c)), dense.shape)
        values[like.offsets[index][:, None] + np.arange(r * c)] = block.reshape(len(index), r * c)
    return Matrices(values, like.rows, like.cols)


@dataclass
class Tally:
    """How many of ``n`` problems each yardstick passes at each tolerance of ``GRID``; tallies of parts add up."""

    n: int = 0
    passed: dict[str, list[int]] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        names = self.passed.keys() | other.passed.keys()
        none = [0] * len(GRID)
        sums = {
            name: [a + b for a, b in zip(self.passed.get(name, none), other.passed.get(name, none), strict=True)]
            for name in sorted(names)
        }
        return Tally(self.n + other.n, sums)

    def to_json(self) -> dict[str, Any]:
        return {"n": self.n, "passed": self.passed}

    def accuracy(self, name: str, tolerance: float) -> float:
        """The share that ``name`` passes; ``constant`` is the constant that passes most at 5 %."""
        counts = self.passed[self.best_constant if name == "constant" else name]
        return counts[GRID.index(tolerance)] / self.n

    @property
    def best_constant(self) -> str:
        place = GRID.index(TOLERANCE)
        return max(CONSTANTS, key=lambda name: self.passed[name][place])  # the first of equals: zeros

    def __contains__(self, name: str) -> bool:
        return name in self.passed or (name == "constant" and CONSTANTS[0] in self.passed)


class ReferenceYardstick:
    """The only yardstick for expressions: how many stored solutions the judge itself finds right. It knows no tolerance."""

    def tally(self, scored: ScoredSequences) -> Tally:
        passed = int(scored.reference_passed[scored.best].sum())
        return Tally(int(scored.best.sum()), {"reference": [passed] * len(GRID)})


@dataclass(frozen=True)
class Yardsticks:
    """Scores other answers on the problems of a run of hypotheses."""

    task: Task
    tokenizer: MatrixTokenizer
    constants: Constants

    def tally(self, scored: Scored) -> Tally:
        """Of the problems of these hypotheses, one row a problem: those of rank 0."""
        if not scored.best.all():
            problems = scored.problems.take(scored.best)
            reference_errors = {name: values[scored.best] for name, values in scored.reference_errors.items()}
        else:
            problems, reference_errors = scored.problems, scored.reference_errors
        reference = self._passes(reference_errors)
        found = self.task.best_written(problems.solved, problems.solutions)
        best, _ = self.tokenizer.decode(ended(*self.tokenizer.encode(found)))
        answers = {name: self.constants.answers(name, problems.solutions) for name in CONSTANTS}
        answers |= {"copy": copied(problems.problems, problems.solutions), "attainable": best}
        passes = {name: self._passes(self._verified(problems, answer)) for name, answer in answers.items()}
        passes["attainable"] |= reference
        counts = {name: mask.sum(axis=1).tolist() for name, mask in {"reference": reference, **passes}.items()}
        return Tally(len(problems), counts)

    def _verified(self, problems: Rows, answers: Matrices) -> Errors:
        with np.errstate(all="ignore"):
            return errors_of(self.task, problems, answers)

    def _passes(self, errors: Errors) -> Mask:
        """(tolerances, n)."""
        return np.stack([self.task.passes(errors, tolerance) for tolerance in GRID])
