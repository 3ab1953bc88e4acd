"""Baselines: the accuracy of other answers than the model's on the same problems.

- ``reference``: the stored solution, rounded by the output encoding (encoded and decoded again).
- ``best_representable``: the best encodable answer that a search finds near the solution, or the
  reference where that passes: a **lower bound** on the best possible accuracy. Neither is an upper bound.
- ``zeros``, ``mean``, ``median``: one constant answer per shape; ``constant`` is the best of them. Mean and median are
  entrywise over the first references of this very split, a slight advantage.
- ``copy``: the problem, cropped or padded with zeros to the shape of the answer.

Constants and copies are not rounded by the encoding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.evaluate.score.matrix_verifier import ScoredMatrices
from mathpipe.evaluate.score.scoring import Errors, ScoredHypotheses, append_end
from mathpipe.generate.tasks.error_measures import TOLERANCE
from mathpipe.generate.tasks.matrix_task import MatrixTask

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Shape = tuple[int, int]

TOLERANCE_LEVELS = (0.005, 0.01, 0.02, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25)  # of the papers' tables, and of the plot
CONSTANTS = ("zeros", "mean", "median")
_MIN_REFERENCES = 10  # with fewer of a shape, their mean would be close to one of them


@dataclass(frozen=True)
class Constants:
    """Entrywise ``mean`` and ``median`` of the references of each shape; zeros for rare shapes."""

    mean: dict[Shape, Floats] = field(default_factory=dict)
    median: dict[Shape, Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, references: Matrices) -> Constants:
        groups = {(d.shape[1], d.shape[2]): d for _, d in references.groups() if len(d) >= _MIN_REFERENCES}
        return cls(
            mean={shape: dense.mean(axis=0) for shape, dense in groups.items()},
            median={shape: np.median(dense, axis=0) for shape, dense in groups.items()},
        )

    def answers(self, name: str, like: Matrices) -> Matrices:
        """The constant ``name`` for every problem, in the shapes of ``like``."""
        constants: dict[Shape, Floats] = {"zeros": {}, "mean": self.mean, "median": self.median}[name]
        return fill_matrices(like, lambda _, shape: constants.get(shape, np.zeros(shape)))


def copy_problems(problems: Matrices, like: Matrices) -> Matrices:
    """The problems, cropped or padded with zeros to the shapes of ``like``."""
    if problems.same_shape(like).all():
        return problems

    def leading(index: Ints, shape: Shape) -> Floats:
        block = np.zeros((len(index), *shape))
        for within, dense in problems.take(index).groups():
            part = dense[:, : shape[0], : shape[1]]
            block[within, : part.shape[1], : part.shape[2]] = part
        return block

    return fill_matrices(like, leading)


def fill_matrices(like: Matrices, entries: Callable[[Ints, Shape], Floats]) -> Matrices:
    """Matrices of the shapes of ``like``; ``entries(positions (k,), (r, c))`` returns (k, r, c), or (r, c) for all."""
    values = np.empty_like(like.values)
    for index, dense in like.groups():
        _, r, c = dense.shape
        block = np.broadcast_to(entries(index, (r, c)), dense.shape)
        values[like.offsets[index][:, None] + np.arange(r * c)] = block.reshape(len(index), r * c)
    return Matrices(values, like.rows, like.cols)


@dataclass
class BaselineCounts:
    """Number of ``n`` problems that each baseline passes at each of ``TOLERANCE_LEVELS``; counts of parts can be added."""

    n: int = 0
    passed: dict[str, list[int]] = field(default_factory=dict)

    def __add__(self, other: BaselineCounts) -> BaselineCounts:
        names = self.passed.keys() | other.passed.keys()
        zeros = [0] * len(TOLERANCE_LEVELS)
        sums = {
            name: [a + b for a, b in zip(self.passed.get(name, zeros), other.passed.get(name, zeros), strict=True)]
            for name in sorted(names)
        }
        return BaselineCounts(self.n + other.n, sums)

    def to_json(self) -> dict[str, Any]:
        return {"n": self.n, "passed": self.passed}

    def accuracy(self, name: str, tolerance: float) -> float:
        """The proportion that ``name`` passes; ``constant`` is the constant that passes most at 5 %."""
        counts = self.passed[self.best_constant if name == "constant" else name]
        return counts[TOLERANCE_LEVELS.index(tolerance)] / self.n

    @property
    def best_constant(self) -> str:
        level = TOLERANCE_LEVELS.index(TOLERANCE)
        return max(CONSTANTS, key=lambda name: self.passed[name][level])  # the first of equals: zeros

    def __contains__(self, name: str) -> bool:
        return name in self.passed or (name == "constant" and CONSTANTS[0] in self.passed)


class Baselines(Protocol):
    """Verifies the answers of baselines."""

    def count_passes(self, scored: Any, /) -> BaselineCounts:
        """Counts over the problems of these scored hypotheses, one row (rank 0) per problem."""
        ...


class ReferenceBaseline:
    """Only the baseline ``reference``, where answers pass or fail: it is the same at every tolerance."""

    def count_passes(self, scored: ScoredHypotheses[Any, Any]) -> BaselineCounts:
        passed = int(scored.reference.passed[scored.best].sum())
        return BaselineCounts(int(scored.best.sum()), {"reference": [passed] * len(TOLERANCE_LEVELS)})


@dataclass(frozen=True)
class MatrixBaselines:
    """Verifies the baselines' answers to the problems of a batch of hypotheses."""

    task: MatrixTask
    tokenizer: MatrixTokenizer
    constants: Constants

    def count_passes(self, scored: ScoredMatrices) -> BaselineCounts:
        """Counts over the problems of these hypotheses, one row (rank 0) per problem."""
        index = np.flatnonzero(scored.best)
        problems = scored.problems if len(index) == len(scored) else scored.problems.take(index)
        reference = self._passes(scored.reference.take(index).errors)
        solutions = self.task.best_representable(problems.solved, problems.solutions)
        best, _ = self.tokenizer.decode(append_end(*self.tokenizer.encode(solutions)))
        answers = {name: self.constants.answers(name, problems.solutions) for name in CONSTANTS}
        answers |= {"copy": copy_problems(problems.problems, problems.solutions), "best_representable": best}
        passes = {name: self._passes(self._verified(problems, answer)) for name, answer in answers.items()}
        passes["best_representable"] |= reference
        counts = {name: mask.sum(axis=1).tolist() for name, mask in {"reference": reference, **passes}.items()}
        return BaselineCounts(len(problems), counts)

    def _verified(self, problems: MatrixExamples, answers: Matrices) -> Errors:
        with np.errstate(all="ignore"):
            return self.task.errors(problems.solved, problems.solutions, answers)

    def _passes(self, errors: Errors) -> Mask:
        """(tolerances, n)."""
        return np.stack([self.task.passes(errors, tolerance) for tolerance in TOLERANCE_LEVELS])
