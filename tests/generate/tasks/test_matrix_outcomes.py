"""What the verifier of each matrix task must accept and reject, on arrays: signs, order, sizes, NaN, graded matrices."""

from __future__ import annotations

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.generate.tasks.error_measures import within
from mathpipe.generate.tasks.matrix_task import MATRIX_OUTCOMES, MatrixTask
from mathpipe.generate.tasks.task_registry import MATRIX_TASKS

COUNT = 60
CORRECT = {"exact", "within_tolerance"}
ALL = sorted(MATRIX_TASKS)
SINGLE = [name for name in ALL if name != "cotraining"]  # cotraining asks the tasks it mixes


def solved(task: MatrixTask, count: int = COUNT, **options: object) -> tuple[Matrices, Matrices]:
    """Problems and their solutions, those of rejected problems left out."""
    spec = task.problems_of(task.make_spec({"dim": 4, **options}))
    problems = task.sample(np.random.default_rng(11), count, spec)
    answer = task.solve(problems)
    accepted = np.ones(len(problems), dtype=bool)
    for mask in answer.rejected.values():
        accepted &= ~mask
    return problems.take(accepted), answer.solutions.take(accepted)


def outcomes(task: MatrixTask, problems: Matrices, references: Matrices, predicted: Matrices) -> list[str]:
    with np.errstate(all="ignore"):
        return [MATRIX_OUTCOMES[k] for k in task.verify(problems, references, predicted).outcome]


def changed(x: Matrices, values: np.ndarray) -> Matrices:
    return x.with_values(np.asarray(values, dtype=np.float64))


@pytest.mark.parametrize("name", ALL)
def test_solutions_and_small_deviations_are_correct(name: str) -> None:
    task = MATRIX_TASKS[name]
    problems, x = solved(task)
    assert set(outcomes(task, problems, x, x)) == {"exact"}
    assert set(outcomes(task, problems, x, changed(x, x.values + 0.0))) == {"exact"}
    if name != "rank":  # a rank is right or wrong
        near = changed(x, x.values * (1 + 1e-4))
        accepted = [name in CORRECT for name in outcomes(task, problems, x, near)]
        assert np.mean(accepted) > 0.9  # residuals of ill-conditioned problems may grow


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("name", ALL)
def test_an_entry_that_is_no_number_or_huge_is_wrong(name: str, value: float) -> None:
    task = MATRIX_TASKS[name]
    problems, x = solved(task)
    values = x.values.copy()
    values[x.offsets[:-1]] = value
    assert set(outcomes(task, problems, x, changed(x, values))) == {"wrong_value"}


@pytest.mark.parametrize("name", ALL)
def test_zeros_and_doubled_answers_are_wrong(name: str) -> None:
    task = MATRIX_TASKS[name]
    problems, x = solved(task)
    nonzero = np.array([bool(np.any(m)) for m in x])
    problems, x = problems.take(nonzero), x.take(nonzero)
    assert set(outcomes(task, problems, x, changed(x, np.zeros_like(x.values)))) == {"wrong_value"}
    assert set(outcomes(task, problems, x, changed(x, 2 * x.values))) == {"wrong_value"}


@pytest.mark.parametrize("name", ALL)
def test_another_shape_is_wrong_and_measured_by_nothing(name: str) -> None:
    task = MATRIX_TASKS[name]
    problems, x = solved(task)
    longer = Matrices.from_list([np.vstack([m, m[:1]]) for m in x]).with_task_ids(x.task_ids)
    verification = task.verify(problems, x, longer)
    assert {MATRIX_OUTCOMES[k] for k in verification.outcome} == {"wrong_shape"}
    assert all(np.isnan(values).all() for values in verification.measures.values())


@pytest.mark.parametrize("name", SINGLE)
def test_negative_zero_is_zero(name: str) -> None:
    task = MATRIX_TASKS[name]
    problems, x = solved(task)
    values = np.where(x.values == 0, -0.0, x.values)
    assert set(outcomes(task, problems, x, changed(x, values))) == {"exact"}


@pytest.mark.parametrize(
    "name", ["transpose", "add", "matvec", "matmul", "eigenvalues", "singular-values", "determinant"]
)
def test_exactly_five_percent_passes_in_decimals_too(name: str) -> None:
    task = MATRIX_TASKS[name]
    problems, x = solved(task)
    for scale in (1.0, 105 / 1.05, 1e-6, 1e6):
        reference = changed(x, np.full_like(x.values, scale))
        assert set(outcomes(task, problems, reference, changed(x, np.full_like(x.values, 1.05 * scale)))) <= CORRECT
        assert not CORRECT & set(
            outcomes(task, problems, reference, changed(x, np.full_like(x.values, 1.0501 * scale)))
        )


def test_within_ignores_rounding_alone() -> None:
    errors = np.array([0.05, 1.05 - 1.0, 1.05 / 1.0 - 1, 0.05 * (1 + 1e-11), np.nan, np.inf])
    assert within(errors, 0.05).tolist() == [True, True, True, False, False, False]


@pytest.mark.parametrize("name", ["eigenvalues", "singular-values"])
def test_order_of_values_counts(name: str) -> None:
    task = MATRIX_TASKS[name]
    problems, x = solved(task)
    flipped = x.map(lambda values: values[:, ::-1])
    assert not CORRECT & set(outcomes(task, problems, x, flipped))


@pytest.mark.parametrize("small", [1e-2, 1e-4, 1e-6])
def test_a_wrong_small_entry_shows_componentwise(small: float) -> None:
    """Graded matrices: 5 % of the norm hides a wrong small entry, and ``error_componentwise`` shows it."""
    task = MATRIX_TASKS["transpose"]
    problems = Matrices.from_dense([[[1.0, small], [2.0, 3.0]]])
    x = problems.map(lambda a: a.transpose(0, 2, 1))
    wrong = x.values.copy()
    wrong[2] = -small
    verification = task.verify(problems, x, changed(x, wrong))
    assert MATRIX_OUTCOMES[verification.outcome[0]] == "within_tolerance"
    assert verification.measures["error_componentwise"][0] == pytest.approx(2)
    assert verification.measures["error_max"][0] < 0.05


@pytest.mark.parametrize(
    ("reference", "predicted", "error"), [(0.0, 0.0, 0.0), (0.0, 1e-9, np.inf), (2.0, 1.0, 0.5), (1e-7, -1e-7, 2.0)]
)
def test_componentwise_error_of_one_entry(reference: float, predicted: float, error: float) -> None:
    x, h = (Matrices.from_dense([[[1.0, value]]]) for value in (reference, predicted))
    measures = MATRIX_TASKS["transpose"].errors(h, x, h)
    assert measures["error_componentwise"][0] == pytest.approx(error)


# --- singular value decompositions ------------------------------------------------------------------------------------

SVD = MATRIX_TASKS["svd"]


def svd_case(change: str, shape: tuple[int, int] = (4, 4)) -> tuple[Matrices, Matrices, Matrices]:
    """Random matrices with singular values 4, 3, 2, 1, their decompositions, and changed ones."""
    rng = np.random.default_rng(5)
    m, n = shape
    k = min(m, n)
    problems, solutions, predictions = [], [], []
    for _ in range(COUNT):
        u, v = (np.linalg.qr(rng.standard_normal((d, d)))[0][:, :k] for d in (m, n))
        s = np.arange(k, 0, -1.0)
        problems.append((u * s) @ v.T)
        solutions.append(np.vstack([s[None], u, v]))
        j = rng.integers(k)
        if change == "common sign":
            u[:, j], v[:, j] = -u[:, j], -v[:, j]
        elif change == "sign of u":
            u[:, j] = -u[:, j]
        elif change == "negative value":
            s[j], u[:, j] = -s[j], -u[:, j]
        elif change == "order of triplets":
            order = rng.permutation(k)
            s, u, v = s[order], u[:, order], v[:, order]
        elif change == "values exchanged":
            s = s[::-1].copy()
        elif change == "scaled column":
            u[:, j] *= 1.2
        predictions.append(np.vstack([s[None], u, v]))
    return Matrices.from_dense(problems), Matrices.from_dense(solutions), Matrices.from_dense(predictions)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("change", ["none", "common sign", "order of triplets"])
def test_right_decompositions(change: str, shape: tuple[int, int]) -> None:
    assert set(outcomes(SVD, *svd_case(change, shape))) <= CORRECT


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("change", ["sign of u", "negative value", "values exchanged", "scaled column"])
def test_wrong_decompositions(change: str, shape: tuple[int, int]) -> None:
    assert set(outcomes(SVD, *svd_case(change, shape))) - {"wrong_value"} <= (
        {"exact"} if change == "values exchanged" and shape != (4, 4) else set()
    )


def test_any_basis_of_equal_singular_values_is_right() -> None:
    """A = 2 Q with Q orthogonal: U = Q V for any orthogonal V."""
    rng = np.random.default_rng(6)
    q, v = (np.linalg.qr(rng.standard_normal((COUNT, 3, 3)))[0] for _ in range(2))
    a = Matrices.from_dense(2 * q)
    s = np.full((COUNT, 1, 3), 2.0)
    first = Matrices.from_dense(np.concatenate([s, q, np.broadcast_to(np.eye(3), q.shape)], axis=1))
    other = Matrices.from_dense(np.concatenate([s, q @ v, v], axis=1))
    assert set(outcomes(SVD, a, first, other)) == {"within_tolerance"}
    skew = Matrices.from_dense(np.concatenate([s, q @ v, v[:, :, ::-1]], axis=1))
    assert not CORRECT & set(outcomes(SVD, a, first, skew))


@pytest.mark.parametrize(
    ("name", "answer"), [("rank", 2.0), ("rank", 0.0), ("rank", 0.96), ("determinant", 0.1), ("determinant", -1.0)]
)
def test_small_integers_are_right_or_wrong(name: str, answer: float) -> None:
    """[1 1; 1 1] has rank 1 and determinant 0, [2 0; 0 1/2] determinant 1: other answers are wrong, however near."""
    task = MATRIX_TASKS[name]
    problem = [[1.0, 1.0], [1.0, 1.0]] if name == "rank" else [[2.0, 0.0], [0.0, 0.5]]
    a, x = Matrices.from_dense([problem]), Matrices.from_dense([[[1.0]]])
    assert outcomes(task, a, x, Matrices.from_dense([[[answer]]])) == ["wrong_value"]
    assert outcomes(task, a, x, x) == ["exact"]


def test_determinant_zero_admits_zero_alone() -> None:
    a, x = Matrices.from_dense([[[1.0, 1.0], [1.0, 1.0]]]), Matrices.from_dense([[[0.0]]])
    task = MATRIX_TASKS["determinant"]
    assert outcomes(task, a, x, x) == ["exact"]
    assert outcomes(task, a, x, Matrices.from_dense([[[1e-7]]])) == ["wrong_value"]
