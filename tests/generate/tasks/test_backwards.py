"""Problems built backwards from a known answer, and what each task rejects."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import expm, hilbert

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.spec import MatrixSpec
from mathpipe.generate.tasks.base import Solved
from mathpipe.generate.tasks.registry import get_task

DIMS = (1, 2, 3, 5, 8)


def orthogonal(rng: np.random.Generator, m: int, n: int | None = None) -> np.ndarray:
    """m x n with orthonormal columns."""
    return np.linalg.qr(rng.normal(size=(m, m)))[0][:, : n or m]


def separate(rng: np.random.Generator, n: int) -> np.ndarray:
    """n ascending values, at least 1/2 apart, of both signs."""
    return np.cumsum(rng.uniform(0.5, 2, size=n)) - n / 2


def solved(task: str, *problems: np.ndarray) -> Solved:
    return get_task(task).solve(Matrices.from_list(list(problems)))


def answer(task: str, *problems: np.ndarray) -> np.ndarray:
    """The answer of one problem, solved in a batch with others of other shapes."""
    found = solved(task, *problems, np.eye(4, 5 if task in ("matvec", "solve") else 4))
    assert not any(mask[0] for mask in found.rejected.values())
    return found.solutions[0]


def positive(columns: np.ndarray) -> np.ndarray:
    """The sign that makes the largest entry of each column positive."""
    return np.sign(columns[np.abs(columns).argmax(axis=0), np.arange(columns.shape[1])])


@pytest.mark.parametrize("n", DIMS)
def test_eigenvalues_and_eigenvectors(n: int) -> None:
    """A = Q L Q^T."""
    rng = np.random.default_rng(n)
    q, values = orthogonal(rng, n), separate(rng, n)
    a = q @ np.diag(values) @ q.T
    a = (a + a.T) / 2
    np.testing.assert_allclose(answer("eigenvalues", a), values[::-1, None], atol=1e-12)
    np.testing.assert_allclose(answer("eigenvectors", a), np.vstack([values, q * positive(q)]), atol=1e-12)


@pytest.mark.parametrize("m", DIMS)
@pytest.mark.parametrize("n", DIMS)
def test_singular_values_and_svd(m: int, n: int) -> None:
    """A = U S V^T."""
    rng, k = np.random.default_rng(10 * m + n), min(m, n)
    u, v, s = orthogonal(rng, m, k), orthogonal(rng, n, k), np.cumsum(rng.uniform(0.5, 2, size=k))[::-1]
    a = u @ np.diag(s) @ v.T
    np.testing.assert_allclose(answer("singular-values", a), s[:, None], atol=1e-12)
    sign = positive(u)
    np.testing.assert_allclose(answer("svd", a), np.vstack([s, u * sign, v * sign]), atol=1e-11)


@pytest.mark.parametrize("n", DIMS)
def test_symmetric_inverse(n: int) -> None:
    rng = np.random.default_rng(n)
    q, values = orthogonal(rng, n), rng.choice([-1, 1], size=n) * rng.uniform(0.5, 5, size=n)
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
    u, v, s = orthogonal(rng, m, k), orthogonal(rng, n, k), rng.uniform(0.5, 4, size=k)
    x = answer("pseudo-inverse", u @ np.diag(s) @ v.T)
    np.testing.assert_allclose(x, v @ np.diag(1 / s) @ u.T, atol=1e-12)


@pytest.mark.parametrize("m", DIMS)
@pytest.mark.parametrize("n", DIMS)
def test_qr(m: int, n: int) -> None:
    if m >= n:
        rng = np.random.default_rng(10 * m + n)
        q, r = orthogonal(rng, m, n), np.triu(rng.normal(size=(n, n)), 1) + np.diag(rng.uniform(0.5, 3, size=n))
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
    q, values = orthogonal(rng, n), rng.uniform(-2, 2, size=n)
    exponential = q @ np.diag(np.exp(values)) @ q.T
    np.testing.assert_allclose(answer("expm", q @ np.diag(values) @ q.T), exponential, rtol=1e-11, atol=1e-12)


def test_expm_scales_each_matrix_by_its_own_norm() -> None:
    rng = np.random.default_rng(0)
    a = [scale * rng.uniform(-1, 1, size=(20, 20)) for scale in (0, 1e-8, 0.1, 0.3, 1, 2)]
    x = solved("expm", *a).solutions
    for i, matrix in enumerate(a):
        np.testing.assert_allclose(x[i], expm(matrix), rtol=1e-10, atol=1e-12 * np.abs(x[i]).max())
    np.testing.assert_allclose(x[0], np.eye(20), rtol=1e-15)


def test_products_by_hand() -> None:
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


def test_rank_is_exact_where_a_prime_divides_the_determinant() -> None:
    """8192^2 - 5 and 8192^2 - 27 are the two primes of the elimination."""
    for missing in (5, 27):
        assert answer("rank", np.array([[8192.0, 1], [missing, 8192]])).item() == 2
    assert answer("rank", np.array([[0.5, 1], [1, 2]])).item() == 1  # no integers: by singular values


@pytest.mark.parametrize(
    "spec", [{}, {"max_coeff": 1}, {"min_coeff": 1, "max_coeff": 4}, {"min_dim": 30, "max_dim": 30}]
)
def test_ranks_are_uniform_and_problems_small_integers(spec: dict[str, object]) -> None:
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
    found = solved(task, *(np.array(a, dtype=float) for a in problems))
    assert np.isfinite(found.solutions.values).all()
    return {reason: mask.tolist() for reason, mask in found.rejected.items() if mask.any()}


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
def test_a_bad_problem_is_rejected_alone(task: str, bad: list[list[float]], reason: str) -> None:
    assert rejected(task, GOOD, bad, GOOD) == {reason: [False, True, False]}


def test_singular_systems_and_rectangles_are_rejected_alone() -> None:
    good, bad = [[2.0, 1, 1], [1, 3, 1]], [[1.0, 2, 1], [2, 4, 1]]
    assert rejected("solve", good, bad, good) == {"singular": [False, True, False]}
    tall, flat = [[1.0, 0], [0, 1], [1, 1]], [[1.0, 2], [2, 4], [3, 6]]
    for turn in (np.array, np.transpose):
        found = rejected("pseudo-inverse", turn(tall), turn(flat), turn(tall))
        assert [any(row) for row in zip(*found.values(), strict=True)] == [False, True, False]


def test_what_float64_cannot_tell_is_not_trusted() -> None:
    h = hilbert(12)
    assert rejected("determinant", h, np.eye(12)) == {"untrusted determinant": [True, False]}
    system = np.column_stack([h, np.eye(12)[:, 0]])
    assert rejected("solve", system, np.column_stack([np.eye(12), np.ones(12)])) == {
        "untrusted solution": [True, False]
    }
    assert rejected("pseudo-inverse", h[:, :10], np.eye(12, 10)) == {"untrusted pseudo-inverse": [True, False]}


def test_rejections_are_rare_where_nothing_is_wrong() -> None:
    """5 x 5, c = 10: fewer than 1 in 10,000 of the problems that any task but cholesky draws."""
    for task in ("eigenvectors", "svd", "determinant", "solve", "pseudo-inverse", "qr", "symmetric-inverse"):
        spectrum = "uniform,laplace" if get_task(task).takes_spectrum else ""
        problems = get_task(task).sample(
            np.random.default_rng(1), 20_000, MatrixSpec.model_validate({"spectrum": spectrum})
        )
        masks = get_task(task).solve(problems).rejected.values()
        assert sum(int(mask.sum()) for mask in masks) <= 2, task


def test_determinants_of_any_size_are_trusted() -> None:
    """Determinants shrink against Hadamard's bound as n grows, without losing digits."""
    task = get_task("determinant")
    c = math.sqrt(3 * math.e / 30)  # keeps 30 x 30 ones near 1
    problems = task.sample(np.random.default_rng(1), 500, MatrixSpec(min_dim=30, max_dim=30, max_coeff=c))
    assert task.solve(problems).rejected["untrusted determinant"].mean() < 0.01


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 12])
def test_elimination_across_a_batch_is_inversion(n: int) -> None:
    """Diagonally dominant matrices need no pivoting: there it is LAPACK's inverse, and its problem is left alone."""
    from mathpipe.generate.linalg.batched import eliminated

    a = np.random.default_rng(n).uniform(-1, 1, (300, n, n)) + 2 * n * np.eye(n)
    before = a.copy()
    np.testing.assert_allclose(eliminated(a), np.linalg.inv(a), rtol=1e-12, atol=1e-14)
    assert np.array_equal(a, before)
    alone = np.stack([eliminated(a[i : i + 1])[0] for i in range(20)])
    assert np.array_equal(alone, eliminated(a)[:20]), "a batch is its matrices one by one, bit for bit"


def test_where_elimination_fails_lapack_is_asked() -> None:
    """A zero pivot (a permutation) and a tiny one: both inverted; a singular matrix alone is refused."""
    from mathpipe.generate.tasks.matrices.inverse import invert

    a = np.array(
        [[[0.0, 1.0], [1.0, 0.0]], [[1e-14, 1.0], [1.0, 1.0]], [[1.0, 2.0], [2.0, 4.0]], [[2.0, 0.0], [0.0, 4.0]]]
    )
    x, singular, missed = invert(a)
    assert singular.tolist() == [False, False, True, False]
    assert (missed[~singular] < 1e-12).all()
    np.testing.assert_allclose(x[[0, 1, 3]], np.linalg.inv(a[[0, 1, 3]]), rtol=1e-12, atol=1e-15)
