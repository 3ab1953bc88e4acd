"""The base class of tasks on matrices, and how batches of different shapes are solved."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic.fields import FieldInfo

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_per_matrix
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.example_formats import MatrixFormat
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.tokenizers.decimal_grid import in_dataset_range, round_to_grid
from mathpipe.generate.chunks.acceptance import Acceptance
from mathpipe.generate.chunks.chunk_examples import ChunkExamples
from mathpipe.generate.chunks.matrix_chunks import MatrixChunks, Solved, StoredProblems
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.outcomes import RowFault, Verification
from mathpipe.generate.problem_specs.matrix_spec import LARGEST_DIMENSION, MatrixSpec
from mathpipe.generate.sampling.noise import add_noise
from mathpipe.generate.sampling.random_matrices import distinct_entries
from mathpipe.generate.splits import belongs_to_split, problem_hash
from mathpipe.generate.tasks.error_measures import TOLERANCE, Errors, error_measures, within
from mathpipe.generate.tasks.task import Task
from mathpipe.generate.tasks.wrong_problems import WrongProblems

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

CHUNK_ROWS = 10_000
MATRIX_OUTCOMES = ("exact", "within_tolerance", "wrong_value", "wrong_shape", "malformed", "unterminated")
EXACT, WITHIN_TOLERANCE, WRONG_VALUE, WRONG_SHAPE, MALFORMED, UNTERMINATED = range(len(MATRIX_OUTCOMES))
CPU_TOLERANCE = 1e-9  # relative to the largest entry: how far two CPUs may differ in float64, far below float32
_CHUNK_ENTRIES = 2_000_000  # chunks of large matrices have fewer rows, to keep arrays near 16 MB
_TRIAL_PROBLEMS, _TRIAL_ENTRIES = 2_000, 200_000  # sampled to estimate the acceptance rate
_TASK_ID_KEY = np.uint64(0x9E3779B97F4A7C15)  # odd, so that different task ids give different hashes


class MatrixTask(Task[MatrixSpec]):
    """A family of problems on matrices: a problem is sampled, then solved.

    A prediction is right if its ``errors`` are within 5 % (``passes``). Unless a task overrides ``errors``, a prediction H is
    compared with the stored solution X: error_l1 = sum|H - X| / sum|X|.

    ``residual_formula`` describes ``residual``. A problem has ``side_by_side`` matrices next to each other and ``extra_cols``
    columns. ``square_only``: matrices are square; ``symmetric``: problems and their noise are symmetric; ``takes_spectrum``: the
    spec may name spectra of the symmetric problems.
    ``wrong_problems``: by name, other problems whose solutions a model may give instead.
    """

    problem_type = "matrices"
    spec_model = MatrixSpec
    default_spec = MatrixSpec()
    outcomes = MATRIX_OUTCOMES
    correct_outcomes = frozenset({"exact", "within_tolerance"})
    stored_solutions = (
        "Solutions are computed in double precision from the stored problem, with noise from the problem without it, "
        "and stored as float32. Problems without a trusted solution are rejected. `mathpipe verify` computes every "
        "solution again and compares the entries, within 1.5 units in the last place of float32 and 1e-9 of the "
        "largest entry; of several right solutions, such as both signs of an eigenvector, any may be stored."
    )
    residual_formula: ClassVar[str] = "H - X"
    square_only: ClassVar[bool] = False
    symmetric: ClassVar[bool] = False
    takes_spectrum: ClassVar[bool] = False
    side_by_side: ClassVar[int] = 1
    extra_cols: ClassVar[int] = 0
    wrong_problems: ClassVar[WrongProblems] = {}

    # what a task defines

    @abstractmethod
    def sample(self, rng: np.random.Generator, n: int, spec: MatrixSpec) -> Matrices:
        """n problems, those among them that ``solve`` rejects included."""

    @abstractmethod
    def solve(self, problems: Matrices) -> Solved:
        """The solutions, and which problems to reject for which reason."""

    @abstractmethod
    def answer_shape(self, problems: Matrices) -> tuple[Ints, Ints]:
        """(rows (n,), columns (n,)) of every correct solution."""

    def residual(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Matrices:
        """The matrices R whose norms the error measures are; here R = H - X."""
        return Matrices(predicted.values - references.values, references.rows, references.cols)

    def errors(self, problems: Matrices, references: Matrices, predicted: Matrices) -> Errors:
        """Every error measure of predictions H of the reference's shape, (n,) each; here with R = H - X and S = X."""
        return error_measures(self.residual(problems, references, predicted), references, predicted, references)

    def best_representable(self, problems: Matrices, solutions: Matrices) -> Matrices:
        """The best solution found among those with 3-digit entries; here the solution rounded entry by entry."""
        return Matrices(round_to_grid(solutions.values), solutions.rows, solutions.cols)

    def matches_recomputed(self, problems: Matrices, solved: Matrices, stored: Matrices) -> Mask:
        """Which stored solutions are as good as the recomputed ones although their numbers differ, (n,).

        Another CPU may choose the other of two equally good signs. Here none: all CPUs agree to float32.
        """
        return np.zeros(len(problems), dtype=np.bool_)

    def with_noise(self, rng: np.random.Generator, clean: Matrices, spec: MatrixSpec) -> Matrices:
        """The stored problems: the clean ones with the spec's noise."""
        return add_noise(rng, clean, spec, symmetric=self.symmetric)

    def check_problems(self, spec: MatrixSpec) -> None:
        """UserError for what this task alone does not support."""

    def distinct_problems(self, spec: MatrixSpec) -> float:
        rows, cols = self.largest_problem(spec)
        return float(distinct_entries(spec) ** min(rows * cols, 16))

    # parameters

    def options(self) -> dict[str, FieldInfo]:
        unsupported = set() if self.takes_spectrum else {"spectrum"}
        unsupported |= set() if self.has_task_tokens else {"task_tokens"}
        unsupported |= {"rectangular", "rows", "cols"} if self.square_only else set()
        return {name: field for name, field in super().options().items() if name not in unsupported}

    def check(self, spec: MatrixSpec) -> None:
        if self.square_only and not spec.always_square:
            raise UserError(
                f"{self.name} needs square matrices",
                expected="--dim N, or --min-dim with --max-dim",
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
        self.check_problems(spec)
        self._check_size(spec)

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
        """The largest (rows, columns) of a problem."""
        rows, cols = spec.largest_shape
        return rows, cols * self.side_by_side + self.extra_cols

    def chunk_rows(self, spec: MatrixSpec) -> int:
        """10,000, fewer for large matrices."""
        rows, cols = self.largest_problem(spec)
        return int(np.clip(_CHUNK_ENTRIES // (rows * cols), 100, CHUNK_ROWS))

    # examples

    def build_chunk(self, spec: DatasetSpec, chunk: int, splits: Sequence[str]) -> dict[str, ChunkExamples]:
        chunks = self._chunks(spec)
        return {split: chunks.build(self.rng_stream(split), chunk) for split in splits}

    def acceptance(self, spec: DatasetSpec) -> Acceptance:
        rows, cols = self.problems_of(spec).largest_shape
        return self._chunks(spec).trial(
            max(_TRIAL_PROBLEMS // 20, min(_TRIAL_PROBLEMS, _TRIAL_ENTRIES // (rows * cols)))
        )

    def _chunks(self, spec: DatasetSpec) -> MatrixChunks:
        problems = self.problems_of(spec)

        def sample(rng: np.random.Generator, n: int) -> StoredProblems:
            clean = self.sample(rng, n, problems)
            if not problems.noise:
                return StoredProblems(clean)
            return StoredProblems(self.with_noise(rng, clean, problems), clean)

        return MatrixChunks(spec, sample, self.solve, on_grid=_on_grid(problems))

    def example_format(self, spec: DatasetSpec) -> MatrixFormat:
        problems = self.problems_of(spec)
        mixed = len(problems.spectrum) > 1 and not self.has_task_tokens
        return MatrixFormat(spec.chunk_rows, problems.round_problems, problems.noise > 0, self.has_task_tokens, mixed)

    def problem_hash(self, spec: DatasetSpec, examples: Any, keys_from: int = 0) -> NDArray[np.uint64]:
        problems = cast(MatrixExamples, examples).problems
        return hash_problems(problems, on_grid=_on_grid(self.problems_of(spec)), keys_from=keys_from)

    # verification

    def supports(self, problems: Matrices) -> Mask:
        """Which matrices have the shape and the symmetry of this task's problems, (n,)."""
        width = problems.cols - self.extra_cols
        result = (width >= self.side_by_side) & (width % self.side_by_side == 0)
        if self.square_only:
            result &= width == problems.rows * self.side_by_side
        if self.symmetric:
            for index, dense in problems.groups():
                if dense.shape[1] == dense.shape[2]:
                    result[index] &= (dense == dense.transpose(0, 2, 1)).all(axis=(1, 2))
        return np.asarray(result)

    def has_size(self, problems: Matrices) -> Mask:
        """Which matrices, of the shape of this task's problems, have a size that ``default_spec`` samples, (n,)."""
        spec = self.default_spec
        rows, cols = problems.rows, (problems.cols - self.extra_cols) // self.side_by_side
        if spec.rows is not None:
            return np.asarray((rows == spec.rows) & (cols == spec.cols))
        low, high = spec.min_dim, spec.max_dim
        in_range = (rows >= low) & (rows <= high) & (cols >= low) & (cols <= high)
        return np.asarray(in_range & (spec.rectangular | (rows == cols)))

    def passes(self, errors: Errors, tolerance: float) -> Mask:
        """Which predictions are correct within ``tolerance``, by error_l1 (and orthogonality, if measured)."""
        correct = within(errors["error_l1"], tolerance)
        if "orthogonality" in errors:
            correct &= within(errors["orthogonality"], tolerance)
        return correct

    def verify(
        self, problems: Matrices, references: Matrices, predicted: Matrices, tolerance: float = TOLERANCE
    ) -> Verification:
        """Outcomes of predicted matrices of any shape, by ``errors`` and ``passes``; measures are NaN where the shape is wrong."""
        same_shape = predicted.same_shape(references)
        if len(same_shape) and same_shape.all():
            return self._verify_same_shape(problems, references, predicted, tolerance)
        outcome = np.full(len(problems), WRONG_SHAPE, dtype=np.int8)
        measures: Errors = {}
        if same_shape.any():
            p, x, h = (each.take(same_shape) for each in (problems, references, predicted))
            verified = self._verify_same_shape(p, x, h, tolerance)
            outcome[same_shape] = verified.outcome
            measures = {name: np.full(len(problems), np.nan) for name in verified.measures}
            for name, values in verified.measures.items():
                measures[name][same_shape] = values
        return Verification(outcome, measures)

    def _verify_same_shape(self, p: Matrices, x: Matrices, h: Matrices, tolerance: float) -> Verification:
        """Outcomes of predictions H of the shape of X."""
        with np.errstate(all="ignore"):
            errors = self.errors(p, x, h)
        equal = reduce_per_matrix(x.values == h.values, x, np.logical_and)
        correct = np.where(equal, EXACT, WITHIN_TOLERANCE)
        outcome = np.where(self.passes(errors, tolerance), correct, WRONG_VALUE).astype(np.int8)
        return Verification(outcome, errors)

    def find_faults(self, spec: DatasetSpec, split: str, examples: Any, first: int) -> dict[RowFault, Mask]:
        rows = cast(MatrixExamples, examples)
        solved = self.solve(rows.solved)
        rejected = functools.reduce(np.logical_or, solved.rejected.values(), np.zeros(len(rows), dtype=np.bool_))
        same_shape = rows.solutions.same_shape(solved.solutions)
        correct = np.zeros(len(rows), dtype=np.bool_)
        correct[same_shape] = self.correct_solutions(
            *(m.take(same_shape) for m in (rows.solved, solved.solutions, rows.solutions))
        )
        in_range = np.asarray(reduce_per_matrix(in_dataset_range(rows.problems.values), rows.problems, np.logical_and))
        return {
            RowFault("is in the wrong position"): rows.row != np.arange(first, first + len(rows)),
            RowFault("its problem has a number larger than a dataset stores"): ~in_range,
            RowFault(f"its problem does not belong to {split}"): ~belongs_to_split(
                rows.problems, split, on_grid=_on_grid(self.problems_of(spec))
            ),
            RowFault("its problem has no trusted solution"): rejected,
            RowFault("its solution is wrong", "solution"): ~correct & ~rejected,
        }

    def correct_solutions(self, problems: Matrices, solved: Matrices, stored: Matrices) -> Mask:
        """Which stored solutions equal the recomputed ones, or are as good by ``matches_recomputed``."""
        correct = matches_to_float32(stored.values, solved, CPU_TOLERANCE)
        if not correct.all():
            unequal = np.flatnonzero(~correct)
            correct[unequal] = self.matches_recomputed(*(m.take(unequal) for m in (problems, solved, stored)))
        return correct


def hash_problems(problems: Matrices, *, on_grid: bool, keys_from: int = 0) -> NDArray[np.uint64]:
    """A 64-bit hash of each problem, (n,), of which the task token is a part; ``on_grid``: values lie on the decimal grid."""
    hashes = problem_hash(problems, on_grid=on_grid, keys_from=keys_from)
    return hashes if problems.task_ids is None else hashes ^ (problems.task_ids.astype(np.uint64) * _TASK_ID_KEY)


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


def matches_to_float32(stored: Floats, recomputed: Matrices, tolerance: float) -> Mask:
    """Which matrices are equal entry by entry: |stored - X| <= 1.5 units in the last place of float32 + tolerance * max|X|."""
    largest = reduce_per_matrix(np.abs(recomputed.values), recomputed, np.maximum)
    with np.errstate(over="ignore", invalid="ignore"):
        unit = np.spacing(np.abs(recomputed.values).astype(np.float32)).astype(np.float64)
        allowed = 1.5 * unit + tolerance * np.repeat(largest, recomputed.sizes)
        close = np.abs(stored - recomputed.values) <= allowed
    return np.asarray(reduce_per_matrix(close, recomputed, np.logical_and))


def _on_grid(spec: MatrixSpec) -> bool:
    """Whether the stored problems lie on the decimal grid already."""
    return spec.noise > 0 or spec.round_problems
