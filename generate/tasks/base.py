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
from mathpipe.generate.spec import LARGEST_DIMENSION, MatrixSpec
from mathpipe.generate.tasks.wrong_problems import Confusions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Errors = dict[str, Floats]

CHUNK_ROWS = 10_000
_CHUNK_ENTRIES = 2_000_000  # a chunk of large matrices has fewer rows, so that it stays near 16 MB an array


@dataclass(frozen=True)
class Solved:
    """Solutions of n problems (any values where rejected), and for each reason the mask (n,) of rows to reject."""

    solutions: Matrices
    rejected: dict[str, Mask] = field(default_factory=dict)


def solve_by_shape(problems: Matrices, solve: Callable[[Floats], tuple[Floats, dict[str, Mask]]]) -> Solved:
    """``solve`` of dense groups, (k, m, n) -> (solutions (k, r, c), {reason: (k,)}), in the order of rows."""
    if problems.shape is not None:
        solutions, rejected = solve(problems.dense())
        return Solved(Matrices.from_dense(solutions), rejected)
    parts, order, all_rejected = [], [], dict[str, Mask]()
    for index, dense in problems.groups():
        solutions, rejected = solve(dense)
        parts.append(Matrices.from_dense(solutions))
        order.append(index)
        for reason, mask in rejected.items():
            all_rejected.setdefault(reason, np.zeros(len(problems), dtype=np.bool_))[index] = mask
    if not parts:
        return Solved(Matrices.empty())
    return Solved(Matrices.concatenate(parts).take(np.argsort(np.concatenate(order))), all_rejected)


def nearest_written(problems: Matrices, solutions: Matrices) -> Matrices:
    """The solution rounded to 3 digits, entry by entry: the best written answer where errors are H - X."""
    return Matrices(round_to_grid(solutions.values), solutions.rows, solutions.cols)


def difference(problems: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
    """R = H - X."""
    return Matrices(predicted.values - references.values, references.rows, references.cols)


@dataclass(frozen=True)
class Task:
    """A family of problems: problem -> solution.

    ``sample(rng, n, spec)`` draws n problems; ``solve(problems)`` gives their solutions and which rows to reject;
    ``verify(problems, references, predicted)`` gives every error measure, one value a prediction, for predictions that
    have the reference's shape; ``residual(problems, references, predicted)`` gives the matrices R whose norms these are,
    ``residual_formula`` says what R is; ``answer_shape(problems)`` the shape of every right answer;
    ``best_written(problems, solutions)`` the best answer found among those that can be written with 3 digits.

    An problem is ``side_by_side`` matrices next to each other and ``extra_cols`` columns. ``limits(spec)`` raises UserError
    for specs the task cannot be drawn by for reasons of its own; ``example`` is a spec it can be drawn by. ``distinct(spec)``: an
    upper bound on the number of different problems, where the number of entries does not tell it.
    ``agrees(problems, solved, stored)``: which stored answers are as right as the solved ones, though their numbers differ,
    as another CPU may give the other of two equally good signs; None where answers are the same on any CPU to float32.
    ``noise(rng, clean, spec)``: the written problems where noise is not simply that of ``generate.noise``.
    ``confusions``: by name, other problems whose right answers a model may give in place of this one's.
    """

    name: str
    task_token: str | None
    problem: str
    solution: str
    source: str
    sample: Callable[[np.random.Generator, int, MatrixSpec], Matrices]
    solve: Callable[[Matrices], Solved]
    verify: Callable[[Matrices, Matrices, Matrices], Errors]
    answer_shape: Callable[[Matrices], tuple[Ints, Ints]]
    residual: Callable[[Matrices, Matrices, Matrices], Matrices] = difference
    residual_formula: str = "H - X"
    best_written: Callable[[Matrices, Matrices], Matrices] = nearest_written
    square_only: bool = False
    has_task_tokens: bool = False  # each problem begins with the task token of its own task (co-training)
    symmetric: bool = False  # problems are symmetric matrices, and so is the noise put on them
    takes_spectrum: bool = False  # the spec may name spectra of its symmetric problems
    side_by_side: int = 1
    extra_cols: int = 0
    limits: Callable[[MatrixSpec], None] | None = None
    example: MatrixSpec = field(default_factory=MatrixSpec)
    distinct: Callable[[MatrixSpec], float] | None = None
    agrees: Callable[[Matrices, Matrices, Matrices], Mask] | None = None
    noise: Callable[[np.random.Generator, Matrices, MatrixSpec], Matrices] | None = None
    confusions: Confusions = field(default_factory=dict)

    def check(self, spec: MatrixSpec) -> None:
        """UserError where this task cannot be drawn by this spec."""
        if self.square_only and not spec.always_square:
            raise UserError(
                f"{self.name} needs square matrices",
                expected="--dim N, --min-dim with --max-dim, or equal --rows and --cols",
                got=f"{spec.rows} x {spec.cols}" if spec.rows else "--rectangular",
            )
        if spec.task_tokens is not None and not self.has_task_tokens:
            raise UserError(
                f"{self.name} takes no task tokens",
                expected="--task-tokens with --task cotraining",
                got=repr(spec.task_tokens),
            )
        if spec.spectrum and not self.takes_spectrum:
            raise UserError(
                f"{self.name} takes no spectrum",
                expected="a task with symmetric problems (eigenvalues, eigenvectors, symmetric-inverse)",
                got=f"--spectrum {','.join(spec.spectrum)}",
                cause="a spectrum describes symmetric matrices",
                next_step="leave --spectrum out",
            )
        if self.limits is not None:
            self.limits(spec)
        self._check_size(spec)

    def with_noise(self, rng: np.random.Generator, clean: Matrices, spec: MatrixSpec) -> Matrices:
        """The problems as written, with the spec's noise on them."""
        if self.noise is not None:
            return self.noise(rng, clean, spec)
        return add_noise(rng, clean, spec, symmetric=self.symmetric)

    def _check_size(self, spec: MatrixSpec) -> None:
        rows, cols = self.largest_problem(spec)
        like = Matrices(np.zeros(rows * cols), np.array([rows]), np.array([cols]))
        answer_rows, answer_cols = (int(size[0]) for size in self.answer_shape(like))
        for what, r, c in (
            (f"problems of {self.name}", rows, cols),
            (f"answers of {self.name}", answer_rows, answer_cols),
        ):
            if max(r, c) > LARGEST_DIMENSION:
                raise UserError(
                    f"{what} would be {r} x {c}",
                    expected=f"at most {LARGEST_DIMENSION} rows and {LARGEST_DIMENSION} columns, the largest that can be written",
                    got=f"{c} columns" if c > r else f"{r} rows",
                    next_step="choose a smaller dimension",
                )

    def largest_problem(self, spec: MatrixSpec) -> tuple[int, int]:
        rows, cols = spec.largest_shape
        return rows, cols * self.side_by_side + self.extra_cols

    def chunk_rows(self, spec: MatrixSpec) -> int:
        """Rows of a chunk: 10,000, fewer where matrices are large."""
        rows, cols = self.largest_problem(spec)
        return int(np.clip(_CHUNK_ENTRIES // (rows * cols), 100, CHUNK_ROWS))

    def distinct_problems(self, spec: MatrixSpec) -> float:
        """An upper bound on how many different problems the spec can write; infinity when beyond all sizes."""
        if self.distinct is not None:
            return self.distinct(spec)
        rows, cols = self.largest_problem(spec)
        return float(distinct_entries(spec) ** min(rows * cols, 16))

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
    S comes from the reference or the problem, never from the prediction: an answer cannot buy tolerance by its size.
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


def difference_errors(problems: Matrices, references: Matrices, predicted: Matrices) -> Errors:
    """R = H - X and S = X: for tasks whose answer is one matrix and no other."""
    return error_measures(difference(problems, references, predicted), references, predicted, references)
