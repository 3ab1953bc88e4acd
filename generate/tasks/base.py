"""What a task is: a declaration and three functions of batches, sample, solve and verify."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_rows
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.decimal_grid import round_to_grid
from mathpipe.generate.sampling.noise import add_noise
from mathpipe.generate.sampling.random_matrices import distinct_entries
from mathpipe.generate.spec import LARGEST_DIMENSION, MatrixLaw
from mathpipe.generate.tasks.wrong_problems import Confusions

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


def solve_by_shape(operands: Matrices, solve: Callable[[Floats], tuple[Floats, dict[str, Mask]]]) -> Solved:
    """``solve`` of dense groups, (k, m, n) -> (solutions (k, r, c), {reason: (k,)}), in the order of rows."""
    if operands.shape is not None:
        solutions, rejected = solve(operands.dense())
        return Solved(Matrices.from_dense(solutions), rejected)
    parts, order, all_rejected = [], [], dict[str, Mask]()
    for index, dense in operands.groups():
        solutions, rejected = solve(dense)
        parts.append(Matrices.from_dense(solutions))
        order.append(index)
        for reason, mask in rejected.items():
            all_rejected.setdefault(reason, np.zeros(len(operands), dtype=np.bool_))[index] = mask
    if not parts:
        return Solved(Matrices.empty())
    return Solved(Matrices.concatenate(parts).take(np.argsort(np.concatenate(order))), all_rejected)


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

    An operand is ``side_by_side`` matrices next to each other and ``extra_cols`` columns. ``limits(law)`` raises UserError
    for laws the task cannot be drawn by for reasons of its own; ``example`` is a law it can be drawn by. ``distinct(law)``: an
    upper bound on the number of different problems, where the number of entries does not tell it.
    ``agrees(operands, solved, stored)``: which stored answers are as right as the solved ones, though their numbers differ,
    as another CPU may give the other of two equally good signs; None where answers are the same on any CPU to float32.
    ``noise(rng, clean, law)``: the written operands where noise is not simply that of ``generate.noise``.
    ``confusions``: by name, other problems whose right answers a model may give in place of this one's.
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
    lettered: bool = False  # each problem begins with the letter of its own task (co-training)
    symmetric: bool = False  # operands are symmetric matrices, and so is the noise put on them
    takes_spectrum: bool = False  # the law may name spectra of its symmetric operands
    side_by_side: int = 1
    extra_cols: int = 0
    limits: Callable[[MatrixLaw], None] | None = None
    example: MatrixLaw = field(default_factory=MatrixLaw)
    distinct: Callable[[MatrixLaw], float] | None = None
    agrees: Callable[[Matrices, Matrices, Matrices], Mask] | None = None
    noise: Callable[[np.random.Generator, Matrices, MatrixLaw], Matrices] | None = None
    confusions: Confusions = field(default_factory=dict)

    def check(self, law: MatrixLaw) -> None:
        """UserError where this task cannot be drawn by this law."""
        if self.square_only and not law.always_square:
            raise UserError(
                f"{self.name} needs square matrices",
                expected="--dim N, --min-dim with --max-dim, or equal --rows and --cols",
                got=f"{law.rows} x {law.cols}" if law.rows else "--rectangular",
            )
        if law.letters is not None and not self.lettered:
            raise UserError(
                f"{self.name} takes no letters", expected="--letters with --task cotraining", got=repr(law.letters)
            )
        if law.spectrum and not self.takes_spectrum:
            raise UserError(
                f"{self.name} takes no spectrum",
                expected="a task with symmetric operands (eigenvalues, eigenvectors, symmetric-inverse)",
                got=f"--spectrum {','.join(law.spectrum)}",
                cause="a spectrum describes symmetric matrices",
                next_step="leave --spectrum out",
            )
        if self.limits is not None:
            self.limits(law)
        self._check_size(law)

    def with_noise(self, rng: np.random.Generator, clean: Matrices, law: MatrixLaw) -> Matrices:
        """The operands as written, with the law's noise on them."""
        if self.noise is not None:
            return self.noise(rng, clean, law)
        return add_noise(rng, clean, law, symmetric=self.symmetric)

    def _check_size(self, law: MatrixLaw) -> None:
        rows, cols = self.largest_operand(law)
        like = Matrices(np.zeros(rows * cols), np.array([rows]), np.array([cols]))
        answer_rows, answer_cols = (int(size[0]) for size in self.answer_shape(like))
        for what, r, c in (
            (f"operands of {self.name}", rows, cols),
            (f"answers of {self.name}", answer_rows, answer_cols),
        ):
            if max(r, c) > LARGEST_DIMENSION:
                raise UserError(
                    f"{what} would be {r} x {c}",
                    expected=f"at most {LARGEST_DIMENSION} rows and {LARGEST_DIMENSION} columns, the largest that can be written",
                    got=f"{c} columns" if c > r else f"{r} rows",
                    next_step="choose a smaller dimension",
                )

    def largest_operand(self, law: MatrixLaw) -> tuple[int, int]:
        rows, cols = law.largest_shape
        return rows, cols * self.side_by_side + self.extra_cols

    def block_rows(self, law: MatrixLaw) -> int:
        """Rows of a block: 10,000, fewer where matrices are large."""
        rows, cols = self.largest_operand(law)
        return int(np.clip(_BLOCK_ENTRIES // (rows * cols), 100, BLOCK_ROWS))

    def distinct_problems(self, law: MatrixLaw) -> float:
        """An upper bound on how many different problems the law can write; infinity when beyond all sizes."""
        if self.distinct is not None:
            return self.distinct(law)
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
