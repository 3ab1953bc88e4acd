"""Every task, enrolled in the same tests by one row of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy.linalg import expm, hilbert

from mathpipe.datasets.containers.ragged_matrices import Matrices, reduce_per_matrix
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.tokenizers.decimal_grid import round_to_grid
from mathpipe.datasets.tokenizers.number_encodings import P1000
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.task_registry import MATRIX_TASKS, get_task, matrix_task

Oracle = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Enrolled:
    """A task's row: its answer by another route (NumPy or SciPy, one problem at a time), and what is particular to it."""

    task: str
    oracle: Oracle
    rectangular: bool = True
    spec: Mapping[str, object] = field(default_factory=dict)
    rejected: float = 0.02  # at most this share of its problems
    minus_is_right: bool = False  # -X is another right answer
    integers: bool = False  # problems lie on the grid whatever the spec


def columns_signed(v: np.ndarray, by: np.ndarray | None = None) -> np.ndarray:
    """Columns turned so that their largest entry (of ``by``) is positive."""
    by = v if by is None else by
    return v * np.sign([column[np.abs(column).argmax()] for column in by.T])


def eigenvectors(a: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eig(a)  # the unsymmetric solver: another algorithm
    order = np.argsort(values.real)
    return np.vstack([values.real[order], columns_signed(vectors.real[:, order])])


def svd(a: np.ndarray) -> np.ndarray:
    u, s, vt = np.linalg.svd(a.T, full_matrices=False)  # of the transpose: U and V change places
    u, v = vt.T, u
    return np.vstack([s, columns_signed(u), columns_signed(v, u)])


def qr(a: np.ndarray) -> np.ndarray:
    """Gram-Schmidt by way of Cholesky: A^T A = R^T R."""
    r = np.linalg.cholesky(a.T @ a).T
    return np.vstack([a @ np.linalg.inv(r), r])


SQUARE = {"rectangular": False}
SPECTRA_OF_ALL_KINDS = {"spectrum": "semicircle,positive,uniform,gaussian,laplace,positive2,marcenko"}
TABLE = [
    Enrolled("transpose", lambda a: a.T),
    Enrolled("add", lambda ab: ab[:, : ab.shape[1] // 2] + ab[:, ab.shape[1] // 2 :]),
    Enrolled("matvec", lambda av: np.einsum("ij,i->j", av[:, :-1], av[:, -1])[:, None]),
    Enrolled("matmul", lambda ab: np.einsum("ij,ik->jk", *np.hsplit(ab, 2))),
    Enrolled(
        "eigenvalues", lambda a: np.sort(np.linalg.eigvals(a).real)[::-1, None], spec=SPECTRA_OF_ALL_KINDS, **SQUARE
    ),
    Enrolled("eigenvectors", eigenvectors, spec=SPECTRA_OF_ALL_KINDS, **SQUARE),
    Enrolled("inverse", lambda a: np.linalg.solve(a, np.eye(len(a))), **SQUARE),
    Enrolled("symmetric-inverse", lambda a: np.linalg.solve(a, np.eye(len(a))), spec=SPECTRA_OF_ALL_KINDS, **SQUARE),
    Enrolled("singular-values", lambda a: np.linalg.svd(a.T)[1][:, None]),
    Enrolled("svd", svd),
    Enrolled("determinant", lambda a: np.array([[np.linalg.det(a)]]), **SQUARE),
    Enrolled("rank", lambda a: np.array([[np.linalg.matrix_rank(a)]]), integers=True),
    Enrolled("solve", lambda ab: np.linalg.inv(ab[:, :-1]) @ ab[:, -1:], **SQUARE),
    Enrolled("pseudo-inverse", np.linalg.pinv),
    Enrolled("qr", qr, minus_is_right=True),
    Enrolled("cholesky", np.linalg.cholesky, rejected=0.1, minus_is_right=True, **SQUARE),
    Enrolled("expm", expm, spec={"max_coeff": 1.0}, **SQUARE),
]
EACH = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.task)


def sample_problems(row: Enrolled, n: int = 200, *, seed: int = 1, **spec: object) -> Matrices:
    """n problems of mixed shapes."""
    values = {"min_dim": 1, "max_dim": 6, "rectangular": row.rectangular, **row.spec, **spec}
    task, problems = get_task(row.task), MatrixSpec.model_validate(values)
    task.check(problems)
    return task.sample(np.random.default_rng(seed), n, problems)


def pairs_of(row: Enrolled, n: int = 200, **spec: object) -> tuple[Matrices, Matrices]:
    """(problems, solutions) of the n that are not rejected."""
    problems = sample_problems(row, n, **spec)
    solved = get_task(row.task).solve(problems)
    accepted = ~np.logical_or.reduce([np.zeros(n, dtype=bool), *solved.rejected.values()])
    assert (~accepted).mean() <= row.rejected
    return problems.take(accepted), solved.solutions.take(accepted)


def test_every_task_is_enrolled() -> None:
    with_own_tests = {"cotraining", "laplacian-eigenvalues", "polynomial-roots"}  # problems of special forms
    assert {row.task for row in TABLE} == set(MATRIX_TASKS) - with_own_tests


@EACH
def test_sampling_is_deterministic(row: Enrolled) -> None:
    first, second, other = (sample_problems(row, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.values, second.values) and first.same_shape(second).all()
    assert not np.array_equal(first.values[:100], other.values[:100])


@EACH
def test_answers_agree_with_numpy(row: Enrolled) -> None:
    problems, solutions = pairs_of(row)
    for i in range(len(problems)):
        atol = 1e-7 * abs(solutions[i]).max()
        np.testing.assert_allclose(solutions[i], row.oracle(problems[i]), rtol=1e-7, atol=atol)


@EACH
def test_batched_solve_matches_single_solves(row: Enrolled) -> None:
    problems = sample_problems(row, 50)
    together = get_task(row.task).solve(problems).solutions
    for i in range(len(problems)):
        alone = get_task(row.task).solve(problems.take([i])).solutions
        assert np.array_equal(alone[0], together[i])


@EACH
def test_arguments_are_not_modified(row: Enrolled) -> None:
    """Batches of one row among them: their transpose is contiguous as it is, where others are copied."""
    task = get_task(row.task)
    problems, x = pairs_of(row, 30, max_dim=4)
    for i in [[0], [1], list(range(len(problems)))]:
        batch = problems.take(i), x.take(i), x.take(i)
        before = [m.values.copy() for m in batch]
        task.solve(batch[0])
        task.errors(*batch)
        task.residual(*batch)
        task.best_representable(*batch[:2])
        assert all(np.array_equal(m.values, b) for m, b in zip(batch, before, strict=True))


@EACH
def test_answer_shape(row: Enrolled) -> None:
    problems = sample_problems(row, 50)
    rows, cols = get_task(row.task).answer_shape(problems)
    solutions = get_task(row.task).solve(problems).solutions
    assert np.array_equal(rows, solutions.rows) and np.array_equal(cols, solutions.cols)


@EACH
def test_solution_passes_and_perturbed_ones_do_not(row: Enrolled) -> None:
    task = get_task(row.task)
    problems, x = pairs_of(row, min_dim=2)
    exact_errors = task.errors(problems, x, x)
    assert task.passes(exact_errors, 1e-6).all()
    assert (exact_errors["coefficients_within_1pct"] == 1).all() and (exact_errors["error_reference_l1"] == 0).all()
    for wrong in (0 * x.values, 1.2 * x.values, -x.values, x.values + 1 + np.abs(x.values)):
        passed = task.passes(task.errors(problems, x, Matrices(wrong, x.rows, x.cols)), 0.05)
        same = reduce_per_matrix(wrong == x.values, x, np.logical_and)  # a rank of 0 times anything
        assert (passed == (same | (row.minus_is_right and np.array_equal(wrong, -x.values)))).all()


@EACH
def test_batched_verify_matches_single_verify(row: Enrolled) -> None:
    task = get_task(row.task)
    problems, x = pairs_of(row, 40)
    predicted = Matrices(x.values * np.random.default_rng(0).normal(1, 0.05, len(x.values)), x.rows, x.cols)
    together = task.errors(problems, x, predicted)
    for i in range(len(problems)):
        alone = task.errors(problems.take([i]), x.take([i]), predicted.take([i]))
        for name, values in together.items():
            np.testing.assert_allclose(alone[name][0], values[i], rtol=1e-12, err_msg=name)


@EACH
@pytest.mark.parametrize("extreme", [np.inf, np.nan, 1e300, -1e300])
def test_extreme_predictions_are_wrong_and_never_raise(row: Enrolled, extreme: float) -> None:
    task = get_task(row.task)
    problems, x = pairs_of(row, 40, min_dim=2)
    values = x.values.copy()
    values[x.offsets[:-1]] = extreme
    assert not task.passes(task.errors(problems, x, Matrices(values, x.rows, x.cols)), 0.25).any()


@EACH
def test_best_representable_is_on_the_grid_and_not_worse_than_rounding(row: Enrolled) -> None:
    task = get_task(row.task)
    problems, x = pairs_of(row, 100, max_dim=4)
    best = task.best_representable(problems, x)
    assert np.array_equal(P1000().decode(P1000().encode(best.values))[0], best.values)
    nearest = Matrices(round_to_grid(x.values), x.rows, x.cols)
    assert (task.errors(problems, x, best)["error_l1"] <= task.errors(problems, x, nearest)["error_l1"] + 1e-12).all()


@EACH
def test_problems_lie_on_the_grid(row: Enrolled) -> None:
    problems = sample_problems(row)
    assert np.array_equal(round_to_grid(problems.values), problems.values)
    if row.integers:
        return
    off_grid = sample_problems(row, round_problems=False)
    assert np.array_equal(off_grid.values.astype(np.float32), off_grid.values)
    assert (round_to_grid(off_grid.values) != off_grid.values).mean() > 0.9


def test_inverse_backwards_from_a_known_answer() -> None:
    """A = X^-1 formed exactly: X = P D with small integers has an inverse with few digits."""
    x = np.array([[[2.0, 0.0], [0.0, 4.0]], [[0.0, 5.0], [2.0, 0.0]], [[1.0, 3.0], [0.0, 1.0]]])
    a = np.array([[[0.5, 0.0], [0.0, 0.25]], [[0.0, 0.5], [0.2, 0.0]], [[1.0, -3.0], [0.0, 1.0]]])
    solved = get_task("inverse").solve(Matrices.from_dense(a))
    np.testing.assert_allclose(solved.solutions.dense(), x, atol=1e-15)


def test_only_the_singular_matrix_is_rejected() -> None:
    a = np.random.default_rng(0).normal(size=(6, 3, 3))
    a[2] = np.outer([1, 2, 3], [4, 5, 6])
    a[4] = 0
    solved = get_task("inverse").solve(Matrices.from_dense(a))
    bad = solved.rejected["singular"] | solved.rejected["untrusted inverse"]
    assert np.flatnonzero(bad).tolist() == [2, 4]
    np.testing.assert_allclose(solved.solutions.dense()[~bad], np.linalg.inv(a[~bad]), rtol=1e-12)


def test_nearly_singular_inverses_are_not_trusted() -> None:
    """A Hilbert matrix of order 9 has condition number 5e11: its computed inverse misses I by about 1e-5."""
    solved = get_task("inverse").solve(Matrices.from_dense([hilbert(9), np.eye(9)]))
    assert solved.rejected["untrusted inverse"].tolist() == [True, False]


def test_inverse_uses_the_residual() -> None:
    """A = diag(1, 2): H = diag(1.02, 0.5) has A H - I = diag(0.02, 0), so error_l1 = 0.02 / 2."""
    a = Matrices.from_dense([np.diag([1.0, 2.0])])
    x, h = (Matrices.from_dense([np.diag(d)]) for d in ([1.0, 0.5], [1.02, 0.5]))
    errors = matrix_task("inverse").errors(a, x, h)
    assert {k: round(float(v[0]), 12) for k, v in errors.items()} == {
        "error_l1": 0.01,
        "error_l2": 0.0002,
        "error_max": 0.02,
        "error_componentwise": 0.02,
        "coefficients_within_1pct": 0.75,
        "error_reference_l1": round(0.02 / 1.5, 12),
    }


def test_add_uses_the_difference() -> None:
    ab, x, h = (Matrices.from_list([m]) for m in ([[1.0, 2.0, 3.0, -1.0]], [[4.0, 1.0]], [[4.2, 1.0]]))
    errors = matrix_task("add").errors(ab, x, h)
    expected = {
        "error_l1": 0.04,
        "error_l2": 0.04 / 17,
        "error_max": 0.05,
        "error_componentwise": 0.05,
        "coefficients_within_1pct": 0.5,
        "error_reference_l1": 0.04,
    }
    assert errors.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(errors[name][0], value, rtol=1e-12)


def test_a_reference_of_zeros_allows_only_zeros() -> None:
    ab, x = Matrices.from_list([[[1.0, -1.0]], [[1.0, -1.0]]]), Matrices.from_list([[[0.0]], [[0.0]]])
    errors = matrix_task("add").errors(ab, x, Matrices.from_list([[[0.0]], [[1e-6]]]))
    assert errors["error_l1"].tolist() == [0, np.inf]


@pytest.mark.parametrize(
    ("n", "reference", "best_representable"), [(3, (95, 98), (97.5, 99.9)), (5, (91, 94), (96, 98.5))]
)
def test_scores_of_rounded_reference_and_best_representable_inverse(
    n: int, reference: tuple[float, float], best_representable: tuple[float, float]
) -> None:
    """Accuracy of the stored answers, rounded to 3 digits: 96.4 % (3x3) and 92.4 % (5x5) at 5 % tolerance."""
    task = get_task("inverse")
    problems = task.sample(np.random.default_rng(5), 4_000, MatrixSpec(min_dim=n, max_dim=n))
    x = task.solve(problems).solutions
    nearest = Matrices(round_to_grid(x.values), x.rows, x.cols)
    scores = [
        100 * task.passes(task.errors(problems, x, h), 0.05).mean()
        for h in (nearest, task.best_representable(problems, x))
    ]
    assert reference[0] < scores[0] < reference[1]
    assert best_representable[0] < scores[1] < best_representable[1]


def test_unknown_task_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean inverse"):
        get_task("inversion")


@pytest.mark.parametrize(
    ("task", "spec", "message"),
    [
        ("inverse", {"rectangular": True}, "square"),
        ("inverse", {"rows": 2, "cols": 3}, "square"),
        ("add", {"min_dim": 60, "max_dim": 60}, "120 columns"),
        ("matvec", {"min_dim": 100, "max_dim": 100}, "problems of matvec would be 100 x 101"),
        ("eigenvectors", {"min_dim": 100, "max_dim": 100}, "answers of eigenvectors would be 101 x 100"),
        ("svd", {"rows": 50, "cols": 50}, "answers of svd would be 101 x 50"),
        ("inverse", {"spectrum": "laplace"}, "takes no spectrum.*--spectrum laplace.*leave"),
        ("cholesky", {"spectrum": "marcenko"}, "takes no spectrum"),
        ("eigenvalues", {"rectangular": True, "spectrum": "laplace"}, "square"),
        ("qr", {"rows": 2, "cols": 3}, "at least as many rows as columns.*--rows 3 --cols 2.*--rectangular"),
        ("expm", {}, "small coefficients.*--max-coeff 1.*--max-coeff 10.*pass --max-coeff 1"),
        ("rank", {"entries": "gaussian"}, "rank needs uniform entries"),
        ("rank", {"max_coeff": 0.5}, "needs integers"),
    ],
)
def test_unsupported_specs(task: str, spec: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        get_task(task).check(MatrixSpec.model_validate(spec))
