"""What a task is: a declaration and three functions of batches, sample, solve and verify."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.grid import round_to_grid
from mathpipe.datasets.matrices import Matrices, reduce_rows
from mathpipe.generate.draws import distinct_entries
from mathpipe.generate.law import MatrixLaw

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Errors = dict[str, Floats]

BLOCK_ROWS = 10_000
_BLOCK_ENTRIES = 2_000_000  # a block of large matrices has fewer rows, so that it stays near 16 MB an array


@dataclass(frozen=True)
class Solved:
    """Solutions of n problems (any values where rejected), and for each reason the mask (n,) of rows to reject."""

    solutions: Matrices
    rejected: dict[str, Mask] = field(default_factory=dict)


def nearest_written(operands: Matrices, solutions: Matrices) -> Matrices:
    """The solution rounded to 3 digits, entry by entry: the best written answer where errors are H - X."""
    return Matrices(round_to_grid(solutions.values), solutions.rows, solutions.cols)


def difference(operands: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
    """R = H - X."""
    return Matrices(predicted.values - references.values, references.rows, references.cols)


@dataclass(frozen=True)
class Task:
    """A family of problems: operand -> solution.

    ``sample(rng, n, law)`` draws n operands; ``solve(operands)`` gives their solutions and which rows to reject;
    ``verify(operands, references, predicted)`` gives every error measure, one value a prediction, for predictions that
    have the reference's shape; ``residual(operands, references, predicted)`` gives the matrices R whose norms these are,
    ``residual_formula`` says what R is; ``answer_shape(operands)`` the shape of every right answer;
    ``best_written(operands, solutions)`` the best answer found among those that can be written with 3 digits.
    """

    name: str
    letter: str | None
    operand: str
    solution: str
    source: str
    sample: Callable[[np.random.Generator, int, MatrixLaw], Matrices]
    solve: Callable[[Matrices], Solved]
    verify: Callable[[Matrices, Matrices, Matrices], Errors]
    answer_shape: Callable[[Matrices], tuple[Ints, Ints]]
    residual: Callable[[Matrices, Matrices, Matrices], Matrices] = difference
    residual_formula: str = "H - X"
    best_written: Callable[[Matrices, Matrices], Matrices] = nearest_written
    square_only: bool = False
    symmetric: bool = False  # operands are symmetric matrices, and so is the noise put on them
    side_by_side: int = 1

    def check(self, law: MatrixLaw) -> None:
        """UserError where this task cannot be drawn by this law."""
        if self.square_only and not law.always_square:
            raise UserError(
                f"{self.name} needs square matrices",
                expected="--dim N, --min-dim with --max-dim, or equal --rows and --cols",
                got=f"{law.rows} x {law.cols}" if law.rows else "--rectangular",
            )
        rows, cols = self.largest_operand(law)
        if cols > 100:
            raise UserError(
                f"operands of {self.name} would be {rows} x {cols}",
                expected="at most 100 rows and 100 columns, the largest that can be written",
                got=f"{cols} columns",
                next_step="choose a smaller dimension",
            )

    def largest_operand(self, law: MatrixLaw) -> tuple[int, int]:
        rows, cols = law.largest_shape
        return rows, cols * self.side_by_side

    def block_rows(self, law: MatrixLaw) -> int:
        """Rows of a block: 10,000, fewer where matrices are large."""
        rows, cols = self.largest_operand(law)
        return int(np.clip(_BLOCK_ENTRIES // (rows * cols), 100, BLOCK_ROWS))

    def distinct_problems(self, law: MatrixLaw) -> float:
        """An upper bound on how many different problems the law can write; infinity when beyond all sizes."""
        rows, cols = self.largest_operand(law)
        return float(distinct_entries(law) ** min(rows * cols, 16))

    def passes(self, errors: Errors, tolerance: float) -> Mask:
        """Which predictions are right within ``tolerance``: error_l1 <= tolerance (and orthogonality where there is one)."""
        right = errors["error_l1"] <= tolerance
        if "orthogonality" in errors:
            right &= errors["orthogonality"] <= tolerance
        return np.asarray(right)


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """numerator / denominator, where 0/0 is 0 (nothing to miss, nothing missed) and x/0 is infinite."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        quotient = numerator / denominator
    return np.where((numerator == 0) & (denominator == 0), 0.0, quotient)


def error_measures(residual: Matrices, scale: Matrices, predicted: Matrices, references: Matrices) -> Errors:
    """Norms of the residual R relative to the scale S, and closeness of the prediction H to the reference X, each (n,).

    ``error_l1`` = sum|R| / sum|S|; ``error_l2`` = sum R^2 / sum S^2; ``error_max`` = max|R| / max|S|;
    ``coefficients_within_1pct``: share of entries with |H - X| <= 1 % of |X|; ``error_reference_l1`` = sum|H - X| / sum|X|.
    S comes from the reference or the operand, never from the prediction: an answer cannot buy tolerance by its size.
    """
    with np.errstate(over="ignore"):
        difference = np.abs(predicted.values - references.values)
        close = (difference <= 0.01 * np.abs(references.values)).astype(np.float64)
        r, s = np.abs(residual.values), np.abs(scale.values)
        return {
            "error_l1": ratio(reduce_rows(r, residual, np.add), reduce_rows(s, scale, np.add)),
            "error_l2": ratio(reduce_rows(r * r, residual, np.add), reduce_rows(s * s, scale, np.add)),
            "error_max": ratio(reduce_rows(r, residual, np.maximum), reduce_rows(s, scale, np.maximum)),
            "coefficients_within_1pct": reduce_rows(close, references, np.add) / np.maximum(references.sizes, 1),
            "error_reference_l1": ratio(
                reduce_rows(difference, references, np.add), reduce_rows(np.abs(references.values), references, np.add)
            ),
        }


def difference_errors(operands: Matrices, references: Matrices, predicted: Matrices) -> Errors:
    """R = H - X and S = X: for tasks whose answer is one matrix and no other."""
    return error_measures(difference(operands, references, predicted), references, predicted, references)
