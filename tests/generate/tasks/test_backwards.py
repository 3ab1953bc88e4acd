"""Problems constructed backwards from a known solution, and the rejections of each task."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import expm, hilbert

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.chunks.matrix_chunks import Solved
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.task_registry import get_task

DIMS = (1, 2, 3, 5, 8)


def random_orthogonal(rng: np.random.Generator, m: int, n: int | None = None) -> np.ndarray:
    """m x n with orthonormal columns."""
    return np.linalg.qr(rng.normal(size=(m, m)))[0][:, : n or m]


def separated_values(rng: np.random.Generator, n: int) -> np.ndarray:
    """n ascending values, at least 1/2 apart, of both signs."""
    return np.cumsum(rng.uniform(0.5, 2, size=n)) - n / 2


def solve(task: str, *problems: np.ndarray) -> Solved:
    return get_task(task).solve(Matrices.from_list(list(problems)))


def answer(task: str, *problems: np.ndarray) -> np.ndarray:
    """The solution of one problem, computed in a batch with a problem of another shape."""
    result = solve(task, *problems, np.eye(4, 5 if task in ("matvec", "solve") else 4))
    assert not any(mask[0] for mask in result.rejected.values())
    return result.solutions[0]


def largest_entry_sign(columns: np.ndarray) -> np.ndarray:
    """The sign that makes the largest entry of each column positive."""
    return np.sign(columns[np.abs(columns).argmax(axis=0), np.arange(columns.shape[1])])


@pytest.mark.parametrize("n", DIMS)
def test_eigenvalues_and_eigenvectors(n: int) -> None:
    """A = Q L Q^T."""
    rng = np.random.default_rng(n)
    q, values = random_orthogonal(rng, n), separated_values(rng, n)
    a = q @ np.diag(values) @ q.T
    a = (a + a.T) / 2
    np.testing.assert_allclose(answer("eigenvalues", a), values[::-1, None], atol=1e-12)
    np.testing.assert_allclose(answer("eigenvectors", a), np.vstack([values, q * largest_entry_sign(q)]), atol=1e-12)


@pytest.mark.parametrize("m", DIMS)
@pytest.mark.parametrize("n", DIMS)
def test_singular_values_and_svd(m: int, n: int) -> None:
    """A = U S V^T."""
    rng, k = np.random.default_rng(10 * m + n), min(m, n)
    u, v, s = random_orthogonal(rng, m, k), random_orthogonal(rng, n, k), np.cumsum(rng.uniform(0.5, 2, size=k))[::-1]
    a = u @ np.diag(s) @ v.T
    np.testing.assert_allclose(answer("singular-values", a), s[:, None], atol=1e-12)
    sign = largest_entry_sign(u)
    np.testing.assert_allclose(answer("svd", a), np.vstack([s, u * sign, v * sign]), atol=1e-11)


@pytest.mark.parametrize("n", DIMS)
def test_symmetric_inverse(n: int) -> None:
    rng = np.random.default_rng(n)
    q, values = random_orthogonal(rng, n), rng.choice([-1, 1], size=n) * rng.uniform(0.5, 5, size=n)
    a = q @ np.diag(values) @ q.T
    x = answer("symmetric-inverse", a)
    np.testing.assert_allclose(x, q @ np.diag(1 / values) @ q.T, atol=1e-12)
    assert np.array_equal(x, x.T)


@pytest.mark.parametrize("n", DIMS)
def test_determinant(n: int) -> None:
    """Unit triangular factors leave the product of the diagonal."""
    rng = np.random.default_rng(n)
    lower, upper = np.eye(n) + np.tril(rng.normal(size=(n, n)), -1), np.eye(n) + np.triu(rng.normal(size=(n, n)), 1)
    d = rng.uniform(0.5, 3, size=n)
    np.testing.assert_allclose(answer("determinant", lower @ np.diag(d) @ upper), [[d.prod()]], rtol=1e-10)


@pytest.mark.parametrize("n", DIMS)
def test_solve(n: int) -> None:
    rng = np.random.default_rng(n)
    a, x = rng.normal(size=(n, n)), rng.normal(size=(n, 1))
    np.testing.assert_allclose(answer("solve", np.column_stack([a, a @ x])), x, atol=1e-10)


@pytest.mark.parametrize("m", DIMS)
@pytest.mark.parametrize("n", DIMS)
def test_pseudo_inverse(m: int, n: int) -> None:
    """A = U S V^T has A^+ = V S^-1 U^T."""
    rng, k = np.random.default_rng(10 * m + n), min(m, n)
    u, v, s = random_orthogonal(rng, m, k), random_orthogonal(rng, n, k), rng.uniform(0.5, 4, size=k)
    x = answer("pseudo-inverse", u @ np.diag(s) @ v.T)
    np.testing.assert_allclose(x, v @ np.diag(1 / s) @ u.T, atol=1e-12)


@pytest.mark.parametrize("m", DIMS)
@pytest.mark.parametrize("n", DIMS)
def test_qr(m: int, n: int) -> None:
    if m >= n:
        rng = np.random.default_rng(10 * m + n)
        q, r = random_orthogonal(rng, m, n), np.triu(rng.normal(size=(n, n)), 1) + np.diag(rng.uniform(0.5, 3, size=n))
        x = answer("qr", q @ r)
        np.testing.assert_allclose(x, np.vstack([q, r]), atol=1e-11)
        assert not np.tril(x[m:], -1).any()


@pytest.mark.parametrize("n", DIMS)
def test_cholesky(n: int) -> None:
    rng = np.random.default_rng(n)
    lower = np.tril(rng.normal(size=(n, n)), -1) + np.diag(rng.uniform(0.5, 3, size=n))
    x = answer("cholesky", lower @ lower.T)
    np.testing.assert_allclose(x, lower, atol=1e-12)
    assert not np.triu(x, 1).any()


@pytest.mark.parametrize("n", DIMS)
def test_expm(n: int) -> None:
    """exp(Q L Q^T) = Q exp(L) Q^T."""
    rng = np.random.default_rng(n)
    q, values = random_orthogonal(rng, n), rng.uniform(-2, 2, size=n)
    exponential = q @ np.diag(np.exp(values)) @ q.T
    np.testing.assert_allclose(answer("expm", q @ np.diag(values) @ q.T), exponential, rtol=1e-11, atol=1e-12)


def test_expm_scales_each_matrix_by_its_own_norm() -> None:
    rng = np.random.default_rng(0)
    a = [scale * rng.uniform(-1, 1, size=(20, 20)) for scale in (0, 1e-8, 0.1, 0.3, 1, 2)]
    x = solve("expm", *a).solutions
    for i, matrix in enumerate(a):
        np.testing.assert_allclose(x[i], expm(matrix), rtol=1e-10, atol=1e-12 * np.abs(x[i]).max())
    np.testing.assert_allclose(x[0], np.eye(20), rtol=1e-15)


def test_products_with_small_integers() -> None:
    assert answer("matvec", np.array([[1.0, 2, 5], [3, 4, 6]])).tolist() == [[23], [34]]
    assert answer("matmul", np.array([[1.0, 2, 5, 6], [3, 4, 7, 8]])).tolist() == [[26, 30], [38, 44]]


# --- rank -------------------------------------------------------------------------------------------------------------


def test_rank_of_products() -> None:
    rng = np.random.default_rng(0)
    for m, n in ((1, 1), (3, 5), (6, 4), (20, 20)):
        for r in range(min(m, n) + 1):
            lower, upper = np.eye(m, r) + np.tril(rng.integers(-3, 4, (m, r)), -1), np.eye(r, n)
            a = rng.permutation(lower @ (upper + np.triu(rng.integers(-3, 4, (r, n)), 1)))
            assert answer("rank", a).item() == r


def test_rank_is_exact_if_a_prime_divides_the_determinant() -> None:
    """8192^2 - 5 and 8192^2 - 27 are the two primes of the elimination."""
    for missing in (5, 27):
        assert answer("rank", np.array([[8192.0, 1], [missing, 8192]])).item() == 2
    assert answer("rank", np.array([[0.5, 1], [1, 2]])).item() == 1  # not integers: singular values decide


@pytest.mark.parametrize(
    "spec", [{}, {"max_coeff": 1}, {"min_coeff": 1, "max_coeff": 4}, {"min_dim": 30, "max_dim": 30}]
)
def test_ranks_are_uniform_and_entries_small_integers(spec: dict[str, object]) -> None:
    task = get_task("rank")
    problems = task.sample(np.random.default_rng(3), 3_000, MatrixSpec.model_validate(spec))
    assert np.array_equal(problems.values, np.rint(problems.values)) and np.abs(problems.values).max() <= 999
    ranks = task.solve(problems).solutions.values.astype(int)
    n = int(problems.rows[0])
    assert stats.chisquare(np.bincount(ranks, minlength=n + 1)).pvalue > 1e-4


def test_ranks_of_rectangles_reach_the_smaller_side() -> None:
    task = get_task("rank")
    problems = task.sample(np.random.default_rng(3), 2_000, MatrixSpec(min_dim=1, max_dim=4, rectangular=True))
    ranks, smaller = task.solve(problems).solutions.values, np.minimum(problems.rows, problems.cols)
    assert (ranks <= smaller).all()
    for n in range(1, 5):
        assert set(ranks[smaller == n]) == set(range(n + 1))


# --- rejections -------------------------------------------------------------------------------------------------------


def rejected(task: str, *problems: object) -> dict[str, list[bool]]:
    result = solve(task, *(np.array(a, dtype=float) for a in problems))
    assert np.isfinite(result.solutions.values).all()
    return {reason: mask.tolist() for reason, mask in result.rejected.items() if mask.any()}


GOOD = [[2.0, 1], [1, 3]]


@pytest.mark.parametrize(
    ("task", "bad", "reason"),
    [
        ("symmetric-inverse", [[1, 2], [2, 4]], "singular"),
        ("eigenvectors", [[2, 0], [0, 2]], "nearly equal eigenvalues"),
        ("eigenvectors", [[2, 1e-8], [1e-8, 2]], "nearly equal eigenvalues"),
        ("svd", [[2, 0], [0, -2]], "nearly equal singular values"),
        ("svd", [[1, 2], [2, 4]], "nearly equal singular values"),  # the second value is 0
        ("svd", [[0, 0], [0, 0]], "nearly equal singular values"),
        ("cholesky", [[1, 2], [2, 1]], "not positive definite"),
        ("cholesky", [[1, 2], [2, 4]], "not positive definite"),
        ("cholesky", [[-1, 0], [0, 1]], "not positive definite"),
        ("qr", [[1, 2], [2, 4]], "nearly dependent columns"),
        ("qr", [[0, 2], [0, 4]], "nearly dependent columns"),
        ("pseudo-inverse", [[1, 2], [2, 4]], "rank deficient"),
    ],
)
def test_only_the_bad_problem_is_rejected(task: str, bad: list[list[float]], reason: str) -> None:
    assert rejected(task, GOOD, bad, GOOD) == {reason: [False, True, False]}


def test_singular_systems_and_rectangles_are_rejected() -> None:
    good, bad = [[2.0, 1, 1], [1, 3, 1]], [[1.0, 2, 1], [2, 4, 1]]
    assert rejected("solve", good, bad, good) == {"singular": [False, True, False]}
    tall, flat = [[1.0, 0], [0, 1], [1, 1]], [[1.0, 2], [2, 4], [3, 6]]
    for orient in (np.array, np.transpose):
        masks = rejected("pseudo-inverse", orient(tall), orient(flat), orient(tall))
        assert [any(row) for row in zip(*masks.values(), strict=True)] == [False, True, False]


def test_ill_conditioned_problems_are_rejected() -> None:
    h = hilbert(12)
    assert rejected("determinant", h, np.eye(12)) == {"untrusted determinant": [True, False]}
    system = np.column_stack([h, np.eye(12)[:, 0]])
    assert rejected("solve", system, np.column_stack([np.eye(12), np.ones(12)])) == {
        "untrusted solution": [True, False]
    }
    assert rejected("pseudo-inverse", h[:, :10], np.eye(12, 10)) == {"untrusted pseudo-inverse": [True, False]}


def test_regular_problems_are_rarely_rejected() -> None:
    """5 x 5, c = 10: every task except cholesky rejects fewer than 1 in 10,000 problems."""
    for task in ("eigenvectors", "svd", "determinant", "solve", "pseudo-inverse", "qr", "symmetric-inverse"):
        spectrum = "uniform,laplace" if get_task(task).takes_spectrum else ""
        problems = get_task(task).sample(
            np.random.default_rng(1), 20_000, MatrixSpec.model_validate({"spectrum": spectrum})
        )
        masks = get_task(task).solve(problems).rejected.values()
        assert sum(int(mask.sum()) for mask in masks) <= 2, task


def test_determinants_of_any_size_are_accepted() -> None:
    """Determinants shrink against Hadamard's bound as n grows, without losing digits."""
    task = get_task("determinant")
    c = math.sqrt(3 * math.e / 30)  # keeps 30 x 30 ones near 1
    problems = task.sample(np.random.default_rng(1), 500, MatrixSpec(min_dim=30, max_dim=30, max_coeff=c))
    assert task.solve(problems).rejected["untrusted determinant"].mean() < 0.01


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 12])
def test_batched_elimination_matches_lapack_inverse(n: int) -> None:
    """Diagonally dominant matrices need no pivoting: the result matches LAPACK, and the input is not modified."""
    from mathpipe.generate.linalg.batched import gauss_jordan_inverse

    a = np.random.default_rng(n).uniform(-1, 1, (300, n, n)) + 2 * n * np.eye(n)
    before = a.copy()
    np.testing.assert_allclose(gauss_jordan_inverse(a), np.linalg.inv(a), rtol=1e-12, atol=1e-14)
    assert np.array_equal(a, before)
    alone = np.stack([gauss_jordan_inverse(a[i : i + 1])[0] for i in range(20)])
    assert np.array_equal(alone, gauss_jordan_inverse(a)[:20]), "batched and single elimination must agree bit for bit"


def test_failed_elimination_falls_back_to_lapack() -> None:
    """A zero pivot (a permutation) and a tiny one are inverted; only a singular matrix is rejected."""
    from mathpipe.generate.tasks.matrices.inverse import invert

    a = np.array(
        [[[0.0, 1.0], [1.0, 0.0]], [[1e-14, 1.0], [1.0, 1.0]], [[1.0, 2.0], [2.0, 4.0]], [[2.0, 0.0], [0.0, 4.0]]]
    )
    x, singular, residual = invert(a)
    assert singular.tolist() == [False, False, True, False]
    assert (residual[~singular] < 1e-12).all()
    np.testing.assert_allclose(x[[0, 1, 3]], np.linalg.inv(a[[0, 1, 3]]), rtol=1e-12, atol=1e-15)
