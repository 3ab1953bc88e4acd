"""A task: a declaration and three functions of batches, sample, solve and verify."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_per_matrix
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.decimal_grid import round_to_grid
from mathpipe.generate.sampling.noise import add_noise
from mathpipe.generate.sampling.random_matrices import distinct_entries
from mathpipe.generate.spec import LARGEST_DIMENSION, MatrixSpec
from mathpipe.generate.tasks.wrong_problems import WrongProblems

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Errors = dict[str, Floats]

CHUNK_ROWS = 10_000
_CHUNK_ENTRIES = 2_000_000  # chunks of large matrices have fewer rows, to keep arrays near 16 MB


@dataclass(frozen=True)
class Solved:
    """Solutions of n problems (arbitrary where rejected), and a mask (n,) of the rejected problems for each reason."""

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


def round_solutions(problems: Matrices, solutions: Matrices) -> Matrices:
    """The solution rounded to 3 digits, entry by entry: the best representable one where errors are H - X."""
    return Matrices(round_to_grid(solutions.values), solutions.rows, solutions.cols)


def difference(problems: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
    """R = H - X."""
    return Matrices(predicted.values - references.values, references.rows, references.cols)


@dataclass(frozen=True)
class Task:
    """A family of problems: problem -> solution.

    ``sample(rng, n, spec)`` samples n problems. ``solve(problems)`` returns their solutions and the problems to reject.
    ``verify(problems, references, predicted)`` returns every error measure, one value per prediction, for predictions of the
    reference's shape. ``residual(problems, references, predicted)`` returns the matrices R whose norms these are;
    ``residual_formula`` describes R. ``answer_shape(problems)``: the shape of every correct solution.
    ``best_representable(problems, solutions)``: the best solution found among those with 3-digit entries.

    A problem has ``side_by_side`` matrices next to each other and ``extra_cols`` columns. ``validate_spec(spec)``
    raises UserError for further unsupported specs; ``example`` is a supported spec. ``distinct(spec)``: an upper bound on the
    number of distinct problems, where the number of entries does not determine it.
    ``matches_recomputed(problems, solved, stored)``: which stored solutions are as good as the recomputed ones although
    their numbers differ; another CPU may choose the other of two equally good signs. None if all CPUs agree to float32.
    ``noise(rng, clean, spec)``: the stored problems, where noise is not simply that of ``generate.sampling.noise``.
    ``wrong_problems``: by name, other problems whose solutions a model may give instead.
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
    best_representable: Callable[[Matrices, Matrices], Matrices] = round_solutions
    square_only: bool = False
    has_task_tokens: bool = False  # each problem starts with a task token (co-training)
    symmetric: bool = False  # problems and their noise are symmetric matrices
    takes_spectrum: bool = False  # the spec may name spectra of the symmetric problems
    side_by_side: int = 1
    extra_cols: int = 0
    validate_spec: Callable[[MatrixSpec], None] | None = None
    example: MatrixSpec = field(default_factory=MatrixSpec)
    distinct: Callable[[MatrixSpec], float] | None = None
    matches_recomputed: Callable[[Matrices, Matrices, Matrices], Mask] | None = None
    noise: Callable[[np.random.Generator, Matrices, MatrixSpec], Matrices] | None = None
    wrong_problems: WrongProblems = field(default_factory=dict)

    def check(self, spec: MatrixSpec) -> None:
        """UserError if this task does not support the spec."""
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
        if self.validate_spec is not None:
            self.validate_spec(spec)
        self._check_size(spec)

    def with_noise(self, rng: np.random.Generator, clean: Matrices, spec: MatrixSpec) -> Matrices:
        """The stored problems: the clean ones with the spec's noise."""
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
                    expected=f"at most {LARGEST_DIMENSION} rows and {LARGEST_DIMENSION} columns (the largest supported)",
                    got=f"{c} columns" if c > r else f"{r} rows",
                    next_step="choose a smaller dimension",
                )

    def largest_problem(self, spec: MatrixSpec) -> tuple[int, int]:
        rows, cols = spec.largest_shape
        return rows, cols * self.side_by_side + self.extra_cols

    def chunk_rows(self, spec: MatrixSpec) -> int:
        """Rows per chunk: 10,000, fewer for large matrices."""
        rows, cols = self.largest_problem(spec)
        return int(np.clip(_CHUNK_ENTRIES // (rows * cols), 100, CHUNK_ROWS))

    def distinct_problems(self, spec: MatrixSpec) -> float:
        """An upper bound on the number of distinct problems of the spec; infinity if it is astronomically large."""
        if self.distinct is not None:
            return self.distinct(spec)
        rows, cols = self.largest_problem(spec)
        return float(distinct_entries(spec) ** min(rows * cols, 16))

    def passes(self, errors: Errors, tolerance: float) -> Mask:
        """Which predictions are correct within ``tolerance``: error_l1 <= tolerance (and orthogonality, if measured)."""
        correct = errors["error_l1"] <= tolerance
        if "orthogonality" in errors:
            correct &= errors["orthogonality"] <= tolerance
        return np.asarray(correct)


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """numerator / denominator, with 0/0 = 0 (no error on a zero reference) and x/0 infinite."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        quotient = numerator / denominator
    return np.where((numerator == 0) & (denominator == 0), 0.0, quotient)


def error_measures(residual: Matrices, scale: Matrices, predicted: Matrices, references: Matrices) -> Errors:
    """Norms of the residual R relative to the scale S, and closeness of the prediction H to the reference X, each (n,).

    ``error_l1`` = sum|R| / sum|S|; ``error_l2`` = sum R^2 / sum S^2; ``error_max`` = max|R| / max|S|;
    ``coefficients_within_1pct``: share of entries with |H - X| <= 1 % of |X|; ``error_reference_l1`` = sum|H - X| / sum|X|.
    S comes from the reference or the problem, never from the prediction, whose size must not affect the tolerance.
    """
    with np.errstate(over="ignore"):
        difference = np.abs(predicted.values - references.values)
        close = (difference <= 0.01 * np.abs(references.values)).astype(np.float64)
        r, s = np.abs(residual.values), np.abs(scale.values)
        return {
            "error_l1": ratio(reduce_per_matrix(r, residual, np.add), reduce_per_matrix(s, scale, np.add)),
            "error_l2": ratio(reduce_per_matrix(r * r, residual, np.add), reduce_per_matrix(s * s, scale, np.add)),
            "error_max": ratio(reduce_per_matrix(r, residual, np.maximum), reduce_per_matrix(s, scale, np.maximum)),
            "coefficients_within_1pct": reduce_per_matrix(close, references, np.add) / np.maximum(references.sizes, 1),
            "error_reference_l1": ratio(
                reduce_per_matrix(difference, references, np.add),
                reduce_per_matrix(np.abs(references.values), references, np.add),
            ),
        }


def difference_errors(problems: Matrices, references: Matrices, predicted: Matrices) -> Errors:
    """R = H - X and S = X: for tasks with a unique solution."""
    return error_measures(difference(problems, references, predicted), references, predicted, references)
